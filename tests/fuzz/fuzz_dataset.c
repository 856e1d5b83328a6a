/* Any bytes as dataset.json of a folder with two cases of two channels. What opens keeps the
 * promises of dataset.h, and can be written and opened again with the same meaning. */
#include "engine/volume/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/rvx_fuzz_XXXXXX"; /* memory: thousands of rewrites a second */

static void folder_remove(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", folder);
}

/* Names are what counts: the files are empty. */
static void folder_make(void)
{
    static const char *const files[] = {"imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz",
                                        "imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz",
                                        "labelsTr/a.nii.gz",      "labelsTr/b.nii.gz"};
    char path[200];
    if (folder[sizeof folder - 2] != 'X')
        return;
    if (!mkdtemp(folder))
        abort();
    atexit(folder_remove);
    snprintf(path, sizeof path, "%s/imagesTr", folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/labelsTr", folder);
    mkdir(path, 0777);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        FILE *file = fopen(path, "wb");
        if (!file)
            abort();
        fclose(file);
    }
}

static void json_write(const void *data, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/dataset.json", folder);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size)
        abort();
    fclose(file);
}

static void promises_check(const rvx_dataset *d)
{
    if (d->class_count < 2 || d->class_count > 256 || d->channel_count < 1 || d->case_count < 1 ||
        (d->ignore_label >= 0 && d->ignore_label != d->class_count))
        abort();
    for (int i = 0; i < d->class_count; i++)
        if (!d->class_names[i])
            abort();
    for (int64_t i = 0; i < d->case_count; i++) {
        if (!d->cases[i].labels || rvx__dataset_find(d, d->cases[i].identifier) < 0)
            abort();
        for (int c = 0; c < d->channel_count; c++)
            if (!d->cases[i].images[c])
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rvx_error error;
    rvx_dataset *d;
    folder_make();
    json_write(data, size);
    if (rvx__dataset_open(&d, folder, &error) == RVX_OK) {
        promises_check(d);
        rvx__dataset_free(d);
    } else if (d || !error.status || !error.message[0]) {
        abort();
    }
    return 0;
}
