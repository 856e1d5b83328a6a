/* How far the results scatter, and what post-processing gains: sections of the report. See
 * report_page.h. */
#include "engine/base/file.h"
#include "engine/segment/postprocess.h"
#include "engine/segment/report_page.h"
#include "engine/segment/spread.h"
#include "engine/segment/svg.h"

#include <math.h>

enum { FIELDS = RVX_METRICS_FIELD_COUNT, SHOWN = 3, FILE_BYTES_MAX = 1 << 20 };
static const int shown[SHOWN] = {0, 2, 3}; /* Dice, NSD, HD95 */

static void interval_cell(rvx_text *out, int field, double mean, const rvx_interval *interval)
{
    rvx__text_add(out, "<td class=\"n\">");
    rvx__report_value(out, field, mean);
    if (isfinite(interval->sd)) {
        rvx__text_add(out, " &#177; ");
        rvx__report_value(out, field, interval->sd);
        rvx__text_add(out, " <small>[");
        rvx__report_value(out, field, interval->low);
        rvx__text_add(out, ", ");
        rvx__report_value(out, field, interval->high);
        rvx__text_add(out, "]</small>");
    }
    rvx__text_add(out, "</td>");
}

static void header_add(rvx_text *out, const char *first)
{
    rvx__text_format(out, "<tr><th>%s</th>", first);
    for (int i = 0; i < SHOWN; i++)
        rvx__text_format(out, "<th class=\"n\">%s <small>%s</small></th>",
                         rvx__metrics_fields[shown[i]].long_name,
                         rvx__metrics_fields[shown[i]].unit);
    rvx__text_add(out, "</tr>\n");
}

static void folds_add(rvx_text *out, const rvx_evaluation *e)
{
    rvx_evaluation view = rvx__evaluation_fold(e, 1);
    if (view.case_count == 0)
        return;
    rvx__text_add(out, "<h3>Folds</h3>\n<div class=\"scroll\"><table class=\"data\">\n");
    header_add(out, "Fold, mean over classes");
    for (int64_t fold = 1; (view = rvx__evaluation_fold(e, fold)).case_count > 0; fold++) {
        rvx__text_format(out, "<tr><td>%lld <small>%lld cases</small></td>", (long long)fold,
                         (long long)view.case_count);
        for (int i = 0; i < SHOWN; i++) {
            rvx__text_add(out, "<td class=\"n\">");
            rvx__report_value(out, shown[i], rvx__evaluation_mean(&view, shown[i]));
            rvx__text_add(out, "</td>");
        }
        rvx__text_add(out, "</tr>\n");
    }
    rvx__text_add(out, "</table></div>\n");
}

rvx_status rvx__report_spread(rvx_text *out, const rvx_evaluation *e, rvx_error *error)
{
    rvx_spread spread;
    rvx_status status = rvx__spread_make(&spread, e, error);
    if (status != RVX_OK)
        goto cleanup;
    rvx__text_add(out, "<section id=\"spread\"><h2>Spread</h2>\n<div class=\"scroll\"><table "
                       "class=\"data\">\n");
    header_add(out, "Class, mean &#177; SD over cases [95&#8239;% interval]");
    for (int64_t k = 0; k < e->list.count; k++) {
        rvx__text_add(out, "<tr><td>");
        rvx__markup_add(out, e->list.classes[k].name);
        rvx__text_add(out, "</td>");
        for (int i = 0; i < SHOWN; i++)
            interval_cell(out, shown[i], rvx__evaluation_class_mean(e, k, shown[i], NULL),
                          &spread.classes[k * FIELDS + shown[i]]);
        rvx__text_add(out, "</tr>\n");
    }
    rvx__text_add(out, "<tr class=\"sum\"><td>Mean of classes</td>");
    for (int i = 0; i < SHOWN; i++)
        interval_cell(out, shown[i], rvx__evaluation_mean(e, shown[i]), &spread.all[shown[i]]);
    rvx__text_format(out,
                     "</tr>\n</table></div>\n<p class=\"note\">Intervals: percentiles of the means "
                     "of %lld resamples of the cases.</p>\n",
                     (long long)spread.resamples);
    folds_add(out, e);
    rvx__text_add(out, "</section>\n");
cleanup:
    rvx__spread_free(&spread);
    return status;
}

/* ---- Post-processing --------------------------------------------------------------------------
 */

static rvx_status dice_cell(rvx_text *out, const rvx_json *gain, const char *key, rvx_error *error)
{
    rvx_json value = rvx__json_member(gain, key);
    double dice = (double)NAN;
    rvx_status status = RVX_OK;
    if (!rvx__json_null(&value))
        status = rvx__json_number(&dice, &value, 0, 1, error);
    rvx__text_add(out, "<td class=\"n\">");
    rvx__markup_fixed(out, dice, 4);
    rvx__text_add(out, "</td>");
    return status;
}

static rvx_status gains_add(rvx_text *out, const rvx_json *root, rvx_error *error)
{
    static const char *const keys[] = {"dice_as_predicted", "dice_foreground_largest",
                                       "dice_class_largest", "dice_chosen"};
    rvx_status status = RVX_OK;
    rvx_json by = rvx__json_member(root, "chosen_by"), classes = rvx__json_member(&by, "classes");
    int64_t count;
    if (rvx__json_absent(&by)) /* rules written by hand */
        return RVX_OK;
    RVX_TRY(rvx__json_array(&count, &classes, 0, 256, error));
    rvx__text_add(out, "<section id=\"postprocessing\"><h2>Post-processing</h2>\n<div "
                       "class=\"scroll\"><table class=\"data\">\n<tr><th>Class, mean Dice in "
                       "validation</th><th class=\"n\">as predicted</th><th class=\"n\">largest "
                       "of all foreground</th><th class=\"n\">largest of the class</th><th "
                       "class=\"n\">chosen</th></tr>\n");
    for (int64_t i = 0; i < count; i++) {
        rvx_json gain = rvx__json_element(&classes, i), name = rvx__json_member(&gain, "class");
        const char *text;
        RVX_TRY(rvx__json_string(&text, &name, 64, error));
        rvx__text_add(out, "<tr><td>");
        rvx__markup_add(out, text);
        rvx__text_add(out, "</td>");
        for (int k = 0; k < 4; k++)
            RVX_TRY(dice_cell(out, &gain, keys[k], error));
        rvx__text_add(out, "</tr>\n");
    }
    rvx__text_add(out, "</table></div>\n<p class=\"note\">Only components that raise the mean Dice "
                       "of these cases are removed. The results above are without "
                       "post-processing.</p></section>\n");
cleanup:
    return status;
}

rvx_status rvx__report_postprocess(rvx_text *out, const char *run, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    json_t *tree = NULL;
    if (!run)
        return RVX_OK;
    RVX_TRY(rvx__path_join(path, run, RVX_POSTPROCESS_FILE, error));
    if (!rvx__path_is_file(path))
        return RVX_OK;
    RVX_TRY(rvx__json_load(&tree, path, FILE_BYTES_MAX, error));
    rvx_json root = rvx__json_root(tree, path);
    status = gains_add(out, &root, error);
cleanup:
    json_decref(tree);
    return status;
}
