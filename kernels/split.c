/* Split into two ranges of channels. Owns: its row and shape rule.
 *
 *   y0[.., c] = x[.., c], c < channel_count;   y1[.., c] = x[.., channel_count + c]
 *
 * in: x; out: y0 with params.channel_count channels, y1 with the rest. Views of x where the planner
 * can make them so (RVX_OP_VIEW); the kernels are the copies where it cannot, and skip a part that
 * already stands in its place. Backward reads nothing; a part that no gradient reaches gets zero.
 * Inverse: x from y0 and y1, exact. */
#include "kernels/op.h"

RVX_DECLARE_KERNEL(rvx__split_forward)
RVX_DECLARE_KERNEL(rvx__split_backward)
RVX_DECLARE_KERNEL(rvx__split_inverse)

static rvx_status split_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                              const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    int64_t count = params->channel_count;
    if (count < 1 || count >= in[0].c)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "split: %lld of %lld channels, expected at least 1 on both sides",
                         (long long)count, (long long)in[0].c);
    out[0] = out[1] = in[0];
    out[0].c = count;
    out[1].c = in[0].c - count;
    return RVX_OK;
}

static rvx_cost split_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                           const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return (rvx_cost){0, 8 * (double)rvx__shape_count(in[0])};
}

const rvx_op rvx__op_split = {
    .name = "split",
    .in_min = 1,
    .in_max = 1,
    .out_count = 2,
    .shape = split_shape,
    .flags = RVX_OP_VIEW | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = split_cost,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__split_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__split_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__split_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
};
