/* Vectors of RVX_LANES floats, for files under kernels/cpu, which the Makefile compiles once per
 * instruction set: 16 lanes with AVX-512, 8 with AVX2 and FMA, 4 without either. GCC vector
 * extensions only; a * b + c contracts to one FMA where the machine has it. */
#ifndef RVX_SIMD_H
#define RVX_SIMD_H

#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define RVX_LANES 16
#elif defined(__AVX2__)
#define RVX_LANES 8
#else
#define RVX_LANES 4
#endif

typedef float rvx_vec __attribute__((vector_size(4 * RVX_LANES)));
typedef int32_t rvx_vec_int __attribute__((vector_size(4 * RVX_LANES)));
/* The same vector at any address. */
typedef float rvx_vec_unaligned __attribute__((vector_size(4 * RVX_LANES), aligned(4), may_alias));

static inline rvx_vec rvx__load(const float *p) { return *(const rvx_vec_unaligned *)p; }
static inline void rvx__store(float *p, rvx_vec v) { *(rvx_vec_unaligned *)p = v; }
static inline rvx_vec rvx__splat(float x) { return x - (rvx_vec){0}; }

/* The first `count` lanes, 0 <= count <= RVX_LANES; the other lanes load as zero and their memory
 * is neither read nor written. */
#if defined(__AVX512F__)
static inline rvx_vec rvx__load_part(const float *p, int64_t count)
{
    return (rvx_vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
}

static inline void rvx__store_part(float *p, rvx_vec v, int64_t count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), (__m512)v);
}
#elif defined(__AVX2__)
static inline __m256i rvx__part_mask(int64_t count)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane);
}

static inline rvx_vec rvx__load_part(const float *p, int64_t count)
{
    return (rvx_vec)_mm256_maskload_ps(p, rvx__part_mask(count));
}

static inline void rvx__store_part(float *p, rvx_vec v, int64_t count)
{
    _mm256_maskstore_ps(p, rvx__part_mask(count), (__m256)v);
}
#else
static inline rvx_vec rvx__load_part(const float *p, int64_t count)
{
    rvx_vec v = {0};
    memcpy(&v, p, (size_t)count * sizeof(float));
    return v;
}

static inline void rvx__store_part(float *p, rvx_vec v, int64_t count)
{
    memcpy(p, &v, (size_t)count * sizeof(float));
}
#endif

/* Stores past the caches, for results too large to be read back from them. `p` is aligned to a
 * vector; rvx__stream_end comes before other threads may look. */
static inline void rvx__stream(float *p, rvx_vec v)
{
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
    _mm_stream_ps(p, (__m128)v);
#else
    rvx__store(p, v);
#endif
}

static inline void rvx__stream_end(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/* ---- bf16 in memory, f32 in registers ----------------------------------------------------------
 * Widening is exact. Rounding is to nearest even and a NaN stays one, with the same bits as
 * rvx__bf16_of, whether the processor has such an instruction or not. */
typedef uint16_t rvx_vec_bf16 __attribute__((vector_size(2 * RVX_LANES)));
typedef uint16_t rvx_vec_bf16_unaligned
    __attribute__((vector_size(2 * RVX_LANES), aligned(2), may_alias));
typedef uint32_t rvx_vec_bits __attribute__((vector_size(4 * RVX_LANES)));

static inline rvx_vec rvx__bf16_widen(rvx_vec_bf16 v)
{
    return (rvx_vec)(__builtin_convertvector(v, rvx_vec_bits) << 16);
}

static inline rvx_vec_bf16 rvx__bf16_round(rvx_vec v)
{
    rvx_vec_bits bits = (rvx_vec_bits)v, nan = (rvx_vec_bits)(v != v);
    rvx_vec_bits rounded = bits + 0x7FFF + (bits >> 16 & 1);
    rounded = (nan & (bits | 0x400000)) | (~nan & rounded);
    return __builtin_convertvector(rounded >> 16, rvx_vec_bf16);
}

static inline rvx_vec rvx__load_bf16(const uint16_t *p)
{
    return rvx__bf16_widen(*(const rvx_vec_bf16_unaligned *)p);
}

static inline void rvx__store_bf16(uint16_t *p, rvx_vec v)
{
    *(rvx_vec_bf16_unaligned *)p = rvx__bf16_round(v);
}

/* The first `count` lanes, as rvx__load_part and rvx__store_part. */
static inline rvx_vec rvx__load_bf16_part(const uint16_t *p, int64_t count)
{
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    return rvx__bf16_widen(
        (rvx_vec_bf16)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1u), p));
#else
    rvx_vec_bf16 v = {0};
    memcpy(&v, p, (size_t)count * sizeof *p);
    return rvx__bf16_widen(v);
#endif
}

static inline void rvx__store_bf16_part(uint16_t *p, rvx_vec v, int64_t count)
{
    rvx_vec_bf16 rounded = rvx__bf16_round(v);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1u), (__m256i)rounded);
#else
    memcpy(p, &rounded, (size_t)count * sizeof *p);
#endif
}

#endif
