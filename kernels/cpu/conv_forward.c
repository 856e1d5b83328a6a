/* Convolution, forward and data gradient: both are correlations (see conv_plan.h). */
#include "kernels/conv.h"
#include "kernels/cpu/conv_correlate.h"

static void correlate(const rvx_call *call, const rvx_tensor *target, const rvx_tensor *residual,
                      int subtract)
{
    rvx__correlation_plan plan;
    rvx_shape in[2] = {call->in[0].shape, call->in[1].shape};
    rvx__correlation_plan_make(&plan, in, &call->out[0].shape, call->params, 0, call->threads);
    rvx__correlate_call correlate = {.plan = &plan,
                                     .source = call->in[0],
                                     .target = *target,
                                     .weight = call->in[1],
                                     .bias = call->in[2],
                                     .fold = call->fold,
                                     .residual = *residual,
                                     .subtract = subtract,
                                     .scratch = call->scratch,
                                     .threads = call->threads};
    RVX_KERNEL(rvx__correlate)(&correlate);
}

void RVX_KERNEL(rvx__conv_forward)(const rvx_call *call)
{
    correlate(call, &call->out[0], &call->in[RVX_CONV_RESIDUAL], 0);
}

/* residual = y - conv(a) */
void RVX_KERNEL(rvx__conv_inverse)(const rvx_call *call)
{
    correlate(call, &call->in[RVX_CONV_RESIDUAL], &call->out[0], 1);
}

/* The gradient with respect to a = fold(x): neither x nor the fold is read. */
void RVX_KERNEL(rvx__conv_backward_data)(const rvx_call *call)
{
    rvx__correlation_plan plan;
    rvx_shape in[2] = {call->grad_in[0].shape, call->in[1].shape};
    rvx__correlation_plan_make(&plan, in, &call->grad_out[0].shape, call->params, 1, call->threads);
    rvx__correlate_call correlate = {.plan = &plan,
                                     .source = call->grad_out[0],
                                     .target = call->grad_in[0],
                                     .weight = call->in[1],
                                     .accumulate = (call->accumulate & 1) != 0,
                                     .scratch = call->scratch,
                                     .threads = call->threads};
    RVX_KERNEL(rvx__correlate)(&correlate);
}
