/* The files that a segmented case becomes. Owns: their writers, and what happens to the labels
 * between network and file. Invariant: all files of a case appear whole or none does; memory is a
 * slice. With rules of post-processing the labels wait in a spool beside the target until all are
 * there. */
#ifndef RVX_SEGMENT_LABEL_FILES_H
#define RVX_SEGMENT_LABEL_FILES_H

#include "engine/segment/postprocess.h"
#include "engine/segment/predictor.h"

typedef struct rvx_label_files rvx_label_files;

/* Names as rvx__predictor_path gives them. rules: NULL, or what must outlive the handle. */
rvx_status rvx__label_files_open(rvx_label_files **files, const rvx_case_reader *one,
                                 const char *folder, const rvx_recipe *recipe, bool probabilities,
                                 const rvx_postprocess *rules, rvx_error *error);
rvx_status rvx__label_files_slices(void *files, const uint8_t *labels, const float *probabilities,
                                   int64_t z_first, int64_t z_count,
                                   rvx_error *error); /* an rvx_label_sink */
rvx_status rvx__label_files_commit(rvx_label_files *files,
                                   rvx_error *error);  /* frees in every case */
void rvx__label_files_abandon(rvx_label_files *files); /* NULL is legal */

#endif
