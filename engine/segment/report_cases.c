/* The results half of the report: tables and pictures. See report_page.h. */
#include "engine/segment/overlay.h"
#include "engine/segment/report_page.h"
#include "engine/segment/svg.h"

#include <math.h>
#include <string.h>

enum { DICE = 0, RELATIVE = 7, CASES_MAX = 12, CASE_CLASSES_MAX = 8 };

/* Columns of the tables: indices into rvx__metrics_fields. */
static const int shown[] = {0, 1, 2, 3, 4, 6, 7, 8, 9};
enum { SHOWN = sizeof shown / sizeof *shown };

void rvx__report_value(rvx_text *out, int field, double value)
{
    const char *unit = rvx__metrics_fields[field].unit;
    if (field == RELATIVE) {
        if (value > 0.0)
            rvx__text_add(out, "+");
        rvx__markup_fixed(out, 100.0 * value, 1);
        if (isfinite(value))
            rvx__text_add(out, "&#8239;%");
        return;
    }
    if (strncmp(rvx__metrics_fields[field].name, "volume_error", 12) == 0 && value > 0.0)
        rvx__text_add(out, "+");
    rvx__markup_fixed(out, value, unit[0] == 0 ? 3 : 2);
}

void rvx__report_anchor(rvx_text *out, const char *case_name)
{
    rvx__text_add(out, "case-");
    for (const char *c = case_name; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || *c == '.';
        if (plain)
            rvx__text_append(out, c, 1);
        else
            rvx__text_format(out, "_%02x", (unsigned char)*c);
    }
}

static void swatch_add(rvx_text *out, int64_t class_index)
{
    rvx__text_format(out, "<i class=\"swatch\" style=\"background:%s\"></i>",
                     rvx__class_colour(class_index));
}

static void header_add(rvx_text *out, const rvx_evaluation *e, const char *first)
{
    rvx__text_format(out, "<tr><th>%s</th>", first);
    for (int i = 0; i < SHOWN; i++) {
        const rvx_metrics_field *field = &rvx__metrics_fields[shown[i]];
        rvx__text_format(out, "<th class=\"n\">%s",
                         shown[i] == RELATIVE ? "Volume" : field->long_name);
        if (strcmp(field->name, "nsd") == 0) {
            rvx__text_add(out, " <small>at ");
            rvx__markup_plain(out, e->tolerance_mm);
            rvx__text_add(out, "&#8239;mm</small>");
        } else if (field->unit[0] || shown[i] == RELATIVE) {
            rvx__text_format(out, " <small>%s</small>", field->unit[0] ? field->unit : "%");
        }
        rvx__text_add(out, "</th>");
    }
    rvx__text_add(out, "</tr>\n");
}

static void cell_add(rvx_text *out, int field, double value)
{
    rvx__text_add(out, "<td class=\"n\">");
    if (field == DICE && isfinite(value)) {
        rvx__text_add(out, "<span class=\"bar\"><i style=\"width:");
        rvx__markup_fixed(out, 100.0 * value, 0);
        rvx__text_add(out, "%\"></i></span>");
    }
    rvx__report_value(out, field, value);
    rvx__text_add(out, "</td>");
}

void rvx__report_tables(rvx_text *out, const rvx_evaluation *e, const int64_t *order)
{
    rvx__text_add(out, "<section id=\"results\"><h2>Results</h2>\n<div class=\"scroll\"><table "
                       "class=\"data\">\n");
    header_add(out, e, "Class, mean over cases");
    for (int64_t c = 0; c < e->list.count; c++) {
        rvx__text_add(out, "<tr><td>");
        swatch_add(out, c);
        rvx__markup_add(out, e->list.classes[c].name);
        rvx__text_add(out, "</td>");
        for (int i = 0; i < SHOWN; i++)
            cell_add(out, shown[i], rvx__evaluation_class_mean(e, c, shown[i], NULL));
        rvx__text_add(out, "</tr>\n");
    }
    if (e->list.count > 1) {
        rvx__text_add(out, "<tr class=\"sum\"><td>Mean of classes</td>");
        for (int i = 0; i < SHOWN; i++)
            cell_add(out, shown[i], rvx__evaluation_mean(e, shown[i]));
        rvx__text_add(out, "</tr>\n");
    }
    rvx__text_add(out, "</table></div>\n<h3>Cases, worst first</h3>\n<div class=\"scroll\"><table "
                       "class=\"data\">\n");
    header_add(out, e, e->list.count > 1 ? "Case, mean over classes" : "Case");
    for (int64_t i = 0; i < e->case_count; i++) {
        const char *name = e->cases[order[i]].name;
        rvx__text_add(out, "<tr><td><a href=\"#");
        rvx__report_anchor(out, name);
        rvx__text_add(out, "\">");
        rvx__markup_add(out, name);
        rvx__text_add(out, "</a></td>");
        for (int k = 0; k < SHOWN; k++)
            cell_add(out, shown[k], rvx__evaluation_case_mean(e, order[i], shown[k]));
        rvx__text_add(out, "</tr>\n");
    }
    rvx__text_add(out, "</table></div></section>\n");
}

/* ---- Pictures ---------------------------------------------------------------------------------
 */

/* The picture in a square view of view_pixels; left open for the letters at its edges. Both
 * pictures take the shape of the overlaid one, whose pixels are square in mm. */
static rvx_status image_add(rvx_text *out, const rvx_image *image, const rvx_overlay_plane *plane,
                            double view_pixels, const char *what, const char *name,
                            rvx_error *error)
{
    const rvx_image *shape = &plane->overlaid;
    rvx__text_add(out, "<div class=\"view\"><img alt=\"");
    rvx__markup_add(out, what);
    rvx__text_add(out, " of ");
    rvx__markup_add(out, name);
    rvx__text_add(out, "\" style=\"width:");
    rvx__markup_fixed(out, 100.0 * (double)shape->width / view_pixels, 2);
    rvx__text_format(out, "%%;aspect-ratio:%lld/%lld\" src=\"", (long long)shape->width,
                     (long long)shape->height);
    rvx_status status = rvx__png_data_uri(out, image, error);
    rvx__text_add(out, "\">");
    return status;
}

static rvx_status plane_add(rvx_text *out, const rvx_overlay_plane *plane, double view_pixels,
                            const char *name, rvx_error *error)
{
    rvx_status status = RVX_OK;
    static const char *const places[4] = {"l", "r", "t", "b"};
    rvx__text_add(out, "<figure class=\"plane\">");
    RVX_TRY(image_add(out, &plane->overlaid, plane, view_pixels, plane->name, name, error));
    for (int i = 0; i < 4; i++)
        rvx__text_format(out, "<b class=\"%s\">%c</b>", places[i], plane->edge[i]);
    rvx__text_add(out, "</div>");
    RVX_TRY(image_add(out, &plane->plain, plane, view_pixels, "Image alone", name, error));
    rvx__text_format(out, "</div><figcaption>%s <span>slice %lld of %lld along %c</span>",
                     plane->name, (long long)plane->slice, (long long)plane->slices, plane->axis);
    rvx__text_add(out, "</figcaption></figure>\n");
cleanup:
    return status;
}

/* What went well and what did not, class by class. */
static void chips_add(rvx_text *out, const rvx_evaluation *e, int64_t case_index)
{
    static const int chips[] = {0, 3, 4, 7};
    rvx__text_add(out, "<div class=\"chips\">");
    for (int64_t c = 0; c < e->list.count && c < CASE_CLASSES_MAX; c++) {
        rvx_class_metrics *m = &e->cases[case_index].metrics[c];
        rvx__text_add(out, "<span>");
        swatch_add(out, c);
        rvx__text_add(out, "<b>");
        rvx__markup_add(out, e->list.classes[c].name);
        rvx__text_add(out, "</b>");
        for (size_t i = 0; i < sizeof chips / sizeof *chips; i++) {
            const rvx_metrics_field *field = &rvx__metrics_fields[chips[i]];
            rvx__text_format(out, " %s ", chips[i] == RELATIVE ? "volume" : field->long_name);
            rvx__report_value(out, chips[i], *rvx__metrics_value(m, chips[i]));
            if (field->unit[0])
                rvx__text_format(out, "&#8239;%s", field->unit);
        }
        rvx__text_add(out, "</span>");
    }
    if (e->list.count > CASE_CLASSES_MAX)
        rvx__text_format(out, "<span>and %lld more classes</span>",
                         (long long)(e->list.count - CASE_CLASSES_MAX));
    rvx__text_add(out, "</div>\n");
}

/* case_index: in the evaluation, or -1. */
static rvx_status case_add(rvx_text *out, const rvx_report_request *report,
                           const rvx_report_case *c, int64_t case_index, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_overlay overlay = {0};
    rvx_error reason = {0};
    rvx_overlay_params params = {.list = report->evaluation ? &report->evaluation->list : NULL};
    rvx__text_add(out, "<article id=\"");
    rvx__report_anchor(out, c->name);
    rvx__text_add(out, "\"><h3>");
    rvx__markup_add(out, c->name);
    rvx__text_add(out, "</h3>\n");
    if (case_index >= 0)
        chips_add(out, report->evaluation, case_index);
    if (!c->image_path) {
        rvx__text_add(out, "<p class=\"note\">No image is known for this case.</p>");
    } else if (rvx__overlay_create(&overlay, c->image_path, c->reference_path, c->prediction_path,
                                   &params, &reason) != RVX_OK) {
        rvx__text_add(out, "<p class=\"note\">No picture: ");
        rvx__markup_add(out, reason.message);
        rvx__text_add(out, "</p>");
    } else {
        rvx__text_add(out, "<div class=\"planes\">\n");
        double view_pixels = 1.0;
        for (int p = 0; p < 3; p++)
            view_pixels = fmax(view_pixels, fmax((double)overlay.planes[p].overlaid.width,
                                                 (double)overlay.planes[p].overlaid.height));
        for (int p = 0; p < 3; p++)
            RVX_TRY(plane_add(out, &overlay.planes[p], view_pixels, c->name, error));
        rvx__text_add(out, "</div>\n<p class=\"note\">Grey window ");
        rvx__markup_short(out, overlay.window_low);
        rvx__text_add(out, " to ");
        rvx__markup_short(out, overlay.window_high);
        rvx__text_add(out, "</p>");
    }
    rvx__text_add(out, "</article>\n");
cleanup:
    rvx__overlay_free(&overlay);
    return status;
}

static const rvx_report_case *case_find(const rvx_report_request *report, const char *name)
{
    for (int64_t i = 0; i < report->case_count; i++)
        if (strcmp(report->cases[i].name, name) == 0)
            return &report->cases[i];
    return NULL;
}

static int64_t evaluated_find(const rvx_evaluation *e, const char *name)
{
    for (int64_t i = 0; e && i < e->case_count; i++)
        if (strcmp(e->cases[i].name, name) == 0)
            return i;
    return -1;
}

static rvx_status pictured(rvx_text *out, const rvx_report_request *report,
                           const rvx_report_case *c, int64_t case_index, int64_t done,
                           int64_t count, rvx_error *error)
{
    if (report->progress && !report->progress(report->context, c->name, done, count))
        return rvx__fail(error, RVX_CANCELLED, "report stopped after %lld of %lld pictures",
                         (long long)done, (long long)count);
    return case_add(out, report, c, case_index, error);
}

static void legend_add(rvx_text *out, const rvx_evaluation *e)
{
    rvx__text_add(out, "<p class=\"legend\"><span><svg width=\"26\" height=\"16\"><rect x=\"1\" "
                       "y=\"1\" width=\"24\" height=\"14\" rx=\"3\" fill=\"#2f9e44\" "
                       "opacity=\".4\"/></svg>reference</span><span><svg width=\"26\" "
                       "height=\"16\"><rect x=\"2\" y=\"2\" width=\"22\" height=\"12\" rx=\"3\" "
                       "fill=\"none\" stroke=\"#2f9e44\" stroke-width=\"2.5\"/></svg>"
                       "prediction</span>");
    for (int64_t c = 0; e && c < e->list.count; c++) {
        rvx__text_add(out, "<span>");
        swatch_add(out, c);
        rvx__markup_add(out, e->list.classes[c].name);
        rvx__text_add(out, "</span>");
    }
    rvx__text_add(out, "</p>\n<p class=\"note\">Each plane shows the slice with the most reference "
                       "and wrong voxels. R right, L left, A anterior, P posterior, S superior, I "
                       "inferior, by the geometry in the file.</p>\n");
}

rvx_status rvx__report_pictures(rvx_text *out, const rvx_report_request *report,
                                const int64_t *order, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_evaluation *e = report->evaluation;
    int64_t limit = report->overlay_case_max > 0 ? report->overlay_case_max : CASES_MAX;
    int64_t total = report->case_count < limit ? report->case_count : limit, done = 0;
    if (report->case_count == 0)
        return RVX_OK;
    rvx__text_add(out, "<section id=\"pictures\"><h2>Pictures, worst cases first</h2>\n");
    legend_add(out, e);
    for (int64_t i = 0; e && i < e->case_count && done < limit; i++) {
        const rvx_report_case *c = case_find(report, e->cases[order[i]].name);
        if (c)
            RVX_TRY(pictured(out, report, c, order[i], done++, total, error));
    }
    for (int64_t i = 0; i < report->case_count && done < limit; i++)
        if (evaluated_find(e, report->cases[i].name) < 0)
            RVX_TRY(pictured(out, report, &report->cases[i], -1, done++, total, error));
    if (done < report->case_count)
        rvx__text_format(out, "<p class=\"note\">%lld better cases are not pictured.</p>\n",
                         (long long)(report->case_count - done));
    rvx__text_add(out, "</section>\n");
cleanup:
    return status;
}
