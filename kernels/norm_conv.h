/* What norm_conv's walks over slabs share on the CPU and on a GPU: its inputs, its two halves as
 * their kernels see them, and how a sample is cut. Compiled as C and as C++. */
#ifndef RVX_NORM_CONV_H
#define RVX_NORM_CONV_H

#include "kernels/conv.h"
#include "kernels/walk.h"

enum {
    RVX_NORM_CONV_X,
    RVX_NORM_CONV_WEIGHT,
    RVX_NORM_CONV_BIAS,
    RVX_NORM_CONV_RESIDUAL = RVX_CONV_RESIDUAL,
    RVX_NORM_CONV_GAMMA,
    RVX_NORM_CONV_BETA,
    RVX_NORM_CONV_INPUTS
};

enum {
    RVX_SLAB_SLICES_MIN = 4,
    RVX_SLAB_BYTES_CPU = 4 << 20,   /* stays in the cache between the two halves */
    RVX_SLAB_BYTES_CUDA = 64 << 20, /* enough to fill any GPU */
    RVX_SLAB_ALIGNMENT = 256
};

/* ---- the two halves, as their kernels see them --------------------------------------------------
 */

static inline rvx_call rvx__norm_conv_norm(const rvx_call *call)
{
    rvx_call norm = *call;
    memset(&norm.out[0], 0, sizeof norm.out[0]);
    norm.out[0].shape = call->in[RVX_NORM_CONV_X].shape;
    norm.in[1] = call->in[RVX_NORM_CONV_GAMMA];
    norm.in[2] = call->in[RVX_NORM_CONV_BETA];
    memset(&norm.in[3], 0, 2 * sizeof norm.in[3]); /* running statistics: none */
    norm.grad_in[1] = call->grad_in[RVX_NORM_CONV_GAMMA];
    norm.grad_in[2] = call->grad_in[RVX_NORM_CONV_BETA];
    norm.accumulate = (call->accumulate & 1u) |
                      (call->accumulate >> RVX_NORM_CONV_GAMMA & 1u) << 1 |
                      (call->accumulate >> RVX_NORM_CONV_BETA & 1u) << 2;
    return norm;
}

static inline rvx_call rvx__norm_conv_conv(const rvx_call *call)
{
    rvx_call conv = *call;
    conv.fold = call->out[2];
    memset(&conv.in[RVX_NORM_CONV_GAMMA], 0, 2 * sizeof conv.in[0]);
    memset(&conv.out[1], 0, 2 * sizeof conv.out[1]);
    return conv;
}

/* Of a slab on a GPU; tests ask for smaller ones. */
static inline int64_t rvx__slab_bytes_cuda(const rvx_op_params *params)
{
    return params->slab_bytes > 0 ? params->slab_bytes : (int64_t)RVX_SLAB_BYTES_CUDA;
}

/* ---- slabs --------------------------------------------------------------------------------------
 */

/* Slices first .. first + count of the input, and the convolution that makes their gradient from
 * slices of grad_y: those from source_first on. It also makes `skip` slices before them, which lack
 * products and are not used. */
typedef struct rvx__slab_range {
    int64_t first, count, skip;
    int64_t source_first, source_count, made;
    rvx_op_params params;
} rvx__slab_range;

static inline int64_t rvx__slab_slices(rvx_shape x, int64_t slab_bytes)
{
    const int64_t slices = slab_bytes / (x.h * x.w * x.c * (int64_t)sizeof(float));
    const int64_t wanted = slices > RVX_SLAB_SLICES_MIN ? slices : (int64_t)RVX_SLAB_SLICES_MIN;
    return wanted < x.d ? wanted : x.d;
}

/* Kernels of depth k = 2 pad + 1 and stride 1: slices away from the ends need pad more slices of
 * grad_y on either side and a convolution with a padding of k - 1. At an end the padding is pad on
 * both sides, so that slices inside come out short of products. */
static inline rvx__slab_range rvx__slab_make(rvx_shape x, const rvx_op_params *params,
                                             int64_t slab_bytes, int64_t first)
{
    rvx__slab_range s;
    const int64_t pad = params->pad[0], wanted = rvx__slab_slices(x, slab_bytes);
    s.first = first;
    s.count = wanted < x.d - first ? wanted : x.d - first;
    s.params = *params;
    const int64_t begin = first - pad, end = first + s.count + pad;
    s.source_first = begin > 0 ? begin : 0;
    s.source_count = (end < x.d ? end : x.d) - s.source_first;
    if (s.source_first == begin && s.source_first + s.source_count == end) {
        s.params.pad[0] = (int32_t)(2 * pad);
        s.skip = 0;
        s.made = s.count;
    } else {
        s.skip = first - s.source_first;
        s.made = s.source_count;
    }
    return s;
}

/* Slices of one sample; `shape` is that of the whole tensor but for n and d. */
static inline rvx_tensor rvx__slab_slices_of(const rvx_tensor *t, int64_t n, int64_t first,
                                             int64_t count)
{
    rvx_tensor part = *t;
    const int64_t slice = t->shape.h * t->shape.w * t->pitch * rvx__dtype_bytes(t->dtype);
    part.data = t->data ? (char *)t->data + (n * t->shape.d + first) * slice : NULL;
    part.shape.n = 1;
    part.shape.d = count;
    return part;
}

/* The table of one sample. */
static inline rvx_tensor rvx__slab_table(const rvx_tensor *t, int64_t n)
{
    rvx_tensor part = *t;
    part.data = rvx__f32(t) + n * t->shape.d * t->shape.h * t->shape.w * t->pitch;
    part.shape.n = 1;
    return part;
}

/* ---- scratch of the backward on a GPU -----------------------------------------------------------
 */

/* Offsets of what cuda/norm_act.h calls partial, totals (of all samples) and corrections, and of
 * the convolution's scratch, which comes last, behind the gradient of the largest slab. */
typedef struct rvx__slab_cuda {
    int64_t partial, totals, corrections, conv;
} rvx__slab_cuda;

static inline rvx__slab_cuda rvx__slab_cuda_of(rvx_shape x, const rvx_op_params *params)
{
    int64_t made = 0, pieces = 0;
    const int64_t bytes = rvx__slab_bytes_cuda(params);
    for (int64_t first = 0; first < x.d; first += rvx__slab_slices(x, bytes)) {
        const rvx__slab_range s = rvx__slab_make(x, params, bytes, first);
        const int64_t here = rvx__walk_of(s.count * x.h * x.w, x.c).pieces;
        made = s.made > made ? s.made : made;
        pieces = here > pieces ? here : pieces;
    }
    rvx__slab_cuda at;
    const int64_t step = RVX_SLAB_ALIGNMENT;
    const int64_t made_bytes = made * x.h * x.w * x.c * (int64_t)sizeof(float);
    at.partial = rvx__walk_up(made_bytes, step) * step;
    at.totals = at.partial + rvx__walk_up(x.c * pieces * 2 * 8, step) * step;
    at.corrections = at.totals + rvx__walk_up(x.n * x.c * 2 * 8, step) * step;
    at.conv = at.corrections + rvx__walk_up(x.c * 2 * 4, step) * step;
    return at;
}

#endif
