/* A tensor stored in another type. Owns: its row and shape rule.
 *
 *   y = x, rounded as y is stored: to the grid of a stream (RVX_I16), to bf16, or not at all
 *
 * in: x; out: y of the same shape. Backward: grad_x is grad_y, nothing is read. */
#include "kernels/op.h"

RVX_DECLARE_KERNEL(rvx__round_forward)
RVX_DECLARE_KERNEL(rvx__round_backward)

static rvx_status round_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                              const rvx_op_params *params, rvx_error *error)
{
    (void)params, (void)in_count;
    if (rvx__shape_count(in[0]) < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "round: the input is empty");
    out[0] = in[0];
    return RVX_OK;
}

static rvx_cost round_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                           const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    double count = (double)rvx__shape_count(in[0]);
    return (rvx_cost){count, 6 * count};
}

const rvx_op rvx__op_round = {
    .name = "round",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = round_shape,
    .stored_outputs = 1,
    .flags = RVX_OP_BACKWARD_IN_PLACE | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = round_cost,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__round_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__round_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
};
