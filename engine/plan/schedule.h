/* What the files of the scheduling pass share: the schedule under construction. Internal to
 * engine/plan: schedule.c (order of work, rebuilding) and gradient.c (backward steps). */
#ifndef RVX_SCHEDULE_H
#define RVX_SCHEDULE_H

#include "engine/plan/plan.h"

typedef struct rvx__schedule {
    rvx_plan *plan;
    int32_t *current;  /* per value: its instance now; -1 */
    int32_t *gradient; /* per value: the instance that collects its gradient; -1 */
    bool *needs_gradient;
    bool *rebuilt; /* per value: backward asks for it after it was dropped; known after one pass */
    bool eager;    /* second pass: inverses run as soon as their outputs have served */
    rvx_error *error;
    rvx_status status; /* sticky */
} rvx__schedule;

int32_t rvx__schedule_instance(rvx__schedule *s, int32_t value, bool gradient);
/* Channels from `first` on of another instance. */
int32_t rvx__schedule_view(rvx__schedule *s, int32_t value, bool gradient, int32_t of,
                           int64_t first);
rvx_step rvx__step_blank(rvx_step_kind kind, rvx_phase phase, int32_t node);
void rvx__schedule_step(rvx__schedule *s, rvx_step step);
/* Makes sure that `value` has an instance: kept, or rebuilt as plan->recovery says. */
int32_t rvx__schedule_value(rvx__schedule *s, int32_t value);
/* How the gradient of a value is stored: never as integers. */
rvx_dtype rvx__gradient_dtype(const rvx_graph *graph, int32_t value);
/* Adds the backward steps of a node. */
void rvx__schedule_backward(rvx__schedule *s, int32_t node);
/* Rebuilds what the inverse of a node gives back and later steps will ask for. */
void rvx__schedule_inverse(rvx__schedule *s, int32_t node);

#endif
