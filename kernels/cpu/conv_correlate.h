/* The correlation engine: forward convolution and its data gradient. Sums are f32;
 * source and target are f32, bf16 or i16, and a target is rounded once. */
#ifndef RVX_CONV_CORRELATE_H
#define RVX_CONV_CORRELATE_H

#include "kernels/conv_plan.h"

typedef struct rvx__correlate_call {
    const rvx__correlation_plan *plan;
    rvx_tensor source, target; /* shapes are taken from the plan */
    rvx_tensor weight;         /* [kd][kh][kw][ci][co] */
    rvx_tensor bias, fold;     /* data NULL: absent */
    rvx_tensor residual;       /* like the target, which may lie there; data NULL: absent */
    int subtract;              /* target = residual - sum instead of residual + sum */
    int accumulate;            /* add to the target */
    void *scratch;             /* plan->scratch_bytes, 64-byte aligned */
    int threads;
} rvx__correlate_call;

void RVX_KERNEL(rvx__correlate)(const rvx__correlate_call *call);

#endif
