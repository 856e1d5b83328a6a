/* Augmentation of B-mode pictures: see augment_ultrasound.h. */
#include "engine/volume/augment_ultrasound.h"

#include "engine/volume/augment.h"
#include "engine/volume/point_spread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, ECHOES = 3, TABLE = 256 };

#define TABLE_END 1.25f       /* share of the depth that the table of gains reaches */
#define SHADOW_PENUMBRA 0.35f /* soft side of a shadow, in its half widths */
#define SHADOW_ONSET 0.03f    /* share of the depth over which it begins */
#define FLOOR 0.1f            /* share of the greys above black that a rise reaches less and less */
#define AROUND_SIGMA 1.6f     /* voxels: what "around a voxel" means for the mean of the speckle */
#define RAYLEIGH_DECIBELS 5.57f /* deviation of fully developed speckle */
#define RAYLEIGH_MEAN 2.51f     /* decibels that its mean lies below its power's */
#define SPECKLE_SIGMA 0.6f /* voxels: new speckle is about 1.4 voxels wide at half its height */

void rvx__grey_range(float *black, float *white, const rvx_warp_source *source, int64_t channel)
{
    enum { SAMPLES = 4096 };
    const rvx_shape s = source->shape;
    int64_t voxels = s.d * s.h * s.w;
    int64_t step = (voxels / SAMPLES) | 1; /* odd, so that it does not stay in one column */
    *black = INFINITY;
    *white = -INFINITY;
    for (int64_t i = 0; i < voxels; i += step) {
        int64_t at = source->along[0][i / s.w / s.h] + source->along[1][i / s.w % s.h] +
                     source->along[2][i % s.w];
        float x = source->image[at * s.c + channel];
        *black = x < *black ? x : *black;
        *white = x > *white ? x : *white;
    }
}

/* ---- Pose and sound ---------------------------------------------------------------------------
 */

bool rvx__echo_warps(const rvx_ultrasound_change *change)
{
    return change->turn[0] != 0 || change->turn[1] != 0 || change->stretch != 1;
}

/* Turns about the point of contact, (radius, 0, 0) of the frame. */
static rvx_affine turn_of(const rvx_beam_frame *frame, const double turn[2])
{
    rvx_affine made;
    rvx__affine_identity(&made);
    for (int side = 0; side < 2; side++) {
        rvx_affine one;
        rvx__affine_identity(&one);
        one.matrix[0][0] = one.matrix[side + 1][side + 1] = cos(turn[side]);
        one.matrix[0][side + 1] = -sin(turn[side]);
        one.matrix[side + 1][0] = sin(turn[side]);
        rvx__affine_chain(&made, &one, &made);
    }
    const double contact[3] = {frame->radius, 0, 0};
    for (int i = 0; i < 3; i++) {
        made.offset[i] = contact[i];
        for (int k = 0; k < 3; k++)
            made.offset[i] -= made.matrix[i][k] * contact[k];
    }
    return made;
}

static rvx_affine frame_affine(const rvx_beam_frame *frame)
{
    rvx_affine made;
    memcpy(made.matrix, frame->to_frame, sizeof made.matrix);
    for (int k = 0; k < 3; k++) {
        made.offset[k] = 0;
        for (int a = 0; a < 3; a++)
            made.offset[k] -= frame->to_frame[k][a] * frame->apex[a];
    }
    return made;
}

void rvx__echo_frame(rvx_affine *out, const rvx_affine *to_case, const rvx_beam_frame *frame)
{
    rvx_affine to_frame = frame_affine(frame);
    rvx__affine_chain(out, &to_frame, to_case);
}

void rvx__echo_warp(rvx_warp *warp, const rvx_beam_frame *frame,
                    const rvx_ultrasound_change *change)
{
    rvx_affine back, turn = turn_of(frame, change->turn);
    memcpy(back.matrix, frame->from_frame, sizeof back.matrix);
    memcpy(back.offset, frame->apex, sizeof back.offset);
    rvx__echo_frame(&warp->to_polar, &warp->direct, frame);
    rvx__affine_chain(&warp->from_polar, &back, &turn);
    rvx__affine_chain(&warp->direct, &warp->from_polar, &warp->to_polar);
    warp->stretched = change->stretch != 1;
    warp->polar_axes = frame->swept ? 2 : 3;
    warp->inner = frame->radius;
    warp->stretch = change->stretch;
}

/* ---- Along the beams --------------------------------------------------------------------------
 * For a piece of a row: depth as a share of the case's, lateral and elevational place as shares of
 * the half fan. */
typedef struct beam_row {
    float depth[CHUNK], across[CHUNK], along[CHUNK];
} beam_row;

static void beams_find(beam_row *row, const rvx_ultrasound_patch *patch, int64_t z, int64_t y,
                       int64_t x, int64_t count)
{
    const rvx_beam_frame *f = patch->frame;
    float start[3], step[3];
    for (int k = 0; k < 3; k++) {
        const double *m = patch->to_frame.matrix[k];
        start[k] = (float)(m[0] * (double)z + m[1] * (double)y + m[2] * (double)x +
                           patch->to_frame.offset[k]);
        step[k] = (float)m[2];
    }
    float far = (float)(f->radius + f->depth), least = (float)(1e-3 * f->depth);
    float width = far / (float)f->half_width, height = far / (float)f->half_height;
    float radius = (float)f->radius, per_depth = (float)(1 / f->depth);
    float swept_height = (float)(1 / f->half_height);
    for (int64_t i = 0; i < count; i++) {
        float a = start[0] + (float)i * step[0], l = start[1] + (float)i * step[1];
        float e = start[2] + (float)i * step[2];
        float diverging = f->swept ? 0 : e;
        row->depth[i] = (sqrtf(a * a + l * l + diverging * diverging) - radius) * per_depth;
        a = a > least ? a : least;
        row->across[i] = l / a * width;
        row->along[i] = f->swept ? e * swept_height : e / a * height;
    }
}

/* Decibels that multiply the echo at each depth: gain, sliders, attenuation. */
static void gains_make(float table[TABLE + 2], const rvx_ultrasound_change *change)
{
    for (int i = 0; i < TABLE + 2; i++) {
        float depth = TABLE_END * (float)i / TABLE;
        float slider = fminf(depth, 1) * (RVX_SLIDERS - 1);
        int low = (int)slider < RVX_SLIDERS - 2 ? (int)slider : RVX_SLIDERS - 2;
        float part = slider - (float)low;
        table[i] = change->gain + change->attenuation * depth + change->sliders[low] * (1 - part) +
                   change->sliders[low + 1] * part;
    }
}

static inline float smooth_step(float x)
{
    x = x < 0 ? 0 : x > 1 ? 1 : x;
    return x * x * (3 - 2 * x);
}

static void shadow_row(float *decibels, const beam_row *row, const rvx_shadow *shadow,
                       int64_t count)
{
    float across = 1 / (SHADOW_PENUMBRA * shadow->half_width);
    float along = 1 / (SHADOW_PENUMBRA * shadow->half_height);
    for (int64_t i = 0; i < count; i++) {
        float u = shadow->half_width - fabsf(row->across[i] - shadow->across);
        float v = shadow->half_height - fabsf(row->along[i] - shadow->along);
        float onset = (row->depth[i] - shadow->start) * (1 / SHADOW_ONSET);
        decibels[i] -= shadow->decibels * smooth_step(u * across + 0.5f) *
                       smooth_step(v * along + 0.5f) * smooth_step(onset);
    }
}

static void gain_apply(float *voxels, const rvx_ultrasound_change *change,
                       const rvx_ultrasound_patch *patch)
{
    const int64_t *size = patch->size;
    float table[TABLE + 2], black = patch->black, white = patch->white;
    float grey_per_decibel = (white - black) / change->decibels;
    float floor_scale = 1 / (FLOOR * (white - black));
    gains_make(table, change);
#pragma omp parallel for schedule(static) num_threads(patch->threads)
    for (int64_t r = 0; r < size[0] * size[1]; r++)
        for (int64_t x = 0; x < size[2]; x += CHUNK) {
            beam_row row;
            float decibels[CHUNK], *v = voxels + r * size[2] + x;
            int64_t count = size[2] - x < CHUNK ? size[2] - x : CHUNK;
            beams_find(&row, patch, r / size[1], r % size[1], x, count);
            for (int64_t i = 0; i < count; i++) {
                float at = row.depth[i] * (TABLE / TABLE_END);
                at = at < 0 ? 0 : at > TABLE ? TABLE : at;
                int32_t low = (int32_t)at;
                decibels[i] = table[low] + (at - (float)low) * (table[low + 1] - table[low]);
            }
            for (int s = 0; s < change->shadow_count; s++)
                shadow_row(decibels, &row, &change->shadows[s], count);
            for (int64_t i = 0; i < count; i++) {
                float top = v[i] > white ? v[i] : white;
                /* How far below black the echo was, nobody knows: no step at the edge of black. */
                float known = (v[i] - black) * floor_scale;
                known = known > 1 || decibels[i] < 0 ? 1 : known;
                float grey = v[i] + grey_per_decibel * decibels[i] * known;
                grey = grey < black ? black : grey > top ? top : grey;
                v[i] = v[i] > black ? grey : v[i];
            }
        }
}

/* ---- Speckle ----------------------------------------------------------------------------------
 */

/* log2 of the amplitude = scale * (grey - white) */
static float amplitude_scale(const rvx_ultrasound_change *change, const rvx_ultrasound_patch *patch)
{
    return change->decibels * (3.32192809f / 20) / (patch->white - patch->black);
}

static void noise_fill(float *re, float *im, const rvx_ultrasound_patch *patch)
{
    const int64_t *size = patch->size;
    int64_t pitch = (size[2] + 1) / 2 * 2;
#pragma omp parallel for schedule(static) num_threads(patch->threads)
    for (int64_t r = 0; r < size[0] * size[1]; r++)
        rvx__complex_noise(re + r * size[2], im + r * size[2], size[2], patch->random.seed,
                           patch->random.stream, 2 * patch->random.counter + (uint64_t)(r * pitch));
}

/* Root of the power that white noise of power 1 keeps in a blur of `sigma` along three axes, the
 * blur being that of rvx__augment_blur. */
static float blur_keeps(float sigma)
{
    int radius = (int)(4 * sigma + 0.5f);
    double sum = 0, squares = 0;
    for (int k = -radius; k <= radius; k++) {
        double weight = exp(-0.5 * k * k / ((double)sigma * (double)sigma));
        sum += weight;
        squares += weight * weight;
    }
    return (float)pow(squares / (sum * sum), 1.5);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* How much speckle the picture has, as a share of fully developed speckle: compounding, filters and
 * coarse voxels leave less. From the median distance to the mean around a voxel, over at most 4096
 * voxels. */
static float contrast_of(const float *voxels, const float *around, int64_t count, float black,
                         float decibels_per_grey)
{
    enum { SAMPLES = 4096 };
    float distance[SAMPLES];
    int64_t step = (count / SAMPLES + 1) | 1, found = 0;
    for (int64_t i = 0; i < count && found < SAMPLES; i += step)
        if (voxels[i] > black && around[i] > black)
            distance[found++] = fabsf(voxels[i] - around[i]);
    if (found == 0)
        return 0;
    qsort(distance, (size_t)found, sizeof *distance, compare_floats);
    float deviation = 1.4826f * distance[found / 2] * decibels_per_grey;
    return deviation < RAYLEIGH_DECIBELS ? deviation / RAYLEIGH_DECIBELS : 1;
}

static void speckle_apply(float *voxels, float *temporary, const rvx_ultrasound_change *change,
                          const rvx_ultrasound_patch *patch)
{
    int64_t count = patch->size[0] * patch->size[1] * patch->size[2];
    rvx_extent extent = {patch->size[0], patch->size[1], patch->size[2]};
    float *around = temporary, *re = around + count, *im = re + count, *scratch = im + count;
    float scale = amplitude_scale(change, patch), back = 1 / scale;
    float black = patch->black, white = patch->white, kept = change->correlation;
    float decibels_per_grey = change->decibels / (white - black);
    const float mean[3] = {AROUND_SIGMA, AROUND_SIGMA, AROUND_SIGMA};
    const float cell[3] = {SPECKLE_SIGMA, SPECKLE_SIGMA, SPECKLE_SIGMA};
    float fresh = sqrtf(1 - kept * kept) / blur_keeps(SPECKLE_SIGMA);
    memcpy(around, voxels, (size_t)count * sizeof *around);
    rvx__augment_blur(around, scratch, extent, mean, patch->threads);
    float contrast = contrast_of(voxels, around, count, black, decibels_per_grey);
    /* From the mean of the decibels to the power, for as much speckle as there is. */
    float raise = contrast * contrast * RAYLEIGH_MEAN / decibels_per_grey;
    noise_fill(re, im, patch);
    rvx__augment_blur(re, scratch, extent, cell, patch->threads);
    rvx__augment_blur(im, scratch, extent, cell, patch->threads);
#pragma omp parallel for schedule(static) num_threads(patch->threads)
    for (int64_t i = 0; i < count; i++) {
        float strength = fresh * rvx__exp2_fast(scale * (around[i] + raise - white));
        float real = kept * rvx__exp2_fast(scale * (voxels[i] - white)) + strength * re[i];
        float imaginary = strength * im[i], square = real * real + imaginary * imaginary;
        square = square > 1e-30f ? square : 1e-30f;
        float full = white + back * (0.5f * 1.44269504f) * rvx__log_fast(square);
        float grey = voxels[i] + contrast * (full - voxels[i]);
        float top = voxels[i] > white ? voxels[i] : white;
        grey = grey < black ? black : grey > top ? top : grey;
        voxels[i] = voxels[i] > black ? grey : voxels[i];
    }
}

/* ---- Reverberation ----------------------------------------------------------------------------
 */

static void inverse(double out[3][3], const double m[3][3])
{
    double determinant = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
            out[j][i] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
            determinant += i == 0 ? m[0][j] * out[j][0] : 0;
        }
    for (int i = 0; i < 9; i++)
        out[i / 3][i % 3] /= determinant;
}

/* Trilinear; 0 where the patch does not reach. */
static float power_at(const float *power, const int64_t size[3], const float at[3])
{
    int64_t low[3];
    float part[3];
    for (int a = 0; a < 3; a++) {
        if (!(at[a] >= 0 && at[a] <= (float)(size[a] - 1)))
            return 0;
        low[a] = (int64_t)at[a];
        low[a] = low[a] > size[a] - 2 && size[a] > 1 ? size[a] - 2 : low[a];
        part[a] = at[a] - (float)low[a];
    }
    int64_t dz = size[0] > 1 ? size[1] * size[2] : 0, dy = size[1] > 1 ? size[2] : 0;
    int64_t dx = size[2] > 1;
    const float *p = power + (low[0] * size[1] + low[1]) * size[2] + low[2];
    float a = p[0] + part[2] * (p[dx] - p[0]), b = p[dy] + part[2] * (p[dy + dx] - p[dy]);
    float c = p[dz] + part[2] * (p[dz + dx] - p[dz]);
    float d = p[dz + dy] + part[2] * (p[dz + dy + dx] - p[dz + dy]);
    float near = a + part[1] * (b - a), far = c + part[1] * (d - c);
    return near + part[0] * (far - near);
}

/* What comes back late to voxel (z, y, x). back: frame to patch, without its offset. */
static float late_power(const float *power, const rvx_ultrasound_change *change,
                        const rvx_ultrasound_patch *patch, const double back[3][3], int64_t z,
                        int64_t y, int64_t x)
{
    const rvx_beam_frame *f = patch->frame;
    float p[3], way[3], square = 0, sum = 0, share = exp2f(change->echo * 0.332192809f), kept = 1;
    for (int k = 0; k < 3; k++) {
        const double *m = patch->to_frame.matrix[k];
        p[k] = (float)(m[0] * (double)z + m[1] * (double)y + m[2] * (double)x +
                       patch->to_frame.offset[k]);
        p[k] = k == 2 && f->swept ? 0 : p[k];
        square += p[k] * p[k];
    }
    float length = sqrtf(square), delay = change->spacing * (float)f->depth;
    for (int a = 0; a < 3; a++)
        way[a] = (float)(back[a][0] * (double)p[0] + back[a][1] * (double)p[1] +
                         back[a][2] * (double)p[2]) /
                 length;
    for (int echo = 1; echo <= ECHOES; echo++) {
        float late = (float)echo * delay;
        kept *= share;
        if (length - late < (float)f->radius)
            break;
        const float at[3] = {(float)z - late * way[0], (float)y - late * way[1],
                             (float)x - late * way[2]};
        sum += kept * power_at(power, patch->size, at);
    }
    return sum;
}

static void reverberation_apply(float *voxels, float *power, const rvx_ultrasound_change *change,
                                const rvx_ultrasound_patch *patch)
{
    const int64_t *size = patch->size;
    int64_t count = size[0] * size[1] * size[2];
    float scale = amplitude_scale(change, patch), back_scale = 1 / scale;
    float black = patch->black, white = patch->white;
    double back[3][3];
    inverse(back, patch->to_frame.matrix);
#pragma omp parallel for schedule(static) num_threads(patch->threads)
    for (int64_t i = 0; i < count; i++)
        power[i] = voxels[i] > black ? rvx__exp2_fast(2 * scale * (voxels[i] - white)) : 0;
#pragma omp parallel for schedule(static) num_threads(patch->threads)
    for (int64_t r = 0; r < size[0] * size[1]; r++)
        for (int64_t x = 0; x < size[2]; x++) {
            float *v = voxels + r * size[2] + x;
            if (!(*v > black))
                continue;
            float late = late_power(power, change, patch, back, r / size[1], r % size[1], x);
            if (!(late > 0))
                continue;
            float sum = power[r * size[2] + x] + late;
            float grey = white + back_scale * (0.5f * 1.44269504f) * rvx__log_fast(sum);
            float top = *v > white ? *v : white;
            *v = grey < *v ? *v : grey > top ? top : grey;
        }
}

/* ---- Sector -----------------------------------------------------------------------------------
 */

static bool outside_sector(const beam_row *row, int64_t i, const rvx_ultrasound_change *change,
                           bool swept)
{
    return row->depth[i] < 0 || fabsf(row->across[i] - change->tilt) > change->opening ||
           (!swept && fabsf(row->along[i]) > change->opening);
}

static void sector_apply(float *voxels, uint8_t *labels, const rvx_ultrasound_change *change,
                         const rvx_ultrasound_patch *patch)
{
    const int64_t *size = patch->size;
#pragma omp parallel for schedule(static) num_threads(patch->threads)
    for (int64_t r = 0; r < size[0] * size[1]; r++)
        for (int64_t x = 0; x < size[2]; x += CHUNK) {
            beam_row row;
            int64_t count = size[2] - x < CHUNK ? size[2] - x : CHUNK, first = r * size[2] + x;
            beams_find(&row, patch, r / size[1], r % size[1], x, count);
            for (int64_t i = 0; i < count; i++)
                if (outside_sector(&row, i, change, patch->frame->swept)) {
                    if (voxels)
                        voxels[first + i] = patch->black;
                    if (labels)
                        labels[first + i] = 0;
                }
        }
}

void rvx__echo_labels(uint8_t *labels, const rvx_ultrasound_change *change,
                      const rvx_ultrasound_patch *patch)
{
    if (change->has_sector)
        sector_apply(NULL, labels, change, patch);
}

void rvx__echo_picture(float *voxels, float *temporary, const rvx_ultrasound_change *change,
                       const rvx_ultrasound_patch *patch)
{
    if (!(patch->white > patch->black))
        return; /* one grey value: there is no echo to change */
    bool gains = change->gain != 0 || change->attenuation != 0 || change->shadow_count > 0;
    for (int s = 0; s < RVX_SLIDERS; s++)
        gains = gains || change->sliders[s] != 0;
    if (change->has_speckle)
        speckle_apply(voxels, temporary, change, patch);
    if (change->has_reverberation)
        reverberation_apply(voxels, temporary, change, patch);
    if (gains)
        gain_apply(voxels, change, patch);
    if (change->has_sector)
        sector_apply(voxels, NULL, change, patch);
}
