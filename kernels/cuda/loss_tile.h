/* The losses on tiles of voxels, in one block's shared memory. Owns: how the threads of a block are
 * dealt to voxels and classes, the logits of a head, softmax, the statistics of a tile and the
 * gradient of its logits; meaning and formulas are those of kernels/cpu/loss_block.h.
 *
 * A tile has V voxels, and L = 256 / V lanes work at each, a power of two. Rows of shared memory
 * hold a voxel's logits, later exponentials or gradients, in quads of classes; lane l has quads l,
 * l + L, ... Classes that pad a row to whole quads have logits of minus infinity, so that nothing
 * that follows need ask. Invariant: a logit depends on the numbers of its voxel only. */
#ifndef RVX_CUDA_LOSS_TILE_H
#define RVX_CUDA_LOSS_TILE_H

#include "kernels/cuda/loss_layout.h"
#include "kernels/cuda/view.h"

#include <math.h>

namespace rvx
{
enum {
    TILE_THREADS = 256,
    TILE_WARPS = TILE_THREADS / 32,
    TILE_CHANNELS = 32, /* of a head's input, in shared memory at once */
    SUM_I = 0,
    SUM_P,
    SUM_G,
    SUM_TP,
    SUM_PREDICTED
};

struct alignas(16) Float4 {
    float v[4];
};

/* Where things stand, in f32 words. */
struct Tile {
    int32_t classes, quads;    /* quads of classes */
    int32_t lanes, voxels;     /* L and V */
    int32_t pitch;             /* of rows: an odd multiple of 4 L, so that no banks are shared */
    int32_t channels, a_pitch; /* of the head's input; rows of a chunk of them */
    int32_t a, rows, scale, mark, end;
};

inline Tile tile_of(int64_t classes, int64_t channels)
{
    Tile t = {};
    t.classes = (int32_t)classes;
    t.quads = (t.classes + 3) / 4;
    t.lanes = classes <= 32 ? 1 : classes <= 64 ? 2 : classes <= 128 ? 4 : 8;
    t.voxels = TILE_THREADS / t.lanes;
    t.pitch = 4 * t.lanes * ((t.quads + t.lanes - 1) / t.lanes | 1);
    t.channels = (int32_t)channels;
    const int32_t chunk = t.channels < TILE_CHANNELS ? t.channels : TILE_CHANNELS;
    t.a_pitch = chunk > 0 ? 4 * ((chunk + 3) / 4 | 1) : 0;
    t.rows = t.voxels * t.a_pitch;
    t.scale = t.rows + t.voxels * t.pitch;
    t.mark = t.scale + t.voxels;
    t.end = t.mark + t.voxels;
    return t;
}

/* Voxels first .. first + count of the batch, all of sample n. */
struct Piece {
    int32_t n;
    int64_t first, count;
};

/* How a batch is cut, see loss_layout.h: one block a piece. */
struct Cut {
    uint32_t pieces; /* of a sample */
    int64_t piece_voxels, voxels;
};

inline Cut cut_of(const rvx__loss_layout &layout, rvx_shape x)
{
    return {(uint32_t)layout.pieces, layout.piece_voxels, x.d * x.h * x.w};
}

RVX_DEVICE Piece my_piece(const Cut &cut)
{
    const uint32_t n = blockIdx.x / cut.pieces;
    const int64_t begin = (int64_t)(blockIdx.x % cut.pieces) * cut.piece_voxels;
    const int64_t left = cut.voxels - begin;
    return {(int32_t)n, n * cut.voxels + begin, left < cut.piece_voxels ? left : cut.piece_voxels};
}

/* The voxel of this thread in a tile, and its place among the lanes of that voxel. */
RVX_DEVICE int my_voxel(const Tile &t) { return (int)threadIdx.x / t.lanes; }
RVX_DEVICE int my_lane(const Tile &t) { return (int)threadIdx.x % t.lanes; }

/* Sum over the lanes of a voxel, the same bits in all of them. */
RVX_DEVICE float voxel_sum(const Tile &t, float v)
{
    for (int mask = 1; mask < t.lanes; mask *= 2)
        v = simt::add(v, simt::shuffle_xor(v, mask));
    return v;
}

/* ---- logits -----------------------------------------------------------------------------------
 */

/* Given logits, f32, into rows. */
RVX_DEVICE void logits_load(float *shared, const Tile &t, const View &x, int64_t first, int count)
{
    const int padded = 4 * t.quads;
    for (int i = (int)threadIdx.x; i < t.voxels * padded; i += TILE_THREADS) {
        const int v = i / padded, k = i % padded;
        float z = k < t.classes ? 0.0f : -INFINITY;
        if (v < count && k < t.classes)
            z = reinterpret_cast<const float *>(x.data)[x.at(first + v, k)];
        shared[t.rows + v * t.pitch + k] = z;
    }
}

/* A head: its input, its fold, its packed weight and bias. */
struct Head {
    View x;
    Fold fold;
    const float *weight, *bias; /* as loss_layout.h has them */
};

RVX_DEVICE int chunk_channels(const Tile &t, int from)
{
    return t.channels - from < TILE_CHANNELS ? t.channels - from : TILE_CHANNELS;
}

/* The chunk of channels that begins at `from`, folded, zeros where there is no voxel or channel. */
template <int N>
RVX_DEVICE void features_load(float *shared, const Tile &t, const Head &h, int32_t n, int64_t first,
                              int count, int from)
{
    const int groups = (chunk_channels(t, from) + 3) / 4 * 4 / N;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < t.voxels * groups; i += TILE_THREADS) {
        const int v = i / groups, c = i % groups * N;
        float a[N] = {};
        if (v < count && from + c < t.channels) {
            load(h.x, h.x.at(first + v, from + c), a);
            fold(h.fold, n, from + c, a);
        }
        float *to = shared + t.a + v * t.a_pitch + c;
        if (N == 1) {
            to[0] = a[0];
        } else {
#pragma unroll
            for (int k = 0; k < N; k += 4)
                *reinterpret_cast<Float4 *>(to + k) = {
                    {a[k % N], a[(k + 1) % N], a[(k + 2) % N], a[(k + 3) % N]}};
        }
    }
}

/* Adds the products of a chunk to Q quads of this thread's voxel, quad + i * lanes. */
template <int Q>
RVX_DEVICE void logits_quads(float *shared, const Tile &t, const Head &h, int from, int quad)
{
    const int padded = (t.channels + 3) / 4 * 4, width = (chunk_channels(t, from) + 3) / 4 * 4;
    const float *a = shared + t.a + my_voxel(t) * t.a_pitch;
    float *row = shared + t.rows + my_voxel(t) * t.pitch;
    const float *begin = from == 0 ? h.bias : row;
    const Float4 *w[Q];
    Float4 z[Q];
#pragma unroll
    for (int i = 0; i < Q; i++) {
        const int q = quad + i * t.lanes;
        z[i] = *reinterpret_cast<const Float4 *>(begin + 4 * q);
        w[i] = reinterpret_cast<const Float4 *>(h.weight) + (int64_t)q * padded + from;
    }
#pragma unroll 1
    for (int c = 0; c < width; c += 4) {
        const Float4 four = *reinterpret_cast<const Float4 *>(a + c);
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int i = 0; i < Q; i++) {
                const Float4 factor = w[i][c + j];
#pragma unroll
                for (int k = 0; k < 4; k++)
                    z[i].v[k] = simt::fused(four.v[j], factor.v[k], z[i].v[k]);
            }
    }
#pragma unroll
    for (int i = 0; i < Q; i++)
        *reinterpret_cast<Float4 *>(row + 4 * (quad + i * t.lanes)) = z[i];
}

/* The logits of a tile: what a thread's own lane needs is there without a barrier. The last chunk
 * of channels stays where it is. */
template <int N>
RVX_DEVICE void logits_form(float *shared, const Tile &t, const Head &h, int32_t n, int64_t first,
                            int count)
{
    for (int from = 0; from < t.channels; from += TILE_CHANNELS) {
        if (from > 0)
            simt::barrier();
        features_load<N>(shared, t, h, n, first, count, from);
        simt::barrier();
        int quad = my_lane(t);
        for (; quad + t.lanes < t.quads; quad += 2 * t.lanes)
            logits_quads<2>(shared, t, h, from, quad);
        if (quad < t.quads)
            logits_quads<1>(shared, t, h, from, quad);
    }
}

/* ---- softmax ----------------------------------------------------------------------------------
 */

/* Label of a voxel, -1 where it takes no part. */
RVX_DEVICE int label_of(const View &labels, int64_t voxel, int classes, int ignored)
{
    const int value = reinterpret_cast<const uint8_t *>(labels.data)[labels.at(voxel, 0)];
    return value < classes && value != ignored ? value : -1;
}

struct Best {
    float largest;
    int first; /* the first class that has it */
};

RVX_DEVICE Best best_of(const float *shared, const Tile &t)
{
    const float *row = shared + t.rows + my_voxel(t) * t.pitch;
    Best best = {-INFINITY, 4 * my_lane(t)};
    for (int q = my_lane(t); q < t.quads; q += t.lanes) {
        const Float4 z = *reinterpret_cast<const Float4 *>(row + 4 * q);
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (z.v[k] > best.largest)
                best = {z.v[k], 4 * q + k};
    }
    for (int mask = 1; mask < t.lanes; mask *= 2) {
        const float largest = simt::shuffle_xor(best.largest, mask);
        const int first = (int)simt::shuffle_xor((float)best.first, mask);
        if (largest > best.largest || (largest >= best.largest && first < best.first))
            best = {largest, first};
    }
    return best;
}

/* The rows become exponentials of what is left of the largest; returns their sum. `own` gets the
 * logit of the label minus the largest, in the lane that has it. */
RVX_DEVICE float exponentials(float *shared, const Tile &t, float largest, int label, float *own)
{
    float *row = shared + t.rows + my_voxel(t) * t.pitch, sum = 0.0f;
    for (int q = my_lane(t); q < t.quads; q += t.lanes) {
        Float4 z = *reinterpret_cast<const Float4 *>(row + 4 * q);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float less = z.v[k] - largest;
            if (4 * q + k == label)
                *own = less;
            z.v[k] = expf(less);
            sum = simt::add(sum, z.v[k]);
        }
        *reinterpret_cast<Float4 *>(row + 4 * q) = z;
    }
    return voxel_sum(t, sum);
}

/* ---- statistics -------------------------------------------------------------------------------
 */

/* Sums of one quad of classes over the voxels of one part of the threads. */
struct QuadSums {
    double i[4], p[4];
    uint32_t g[4], hits[4], predicted[4]; /* a block has fewer voxels */
};

/* Threads are dealt to (part, quad): quad = thread % quads. */
RVX_DEVICE int quad_parts(const Tile &t) { return TILE_THREADS / t.quads; }

/* Exponentials in all rows, the factor that makes them sum to one (0: not valid) and a mark beside
 * them; returns the voxel's cross entropy, in one lane of it. */
RVX_DEVICE float tile_softmax(float *shared, const Tile &t, int label)
{
    const Best best = best_of(shared, t);
    float own = 0.0f;
    const float sum = exponentials(shared, t, best.largest, label, &own);
    if (my_lane(t) == 0) {
        shared[t.scale + my_voxel(t)] = label < 0 ? 0.0f : 1.0f / sum;
        reinterpret_cast<int *>(shared)[t.mark + my_voxel(t)] =
            label < 0 ? -1 : label | best.first << 8;
    }
    return label >= 0 && label / 4 % t.lanes == my_lane(t) ? logf(sum) - own : 0.0f;
}

/* After a barrier behind tile_softmax. */
RVX_DEVICE void tile_statistics(QuadSums &sums, const float *shared, const Tile &t)
{
    const int parts = quad_parts(t), quad = (int)threadIdx.x % t.quads;
    float i[4] = {}, p[4] = {};
    for (int v = (int)threadIdx.x / t.quads; v < t.voxels; v += parts) {
        if ((int)threadIdx.x >= parts * t.quads)
            break;
        const Float4 e =
            *reinterpret_cast<const Float4 *>(shared + t.rows + v * t.pitch + 4 * quad);
        const float scale = shared[t.scale + v];
        const int mark = reinterpret_cast<const int *>(shared)[t.mark + v];
        const int label = mark < 0 ? -1 : mark & 0xFF, best = mark >> 8;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const bool is_label = label == 4 * quad + k, is_best = best == 4 * quad + k;
            const float share = simt::multiply(e.v[k], scale);
            p[k] = simt::add(p[k], share);
            i[k] = is_label ? simt::add(i[k], share) : i[k];
            sums.g[k] += is_label;
            sums.hits[k] += is_label && is_best;
            sums.predicted[k] += is_best;
        }
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        sums.i[k] += (double)i[k];
        sums.p[k] += (double)p[k];
    }
}

/* Sums four numbers of each thread over the parts, in a fixed order: part 0 has them. `red`: four
 * doubles a thread. To be reached by the whole block, with a barrier before. */
RVX_DEVICE void sum_over_parts(double *red, const Tile &t, double (&v)[4])
{
    const int parts = quad_parts(t), part = (int)threadIdx.x / t.quads;
    int half = 1;
#pragma unroll
    for (int k = 0; k < 4; k++)
        red[k * TILE_THREADS + (int)threadIdx.x] = v[k];
    while (half < parts)
        half *= 2;
    for (half /= 2; half > 0; half /= 2) {
        simt::barrier();
        if (part < half && part + half < parts)
#pragma unroll
            for (int k = 0; k < 4; k++)
                red[k * TILE_THREADS + (int)threadIdx.x] +=
                    red[k * TILE_THREADS + (int)threadIdx.x + half * t.quads];
    }
#pragma unroll
    for (int k = 0; k < 4; k++)
        v[k] = red[k * TILE_THREADS + (int)threadIdx.x];
    simt::barrier();
}

/* ---- gradients --------------------------------------------------------------------------------
 */

/* Coefficients of Dice of one sample: [2][4 * quads], and L / N. */
RVX_DEVICE void tile_gradient(float *shared, const Tile &t, const float *table, float ce_factor,
                              int label)
{
    float *row = shared + t.rows + my_voxel(t) * t.pitch, own = 0.0f, mean = 0.0f;
    const Best best = best_of(shared, t);
    const float sum = exponentials(shared, t, best.largest, label, &own);
    const float scale = label < 0 ? 0.0f : 1.0f / sum, ce = label < 0 ? 0.0f : ce_factor;
    const float *a = table, *b = table + 4 * t.quads;
    for (int q = my_lane(t); q < t.quads; q += t.lanes) {
        Float4 p = *reinterpret_cast<const Float4 *>(row + 4 * q);
        const Float4 rise = *reinterpret_cast<const Float4 *>(a + 4 * q);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            p.v[k] = simt::multiply(p.v[k], scale);
            const float slope = rise.v[k] - (4 * q + k == label ? b[4 * q + k] : 0.0f);
            mean = simt::fused(p.v[k], slope, mean);
        }
        *reinterpret_cast<Float4 *>(row + 4 * q) = p;
    }
    mean = voxel_sum(t, mean);
    for (int q = my_lane(t); q < t.quads; q += t.lanes) {
        Float4 p = *reinterpret_cast<const Float4 *>(row + 4 * q);
        const Float4 rise = *reinterpret_cast<const Float4 *>(a + 4 * q);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const bool is_label = 4 * q + k == label;
            const float slope = rise.v[k] - (is_label ? b[4 * q + k] : 0.0f);
            const float off = simt::multiply(ce, p.v[k] - (is_label ? 1.0f : 0.0f));
            p.v[k] = simt::fused(p.v[k], slope - mean, off);
        }
        *reinterpret_cast<Float4 *>(row + 4 * q) = p;
    }
}

/* ---- before and after the tiles ---------------------------------------------------------------
 */

/* Sum over rows of a column of partial[rows][width], in double and in a fixed order, for 32 columns
 * of a block: the result is that of the first 32 threads. */
RVX_DEVICE double column_sum(const double *partial, int64_t rows, int64_t width, int64_t column,
                             double *shared)
{
    const int strand = (int)threadIdx.x / 32;
    double sum = 0;
    if (column < width)
        for (int64_t r = strand; r < rows; r += TILE_WARPS)
            sum += partial[r * width + column];
    shared[threadIdx.x] = sum;
    simt::barrier();
    if (strand == 0)
        for (int i = 1; i < TILE_WARPS; i++)
            sum += shared[i * 32 + (int)threadIdx.x];
    return sum;
}

/* Queues what the forward passes of both losses end with: sums the pieces and writes the outputs.
 */
void loss_outputs(const rvx_call *call, const rvx__loss_layout &layout);
/* Queues what their backward passes begin with: the coefficients of Dice. */
void loss_coefficients(const rvx_call *call, const rvx__loss_layout &layout);
/* L / N of kernels/cpu/loss_block.h, from the summary and the gradient of the loss (NULL: 1). */
RVX_DEVICE float ce_factor_of(const float *summary, const float *grad_loss, float weight)
{
    const double valid = (double)summary[2] * 16777216.0 + (double)summary[3];
    const double factor = (double)weight * (grad_loss ? (double)grad_loss[0] : 1.0);
    return valid > 0 ? (float)(factor / valid) : 0.0f;
}

/* Adds what a block has summed to its row of partial sums: forward. */
RVX_DEVICE void statistics_write(double *row, double *red, const Tile &t, QuadSums &sums,
                                 double cross_entropy)
{
    const int quad = (int)threadIdx.x % t.quads;
    const bool mine = (int)threadIdx.x < t.quads;
    for (int s = 0; s < RVX__LOSS_SUMS; s++) {
        double v[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            v[k] = s == SUM_I    ? sums.i[k]
                   : s == SUM_P  ? sums.p[k]
                   : s == SUM_G  ? (double)sums.g[k]
                   : s == SUM_TP ? (double)sums.hits[k]
                                 : (double)sums.predicted[k];
        sum_over_parts(red, t, v);
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (mine && 4 * quad + k < t.classes)
                row[1 + (4 * quad + k) * RVX__LOSS_SUMS + s] = v[k];
    }
    for (int mask = 1; mask < 32; mask *= 2)
        cross_entropy += simt::shuffle_xor(cross_entropy, mask);
    if (threadIdx.x % 32 == 0)
        red[threadIdx.x / 32] = cross_entropy;
    simt::barrier();
    if (threadIdx.x == 0) {
        double sum = 0;
        for (int w = 0; w < TILE_WARPS; w++)
            sum += red[w];
        row[0] = sum;
    }
}
} // namespace rvx

#endif
