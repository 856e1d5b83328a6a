/* The backward of norm_act over slabs of one sample, for gradients that exist slab by slab only.
 * With g, a, p, q as in kernels/cpu/norm_act_backward.c:
 *   open    a is known from the start
 *   add     grad_x (+)= a g over a slab; the sums of g and g (x - mean) grow
 *   close   grad_x -= p + q (x - mean) over the sample: p and q need the sums of all slabs
 * Owns nothing. Slabs come in order, and within one the pieces of pieces.h, so the bits depend on
 * shapes alone. */
#ifndef RVX_NORM_SLAB_H
#define RVX_NORM_SLAB_H

#include "kernels/op.h"

/* A call as norm_act's backward gets it, for one sample: in[0] x, in[1] gamma, out[1] statistics,
 * out[2] fold table, grad_in[0]; for add in[0], grad_out[0] and grad_in[0] are those of the slab.
 */
typedef struct rvx__norm_slab {
    float *table;   /* RVX_NORM_SLAB_ROWS floats a channel */
    double *totals; /* two a channel: of this sample */
} rvx__norm_slab;

enum { RVX_NORM_SLAB_ROWS = 4 };

#define RVX_DECLARE_NORM_SLAB(isa)                                                                 \
    void rvx__norm_slab_open_##isa(const rvx_call *call, const rvx__norm_slab *slab);              \
    void rvx__norm_slab_add_##isa(const rvx_call *call, const rvx__norm_slab *slab);               \
    void rvx__norm_slab_close_##isa(const rvx_call *call, const rvx__norm_slab *slab);             \
    void rvx__norm_slab_parameters_##isa(const rvx_call *call, const double *totals);
RVX_DECLARE_NORM_SLAB(base)
RVX_DECLARE_NORM_SLAB(avx2)
RVX_DECLARE_NORM_SLAB(avx512)

#endif
