/* The correlation engine: forward convolution and its data gradient. Sums are f32;
 * source and target are f32 or bf16, and a bf16 target is rounded once. */
#ifndef RVX_CONV_CORRELATE_H
#define RVX_CONV_CORRELATE_H

#include "kernels/conv_plan.h"

typedef struct rvx__correlate_call {
    const rvx__correlation_plan *plan;
    rvx_tensor source, target; /* shapes are taken from the plan */
    rvx_tensor weight;         /* [kd][kh][kw][ci][co] */
    rvx_tensor bias, fold;     /* data NULL: absent */
    int accumulate;            /* add to the target */
    void *scratch;             /* plan->scratch_bytes, 64-byte aligned */
    int threads;
} rvx__correlate_call;

void RVX_KERNEL(rvx__correlate)(const rvx__correlate_call *call);

#endif
