/* Means of an evaluation, its JSON and its tables: see evaluate.h. Invariant: a mean leaves
 * undefined (NaN) values out and says how many it used. */
#include "engine/segment/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = RVX_METRICS_FIELD_COUNT, DICE = 0, UNMATCHED_SHOWN_MAX = 5 };

static double field_value(const rvx_evaluation *e, int64_t case_index, int64_t class_index,
                          int field)
{
    return *rvx__metrics_value(&e->cases[case_index].metrics[class_index], field);
}

double rvx__evaluation_class_mean(const rvx_evaluation *evaluation, int64_t class_index, int field,
                                  int64_t *defined)
{
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t i = 0; i < evaluation->case_count; i++) {
        double value = field_value(evaluation, i, class_index, field);
        if (!isnan(value)) {
            sum += value;
            count++;
        }
    }
    if (defined)
        *defined = count;
    return count ? sum / (double)count : NAN;
}

double rvx__evaluation_case_mean(const rvx_evaluation *evaluation, int64_t case_index, int field)
{
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t c = 0; c < evaluation->list.count; c++) {
        double value = field_value(evaluation, case_index, c, field);
        if (!isnan(value)) {
            sum += value;
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}

double rvx__evaluation_mean(const rvx_evaluation *evaluation, int field)
{
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t c = 0; c < evaluation->list.count; c++) {
        double value = rvx__evaluation_class_mean(evaluation, c, field, NULL);
        if (!isnan(value)) {
            sum += value;
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}

/* Insertion keeps ties in order of name; case counts are small. */
void rvx__evaluation_order(int64_t *order, const rvx_evaluation *evaluation)
{
    for (int64_t i = 0; i < evaluation->case_count; i++) {
        double dice = rvx__evaluation_case_mean(evaluation, i, DICE);
        int64_t place = i;
        while (place > 0) {
            double before = rvx__evaluation_case_mean(evaluation, order[place - 1], DICE);
            if (!(dice < before || (isnan(before) && !isnan(dice))))
                break;
            order[place] = order[place - 1];
            place--;
        }
        order[place] = i;
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *class_json(const rvx_label_class *label_class)
{
    json_t *out = json_object();
    json_t *labels = json_array();
    json_object_set_new(out, "label", json_integer(label_class->label));
    json_object_set_new(out, "name", json_string(label_class->name));
    for (int label = 0; label < 256; label++)
        if (label_class->member[label])
            json_array_append_new(labels, json_integer(label));
    if (json_array_size(labels) > 1)
        json_object_set(out, "labels", labels);
    json_decref(labels);
    return out;
}

static json_t *case_json(const rvx_evaluation *e, int64_t index)
{
    const rvx_evaluation_case *c = &e->cases[index];
    json_t *out = json_object(), *classes = json_array(), *mean = json_object();
    json_t *spacing = json_array();
    for (int axis = 0; axis < 3; axis++)
        json_array_append_new(spacing, json_real(c->spacing[axis]));
    json_object_set_new(out, "case", json_string(c->name));
    json_object_set_new(out, "prediction", json_string(c->prediction_path));
    json_object_set_new(out, "reference", json_string(c->reference_path));
    json_object_set_new(out, "spacing_mm", spacing);
    for (int64_t k = 0; k < e->list.count; k++) {
        const rvx_class_metrics *m = &c->metrics[k];
        json_t *entry = class_json(&e->list.classes[k]);
        for (int field = 0; field < FIELDS; field++)
            json_object_set_new(entry, rvx__metrics_fields[field].name,
                                number_or_null(field_value(e, index, k, field)));
        json_object_set_new(entry, "true_positive", json_integer(m->true_positive));
        json_object_set_new(entry, "false_positive", json_integer(m->false_positive));
        json_object_set_new(entry, "false_negative", json_integer(m->false_negative));
        json_array_append_new(classes, entry);
    }
    json_object_set_new(out, "classes", classes);
    for (int field = 0; field < FIELDS; field++)
        json_object_set_new(mean, rvx__metrics_fields[field].name,
                            number_or_null(rvx__evaluation_case_mean(e, index, field)));
    json_object_set_new(out, "mean", mean);
    return out;
}

static json_t *class_means_json(const rvx_evaluation *e, int64_t index)
{
    json_t *out = class_json(&e->list.classes[index]);
    json_t *mean = json_object(), *defined = json_object();
    for (int field = 0; field < FIELDS; field++) {
        int64_t count = 0;
        double value = rvx__evaluation_class_mean(e, index, field, &count);
        json_object_set_new(mean, rvx__metrics_fields[field].name, number_or_null(value));
        json_object_set_new(defined, rvx__metrics_fields[field].name, json_integer(count));
    }
    json_object_set_new(out, "mean", mean);
    json_object_set_new(out, "defined_cases", defined);
    return out;
}

json_t *rvx__evaluation_to_json(const rvx_evaluation *evaluation)
{
    json_t *root = json_object(), *cases = json_array(), *classes = json_array();
    json_t *mean = json_object(), *unmatched = json_array();
    for (int field = 0; field < FIELDS; field++)
        json_object_set_new(mean, rvx__metrics_fields[field].name,
                            number_or_null(rvx__evaluation_mean(evaluation, field)));
    for (int64_t c = 0; c < evaluation->list.count; c++)
        json_array_append_new(classes, class_means_json(evaluation, c));
    for (int64_t i = 0; i < evaluation->case_count; i++)
        json_array_append_new(cases, case_json(evaluation, i));
    for (int64_t i = 0; i < evaluation->unmatched_count; i++)
        json_array_append_new(unmatched, json_string(evaluation->unmatched[i]));
    json_object_set_new(root, "mean", mean);
    json_object_set_new(root, "tolerance_mm", json_real(evaluation->tolerance_mm));
    json_object_set_new(root, "case_count", json_integer(evaluation->case_count));
    json_object_set_new(root, "classes", classes);
    json_object_set_new(root, "cases", cases);
    json_object_set_new(root, "predictions_without_reference", unmatched);
    return root;
}

rvx_status rvx__evaluation_write(const rvx_evaluation *evaluation, const char *path,
                                 rvx_error *error)
{
    json_t *root = rvx__evaluation_to_json(evaluation);
    rvx_status status = root ? rvx__json_save(root, path, error)
                             : rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory", path);
    json_decref(root);
    return status;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

typedef struct table_column {
    int field;
    int width, digits;
} table_column;

static const table_column columns[] = {{0, 7, 4}, {1, 7, 4},  {2, 7, 4}, {3, 8, 2},
                                       {4, 8, 3}, {6, 11, 3}, {7, 8, 1}};
enum { COLUMNS = sizeof columns / sizeof *columns, RELATIVE = 7 };

static void cell_add(rvx_text *text, const table_column *column, double value)
{
    if (isnan(value))
        rvx__text_format(text, "  %*s", column->width, "-");
    else
        rvx__text_format(text, "  %*.*f", column->width, column->digits,
                         column->field == RELATIVE ? 100.0 * value : value);
}

/* Bytes of the longest name, so that columns line up; names are padded by bytes. */
static int name_width(const rvx_evaluation *e)
{
    size_t width = strlen("Class");
    for (int64_t c = 0; c < e->list.count; c++)
        width = strlen(e->list.classes[c].name) > width ? strlen(e->list.classes[c].name) : width;
    for (int64_t i = 0; i < e->case_count; i++)
        width = strlen(e->cases[i].name) > width ? strlen(e->cases[i].name) : width;
    return width > 60 ? 60 : (int)width;
}

static void header_add(rvx_text *text, const char *first, int width)
{
    static const char *const titles[COLUMNS] = {"Dice",    "IoU",       "NSD",     "HD95 mm",
                                                "ASSD mm", "Volume ml", "Volume %"};
    rvx__text_format(text, "%-*s", width, first);
    for (int i = 0; i < COLUMNS; i++)
        rvx__text_format(text, "  %*s", columns[i].width, titles[i]);
    rvx__text_add(text, "\n");
}

void rvx__evaluation_table(rvx_text *text, const rvx_evaluation *evaluation)
{
    const rvx_evaluation *e = evaluation;
    int width = name_width(e);
    header_add(text, "Class", width);
    for (int64_t c = 0; c < e->list.count; c++) {
        rvx__text_format(text, "%-*.*s", width, width, e->list.classes[c].name);
        for (int i = 0; i < COLUMNS; i++)
            cell_add(text, &columns[i], rvx__evaluation_class_mean(e, c, columns[i].field, NULL));
        rvx__text_add(text, "\n");
    }
    rvx__text_format(text, "%-*s", width, "mean");
    for (int i = 0; i < COLUMNS; i++)
        cell_add(text, &columns[i], rvx__evaluation_mean(e, columns[i].field));
    rvx__text_add(text, "\n\n");
    int64_t *order = calloc((size_t)e->case_count + 1, sizeof *order);
    if (!order) {
        text->failed = true;
        return;
    }
    rvx__evaluation_order(order, e);
    header_add(text, "Case", width);
    for (int64_t i = 0; i < e->case_count; i++) {
        rvx__text_format(text, "%-*.*s", width, width, e->cases[order[i]].name);
        for (int k = 0; k < COLUMNS; k++)
            cell_add(text, &columns[k], rvx__evaluation_case_mean(e, order[i], columns[k].field));
        rvx__text_add(text, "\n");
    }
    free(order);
    rvx__text_format(text,
                     "\n%lld cases, worst first; NSD at %g mm; volume: prediction minus reference; "
                     "- is undefined (an empty class) and left out of means.\n",
                     (long long)e->case_count, e->tolerance_mm);
    for (int64_t i = 0; i < e->unmatched_count && i < UNMATCHED_SHOWN_MAX; i++)
        rvx__text_format(text, "%s: no reference, not evaluated.\n", e->unmatched[i]);
    if (e->unmatched_count > UNMATCHED_SHOWN_MAX)
        rvx__text_format(text, "and %lld more files without reference.\n",
                         (long long)(e->unmatched_count - UNMATCHED_SHOWN_MAX));
}
