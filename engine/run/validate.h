/* Validation during training: the network over whole cases, Dice per class. Owns: the counting. */
#ifndef RVX_VALIDATE_H
#define RVX_VALIDATE_H

#include "engine/run/infer.h"
#include "engine/run/recipe.h"
#include "engine/volume/preprocess.h"

typedef struct rvx_validation {
    double dice[RVX_CLASSES_MAX]; /* per class, mean over the cases where it is defined; NaN:
                                     nowhere */
    double mean_dice;             /* over the foreground classes that are defined; NaN: none */
} rvx_validation;

/* On the network's grid. Cases are no larger than the patch where the inference gives labels.
 * `poll` may stop it; it counts in cases. */
rvx_status rvx__validate(rvx_validation *validation, rvx_inference *inference,
                         const rvx_recipe *recipe, rvx_case *cases, int64_t case_count,
                         rvx_poll poll, void *context, rvx_error *error);

/* The class of the largest logit; ties go to the lower class. */
static inline int rvx__argmax(const float *logits, int classes)
{
    int best = 0;
    for (int k = 1; k < classes; k++)
        if (logits[k] > logits[best])
            best = k;
    return best;
}

#endif
