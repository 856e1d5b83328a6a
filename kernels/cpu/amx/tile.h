/* Matrix tiles (Intel AMX): configuration of a thread, and bf16 numbers. Owns: nothing. A thread
 * opens its tiles before the first and closes them after the last tile instruction of a kernel. */
#ifndef RVX_AMX_TILE_H
#define RVX_AMX_TILE_H

#include "kernels/cpu/vec.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* All eight tiles: 16 rows of 64 bytes. */
static inline void tiles_open(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
}

static inline void tiles_close(void) { _tile_release(); }

static inline __mmask16 lanes_mask(int64_t count)
{
    return (__mmask16)(count >= 16 ? 0xFFFFu : (1u << count) - 1u);
}

/* bf16 <-> f32, to nearest even. */
static inline __m256i bf16_of(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

static inline __m512 f32_of(__m256i v)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

/* How numbers stand in memory: f32, bf16, or integers of a stream. Sixteen are loaded or stored at
 * a time; lanes beyond the mask are zero and neither read nor written. */
typedef struct numbers {
    rvx_dtype dtype;
    float unit, steps; /* of a stream's grid */
    int64_t *overflow;
} numbers;

static inline numbers numbers_of(const rvx_tensor *t)
{
    const rvx_plane p = rvx__plane_of(t, 0);
    return (numbers){t->dtype, p.unit, p.steps, p.overflow};
}

static inline __attribute__((always_inline)) __m512 numbers_load(const void *from, numbers n,
                                                                 __mmask16 mask)
{
    if (n.dtype == RVX_BF16)
        return f32_of(_mm256_maskz_loadu_epi16(mask, from));
    if (n.dtype == RVX_I16)
        return _mm512_mul_ps(
            _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, from))),
            _mm512_set1_ps(n.unit));
    return _mm512_maskz_loadu_ps(mask, from);
}

static inline __attribute__((always_inline)) void numbers_store(void *to, numbers n, __m512 v,
                                                                __mmask16 mask)
{
    if (n.dtype == RVX_BF16)
        _mm256_mask_storeu_epi16(to, mask, bf16_of(v));
    else if (n.dtype == RVX_I16)
        rvx__store_i16(to, rvx__grid_round((rvx_vec)v, n.steps), __builtin_popcount(mask),
                       n.overflow);
    else
        _mm512_mask_storeu_ps(to, mask, v);
}

/* v as a sum of bf16 numbers, largest first: `parts` of them, each `stride` elements after the
 * last. What one part rounds off is exact in f32 and goes to the next. */
static inline void parts_store(uint16_t *to, int64_t parts, int64_t stride, __m512 v,
                               __mmask16 mask)
{
    for (int64_t p = 0; p < parts; p++) {
        const __m256i rounded = bf16_of(v);
        _mm256_mask_storeu_epi16(to + p * stride, mask, rounded);
        v = _mm512_sub_ps(v, f32_of(rounded));
    }
}

#endif
