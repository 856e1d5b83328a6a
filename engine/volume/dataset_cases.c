/* The cases of a dataset folder. Owns: which images and labels belong together by their names. See
 * dataset.h. */
#include "engine/volume/dataset_cases.h"
#include "engine/volume/format.h"
#include "engine/volume/image_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rvx_status no_memory(const char *path, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
}

static int case_compare(const void *a, const void *b)
{
    return strcmp(((const rvx_dataset_case *)a)->identifier,
                  ((const rvx_dataset_case *)b)->identifier);
}

static rvx_status case_fill(rvx_dataset_case *one, const rvx_dataset *d, const char *images,
                            const char *labels, const char *identifier, rvx_error *error)
{
    one->identifier = strdup(identifier);
    one->images = calloc((size_t)d->channel_count, sizeof *one->images);
    if (!one->identifier || !one->images)
        return no_memory(d->path, error);
    for (int c = 0; c < d->channel_count; c++) {
        char *stem = NULL, path[RVX_PATH_BYTES];
        if (asprintf(&stem, "%s/%s/%s_%04d", d->path, images, identifier, c) < 0)
            return no_memory(d->path, error);
        rvx_status status = rvx__image_find(path, stem, d->file_ending, error);
        free(stem);
        if (status != RVX_OK)
            return status;
        one->images[c] = strdup(path);
        if (!one->images[c])
            return no_memory(d->path, error);
    }
    if (labels &&
        asprintf(&one->labels, "%s/%s/%s%s", d->path, labels, identifier, d->file_ending) < 0) {
        one->labels = NULL;
        return no_memory(d->path, error);
    }
    return RVX_OK;
}

/* Cuts "CASE_0003.nii.gz", whose first `stem` bytes are before the ending, to "CASE"; the channel
 * number must be one of dataset.json's. */
static rvx_status image_name_parse(char *name, int64_t stem, const rvx_dataset *d,
                                   const char *folder, rvx_error *error)
{
    const int channel = rvx__image_channel(name, stem);
    if (channel < 0)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s/%s/%s: expected a name such as CASE_0000%s (four digits: the channel)",
                         d->path, folder, name, name + stem);
    if (channel >= d->channel_count)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s/%s/%s: is channel %d, dataset.json names %d channels", d->path, folder,
                         name, channel, d->channel_count);
    name[stem - 5] = 0;
    return RVX_OK;
}

/* The cases of the images in a folder; what is called like no image is passed by. */
static rvx_status images_list(rvx_names *names, const rvx_dataset *d, const char *folder,
                              rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    int64_t kept = 0;
    RVX_TRY(rvx__path_join(path, d->path, folder, error));
    RVX_TRY(rvx__directory_list(names, path, NULL, error));
    for (int64_t i = 0; i < names->count; i++) {
        char *name = names->names[i];
        const int64_t stem = rvx__image_stem_bytes(path, name, d->file_ending);
        if (stem >= 0)
            RVX_TRY(image_name_parse(name, stem, d, folder, error));
        names->names[i] = names->names[kept];
        names->names[kept] = name;
        kept += stem >= 0;
    }
    for (int64_t i = kept; i < names->count; i++)
        free(names->names[i]);
    names->count = kept;
cleanup:
    return status;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All identifiers that have a file in the images or the labels folder. */
static rvx_status folder_list(rvx_dataset_case **cases, int64_t *count, const rvx_dataset *d,
                              const char *images, const char *labels, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    rvx_names names[2] = {{0}};
    char **all = NULL;
    RVX_TRY(images_list(&names[0], d, images, error));
    if (labels) {
        RVX_TRY(rvx__path_join(path, d->path, labels, error));
        RVX_TRY(rvx__directory_list(&names[1], path, d->file_ending, error));
        for (int64_t i = 0; i < names[1].count; i++)
            names[1].names[i][strlen(names[1].names[i]) - strlen(d->file_ending)] = 0;
    }
    const int64_t total = names[0].count + names[1].count;
    all = calloc((size_t)total + 1, sizeof *all);
    *cases = calloc((size_t)total + 1, sizeof **cases);
    if (!all || !*cases) {
        status = no_memory(d->path, error);
        goto cleanup;
    }
    for (int64_t i = 0; i < total; i++)
        all[i] = i < names[0].count ? names[0].names[i] : names[1].names[i - names[0].count];
    qsort(all, (size_t)total, sizeof *all, name_compare);
    for (int64_t i = 0; i < total; i++)
        if (i == 0 || strcmp(all[i], all[i - 1]) != 0)
            RVX_TRY(case_fill(&(*cases)[(*count)++], d, images, labels, all[i], error));
cleanup:
    free(all);
    rvx__names_free(&names[0]);
    rvx__names_free(&names[1]);
    return status;
}

static char *path_under(const rvx_dataset *d, const json_t *name, rvx_error *error)
{
    char path[RVX_PATH_BYTES];
    if (!json_is_string(name) ||
        rvx__path_join(path, d->path, json_string_value(name), error) != RVX_OK)
        return NULL;
    return strdup(path);
}

/* "dataset": {"case": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}. */
static rvx_status listed_cases(rvx_dataset *d, json_t *listed, const char *path, rvx_error *error)
{
    const char *identifier;
    json_t *entry;
    if (!json_is_object(listed))
        return rvx__dataset_mistyped(path, "dataset", "an object of cases", listed, error);
    d->cases = calloc(json_object_size(listed) + 1, sizeof *d->cases);
    if (!d->cases)
        return no_memory(path, error);
    json_object_foreach(listed, identifier, entry)
    {
        const json_t *images = json_object_get(entry, "images");
        rvx_dataset_case *one = &d->cases[d->case_count++];
        one->identifier = strdup(identifier);
        one->images = calloc((size_t)d->channel_count, sizeof *one->images);
        if (!one->identifier || !one->images)
            return no_memory(path, error);
        bool complete = json_array_size(images) == (size_t)d->channel_count;
        for (int c = 0; complete && c < d->channel_count; c++)
            complete =
                (one->images[c] = path_under(d, json_array_get(images, (size_t)c), error)) != NULL;
        one->labels = path_under(d, json_object_get(entry, "label"), error);
        if (!complete || !one->labels)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: dataset: \"%s\": expected \"images\", a list of %d paths, and "
                             "\"label\", a path",
                             path, identifier, d->channel_count);
    }
    qsort(d->cases, (size_t)d->case_count, sizeof *d->cases, case_compare);
    return RVX_OK;
}

/* Names every file that is listed and not there, as far as the message holds. */
static rvx_status files_check(const rvx_dataset *d, const rvx_dataset_case *cases, int64_t count,
                              rvx_error *error)
{
    char list[sizeof error->message] = "";
    size_t used = 0;
    int64_t missing = 0, named = 0;
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c <= d->channel_count; c++) {
            const char *path = c < d->channel_count ? cases[i].images[c] : cases[i].labels;
            if (!path || rvx__path_is_file(path) ||
                (c < d->channel_count && rvx__path_is_directory(path)))
                continue;
            missing++;
            const char *shown = path + strlen(d->path) + 1;
            if (strncmp(path, d->path, strlen(d->path)) != 0)
                shown = path;
            if (used + strlen(shown) + 300 < sizeof list) {
                used += (size_t)snprintf(list + used, sizeof list - used, " %s", shown);
                named++;
            }
        }
    if (!missing)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_IO, "%.200s: %lld file%s missing:%s%s", d->path,
                     (long long)missing, missing == 1 ? "" : "s", list,
                     named < missing ? " ..." : "");
}

static rvx_status training_check(const rvx_dataset *d, const json_t *root, const char *path,
                                 rvx_error *error)
{
    const json_t *number = json_object_get(root, "numTraining");
    if (!json_is_integer(number))
        return rvx__dataset_mistyped(path, "numTraining", "an integer", number, error);
    if (d->case_count == 0)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: imagesTr holds no *_0000%s, nor DICOM in *_0000 or *_0000.dcm",
                         d->path, d->file_ending);
    if (json_integer_value(number) != d->case_count)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: numTraining is %lld, found %lld cases", path,
                         (long long)json_integer_value(number), (long long)d->case_count);
    return RVX_OK;
}

rvx_status rvx__dataset_cases_list(rvx_dataset *d, const json_t *root, const char *json_path,
                                   rvx_error *error)
{
    rvx_status status = RVX_OK;
    char tests[RVX_PATH_BYTES];
    json_t *listed = json_object_get(root, "dataset");
    if (listed)
        RVX_TRY(listed_cases(d, listed, json_path, error));
    else
        RVX_TRY(folder_list(&d->cases, &d->case_count, d, "imagesTr", "labelsTr", error));
    RVX_TRY(files_check(d, d->cases, d->case_count, error));
    RVX_TRY(training_check(d, root, json_path, error));
    RVX_TRY(rvx__path_join(tests, d->path, "imagesTs", error));
    if (rvx__path_is_directory(tests)) {
        RVX_TRY(folder_list(&d->tests, &d->test_count, d, "imagesTs", NULL, error));
        RVX_TRY(files_check(d, d->tests, d->test_count, error));
    }
cleanup:
    return status;
}
