/* Reading an evaluation back from its JSON: see evaluate.h. */
#include "engine/base/json.h"
#include "engine/segment/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = RVX_METRICS_FIELD_COUNT, NAME_BYTES = 64, PATH_BYTES = 4096 };

static const int64_t json_bytes_max = (int64_t)1 << 30;
static const int64_t count_max = 1 << 24;

static rvx_status classes_read(rvx_class_list *list, const rvx_json *classes, rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t count = 0;
    RVX_TRY(rvx__json_array(&count, classes, 1, 256, error));
    list->ignore_label = -1;
    memset(list->declared, 1, sizeof list->declared);
    list->classes = calloc((size_t)count, sizeof *list->classes);
    if (!list->classes)
        return rvx__fail(error, RVX_ERROR_MEMORY, "class list: no memory");
    for (int64_t i = 0; i < count; i++) {
        rvx_json entry = rvx__json_element(classes, i);
        rvx_json label = rvx__json_member(&entry, "label"), name = rvx__json_member(&entry, "name");
        rvx_json members = rvx__json_member(&entry, "labels");
        int64_t value = 0, member_count = 0;
        const char *text = NULL;
        RVX_TRY(rvx__json_integer(&value, &label, 0, 255, error));
        RVX_TRY(rvx__json_string(&text, &name, NAME_BYTES, error));
        rvx__label_class_set(&list->classes[i], text, (int32_t)value);
        list->count++;
        if (rvx__json_absent(&members))
            continue;
        RVX_TRY(rvx__json_array(&member_count, &members, 1, 256, error));
        for (int64_t k = 0; k < member_count; k++) {
            rvx_json element = rvx__json_element(&members, k);
            RVX_TRY(rvx__json_integer(&value, &element, 0, 255, error));
            list->classes[i].member[value] = 1;
        }
    }
cleanup:
    return status;
}

static rvx_status metrics_read(rvx_class_metrics *m, const rvx_json *entry, rvx_error *error)
{
    rvx_status status = RVX_OK;
    static const char *const names[3] = {"true_positive", "false_positive", "false_negative"};
    int64_t *const counts[3] = {&m->true_positive, &m->false_positive, &m->false_negative};
    for (int field = 0; field < FIELDS; field++) {
        rvx_json value = rvx__json_member(entry, rvx__metrics_fields[field].name);
        double *out = rvx__metrics_value(m, field);
        *out = NAN;
        if (!rvx__json_absent(&value) && !rvx__json_null(&value))
            RVX_TRY(rvx__json_number(out, &value, -1e300, 1e300, error));
    }
    for (int i = 0; i < 3; i++) {
        rvx_json value = rvx__json_member(entry, names[i]);
        if (!rvx__json_absent(&value))
            RVX_TRY(rvx__json_integer(counts[i], &value, 0, INT64_MAX / 4, error));
    }
    m->reference_voxels = m->true_positive + m->false_negative;
    m->prediction_voxels = m->true_positive + m->false_positive;
cleanup:
    return status;
}

static rvx_status string_copy(char **out, const rvx_json *object, const char *key, rvx_error *error)
{
    rvx_json value = rvx__json_member(object, key);
    const char *text = NULL;
    rvx_status status = rvx__json_string(&text, &value, PATH_BYTES, error);
    if (status != RVX_OK)
        return status;
    *out = strdup(text);
    return *out ? RVX_OK : rvx__fail(error, RVX_ERROR_MEMORY, "evaluation: no memory");
}

static rvx_status case_read(rvx_evaluation_case *c, const rvx_json *entry, int64_t class_count,
                            rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_json classes = rvx__json_member(entry, "classes");
    rvx_json spacing = rvx__json_member(entry, "spacing_mm");
    rvx_json fold = rvx__json_member(entry, "fold");
    int64_t count = 0;
    RVX_TRY(string_copy(&c->name, entry, "case", error));
    RVX_TRY(string_copy(&c->prediction_path, entry, "prediction", error));
    RVX_TRY(string_copy(&c->reference_path, entry, "reference", error));
    if (!rvx__json_absent(&fold))
        RVX_TRY(rvx__json_integer(&c->fold, &fold, 1, 1000, error));
    RVX_TRY(rvx__json_array(&count, &spacing, 3, 3, error));
    for (int64_t axis = 0; axis < 3; axis++) {
        rvx_json element = rvx__json_element(&spacing, axis);
        RVX_TRY(rvx__json_number(&c->spacing[axis], &element, 0.0, 1e12, error));
    }
    RVX_TRY(rvx__json_array(&count, &classes, class_count, class_count, error));
    c->metrics = calloc((size_t)count, sizeof *c->metrics);
    if (!c->metrics)
        return rvx__fail(error, RVX_ERROR_MEMORY, "evaluation: no memory");
    for (int64_t k = 0; k < count; k++) {
        rvx_json element = rvx__json_element(&classes, k);
        RVX_TRY(rvx__json_object(&element, NULL, error));
        RVX_TRY(metrics_read(&c->metrics[k], &element, error));
    }
cleanup:
    return status;
}

rvx_status rvx__evaluation_from_json(rvx_evaluation *evaluation, const json_t *tree,
                                     const char *file, rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t count = 0;
    *evaluation = (rvx_evaluation){0};
    rvx_json root = rvx__json_root(tree, file);
    rvx_json tolerance = rvx__json_member(&root, "tolerance_mm");
    rvx_json classes = rvx__json_member(&root, "classes");
    rvx_json cases = rvx__json_member(&root, "cases");
    RVX_TRY(rvx__json_object(&root, NULL, error));
    RVX_TRY(rvx__json_number(&evaluation->tolerance_mm, &tolerance, 1e-9, 1e9, error));
    RVX_TRY(classes_read(&evaluation->list, &classes, error));
    RVX_TRY(rvx__json_array(&count, &cases, 0, count_max, error));
    evaluation->cases = calloc((size_t)count + 1, sizeof *evaluation->cases);
    if (!evaluation->cases) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its cases", file);
        goto cleanup;
    }
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(&cases, i);
        evaluation->case_count++;
        RVX_TRY(case_read(&evaluation->cases[i], &element, evaluation->list.count, error));
    }
cleanup:
    if (status != RVX_OK)
        rvx__evaluation_free(evaluation);
    return status;
}

rvx_status rvx__evaluation_load(rvx_evaluation *evaluation, const char *path, rvx_error *error)
{
    json_t *tree = NULL;
    *evaluation = (rvx_evaluation){0};
    rvx_status status = rvx__json_load(&tree, path, json_bytes_max, error);
    if (status == RVX_OK)
        status = rvx__evaluation_from_json(evaluation, tree, path, error);
    json_decref(tree);
    return status;
}
