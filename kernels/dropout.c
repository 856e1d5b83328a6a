/* Dropout. Owns: its row and shape rule.
 *
 *   y = keep a / (1 - p),   a = fold(x),   p = threshold 2^-16
 *
 * keep is 0 or 1 by the rule of kernels/dropout.h from in[1], params.layer and the element. in: x,
 * and the key, a scalar that the engine fills before each run: a number above 0 for each training
 * step, 0 where nothing is to be dropped (y = a). Nothing else in a kernel knows of time, so that a
 * rerun of the forward pass and the backward pass find the same mask. Backward reads the key only:
 * da = keep dy / (1 - p). There is no inverse. */
#include "kernels/dropout.h"

static rvx_status dropout_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    if (!(params->rate >= 0) || params->rate > 0.99f)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "dropout: rate %g, expected 0 to 0.99",
                         (double)params->rate);
    if (rvx__shape_count(in[1]) != 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "dropout: key has %lld values, expected 1",
                         (long long)rvx__shape_count(in[1]));
    out[0] = in[0];
    return RVX_OK;
}

static rvx_cost dropout_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                             const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    double count = (double)rvx__shape_count(in[0]);
    return (rvx_cost){4 * count, 8 * count};
}

const rvx_op rvx__op_dropout = {
    .name = "dropout",
    .in_min = 2,
    .in_max = 2,
    .out_count = 1,
    .shape = dropout_shape,
    .no_gradient_inputs = 1u << 1,
    .reads_data = RVX_READS_IN(1),
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDS | RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_CHEAP |
             RVX_OP_BF16 | RVX_OP_I16,
    .cost = dropout_cost,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__dropout_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__dropout_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
};
