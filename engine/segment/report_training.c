/* The training half of the report: curves and recipe. See report_page.h. */
#include "engine/segment/report_page.h"

#include "engine/base/json.h"
#include "engine/segment/svg.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

enum { CURVES_MAX = 8, PLAN_BYTES_MAX = 16 << 20, PLAN_ROWS_MAX = 400, ARRAY_SHOWN_MAX = 24 };

/* One double of every record: values[i] from `offset` bytes into record i. */
static void column_copy(double *values, const void *records, size_t record_bytes, size_t offset,
                        int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = *(const double *)(const void *)((const char *)records +
                                                    (size_t)i * record_bytes + offset);
}

/* Exponential average over about 2 % of the run, started without bias; NaN is passed over. */
static void smooth(double *out, const double *in, int64_t count)
{
    double keep = exp(-1.0 / fmax(1.0, 0.02 * (double)count)), sum = 0.0, weight = 0.0;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(in[i])) {
            sum = keep * sum + (1.0 - keep) * in[i];
            weight = keep * weight + (1.0 - keep);
        }
        out[i] = isfinite(in[i]) ? sum / weight : NAN;
    }
}

static bool any_finite(const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (isfinite(values[i]))
            return true;
    return false;
}

/* The first steps' losses can tower over all others. The scale is that of the moving average after
 * the first twentieth; what lies above is drawn along the upper edge. */
static void loss_scale(rvx_chart *chart, const double *raw, const double *mean, int64_t count)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        low = isfinite(raw[i]) ? fmin(low, raw[i]) : low;
        high = isfinite(mean[i]) && i >= count / 20 ? fmax(high, mean[i]) : high;
    }
    if (count < 20 || !(high > low))
        return;
    double margin = 0.04 * (high - low);
    chart->y_low = low >= 0.0 && low < margin ? 0.0 : low - margin;
    chart->y_high = high + margin;
}

static void figure_add(rvx_text *out, const rvx_chart *chart)
{
    rvx__text_add(out, "<figure class=\"chart\">");
    rvx__svg_chart(out, chart);
    rvx__text_add(out, "</figure>\n");
}

/* Loss, learning rate and speed over steps. */
static void step_charts(rvx_text *out, const rvx_run_log *log, double *buffer)
{
    int64_t count = log->step_count;
    double *step = buffer, *raw = buffer + count, *mean = buffer + 2 * count;
    size_t size = sizeof *log->steps;
    column_copy(step, log->steps, size, offsetof(rvx_log_step, step), count);
    column_copy(raw, log->steps, size, offsetof(rvx_log_step, loss), count);
    smooth(mean, raw, count);
    rvx_series loss[] = {{.colour = "#1c7ed6", .x = step, .y = raw, .count = count, .faint = true},
                         {.colour = "#1c7ed6", .x = step, .y = mean, .count = count}};
    rvx_chart losses = {.title = "Training loss",
                        .y_label = "line: moving average",
                        .x_label = "step",
                        .series = loss,
                        .series_count = 2};
    loss_scale(&losses, raw, mean, count);
    if (any_finite(raw, count))
        figure_add(out, &losses);
    static const struct {
        const char *title, *label, *colour;
        size_t offset;
    } others[] = {
        {"Learning rate", NULL, "#7048e8", offsetof(rvx_log_step, learning_rate)},
        {"Speed", "voxels per second", "#0ca6a6", offsetof(rvx_log_step, voxels_per_second)}};
    for (int i = 0; i < 2; i++) {
        column_copy(raw, log->steps, size, others[i].offset, count);
        rvx_series series = {.colour = others[i].colour, .x = step, .y = raw, .count = count};
        if (any_finite(raw, count))
            figure_add(out, &(rvx_chart){.title = others[i].title,
                                         .y_label = others[i].label,
                                         .x_label = "step",
                                         .height = 220,
                                         .series = &series,
                                         .series_count = 1});
    }
}

/* Dice of each class, their mean, and the moving average that picks the best model. */
static void dice_chart(rvx_text *out, const rvx_run_log *log, double *buffer)
{
    int64_t count = log->validation_count, curves = 0;
    size_t size = sizeof *log->validations;
    rvx_series series[CURVES_MAX + 2];
    double *x = buffer, *next = buffer + count;
    column_copy(x, log->validations, size, offsetof(rvx_log_validation, step), count);
    bool by_step = any_finite(x, count);
    if (!by_step)
        column_copy(x, log->validations, size, offsetof(rvx_log_validation, epoch), count);
    for (int64_t c = 0; c < log->class_count && c < CURVES_MAX && log->class_count > 1; c++) {
        column_copy(next, log->validations, size,
                    offsetof(rvx_log_validation, dice) + (size_t)c * sizeof(double), count);
        series[curves++] = (rvx_series){.name = log->class_names[c],
                                        .colour = rvx__class_colour(c),
                                        .x = x,
                                        .y = next,
                                        .count = count};
        next += count;
    }
    column_copy(next, log->validations, size, offsetof(rvx_log_validation, mean_dice), count);
    if (any_finite(next, count))
        series[curves++] =
            (rvx_series){.name = "mean", .colour = "#212529", .x = x, .y = next, .count = count};
    next += count;
    column_copy(next, log->validations, size, offsetof(rvx_log_validation, ema_dice), count);
    if (any_finite(next, count))
        series[curves++] = (rvx_series){.name = "moving average",
                                        .colour = "#868e96",
                                        .x = x,
                                        .y = next,
                                        .count = count,
                                        .dashed = true};
    if (curves > 0)
        figure_add(out, &(rvx_chart){.title = "Validation Dice",
                                     .x_label = by_step ? "step" : "epoch",
                                     .y_low = 0.0,
                                     .y_high = 1.0,
                                     .series = series,
                                     .series_count = curves});
}

void rvx__report_curves(rvx_text *out, const rvx_run_log *log)
{
    int64_t values = 3 * log->step_count + (CURVES_MAX + 3) * log->validation_count;
    if (values == 0)
        return;
    double *buffer = malloc((size_t)values * sizeof *buffer);
    if (!buffer) {
        out->failed = true;
        return;
    }
    rvx__text_add(out, "<section id=\"training\"><h2>Training</h2>\n<div class=\"charts\">\n");
    if (log->validation_count > 0)
        dice_chart(out, log, buffer + 3 * log->step_count);
    if (log->step_count > 0)
        step_charts(out, log, buffer);
    rvx__text_add(out, "</div></section>\n");
    free(buffer);
}

static void plain_add(rvx_text *out, const json_t *value)
{
    if (json_is_string(value)) {
        rvx__markup_add(out, json_string_value(value));
        return;
    }
    rvx_text text = {0};
    rvx__json_print(&text, value);
    if (text.failed)
        out->failed = true;
    else if (text.data) {
        while (text.bytes > 0 && text.data[text.bytes - 1] == '\n')
            text.data[--text.bytes] = 0;
        rvx__markup_add(out, text.data);
    }
    rvx__text_free(&text);
}

/* One table row for a value that is not an object; rows: how many there are so far. */
static void row_add(rvx_text *out, const char *name, const json_t *value, int *rows)
{
    if ((*rows)++ >= PLAN_ROWS_MAX)
        return;
    rvx__text_add(out, "<tr><th>");
    rvx__markup_add(out, name);
    rvx__text_add(out, "</th><td>");
    if (json_array_size(value) > ARRAY_SHOWN_MAX)
        rvx__text_format(out, "%zu entries", json_array_size(value));
    else
        plain_add(out, value);
    rvx__text_add(out, "</td></tr>\n");
}

static void rows_add(rvx_text *out, const char *prefix, const json_t *object, int depth, int *rows)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        rvx_text name = {0};
        if (prefix[0])
            rvx__text_format(&name, "%s.%s", prefix, key);
        else
            rvx__text_add(&name, key);
        if (!name.data || name.failed)
            out->failed = true;
        else if (json_is_object(value) && json_object_size(value) > 0 && depth < 6)
            rows_add(out, name.data, value, depth + 1, rows);
        else
            row_add(out, name.data, value, rows);
        rvx__text_free(&name);
    }
}

rvx_status rvx__report_recipe(rvx_text *out, const char *plan_path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    json_t *root = NULL;
    int rows = 0;
    RVX_TRY(rvx__json_load(&root, plan_path, PLAN_BYTES_MAX, error));
    rvx_json top = rvx__json_root(root, plan_path);
    RVX_TRY(rvx__json_object(&top, NULL, error));
    rvx__text_add(out, "<section id=\"recipe\"><h2>Recipe</h2>\n<details><summary>All settings of "
                       "this run (plan.json)</summary>\n<div class=\"columns\"><table "
                       "class=\"plan\">\n");
    rows_add(out, "", root, 0, &rows);
    rvx__text_add(out, "</table></div>");
    if (rows > PLAN_ROWS_MAX)
        rvx__text_format(out, "<p class=\"note\">%d further settings stand in plan.json.</p>",
                         rows - PLAN_ROWS_MAX);
    rvx__text_add(out, "</details></section>\n");
cleanup:
    json_decref(root);
    return status;
}
