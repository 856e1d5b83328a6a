/* Intensity augmentation: see augment.h. */
#include "engine/volume/augment.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct moments {
    double mean, deviation;
    float low, high;
} moments;

static moments measure(const float *voxels, int64_t count)
{
    double sum = 0, squares = 0;
    moments m = {.low = FLT_MAX, .high = -FLT_MAX};
    for (int64_t i = 0; i < count; i++) {
        sum += (double)voxels[i];
        m.low = voxels[i] < m.low ? voxels[i] : m.low;
        m.high = voxels[i] > m.high ? voxels[i] : m.high;
    }
    m.mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)voxels[i] - m.mean) * ((double)voxels[i] - m.mean);
    m.deviation = sqrt(squares / (double)count);
    return m;
}

void rvx__augment_noise(float *voxels, int64_t count, float variance, rvx_random *random)
{
    float deviation = sqrtf(variance);
    for (int64_t i = 0; i < count; i++)
        voxels[i] += deviation * rvx__random_normal(random);
}

/* One axis of the blur: `step` between neighbours, `length` voxels a line. */
static void blur_axis(float *out, const float *in, rvx_extent e, int64_t step, int64_t length,
                      const float *weights, int64_t radius, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < e.d * e.h * e.w; i++) {
        int64_t position = i / step % length;
        float sum = 0;
        for (int64_t k = -radius; k <= radius; k++) {
            int64_t p = position + k;
            p = p < 0 ? 0 : p >= length ? length - 1 : p;
            sum += weights[k + radius] * in[i + (p - position) * step];
        }
        out[i] = sum;
    }
}

void rvx__augment_blur(float *voxels, float *temporary, rvx_extent e, float sigma, int threads)
{
    enum { RADIUS_MAX = 16 };
    int64_t radius = (int64_t)ceilf(4 * sigma);
    radius = radius > RADIUS_MAX ? RADIUS_MAX : radius;
    float weights[2 * RADIUS_MAX + 1], total = 0;
    for (int64_t k = -radius; k <= radius; k++)
        total += weights[k + radius] = expf(-0.5f * (float)(k * k) / (sigma * sigma));
    for (int64_t k = 0; k <= 2 * radius; k++)
        weights[k] /= total;
    blur_axis(temporary, voxels, e, 1, e.w, weights, radius, threads);
    blur_axis(voxels, temporary, e, e.w, e.h, weights, radius, threads);
    blur_axis(temporary, voxels, e, e.h * e.w, e.d, weights, radius, threads);
    memcpy(voxels, temporary, (size_t)(e.d * e.h * e.w) * sizeof *voxels);
}

void rvx__augment_brightness(float *voxels, int64_t count, float factor)
{
    for (int64_t i = 0; i < count; i++)
        voxels[i] *= factor;
}

void rvx__augment_contrast(float *voxels, int64_t count, float factor)
{
    moments m = measure(voxels, count);
    for (int64_t i = 0; i < count; i++) {
        float x = (voxels[i] - (float)m.mean) * factor + (float)m.mean;
        voxels[i] = x < m.low ? m.low : x > m.high ? m.high : x;
    }
}

/* Linear interpolation between neighbours `a` apart: index and fraction of `position`, clamped to
 * the grid. */
static int64_t neighbour(float position, int64_t count, float *fraction)
{
    if (position <= 0 || count == 1) {
        *fraction = 0;
        return 0;
    }
    int64_t low = (int64_t)position;
    if (low >= count - 1) {
        *fraction = 1;
        return count - 2;
    }
    *fraction = position - (float)low;
    return low;
}

void rvx__augment_low_resolution(float *voxels, float *temporary, rvx_extent e, float zoom,
                                 int threads)
{
    int64_t full[3] = {e.d, e.h, e.w}, small[3];
    for (int a = 0; a < 3; a++) {
        small[a] = (int64_t)lroundf((float)full[a] * zoom);
        small[a] = small[a] < 1 ? 1 : small[a];
    }
    /* Coarse voxel i shows the fine voxel under its centre. */
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t z = 0; z < small[0]; z++)
        for (int64_t y = 0; y < small[1]; y++)
            for (int64_t x = 0; x < small[2]; x++) {
                int64_t fz = (2 * z + 1) * full[0] / (2 * small[0]);
                int64_t fy = (2 * y + 1) * full[1] / (2 * small[1]);
                int64_t fx = (2 * x + 1) * full[2] / (2 * small[2]);
                temporary[(z * small[1] + y) * small[2] + x] = voxels[(fz * e.h + fy) * e.w + fx];
            }
    int64_t row = small[2], plane = small[1] * small[2];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t z = 0; z < e.d; z++) {
        float tz, ty, tx;
        int64_t lz =
            neighbour(((float)z + 0.5f) * (float)small[0] / (float)e.d - 0.5f, small[0], &tz);
        int64_t dz = small[0] > 1 ? plane : 0;
        for (int64_t y = 0; y < e.h; y++) {
            int64_t ly =
                neighbour(((float)y + 0.5f) * (float)small[1] / (float)e.h - 0.5f, small[1], &ty);
            int64_t dy = small[1] > 1 ? row : 0;
            for (int64_t x = 0; x < e.w; x++) {
                int64_t lx = neighbour(((float)x + 0.5f) * (float)small[2] / (float)e.w - 0.5f,
                                       small[2], &tx);
                int64_t dx = small[2] > 1;
                const float *p = temporary + lz * plane + ly * row + lx;
                float a = (p[0] + tx * (p[dx] - p[0])), b = p[dy] + tx * (p[dy + dx] - p[dy]);
                float c = p[dz] + tx * (p[dz + dx] - p[dz]);
                float d = p[dz + dy] + tx * (p[dz + dy + dx] - p[dz + dy]);
                float near = a + ty * (b - a), far = c + ty * (d - c);
                voxels[(z * e.h + y) * e.w + x] = near + tz * (far - near);
            }
        }
    }
}

void rvx__augment_gamma(float *voxels, int64_t count, float gamma, bool inverted)
{
    float sign = inverted ? -1.0f : 1.0f;
    for (int64_t i = 0; i < count; i++)
        voxels[i] *= sign;
    moments before = measure(voxels, count);
    float range = before.high - before.low, scale = range > 1e-7f ? range : 1e-7f;
    for (int64_t i = 0; i < count; i++)
        voxels[i] = powf((voxels[i] - before.low) / scale, gamma) * range + before.low;
    moments after = measure(voxels, count);
    float factor = (float)(before.deviation / (after.deviation > 1e-8 ? after.deviation : 1e-8));
    for (int64_t i = 0; i < count; i++)
        voxels[i] = sign * ((voxels[i] - (float)after.mean) * factor + (float)before.mean);
}
