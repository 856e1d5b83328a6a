/* Class lists: see classes.h. */
#include "engine/segment/classes.h"

#include <stdlib.h>
#include <string.h>

enum { LABELS = 256, DATASET_BYTES_MAX = 16 << 20 };

static rvx_status list_start(rvx_class_list *list, int64_t capacity, rvx_error *error)
{
    *list = (rvx_class_list){.ignore_label = -1};
    list->classes = calloc((size_t)(capacity > 0 ? capacity : 1), sizeof *list->classes);
    if (!list->classes)
        return rvx__fail(error, RVX_ERROR_MEMORY, "class list: %lld classes refused",
                         (long long)capacity);
    return RVX_OK;
}

void rvx__class_list_free(rvx_class_list *list)
{
    free(list->classes);
    *list = (rvx_class_list){0};
}

static int class_compare(const void *a, const void *b)
{
    const rvx_label_class *x = a, *y = b;
    return x->label != y->label ? (x->label > y->label) - (x->label < y->label)
                                : strcmp(x->name, y->name);
}

/* One entry of "labels": fills `out` with the values that make the class. */
static rvx_status entry_read(rvx_label_class *out, const rvx_json *entry, rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t label = 0, count = 1;
    if (json_is_string(entry->value)) {
        const char *name = NULL;
        char *end = NULL;
        RVX_TRY(rvx__json_string(&name, entry, sizeof out->name, error));
        label = strtoll(entry->key, &end, 10);
        if (*end || end == entry->key || label < 0 || label >= LABELS)
            return rvx__json_fail(entry, error, "names a class but its key is not a label 0..255");
        rvx__label_class_set(out, name, (int32_t)label);
        return RVX_OK;
    }
    if (strlen(entry->key) >= sizeof out->name)
        return rvx__json_fail(entry, error, "has a name of more than %zu bytes",
                              sizeof out->name - 1);
    if (!json_is_array(entry->value)) {
        RVX_TRY(rvx__json_integer(&label, entry, 0, LABELS - 1, error));
        rvx__label_class_set(out, entry->key, (int32_t)label);
        return RVX_OK;
    }
    RVX_TRY(rvx__json_array(&count, entry, 1, LABELS, error));
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(entry, i);
        RVX_TRY(rvx__json_integer(&label, &element, 0, LABELS - 1, error));
        if (i == 0)
            rvx__label_class_set(out, entry->key, (int32_t)label);
        out->member[label] = 1;
    }
cleanup:
    return status;
}

rvx_status rvx__class_list_from_json(rvx_class_list *list, const json_t *tree, const char *path,
                                     rvx_error *error)
{
    rvx_status status = RVX_OK;
    *list = (rvx_class_list){.ignore_label = -1};
    rvx_json root = rvx__json_root(tree, path), labels = rvx__json_member(&root, "labels");
    RVX_TRY(rvx__json_object(&root, NULL, error));
    RVX_TRY(rvx__json_object(&labels, NULL, error));
    RVX_TRY(list_start(list, (int64_t)json_object_size(labels.value), error));
    snprintf(list->source, sizeof list->source, "%s", path);
    list->declared[0] = 1;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)labels.value, key, value)
    {
        rvx_json entry = rvx__json_member(&labels, key);
        rvx_label_class *out = &list->classes[list->count];
        RVX_TRY(entry_read(out, &entry, error));
        for (int label = 0; label < LABELS; label++)
            list->declared[label] |= out->member[label];
        if (strcmp(out->name, "ignore") == 0)
            list->ignore_label = out->label;
        else if (out->label != 0 || json_is_array(value))
            list->count++;
    }
    if (list->count == 0)
        status = rvx__json_fail(&labels, error, "declares no class besides the background");
    qsort(list->classes, (size_t)list->count, sizeof *list->classes, class_compare);
cleanup:
    if (status != RVX_OK)
        rvx__class_list_free(list);
    return status;
}

rvx_status rvx__class_list_load(rvx_class_list *list, const char *path, rvx_error *error)
{
    json_t *tree = NULL;
    *list = (rvx_class_list){.ignore_label = -1};
    rvx_status status = rvx__json_load(&tree, path, DATASET_BYTES_MAX, error);
    if (status == RVX_OK)
        status = rvx__class_list_from_json(list, tree, path, error);
    json_decref(tree);
    return status;
}

rvx_status rvx__class_list_found(rvx_class_list *list, const uint8_t *present, rvx_error *error)
{
    rvx_status status = list_start(list, LABELS, error);
    if (status != RVX_OK)
        return status;
    memset(list->declared, 1, sizeof list->declared);
    for (int label = 1; label < LABELS; label++)
        if (present[label])
            rvx__label_class_set(&list->classes[list->count++], NULL, label);
    return RVX_OK;
}

rvx_status rvx__class_list_copy(rvx_class_list *list, const rvx_label_class *classes, int64_t count,
                                int32_t ignore_label, rvx_error *error)
{
    rvx_status status = list_start(list, count, error);
    if (status != RVX_OK)
        return status;
    memset(list->declared, 1, sizeof list->declared);
    memcpy(list->classes, classes, (size_t)count * sizeof *classes);
    list->count = count;
    list->ignore_label = ignore_label;
    return RVX_OK;
}

rvx_status rvx__class_list_check(const rvx_class_list *list, const uint8_t *labels, int64_t voxels,
                                 bool ignore_allowed, const char *path, rvx_error *error)
{
    int64_t count[LABELS] = {0};
    for (int64_t i = 0; i < voxels; i++)
        count[labels[i]]++;
    for (int label = 0; label < LABELS; label++) {
        bool ignored = label == list->ignore_label;
        if (count[label] == 0 || (list->declared[label] && (!ignored || ignore_allowed)))
            continue;
        if (ignored)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: %lld voxels have label %d, which means ignore and may stand in a "
                             "reference only",
                             path, (long long)count[label], label);
        char expected[160] = "";
        size_t used = 0;
        for (int other = 0; other < LABELS && used < sizeof expected - 8; other++)
            if (list->declared[other] && (other != list->ignore_label || ignore_allowed))
                used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%d",
                                         used ? ", " : "", other);
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: %lld voxels have label %d; expected %s, as %s says", path,
                         (long long)count[label], label, expected, list->source);
    }
    return RVX_OK;
}
