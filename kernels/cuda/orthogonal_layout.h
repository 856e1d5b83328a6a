/* Scratch of orthogonal resampling on CUDA. Owns: its layout, for rows and kernels alike. Plain C.
 * Invariant: all follows from shapes, nothing from the GPU. */
#ifndef RVX_CUDA_ORTHOGONAL_LAYOUT_H
#define RVX_CUDA_ORTHOGONAL_LAYOUT_H

#include "kernels/cuda/block_layout.h"
#include "kernels/orthogonal.h"

enum {
    RVX__ORTHOGONAL_BLOCKS_MOST = 512,        /* pieces of the sums over voxels ... */
    RVX__ORTHOGONAL_BLOCKS_LEAST = 32,        /* ... fewer, down to this, where the sums of all */
    RVX__ORTHOGONAL_PARTIAL_BYTES = 16 << 20, /* would take more than this */
    RVX__ORTHOGONAL_PIECE_VOXELS = 256        /* coarse; no piece need be smaller */
};

/* Byte offsets. */
typedef struct rvx__orthogonal_layout {
    int64_t table;                /* [s * s][c] f32 or int32, as kernels/cpu/orthogonal.c has it */
    int64_t partial;              /* parameter gradient: [pieces][s * s][c] f64 */
    int64_t pieces, piece_voxels; /* coarse voxels of the batch */
    int64_t room;                 /* see block_layout.h */
    int64_t bytes;
} rvx__orthogonal_layout;

static inline rvx__orthogonal_layout rvx__orthogonal_layout_of(rvx_phase phase, rvx_shape fine,
                                                               rvx_shape coarse,
                                                               const rvx_op_params *params)
{
    rvx__orthogonal_layout s = {0};
    const int64_t n = rvx__block_voxels(params), voxels = coarse.n * coarse.d * coarse.h * coarse.w;
    s.bytes = rvx__orthogonal_table_bytes(fine, params);
    if (phase != RVX_BACKWARD_PARAMETERS) {
        s.room = s.bytes;
        s.bytes += rvx__block_aside_bytes(coarse, params);
        return s;
    }
    const int64_t upper = RVX__ORTHOGONAL_BLOCKS_MOST, lower = RVX__ORTHOGONAL_BLOCKS_LEAST;
    const int64_t each = n * n * fine.c * 8, small = RVX__ORTHOGONAL_PIECE_VOXELS;
    int64_t most = RVX__ORTHOGONAL_PARTIAL_BYTES / each;
    most = most > lower ? most : lower;
    most = most < upper ? most : upper;
    s.pieces = (voxels + small - 1) / small;
    s.pieces = s.pieces < most ? s.pieces : most;
    s.piece_voxels = (voxels + s.pieces - 1) / s.pieces;
    s.pieces = (voxels + s.piece_voxels - 1) / s.piece_voxels;
    s.partial = s.bytes;
    s.bytes += s.pieces * each;
    return s;
}

#endif
