/* Passes around a library's convolution: see library_passes.h. */
#include "kernels/cuda/combine.h"
#include "kernels/cuda/library_passes.h"
#include "kernels/cuda/reduce.h"

namespace
{
using namespace rvx;

/* y = fold(x) */
template <int N> RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) fold_kernel(View y, View x, Fold f)
{
    const int32_t groups = y.c / N;
    const int64_t a_sample = (int64_t)y.d * y.h * y.w;
    for (int64_t i = first_item(); i < y.voxels * groups; i += item_step()) {
        const int64_t voxel = i / groups;
        const int32_t c = (int32_t)(i % groups) * N;
        float v[N];
        load(x, x.at(voxel, c), v);
        fold(f, (int32_t)(voxel / a_sample), c, v);
        store(y, y.at(voxel, c), v);
    }
}

/* y = residual + or - sum */
template <int N>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    finish_kernel(View y, View residual, View sum, int32_t sign)
{
    const int32_t groups = y.c / N;
    for (int64_t i = first_item(); i < y.voxels * groups; i += item_step()) {
        const int64_t voxel = i / groups;
        const int32_t c = (int32_t)(i % groups) * N;
        float v[N];
        load(sum, sum.at(voxel, c), v);
        store_sum(y, y.at(voxel, c), residual, residual.at(voxel, c), v, sign);
    }
}

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) bias_kernel(View y, const float *bias)
{
    for (int64_t i = first_item(); i < y.voxels * y.c; i += item_step()) {
        const float v[1] = {bias[i % y.c]};
        store(y, y.at(i / y.c, (int32_t)(i % y.c)), v);
    }
}

/* Where the library's i-th weight stands among ours. */
RVX_DEVICE int64_t ours(const LibraryWeights &w, int64_t i)
{
    const int64_t x = i % w.x, k = i / w.x % w.taps, y = i / w.x / w.taps;
    return w.transposed ? (k * w.y + y) * w.x + x : (k * w.x + x) * w.y + y;
}

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    pack_kernel(View to, const float *from, LibraryWeights w)
{
    for (int64_t i = first_item(); i < to.voxels; i += item_step()) {
        const float v[1] = {from[ours(w, i)]};
        store(to, i, v);
    }
}

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    unpack_kernel(float *to, const float *from, LibraryWeights w, bool add)
{
    for (int64_t i = first_item(); i < w.x * w.y * w.taps; i += item_step()) {
        const int64_t at = ours(w, i);
        to[at] = add ? to[at] + from[i] : from[i];
    }
}

/* partial: [c][piece] */
template <bool WIDE>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS) sum_kernel(double *partial, View dy, rvx__walk w)
{
    RVX_SHARED(double, shared);
    const Place p = place_of(w, dy.c);
    double sum[WALK_WIDTH] = {};
    for (int64_t voxel = p.voxel; voxel < p.end; voxel += w.rows) {
        float v[WALK_WIDTH];
        load_some<WIDE>(dy, dy.at(voxel, p.c), p.count, v);
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++)
            sum[k] += (double)v[k];
    }
    sum_rows<WALK_WIDTH>(w, shared, sum, [&](int lane, int k, double result) {
        const int32_t c = ((int32_t)blockIdx.y * w.lanes + lane) * WALK_WIDTH + k;
        if (c < dy.c)
            partial[c * w.pieces + p.piece] = result;
    });
}

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    sum_store_kernel(float *to, const double *total, int32_t channels, bool add)
{
    for (int64_t c = first_item(); c < channels; c += item_step())
        to[c] = add ? to[c] + (float)total[c] : (float)total[c];
}
} // namespace

namespace rvx
{
void library_bring(const rvx_call *call, const rvx_tensor &to, const rvx_tensor &from,
                   const rvx_tensor &fold)
{
    const View y = view_of(to), x = view_of(from);
    const Fold f = fold_of(fold);
    if (to.data == from.data)
        return;
    if (wide(to) && wide(from))
        simt::launch(fold_kernel<8>, pointwise_grid(y.voxels * y.c / 8), POINTWISE_THREADS, 0,
                     queue_of(call), y, x, f);
    else
        simt::launch(fold_kernel<1>, pointwise_grid(y.voxels * y.c), POINTWISE_THREADS, 0,
                     queue_of(call), y, x, f);
}

void library_spread_bias(const rvx_call *call, const rvx_tensor &y, const rvx_tensor &bias)
{
    simt::launch(bias_kernel, pointwise_grid(rvx__shape_count(y.shape)), POINTWISE_THREADS, 0,
                 queue_of(call), view_of(y), (const float *)bias.data);
}

void library_finish(const rvx_call *call, const rvx_tensor &target, const rvx_tensor &sum,
                    const rvx_tensor &residual, int sign)
{
    const View y = view_of(target);
    if (target.data == sum.data)
        return;
    if (!residual.data)
        combine(call, target, sum, sum, COPY);
    else if (wide(target) && wide(sum) && wide(residual))
        simt::launch(finish_kernel<8>, pointwise_grid(y.voxels * y.c / 8), POINTWISE_THREADS, 0,
                     queue_of(call), y, view_of(residual), view_of(sum), (int32_t)sign);
    else
        simt::launch(finish_kernel<1>, pointwise_grid(y.voxels * y.c), POINTWISE_THREADS, 0,
                     queue_of(call), y, view_of(residual), view_of(sum), (int32_t)sign);
}

void library_pack(const rvx_call *call, void *to, rvx_dtype type, const float *from,
                  const LibraryWeights &weights)
{
    rvx_tensor t = {};
    t.data = to;
    t.dtype = type;
    t.shape = {1, 1, weights.y, weights.taps * weights.x, 1};
    t.pitch = 1;
    simt::launch(pack_kernel, pointwise_grid(rvx__shape_count(t.shape)), POINTWISE_THREADS, 0,
                 queue_of(call), view_of(t), from, weights);
}

void library_unpack(const rvx_call *call, float *to, const float *from,
                    const LibraryWeights &weights, bool add)
{
    simt::launch(unpack_kernel, pointwise_grid(weights.x * weights.y * weights.taps),
                 POINTWISE_THREADS, 0, queue_of(call), to, from, weights, add);
}

/* The batch is walked as one sample. */
int64_t library_sum_bytes(const rvx_shape &dy)
{
    return (rvx__walk_of(rvx__shape_voxels(dy), dy.c).pieces + 1) * dy.c * (int64_t)sizeof(double);
}

void library_sum_bias(const rvx_call *call, float *to, const rvx_tensor &dy, double *sums, bool add)
{
    const View v = view_of(dy);
    const rvx__walk w = rvx__walk_of(v.voxels, v.c);
    double *const partial = sums + v.c;
    simt::launch(wide(dy) ? sum_kernel<true> : sum_kernel<false>, walk_grid(w, 1), WALK_THREADS,
                 rows_bytes<WALK_WIDTH>(), queue_of(call), partial, v, w);
    totals<1>(call, sums, (const double *)partial, v.c, w.pieces, false);
    simt::launch(sum_store_kernel, pointwise_grid(v.c), POINTWISE_THREADS, 0, queue_of(call), to,
                 (const double *)sums, v.c, add);
}
} // namespace rvx
