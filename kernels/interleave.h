/* deinterleave and interleave: what their two rows share. The whole has the channels of all parts
 * side by side in every voxel; the parts are four tensors of a quarter of the channels:
 *     part_p[n, z, y, x, c] = whole[n, z, y, x, p * C / 4 + c]
 * Each op's inverse and backward is the other's forward.
 *
 * In place. Where part 0 stands where the whole stood, all parts stand there one after the other,
 * dense (RVX_OP_PARTS): the memory of the whole is turned from [n d h w][4][c] to [4][n d h w][c].
 * That is done in three steps, each a transpose of units along the cycles of its permutation: the
 * voxels of every line, the lines of every slice, the slices of the batch. */
#ifndef RVX_INTERLEAVE_H
#define RVX_INTERLEAVE_H

#include "kernels/op.h"

enum { RVX_PARTS = 4 };

RVX_DECLARE_KERNEL(rvx__deinterleave_forward)
RVX_DECLARE_KERNEL(rvx__deinterleave_backward)
RVX_DECLARE_KERNEL(rvx__deinterleave_inverse)
RVX_DECLARE_KERNEL(rvx__interleave_forward)
RVX_DECLARE_KERNEL(rvx__interleave_backward)
RVX_DECLARE_KERNEL(rvx__interleave_inverse)

/* Scratch of a thread on the CPU: a line of the whole in 4-byte elements, then a mark for every
 * unit of the longest transpose; both multiples of 64. */
static inline int64_t rvx__interleave_line_bytes(rvx_shape whole)
{
    return (whole.w * whole.c * 4 + 63) / 64 * 64;
}

static inline int64_t rvx__interleave_thread_bytes(rvx_shape whole)
{
    int64_t slices = whole.n * whole.d, units = (whole.h > slices ? whole.h : slices) * RVX_PARTS;
    return rvx__interleave_line_bytes(whole) + (units + 63) / 64 * 64;
}

/* On a GPU: room for whole slices that are copied aside, as many as fit 16 MiB, at least one. */
static inline int64_t rvx__interleave_aside_bytes(rvx_shape whole)
{
    int64_t slice = whole.h * whole.w * whole.c * 4, fit = (16 << 20) / slice;
    fit = fit < whole.n * whole.d ? fit : whole.n * whole.d;
    return ((fit > 1 ? fit : 1) * slice + 63) / 64 * 64;
}

/* Every value is read and written once, or, in place, three times. */
static inline rvx_cost rvx__interleave_cost(rvx_shape whole)
{
    return (rvx_cost){0, 24 * (double)rvx__shape_count(whole)};
}

#endif
