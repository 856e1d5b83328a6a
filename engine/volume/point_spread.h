/* Building blocks of the acoustics: tables of Gaussian taps that change from row to row, rows of
 * complex Gaussian noise, and the elementary functions that must not depend on the C library.
 * Invariant: each output element is formed in one fixed order, whatever the vector width. */
#ifndef RVX_POINT_SPREAD_H
#define RVX_POINT_SPREAD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Half of a symmetric filter for every row; centre first. Sum of squares of the whole is 1. */
typedef struct rvx_taps {
    float *values;
    int32_t *radius; /* taps of row r: values[r * stride] .. [r * stride + radius[r]] */
    int64_t stride;
} rvx_taps;

enum { RVX_TAPS_STRIDE_MAX = 256 };

/* Reach in samples of a Gaussian of `sigma` samples, cut at `cut` sigmas. */
static inline int64_t rvx__taps_radius(double sigma, double cut)
{
    double radius = floor(cut * sigma);
    return radius < 0                         ? 0
           : radius > RVX_TAPS_STRIDE_MAX - 1 ? RVX_TAPS_STRIDE_MAX - 1
                                              : (int64_t)radius;
}

void rvx__taps_set(rvx_taps *taps, int64_t row, double sigma, double cut);
/* Response of the row's filter to a constant: the sum of its taps. */
float rvx__taps_gain(const rvx_taps *taps, int64_t row);

/* out[j] = sum over t of taps[|t|] in[j + t],  j in 0 .. count - 1; `in` reaches radius further on
 * both sides. */
void rvx__taps_along(float *restrict out, const float *restrict in, int64_t count,
                     const float *restrict taps, int64_t radius);
/* The same across rows: rows[t] for t = -radius .. radius. */
void rvx__taps_across(float *restrict out, const float *const *rows, int64_t count,
                      const float *restrict taps, int64_t radius);
void rvx__taps_across_i16(float *restrict out, const int16_t *const *rows, int64_t count,
                          const float *restrict taps, int64_t radius);

/* Circular complex normal samples, mean of |z|^2 = 1; sample k of a (seed, stream) is a pure
 * function of `first + k`; `first` is even. */
void rvx__complex_noise(float *restrict re, float *restrict im, int64_t count, uint64_t seed,
                        uint64_t stream, uint64_t first);

/* Natural logarithm of a positive normal number, error below 1e-6: with x = 2^e m, m in
 * [sqrt 1/2, sqrt 2) and s = (m - 1) / (m + 1),  log m = 2 (s + s^3/3 + s^5/5 + s^7/7). */
static inline float rvx__log_fast(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t shifted = bits - 0x3f3504f3;
    int32_t exponent = shifted >> 23;
    bits -= (int32_t)((uint32_t)exponent << 23);
    float m;
    memcpy(&m, &bits, sizeof m);
    float s = (m - 1.0f) / (m + 1.0f), q = s * s;
    return (float)exponent * 0.693147181f +
           2.0f * s * (1.0f + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7))));
}

/* 2^x for |x| <= 126, relative error below 3e-7 in the fraction's polynomial. */
static inline float rvx__exp2_fast(float x)
{
    x = x < -126.0f ? -126.0f : x > 126.0f ? 126.0f : x;
    int32_t whole = (int32_t)(x + 256.5f) - 256;
    float t = (x - (float)whole) * 0.693147181f;
    float p =
        1.0f +
        t * (1.0f + t * (1.0f / 2 + t * (1.0f / 6 + t * (1.0f / 24 + t * (1.0f / 120 + t / 720)))));
    int32_t bits = (int32_t)((uint32_t)(whole + 127) << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* Sine of 2 pi t to 4e-6 for |t| < 2^20. Not libm: it vectorises, and its bits are ours. */
static inline float rvx__sine_turns(float t)
{
    t -= (float)(int32_t)t;
    t = t > 0.5f ? t - 1.0f : t < -0.5f ? t + 1.0f : t;
    t = t > 0.25f ? 0.5f - t : t < -0.25f ? -0.5f - t : t;
    float x = 6.28318530718f * t, s = x * x;
    return x * (1.0f + s * (-1.0f / 6 + s * (1.0f / 120 + s * (-1.0f / 5040 + s / 362880))));
}

#endif
