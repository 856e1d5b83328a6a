/* Point spread filters and noise rows; see point_spread.h. Plain loops over contiguous rows,
 * written so that the compiler vectorises them without reordering any sum. */
#include "engine/volume/point_spread.h"

#include "kernels/random.h"

void rvx__taps_set(rvx_taps *taps, int64_t row, double sigma, double cut)
{
    float *out = taps->values + row * taps->stride;
    int64_t radius = rvx__taps_radius(sigma, cut);
    if (radius >= taps->stride)
        radius = taps->stride - 1;
    double energy = 0, values[RVX_TAPS_STRIDE_MAX];
    for (int64_t t = 0; t <= radius; t++) {
        values[t] = t == 0 ? 1.0 : exp(-0.5 * (double)(t * t) / (sigma * sigma));
        energy += (t == 0 ? 1.0 : 2.0) * values[t] * values[t];
    }
    for (int64_t t = 0; t <= radius; t++)
        out[t] = (float)(values[t] / sqrt(energy));
    taps->radius[row] = (int32_t)radius;
}

float rvx__taps_gain(const rvx_taps *taps, int64_t row)
{
    const float *values = taps->values + row * taps->stride;
    float sum = values[0];
    for (int32_t t = 1; t <= taps->radius[row]; t++)
        sum += 2.0f * values[t];
    return sum;
}

void rvx__taps_along(float *restrict out, const float *restrict in, int64_t count,
                     const float *restrict taps, int64_t radius)
{
    for (int64_t j = 0; j < count; j++)
        out[j] = taps[0] * in[j];
    for (int64_t t = 1; t <= radius; t++) {
        float h = taps[t];
        for (int64_t j = 0; j < count; j++)
            out[j] += h * (in[j - t] + in[j + t]);
    }
}

void rvx__taps_across(float *restrict out, const float *const *rows, int64_t count,
                      const float *restrict taps, int64_t radius)
{
    const float *middle = rows[0];
    for (int64_t j = 0; j < count; j++)
        out[j] = taps[0] * middle[j];
    for (int64_t t = 1; t <= radius; t++) {
        const float *before = rows[-t], *after = rows[t];
        float h = taps[t];
        for (int64_t j = 0; j < count; j++)
            out[j] += h * (before[j] + after[j]);
    }
}

void rvx__taps_across_i16(float *restrict out, const int16_t *const *rows, int64_t count,
                          const float *restrict taps, int64_t radius)
{
    const int16_t *middle = rows[0];
    for (int64_t j = 0; j < count; j++)
        out[j] = taps[0] * (float)middle[j];
    for (int64_t t = 1; t <= radius; t++) {
        const int16_t *before = rows[-t], *after = rows[t];
        float h = taps[t];
        for (int64_t j = 0; j < count; j++)
            out[j] += h * (float)((int32_t)before[j] + (int32_t)after[j]);
    }
}

/* Box-Muller, two words a sample: |z| = sqrt(-log u), angle = 2 pi v. */
void rvx__complex_noise(float *restrict re, float *restrict im, int64_t count, uint64_t seed,
                        uint64_t stream, uint64_t first)
{
    enum { CHUNK = 64 };
    uint32_t words[2 * CHUNK];
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t part = count - done < CHUNK ? count - done : CHUNK;
        for (int64_t k = 0; k < part; k += 2) {
            rvx_random_block b =
                rvx__philox(seed, stream, (first + (uint64_t)done + (uint64_t)k) / 2);
            words[k] = b.word[0];
            words[k + CHUNK] = b.word[1];
            words[k + 1] = b.word[2];
            words[k + 1 + CHUNK] = b.word[3];
        }
        for (int64_t k = 0; k < part; k++) {
            float u = ((float)(int32_t)(words[k] >> 8) + 1.0f) * 0x1p-24f;
            float v = (float)(int32_t)(words[k + CHUNK] >> 8) * 0x1p-24f;
            float magnitude = -rvx__log_fast(u);
            magnitude = sqrtf(magnitude > 0 ? magnitude : 0);
            re[done + k] = magnitude * rvx__sine_turns(v + 0.25f);
            im[done + k] = magnitude * rvx__sine_turns(v);
        }
    }
}
