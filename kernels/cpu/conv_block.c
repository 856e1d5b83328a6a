/* Register blocks, one function per shape: see conv_block.h. */
#include "kernels/cpu/conv_block.h"

/* A loop of constant length, unrolled so that `sum` lives in registers. */
#define foreach(i, count) _Pragma("GCC unroll 32") for (int i = 0; i < (count); i++)

static inline __attribute__((always_inline)) void block_start(rvx_vec *sum,
                                                              const rvx__conv_block *block,
                                                              int groups, int positions,
                                                              int vectors, int64_t lanes)
{
    if (block->load) {
        foreach (g, groups)
            foreach (i, positions)
                foreach (v, vectors) {
                    const float *from =
                        block->target[g] + i * block->target_position + v * RVX_LANES;
                    sum[(g * positions + i) * vectors + v] = v == vectors - 1 && lanes < RVX_LANES
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
        foreach (i, groups * positions)
            sum[i * vectors + v] = bias;
    }
}

static inline __attribute__((always_inline)) void
block_finish(const rvx_vec *sum, const rvx__conv_block *block, int groups, int positions,
             int vectors, int64_t lanes, int stream)
{
    foreach (g, groups)
        foreach (i, positions)
            foreach (v, vectors) {
                float *to = block->target[g] + i * block->target_position + v * RVX_LANES;
                rvx_vec value = sum[(g * positions + i) * vectors + v];
                if (v == vectors - 1 && lanes < RVX_LANES)
                    rvx__store_part(to, value, lanes);
                else if (stream)
                    rvx__stream(to, value);
                else
                    rvx__store(to, value);
            }
}

/* sum[g][i][v] += source[g][i * position + k] * weight[k][v], k along the row, row after row.
 * Three voxels share a pointer: the address of the second and third is base + index * 1 or 2, so
 * pointers, counters and strides fit the sixteen integer registers. */
static inline __attribute__((always_inline)) void block_run(const rvx__conv_block *block,
                                                            int groups, int positions, int vectors)
{
    rvx_vec sum[RVX_BLOCK_SIZE];
    const int64_t lanes = block->lanes, position = block->source_position;
    const int64_t run = block->run, offset = block->source_offset;
    const int pointers = (positions + 2) / 3;
    if (lanes == RVX_LANES)
        block_start(sum, block, groups, positions, vectors, RVX_LANES);
    else
        block_start(sum, block, groups, positions, vectors, lanes);
    const rvx__conv_row *row = block->rows, *end = row + block->row_count;
    for (; row < end; row++) {
        const float *weight = row->weight;
        rvx__row_fetch_ahead(row, block);
        const float *p[RVX_BLOCK_SIZE];
        foreach (g, groups)
            foreach (i, pointers)
                p[g * pointers + i] = row->source[g] + offset + 3 * i * position;
        for (int64_t k = run; k > 0; k--) {
            rvx_vec w[RVX_BLOCK_VECTORS];
            foreach (v, vectors)
                w[v] = rvx__load(weight + v * RVX_LANES);
            weight += vectors * RVX_LANES;
            foreach (g, groups)
                foreach (i, positions) {
                    rvx_vec x = rvx__splat(p[g * pointers + i / 3][position * (i % 3)]);
                    foreach (v, vectors)
                        sum[(g * positions + i) * vectors + v] += x * w[v];
                }
            foreach (i, groups * pointers)
                p[i]++;
        }
    }
    if (block->stream)
        block_finish(sum, block, groups, positions, vectors, RVX_LANES, 1);
    else if (lanes == RVX_LANES)
        block_finish(sum, block, groups, positions, vectors, RVX_LANES, 0);
    else
        block_finish(sum, block, groups, positions, vectors, lanes, 0);
}

/* Every shape that RVX_BLOCK_SIZE admits; formatted, each would have a line. */
/* clang-format off */
#define ROW_6(X, g, v) X(g, 1, v) X(g, 2, v) X(g, 3, v) X(g, 4, v) X(g, 5, v) X(g, 6, v)
#if RVX_LANES == 16
#define ROW_9(X, g, v) ROW_6(X, g, v) X(g, 7, v) X(g, 8, v) X(g, 9, v)
#define ROW_14(X, g, v) ROW_9(X, g, v) X(g, 10, v) X(g, 11, v) X(g, 12, v) X(g, 13, v) X(g, 14, v)
#define ROW_28(X, g, v)                                                                            \
    ROW_14(X, g, v)                                                                                \
    X(g, 15, v)                                                                                    \
    X(g, 16, v)                                                                                    \
    X(g, 17, v)                                                                                    \
    X(g, 18, v)                                                                                    \
    X(g, 19, v)                                                                                    \
    X(g, 20, v)                                                                                    \
    X(g, 21, v) X(g, 22, v) X(g, 23, v) X(g, 24, v) X(g, 25, v) X(g, 26, v) X(g, 27, v) X(g, 28, v)
#define ALL_SHAPES(X)                                                                              \
    ROW_28(X, 1, 1)                                                                                \
    ROW_14(X, 2, 1)                                                                                \
    ROW_9(X, 3, 1)                                                                                 \
    ROW_14(X, 1, 2) ROW_6(X, 2, 2) X(2, 7, 2) X(3, 1, 2) X(3, 2, 2) X(3, 3, 2) X(3, 4, 2)
#else
#define ALL_SHAPES(X)                                                                              \
    ROW_6(X, 1, 1)                                                                                 \
    X(1, 7, 1)                                                                                     \
    X(1, 8, 1)                                                                                     \
    X(1, 9, 1)                                                                                     \
    X(1, 10, 1)                                                                                    \
    X(1, 11, 1)                                                                                    \
    X(1, 12, 1)                                                                                    \
    ROW_6(X, 2, 1)                                                                                 \
    X(3, 1, 1)                                                                                     \
    X(3, 2, 1)                                                                                     \
    X(3, 3, 1) X(3, 4, 1) ROW_6(X, 1, 2) X(2, 1, 2) X(2, 2, 2) X(2, 3, 2) X(3, 1, 2) X(3, 2, 2)
#endif

#define BLOCK_DEFINE(g, i, v)                                                                      \
    static void block_##g##_##i##_##v(const rvx__conv_block *block) { block_run(block, g, i, v); }
ALL_SHAPES(BLOCK_DEFINE)
/* clang-format on */

rvx__conv_block_kernel RVX_KERNEL(rvx__conv_block_find)(int64_t groups, int64_t positions,
                                                        int64_t vectors)
{
#define BLOCK_CELL(g, i, v) [v - 1][g - 1][i - 1] = block_##g##_##i##_##v,
    static const rvx__conv_block_kernel table[RVX_BLOCK_VECTORS][RVX_BLOCK_GROUPS][RVX_BLOCK_SIZE] =
        {ALL_SHAPES(BLOCK_CELL)};
    return table[vectors - 1][groups - 1][positions - 1];
}
