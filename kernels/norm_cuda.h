/* Scratch of the normalisation on a GPU, as the rows of norm_act and norm_conv book it and their
 * kernels use it. */
#ifndef RVX_NORM_CUDA_H
#define RVX_NORM_CUDA_H

#include "kernels/op.h"
#include "kernels/walk.h"

/* Offsets of: partial sums [n][c][piece][2], doubles or 64-bit integers; their totals [n][c][2];
 * backward, p and q of the correction [n][2][c], f32. */
typedef struct rvx__norm_cuda {
    int64_t totals, corrections, bytes;
} rvx__norm_cuda;

static inline rvx__norm_cuda rvx__norm_cuda_of(rvx_phase phase, rvx_shape x)
{
    rvx__norm_cuda s;
    const int64_t pieces = rvx__walk_of(x.d * x.h * x.w, x.c).pieces;
    s.totals = x.n * x.c * pieces * 2 * 8;
    s.corrections = s.totals + x.n * x.c * 2 * 8;
    s.bytes = s.corrections + (phase == RVX_FORWARD ? 0 : x.n * x.c * 2 * 4);
    return s;
}

#endif
