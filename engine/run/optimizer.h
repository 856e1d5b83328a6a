/* Optimisers: one update of the whole parameter block. Owns: the update rules and the schedules.
 * Invariant: equal inputs give equal bits for any thread count. */
#ifndef RVX_OPTIMIZER_H
#define RVX_OPTIMIZER_H

#include "engine/run/recipe.h"
#include "engine/run/session.h"

typedef struct rvx_optimizer {
    rvx_optimizer_name name;
    double learning_rate, weight_decay;
    double momentum; /* SGD */
    bool nesterov;
    double beta1, beta2, epsilon; /* AdamW */
    double gradient_clip;         /* largest L2 norm of all gradients together; 0: none */
    rvx_schedule schedule;
    double poly_power;
    int64_t warmup_steps, total_steps;
} rvx_optimizer;

/* The optimiser that a recipe describes. */
void rvx__optimizer_make(rvx_optimizer *optimizer, const rvx_recipe *recipe);

/* Float32 copies of the parameters that the rule keeps: SGD 1, AdamW 2. */
int rvx__optimizer_slots(const rvx_optimizer *optimizer);

/* Learning rate of step 0 .. total_steps - 1: constant, poly (1 - t/T)^power or cosine to 0, after
 * a linear warm-up. */
double rvx__optimizer_rate(const rvx_optimizer *optimizer, int64_t step);

/* Clips and applies the gradients of `session`, where they lie; `norm` receives the gradient norm
 * before clipping (NaN or infinite when a gradient is: then nothing is changed). Fails only where a
 * device does. */
rvx_status rvx__optimizer_step(double *norm, const rvx_optimizer *optimizer, rvx_session *session,
                               int64_t step, rvx_error *error);

#endif
