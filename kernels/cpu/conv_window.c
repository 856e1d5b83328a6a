/* Register blocks that slide along w: see conv_block.h. A source voxel meets three taps, so it is
 * read from the cache once for three products, where the plain block reads it three times; with few
 * target channels that is what bounds the speed.
 *
 * Target voxel j of a block gets tap t of source voxel i where
 *     stride 1:  t = i - j          stride 2:  t = i - 2 j          spread:  t = j + 1 - 2 i */
#include "kernels/cpu/conv_block.h"

#define foreach(i, count) _Pragma("GCC unroll 64") for (int i = 0; i < (count); i++)

enum { TAPS = 3, SOURCE_MAX = 2 * RVX_WINDOW_SIZE + 1 };

static inline __attribute__((always_inline)) void
window_start(rvx_vec *sum, const rvx__conv_block *block, int positions, int vectors, int64_t lanes)
{
    if (block->load) {
        foreach (j, positions)
            foreach (v, vectors) {
                const float *from = block->target[0] + j * block->target_position + v * RVX_LANES;
                sum[j * vectors + v] = v == vectors - 1 && lanes < RVX_LANES
                                           ? rvx__load_part(from, lanes)
                                           : rvx__load(from);
            }
        return;
    }
    foreach (v, vectors) {
        rvx_vec bias = {0};
        if (block->bias) {
            const float *from = block->bias + v * RVX_LANES;
            bias = v == vectors - 1 && lanes < RVX_LANES ? rvx__load_part(from, lanes)
                                                         : rvx__load(from);
        }
        foreach (j, positions)
            sum[j * vectors + v] = bias;
    }
}

static inline __attribute__((always_inline)) void window_finish(const rvx_vec *sum,
                                                                const rvx__conv_block *block,
                                                                int positions, int vectors,
                                                                int64_t lanes, int stream)
{
    foreach (j, positions)
        foreach (v, vectors) {
            float *to = block->target[0] + j * block->target_position + v * RVX_LANES;
            if (v == vectors - 1 && lanes < RVX_LANES)
                rvx__store_part(to, sum[j * vectors + v], lanes);
            else if (stream)
                rvx__stream(to, sum[j * vectors + v]);
            else
                rvx__store(to, sum[j * vectors + v]);
        }
}

static inline __attribute__((always_inline)) int tap_of(rvx__window window, int i, int j)
{
    return window == RVX_WINDOW_STRIDE_1   ? i - j
           : window == RVX_WINDOW_STRIDE_2 ? i - 2 * j
                                           : j + 1 - 2 * i;
}

static inline __attribute__((always_inline)) void
window_run(const rvx__conv_block *block, rvx__window window, int positions, int vectors)
{
    rvx_vec sum[RVX_BLOCK_SIZE];
    const int64_t lanes = block->lanes, position = block->source_position;
    const int64_t run = block->run, offset = block->source_offset;
    const int sources = (int)rvx__window_sources(window, positions);
    if (lanes == RVX_LANES)
        window_start(sum, block, positions, vectors, RVX_LANES);
    else
        window_start(sum, block, positions, vectors, lanes);
    const rvx__conv_row *row = block->rows, *end = row + block->row_count;
    for (; row < end; row++) {
        const float *weight = row->weight;
        rvx__row_fetch_ahead(row, block);
        const float *p[(SOURCE_MAX + 2) / 3];
        foreach (i, (sources + 2) / 3)
            p[i] = row->source[0] + offset + 3 * i * position;
        const float *first = block->first_outside ? block->first_outside : p[0];
        const float *last = block->last_outside
                                ? block->last_outside
                                : p[(sources - 1) / 3] + position * ((sources - 1) % 3);
        for (int64_t k = run; k > 0; k--) {
            rvx_vec w[TAPS * RVX_BLOCK_VECTORS];
            foreach (i, TAPS * vectors)
                w[i] = rvx__load(weight + i * RVX_LANES);
            weight += TAPS * vectors * RVX_LANES;
            foreach (i, sources) {
                rvx_vec x = rvx__splat(i == 0             ? *first
                                       : i == sources - 1 ? *last
                                                          : p[i / 3][position * (i % 3)]);
                foreach (j, positions) {
                    const int t = tap_of(window, i, j);
                    if (t >= 0 && t < TAPS)
                        foreach (v, vectors)
                            sum[j * vectors + v] += x * w[t * vectors + v];
                }
            }
            foreach (i, (sources + 2) / 3)
                p[i]++;
            first++;
            last++;
        }
    }
    if (block->stream)
        window_finish(sum, block, positions, vectors, RVX_LANES, 1);
    else if (lanes == RVX_LANES)
        window_finish(sum, block, positions, vectors, RVX_LANES, 0);
    else
        window_finish(sum, block, positions, vectors, lanes, 0);
}

/* Every length up to rvx__window_most. */
#define LENGTHS_11(X, k, v)                                                                        \
    X(k, 1, v)                                                                                     \
    X(k, 2, v)                                                                                     \
    X(k, 3, v)                                                                                     \
    X(k, 4, v) X(k, 5, v) X(k, 6, v) X(k, 7, v) X(k, 8, v) X(k, 9, v) X(k, 10, v) X(k, 11, v)
#if RVX_LANES == 16
#define LENGTHS_14(X, k)                                                                           \
    LENGTHS_11(X, k, 1) LENGTHS_11(X, k, 2) X(k, 12, 2) X(k, 12, 1) X(k, 13, 1) X(k, 14, 1)
#define LENGTHS_26(X, k)                                                                           \
    LENGTHS_14(X, k)                                                                               \
    X(k, 15, 1)                                                                                    \
    X(k, 16, 1)                                                                                    \
    X(k, 17, 1)                                                                                    \
    X(k, 18, 1)                                                                                    \
    X(k, 19, 1) X(k, 20, 1) X(k, 21, 1) X(k, 22, 1) X(k, 23, 1) X(k, 24, 1) X(k, 25, 1) X(k, 26, 1)
#else
#define LENGTHS_14(X, k) LENGTHS_11(X, k, 1)
#define LENGTHS_26(X, k) LENGTHS_11(X, k, 1)
#endif
#define KINDS(X)                                                                                   \
    LENGTHS_26(X, RVX_WINDOW_STRIDE_1)                                                             \
    LENGTHS_14(X, RVX_WINDOW_STRIDE_2)                                                             \
    LENGTHS_26(X, RVX_WINDOW_SPREAD)

#define WINDOW_DEFINE(k, j, v)                                                                     \
    static void window_##k##_##j##_##v(const rvx__conv_block *block) { window_run(block, k, j, v); }
KINDS(WINDOW_DEFINE)

rvx__conv_block_kernel RVX_KERNEL(rvx__conv_window_find)(rvx__window window, int64_t positions,
                                                         int64_t vectors)
{
#define WINDOW_CELL(k, j, v) [v - 1][k][j - 1] = window_##k##_##j##_##v,
    static const rvx__conv_block_kernel table[RVX_BLOCK_VECTORS][RVX_WINDOW_COUNT]
                                             [RVX_WINDOW_SIZE] = {KINDS(WINDOW_CELL)};
    return table[vectors - 1][window][positions - 1];
}
