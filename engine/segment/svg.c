/* Line charts as SVG: see svg.h. */
#include "engine/segment/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 560, HEIGHT = 300, LEFT = 58, RIGHT = 16, TOP = 36, BOTTOM = 44, MARKERS_MAX = 40 };

typedef struct frame {
    double x_low, x_high, y_low, y_high; /* data */
    double left, right, top, bottom;     /* picture */
} frame;

const char *rvx__class_colour(int64_t index)
{
    static const char *const colours[] = {"#2f9e44", "#e8590c", "#1c7ed6", "#c2255c",
                                          "#f2b705", "#7048e8", "#0ca6a6", "#8d5524",
                                          "#e64980", "#74b816", "#4263eb", "#f76707"};
    return colours[index % (int64_t)(sizeof colours / sizeof *colours)];
}

void rvx__markup_add(rvx_text *out, const char *string)
{
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (const char *c = string; *c; c++) {
        const char *special = strchr("&<>\"'", *c);
        if (special)
            rvx__text_add(out, names[special - strchr("&<>\"'", '&')]);
        else if ((unsigned char)*c >= 32 || *c == '\n')
            rvx__text_append(out, c, 1);
    }
}

void rvx__markup_fixed(rvx_text *out, double value, int digits)
{
    double scale = pow(10.0, digits);
    if (!isfinite(value) || fabs(value) * scale > 9e15) {
        rvx__text_add(out, "\xe2\x80\x93");
        return;
    }
    int64_t whole = llround(fabs(value) * scale), unit = (int64_t)scale;
    rvx__text_format(out, "%s%lld", value < 0 && whole ? "-" : "", (long long)(whole / unit));
    if (digits > 0)
        rvx__text_format(out, ".%0*lld", digits, (long long)(whole % unit));
}

void rvx__markup_plain(rvx_text *out, double value)
{
    int digits = 0;
    for (double scaled = value; digits < 3 && fabs(scaled - round(scaled)) > 5e-4; digits++)
        scaled = value * pow(10.0, digits + 1);
    rvx__markup_fixed(out, value, digits);
}

void rvx__markup_short(rvx_text *out, double value)
{
    static const struct {
        double unit;
        const char *suffix;
    } steps[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    double size = fabs(value);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        double part = size / steps[i].unit;
        if (part >= 0.9995) {
            rvx__markup_fixed(out, value / steps[i].unit, part < 9.995 ? 2 : part < 99.95 ? 1 : 0);
            rvx__text_add(out, steps[i].suffix);
            return;
        }
    }
    rvx__markup_fixed(out, value, size < 10 ? 2 : size < 100 ? 1 : 0);
}

/* The step of 1, 2 or 5 times a power of ten that gives about `count` intervals. */
static double tick_step(double low, double high, int count)
{
    double raw = (high - low) / count, base = pow(10.0, floor(log10(raw)));
    double part = raw / base;
    return base * (part <= 1.0 ? 1.0 : part <= 2.0 ? 2.0 : part <= 5.0 ? 5.0 : 10.0);
}

static int tick_digits(double step)
{
    int digits = (int)ceil(-log10(step) - 1e-9);
    return digits < 0 ? 0 : digits > 9 ? 9 : digits;
}

static void tick_label(rvx_text *out, double value, double step)
{
    if (step >= 1000.0 || fabs(value) >= 100000.0) {
        double unit = fabs(value) >= 1e9 ? 1e9 : fabs(value) >= 1e6 ? 1e6 : 1e3;
        rvx__markup_fixed(out, value / unit, tick_digits(step / unit));
        if (value != 0.0)
            rvx__text_add(out, unit == 1e9 ? "G" : unit == 1e6 ? "M" : "k");
    } else {
        rvx__markup_fixed(out, value, tick_digits(step));
    }
}

static double picture_x(const frame *f, double x)
{
    return f->left + (x - f->x_low) / (f->x_high - f->x_low) * (f->right - f->left);
}

static double picture_y(const frame *f, double y)
{
    double place = f->bottom - (y - f->y_low) / (f->y_high - f->y_low) * (f->bottom - f->top);
    return fmin(fmax(place, f->top), f->bottom);
}

static void line_add(rvx_text *out, double x1, double y1, double x2, double y2, const char *style)
{
    rvx__text_add(out, "<line x1=\"");
    rvx__markup_fixed(out, x1, 1);
    rvx__text_add(out, "\" y1=\"");
    rvx__markup_fixed(out, y1, 1);
    rvx__text_add(out, "\" x2=\"");
    rvx__markup_fixed(out, x2, 1);
    rvx__text_add(out, "\" y2=\"");
    rvx__markup_fixed(out, y2, 1);
    rvx__text_format(out, "\" %s/>\n", style);
}

/* Opens <text ...>; the caller adds the content and closes it. */
static void text_open(rvx_text *out, double x, double y, const char *style)
{
    rvx__text_add(out, "<text x=\"");
    rvx__markup_fixed(out, x, 1);
    rvx__text_add(out, "\" y=\"");
    rvx__markup_fixed(out, y, 1);
    rvx__text_format(out, "\" %s>", style);
}

/* A diverged loss must not flatten the chart into nothing, nor overflow it. */
static bool plots(double value) { return fabs(value) < 1e12; }

/* The range of all points that plot; widened where it is a single value or nothing. */
static void frame_fit(frame *f, const rvx_chart *chart)
{
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    for (int64_t s = 0; s < chart->series_count; s++) {
        const rvx_series *series = &chart->series[s];
        for (int64_t i = 0; i < series->count; i++) {
            if (!plots(series->x[i]) || !plots(series->y[i]))
                continue;
            x_low = fmin(x_low, series->x[i]);
            x_high = fmax(x_high, series->x[i]);
            y_low = fmin(y_low, series->y[i]);
            y_high = fmax(y_high, series->y[i]);
        }
    }
    if (!(x_low <= x_high)) {
        x_low = y_low = 0.0;
        x_high = y_high = 1.0;
    }
    if (chart->y_low != 0.0 || chart->y_high != 0.0) {
        y_low = chart->y_low;
        y_high = chart->y_high;
    } else {
        double margin = (y_high - y_low) * 0.04;
        y_low -= y_low >= 0.0 && y_low < margin ? y_low : margin;
        y_high += margin;
    }
    double least = 1e-9 * fmax(1.0, fmax(fabs(y_low), fabs(y_high)));
    if (y_high - y_low < least) {
        y_low -= 0.5 * fmax(fabs(y_low), 1.0);
        y_high += 0.5 * fmax(fabs(y_high), 1.0);
    }
    if (x_high - x_low < 1e-9 * fmax(1.0, fabs(x_high))) {
        x_low -= 0.5;
        x_high += 0.5;
    }
    *f = (frame){.x_low = x_low, .x_high = x_high, .y_low = y_low, .y_high = y_high};
}

static void axes_add(rvx_text *out, const frame *f, const rvx_chart *chart)
{
    double step = tick_step(f->y_low, f->y_high, 5);
    double slack = 1e-6 * step;
    for (double k = ceil((f->y_low - slack) / step); k * step <= f->y_high + slack; k++) {
        double y = picture_y(f, k * step);
        line_add(out, f->left, y, f->right, y, "class=\"grid\"");
        text_open(out, f->left - 8, y + 4, "text-anchor=\"end\"");
        tick_label(out, k * step, step);
        rvx__text_add(out, "</text>\n");
    }
    step = tick_step(f->x_low, f->x_high, 7);
    slack = 1e-6 * step;
    for (double k = ceil((f->x_low - slack) / step); k * step <= f->x_high + slack; k++) {
        double x = picture_x(f, k * step);
        line_add(out, x, f->bottom, x, f->bottom + 4, "class=\"axis\"");
        text_open(out, x, f->bottom + 18, "text-anchor=\"middle\"");
        tick_label(out, k * step, step);
        rvx__text_add(out, "</text>\n");
    }
    line_add(out, f->left, f->bottom, f->right, f->bottom, "class=\"axis\"");
    text_open(out, (f->left + f->right) / 2, f->bottom + 36,
              "text-anchor=\"middle\" class=\"name\"");
    rvx__markup_add(out, chart->x_label);
    rvx__text_add(out, "</text>\n");
    text_open(out, f->left - 48, f->top - 16, "class=\"title\"");
    rvx__markup_add(out, chart->title);
    if (chart->y_label) {
        rvx__text_add(out, " <tspan class=\"name\">");
        rvx__markup_add(out, chart->y_label);
        rvx__text_add(out, "</tspan>");
    }
    rvx__text_add(out, "</text>\n");
}

static void point_add(rvx_text *out, const frame *f, double x, double y, bool move)
{
    rvx__text_add(out, move ? "M" : "L");
    rvx__markup_fixed(out, picture_x(f, x), 1);
    rvx__text_add(out, " ");
    rvx__markup_fixed(out, picture_y(f, y), 1);
}

/* One path. Points that fall into one pixel column become its lowest and highest value, in the
 * order in which they came. */
static void path_add(rvx_text *out, const frame *f, const rvx_series *series)
{
    bool thin = (double)series->count > 2.0 * (f->right - f->left);
    bool pen_down = false;
    for (int64_t i = 0; i < series->count;) {
        int64_t next = i + 1, low = i, high = i;
        if (!plots(series->y[i]) || !plots(series->x[i])) {
            pen_down = false;
            i = next;
            continue;
        }
        double column = floor(picture_x(f, series->x[i]));
        while (thin && next < series->count && plots(series->y[next]) &&
               floor(picture_x(f, series->x[next])) <= column) {
            low = series->y[next] < series->y[low] ? next : low;
            high = series->y[next] > series->y[high] ? next : high;
            next++;
        }
        int64_t first = low < high ? low : high, last = low < high ? high : low;
        point_add(out, f, series->x[first], series->y[first], !pen_down);
        if (last != first)
            point_add(out, f, series->x[last], series->y[last], false);
        pen_down = true;
        i = next;
    }
}

static void series_add(rvx_text *out, const frame *f, const rvx_series *series)
{
    const char *colour = series->colour ? series->colour : "#495057";
    rvx__text_format(out, "<path class=\"%s\" stroke=\"%s\"%s d=\"",
                     series->faint ? "faint" : "line", colour,
                     series->dashed ? " stroke-dasharray=\"5 4\"" : "");
    path_add(out, f, series);
    rvx__text_add(out, "\"/>\n");
    if (series->faint || series->dashed || series->count > MARKERS_MAX)
        return;
    for (int64_t i = 0; i < series->count; i++) {
        if (!plots(series->y[i]) || !plots(series->x[i]))
            continue;
        rvx__text_add(out, "<circle cx=\"");
        rvx__markup_fixed(out, picture_x(f, series->x[i]), 1);
        rvx__text_add(out, "\" cy=\"");
        rvx__markup_fixed(out, picture_y(f, series->y[i]), 1);
        rvx__text_format(out, "\" r=\"2.4\" fill=\"%s\"/>\n", colour);
    }
}

/* Characters of UTF-8 text. */
static int64_t character_count(const char *string)
{
    int64_t count = 0;
    for (const char *c = string; *c; c++)
        count += ((unsigned char)*c & 0xC0) != 0x80;
    return count;
}

/* Legend rows under the picture, filled from the left; returns the height they take. */
static double legend_add(rvx_text *out, const frame *f, const rvx_chart *chart, double top)
{
    double x = f->left, y = top;
    int64_t rows = 0;
    for (int64_t s = 0; s < chart->series_count; s++) {
        const rvx_series *series = &chart->series[s];
        if (!series->name)
            continue;
        double width = 44.0 + 6.8 * (double)character_count(series->name);
        if (rows == 0 || x + width > f->right) {
            y += rows ? 18.0 : 0.0;
            x = f->left;
            rows++;
        }
        if (out) {
            char style[128];
            snprintf(style, sizeof style, "class=\"%s\" stroke=\"%s\"%s",
                     series->faint ? "faint" : "line", series->colour,
                     series->dashed ? " stroke-dasharray=\"5 4\"" : "");
            line_add(out, x, y - 4, x + 18, y - 4, style);
            text_open(out, x + 23, y, "");
            rvx__markup_add(out, series->name);
            rvx__text_add(out, "</text>\n");
        }
        x += width;
    }
    return rows ? y - top + 22.0 : 0.0;
}

void rvx__svg_chart(rvx_text *out, const rvx_chart *chart)
{
    static const char style[] =
        "<style>.c text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',"
        "sans-serif;fill:#495057}.c .title{font-size:14px;font-weight:600;fill:#212529}"
        ".c .name{font-size:12px;font-weight:400;fill:#868e96}.c .grid{stroke:#e9ecef}"
        ".c .axis{stroke:#adb5bd}.c .line{fill:none;stroke-width:2;stroke-linejoin:round}"
        ".c .faint{fill:none;stroke-width:1;opacity:.35}</style>\n";
    frame f;
    int width = chart->width ? chart->width : WIDTH,
        height = chart->height ? chart->height : HEIGHT;
    frame_fit(&f, chart);
    f.left = LEFT;
    f.right = width - RIGHT;
    f.top = TOP;
    f.bottom = height - BOTTOM;
    double total = height + legend_add(NULL, &f, chart, height + 8.0);
    rvx__text_format(out,
                     "<svg class=\"c\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                     "role=\"img\" aria-label=\"",
                     width, (int)total);
    rvx__markup_add(out, chart->title);
    rvx__text_add(out, "\">\n");
    rvx__text_add(out, style);
    axes_add(out, &f, chart);
    for (int64_t s = 0; s < chart->series_count; s++)
        series_add(out, &f, &chart->series[s]);
    legend_add(out, &f, chart, height + 8.0);
    rvx__text_add(out, "</svg>\n");
}
