/* Transposed convolution whose kernel equals its stride: every input voxel fills its own box of
 * outputs, so no two boxes meet.
 *
 *   y[n, v s + k, co] = bias[co] + sum over ci of a[n, v, ci] * w[k, ci, co],   0 <= k < s
 *
 * with a = fold(x); v and k run over three axes. in[0] x [n][d][h][w][ci], in[1] weight
 * [kd][kh][kw][ci][co], in[2] bias (may be absent), out[0] y. */
#ifndef RVX_CONV_TRANSPOSE_H
#define RVX_CONV_TRANSPOSE_H

#include "kernels/op.h"

RVX_DECLARE_KERNEL_AMX(rvx__conv_transpose_forward)
RVX_DECLARE_KERNEL_AMX(rvx__conv_transpose_backward_data)
RVX_DECLARE_KERNEL_AMX(rvx__conv_transpose_backward_parameters)

/* Voxels of x that one job takes; packed weights are padded to the widest vector of any
 * instruction set. */
enum { RVX__TRANSPOSE_PIECE_VOXELS = 480, RVX__TRANSPOSE_PAD = 16 };

/* Floats of the packed weights: taps * `inner` channels summed over * `outer` channels written. */
static inline int64_t rvx__transpose_weight_floats(int64_t taps, int64_t inner, int64_t outer)
{
    return taps * inner *
           ((outer + RVX__TRANSPOSE_PAD - 1) / RVX__TRANSPOSE_PAD * RVX__TRANSPOSE_PAD);
}

#endif
