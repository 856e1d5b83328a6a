/* Tensors in device code. Owns: addresses, loads and stores of 1 or 8 channels of a voxel in every
 * storage type, the fold, and the arithmetic of integer streams; the meaning is that of
 * kernels/op.h and kernels/cpu/vec.h. Addresses go through View alone, 64-bit. */
#ifndef RVX_CUDA_VIEW_H
#define RVX_CUDA_VIEW_H

#include "kernels/cuda/simt.h"
#include "kernels/op.h"

namespace rvx
{
/* A tensor as kernels get it. `data` NULL: absent. Voxels are numbered over n, d, h, w. */
struct View {
    char *data;
    int64_t pitch;
    int64_t voxels; /* n d h w */
    int32_t n, d, h, w, c;
    int32_t dtype;
    float unit, steps; /* i16: 2^-grid_log2 and 2^grid_log2 */
    int64_t *overflow;

    RVX_BOTH int64_t at(int64_t voxel, int32_t channel) const { return voxel * pitch + channel; }
    RVX_BOTH int64_t voxel(int32_t in, int32_t id, int32_t ih, int32_t iw) const
    {
        return (((int64_t)in * d + id) * h + ih) * w + iw;
    }
};

inline View view_of(const rvx_tensor &t)
{
    View v = {};
    v.data = static_cast<char *>(t.data);
    v.pitch = t.pitch;
    v.voxels = rvx__shape_voxels(t.shape);
    v.n = (int32_t)t.shape.n;
    v.d = (int32_t)t.shape.d;
    v.h = (int32_t)t.shape.h;
    v.w = (int32_t)t.shape.w;
    v.c = (int32_t)t.shape.c;
    v.dtype = t.dtype;
    v.unit = t.dtype == RVX_I16 ? ldexpf(1.0f, -t.grid_log2) : 1.0f;
    v.steps = t.dtype == RVX_I16 ? ldexpf(1.0f, t.grid_log2) : 1.0f;
    v.overflow = t.overflow;
    return v;
}

/* Groups of 8 channels can be moved at once: whole, and on 16 bytes. Absent tensors can. */
inline bool wide(const rvx_tensor &t)
{
    int64_t alignment = t.dtype == RVX_U8 ? 8 : 16;
    return !t.data || (t.shape.c % 8 == 0 && t.pitch % 8 == 0 &&
                       reinterpret_cast<uintptr_t>(t.data) % (uintptr_t)alignment == 0);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

RVX_DEVICE float bf16_to_float(uint32_t bits) { return simt::as_float(bits << 16); }

/* To the grid, nearest even; beyond 2^22 clamped first, a NaN becomes 0. */
RVX_DEVICE int32_t grid_round(float v, float steps)
{
    float t = simt::multiply(v, steps);
    t = t == t ? t : 0.0f;
    t = t > 4194303.0f ? 4194303.0f : t < -4194303.0f ? -4194303.0f : t;
    return simt::round_even(t);
}
RVX_DEVICE int32_t wrap(int32_t v) { return (int32_t)((uint32_t)v << 16) >> 16; }
RVX_DEVICE float leaky(float t, float slope) { return t >= 0.0f ? t : slope * t; }

/* ---- loads and stores of N = 1 or 8 channels from element i on ---------------------------------
 */

struct alignas(16) Words4 {
    uint32_t word[4];
};

/* Two 16-bit elements a word. */
template <int N> RVX_DEVICE void load_halves(const View &t, int64_t i, uint32_t (&half)[N])
{
    if (N == 1) {
        half[0] = *reinterpret_cast<const uint16_t *>(t.data + 2 * i);
        return;
    }
    const Words4 words = *reinterpret_cast<const Words4 *>(t.data + 2 * i);
#pragma unroll
    for (int k = 0; k < N; k++)
        half[k] = words.word[k / 2 % 4] >> (16 * (k % 2)) & 0xFFFF;
}

template <int N> RVX_DEVICE void store_halves(const View &t, int64_t i, const uint32_t (&half)[N])
{
    if (N == 1) {
        *reinterpret_cast<uint16_t *>(t.data + 2 * i) = (uint16_t)half[0];
        return;
    }
    Words4 words;
#pragma unroll
    for (int k = 0; k < N; k += 2)
        words.word[k / 2 % 4] = (half[k] & 0xFFFF) | half[(k + 1) % N] << 16;
    *reinterpret_cast<Words4 *>(t.data + 2 * i) = words;
}

template <int N> RVX_DEVICE void load(const View &t, int64_t i, float (&v)[N])
{
    if (t.dtype == RVX_F32) {
        if (N == 1) {
            v[0] = *reinterpret_cast<const float *>(t.data + 4 * i);
            return;
        }
#pragma unroll
        for (int k = 0; k < N; k += 4) {
            const Words4 words = *reinterpret_cast<const Words4 *>(t.data + 4 * (i + k));
#pragma unroll
            for (int j = 0; j < 4; j++)
                v[(k + j) % N] = simt::as_float(words.word[j]);
        }
        return;
    }
    uint32_t half[N];
    load_halves(t, i, half);
    if (t.dtype == RVX_BF16) {
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = bf16_to_float(half[k]);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = (float)(int16_t)half[k] * t.unit;
    }
}

/* Stores integers, wrapped; returns how many did not fit. */
template <int N> RVX_DEVICE int store_integers(const View &t, int64_t i, const int32_t (&v)[N])
{
    uint32_t half[N];
    int lost = 0;
#pragma unroll
    for (int k = 0; k < N; k++) {
        half[k] = (uint32_t)v[k] & 0xFFFF;
        lost += wrap(v[k]) != v[k];
    }
    store_halves(t, i, half);
    return lost;
}

/* Rare: streams are scaled so that nearly everything fits. */
RVX_DEVICE void count_lost(const View &t, int lost)
{
    if (lost && t.overflow)
        simt::count(t.overflow, lost);
}

template <int N> RVX_DEVICE void store(const View &t, int64_t i, const float (&v)[N])
{
    if (t.dtype == RVX_F32) {
        if (N == 1) {
            *reinterpret_cast<float *>(t.data + 4 * i) = v[0];
            return;
        }
#pragma unroll
        for (int k = 0; k < N; k += 4) {
            Words4 words;
#pragma unroll
            for (int j = 0; j < 4; j++)
                words.word[j] = simt::as_bits(v[(k + j) % N]);
            *reinterpret_cast<Words4 *>(t.data + 4 * (i + k)) = words;
        }
    } else if (t.dtype == RVX_BF16) {
        uint32_t half[N];
#pragma unroll
        for (int k = 0; k < N; k += 2) {
            uint32_t pair = simt::pack_bf16(v[k], v[(k + 1) % N]);
            half[k] = pair & 0xFFFF;
            half[(k + 1) % N] = N == 1 ? half[k] : pair >> 16;
        }
        store_halves(t, i, half);
    } else {
        int32_t whole[N];
#pragma unroll
        for (int k = 0; k < N; k++)
            whole[k] = grid_round(v[k], t.steps);
        count_lost(t, store_integers(t, i, whole));
    }
}

/* Adds to memory or overwrites it. */
template <int N> RVX_DEVICE void put(const View &t, int64_t i, float (&v)[N], bool accumulate)
{
    if (accumulate) {
        float before[N];
        load(t, i, before);
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] += before[k];
    }
    store(t, i, v);
}

/* ---- streams ----------------------------------------------------------------------------------
 */

/* Elements of x as integers of the grid of y, wrapped; those that do not fit are counted in y. */
template <int N>
RVX_DEVICE void integers(const View &y, const View &x, int64_t i, int32_t (&v)[N], bool counted)
{
    if (x.dtype == RVX_I16 && x.unit == y.unit) {
        uint32_t half[N];
        load_halves(x, i, half);
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = (int16_t)half[k];
        return;
    }
    float number[N];
    int lost = 0;
    load(x, i, number);
#pragma unroll
    for (int k = 0; k < N; k++) {
        int32_t whole = grid_round(number[k], y.steps);
        v[k] = wrap(whole);
        lost += v[k] != whole;
    }
    if (counted)
        count_lost(y, lost);
}

/* y[to] = a[from] + v (sign 1) or a[from] - v (sign -1) for v in registers: what a residual adds
 * to. Where y is a stream, v is rounded to its grid first and the sum is one of integers.
 * Differences undo sums: nothing is counted as lost. */
template <int N>
RVX_DEVICE void store_sum(const View &y, int64_t to, const View &a, int64_t from, float (&v)[N],
                          int sign)
{
    if (y.dtype != RVX_I16) {
        float x[N];
        load(a, from, x);
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = sign > 0 ? x[k] + v[k] : x[k] - v[k];
        store(y, to, v);
        return;
    }
    int32_t x[N], whole[N];
    int lost = 0;
    integers(y, a, from, x, sign > 0);
#pragma unroll
    for (int k = 0; k < N; k++) {
        int32_t w = grid_round(v[k], y.steps);
        lost += wrap(w) != w;
        whole[k] = sign > 0 ? x[k] + wrap(w) : x[k] - wrap(w);
    }
    lost += store_integers(y, to, whole);
    if (sign > 0)
        count_lost(y, lost);
}

/* ---- fold -------------------------------------------------------------------------------------
 */

/* The fold table of a call: [n][3][c]; data NULL: nothing is folded. */
struct Fold {
    const float *data;
    int64_t pitch;
};

inline Fold fold_of(const rvx_tensor &t) { return {static_cast<const float *>(t.data), t.pitch}; }

/* a = leaky(x scale + shift) for channels c .. c + N of sample n. */
template <int N> RVX_DEVICE void fold(const Fold &f, int32_t n, int32_t c, float (&v)[N])
{
    if (!f.data)
        return;
    const float *row = f.data + (int64_t)n * 3 * f.pitch + c;
#pragma unroll
    for (int k = 0; k < N; k++)
        v[k] = leaky(simt::fused(v[k], row[k], row[f.pitch + k]), row[2 * f.pitch + k]);
}

/* ---- launches ---------------------------------------------------------------------------------
 */

enum { POINTWISE_THREADS = 256 };

/* Work items 0 .. count, each once: a block takes POINTWISE_THREADS at a time. */
inline dim3 pointwise_grid(int64_t count)
{
    int64_t blocks = (count + POINTWISE_THREADS - 1) / POINTWISE_THREADS;
    return dim3((unsigned)(blocks < 1 ? 1 : blocks > 0x7FFFFFFF ? 0x7FFFFFFF : blocks));
}
RVX_DEVICE int64_t first_item()
{
    return (int64_t)blockIdx.x * POINTWISE_THREADS + (int64_t)threadIdx.x;
}
RVX_DEVICE int64_t item_step() { return (int64_t)gridDim.x * POINTWISE_THREADS; }

inline simt::Stream queue_of(const rvx_call *call) { return (simt::Stream)call->queue; }
} // namespace rvx

#endif
