/* A dataset's list of cases, between dataset.c (dataset.json) and dataset_cases.c. Owns: that step.
 */
#ifndef RVX_DATASET_CASES_H
#define RVX_DATASET_CASES_H

#include "engine/volume/dataset.h"

#include <jansson.h>

/* Fills cases and tests of a dataset whose other fields are there. */
rvx_status rvx__dataset_cases_list(rvx_dataset *dataset, const json_t *root, const char *json_path,
                                   rvx_error *error);
/* "PATH: KEY: expected ..., found ...". */
rvx_status rvx__dataset_mistyped(const char *path, const char *key, const char *expected,
                                 const json_t *found, rvx_error *error);

#endif
