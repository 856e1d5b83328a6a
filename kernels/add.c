/* Sum of two tensors. Owns: its row and shape rule.
 *
 *   y = a + b
 *
 * in: a, b of one shape; out: y of the same shape. Backward: both gradients are grad_y, nothing is
 * read. Inverse: a = y - b or b = y - a, exact where y and the rebuilt input are streams on one
 * grid, to rounding for f32 and bf16. */
#include "kernels/op.h"

#include <string.h>

RVX_DECLARE_KERNEL(rvx__add_forward)
RVX_DECLARE_KERNEL(rvx__add_backward)
RVX_DECLARE_KERNEL(rvx__add_inverse)

static rvx_status add_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                            const rvx_op_params *params, rvx_error *error)
{
    (void)params, (void)in_count;
    if (memcmp(&in[0], &in[1], sizeof in[0]) != 0 || in[0].c < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "add: shapes differ: [%lld %lld %lld %lld %lld] and "
                         "[%lld %lld %lld %lld %lld] (n d h w c)",
                         (long long)in[0].n, (long long)in[0].d, (long long)in[0].h,
                         (long long)in[0].w, (long long)in[0].c, (long long)in[1].n,
                         (long long)in[1].d, (long long)in[1].h, (long long)in[1].w,
                         (long long)in[1].c);
    out[0] = in[0];
    return RVX_OK;
}

static rvx_cost add_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                         const rvx_op_params *params)
{
    (void)out, (void)params;
    double count = (double)rvx__shape_count(in[0]);
    return (rvx_cost){phase == RVX_BACKWARD_DATA ? 0 : count, 12 * count};
}

const rvx_op rvx__op_add = {
    .name = "add",
    .in_min = 2,
    .in_max = 2,
    .out_count = 1,
    .shape = add_shape,
    .stored_outputs = 1,
    .inverse_inputs = 1u << 0 | 1u << 1,
    .flags = RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_INVERSE_IN_PLACE |
             RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = add_cost,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__add_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__add_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__add_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
};
