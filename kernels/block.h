/* Blocks of voxels that become channels: what space_to_depth, depth_to_space and the wavelets
 * share. A block is params.stride voxels (d, h, w), s in all, and becomes one voxel of s times the
 * channels. Voxel (id, ih, iw) of a block is number
 *     sub = (id * stride_h + ih) * stride_w + iw
 * and its channel c becomes channel c * s + sub (RVX_ORDER_CHANNEL) or sub * channels + c
 * (RVX_ORDER_BLOCK, as i-RevNet has it). "Fine" is the side with more voxels, "coarse" the other.
 */
#ifndef RVX_BLOCK_H
#define RVX_BLOCK_H

#include "kernels/op.h"

enum { RVX_ORDER_CHANNEL = 0, RVX_ORDER_BLOCK = 1 };
enum { RVX_BLOCK_STRIDE_MAX = 4, RVX_BLOCK_MAX = 64 };

static inline int64_t rvx__block_voxels(const rvx_op_params *params)
{
    return (int64_t)params->stride[0] * params->stride[1] * params->stride[2];
}

/* The coarse shape of a fine one and back. The message begins with `name`. */
rvx_status rvx__block_coarse(rvx_shape *coarse, rvx_shape fine, const rvx_op_params *params,
                             const char *name, rvx_error *error);
rvx_status rvx__block_fine(rvx_shape *fine, rvx_shape coarse, const rvx_op_params *params,
                           const char *name, rvx_error *error);

/* Scratch of one thread: the blocks of one coarse line as f32, and a byte for each line of a slab
 * of blocks, both multiples of 64 bytes. */
static inline int64_t rvx__block_line_bytes(rvx_shape coarse)
{
    return (coarse.w * coarse.c * (int64_t)sizeof(float) + 63) / 64 * 64;
}

static inline int64_t rvx__block_mark_bytes(rvx_shape coarse, const rvx_op_params *params)
{
    return (coarse.h * params->stride[0] + 63) / 64 * 64;
}

/* A line of blocks and the marks of a slab, per thread. */
static inline int64_t rvx__block_move_scratch(rvx_shape coarse, const rvx_op_params *params,
                                              int threads)
{
    return threads * (rvx__block_line_bytes(coarse) + rvx__block_mark_bytes(coarse, params));
}

#endif
