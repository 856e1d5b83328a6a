/* The graph and plan of a training step, and whether they fit. Owns: what counts against
 * memory.budget_bytes (0: against the memory of the machine), and the advice when it is too little.
 * Invariant: a run that would not fit is refused before its first step. */
#ifndef RVX_TRAIN_PLAN_H
#define RVX_TRAIN_PLAN_H

#include "engine/plan/plan.h"
#include "engine/run/infer.h"
#include "engine/run/train.h"

typedef struct rvx_train_plan {
    rvx_graph *graph;
    rvx_plan *plan;
    rvx_value image;
    rvx_supervision supervision;
} rvx_train_plan;

/* Plans a step on samples of `patch` (d, h, w). held_bytes: what the run holds beside the step,
 * such as the cases and the network that validates, but for the samples that are drawn ahead: all
 * of that counts against the budget. A plan that exceeds the budget is refused with
 * RVX_ERROR_MEMORY: how much is missing, the largest tensors and what would fit. On failure nothing
 * is held. */
rvx_status rvx__train_plan_create(rvx_train_plan *out, const rvx_train_job *job,
                                  const int64_t patch[3], int64_t held_bytes, rvx_error *error);
/* Whether a plan that was made for less beside the step fits with `held_bytes` too. */
bool rvx__train_plan_fits(const rvx_train_plan *plan, const rvx_train_job *job,
                          const int64_t patch[3], int64_t held_bytes);
/* The plan of one step, whatever its size: for tables, checks and advice. `budget_bytes`, for the
 * step alone, decides what the policy auto does (0: it keeps everything); where nothing fits it,
 * the plan that keeps least is made, for the caller to judge. plan->options says which policy auto
 * took. */
rvx_status rvx__train_plan_step(rvx_train_plan *out, const rvx_train_job *job, rvx_policy policy,
                                int64_t batch, const int64_t patch[3], int64_t budget_bytes,
                                rvx_error *error);
rvx_policy rvx__train_plan_policy(const rvx_recipe *recipe); /* in the planner's words */
/* How a run validates: what the recipe says, in tiles of `patch` (d, h, w). */
rvx_inference_options rvx__train_inference(const rvx_train_job *job, const int64_t patch[3]);
void rvx__train_plan_free(rvx_train_plan *plan); /* zeroed is legal */

#endif
