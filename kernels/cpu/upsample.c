/* Trilinear enlargement on the CPU (see kernels/upsample.c): the axes d and h are blended into one
 * line in scratch, then w. Invariant: every sum has a fixed order. */
#include "kernels/cpu/vec.h"
#include "kernels/op.h"

#include <omp.h>
#include <stdbool.h>

/* Where output index o of an axis reads: low with weight 1 - t, high with weight t. */
typedef struct tap {
    int64_t low, high;
    float t;
} tap;

static inline tap tap_of(int64_t o, int64_t factor, int64_t size)
{
    /* 2 factor s = 2 o + 1 - factor, in whole numbers */
    int64_t doubled = 2 * o + 1 - factor;
    if (doubled < 0)
        doubled = 0;
    int64_t low = doubled / (2 * factor);
    int64_t high = low + 1 < size ? low + 1 : size - 1;
    return (tap){low, high, (float)(doubled - low * 2 * factor) / (float)(2 * factor)};
}

enum { FACTOR_MAX = 64 };

/* The adjoint of an axis: outputs i factor - factor + q, 0 <= q < 3 factor, read input i with
 * weight[q]; at both ends of the axis also with what falls outside. */
typedef struct axis {
    int64_t factor, size;
    float weight[3 * FACTOR_MAX];
} axis;

static void axis_make(axis *a, int64_t factor, int64_t size)
{
    a->factor = factor;
    a->size = size;
    for (int64_t q = 0; q < 3 * factor; q++) {
        /* distance of the output from input 1, in 1 / (2 factor) */
        int64_t doubled = 2 * q + 1 - factor - 2 * factor;
        int64_t away = doubled < 0 ? -doubled : doubled, left = 2 * factor - away;
        a->weight[q] = left > 0 ? (float)left / (float)(2 * factor) : 0;
    }
}

static inline float axis_weight(const axis *a, int64_t i, int64_t o)
{
    if (i == 0 && 2 * o + 1 < a->factor)
        return 1;
    if (i == a->size - 1 && 2 * o + 1 - a->factor >= 2 * a->factor * i)
        return 1;
    return a->weight[o - (i - 1) * a->factor];
}

/* Outputs that read input i with a weight above 0: begin .. end. */
static inline void axis_reach(const axis *a, int64_t *begin, int64_t *end, int64_t i)
{
    int64_t first = (i - 1) * a->factor + (a->factor - 1) / 2 + 1;
    int64_t last = (i + 1) * a->factor + a->factor / 2, count = a->size * a->factor;
    *begin = first > 0 ? first : 0;
    *end = last < count ? last : count;
}

static float *line_of(const rvx_call *call, int64_t w, int64_t c)
{
    int64_t stride = (w * c * (int64_t)sizeof(float) + 63) / 64 * 64;
    return (float *)((char *)call->scratch + omp_get_thread_num() * stride);
}

/* line (+)= weight * fold(row), row of w voxels */
RVX_INLINE void line_add(float *line, rvx_plane row, int64_t w, int64_t c, float weight,
                         const rvx_fold *fold, int accumulate)
{
    for (int64_t x = 0; x < w; x++) {
        int64_t j = 0;
        for (; j + RVX_LANES <= c; j += RVX_LANES)
            rvx__put_count(line + x * c + j,
                           rvx__splat(weight) *
                               rvx__fold_load(row, x * row.pitch, fold, j, RVX_LANES),
                           RVX_LANES, accumulate);
        if (j < c)
            rvx__put_count(line + x * c + j,
                           rvx__splat(weight) * rvx__fold_load(row, x * row.pitch, fold, j, c - j),
                           c - j, accumulate);
    }
}

/* Dense voxels without a fold are one run of w * c values. */
static void line_any(float *line, rvx_plane row, int64_t w, int64_t c, float weight,
                     const rvx_fold *fold, int accumulate)
{
    bool run = row.pitch == c && !fold->scale;
    int64_t voxels = run ? 1 : w, channels = run ? w * c : c;
    RVX_PLANES_TYPED(row, row, row,
                     line_add(line, row, voxels, channels, weight, fold, accumulate));
}

/* y = (1 - t) low + t high, c values */
RVX_INLINE void blend(rvx_plane y, const float *low, const float *high, float t, int64_t c)
{
    int64_t j = 0;
    rvx_vec a = rvx__splat(1 - t), b = rvx__splat(t);
    for (; j + RVX_LANES <= c; j += RVX_LANES)
        rvx__plane_store(y, j, rvx__vec_fma(b, rvx__load(high + j), a * rvx__load(low + j)),
                         RVX_LANES);
    if (j < c)
        rvx__plane_store(
            y, j,
            rvx__vec_fma(b, rvx__load_count(high + j, c - j), a * rvx__load_count(low + j, c - j)),
            c - j);
}

/* Taps of the factor outputs that stand on one input along w. */
typedef struct taps {
    int64_t factor;
    float t[FACTOR_MAX];
    int below[FACTOR_MAX];
} taps;

static void taps_make(taps *made, int factor)
{
    made->factor = factor;
    for (int r = 0; r < factor; r++) {
        int doubled = 2 * r + 1 - factor;
        made->below[r] = doubled < 0;
        made->t[r] = (float)(doubled + (doubled < 0 ? 2 * factor : 0)) / (float)(2 * factor);
    }
}

/* One row of outputs from the blended line of w voxels. */
RVX_INLINE void row_blend(rvx_plane y, const float *line, const taps *along, int64_t w, int64_t c)
{
    for (int64_t i = 0; i < w; i++)
        for (int64_t r = 0; r < along->factor; r++) {
            int64_t low = along->below[r] ? i - 1 : i, high = low + 1;
            blend(y, line + (low < 0 ? 0 : low) * c, line + (high < w ? high : w - 1) * c,
                  low < 0 ? 0 : along->t[r], c);
            y = rvx__plane_at(y, y.pitch);
        }
}

void RVX_KERNEL(rvx__upsample_forward)(const rvx_call *call)
{
    const rvx_tensor *x = &call->in[0], *y = &call->out[0];
    rvx_shape in = x->shape, out = y->shape;
    const int32_t *factor = call->params->kernel;
    taps w_taps;
    taps_make(&w_taps, factor[2]);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < out.n * out.d * out.h; row++) {
        int64_t n = row / out.h / out.d;
        tap z = tap_of(row / out.h % out.d, factor[0], in.d);
        tap h = tap_of(row % out.h, factor[1], in.h);
        rvx_fold fold = rvx__fold_of(&call->fold, n);
        float *line = line_of(call, in.w, in.c);
        int64_t planes[2] = {z.low, z.high}, rows[2] = {h.low, h.high};
        float z_weight[2] = {1 - z.t, z.t}, h_weight[2] = {1 - h.t, h.t};
        for (int i = 0; i < 4; i++) {
            float weight = z_weight[i / 2] * h_weight[i % 2];
            int64_t at = ((n * in.d + planes[i / 2]) * in.h + rows[i % 2]) * in.w;
            /* the first weight is never zero: t < 1 */
            if (weight != 0)
                line_any(line, rvx__plane_of(x, at * x->pitch), in.w, in.c, weight, &fold, i > 0);
        }
        rvx_plane to = rvx__plane_of(y, row * out.w * y->pitch);
        RVX_PLANES_TYPED(to, to, to, row_blend(to, line, &w_taps, in.w, in.c));
    }
}

/* dx of one voxel = sum over outputs of weight * line */
RVX_INLINE void gather(rvx_plane dx, const float *line, const axis *a, int64_t i, int64_t c,
                       int64_t j, int64_t count, int accumulate)
{
    int64_t begin, end;
    axis_reach(a, &begin, &end, i);
    rvx_vec sum = {0};
    for (int64_t o = begin; o < end; o++)
        sum = rvx__vec_fma(rvx__splat(axis_weight(a, i, o)),
                           rvx__load_count(line + o * c + j, count), sum);
    rvx__plane_put(dx, j, sum, count, accumulate);
}

RVX_INLINE void row_gather(rvx_plane dx, const float *line, const axis *a, int64_t c,
                           int accumulate)
{
    for (int64_t w = 0; w < a->size; w++) {
        int64_t j = 0;
        for (; j + RVX_LANES <= c; j += RVX_LANES)
            gather(dx, line, a, w, c, j, RVX_LANES, accumulate);
        if (j < c)
            gather(dx, line, a, w, c, j, c - j, accumulate);
        dx = rvx__plane_at(dx, dx.pitch);
    }
}

/* line = sum over the output rows that read input row (z, h) of sample n */
static void line_gather(float *line, const rvx_tensor *dy, const axis axes[3], int64_t n, int64_t z,
                        int64_t h)
{
    rvx_shape out = dy->shape;
    const rvx_fold none = {0};
    int64_t z_begin, z_end, h_begin, h_end;
    axis_reach(&axes[0], &z_begin, &z_end, z);
    axis_reach(&axes[1], &h_begin, &h_end, h);
    for (int64_t oz = z_begin; oz < z_end; oz++)
        for (int64_t oh = h_begin; oh < h_end; oh++) {
            float weight = axis_weight(&axes[0], z, oz) * axis_weight(&axes[1], h, oh);
            int64_t at = ((n * out.d + oz) * out.h + oh) * out.w;
            line_any(line, rvx__plane_of(dy, at * dy->pitch), out.w, out.c, weight, &none,
                     oz > z_begin || oh > h_begin);
        }
}

void RVX_KERNEL(rvx__upsample_backward)(const rvx_call *call)
{
    const rvx_tensor *dx = &call->grad_in[0], *dy = &call->grad_out[0];
    rvx_shape in = call->in[0].shape;
    int accumulate = (call->accumulate & 1u) != 0;
    axis axes[3];
    int64_t size[3] = {in.d, in.h, in.w};
    for (int i = 0; i < 3; i++)
        axis_make(&axes[i], call->params->kernel[i], size[i]);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < in.n * in.d * in.h; row++) {
        float *line = line_of(call, dy->shape.w, in.c);
        line_gather(line, dy, axes, row / in.h / in.d, row / in.h % in.d, row % in.h);
        rvx_plane to = rvx__plane_of(dx, row * in.w * dx->pitch);
        RVX_PLANES_TYPED(to, to, to, row_gather(to, line, &axes[2], in.c, accumulate));
    }
}
