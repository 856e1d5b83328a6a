/* The report of a run: one self-contained HTML file. Owns: its layout. Invariant: the file needs no
 * network and no script, depends on its inputs alone, and appears whole or not at all. */
#ifndef RVX_SEGMENT_REPORT_H
#define RVX_SEGMENT_REPORT_H

#include "engine/segment/evaluate.h"

typedef struct rvx_report_case {
    const char *name;
    const char *image_path;      /* first channel; NULL: no pictures */
    const char *reference_path;  /* NULL: none */
    const char *prediction_path; /* NULL: none */
} rvx_report_case;

typedef struct rvx_report_request {
    const char *title;                /* NULL: the name of the run folder */
    const char *run;                  /* folder with metrics.jsonl and plan.json, each if there; or
                                         NULL */
    const rvx_evaluation *evaluation; /* metrics; NULL: none */
    const rvx_report_case *cases;     /* pictures; matched to the evaluation's cases by name */
    int64_t case_count;
    int64_t overlay_case_max; /* pictures of so many worst cases; 0: 12 */
    /* Called before each case is drawn; false stops with RVX_CANCELLED. May be NULL. */
    bool (*progress)(void *context, const char *case_name, int64_t done, int64_t count);
    void *context;
} rvx_report_request;

/* Writes `out_path` (a few hundred kilobytes a pictured case). A picture whose files cannot be read
 * is replaced by the reason, in place. Errors: IO, FORMAT (a broken log), MEMORY. */
rvx_status rvx__report_write(const char *out_path, const rvx_report_request *report,
                             rvx_error *error);

/* The report of a run folder as training leaves it: metrics from RUN/validation.json (see
 * rvx__evaluation_write), pictures from the files it names; an image is found beside the reference
 * in nnU-Net's layout (labelsTr/CASE.nii.gz -> imagesTr/CASE_0000.nii.gz). Only title,
 * overlay_case_max, progress and context of `settings` are read; it may be NULL. */
rvx_status rvx__report_run(const char *out_path, const char *run,
                           const rvx_report_request *settings, rvx_error *error);

#endif
