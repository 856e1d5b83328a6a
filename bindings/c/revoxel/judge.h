/* Part of revoxel.h: judging label maps, reports. */
#ifndef REVOXEL_JUDGE_H
#define REVOXEL_JUDGE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_evaluate_options {
    size_t struct_bytes;
    const char *out;     /* metrics as JSON; NULL: none */
    double tolerance_mm; /* of the normalised surface dice; 0: 1 mm */
    int threads;
    rvx_progress_callback progress;
    void *context;
    int repair;       /* see Repairs above */
    const char *csv;  /* one row a case and class; NULL: none */
    const char *html; /* a report, without pictures; NULL: none */
    int resamples;    /* of the bootstrap; 0: 2000 */
    uint64_t seed;    /* of the bootstrap */
} rvx_evaluate_options;

/* Compares label maps of equal name; `table` receives a table for the screen, with standard
 * deviations and bootstrap intervals (docs/metrics.md). `predictions`: a folder, or that of a
 * cross-validation: every case is taken from the fold that validated it. */
RVX_API rvx_status rvx_evaluate(char **table, const char *predictions, const char *references,
                                const rvx_evaluate_options *options, rvx_error *error);

typedef struct rvx_report_options {
    size_t struct_bytes;
    const char *out; /* default RUN/report.html */
    int cases_max;   /* overlays of so many worst cases; 0: 12 */
} rvx_report_options;

/* One self-contained HTML file about a run: curves, metrics, overlays, worst cases first. */
RVX_API rvx_status rvx_report(const char *run, const rvx_report_options *options, rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
