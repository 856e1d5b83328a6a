/* Intensity augmentation: see augment.h. Loops run over contiguous voxels, so that the compiler
 * makes vectors of them; sums have a fixed order. */
#include "engine/volume/augment.h"

#include "engine/volume/point_spread.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct moments {
    double mean, deviation;
    float low, high;
} moments;

enum { LANES = 8 };

/* In one pass: sums of differences from the first voxel, which keeps the squares small. */
static moments measure(const float *voxels, int64_t count)
{
    double sum[LANES] = {0}, squares[LANES] = {0};
    float low[LANES], high[LANES], first = voxels[0];
    moments m = {.low = first, .high = first};
    for (int k = 0; k < LANES; k++)
        low[k] = high[k] = first;
    int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++) {
            float x = voxels[i + k];
            double difference = (double)x - (double)first;
            sum[k] += difference;
            squares[k] += difference * difference;
            low[k] = x < low[k] ? x : low[k];
            high[k] = x > high[k] ? x : high[k];
        }
    for (int64_t i = whole; i < count; i++) {
        double difference = (double)voxels[i] - (double)first;
        sum[0] += difference;
        squares[0] += difference * difference;
        low[0] = voxels[i] < low[0] ? voxels[i] : low[0];
        high[0] = voxels[i] > high[0] ? voxels[i] : high[0];
    }
    double total = 0, total_squares = 0;
    for (int k = 0; k < LANES; k++) {
        total += sum[k];
        total_squares += squares[k];
        m.low = low[k] < m.low ? low[k] : m.low;
        m.high = high[k] > m.high ? high[k] : m.high;
    }
    double mean = total / (double)count;
    m.mean = mean + (double)first;
    m.deviation = sqrt(fmax(total_squares / (double)count - mean * mean, 0));
    return m;
}

void rvx__augment_noise(float *voxels, int64_t count, float variance, rvx_random random,
                        int threads)
{
    enum { PAIRS = 256 };
    float deviation = sqrtf(2 * variance); /* each half of a complex sample has variance 1/2 */
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < count; first += 2 * PAIRS) {
        float noise[2 * PAIRS];
        int64_t part = count - first < 2 * PAIRS ? count - first : 2 * PAIRS;
        rvx__complex_noise(noise, noise + PAIRS, PAIRS, random.seed, random.stream,
                           2 * random.counter + (uint64_t)(first / 2));
        for (int64_t i = 0; i < part; i++)
            voxels[first + i] += deviation * noise[i];
    }
}

/* ---- Blur -------------------------------------------------------------------------------------
 */

enum { RADIUS_MAX = 64, CHUNK = 512 };

static int64_t weights_make(float weights[RADIUS_MAX + 1], float sigma)
{
    int64_t radius = (int64_t)(4 * sigma + 0.5f);
    radius = radius > RADIUS_MAX ? RADIUS_MAX : radius;
    float total = 0;
    for (int64_t k = 0; k <= radius; k++) {
        weights[k] = k ? expf(-0.5f * (float)(k * k) / (sigma * sigma)) : 1;
        total += k ? 2 * weights[k] : weights[k];
    }
    for (int64_t k = 0; k <= radius; k++)
        weights[k] /= total;
    return radius;
}

static int64_t clamp_index(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

/* Along a row: pieces of it with their surroundings. */
static void blur_row(float *out, const float *in, int64_t count, const float *weights,
                     int64_t radius)
{
    float line[CHUNK + 2 * RADIUS_MAX];
    for (int64_t first = 0; first < count; first += CHUNK) {
        int64_t part = count - first < CHUNK ? count - first : CHUNK;
        for (int64_t i = -radius; i < part + radius; i++)
            line[i + radius] = in[clamp_index(first + i, count)];
        const float *middle = line + radius;
        for (int64_t i = 0; i < part; i++)
            out[first + i] = weights[0] * middle[i];
        for (int64_t k = 1; k <= radius; k++)
            for (int64_t i = 0; i < part; i++)
                out[first + i] += weights[k] * (middle[i - k] + middle[i + k]);
    }
}

/* Across rows: `lines` of them, `stride` apart, each of `width` contiguous voxels. */
static void blur_rows(float *out, const float *in, int64_t line, int64_t lines, int64_t stride,
                      int64_t width, const float *weights, int64_t radius)
{
    const float *middle = in + line * stride;
    for (int64_t i = 0; i < width; i++)
        out[i] = weights[0] * middle[i];
    for (int64_t k = 1; k <= radius; k++) {
        const float *before = in + clamp_index(line - k, lines) * stride;
        const float *after = in + clamp_index(line + k, lines) * stride;
        for (int64_t i = 0; i < width; i++)
            out[i] += weights[k] * (before[i] + after[i]);
    }
}

static void blur_axis(float *out, const float *in, rvx_extent e, int axis, float sigma, int threads)
{
    float weights[RADIUS_MAX + 1];
    int64_t radius = weights_make(weights, sigma), plane = e.h * e.w;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < e.d * e.h; r++) {
        int64_t z = r / e.h, y = r % e.h;
        if (axis == 2)
            blur_row(out + r * e.w, in + r * e.w, e.w, weights, radius);
        else if (axis == 1)
            blur_rows(out + r * e.w, in + z * plane, y, e.h, e.w, e.w, weights, radius);
        else
            blur_rows(out + r * e.w, in + y * e.w, z, e.d, plane, e.w, weights, radius);
    }
}

void rvx__augment_blur(float *voxels, float *temporary, rvx_extent e, const float sigma[3],
                       int threads)
{
    float *in = voxels, *out = temporary;
    for (int axis = 2; axis >= 0; axis--) {
        if (!(sigma[axis] > 0))
            continue;
        blur_axis(out, in, e, axis, sigma[axis], threads);
        float *other = in;
        in = out;
        out = other;
    }
    if (in != voxels)
        memcpy(voxels, in, (size_t)(e.d * e.h * e.w) * sizeof *voxels);
}

/* ---- Grey values ------------------------------------------------------------------------------
 */

void rvx__augment_brightness(float *voxels, int64_t count, float factor)
{
    for (int64_t i = 0; i < count; i++)
        voxels[i] *= factor;
}

void rvx__augment_contrast(float *voxels, int64_t count, float factor)
{
    moments m = measure(voxels, count);
    float mean = (float)m.mean;
    for (int64_t i = 0; i < count; i++) {
        float x = (voxels[i] - mean) * factor + mean;
        x = x < m.low ? m.low : x;
        voxels[i] = x > m.high ? m.high : x;
    }
}

void rvx__augment_gamma(float *voxels, int64_t count, float gamma, bool inverted)
{
    float sign = inverted ? -1.0f : 1.0f;
    for (int64_t i = 0; i < count; i++)
        voxels[i] *= sign;
    moments before = measure(voxels, count);
    float range = before.high - before.low, scale = 1 / (range > 1e-7f ? range : 1e-7f);
    float low = before.low, exponent = gamma * 1.44269504f;
    for (int64_t i = 0; i < count; i++) {
        float share = (voxels[i] - low) * scale;
        share = share < 1e-20f ? 1e-20f : share;
        voxels[i] = rvx__exp2_fast(exponent * rvx__log_fast(share)) * range + low;
    }
    moments after = measure(voxels, count);
    float factor = (float)(before.deviation / (after.deviation > 1e-8 ? after.deviation : 1e-8));
    float mean_after = (float)after.mean, mean_before = (float)before.mean;
    for (int64_t i = 0; i < count; i++)
        voxels[i] = sign * ((voxels[i] - mean_after) * factor + mean_before);
}

/* ---- Low resolution ---------------------------------------------------------------------------
 */

/* Where fine voxel i lies between coarse voxels: the lower one, and the share of the next. */
static int64_t between(float *share, int64_t *next, int64_t i, int64_t fine, int64_t coarse)
{
    float position = ((float)i + 0.5f) * (float)coarse / (float)fine - 0.5f;
    position = position < 0 ? 0 : position;
    int64_t low = (int64_t)position;
    low = low > coarse - 1 ? coarse - 1 : low;
    *share = position - (float)low;
    *next = low + 1 < coarse ? low + 1 : low;
    return low;
}

void rvx__augment_low_resolution(float *voxels, float *temporary, rvx_extent e, const float zoom[3],
                                 int threads)
{
    int64_t full[3] = {e.d, e.h, e.w}, small[3];
    for (int a = 0; a < 3; a++) {
        small[a] = (int64_t)lroundf((float)full[a] * zoom[a]);
        small[a] = small[a] < 1 ? 1 : small[a] > full[a] ? full[a] : small[a];
    }
    /* Coarse voxel i shows the fine voxel under its centre. */
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < small[0] * small[1]; r++) {
        int64_t fz = (2 * (r / small[1]) + 1) * full[0] / (2 * small[0]);
        int64_t fy = (2 * (r % small[1]) + 1) * full[1] / (2 * small[1]);
        const float *in = voxels + (fz * e.h + fy) * e.w;
        for (int64_t x = 0; x < small[2]; x++)
            temporary[r * small[2] + x] = in[(2 * x + 1) * full[2] / (2 * small[2])];
    }
    int64_t row = small[2], plane = small[1] * small[2];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < e.d * e.h; r++) {
        float tz, ty, tx, line[CHUNK + 1];
        int64_t nz, ny, nx;
        int64_t lz = between(&tz, &nz, r / e.h, e.d, small[0]);
        int64_t ly = between(&ty, &ny, r % e.h, e.h, small[1]);
        const float *a = temporary + lz * plane + ly * row, *b = temporary + lz * plane + ny * row;
        const float *c = temporary + nz * plane + ly * row, *d = temporary + nz * plane + ny * row;
        float wa = (1 - tz) * (1 - ty), wb = (1 - tz) * ty, wc = tz * (1 - ty), wd = tz * ty;
        /* Coarse rows are mixed piece by piece, then read between their voxels. */
        int64_t held = -1, held_count = 0;
        for (int64_t x = 0; x < e.w; x++) {
            int64_t lx = between(&tx, &nx, x, e.w, small[2]);
            if (lx >= held + held_count - 1 || held < 0) {
                held = lx;
                held_count = row - held < CHUNK + 1 ? row - held : CHUNK + 1;
                for (int64_t i = 0; i < held_count; i++)
                    line[i] =
                        wa * a[held + i] + wb * b[held + i] + wc * c[held + i] + wd * d[held + i];
            }
            float low = line[lx - held];
            voxels[r * e.w + x] = low + tx * (line[nx - held] - low);
        }
    }
}
