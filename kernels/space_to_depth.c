/* Blocks of voxels become channels. Owns: the row of space_to_depth and its shape rule.
 *
 *   y[z, y, x, channel(c, sub)] = x[z * stride_d + id, y * stride_h + ih, x * stride_w + iw, c]
 *
 * with sub and channel as in kernels/block.h, by params.stride and params.order. in: x, each axis a
 * multiple of its stride; out: y. Values move unchanged, whatever their type, so the inverse is
 * exact; backward is the opposite movement and reads nothing. Input and output may be the same
 * memory where both are dense. */
#include "kernels/space_to_depth.h"
#include "kernels/cuda/block_layout.h"

static rvx_status space_to_depth_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                       const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    return rvx__block_coarse(&out[0], in[0], params, "space_to_depth", error);
}

static rvx_cost space_to_depth_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                    const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return rvx__block_move_cost(in[0]);
}

static int64_t space_to_depth_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                      const rvx_op_params *params, int threads)
{
    (void)phase, (void)in, (void)out;
    return rvx__block_move_scratch(out[0], params, threads);
}

static int64_t space_to_depth_cuda_scratch(rvx_phase phase, const rvx_shape *in,
                                           const rvx_shape *out, const rvx_op_params *params)
{
    (void)phase, (void)in;
    return rvx__block_aside_bytes(out[0], params);
}

const rvx_op rvx__op_space_to_depth = {
    .name = "space_to_depth",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = space_to_depth_shape,
    .stored_outputs = 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_PERMUTES | RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE |
             RVX_OP_INVERSE_IN_PLACE | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = space_to_depth_cost,
    .scratch = space_to_depth_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__space_to_depth_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__space_to_depth_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__space_to_depth_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = space_to_depth_cuda_scratch,
};
