/* Convolution and transposed convolution on matrix tiles: the cells of the AMX column. f32 tensors
 * go to the AVX-512 kernels. */
#include "kernels/conv.h"
#include "kernels/conv_transpose.h"
#include "kernels/cpu/amx/correlate.h"
#include "kernels/cpu/amx/weight.h"

static void forward(const rvx_call *call, rvx__amx_pass pass)
{
    rvx__amx_plan plan;
    rvx__amx_plan_make(&plan, pass, &call->in[0].shape, &call->out[0].shape, call->params, 1,
                       call->threads);
    const rvx__amx_call correlate = {.plan = &plan,
                                     .source = call->in[0],
                                     .target = call->out[0],
                                     .weight = call->in[1],
                                     .bias = call->in[2],
                                     .fold = call->fold,
                                     .scratch = call->scratch,
                                     .threads = call->threads};
    rvx__amx_correlate(&correlate);
}

/* The gradient with respect to a = fold(x): neither x nor the fold is read. */
static void backward_data(const rvx_call *call, rvx__amx_pass pass)
{
    rvx__amx_plan plan;
    rvx__amx_plan_make(&plan, pass, &call->grad_in[0].shape, &call->grad_out[0].shape, call->params,
                       1, call->threads);
    const rvx__amx_call correlate = {.plan = &plan,
                                     .source = call->grad_out[0],
                                     .target = call->grad_in[0],
                                     .weight = call->in[1],
                                     .accumulate = (call->accumulate & 1) != 0,
                                     .scratch = call->scratch,
                                     .threads = call->threads};
    rvx__amx_correlate(&correlate);
}

static int forward_is_bf16(const rvx_call *call)
{
    return call->in[0].dtype == RVX_BF16 || call->out[0].dtype == RVX_BF16;
}

static int backward_is_bf16(const rvx_call *call)
{
    return call->grad_in[0].dtype == RVX_BF16 || call->grad_out[0].dtype == RVX_BF16;
}

void rvx__conv_forward_amx(const rvx_call *call)
{
    if (forward_is_bf16(call))
        forward(call, RVX__AMX_CONV_FORWARD);
    else
        rvx__conv_forward_avx512(call);
}

void rvx__conv_backward_data_amx(const rvx_call *call)
{
    if (backward_is_bf16(call))
        backward_data(call, RVX__AMX_CONV_DATA);
    else
        rvx__conv_backward_data_avx512(call);
}

void rvx__conv_transpose_forward_amx(const rvx_call *call)
{
    if (forward_is_bf16(call))
        forward(call, RVX__AMX_TRANSPOSE_FORWARD);
    else
        rvx__conv_transpose_forward_avx512(call);
}

void rvx__conv_transpose_backward_data_amx(const rvx_call *call)
{
    if (backward_is_bf16(call))
        backward_data(call, RVX__AMX_TRANSPOSE_DATA);
    else
        rvx__conv_transpose_backward_data_avx512(call);
}

static int parameters_are_bf16(const rvx_call *call)
{
    return call->in[0].dtype == RVX_BF16 || call->grad_out[0].dtype == RVX_BF16;
}

void rvx__conv_backward_parameters_amx(const rvx_call *call)
{
    if (parameters_are_bf16(call))
        rvx__amx_weight_gradient(call, 0, 1);
    else
        rvx__conv_backward_parameters_avx512(call);
}

void rvx__conv_transpose_backward_parameters_amx(const rvx_call *call)
{
    if (parameters_are_bf16(call))
        rvx__amx_weight_gradient(call, 1, 1);
    else
        rvx__conv_transpose_backward_parameters_avx512(call);
}
