/* 3D convolution: what conv.c, its kernels in kernels/cpu and the transposed convolution share.
 *
 *   y[n, o, co] = bias[co] + sum over k, ci of a[n, o * stride - pad + k, ci] * w[k, ci, co]
 *
 * with a = fold(x) inside the volume and 0 outside; o and k run over three axes.
 * in[0] x [n][d][h][w][ci], in[1] weight [kd][kh][kw][ci][co], in[2] bias (may be absent), in[3]
 * residual (may be absent), added to the result as y is stored, out[0] y. The inverse rebuilds the
 * residual: y - conv(a), exact for streams. Forward and the data gradient run on one engine, the
 * correlation of cpu/conv_correlate.h; the weight gradient stands in cpu/conv_weight*.c. */
#ifndef RVX_CONV_H
#define RVX_CONV_H

#include "kernels/op.h"

enum { RVX_CONV_RESIDUAL = 3 };

RVX_DECLARE_KERNEL_AMX(rvx__conv_forward)
RVX_DECLARE_KERNEL_AMX(rvx__conv_inverse)
RVX_DECLARE_KERNEL_AMX(rvx__conv_backward_data)
RVX_DECLARE_KERNEL_AMX(rvx__conv_backward_parameters)

/* Scratch bytes of one phase for `threads` threads. */
int64_t rvx__conv_weight_scratch(const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads);

#endif
