/* Means of an evaluation, its JSON and its tables: see evaluate.h. Invariant: a mean leaves
 * undefined (NaN) values out and says how many it used. */
#include "engine/segment/spread.h"
#include "engine/volume/repair.h"

#include <math.h>
#include <stdio.h>
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
    if (c->fold)
        json_object_set_new(out, "fold", json_integer(c->fold));
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

/* One interval a field, as "sd": {field: number} and "interval": {field: [low, high]}. */
static void spread_json(json_t *out, const rvx_interval *intervals)
{
    json_t *sd = json_object(), *ranges = json_object();
    for (int field = 0; field < FIELDS; field++) {
        const char *name = rvx__metrics_fields[field].name;
        json_t *range = json_array();
        json_array_append_new(range, number_or_null(intervals[field].low));
        json_array_append_new(range, number_or_null(intervals[field].high));
        json_object_set_new(sd, name, number_or_null(intervals[field].sd));
        json_object_set_new(ranges, name, range);
    }
    json_object_set_new(out, "sd", sd);
    json_object_set_new(out, "interval", ranges);
}

static json_t *means_json(const rvx_evaluation *e)
{
    json_t *mean = json_object();
    for (int field = 0; field < FIELDS; field++)
        json_object_set_new(mean, rvx__metrics_fields[field].name,
                            number_or_null(rvx__evaluation_mean(e, field)));
    return mean;
}

static json_t *folds_json(const rvx_evaluation *e)
{
    json_t *folds = json_array();
    rvx_evaluation view;
    for (int64_t fold = 1; (view = rvx__evaluation_fold(e, fold)).case_count > 0; fold++) {
        json_t *entry = json_object();
        json_object_set_new(entry, "fold", json_integer(fold));
        json_object_set_new(entry, "case_count", json_integer(view.case_count));
        json_object_set_new(entry, "mean", means_json(&view));
        json_array_append_new(folds, entry);
    }
    return folds;
}

static json_t *class_means_json(const rvx_evaluation *e, int64_t index, const rvx_spread *spread)
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
    spread_json(out, spread->classes + index * FIELDS);
    return out;
}

/* What was repaired in the label maps before they were compared. */
static json_t *repairs_json(const rvx_repairs *repairs)
{
    json_t *lines = json_array();
    for (int64_t i = 0; i < repairs->count; i++)
        json_array_append_new(lines, json_string(repairs->lines[i]));
    return lines;
}

json_t *rvx__evaluation_to_json(const rvx_evaluation *evaluation)
{
    rvx_spread spread;
    if (rvx__spread_make(&spread, evaluation, NULL) != RVX_OK) {
        rvx__spread_free(&spread);
        return NULL;
    }
    json_t *root = json_object(), *cases = json_array(), *classes = json_array();
    json_t *unmatched = json_array(), *bootstrap = json_object(), *folds = folds_json(evaluation);
    for (int64_t c = 0; c < evaluation->list.count; c++)
        json_array_append_new(classes, class_means_json(evaluation, c, &spread));
    for (int64_t i = 0; i < evaluation->case_count; i++)
        json_array_append_new(cases, case_json(evaluation, i));
    for (int64_t i = 0; i < evaluation->unmatched_count; i++)
        json_array_append_new(unmatched, json_string(evaluation->unmatched[i]));
    json_object_set_new(bootstrap, "resamples", json_integer(spread.resamples));
    json_object_set_new(bootstrap, "seed", json_integer((json_int_t)evaluation->seed));
    json_object_set_new(bootstrap, "confidence", json_real(0.95));
    json_object_set_new(root, "mean", means_json(evaluation));
    spread_json(root, spread.all);
    json_object_set_new(root, "bootstrap", bootstrap);
    if (json_array_size(folds) > 0)
        json_object_set(root, "folds", folds);
    json_decref(folds);
    rvx__spread_free(&spread);
    json_object_set_new(root, "tolerance_mm", json_real(evaluation->tolerance_mm));
    json_object_set_new(root, "case_count", json_integer(evaluation->case_count));
    json_object_set_new(root, "classes", classes);
    json_object_set_new(root, "cases", cases);
    json_object_set_new(root, "predictions_without_reference", unmatched);
    if (evaluation->repairs && evaluation->repairs->count > 0)
        json_object_set_new(root, "repairs", repairs_json(evaluation->repairs));
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

/* Mean, standard deviation and interval of what is most looked at. */
static void spread_row(rvx_text *text, const char *name, int width, const rvx_interval *intervals,
                       double (*mean)(const rvx_evaluation *e, int64_t index, int field),
                       const rvx_evaluation *e, int64_t index)
{
    static const table_column shown[] = {{0, 0, 4}, {2, 0, 4}, {3, 0, 2}};
    rvx__text_format(text, "%-*.*s", width, width, name);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        const rvx_interval *at = &intervals[shown[i].field];
        double value = mean(e, index, shown[i].field);
        char cell[96] = "-";
        int d = shown[i].digits;
        if (!isnan(value) && !isnan(at->sd))
            snprintf(cell, sizeof cell, "%.*f +- %.*f [%.*f, %.*f]", d, value, d, at->sd, d,
                     at->low, d, at->high);
        else if (!isnan(value))
            snprintf(cell, sizeof cell, "%.*f", d, value);
        rvx__text_format(text, "  %33s", cell);
    }
    rvx__text_add(text, "\n");
}

static double class_mean(const rvx_evaluation *e, int64_t index, int field)
{
    return rvx__evaluation_class_mean(e, index, field, NULL);
}

static double all_mean(const rvx_evaluation *e, int64_t index, int field)
{
    (void)index;
    return rvx__evaluation_mean(e, field);
}

static void spread_add(rvx_text *text, const rvx_evaluation *e, int width)
{
    rvx_spread spread;
    if (rvx__spread_make(&spread, e, NULL) == RVX_OK) {
        rvx__text_format(text, "%-*s  %33s  %33s  %33s\n", width, "Class", "Dice +- SD [95 %]",
                         "NSD +- SD [95 %]", "HD95 mm +- SD [95 %]");
        for (int64_t c = 0; c < e->list.count; c++)
            spread_row(text, e->list.classes[c].name, width, spread.classes + c * FIELDS,
                       class_mean, e, c);
        spread_row(text, "mean", width, spread.all, all_mean, e, 0);
        rvx__text_format(text,
                         "SD over cases; intervals: bootstrap over cases, %lld resamples.\n\n",
                         (long long)spread.resamples);
    } else {
        text->failed = true;
    }
    rvx__spread_free(&spread);
}

static void folds_add(rvx_text *text, const rvx_evaluation *e, int width)
{
    rvx_evaluation view;
    for (int64_t fold = 1; (view = rvx__evaluation_fold(e, fold)).case_count > 0; fold++) {
        char name[48];
        if (fold == 1)
            header_add(text, "Fold", width);
        snprintf(name, sizeof name, "%lld", (long long)fold);
        rvx__text_format(text, "%-*s", width, name);
        for (int i = 0; i < COLUMNS; i++)
            cell_add(text, &columns[i], rvx__evaluation_mean(&view, columns[i].field));
        rvx__text_add(text, "\n");
    }
    if (rvx__evaluation_fold(e, 1).case_count > 0)
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
    spread_add(text, e, width);
    folds_add(text, e, width);
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
