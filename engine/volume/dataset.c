/* Dataset folders: dataset.json. See dataset.h; dataset_cases.c lists the cases, dataset_check.c
 * reads what is inside the files. */
#include "engine/base/file.h"
#include "engine/volume/dataset_cases.h"
#include "engine/volume/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_BYTES_MAX = 64 << 20, CLASS_MAX = 256, CHANNEL_MAX = 256 };

static rvx_status no_memory(const char *path, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
}

static void cases_free(rvx_dataset_case *cases, int64_t count, int channel_count)
{
    for (int64_t i = 0; cases && i < count; i++) {
        free(cases[i].identifier);
        free(cases[i].labels);
        for (int c = 0; cases[i].images && c < channel_count; c++)
            free(cases[i].images[c]);
        free(cases[i].images);
    }
    free(cases);
}

void rvx__dataset_free(rvx_dataset *d)
{
    if (!d)
        return;
    cases_free(d->cases, d->case_count, d->channel_count);
    cases_free(d->tests, d->test_count, d->channel_count);
    for (int i = 0; d->channel_names && i < d->channel_count; i++)
        free(d->channel_names[i]);
    for (int i = 0; d->class_names && i < d->class_count; i++)
        free(d->class_names[i]);
    free(d->channel_names);
    free(d->class_names);
    free(d->path);
    free(d->name);
    free(d->file_ending);
    free(d);
}

/* ---- dataset.json -----------------------------------------------------------------------------
 */

static const char *json_kind(const json_t *value)
{
    static const char *const names[] = {"an object", "a list", "a string", "an integer",
                                        "a real",    "true",   "false",    "null"};
    return value ? names[json_typeof(value)] : "nothing";
}

rvx_status rvx__dataset_mistyped(const char *path, const char *key, const char *expected,
                                 const json_t *found, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s: expected %s, found %s", path, key, expected,
                     json_kind(found));
}

/* "channel_names": {"0": "CT", "1": "PET"}. */
static rvx_status channels_parse(rvx_dataset *d, const json_t *root, const char *path,
                                 rvx_error *error)
{
    const json_t *channels = json_object_get(root, "channel_names");
    char key[32];
    if (!json_is_object(channels))
        return rvx__dataset_mistyped(path, "channel_names", "an object such as {\"0\": \"US\"}",
                                     channels, error);
    size_t count = json_object_size(channels);
    if (count < 1 || count > CHANNEL_MAX)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: channel_names: expected 1..%d, found %zu",
                         path, CHANNEL_MAX, count);
    d->channel_names = calloc(count, sizeof *d->channel_names);
    if (!d->channel_names)
        return no_memory(path, error);
    d->channel_count = (int)count;
    for (int i = 0; i < d->channel_count; i++) {
        snprintf(key, sizeof key, "%d", i);
        const json_t *name = json_object_get(channels, key);
        if (!json_is_string(name))
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: channel_names: \"%s\": expected a string, found %s", path, key,
                             json_kind(name));
        d->channel_names[i] = strdup(json_string_value(name));
        if (!d->channel_names[i])
            return no_memory(path, error);
    }
    return RVX_OK;
}

static rvx_status label_parse(rvx_dataset *d, const char *name, const json_t *value,
                              int64_t value_count, const char *path, rvx_error *error)
{
    if (json_is_array(value))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: labels: \"%s\" is a region (a list of values); only one integer per "
                         "label is supported",
                         path, name);
    if (!json_is_integer(value))
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: labels: \"%s\": expected an integer, found %s", path, name,
                         json_kind(value));
    json_int_t label = json_integer_value(value);
    if (label < 0 || label >= value_count)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: labels: \"%s\" is %lld; %lld labels must have the consecutive values "
                         "0..%lld",
                         path, name, (long long)label, (long long)value_count,
                         (long long)value_count - 1);
    if (strcmp(name, "ignore") == 0) {
        if (label != value_count - 1)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: labels: \"ignore\" is %lld, expected the highest value, %lld",
                             path, (long long)label, (long long)value_count - 1);
        d->ignore_label = (int)label;
        return RVX_OK;
    }
    if (d->class_names[label])
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: labels: \"%s\" and \"%s\" are both %lld; values must be consecutive",
                         path, d->class_names[label], name, (long long)label);
    d->class_names[label] = strdup(name);
    return d->class_names[label] ? RVX_OK : no_memory(path, error);
}

/* "labels": {"background": 0, "liver": 1, "ignore": 2}. */
static rvx_status labels_parse(rvx_dataset *d, json_t *root, const char *path, rvx_error *error)
{
    json_t *labels = json_object_get(root, "labels"), *value;
    const char *name;
    if (json_object_get(root, "regions_class_order"))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: regions_class_order: region-based training is not supported", path);
    if (!json_is_object(labels))
        return rvx__dataset_mistyped(
            path, "labels", "an object such as {\"background\": 0, \"gland\": 1}", labels, error);
    size_t count = json_object_size(labels);
    if (count < 2 || count > CLASS_MAX)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: labels: expected 2..%d, found %zu", path,
                         CLASS_MAX, count);
    d->class_names = calloc(count, sizeof *d->class_names);
    if (!d->class_names)
        return no_memory(path, error);
    d->class_count = (int)count;
    json_object_foreach(labels, name, value)
    {
        rvx_status status = label_parse(d, name, value, (int64_t)count, path, error);
        if (status != RVX_OK)
            return status;
    }
    if (d->ignore_label >= 0) {
        const char *twin = d->class_names[d->ignore_label];
        if (twin)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: labels: \"%s\" and \"ignore\" are both %d", path, twin,
                             d->ignore_label);
        d->class_count--;
    }
    if (d->class_count < 2 || !d->class_names[0] || strcmp(d->class_names[0], "background") != 0)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: labels: expected \"background\" as 0 and at least one more; 0 is "
                         "\"%s\"",
                         path, d->class_names[0] ? d->class_names[0] : "");
    return RVX_OK;
}

static rvx_status ending_parse(rvx_dataset *d, const json_t *root, const char *path,
                               rvx_error *error)
{
    const json_t *ending = json_object_get(root, "file_ending");
    const json_t *name = json_object_get(root, "name");
    if (!json_is_string(ending))
        return rvx__dataset_mistyped(path, "file_ending", "a string such as \".nii.gz\"", ending,
                                     error);
    if (name && !json_is_string(name))
        return rvx__dataset_mistyped(path, "name", "a string", name, error);
    const char *text = json_string_value(ending);
    if (!rvx__format_find(text))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: file_ending: \"%s\" is no supported format; expected %s, of labels "
                         "and predictions (images in DICOM are found beside)",
                         path, text, RVX_VOLUME_SUFFIXES);
    d->file_ending = strdup(text);
    d->name = strdup(name ? json_string_value(name) : rvx__path_name(d->path));
    return d->file_ending && d->name ? RVX_OK : no_memory(path, error);
}

static rvx_status json_read(json_t **root, const char *path, rvx_error *error)
{
    char *text = NULL;
    int64_t bytes = 0;
    json_error_t problem;
    rvx_status status = rvx__file_read_all(&text, &bytes, path, JSON_BYTES_MAX, error);
    if (status != RVX_OK)
        return status;
    *root = json_loadb(text, (size_t)bytes, JSON_REJECT_DUPLICATES, &problem);
    free(text);
    if (!*root)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: line %d, column %d: %s", path, problem.line,
                         problem.column, problem.text);
    if (!json_is_object(*root))
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: expected an object, found %s", path,
                         json_kind(*root));
    return RVX_OK;
}

rvx_status rvx__dataset_open(rvx_dataset **dataset, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char json_path[RVX_PATH_BYTES];
    json_t *root = NULL;
    *dataset = NULL;
    rvx_dataset *d = calloc(1, sizeof *d);
    if (d)
        d->path = strdup(path);
    if (!d || !d->path) {
        status = no_memory(path, error);
        goto cleanup;
    }
    for (size_t length = strlen(d->path); length > 1 && d->path[length - 1] == '/';)
        d->path[--length] = 0;
    d->ignore_label = -1;
    RVX_TRY(rvx__path_join(json_path, d->path, "dataset.json", error));
    RVX_TRY(json_read(&root, json_path, error));
    RVX_TRY(channels_parse(d, root, json_path, error));
    RVX_TRY(labels_parse(d, root, json_path, error));
    RVX_TRY(ending_parse(d, root, json_path, error));
    RVX_TRY(rvx__dataset_cases_list(d, root, json_path, error));
    *dataset = d;
    d = NULL;
cleanup:
    json_decref(root);
    rvx__dataset_free(d);
    return status;
}

int64_t rvx__dataset_find(const rvx_dataset *dataset, const char *identifier)
{
    for (int64_t i = 0; i < dataset->case_count; i++)
        if (strcmp(dataset->cases[i].identifier, identifier) == 0)
            return i;
    return -1;
}

rvx_status rvx__dataset_write(const char *path, const char *name, const char *const *channel_names,
                              int channel_count, const char *const *class_names, int class_count,
                              int64_t case_count, const char *file_ending, rvx_error *error)
{
    char json_path[RVX_PATH_BYTES], key[32];
    rvx_status status = rvx__path_join(json_path, path, "dataset.json", error);
    if (status == RVX_OK)
        status = rvx__directory_create(path, error);
    if (status != RVX_OK)
        return status;
    json_t *channels = json_object(), *labels = json_object();
    bool made = channels && labels;
    for (int i = 0; made && i < channel_count; i++) {
        snprintf(key, sizeof key, "%d", i);
        made = json_object_set_new(channels, key, json_string(channel_names[i])) == 0;
    }
    for (int i = 0; made && i < class_count; i++)
        made = json_object_set_new(labels, class_names[i], json_integer(i)) == 0;
    made = made && json_object_size(labels) == (size_t)class_count;
    json_t *root = made ? json_pack("{s:s, s:O, s:O, s:I, s:s}", "name", name, "channel_names",
                                    channels, "labels", labels, "numTraining",
                                    (json_int_t)case_count, "file_ending", file_ending)
                        : NULL;
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
    if (!text) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "%s: names must be UTF-8 and differ from each other", json_path);
    } else {
        size_t length = strlen(text);
        text[length] = '\n'; /* the terminating zero is not written */
        status = rvx__file_write(json_path, text, (int64_t)length + 1, error);
    }
    free(text);
    json_decref(root);
    json_decref(channels);
    json_decref(labels);
    return status;
}
