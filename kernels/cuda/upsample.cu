/* Trilinear enlargement on the GPU (see kernels/upsample.c): forward makes the outputs between two
 * inputs of a row at once, backward gathers. Invariant: every sum has a fixed order, that of
 * kernels/cpu/upsample.c. */
#include "kernels/cuda/view.h"

namespace
{
using namespace rvx;

struct Factors {
    int32_t factor[3];
};

/* Where output index o of an axis reads: low with weight 1 - t, high with weight t. */
struct Tap {
    int32_t low, high;
    float t;
};

RVX_DEVICE Tap tap_of(int32_t o, int32_t factor, int32_t size)
{
    /* 2 factor s = 2 o + 1 - factor, in whole numbers */
    const int32_t doubled = 2 * o + 1 - factor < 0 ? 0 : 2 * o + 1 - factor;
    const int32_t low = doubled / (2 * factor);
    return {low, low + 1 < size ? low + 1 : size - 1,
            (float)(doubled - low * 2 * factor) / (float)(2 * factor)};
}

/* sum over the four rows that (z, h) reads, at voxel w of each */
template <int N>
RVX_DEVICE void blend_rows(const View &x, const Fold &folds, int32_t n, const Tap &z, const Tap &h,
                           int32_t w, int32_t c, float (&sum)[N])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float weight = simt::multiply(i / 2 ? z.t : 1 - z.t, i % 2 ? h.t : 1 - h.t);
        if (i > 0 && weight == 0) /* the first weight is never zero: t < 1 */
            continue;
        float v[N];
        load(x, x.at(x.voxel(n, i / 2 ? z.high : z.low, i % 2 ? h.high : h.low, w), c), v);
        fold(folds, n, c, v);
#pragma unroll
        for (int k = 0; k < N; k++)
            sum[k] =
                i ? simt::add(sum[k], simt::multiply(weight, v[k])) : simt::multiply(weight, v[k]);
    }
}

/* One thread: N channels of the outputs of a row whose low input along w is `interval` - 1; those
 * of the first interval lie before input 0 and are copies of it. */
template <int N>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS, 2)
    enlarge_kernel(View y, View x, Fold folds, Factors factors)
{
    const int32_t groups = x.c / N, intervals = x.w + 1, factor = factors.factor[2];
    const int64_t rows = (int64_t)y.n * y.d * y.h;
    for (int64_t item = first_item(); item < rows * intervals * groups; item += item_step()) {
        const int32_t c = (int32_t)(item % groups) * N;
        const int32_t interval = (int32_t)(item / groups % intervals);
        const int64_t row = item / groups / intervals, plane = row / y.h;
        const int32_t n = (int32_t)(plane / y.d);
        const int32_t first = interval ? factor * (interval - 1) + factor / 2 : 0;
        const int32_t next = factor * interval + factor / 2, end = next < y.w ? next : y.w;
        if (first >= end)
            continue;
        const Tap z = tap_of((int32_t)(plane % y.d), factors.factor[0], x.d);
        const Tap h = tap_of((int32_t)(row % y.h), factors.factor[1], x.h);
        float low[N], high[N];
        blend_rows(x, folds, n, z, h, interval ? interval - 1 : 0, c, low);
        blend_rows(x, folds, n, z, h, interval < x.w ? interval : x.w - 1, c, high);
        for (int32_t o = first; o < end; o++) {
            const float t = tap_of(o, factor, x.w).t;
            float v[N];
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = simt::fused(t, high[k], simt::multiply(1 - t, low[k]));
            store(y, y.at(row * y.w + o, c), v);
        }
    }
}

/* ---- the adjoint ------------------------------------------------------------------------------
 */

/* What input i of an axis gives to output o. */
RVX_DEVICE float axis_weight(int32_t factor, int32_t size, int32_t i, int32_t o)
{
    const int32_t doubled = 2 * o + 1 - factor - 2 * factor * i; /* distance in 1 / (2 factor) */
    if ((i == 0 && doubled < 0) || (i == size - 1 && doubled >= 0))
        return 1;
    const int32_t left = 2 * factor - (doubled < 0 ? -doubled : doubled);
    return left > 0 ? (float)left / (float)(2 * factor) : 0;
}

/* Outputs that read input i with a weight above 0. */
struct Reach {
    int32_t begin, end;
};

RVX_DEVICE Reach reach_of(int32_t factor, int32_t size, int32_t i)
{
    const int32_t first = (i - 1) * factor + (factor - 1) / 2 + 1;
    const int32_t last = (i + 1) * factor + factor / 2, count = size * factor;
    return {first > 0 ? first : 0, last < count ? last : count};
}

template <int N>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS, 2)
    gather_kernel(View dx, View dy, Factors factors, bool accumulate)
{
    const int32_t groups = dx.c / N;
    const int32_t *factor = factors.factor;
    for (int64_t item = first_item(); item < dx.voxels * groups; item += item_step()) {
        const int64_t voxel = item / groups, row = voxel / dx.w, plane = row / dx.h;
        const int32_t c = (int32_t)(item % groups) * N, n = (int32_t)(plane / dx.d);
        const int32_t z = (int32_t)(plane % dx.d), h = (int32_t)(row % dx.h);
        const int32_t w = (int32_t)(voxel % dx.w);
        const Reach zs = reach_of(factor[0], dx.d, z), hs = reach_of(factor[1], dx.h, h);
        const Reach ws = reach_of(factor[2], dx.w, w);
        float sum[N] = {};
        for (int32_t ow = ws.begin; ow < ws.end; ow++) {
            float line[N] = {};
            for (int32_t oz = zs.begin; oz < zs.end; oz++)
                for (int32_t oh = hs.begin; oh < hs.end; oh++) {
                    const float weight = simt::multiply(axis_weight(factor[0], dx.d, z, oz),
                                                        axis_weight(factor[1], dx.h, h, oh));
                    float g[N];
                    load(dy, dy.at(dy.voxel(n, oz, oh, ow), c), g);
#pragma unroll
                    for (int k = 0; k < N; k++)
                        line[k] = simt::add(line[k], simt::multiply(weight, g[k]));
                }
            const float weight = axis_weight(factor[2], dx.w, w, ow);
#pragma unroll
            for (int k = 0; k < N; k++)
                sum[k] = simt::fused(weight, line[k], sum[k]);
        }
        put(dx, dx.at(voxel, c), sum, accumulate);
    }
}

Factors factors_of(const rvx_call *call)
{
    const int32_t *kernel = call->params->kernel;
    return {{kernel[0], kernel[1], kernel[2]}};
}
} // namespace

extern "C" void rvx__cuda_upsample_forward(const rvx_call *call)
{
    const rvx_tensor &x = call->in[0], &y = call->out[0];
    const bool eight = wide(x) && wide(y);
    const int64_t items = y.shape.n * y.shape.d * y.shape.h * (x.shape.w + 1) * x.shape.c;
    simt::launch(eight ? enlarge_kernel<8> : enlarge_kernel<1>,
                 pointwise_grid(items / (eight ? 8 : 1)), POINTWISE_THREADS, 0, queue_of(call),
                 view_of(y), view_of(x), fold_of(call->fold), factors_of(call));
}

extern "C" void rvx__cuda_upsample_backward(const rvx_call *call)
{
    rvx_tensor dx = call->grad_in[0];
    const rvx_tensor &dy = call->grad_out[0];
    const bool eight = wide(dx) && wide(dy);
    simt::launch(eight ? gather_kernel<8> : gather_kernel<1>,
                 pointwise_grid(rvx__shape_count(dx.shape) / (eight ? 8 : 1)), POINTWISE_THREADS, 0,
                 queue_of(call), view_of(dx), view_of(dy), factors_of(call),
                 (call->accumulate & 1u) != 0);
}
