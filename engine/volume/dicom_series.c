/* DICOM series in words. Owns: how files that were found are told apart by SeriesInstanceUID, and
 * by what name each series is chosen. */
#include "engine/volume/dicom_series.h"
#include "engine/base/file.h"
#include "engine/volume/dicom.h"

#include <stdlib.h>
#include <string.h>

typedef struct series {
    int64_t first, file_count, slice_count; /* first: index of a file */
    int64_t folder_bytes;                   /* of the deepest folder that holds all its files */
    bool spread, mixed;                     /* over several folders; with others in its folder */
} series;

static int64_t folder_bytes(const char *path) { return (int64_t)(rvx__path_name(path) - path); }

/* Bytes, up to a slash, that two paths have in common; of the first no more than `most`. */
static int64_t common_bytes(const char *a, int64_t most, const char *b)
{
    int64_t common = 0;
    for (int64_t i = 0; i < most && b[i] && a[i] == b[i]; i++)
        if (a[i] == '/')
            common = i + 1;
    return common;
}

static rvx_status series_find(series **out, int64_t *count, const rvx__dicom_files *files,
                              rvx_error *error)
{
    *count = 0;
    *out = calloc((size_t)files->count, sizeof **out);
    if (!*out)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", files->paths[0]);
    for (int64_t i = 0; i < files->count; i++) {
        const char *path = files->paths[i];
        int64_t k = 0;
        while (k < *count &&
               strcmp(files->images[(*out)[k].first].series, files->images[i].series) != 0)
            k++;
        series *s = &(*out)[k];
        if (k == *count) {
            *s = (series){.first = i, .folder_bytes = folder_bytes(path)};
            ++*count;
        }
        const int64_t common = common_bytes(files->paths[s->first], s->folder_bytes, path);
        s->spread |= common < s->folder_bytes || common < folder_bytes(path);
        s->folder_bytes = common;
        s->file_count++;
        s->slice_count += files->images[i].frame_count;
    }
    for (int64_t k = 0; k < *count; k++)
        for (int64_t i = 0; i < files->count; i++) {
            series *s = &(*out)[k];
            const char *mine = files->paths[s->first];
            s->mixed |= strcmp(files->images[i].series, files->images[s->first].series) != 0 &&
                        strncmp(files->paths[i], mine, (size_t)s->folder_bytes) == 0;
        }
    return RVX_OK;
}

/* The name by which a series alone is read; `skip` bytes of it are left out. */
static void name_add(rvx_text *out, const rvx__dicom_files *files, const series *s, int64_t skip)
{
    const char *path = files->paths[s->first];
    if (s->mixed || s->folder_bytes <= skip)
        rvx__text_add(out, path + skip);
    else
        rvx__text_append(out, path + skip, s->folder_bytes - skip - 1);
}

static void facts_add(rvx_text *out, const rvx__dicom_files *files, const series *s)
{
    const rvx_dicom_image *image = &files->images[s->first];
    rvx__text_format(out, "%.16s \"%.64s\", %lld slice%s%s, %s", image->modality,
                     image->description, (long long)s->slice_count, s->slice_count == 1 ? "" : "s",
                     s->mixed && s->spread ? " in several folders" : "",
                     image->series[0] ? image->series : "without SeriesInstanceUID");
}

rvx_status rvx__dicom_series_check(const rvx__dicom_files *files, const char *path,
                                   rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_text list = {0};
    series *all = NULL;
    int64_t count, shown = 0;
    const int64_t room = (int64_t)sizeof error->message - 240 - (int64_t)strlen(path);
    RVX_TRY(series_find(&all, &count, files, error));
    if (count == 1)
        goto cleanup;
    const char *first = files->paths[0];
    int64_t skip = (int64_t)strlen(path);
    skip = strncmp(first, path, (size_t)skip) == 0 ? common_bytes(first, skip + 1, first) : 0;
    for (; shown < count; shown++) {
        const int64_t before = list.bytes;
        rvx__text_add(&list, shown ? "; " : "");
        name_add(&list, files, &all[shown], skip);
        rvx__text_add(&list, " (");
        facts_add(&list, files, &all[shown]);
        rvx__text_add(&list, ")");
        if (list.bytes > room && before) {
            list.data[before] = 0;
            break;
        }
    }
    status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                       "%s: SeriesInstanceUID: %lld series, expected one; name the folder of the "
                       "one that is meant, or a file of it, as in this list: %s%s",
                       path, (long long)count, list.data ? list.data : "",
                       shown < count ? "; ... (`revoxel inspect` lists them all)" : "");
cleanup:
    rvx__text_free(&list);
    free(all);
    return status;
}

rvx_status rvx__dicom_series_describe(rvx_text *out, int64_t *count, const char *path,
                                      rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__dicom_files files = {0};
    series *all = NULL;
    *count = 0;
    RVX_TRY(rvx__dicom_files_list(&files, path, error));
    RVX_TRY(series_find(&all, count, &files, error));
    if (*count < 2)
        goto cleanup;
    rvx__text_format(out, "%s\n  DICOM, %lld series; a volume is one of them, by this name:\n",
                     path, (long long)*count);
    for (int64_t k = 0; k < *count; k++) {
        rvx__text_add(out, "  ");
        name_add(out, &files, &all[k], 0);
        rvx__text_add(out, "\n      ");
        facts_add(out, &files, &all[k]);
        rvx__text_add(out, "\n");
    }
cleanup:
    rvx__dicom_files_free(&files);
    free(all);
    return status;
}
