/* Passes over voxels in device code: who takes what (kernels/walk.h), loads and stores of up to 8
 * channels, sums over the rows of a block. The order of a sum follows from the shape alone. */
#ifndef RVX_CUDA_REDUCE_H
#define RVX_CUDA_REDUCE_H

#include "kernels/cuda/view.h"
#include "kernels/walk.h"

namespace rvx
{
enum { WALK_THREADS = RVX_WALK_THREADS, WALK_WIDTH = RVX_WALK_WIDTH, WALK_AHEAD = RVX_WALK_AHEAD };

/* What a thread takes: channels c .. c + count of voxels `voxel`, + rows, ... below end, numbered
 * over the batch. Idle threads have no voxels. */
struct Place {
    int64_t n, piece, voxel, end;
    int32_t c, count;
};

RVX_DEVICE Place place_of(const rvx__walk &w, int32_t channels)
{
    Place p;
    const int32_t row = (int32_t)threadIdx.x / w.lanes, lane = (int32_t)threadIdx.x % w.lanes;
    p.n = blockIdx.x / w.pieces;
    p.piece = blockIdx.x % w.pieces;
    p.c = ((int32_t)blockIdx.y * w.lanes + lane) * WALK_WIDTH;
    p.count = channels - p.c < WALK_WIDTH ? channels - p.c : (int32_t)WALK_WIDTH;
    const int64_t begin = p.piece * w.piece, left = w.voxels - begin;
    p.end = p.n * w.voxels + begin + (left < w.piece ? left : w.piece);
    p.voxel = row < w.rows && p.count > 0 ? p.n * w.voxels + begin + row : p.end;
    return p;
}

inline dim3 walk_grid(const rvx__walk &w, int64_t samples)
{
    return dim3((unsigned)(samples * w.pieces), (unsigned)w.chunks);
}

/* A view whose type the compiler knows: of kernels that are compiled for each type. T < 0: not. */
template <int T> RVX_DEVICE View typed(View v)
{
    if (T >= 0)
        v.dtype = T;
    return v;
}

/* `count` of 8 channels; all 8, at once, where WIDE. The bits do not depend on WIDE. */
template <bool WIDE>
RVX_DEVICE void load_some(const View &t, int64_t i, int32_t count, float (&v)[WALK_WIDTH])
{
    if (WIDE) {
        load(t, i, v);
        return;
    }
#pragma unroll
    for (int k = 0; k < WALK_WIDTH; k++) {
        float one[1] = {0};
        if (k < count)
            load(t, i + k, one);
        v[k] = one[0];
    }
}

template <bool WIDE>
RVX_DEVICE void put_some(const View &t, int64_t i, int32_t count, float (&v)[WALK_WIDTH],
                         bool accumulate)
{
    if (WIDE) {
        put(t, i, v, accumulate);
        return;
    }
#pragma unroll
    for (int k = 0; k < WALK_WIDTH; k++) {
        float one[1] = {v[k]};
        if (k < count)
            put(t, i + k, one, accumulate);
    }
}

/* Of a row of floats, one a channel; absent channels get 0. */
RVX_DEVICE void load_row(const float *row, const Place &p, float (&v)[WALK_WIDTH])
{
#pragma unroll
    for (int k = 0; k < WALK_WIDTH; k++)
        v[k] = k < p.count ? row[p.c + k] : 0.0f;
}

/* The fold of a thread's channels, in registers. */
struct FoldColumns {
    bool there;
    float scale[WALK_WIDTH], shift[WALK_WIDTH], slope[WALK_WIDTH];

    RVX_DEVICE void apply(float (&v)[WALK_WIDTH]) const
    {
        if (!there)
            return;
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++)
            v[k] = leaky(simt::fused(v[k], scale[k], shift[k]), slope[k]);
    }
};

RVX_DEVICE FoldColumns fold_columns(const Fold &f, const Place &p)
{
    FoldColumns columns = {};
    columns.there = f.data != nullptr;
    if (!columns.there)
        return columns;
    const float *row = f.data + p.n * 3 * f.pitch;
    load_row(row, p, columns.scale);
    load_row(row + f.pitch, p, columns.shift);
    load_row(row + 2 * f.pitch, p, columns.slope);
    return columns;
}

/* ---- sums over a block ------------------------------------------------------------------------
 */

enum { SUM_STRIDE = WALK_THREADS + 1 };

/* Shared memory for K sums a thread. */
template <int K> constexpr size_t rows_bytes() { return (K * SUM_STRIDE + WALK_THREADS) * 8; }

/* Sums each of K values over the rows of a block; `write(lane, k, sum)` takes the results. Reached
 * by all threads. */
template <int K, class A, class Write>
RVX_DEVICE void sum_rows(const rvx__walk &w, A *shared, const A (&own)[K], Write write)
{
    static_assert(sizeof(A) == 8 && RVX_WALK_LANES * K <= WALK_THREADS, "one result a thread");
    const int thread = (int)threadIdx.x;
    A *const segment_sum = shared + K * SUM_STRIDE;
#pragma unroll
    for (int k = 0; k < K; k++)
        shared[k * SUM_STRIDE + thread] = own[k];
    simt::barrier();
    const int results = w.lanes * K, segments = WALK_THREADS / results;
    const int length = (w.rows + segments - 1) / segments;
    const int k = thread % results % K, lane = thread % results / K, first = thread / results;
    A sum = 0;
    for (int r = first * length; r < (first + 1) * length && r < w.rows; r++)
        sum += shared[k * SUM_STRIDE + r * w.lanes + lane];
    segment_sum[thread] = sum;
    simt::barrier();
    if (thread >= results)
        return;
    sum = 0;
    for (int s = 0; s < segments; s++)
        sum += segment_sum[s * results + thread];
    write(lane, k, sum);
}

/* ---- totals of pieces -------------------------------------------------------------------------
 */

enum { TOTAL_THREADS = 128 };

/* totals[j][K] = or += sum over pieces of partial[j][piece][K], one block a j. */
template <int K, class A>
RVX_GLOBAL void RVX_BOUNDS(TOTAL_THREADS)
    totals_kernel(A *totals, const A *partial, int64_t pieces, int add)
{
    RVX_SHARED(A, shared);
    A sum[K] = {};
    const A *from = partial + (int64_t)blockIdx.x * pieces * K;
    for (int64_t i = (int64_t)threadIdx.x; i < pieces; i += TOTAL_THREADS)
#pragma unroll
        for (int k = 0; k < K; k++)
            sum[k] += from[i * K + k];
#pragma unroll
    for (int k = 0; k < K; k++) {
        for (int mask = 1; mask < 32; mask *= 2)
            sum[k] += simt::shuffle_xor(sum[k], mask);
        if (threadIdx.x % 32 == 0)
            shared[threadIdx.x / 32 * K + (unsigned)k] = sum[k];
    }
    simt::barrier();
    if (threadIdx.x >= K)
        return;
    A total = 0;
    for (int i = 0; i < TOTAL_THREADS / 32; i++)
        total += shared[i * K + (int)threadIdx.x];
    A *const to = totals + (int64_t)blockIdx.x * K + threadIdx.x;
    *to = add ? *to + total : total;
}

template <int K, class A>
void totals(const rvx_call *call, A *to, const A *partial, int64_t count, int64_t pieces, bool add)
{
    simt::launch(totals_kernel<K, A>, dim3((unsigned)count), TOTAL_THREADS,
                 TOTAL_THREADS / 32 * K * sizeof(A), queue_of(call), to, partial, pieces, (int)add);
}

/* ---- kernels by type --------------------------------------------------------------------------
 */

/* Of up to three tensors: constants for the compiler. -1: known at run time only. */
template <bool WIDE_, int X_, int Y_, int Z_> struct Types {
    static constexpr bool WIDE = WIDE_, FAST = WIDE_ && X_ >= 0;
    static constexpr int X = X_, Y = Y_, Z = Z_;
};

/* launch(Types) for the usual combinations of what the kernel reads, x, and of two others. */
template <class Launch> void for_types(bool eight, int x, int y, int z, Launch launch)
{
    if (!eight)
        launch(Types<false, -1, -1, -1>{});
    else if (x == RVX_BF16 && y == RVX_BF16 && z == RVX_BF16)
        launch(Types<true, RVX_BF16, RVX_BF16, RVX_BF16>{});
    else if (x == RVX_I16 && y == RVX_BF16 && z == RVX_BF16)
        launch(Types<true, RVX_I16, RVX_BF16, RVX_BF16>{});
    else if (x == RVX_F32 && y == RVX_F32 && z == RVX_F32)
        launch(Types<true, RVX_F32, RVX_F32, RVX_F32>{});
    else if (x == RVX_I16 && y == RVX_F32 && z == RVX_BF16)
        launch(Types<true, RVX_I16, RVX_F32, RVX_BF16>{});
    else if (x == RVX_BF16 && y == RVX_F32 && z == RVX_BF16)
        launch(Types<true, RVX_BF16, RVX_F32, RVX_BF16>{});
    else
        launch(Types<true, -1, -1, -1>{});
}
} // namespace rvx

#endif
