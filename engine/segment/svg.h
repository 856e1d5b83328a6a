/* Line charts as SVG, and the markup helpers of the report. Owns: axes, ticks, legend. Invariant:
 * output depends on the data alone (no locale, no time), and is well-formed whatever the text in
 * it.
 */
#ifndef RVX_SEGMENT_SVG_H
#define RVX_SEGMENT_SVG_H

#include "engine/base/text.h"

typedef struct rvx_series {
    const char *name;   /* NULL: not in the legend */
    const char *colour; /* "#rrggbb" */
    const double *x, *y;
    int64_t count; /* x ascending; a NaN or infinite y breaks the line */
    bool faint;    /* thin and pale: raw values under a smoothed line */
    bool dashed;
} rvx_series;

typedef struct rvx_chart {
    const char *title, *x_label, *y_label;
    int width, height;        /* units of the view box; 0: 560 x 300 */
    double y_low, y_high;     /* both 0: from the data */
    const rvx_series *series; /* drawn in order */
    int64_t series_count;
} rvx_chart;

/* Appends one <svg> element. Series with more points than pixels are thinned to the lowest and
 * highest value of each pixel column. A failed allocation marks the text. */
void rvx__svg_chart(rvx_text *out, const rvx_chart *chart);

/* The colour of class `index`, from a list that colour-blind readers can tell apart. */
const char *rvx__class_colour(int64_t index);

/* Text with & < > " ' escaped and control characters dropped. */
void rvx__markup_add(rvx_text *out, const char *string);
/* `digits` decimals, '.' in every locale, trailing zeros kept; a dash where not finite. */
void rvx__markup_fixed(rvx_text *out, double value, int digits);
/* At most three decimals, trailing zeros dropped. */
void rvx__markup_plain(rvx_text *out, double value);
/* 12.3k, 4.56M: three or four significant digits for large numbers. */
void rvx__markup_short(rvx_text *out, double value);

#endif
