/* The inputs of training steps, from the loader into the network's own tensors. Owns: the loader,
 * and which step comes next. Invariant: every step gets the batch of its number once, whether it is
 * filled in between the steps or, on a device, while the step before it is at work. */
#ifndef RVX_TRAIN_INPUTS_H
#define RVX_TRAIN_INPUTS_H

#include "engine/run/loader.h"
#include "engine/run/train_plan.h"

typedef struct rvx_train_inputs {
    const rvx_recipe *recipe;
    const rvx_train_plan *plan;
    rvx_session *session;
    rvx_loader *loader;
    int64_t step; /* the next to be filled in */
} rvx_train_inputs;

/* All must outlive it and stay where they are; `first_step` is the first that runs. */
rvx_status rvx__train_inputs_open(rvx_train_inputs *inputs, const rvx_train_plan *plan,
                                  rvx_session *session, const rvx_loader_options *options,
                                  rvx_error *error);
/* Before each run. */
void rvx__train_inputs_fill(rvx_train_inputs *inputs);
void rvx__train_inputs_close(rvx_train_inputs *inputs); /* zeroed is legal */

#endif
