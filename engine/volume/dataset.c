/* Dataset folders: dataset.json and the list of cases. See dataset.h; dataset_check.c reads what is
 * inside the files. */
#include "engine/volume/dataset.h"
#include "engine/base/file.h"
#include "engine/volume/format.h"

#include <jansson.h>
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

static rvx_status mistyped(const char *path, const char *key, const char *expected,
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
        return mistyped(path, "channel_names", "an object such as {\"0\": \"US\"}", channels,
                        error);
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
        return mistyped(path, "labels", "an object such as {\"background\": 0, \"gland\": 1}",
                        labels, error);
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
        return mistyped(path, "file_ending", "a string such as \".nii.gz\"", ending, error);
    if (name && !json_is_string(name))
        return mistyped(path, "name", "a string", name, error);
    const char *text = json_string_value(ending);
    if (!rvx__format_find(text))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: file_ending: \"%s\" is no supported format; expected %s", path, text,
                         RVX_VOLUME_SUFFIXES);
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

/* ---- Cases ------------------------------------------------------------------------------------
 */

static int case_compare(const void *a, const void *b)
{
    return strcmp(((const rvx_dataset_case *)a)->identifier,
                  ((const rvx_dataset_case *)b)->identifier);
}

/* PATH/folder/identifier[_0000]ending; channel < 0: no number. */
static char *case_path(const rvx_dataset *d, const char *folder, const char *identifier,
                       int channel)
{
    char number[16] = "", *path = NULL;
    if (channel >= 0)
        snprintf(number, sizeof number, "_%04d", channel);
    if (asprintf(&path, "%s/%s/%s%s%s", d->path, folder, identifier, number, d->file_ending) < 0)
        return NULL;
    return path;
}

static rvx_status case_fill(rvx_dataset_case *one, const rvx_dataset *d, const char *images,
                            const char *labels, const char *identifier, rvx_error *error)
{
    one->identifier = strdup(identifier);
    one->images = calloc((size_t)d->channel_count, sizeof *one->images);
    bool made = one->identifier && one->images;
    for (int c = 0; made && c < d->channel_count; c++)
        made = (one->images[c] = case_path(d, images, identifier, c)) != NULL;
    if (made && labels)
        made = (one->labels = case_path(d, labels, identifier, -1)) != NULL;
    return made ? RVX_OK : no_memory(d->path, error);
}

/* Cuts "CASE_0003.nii.gz" to "CASE"; the channel number must be one of dataset.json's. */
static rvx_status image_name_parse(char *name, const rvx_dataset *d, const char *folder,
                                   rvx_error *error)
{
    size_t ending = strlen(d->file_ending), length = strlen(name);
    const char *digits = length > ending + 5 ? name + length - ending - 4 : NULL;
    int channel = 0;
    for (int i = 0; digits && i < 4; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            digits = NULL;
        else
            channel = channel * 10 + digits[i] - '0';
    }
    if (!digits || digits[-1] != '_')
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s/%s/%s: expected a name such as CASE_0000%s (four digits: the channel)",
                         d->path, folder, name, d->file_ending);
    if (channel >= d->channel_count)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s/%s/%s: is channel %d, dataset.json names %d channels", d->path, folder,
                         name, channel, d->channel_count);
    name[length - ending - 5] = 0;
    return RVX_OK;
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
    RVX_TRY(rvx__path_join(path, d->path, images, error));
    RVX_TRY(rvx__directory_list(&names[0], path, d->file_ending, error));
    for (int64_t i = 0; i < names[0].count; i++)
        RVX_TRY(image_name_parse(names[0].names[i], d, images, error));
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
        return mistyped(path, "dataset", "an object of cases", listed, error);
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
            if (!path || rvx__path_is_file(path))
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
        return mistyped(path, "numTraining", "an integer", number, error);
    if (d->case_count == 0)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: imagesTr holds no *_0000%s", d->path,
                         d->file_ending);
    if (json_integer_value(number) != d->case_count)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: numTraining is %lld, found %lld cases", path,
                         (long long)json_integer_value(number), (long long)d->case_count);
    return RVX_OK;
}

rvx_status rvx__dataset_open(rvx_dataset **dataset, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char json_path[RVX_PATH_BYTES], tests[RVX_PATH_BYTES];
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
