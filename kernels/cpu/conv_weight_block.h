/* Register blocks of the weight gradient. Owns: the innermost loops.
 * A block keeps dW for a few input channels and vectors of output channels in registers over all
 * rows of a tile, so the memory of dW is touched once per tile. Taps that would read padding are
 * left out by the loop bounds, never multiplied by zero. */
#ifndef RVX_CONV_WEIGHT_BLOCK_H
#define RVX_CONV_WEIGHT_BLOCK_H

#include "kernels/simd.h"

#include <stdbool.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Input channels of the main block: 3 vectors of accumulators each, for 32 registers or 16. */
#if RVX_LANES == 16
enum { BLOCK_CI = 8 };
#else
enum { BLOCK_CI = 4 };
#endif

/* Operands of one block. Steps are in floats. */
typedef struct block {
    const float *x;  /* first channel of the block, input row of the first output row */
    const float *dy; /* first output channel, first output row */
    int64_t x_step, x_row, x_slice;
    int64_t x_tap, x_plane; /* blocks of planes: from one ky or kz to the next */
    int64_t dy_step, dy_row, dy_slice;
    int64_t dy_vector; /* from one vector of output channels to the next */
    int64_t slices, rows;
    int64_t x_count;  /* input voxels of a row */
    int64_t dy_count; /* output voxels of a row */
    float *dw;        /* [kx][ci][co] */
    int64_t dw_tap, dw_ci;
    int64_t dw_vector;          /* from one vector to the next, in dw */
    int64_t ci_count, co_count; /* valid channels of the block */
    int64_t co_step;            /* by how much fewer the next vector has */
    bool add;                   /* add to dw instead of writing it */
} block;

typedef void (*block_kernel)(const block *b);

ALWAYS_INLINE void block_put(const block *b, float *dw, rvx_vec sum, int64_t vector)
{
    const int64_t count = b->co_count - vector * b->co_step;
    float *to = dw + vector * b->dw_vector;
    if (count >= RVX_LANES)
        rvx__store(to, b->add ? rvx__load(to) + sum : sum);
    else if (count > 0)
        rvx__store_part(to, b->add ? rvx__load_part(to, count) + sum : sum, count);
}

/* Loops over accumulators: all are unrolled, so that the accumulators are registers. */
#define EACH(index, count) _Pragma("GCC unroll 27") for (int index = 0; index < (count); index++)

/* One input voxel: acc[s][i][v] += x[i] * dy[s][v] for the slots [first, first + slots). Each x[i]
 * is broadcast once and used for all of them. */
#define STEP(first, slots, x, ...)                                                                 \
    do {                                                                                           \
        const float *const step_from[] = {__VA_ARGS__};                                            \
        rvx_vec step_dy[3][3];                                                                     \
        EACH(s, slots)                                                                             \
        EACH(v, vectors) step_dy[s][v] = rvx__load(step_from[s] + v * b->dy_vector);               \
        EACH(i, ci)                                                                                \
        {                                                                                          \
            const rvx_vec step_x = rvx__splat((x)[i]);                                             \
            EACH(s, slots)                                                                         \
            EACH(v, vectors) acc[(first) + s][i][v] += step_x * step_dy[s][v];                     \
        }                                                                                          \
    } while (0)

/* Three taps along x, stride 1, padding 1: input voxel q meets dy[q + 1], dy[q], dy[q - 1]. */
ALWAYS_INLINE void block_row_stride_one(const block *b, const float *x, const float *dy,
                                        rvx_vec (*acc)[BLOCK_CI][3], const int ci,
                                        const int vectors)
{
    const int64_t step = b->dy_step;
    if (b->x_count == 1) {
        STEP(1, 1, x, dy);
        return;
    }
    STEP(0, 2, x, dy + step, dy);
    for (const float *last = x + (b->x_count - 1) * b->x_step; (x += b->x_step) != last;
         dy += step) {
        __builtin_prefetch(x + b->x_row);
        __builtin_prefetch(dy + b->dy_row);
        STEP(0, 3, x, dy + 2 * step, dy + step, dy);
    }
    STEP(1, 2, x, dy + step, dy);
}

/* Three taps along x, stride 2, padding 1: input voxel 2 j meets dy[j] in the middle tap, voxel
 * 2 j + 1 meets dy[j + 1] in the first and dy[j] in the last. */
ALWAYS_INLINE void block_row_stride_two(const block *b, const float *x, const float *dy,
                                        rvx_vec (*acc)[BLOCK_CI][3], const int ci,
                                        const int vectors)
{
    const int64_t step = b->dy_step;
    for (const float *last = dy + (b->dy_count - 1) * step; dy != last; dy += step) {
        __builtin_prefetch(x + b->x_row);
        __builtin_prefetch(dy + b->dy_row);
        STEP(1, 1, x, dy);
        x += b->x_step;
        EACH(i, ci)
        EACH(v, vectors)
        {
            acc[0][i][v] += x[i] * rvx__load(dy + step + v * b->dy_vector);
            acc[2][i][v] += x[i] * rvx__load(dy + v * b->dy_vector);
        }
        x += b->x_step;
    }
    STEP(1, 1, x, dy);
    if (2 * b->dy_count == b->x_count)
        STEP(2, 1, x + b->x_step, dy);
}

/* One tap: x[j x_step] meets dy[j dy_step]. */
ALWAYS_INLINE void block_row_one_tap(const block *b, const float *x, const float *dy,
                                     rvx_vec (*acc)[BLOCK_CI][3], const int ci, const int vectors)
{
    for (const float *end = dy + b->dy_count * b->dy_step; dy != end;
         x += b->x_step, dy += b->dy_step) {
        __builtin_prefetch(x + b->x_row);
        EACH(v, vectors) __builtin_prefetch(dy + b->dy_row + v * b->dy_vector);
        STEP(0, 1, x, dy);
    }
}

/* All taps of `planes` slices of one channel: output voxel j meets x[kz x_plane + ky x_tap + kx +
 * j x_step]. */
ALWAYS_INLINE void block_row_planes(const block *b, const float *x, const float *dy,
                                    rvx_vec (*acc)[BLOCK_CI][3], const int planes,
                                    const int vectors)
{
    for (const float *end = dy + b->dy_count * b->dy_step; dy != end;
         x += b->x_step, dy += b->dy_step) {
        rvx_vec step_dy[3];
        EACH(v, vectors)
        {
            __builtin_prefetch(dy + b->dy_row + v * b->dy_vector);
            step_dy[v] = rvx__load(dy + v * b->dy_vector);
        }
        EACH(kz, planes)
        EACH(ky, 3)
        EACH(kx, 3)
        {
            const rvx_vec step_x = rvx__splat(x[kz * b->x_plane + ky * b->x_tap + kx]);
            EACH(v, vectors) acc[9 * kz + 3 * ky + kx][0][v] += step_x * step_dy[v];
        }
    }
}

ALWAYS_INLINE void block_row_plane(const block *b, const float *x, const float *dy,
                                   rvx_vec (*acc)[BLOCK_CI][3], const int ci, const int vectors)
{
    block_row_planes(b, x, dy, acc, ci, vectors);
}

ALWAYS_INLINE void block_row_three_planes(const block *b, const float *x, const float *dy,
                                          rvx_vec (*acc)[BLOCK_CI][3], const int ci,
                                          const int vectors)
{
    block_row_planes(b, x, dy, acc, 3 * ci, vectors);
}

#define BLOCK(name, row, taps, ci, vectors)                                                        \
    static void name(const block *b)                                                               \
    {                                                                                              \
        rvx_vec acc[taps][BLOCK_CI][3];                                                            \
        EACH(t, taps) EACH(i, ci) EACH(v, vectors) acc[t][i][v] = (rvx_vec){0};                    \
        for (int64_t z = 0; z < b->slices; z++)                                                    \
            for (int64_t y = 0; y < b->rows; y++)                                                  \
                row(b, b->x + z * b->x_slice + y * b->x_row,                                       \
                    b->dy + z * b->dy_slice + y * b->dy_row, acc, ci, vectors);                    \
        rvx_vec sum[taps][BLOCK_CI][3];                                                            \
        EACH(t, taps) EACH(i, ci) EACH(v, vectors) sum[t][i][v] = acc[t][i][v];                    \
        for (int t = 0; t < taps; t++)                                                             \
            for (int i = 0; i < b->ci_count; i++)                                                  \
                for (int v = 0; v < vectors; v++)                                                  \
                    block_put(b, b->dw + t * b->dw_tap + i * b->dw_ci, sum[t][i][v], v);           \
    }

BLOCK(block_stride_one, block_row_stride_one, 3, BLOCK_CI, 1)
BLOCK(block_plane, block_row_plane, 9, 1, 1)
#if RVX_LANES == 16
BLOCK(block_plane_two, block_row_plane, 9, 1, 2)
BLOCK(block_three_planes, block_row_three_planes, 27, 1, 1)
#endif
BLOCK(block_stride_two, block_row_stride_two, 3, BLOCK_CI, 1)
BLOCK(block_one_tap_1, block_row_one_tap, 1, BLOCK_CI, 1)
BLOCK(block_one_tap_2, block_row_one_tap, 1, BLOCK_CI, 2)
BLOCK(block_one_tap_3, block_row_one_tap, 1, BLOCK_CI, 3)

#endif
