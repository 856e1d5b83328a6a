/* Orthogonal upsampling. Owns: the row of orthogonal_up and its shape rule.
 *
 *   y[voxel j of the block, c] = sum over i of Q_c[i][j] x[.., channel(c, i)]
 *
 * in: x, channels a multiple of the voxels of a block, and W; out: y. The inverse of
 * orthogonal_down with the same W (see there), in every respect: it is the transposed convolution
 * of iUNet, and for streams the shears of orthogonal_down undone one by one. */
#include "kernels/cuda/orthogonal_layout.h"
#include "kernels/orthogonal.h"

static rvx_status orthogonal_up_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                      const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    rvx_status status = rvx__orthogonal_strides(params, "orthogonal_up", error);
    if (status == RVX_OK)
        status = rvx__block_fine(&out[0], in[0], params, "orthogonal_up", error);
    if (status == RVX_OK)
        status = rvx__orthogonal_check(in, out[0], params, "orthogonal_up", error);
    return status;
}

static rvx_cost orthogonal_up_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                   const rvx_op_params *params)
{
    (void)phase, (void)out;
    return rvx__orthogonal_cost(in[0], params);
}

static int64_t orthogonal_up_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                     const rvx_op_params *params, int threads)
{
    return rvx__orthogonal_scratch(phase, out[0], in[0], params, threads);
}

static int64_t orthogonal_up_cuda_scratch(rvx_phase phase, const rvx_shape *in,
                                          const rvx_shape *out, const rvx_op_params *params)
{
    return rvx__orthogonal_layout_of(phase, out[0], in[0], params).bytes;
}

const rvx_op rvx__op_orthogonal_up = {
    .name = "orthogonal_up",
    .in_min = 2,
    .in_max = 2,
    .out_count = 1,
    .shape = orthogonal_up_shape,
    .parameter_inputs = 1u << 1,
    .reads_parameters = RVX_READS_IN(0) | RVX_READS_IN(1),
    .reads_data = RVX_READS_IN(1),
    .stored_outputs = 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_INVERSE_IN_PLACE |
             RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = orthogonal_up_cost,
    .scratch = orthogonal_up_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__orthogonal_up_forward),
            [RVX_BACKWARD_PARAMETERS] = RVX_CELLS(rvx__orthogonal_up_backward_parameters),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__orthogonal_up_backward_data),
            [RVX_INVERSE] = RVX_CELLS(rvx__orthogonal_up_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_PARAMETERS) |
            RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = orthogonal_up_cuda_scratch,
};
