/* Inverse Haar wavelet: blocks from their means and differences. Owns: the row of haar_up and its
 * shape rule.
 *
 * The inverse of haar with the same params (see there): forward is its inverse, inverse its
 * forward, with the same bits; for streams, what wraps around on the way up is counted here.
 * Backward is the transpose of the linear transform. in: x, channels a multiple of the voxels of a
 * block; out: y. */
#include "kernels/cuda/block_layout.h"
#include "kernels/haar.h"

static rvx_status haar_up_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    rvx_status status = rvx__haar_strides(params, "haar_up", error);
    return status == RVX_OK ? rvx__block_fine(&out[0], in[0], params, "haar_up", error) : status;
}

static rvx_cost haar_up_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                             const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return rvx__haar_cost(in[0]);
}

static int64_t haar_up_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                               const rvx_op_params *params, int threads)
{
    (void)phase, (void)in, (void)out;
    return rvx__block_move_scratch(in[0], params, threads);
}

static int64_t haar_up_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                    const rvx_op_params *params)
{
    (void)phase, (void)out;
    return rvx__block_aside_bytes(in[0], params);
}

const rvx_op rvx__op_haar_up = {
    .name = "haar_up",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = haar_up_shape,
    .stored_outputs = 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_INVERSE_IN_PLACE |
             RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = haar_up_cost,
    .scratch = haar_up_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__haar_up_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__haar_up_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__haar_up_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = haar_up_cuda_scratch,
};
