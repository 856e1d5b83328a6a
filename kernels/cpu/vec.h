/* What the memory-bound kernels need on top of kernels/simd.h: fused multiply-add, choice by
 * comparison, exp and log, tensors of either storage type, and the fold. Owns nothing. Each
 * function gives the same bits for the same input wherever it is used within one instruction set.
 */
#ifndef RVX_CPU_VEC_H
#define RVX_CPU_VEC_H

#include "kernels/simd.h"
#include "kernels/tensor.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define RVX_INLINE static inline __attribute__((always_inline, unused))

RVX_INLINE rvx_vec rvx__vec_fma(rvx_vec a, rvx_vec b, rvx_vec c)
{
#if defined(__AVX512F__)
    return (rvx_vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (rvx_vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* a > b ? x : y, lane by lane (y where a or b is NaN). */
RVX_INLINE rvx_vec rvx__vec_greater(rvx_vec a, rvx_vec b, rvx_vec x, rvx_vec y)
{
#if defined(__AVX512F__)
    __mmask16 greater = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
    return (rvx_vec)_mm512_mask_blend_ps(greater, (__m512)y, (__m512)x);
#elif defined(__AVX2__)
    __m256 greater = _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ);
    return (rvx_vec)_mm256_blendv_ps((__m256)y, (__m256)x, greater);
#else
    rvx_vec_int greater = (rvx_vec_int)(a > b);
    return (rvx_vec)((greater & (rvx_vec_int)x) | (~greater & (rvx_vec_int)y));
#endif
}

/* a == b ? x : y, lane by lane. */
RVX_INLINE rvx_vec rvx__vec_equal(rvx_vec a, rvx_vec b, rvx_vec x, rvx_vec y)
{
#if defined(__AVX512F__)
    __mmask16 equal = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
    return (rvx_vec)_mm512_mask_blend_ps(equal, (__m512)y, (__m512)x);
#elif defined(__AVX2__)
    __m256 equal = _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ);
    return (rvx_vec)_mm256_blendv_ps((__m256)y, (__m256)x, equal);
#else
    rvx_vec_int equal = (rvx_vec_int)(a == b);
    return (rvx_vec)((equal & (rvx_vec_int)x) | (~equal & (rvx_vec_int)y));
#endif
}

/* Loads and stores of `count` lanes; with a constant RVX_LANES the branch disappears. */
RVX_INLINE rvx_vec rvx__load_count(const float *p, int64_t count)
{
    return count < RVX_LANES ? rvx__load_part(p, count) : rvx__load(p);
}

RVX_INLINE void rvx__store_count(float *p, rvx_vec v, int64_t count)
{
    if (count < RVX_LANES)
        rvx__store_part(p, v, count);
    else
        rvx__store(p, v);
}

/* Adds to memory or overwrites it. */
RVX_INLINE void rvx__put_count(float *p, rvx_vec v, int64_t count, int accumulate)
{
    if (accumulate)
        v += rvx__load_count(p, count);
    rvx__store_count(p, v, count);
}

/* ---- the grid of streams -----------------------------------------------------------------------
 * Values become integers by rounding to nearest even. Beyond 2^22 they are clamped first (an
 * overflow in any case) and a NaN becomes 0, so that the bits do not depend on the processor. */
typedef int16_t rvx_vec_i16 __attribute__((vector_size(2 * RVX_LANES)));
typedef int16_t rvx_vec_i16_unaligned
    __attribute__((vector_size(2 * RVX_LANES), aligned(2), may_alias));

RVX_INLINE rvx_vec_int rvx__grid_round(rvx_vec x, float steps)
{
    const rvx_vec limit = rvx__splat(4194303.0f), magic = rvx__splat(12582912.0f); /* 1.5 * 2^23 */
    rvx_vec t = x * steps;
    t = rvx__vec_equal(t, t, t, (rvx_vec){0});
    t = rvx__vec_greater(t, limit, limit, t);
    t = rvx__vec_greater(-limit, t, -limit, t);
    return (rvx_vec_int)(t + magic) - 0x4B400000;
}

/* The low 16 bits, with their sign. */
RVX_INLINE rvx_vec_int rvx__wrap_i16(rvx_vec_int v) { return v << 16 >> 16; }

RVX_INLINE rvx_vec_int rvx__load_i16(const int16_t *p, int64_t count)
{
    rvx_vec_i16 v = {0};
    if (count == RVX_LANES)
        v = *(const rvx_vec_i16_unaligned *)p;
    else
#if defined(__AVX512BW__) && defined(__AVX512VL__)
        v = (rvx_vec_i16)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1u), p);
#else
        memcpy(&v, p, (size_t)(count % RVX_LANES) * sizeof *p);
#endif
    return __builtin_convertvector(v, rvx_vec_int);
}

/* Adds to the counter how many of the first `count` lanes do not fit 16 bits. */
RVX_INLINE void rvx__count_lost(rvx_vec_int v, int64_t count, int64_t *overflow)
{
    rvx_vec_int lost = rvx__wrap_i16(v) != v;
#if defined(__AVX512F__)
    if (__builtin_expect(_mm512_test_epi32_mask((__m512i)lost, (__m512i)lost) == 0, 1))
        return;
#endif
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum -= lost[i];
    if (sum && overflow) /* a sum of counts: its order does not matter */
        __atomic_fetch_add(overflow, sum, __ATOMIC_RELAXED);
}

/* Stores integers, wrapped, and counts those that did not fit. */
RVX_INLINE void rvx__store_i16(int16_t *p, rvx_vec_int v, int64_t count, int64_t *overflow)
{
    rvx_vec_i16 low = __builtin_convertvector(v, rvx_vec_i16);
    if (count == RVX_LANES)
        *(rvx_vec_i16_unaligned *)p = low;
    else
#if defined(__AVX512BW__) && defined(__AVX512VL__)
        _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1u), (__m256i)low);
#else
        memcpy(p, &low, (size_t)(count % RVX_LANES) * sizeof *p);
#endif
    rvx__count_lost(v, count, overflow);
}

/* Voxels of a tensor in memory, f32, bf16 or i16, from some element on. Counts and offsets are in
 * elements. data NULL: absent. */
typedef struct rvx_plane {
    char *data;
    int64_t pitch;
    rvx_dtype dtype;
    float unit, steps; /* i16: 2^-grid_log2 and 2^grid_log2 */
    int64_t *overflow;
} rvx_plane;

RVX_INLINE char *rvx__plane_address(rvx_plane p, int64_t i)
{
    return p.data + i * (p.dtype == RVX_F32 ? 4 : 2);
}

/* The plane that begins i elements further on. */
RVX_INLINE rvx_plane rvx__plane_at(rvx_plane p, int64_t i)
{
    p.data = rvx__plane_address(p, i);
    return p;
}

/* 2^exponent, -126 <= exponent <= 127. */
RVX_INLINE float rvx__power_of_two(int32_t exponent)
{
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Voxels of t, from a channel on. */
RVX_INLINE rvx_plane rvx__plane_of(const rvx_tensor *t, int64_t channel_first)
{
    rvx_plane p = {(char *)t->data, t->pitch, t->dtype, 1, 1, t->overflow};
    if (t->dtype == RVX_I16) {
        p.unit = rvx__power_of_two(-t->grid_log2);
        p.steps = rvx__power_of_two(t->grid_log2);
    }
    return t->data ? rvx__plane_at(p, channel_first) : p;
}

/* Elements i .. i + count, count <= RVX_LANES. */
RVX_INLINE rvx_vec rvx__plane_load(rvx_plane p, int64_t i, int64_t count)
{
    const char *at = rvx__plane_address(p, i);
    if (p.dtype == RVX_F32)
        return rvx__load_count((const float *)at, count);
    if (p.dtype == RVX_I16)
        return __builtin_convertvector(rvx__load_i16((const int16_t *)at, count), rvx_vec) * p.unit;
    return count < RVX_LANES ? rvx__load_bf16_part((const uint16_t *)at, count)
                             : rvx__load_bf16((const uint16_t *)at);
}

RVX_INLINE void rvx__plane_store(rvx_plane p, int64_t i, rvx_vec v, int64_t count)
{
    char *at = rvx__plane_address(p, i);
    if (p.dtype == RVX_F32)
        rvx__store_count((float *)at, v, count);
    else if (p.dtype == RVX_I16)
        rvx__store_i16((int16_t *)at, rvx__grid_round(v, p.steps), count, p.overflow);
    else if (count < RVX_LANES)
        rvx__store_bf16_part((uint16_t *)at, v, count);
    else
        rvx__store_bf16((uint16_t *)at, v);
}

RVX_INLINE float rvx__plane_value(rvx_plane p, int64_t i)
{
    const char *at = rvx__plane_address(p, i);
    if (p.dtype == RVX_I16)
        return (float)*(const int16_t *)at * p.unit;
    return p.dtype == RVX_BF16 ? rvx__f32_of(*(const uint16_t *)at) : *(const float *)at;
}

/* Adds to memory or overwrites it. */
RVX_INLINE void rvx__plane_put(rvx_plane p, int64_t i, rvx_vec v, int64_t count, int accumulate)
{
    if (accumulate)
        v += rvx__plane_load(p, i, count);
    rvx__plane_store(p, i, v, count);
}

/* Runs `call`, which must be inlined, with the types of planes a, b, c as constants: one loop for
 * each usual combination, and one that asks at each vector for any other. a, b, c are variables;
 * where there are fewer, one is named again. */
#define RVX_PLANES_ARE(a, b, c, type_a, type_b, type_c)                                            \
    ((a).dtype == (type_a) && (b).dtype == (type_b) && (c).dtype == (type_c))
#define RVX_PLANES_AS(a, b, c, type_a, type_b, type_c, call)                                       \
    do {                                                                                           \
        (a).dtype = (type_a);                                                                      \
        (b).dtype = (type_b);                                                                      \
        (c).dtype = (type_c);                                                                      \
        call;                                                                                      \
    } while (0)
#define RVX_PLANES_TYPED(a, b, c, call)                                                            \
    do {                                                                                           \
        if (RVX_PLANES_ARE(a, b, c, RVX_F32, RVX_F32, RVX_F32))                                    \
            RVX_PLANES_AS(a, b, c, RVX_F32, RVX_F32, RVX_F32, call);                               \
        else if (RVX_PLANES_ARE(a, b, c, RVX_BF16, RVX_BF16, RVX_BF16))                            \
            RVX_PLANES_AS(a, b, c, RVX_BF16, RVX_BF16, RVX_BF16, call);                            \
        else if (RVX_PLANES_ARE(a, b, c, RVX_I16, RVX_I16, RVX_I16))                               \
            RVX_PLANES_AS(a, b, c, RVX_I16, RVX_I16, RVX_I16, call);                               \
        else if (RVX_PLANES_ARE(a, b, c, RVX_I16, RVX_F32, RVX_F32))                               \
            RVX_PLANES_AS(a, b, c, RVX_I16, RVX_F32, RVX_F32, call);                               \
        else if (RVX_PLANES_ARE(a, b, c, RVX_I16, RVX_BF16, RVX_BF16))                             \
            RVX_PLANES_AS(a, b, c, RVX_I16, RVX_BF16, RVX_BF16, call);                             \
        else                                                                                       \
            call;                                                                                  \
    } while (0)

/* sums[lane] += v[lane], in double. */
RVX_INLINE void rvx__promote(double *sums, rvx_vec v, int64_t count)
{
    float lane[RVX_LANES];
    rvx__store(lane, v);
    for (int64_t i = 0; i < count; i++)
        sums[i] += (double)lane[i];
}

/* t >= 0 ? t : slope t */
RVX_INLINE rvx_vec rvx__vec_leaky(rvx_vec t, rvx_vec slope)
{
    return rvx__vec_greater((rvx_vec){0}, t, slope * t, t);
}

/* e^x for x <= 88, error below 2 ulp; x < -86 gives 0 (the true value is below 2^-124).
 * x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial of degree 7 in r (Cephes, expf). */
RVX_INLINE rvx_vec rvx__vec_exp(rvx_vec x)
{
    const rvx_vec round = rvx__splat(12582912.0f); /* 1.5 * 2^23: low mantissa bits hold n */
    const rvx_vec least = rvx__splat(-86.0f);
    rvx_vec clamped = rvx__vec_greater(least, x, least, x);
    rvx_vec shifted = rvx__vec_fma(clamped, rvx__splat(1.44269504f), round);
    rvx_vec n = shifted - round;
    rvx_vec r = rvx__vec_fma(n, rvx__splat(-0.693359375f), clamped);
    r = rvx__vec_fma(n, rvx__splat(2.12194440e-4f), r);
    rvx_vec p = rvx__splat(1.9875691500e-4f);
    p = rvx__vec_fma(p, r, rvx__splat(1.3981999507e-3f));
    p = rvx__vec_fma(p, r, rvx__splat(8.3334519073e-3f));
    p = rvx__vec_fma(p, r, rvx__splat(4.1665795894e-2f));
    p = rvx__vec_fma(p, r, rvx__splat(1.6666665459e-1f));
    p = rvx__vec_fma(p, r, rvx__splat(5.0000001201e-1f));
    p = rvx__vec_fma(p, r * r, r) + rvx__splat(1.0f);
    rvx_vec_int bits = (rvx_vec_int)p + ((rvx_vec_int)shifted << 23);
    return rvx__vec_greater(least, x, (rvx_vec){0}, (rvx_vec)bits);
}

/* ln x for normal x > 0, error below 2 ulp. x = 2^e m, sqrt(1/2) <= m < sqrt 2 (Cephes, logf). */
RVX_INLINE rvx_vec rvx__vec_log(rvx_vec x)
{
    const rvx_vec_int root_half = (rvx_vec_int)rvx__splat(0.70710678f);
    rvx_vec_int exponent = ((rvx_vec_int)x - root_half) >> 23;
    rvx_vec e = __builtin_convertvector(exponent, rvx_vec);
    rvx_vec f = (rvx_vec)((rvx_vec_int)x - (exponent << 23)) - rvx__splat(1.0f);
    rvx_vec square = f * f;
    rvx_vec p = rvx__splat(7.0376836292e-2f);
    p = rvx__vec_fma(p, f, rvx__splat(-1.1514610310e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(1.1676998740e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(-1.2420140846e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(1.4249322787e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(-1.6668057665e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(2.0000714765e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(-2.4999993993e-1f));
    p = rvx__vec_fma(p, f, rvx__splat(3.3333331174e-1f));
    p = p * f * square;
    p = rvx__vec_fma(e, rvx__splat(-2.12194440e-4f), p);
    p = rvx__vec_fma(square, rvx__splat(-0.5f), p);
    return rvx__vec_fma(e, rvx__splat(0.693359375f), f + p);
}

/* The fold of one sample: rows of the table, or NULL where nothing is folded. */
typedef struct rvx_fold {
    const float *scale, *shift, *slope;
} rvx_fold;

static inline rvx_fold rvx__fold_of(const rvx_tensor *fold, int64_t n)
{
    const float *row = (const float *)fold->data;
    if (!row)
        return (rvx_fold){0};
    row += n * 3 * fold->pitch;
    return (rvx_fold){row, row + fold->pitch, row + 2 * fold->pitch};
}

/* Channels c .. c + count of the voxel at element i, folded. */
RVX_INLINE rvx_vec rvx__fold_load(rvx_plane p, int64_t i, const rvx_fold *fold, int64_t c,
                                  int64_t count)
{
    rvx_vec x = rvx__plane_load(p, i + c, count);
    if (!fold->scale)
        return x;
    x = rvx__vec_fma(x, rvx__load_count(fold->scale + c, count),
                     rvx__load_count(fold->shift + c, count));
    return rvx__vec_leaky(x, rvx__load_count(fold->slope + c, count));
}

#endif
