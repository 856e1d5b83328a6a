/* How far the figures of an evaluation scatter. Owns: standard deviations and bootstrap intervals
 * (definitions: docs/metrics.md). Invariant: a function of the figures, the number of resamples and
 * the seed alone. */
#ifndef RVX_SEGMENT_SPREAD_H
#define RVX_SEGMENT_SPREAD_H

#include "engine/segment/evaluate.h"

enum { RVX_RESAMPLES_DEFAULT = 2000, RVX_RESAMPLES_MAX = 1000000 };

typedef struct rvx_interval {
    double sd;        /* over cases, n - 1; NaN below two */
    double low, high; /* 95 %; NaN where the figure is nowhere defined */
} rvx_interval;

typedef struct rvx_spread {
    rvx_interval *classes; /* [class][field] */
    rvx_interval all[RVX_METRICS_FIELD_COUNT];
    int64_t resamples;
} rvx_spread;

/* Freed with rvx__spread_free in every case. */
rvx_status rvx__spread_make(rvx_spread *spread, const rvx_evaluation *evaluation, rvx_error *error);
void rvx__spread_free(rvx_spread *spread); /* zeroed is legal */

#endif
