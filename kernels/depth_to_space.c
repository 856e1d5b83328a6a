/* Channels become blocks of voxels. Owns: the row of depth_to_space and its shape rule.
 *
 * The inverse of space_to_depth with the same params.stride and params.order, in every respect;
 * see there. in: x, channels a multiple of the voxels of a block; out: y. */
#include "kernels/cuda/block_layout.h"
#include "kernels/space_to_depth.h"

static rvx_status depth_to_space_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                       const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    return rvx__block_fine(&out[0], in[0], params, "depth_to_space", error);
}

static rvx_cost depth_to_space_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                    const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return rvx__block_move_cost(in[0]);
}

static int64_t depth_to_space_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                      const rvx_op_params *params, int threads)
{
    (void)phase, (void)in, (void)out;
    return rvx__block_move_scratch(in[0], params, threads);
}

static int64_t depth_to_space_cuda_scratch(rvx_phase phase, const rvx_shape *in,
                                           const rvx_shape *out, const rvx_op_params *params)
{
    (void)phase, (void)out;
    return rvx__block_aside_bytes(in[0], params);
}

const rvx_op rvx__op_depth_to_space = {
    .name = "depth_to_space",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = depth_to_space_shape,
    .stored_outputs = 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_PERMUTES | RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE |
             RVX_OP_INVERSE_IN_PLACE | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = depth_to_space_cost,
    .scratch = depth_to_space_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__depth_to_space_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__depth_to_space_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__depth_to_space_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = depth_to_space_cuda_scratch,
};
