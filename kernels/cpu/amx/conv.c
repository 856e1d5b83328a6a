/* Convolution and transposed convolution on matrix tiles: the cells of the AMX column. f32 tensors
 * are cut into three bf16 parts where that is faster, and else go to the AVX-512 kernels. */
#include "kernels/conv.h"
#include "kernels/conv_transpose.h"
#include "kernels/cpu/amx/correlate.h"
#include "kernels/cpu/amx/weight.h"

static void forward(const rvx_call *call, rvx__amx_pass pass, int64_t parts,
                    const rvx_tensor *target, const rvx_tensor *residual, int subtract)
{
    rvx__amx_plan plan;
    rvx__amx_plan_make(&plan, pass, &call->in[0].shape, &call->out[0].shape, call->params, parts,
                       call->threads);
    const rvx__amx_call correlate = {.plan = &plan,
                                     .source = call->in[0],
                                     .target = *target,
                                     .weight = call->in[1],
                                     .bias = call->in[2],
                                     .residual = *residual,
                                     .subtract = subtract,
                                     .fold = call->fold,
                                     .scratch = call->scratch,
                                     .threads = call->threads};
    rvx__amx_correlate(&correlate);
}

/* The gradient with respect to a = fold(x): neither x nor the fold is read. */
static void backward_data(const rvx_call *call, rvx__amx_pass pass, int64_t parts)
{
    rvx__amx_plan plan;
    rvx__amx_plan_make(&plan, pass, &call->grad_in[0].shape, &call->grad_out[0].shape, call->params,
                       parts, call->threads);
    const rvx__amx_call correlate = {.plan = &plan,
                                     .source = call->grad_out[0],
                                     .target = call->grad_in[0],
                                     .weight = call->in[1],
                                     .accumulate = (call->accumulate & 1) != 0,
                                     .scratch = call->scratch,
                                     .threads = call->threads};
    rvx__amx_correlate(&correlate);
}

/* bf16 tensors are one part of bf16 numbers, f32 tensors three. Streams are what the graph says. */
static int64_t parts_of(const rvx_call *call, const rvx_tensor *a, const rvx_tensor *b)
{
    return a->dtype == RVX_BF16 || b->dtype == RVX_BF16 || call->params->bf16_products ? 1 : 3;
}

void rvx__conv_forward_amx(const rvx_call *call)
{
    const int64_t parts = parts_of(call, &call->in[0], &call->out[0]);
    if (parts == 1 || rvx__amx_parts_pay(call->params, call->in[0].shape, call->out[0].shape))
        forward(call, RVX__AMX_CONV_FORWARD, parts, &call->out[0], &call->in[RVX_CONV_RESIDUAL], 0);
    else
        rvx__conv_forward_avx512(call);
}

/* With the products of the forward pass, whatever the types say: the same sum, bit for bit. */
void rvx__conv_inverse_amx(const rvx_call *call)
{
    const int64_t parts = parts_of(call, &call->in[0], &call->out[0]);
    if (parts == 1 || rvx__amx_parts_pay(call->params, call->in[0].shape, call->out[0].shape))
        forward(call, RVX__AMX_CONV_FORWARD, parts, &call->in[RVX_CONV_RESIDUAL], &call->out[0], 1);
    else
        rvx__conv_inverse_avx512(call);
}

void rvx__conv_backward_data_amx(const rvx_call *call)
{
    const int64_t parts = parts_of(call, &call->grad_in[0], &call->grad_out[0]);
    if (parts == 1 ||
        rvx__amx_parts_pay(call->params, call->grad_out[0].shape, call->grad_in[0].shape))
        backward_data(call, RVX__AMX_CONV_DATA, parts);
    else
        rvx__conv_backward_data_avx512(call);
}

void rvx__conv_backward_parameters_amx(const rvx_call *call)
{
    const int64_t parts = parts_of(call, &call->in[0], &call->grad_out[0]);
    const rvx_shape x = call->in[0].shape, dy = call->grad_out[0].shape;
    if (parts == 1 || rvx__amx_weight_parts_pay(call->params, x, dy))
        rvx__amx_weight_gradient(call, 0, parts);
    else
        rvx__conv_backward_parameters_avx512(call);
}

void rvx__conv_transpose_forward_amx(const rvx_call *call)
{
    if (parts_of(call, &call->in[0], &call->out[0]) == 1)
        forward(call, RVX__AMX_TRANSPOSE_FORWARD, 1, &call->out[0], &(rvx_tensor){0}, 0);
    else
        rvx__conv_transpose_forward_avx512(call);
}

void rvx__conv_transpose_backward_data_amx(const rvx_call *call)
{
    if (parts_of(call, &call->grad_in[0], &call->grad_out[0]) == 1)
        backward_data(call, RVX__AMX_TRANSPOSE_DATA, 1);
    else
        rvx__conv_transpose_backward_data_avx512(call);
}

void rvx__conv_transpose_backward_parameters_amx(const rvx_call *call)
{
    if (parts_of(call, &call->in[0], &call->grad_out[0]) == 1)
        rvx__amx_weight_gradient(call, 1, 1);
    else
        rvx__conv_transpose_backward_parameters_avx512(call);
}
