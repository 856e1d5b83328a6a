/* What rvx_train and rvx_train_folds share: one dataset, one plan, one run or several. */
#ifndef RVX_TRAINING_H
#define RVX_TRAINING_H

#include "bindings/c/repairs.h"
#include "engine/run/choice.h"
#include "engine/run/train.h"

typedef struct rvx_training {
    rvx_train_options options;
    rvx_recipe recipe;
    const rvx_model *model;
    rvx_dataset *dataset;
    rvx_device *device;
    rvx_choices *choices;
    int64_t workspace_bytes;
    rvx_repairs repairs;
    int64_t overflow;
} rvx_training;

/* Checks the arguments, opens dataset and device, and finds the plan: that of the options, that of
 * `folder` where it goes on, or a new one. Closed in every case. */
rvx_status rvx__training_open(rvx_training *training, const char *dataset, const char *folder,
                              const rvx_train_options *options, rvx_error *error);
/* Trains and judges the recipe as it is now into `run`. */
rvx_status rvx__training_run(rvx_training *training, const char *run, rvx_error *error);
/* Segments and judges the validation cases of `run`, which is trained. */
rvx_status rvx__training_judge(const rvx_training *training, const char *run, rvx_error *error);
void rvx__training_close(rvx_training *training); /* zeroed is legal */

#endif
