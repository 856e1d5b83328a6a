/* How the CUDA kernels of blocks (kernels/block.h) work in place. Owns: the rule, for rows and
 * kernels alike. Plain C. Invariant: it follows from shapes, not from the GPU.
 *
 * A slab of blocks (stride_d fine slices, one coarse slice; where stride_d is 1, the lines of one
 * coarse line) is the same memory on both sides, and nothing smaller is. Slabs are copied aside, as
 * many as the room allows, and brought back from there as between different tensors: no thread
 * reads what another has written, and while the room fits the GPU's cache the detour costs little
 * memory traffic. */
#ifndef RVX_CUDA_BLOCK_LAYOUT_H
#define RVX_CUDA_BLOCK_LAYOUT_H

#include "kernels/block.h"

/* Room beside the tensor, unless one slab takes more or all slabs less. */
enum { RVX__BLOCK_ASIDE_BYTES = 16 << 20 };

/* Coarse voxels of one slab. */
static inline int64_t rvx__block_slab_voxels(rvx_shape coarse, const rvx_op_params *params)
{
    return params->stride[0] == 1 ? coarse.w : coarse.h * coarse.w;
}

/* Whatever the type of elements: 4 bytes each. */
static inline int64_t rvx__block_aside_bytes(rvx_shape coarse, const rvx_op_params *params)
{
    int64_t least = rvx__block_slab_voxels(coarse, params) * coarse.c * 4;
    int64_t all = rvx__shape_count(coarse) * 4, room = RVX__BLOCK_ASIDE_BYTES;
    room = room < all ? room : all;
    return ((room > least ? room : least) + 63) / 64 * 64;
}

#endif
