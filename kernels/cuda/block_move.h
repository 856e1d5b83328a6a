/* Blocks of voxels between a fine and a coarse tensor on the GPU, and what is done to them on the
 * way: space_to_depth, haar and orthogonal resampling. Owns: addresses and the two channel orders
 * of kernels/block.h, loads and stores of whole blocks, the way of working in place (see
 * block_layout.h). An operation is a class with
 *     enum { NUMBERS };
 *     template <int S, int N> void apply(uint32_t (&v)[S][N], int32_t c, bool squeeze, int *lost)
 * on the S voxels of a block and N channels from c on: bits of f32 with NUMBERS, else the elements
 * as they are stored, which then have one type on both sides; `lost` counts what did not fit. */
#ifndef RVX_CUDA_BLOCK_MOVE_H
#define RVX_CUDA_BLOCK_MOVE_H

#include "kernels/cuda/block_layout.h"
#include "kernels/cuda/view.h"

namespace rvx
{
enum { BLOCK_THREADS = 128 };

/* Division of 64-bit indexes, below 2^52, by one divisor: by a product that is off by one at most.
 */
struct Divisor {
    double inverse;
    int64_t by;
};

inline Divisor divisor_of(int64_t by) { return {1.0 / (double)by, by}; }

RVX_DEVICE int64_t divide(int64_t a, const Divisor &d)
{
    const int64_t q = (int64_t)((double)a * d.inverse), rest = a - q * d.by;
    return q + (rest >= d.by) - (rest < 0);
}

/* One side of a movement. A block is read or written in S vectors of N elements; vector i begins
 * where the bits of i say: for voxels of the block and channels in block-major order a vector is a
 * voxel, in channel-major order a stretch of the channels, whatever they belong to. */
struct BlockSide {
    View view;
    int64_t delta[3]; /* elements, for each bit of i */
    int64_t origin;   /* the element that stands at view.data: `from` alone may have one */
};

struct BlockMove {
    BlockSide to, from;
    int64_t first_line, items; /* coarse lines; an item is N channels of a block */
    uint32_t width;            /* coarse */
    uint32_t groups;           /* of N channels of a fine voxel */
    Divisor per_line, height;  /* items of a coarse line; coarse lines of a slice */
    int32_t stride[3];
    int64_t fine_h, fine_w;
    int32_t squeeze;      /* `to` is the coarse side */
    int32_t channel_step; /* coarse elements between groups of channels, over N */
    int32_t accumulate;
};

RVX_DEVICE int64_t vector_at(const BlockSide &side, int i)
{
    return (i & 1 ? side.delta[0] : 0) + (i & 2 ? side.delta[1] : 0) + (i & 4 ? side.delta[2] : 0);
}

/* N elements of 32 bits. */
template <int N> RVX_DEVICE void load_words(const View &t, int64_t i, uint32_t (&v)[N])
{
    if (N == 1) {
        v[0] = *reinterpret_cast<const uint32_t *>(t.data + 4 * i);
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k += 4) {
        const Words4 words = *reinterpret_cast<const Words4 *>(t.data + 4 * (i + k));
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[(k + j) % N] = words.word[j];
    }
}

template <int N> RVX_DEVICE void store_words(const View &t, int64_t i, const uint32_t (&v)[N])
{
    if (N == 1) {
        *reinterpret_cast<uint32_t *>(t.data + 4 * i) = v[0];
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k += 4) {
        Words4 words;
#pragma unroll
        for (int j = 0; j < 4; j++)
            words.word[j] = v[(k + j) % N];
        *reinterpret_cast<Words4 *>(t.data + 4 * (i + k)) = words;
    }
}

/* The bits of a block as they are stored, 16 or 32 of them. */
template <int S, int N>
RVX_DEVICE void block_load(uint32_t (&v)[S][N], const BlockSide &side, int64_t at)
{
    if (side.view.dtype == RVX_F32) {
#pragma unroll
        for (int i = 0; i < S; i++)
            load_words(side.view, at + vector_at(side, i), v[i]);
    } else {
#pragma unroll
        for (int i = 0; i < S; i++)
            load_halves(side.view, at + vector_at(side, i), v[i]);
    }
}

template <int S, int N>
RVX_DEVICE void block_store(const BlockSide &side, int64_t at, const uint32_t (&v)[S][N])
{
    if (side.view.dtype == RVX_F32) {
#pragma unroll
        for (int i = 0; i < S; i++)
            store_words(side.view, at + vector_at(side, i), v[i]);
    } else {
#pragma unroll
        for (int i = 0; i < S; i++)
            store_halves(side.view, at + vector_at(side, i), v[i]);
    }
}

/* Adds the numbers in memory to those of v, vector by vector. */
template <int S, int N>
RVX_DEVICE void block_add(uint32_t (&v)[S][N], const BlockSide &side, int64_t at)
{
#pragma unroll
    for (int i = 0; i < S; i++) {
        float before[N];
        load(side.view, at + vector_at(side, i), before);
#pragma unroll
        for (int k = 0; k < N; k++)
            v[i][k] = simt::as_bits(simt::add(simt::as_float(v[i][k]), before[k]));
    }
}

/* Between stored bits and numbers, in place. */
template <int S, int N> RVX_DEVICE void to_numbers(uint32_t (&v)[S][N], const View &t)
{
    if (t.dtype == RVX_F32)
        return;
#pragma unroll
    for (int i = 0; i < S; i++)
#pragma unroll
        for (int k = 0; k < N; k++)
            v[i][k] = t.dtype == RVX_BF16 ? v[i][k] << 16
                                          : simt::as_bits((float)(int16_t)v[i][k] * t.unit);
}

template <int S, int N> RVX_DEVICE void from_numbers(uint32_t (&v)[S][N], const View &t, int *lost)
{
    if (t.dtype == RVX_F32)
        return;
#pragma unroll
    for (int i = 0; i < S; i++)
#pragma unroll
        for (int k = 0; k < N; k++) {
            const float number = simt::as_float(v[i][k]);
            if (t.dtype == RVX_BF16) {
                v[i][k] = simt::pack_bf16(number, number);
                continue;
            }
            const int32_t whole = grid_round(number, t.steps);
            *lost += wrap(whole) != whole;
            v[i][k] = (uint32_t)whole;
        }
}

/* Vectors of channel-major order (s numbers of channel 0, s of channel 1, ...) to voxels or back.
 */
template <int S, int N, bool BACK> RVX_DEVICE void block_turn(uint32_t (&v)[S][N])
{
    uint32_t turned[S][N];
#pragma unroll
    for (int f = 0; f < S * N; f++)
        if (BACK)
            turned[f / N][f % N] = v[f % S][f / S];
        else
            turned[f % S][f / S] = v[f / N][f % N];
#pragma unroll
    for (int f = 0; f < S * N; f++)
        v[f / N][f % N] = turned[f / N][f % N];
}

enum Turn { TURN_NEVER, TURN_LOADED, TURN_STORED };

template <class Operation, int S, int N, Turn turn>
RVX_GLOBAL void RVX_BOUNDS(BLOCK_THREADS) block_kernel(BlockMove m, Operation operation)
{
    const uint32_t per_line = (uint32_t)m.per_line.by;
    int lost = 0;
    for (int64_t begin = (int64_t)blockIdx.x * BLOCK_THREADS; begin + threadIdx.x < m.items;
         begin += (int64_t)gridDim.x * BLOCK_THREADS) {
        int64_t line = divide(begin, m.per_line);
        uint32_t item = (uint32_t)(begin - line * per_line) + threadIdx.x;
        line += m.first_line + item / per_line;
        item %= per_line;
        const uint32_t x = item / m.groups, group = item % m.groups;
        const int64_t slice = divide(line, m.height), y = line - slice * m.height.by;
        const int64_t row = slice * m.stride[0] * m.fine_h + y * m.stride[1];
        const int64_t fine = row * m.fine_w + (int64_t)x * m.stride[2];
        const int64_t coarse = line * m.width + x;
        const int32_t c = (int32_t)group * N, coarse_c = c * m.channel_step;
        const int64_t to = (m.squeeze ? m.to.view.at(coarse, coarse_c) : m.to.view.at(fine, c));
        const int64_t from =
            (m.squeeze ? m.from.view.at(fine, c) : m.from.view.at(coarse, coarse_c));
        uint32_t v[S][N];
        block_load(v, m.from, from - m.from.origin);
        if (turn == TURN_LOADED)
            block_turn<S, N, false>(v);
        if (Operation::NUMBERS)
            to_numbers(v, m.from.view);
        operation.template apply<S, N>(v, c, m.squeeze != 0, &lost);
        if (turn == TURN_STORED)
            block_turn<S, N, true>(v);
        if (Operation::NUMBERS && m.accumulate)
            block_add(v, m.to, to);
        if (Operation::NUMBERS)
            from_numbers(v, m.to.view, &lost);
        block_store(m.to, to, v);
    }
    count_lost(m.to.view, lost);
}

/* ---- queueing ---------------------------------------------------------------------------------
 */

/* Copies `bytes`, an even number, between places that do not overlap. */
void block_copy(const rvx_call *call, void *to, const void *from, int64_t bytes);

/* The vectors of one side: N elements each, of a block of s voxels. */
inline BlockSide block_side(const rvx_tensor &t, const rvx_tensor &fine, bool is_fine,
                            const rvx_op_params *p, int n)
{
    BlockSide side = {};
    side.view = view_of(t);
    int bit = 0;
    const int64_t along[3] = {fine.pitch, fine.shape.w * fine.pitch,
                              fine.shape.h * fine.shape.w * fine.pitch};
    for (int axis = 0; axis < 3; axis++)
        for (int64_t k = 1; k < p->stride[2 - axis] && bit < 3; k *= 2, bit++)
            side.delta[bit] = is_fine                       ? k * along[axis]
                              : p->order == RVX_ORDER_BLOCK ? fine.shape.c << bit
                                                            : (int64_t)n << bit;
    return side;
}

template <class Operation, int S, int N>
void block_launch(const rvx_call *call, const BlockMove &m, const Operation &operation)
{
    const bool turns = N > 1 && S > 1 && call->params->order == RVX_ORDER_CHANNEL;
    const int64_t blocks = (m.items + BLOCK_THREADS - 1) / BLOCK_THREADS;
    const dim3 grid((unsigned)(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF));
    if (!turns)
        simt::launch(block_kernel<Operation, S, N, TURN_NEVER>, grid, BLOCK_THREADS, 0,
                     queue_of(call), m, operation);
    else if (m.squeeze)
        simt::launch(block_kernel < Operation, S, N, N == 1 ? TURN_NEVER : TURN_STORED >, grid,
                     BLOCK_THREADS, 0, queue_of(call), m, operation);
    else
        simt::launch(block_kernel < Operation, S, N, N == 1 ? TURN_NEVER : TURN_LOADED >, grid,
                     BLOCK_THREADS, 0, queue_of(call), m, operation);
}

template <class Operation, int S>
void block_launch_wide(const rvx_call *call, const BlockMove &m, const Operation &operation,
                       bool eight)
{
    if (eight)
        block_launch<Operation, S, 8>(call, m, operation);
    else
        block_launch<Operation, S, 1>(call, m, operation);
}

/* Blocks of 1, 2, 4 or 8 voxels: coarse = operation(fine) where `squeeze`, else the other way
 * round. `from` may stand aside, from coarse line `first` on. */
template <class Operation>
void block_part(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine,
                bool squeeze, const Operation &operation, const void *aside, int64_t first,
                int64_t lines)
{
    const rvx_op_params *p = call->params;
    const int64_t s = rvx__block_voxels(p);
    const bool eight = wide(coarse) && wide(fine);
    const int n = eight ? 8 : 1;
    const BlockSide on_coarse = block_side(coarse, fine, false, p, n),
                    on_fine = block_side(fine, fine, true, p, n);
    BlockMove m = {};
    m.to = squeeze ? on_coarse : on_fine;
    m.from = squeeze ? on_fine : on_coarse;
    if (aside) {
        m.from.view.data = static_cast<char *>(const_cast<void *>(aside));
        m.from.origin = first * coarse.shape.w * coarse.shape.c;
    }
    m.width = (uint32_t)coarse.shape.w;
    m.groups = (uint32_t)(fine.shape.c / n);
    m.per_line = divisor_of((int64_t)m.width * m.groups);
    m.height = divisor_of(coarse.shape.h);
    m.first_line = first;
    m.items = lines * m.width * m.groups;
    for (int axis = 0; axis < 3; axis++)
        m.stride[axis] = p->stride[axis];
    m.fine_h = fine.shape.h;
    m.fine_w = fine.shape.w;
    m.squeeze = squeeze;
    m.channel_step = p->order == RVX_ORDER_BLOCK ? 1 : (int32_t)s;
    m.accumulate = (call->accumulate & 1u) != 0;
    if (s == 8)
        block_launch_wide<Operation, 8>(call, m, operation, eight);
    else if (s == 4)
        block_launch_wide<Operation, 4>(call, m, operation, eight);
    else if (s == 2)
        block_launch_wide<Operation, 2>(call, m, operation, eight);
    else
        block_launch_wide<Operation, 1>(call, m, operation, eight);
}

/* Calls part(aside, first coarse line, lines) for all blocks: once, aside being NULL, where the
 * sides are different memory, else for slabs that it has copied to `room`. */
template <class Part>
void block_slabs(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine, char *room,
                 Part part)
{
    const rvx_shape &shape = coarse.shape;
    const int64_t lines = shape.n * shape.d * shape.h;
    if (coarse.data != fine.data) {
        part(nullptr, 0, lines);
        return;
    }
    const int64_t slab = rvx__block_slab_voxels(shape, call->params) / shape.w;
    const int64_t line_bytes = shape.w * shape.c * rvx__dtype_bytes(coarse.dtype);
    const int64_t fit = rvx__block_aside_bytes(shape, call->params) / (slab * line_bytes) * slab;
    for (int64_t first = 0; first < lines; first += fit) {
        const int64_t count = lines - first < fit ? lines - first : fit;
        block_copy(call, room, static_cast<char *>(coarse.data) + first * line_bytes,
                   count * line_bytes);
        part(room, first, count);
    }
}

/* A transform of all blocks, in place or not. */
template <class Operation>
void block_transform(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine,
                     bool squeeze, const Operation &operation, char *room)
{
    block_slabs(call, coarse, fine, room, [&](const void *aside, int64_t first, int64_t lines) {
        block_part(call, coarse, fine, squeeze, operation, aside, first, lines);
    });
}
} // namespace rvx

#endif
