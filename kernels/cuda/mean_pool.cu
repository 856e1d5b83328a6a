/* Mean over all voxels on the GPU (see kernels/mean_pool.c). Owns: the sums, in double. */
#include "kernels/cuda/reduce.h"

namespace
{
using namespace rvx;

/* partial: [n][c][piece] */
template <class T>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS, 2)
    sums_kernel(double *partial, View x_, Fold folds, rvx__walk w)
{
    RVX_SHARED(double, shared);
    const View x = typed<T::X>(x_);
    const Place p = place_of(w, x.c);
    const FoldColumns fold = fold_columns(folds, p);
    double sum[WALK_WIDTH] = {};
    const auto add = [&](float(&v)[WALK_WIDTH]) {
        fold.apply(v);
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++)
            sum[k] += (double)v[k];
    };
    int64_t v = p.voxel;
    for (; v + (WALK_AHEAD - 1) * w.rows < p.end; v += WALK_AHEAD * w.rows) {
        float value[WALK_AHEAD][WALK_WIDTH];
#pragma unroll
        for (int i = 0; i < WALK_AHEAD; i++)
            load_some<T::WIDE>(x, x.at(v + i * w.rows, p.c), p.count, value[i]);
#pragma unroll
        for (int i = 0; i < WALK_AHEAD; i++)
            add(value[i]);
    }
    for (; v < p.end; v += w.rows) {
        float value[WALK_WIDTH];
        load_some<T::WIDE>(x, x.at(v, p.c), p.count, value);
        add(value);
    }
    sum_rows<WALK_WIDTH>(w, shared, sum, [&](int lane, int k, double result) {
        const int32_t c = ((int32_t)blockIdx.y * w.lanes + lane) * WALK_WIDTH + k;
        if (c < x.c)
            partial[(p.n * x.c + c) * w.pieces + p.piece] = result;
    });
}

/* y [n][c] from the totals. */
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    means_kernel(View y, const double *totals, double voxels)
{
    const int64_t i = first_item();
    if (i >= y.voxels * y.c)
        return;
    float mean[1] = {(float)(totals[i] / voxels)};
    store(y, y.at(i / y.c, (int32_t)(i % y.c)), mean);
}

/* dx = dy / voxels */
template <class T>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS)
    spread_kernel(View dx_, View dy_, float share, rvx__walk w, bool accumulate)
{
    const View dy = typed<T::X>(dy_), dx = typed<T::Y>(dx_);
    const Place p = place_of(w, dx.c);
    if (p.voxel >= p.end)
        return;
    float own[WALK_WIDTH];
    load_some<T::WIDE>(dy, dy.at(p.n, p.c), p.count, own);
    for (int64_t v = p.voxel; v < p.end; v += w.rows) {
        float d[WALK_WIDTH];
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++)
            d[k] = simt::multiply(own[k], share);
        put_some<T::WIDE>(dx, dx.at(v, p.c), p.count, d, accumulate);
    }
}
} // namespace

extern "C" void rvx__cuda_mean_pool_forward(const rvx_call *call)
{
    const rvx_tensor &x = call->in[0];
    const rvx_shape s = x.shape;
    const rvx__walk w = rvx__walk_of(s.d * s.h * s.w, s.c);
    double *const totals_at = static_cast<double *>(call->scratch);
    double *const partial = totals_at + s.n * s.c;
    for_types(wide(x), x.dtype, x.dtype, x.dtype, [&](auto types) {
        simt::launch(sums_kernel<decltype(types)>, walk_grid(w, s.n), WALK_THREADS,
                     rows_bytes<WALK_WIDTH>(), queue_of(call), partial, view_of(x),
                     fold_of(call->fold), w);
    });
    totals<1>(call, totals_at, (const double *)partial, s.n * s.c, w.pieces, false);
    simt::launch(means_kernel, pointwise_grid(s.n * s.c), POINTWISE_THREADS, 0, queue_of(call),
                 view_of(call->out[0]), (const double *)totals_at, (double)w.voxels);
}

extern "C" void rvx__cuda_mean_pool_backward(const rvx_call *call)
{
    const rvx_tensor &dx = call->grad_in[0], &dy = call->grad_out[0];
    const rvx_shape s = dx.shape;
    const rvx__walk w = rvx__walk_of(s.d * s.h * s.w, s.c);
    const float share = (float)(1 / (double)w.voxels);
    for_types(wide(dx) && wide(dy), dy.dtype, dx.dtype, dx.dtype, [&](auto types) {
        simt::launch(spread_kernel<decltype(types)>, walk_grid(w, s.n), WALK_THREADS, 0,
                     queue_of(call), view_of(dx), view_of(dy), share, w,
                     (call->accumulate & 1u) != 0);
    });
}
