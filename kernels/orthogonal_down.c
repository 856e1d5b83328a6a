/* Orthogonal downsampling. Owns: the row of orthogonal_down and its shape rule.
 *
 *   y[.., channel(c, i)] = sum over j of Q_c[i][j] x[voxel j of the block, c]
 *
 * in: x with each axis a multiple of params.stride (1 or 2), and W (kernels/orthogonal.h); out: y
 * with the blocks as channels (kernels/block.h). It is the grouped strided convolution of iUNet.
 *
 * Exactness. For f32 and bf16 the inverse is Q^T, as good as rounding. For streams (RVX_I16, both
 * on one grid) Q is factored into n (n - 1) / 2 plane rotations, each into three shears of
 * integers: the inverse is exact, overflow (counted) or not. The shears round, so that the result
 * differs from Q x by about one unit of the grid; gradients take that rounding to have derivative
 * one.
 *
 * Backward: dx = Q^T dy reads W; dW reads x and W. Forward, data gradient and inverse also in
 * place, where both sides are dense and of one type. */
#include "kernels/cuda/orthogonal_layout.h"
#include "kernels/orthogonal.h"

static rvx_status orthogonal_down_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                        const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    rvx_status status = rvx__orthogonal_strides(params, "orthogonal_down", error);
    if (status == RVX_OK)
        status = rvx__block_coarse(&out[0], in[0], params, "orthogonal_down", error);
    if (status == RVX_OK)
        status = rvx__orthogonal_check(in, in[0], params, "orthogonal_down", error);
    return status;
}

static rvx_cost orthogonal_down_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                     const rvx_op_params *params)
{
    (void)phase, (void)out;
    return rvx__orthogonal_cost(in[0], params);
}

static int64_t orthogonal_down_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                       const rvx_op_params *params, int threads)
{
    return rvx__orthogonal_scratch(phase, in[0], out[0], params, threads);
}

static int64_t orthogonal_down_cuda_scratch(rvx_phase phase, const rvx_shape *in,
                                            const rvx_shape *out, const rvx_op_params *params)
{
    return rvx__orthogonal_layout_of(phase, in[0], out[0], params).bytes;
}

const rvx_op rvx__op_orthogonal_down = {
    .name = "orthogonal_down",
    .in_min = 2,
    .in_max = 2,
    .out_count = 1,
    .shape = orthogonal_down_shape,
    .parameter_inputs = 1u << 1,
    .reads_parameters = RVX_READS_IN(0) | RVX_READS_IN(1),
    .reads_data = RVX_READS_IN(1),
    .stored_outputs = 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_INVERSE_IN_PLACE |
             RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = orthogonal_down_cost,
    .scratch = orthogonal_down_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__orthogonal_down_forward),
            [RVX_BACKWARD_PARAMETERS] = RVX_CELLS(rvx__orthogonal_down_backward_parameters),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__orthogonal_down_backward_data),
            [RVX_INVERSE] = RVX_CELLS(rvx__orthogonal_down_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_PARAMETERS) |
            RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = orthogonal_down_cuda_scratch,
};
