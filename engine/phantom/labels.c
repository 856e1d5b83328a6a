/* Which values of real label maps become which label. Owns: rvx_label_table. */
#include "engine/phantom/scene.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS_MAX = 255, VALUES_MAX = 65536 }; /* 255 itself marks tissue without a label */

typedef struct tally {
    int32_t value;
    uint8_t label;
    int64_t voxels;
} tally;

typedef struct tally_list {
    tally *entries;
    int64_t count, capacity;
} tally_list;

static int by_value(const void *a, const void *b)
{
    const tally *x = a, *y = b;
    return x->value < y->value ? -1 : x->value > y->value;
}

static int by_voxels(const void *a, const void *b)
{
    const tally *x = a, *y = b;
    if (x->voxels != y->voxels)
        return x->voxels > y->voxels ? -1 : 1;
    return by_value(a, b);
}

/* Position of the value, or where it belongs. */
static int64_t find(const tally_list *list, int32_t value)
{
    int64_t low = 0, high = list->count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (list->entries[middle].value < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static rvx_status insert(tally_list *list, int64_t at, tally entry, rvx_error *error)
{
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity ? 2 * list->capacity : 64;
        tally *grown = realloc(list->entries, (size_t)capacity * sizeof *grown);
        if (!grown)
            return rvx__fail(error, RVX_ERROR_MEMORY, "label table: no memory for %lld values",
                             (long long)capacity);
        list->entries = grown;
        list->capacity = capacity;
    }
    memmove(list->entries + at + 1, list->entries + at,
            (size_t)(list->count - at) * sizeof *list->entries);
    list->entries[at] = entry;
    list->count++;
    return RVX_OK;
}

static rvx_status table_from(rvx_label_table *table, const tally_list *list, int64_t label_count,
                             rvx_error *error)
{
    *table = (rvx_label_table){.count = list->count, .label_count = label_count};
    table->values = calloc((size_t)list->count + 1, sizeof *table->values);
    table->labels = calloc((size_t)list->count + 1, sizeof *table->labels);
    if (!table->values || !table->labels) {
        rvx__label_table_free(table);
        return rvx__fail(error, RVX_ERROR_MEMORY, "label table: no memory");
    }
    for (int64_t k = 0; k < list->count; k++) {
        table->values[k] = list->entries[k].value;
        table->labels[k] = list->entries[k].label;
    }
    return RVX_OK;
}

static const char *skip_spaces(const char *text)
{
    while (*text == ' ')
        text++;
    return text;
}

static rvx_status parse_integer(int32_t *out, const char **text, const char *merge,
                                rvx_error *error)
{
    char *end = NULL;
    errno = 0;
    const char *start = skip_spaces(*text);
    long value = strtol(start, &end, 10);
    if (end == start || errno || value < INT32_MIN || value > INT32_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "merge \"%.200s\": expected an integer at \"%.20s\"", merge, start);
    *out = (int32_t)value;
    *text = skip_spaces(end);
    return RVX_OK;
}

/* One group: "2,41" (label = its ordinal) or "1=2,41". */
static rvx_status parse_group(tally_list *list, const char **text, int64_t ordinal,
                              uint8_t seen[LABELS_MAX], const char *merge, rvx_error *error)
{
    int32_t value = 0, label = (int32_t)ordinal;
    rvx_status status = RVX_OK;
    RVX_TRY(parse_integer(&value, text, merge, error));
    if (**text == '=') {
        label = value;
        ++*text;
        RVX_TRY(parse_integer(&value, text, merge, error));
    }
    if (label < 1 || label >= LABELS_MAX || seen[label])
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "merge \"%.200s\": label %d %s; expected 1 to %d, each once", merge, label,
                         label < 1 || label >= LABELS_MAX ? "is out of range" : "comes twice",
                         LABELS_MAX - 1);
    seen[label] = 1;
    for (;;) {
        int64_t at = find(list, value);
        if (value == 0 || (at < list->count && list->entries[at].value == value))
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "merge \"%.200s\": value %d %s", merge,
                             value, value ? "stands in two places" : "is background already");
        RVX_TRY(insert(list, at, (tally){.value = value, .label = (uint8_t)label}, error));
        if (**text != ',')
            break;
        ++*text;
        RVX_TRY(parse_integer(&value, text, merge, error));
    }
cleanup:
    return status;
}

rvx_status rvx__label_table_parse(rvx_label_table *table, const char *merge, rvx_error *error)
{
    *table = (rvx_label_table){0};
    rvx_status status = RVX_OK;
    tally_list list = {0};
    uint8_t seen[LABELS_MAX] = {0};
    const char *text = merge;
    int64_t groups = 0;
    do {
        RVX_TRY(parse_group(&list, &text, ++groups, seen, merge, error));
        if (*text && *text != ';') {
            status = rvx__fail(
                error, RVX_ERROR_ARGUMENT,
                "merge \"%.200s\": expected \",\", \";\" or the end, found \"%.20s\"", merge, text);
            goto cleanup;
        }
        if (*text == ';')
            text = skip_spaces(text + 1);
    } while (*text);
    for (int64_t label = 1; label <= groups; label++)
        if (!seen[label]) {
            status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                               "merge \"%.200s\": %lld groups, but none is label %lld", merge,
                               (long long)groups, (long long)label);
            goto cleanup;
        }
    RVX_TRY(table_from(table, &list, groups + 1, error));
cleanup:
    free(list.entries);
    return status;
}

/* Adds the voxels of one slice; runs of one value cost one search. */
static rvx_status count_slice(tally_list *list, const int32_t *voxels, int64_t count,
                              const char *path, rvx_error *error)
{
    for (int64_t k = 0; k < count;) {
        int64_t run = 1;
        while (k + run < count && voxels[k + run] == voxels[k])
            run++;
        int64_t at = find(list, voxels[k]);
        if (at == list->count || list->entries[at].value != voxels[k]) {
            if (list->count == VALUES_MAX)
                return rvx__fail(error, RVX_ERROR_FORMAT,
                                 "%s: more than %d different values; this is not a label map", path,
                                 VALUES_MAX);
            rvx_status status = insert(list, at, (tally){.value = voxels[k]}, error);
            if (status != RVX_OK)
                return status;
        }
        list->entries[at].voxels += run;
        k += run;
    }
    return RVX_OK;
}

static rvx_status count_map(tally_list *list, const char *path, rvx_error *error)
{
    rvx_volume_reader *reader = NULL;
    int32_t *slice = NULL;
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__volume_reader_open(&reader, path, error));
    const int64_t *size = rvx__volume_reader_info(reader)->geometry.size;
    slice = malloc((size_t)(size[0] * size[1]) * sizeof *slice);
    if (!slice) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a slice", path);
        goto cleanup;
    }
    for (int64_t z = 0; z < size[2]; z++) {
        RVX_TRY(rvx__volume_reader_slab_i32(reader, slice, z, 1, error));
        RVX_TRY(count_slice(list, slice, size[0] * size[1], path, error));
    }
cleanup:
    free(slice);
    rvx__volume_reader_close(reader);
    return status;
}

rvx_status rvx__label_table_count(rvx_label_table *table, char *const *paths, int64_t path_count,
                                  rvx_error *error)
{
    *table = (rvx_label_table){0};
    rvx_status status = RVX_OK;
    tally_list list = {0};
    for (int64_t k = 0; k < path_count; k++)
        RVX_TRY(count_map(&list, paths[k], error));
    int64_t zero = find(&list, 0);
    if (zero < list.count && list.entries[zero].value == 0) {
        memmove(list.entries + zero, list.entries + zero + 1,
                (size_t)(list.count - zero - 1) * sizeof *list.entries);
        list.count--;
    }
    if (list.count < 1 || list.count >= LABELS_MAX) {
        status = rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                           "the label maps hold %lld non-zero values; 1 to %d can be labels: merge "
                           "some",
                           (long long)list.count, LABELS_MAX - 1);
        goto cleanup;
    }
    qsort(list.entries, (size_t)list.count, sizeof *list.entries, by_voxels);
    for (int64_t k = 0; k < list.count; k++)
        list.entries[k].label = (uint8_t)(k + 1);
    qsort(list.entries, (size_t)list.count, sizeof *list.entries, by_value);
    RVX_TRY(table_from(table, &list, list.count + 1, error));
cleanup:
    free(list.entries);
    return status;
}

void rvx__label_table_free(rvx_label_table *table)
{
    if (!table)
        return;
    free(table->values);
    free(table->labels);
    *table = (rvx_label_table){0};
}
