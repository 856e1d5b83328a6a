/* Parts of the report page. Internal to the report: each function appends one section as HTML and
 * leaves allocation failures to the text's sticky flag. */
#ifndef RVX_SEGMENT_REPORT_PAGE_H
#define RVX_SEGMENT_REPORT_PAGE_H

#include "engine/segment/report.h"
#include "engine/segment/report_log.h"

/* Loss and Dice curves, learning rate and speed. Nothing where the log is empty. */
void rvx__report_curves(rvx_text *out, const rvx_run_log *log);
/* The settings of the run: every value of plan.json by its dotted name. */
rvx_status rvx__report_recipe(rvx_text *out, const char *plan_path, rvx_error *error);
/* One row a class; one row a case, worst first. order: of rvx__evaluation_order. */
void rvx__report_tables(rvx_text *out, const rvx_evaluation *evaluation, const int64_t *order);
/* Standard deviations, intervals, folds; and what RUN/postprocessing.json says that it gains. run
 * may be NULL. */
rvx_status rvx__report_spread(rvx_text *out, const rvx_evaluation *evaluation, rvx_error *error);
rvx_status rvx__report_postprocess(rvx_text *out, const char *run, rvx_error *error);
/* Three-plane pictures, worst first. */
rvx_status rvx__report_pictures(rvx_text *out, const rvx_report_request *report,
                                const int64_t *order, rvx_error *error);

/* A figure with its usual digits: 4 for ratios, 2 for mm, per cent for relative volume error. */
void rvx__report_value(rvx_text *out, int field, double value);
/* The case's anchor within the page. */
void rvx__report_anchor(rvx_text *out, const char *case_name);

#endif
