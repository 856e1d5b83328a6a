/* Training samples: see sampler.h. Axes here are d, h, w; the recipe's are x, y, z. */
#include "engine/run/sampler.h"
#include "engine/volume/augment.h"

#include <math.h>
#include <string.h>

/* Where output voxel (z, y, x) of the patch reads the case: centre + matrix * (voxel - middle). */
typedef struct placement {
    double centre[3], middle[3], matrix[3][3];
    bool whole_voxels; /* matrix is the identity and the offset an integer: copy rows */
    int64_t start[3];
    bool flip[3];
} placement;

int64_t rvx__sample_temporary_floats(const rvx_recipe *recipe, const int64_t patch[3])
{
    return (recipe->network.in_channels + 1) * patch[0] * patch[1] * patch[2];
}

static bool chance(rvx_random *random, double probability)
{
    return (double)rvx__random_uniform(random) < probability;
}

static float between(rvx_random *random, const double range[2])
{
    return rvx__random_range(random, (float)range[0], (float)range[1]);
}

/* A voxel of a class drawn uniformly among the foreground classes of the case; false: it has none.
 */
static bool foreground_voxel(int64_t voxel[3], rvx_random *random, const rvx_case *one)
{
    int present = 0;
    for (int k = 1; k < one->class_count; k++)
        present += one->locations[k].count > 0;
    if (!present)
        return false;
    int64_t pick = rvx__random_below(random, present);
    for (int k = 1; k < one->class_count; k++) {
        if (one->locations[k].count == 0 || pick-- != 0)
            continue;
        int64_t v = one->locations[k].voxels[rvx__random_below(random, one->locations[k].count)];
        voxel[0] = v / (one->shape.h * one->shape.w);
        voxel[1] = v / one->shape.w % one->shape.h;
        voxel[2] = v % one->shape.w;
        return true;
    }
    return false;
}

/* First voxel of the patch along one axis: inside the case where that is larger, centred where it
 * is smaller. */
static int64_t patch_start(rvx_random *random, int64_t size, int64_t patch, bool has_voxel,
                           int64_t voxel)
{
    if (size <= patch)
        return -((patch - size) / 2);
    if (!has_voxel)
        return rvx__random_below(random, size - patch + 1);
    int64_t start = voxel - patch / 2;
    return start < 0 ? 0 : start > size - patch ? size - patch : start;
}

static void multiply(double out[3][3], double a[3][3], double b[3][3])
{
    double product[3][3];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            product[i][j] = a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j];
    memcpy(out, product, sizeof product);
}

/* Rotation by angles about d, h, w in turn, times 1 / scale: the patch shows the case enlarged by
 * scale. */
static void rotate_and_scale(placement *p, const double angle[3], double scale)
{
    for (int axis = 0; axis < 3; axis++) {
        int a = (axis + 1) % 3, b = (axis + 2) % 3;
        double turn[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
        turn[a][a] = turn[b][b] = cos(angle[axis]);
        turn[a][b] = -sin(angle[axis]);
        turn[b][a] = sin(angle[axis]);
        multiply(p->matrix, turn, p->matrix);
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            p->matrix[i][j] /= scale;
}

static placement place(rvx_random *random, const rvx_recipe *recipe, const int64_t patch[3],
                       const rvx_case *one)
{
    placement p = {.matrix = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, .whole_voxels = true};
    int64_t voxel[3] = {0}, size[3] = {one->shape.d, one->shape.h, one->shape.w};
    bool has_voxel =
        chance(random, recipe->patch.foreground_fraction) && foreground_voxel(voxel, random, one);
    for (int a = 0; a < 3; a++) {
        p.start[a] = patch_start(random, size[a], patch[a], has_voxel, voxel[a]);
        p.middle[a] = (double)(patch[a] - 1) / 2;
        p.centre[a] = (double)p.start[a] + p.middle[a];
    }
    double angle[3] = {0, 0, 0}, scale = 1;
    if (chance(random, recipe->augmentation.rotation_probability)) {
        for (int a = 0; a < 3; a++)
            angle[a] = (double)rvx__random_range(random, -1, 1) *
                       recipe->augmentation.rotation_degrees[2 - a] * 3.14159265358979323846 / 180;
        p.whole_voxels = false;
    }
    if (chance(random, recipe->augmentation.scaling.probability)) {
        scale = (double)between(random, recipe->augmentation.scaling.range);
        p.whole_voxels = false;
    }
    if (!p.whole_voxels)
        rotate_and_scale(&p, angle, scale);
    for (int a = 0; a < 3; a++)
        p.flip[a] = recipe->augmentation.mirror_axes[2 - a] &&
                    chance(random, recipe->augmentation.mirror_probability);
    return p;
}

/* Trilinear value of every channel at a position of the case, 0 outside; and the nearest label. */
static void read_between(float *out, int64_t channel_stride, uint8_t *label, const rvx_case *one,
                         const double at[3])
{
    const rvx_shape s = one->shape;
    int64_t size[3] = {s.d, s.h, s.w}, low[3], nearest[3];
    float part[3];
    bool inside = true;
    for (int a = 0; a < 3; a++) {
        double f = floor(at[a]);
        low[a] = (int64_t)f;
        part[a] = (float)(at[a] - f);
        nearest[a] = (int64_t)floor(at[a] + 0.5);
        inside &= nearest[a] >= 0 && nearest[a] < size[a];
    }
    *label = inside ? one->labels[rvx__case_voxel(one, nearest[0], nearest[1], nearest[2])] : 0;
    for (int64_t c = 0; c < s.c; c++)
        out[c * channel_stride] = 0;
    for (int corner = 0; corner < 8; corner++) {
        int64_t z = low[0] + (corner >> 2), y = low[1] + (corner >> 1 & 1),
                x = low[2] + (corner & 1);
        if (z < 0 || z >= s.d || y < 0 || y >= s.h || x < 0 || x >= s.w)
            continue;
        float weight = (corner >> 2 ? part[0] : 1 - part[0]) *
                       (corner >> 1 & 1 ? part[1] : 1 - part[1]) *
                       (corner & 1 ? part[2] : 1 - part[2]);
        const float *in = one->image + rvx__case_voxel(one, z, y, x) * s.c;
        for (int64_t c = 0; c < s.c; c++)
            out[c * channel_stride] += weight * in[c];
    }
}

/* One row of the patch, from voxel i on: planes[c][d][h][w] and labels. */
static void cut_row(float *planes, uint8_t *labels, const placement *p, const int64_t patch[3],
                    const rvx_case *one, int64_t z, int64_t y)
{
    const rvx_shape s = one->shape;
    int64_t stride = patch[0] * patch[1] * patch[2], i = (z * patch[1] + y) * patch[2];
    for (int64_t x = 0; x < patch[2]; x++, i++) {
        int64_t voxel[3] = {z, y, x};
        for (int a = 0; a < 3; a++)
            voxel[a] = p->flip[a] ? patch[a] - 1 - voxel[a] : voxel[a];
        if (p->whole_voxels) {
            int64_t sz = voxel[0] + p->start[0], sy = voxel[1] + p->start[1],
                    sx = voxel[2] + p->start[2];
            bool inside = sz >= 0 && sz < s.d && sy >= 0 && sy < s.h && sx >= 0 && sx < s.w;
            int64_t source = inside ? rvx__case_voxel(one, sz, sy, sx) : 0;
            labels[i] = inside ? one->labels[source] : 0;
            for (int64_t c = 0; c < s.c; c++)
                planes[c * stride + i] = inside ? one->image[source * s.c + c] : 0;
        } else {
            double at[3];
            for (int a = 0; a < 3; a++) {
                at[a] = p->centre[a];
                for (int b = 0; b < 3; b++)
                    at[a] += p->matrix[a][b] * ((double)voxel[b] - p->middle[b]);
            }
            read_between(planes + i, stride, labels + i, one, at);
        }
    }
}

static void cut(float *planes, uint8_t *labels, const placement *p, const int64_t patch[3],
                const rvx_case *one, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t z = 0; z < patch[0]; z++)
        for (int64_t y = 0; y < patch[1]; y++)
            cut_row(planes, labels, p, patch, one, z, y);
}

/* Intensity transforms in nnU-Net's order. Probabilities are per sample, then per channel where
 * given. */
static void change_intensity(float *plane, const rvx_sampler *sampler, const bool applies[7],
                             rvx_random *random)
{
    const rvx_recipe *recipe = sampler->recipe;
    const int64_t *patch = sampler->patch;
    float *temporary = sampler->temporary;
    rvx_extent extent = {patch[0], patch[1], patch[2]};
    int64_t count = patch[0] * patch[1] * patch[2];
    const rvx_transform *const t[7] = {
        &recipe->augmentation.noise,          &recipe->augmentation.blur,
        &recipe->augmentation.brightness,     &recipe->augmentation.contrast,
        &recipe->augmentation.low_resolution, &recipe->augmentation.gamma_inverted,
        &recipe->augmentation.gamma};
    for (int i = 0; i < 7; i++) {
        if (!applies[i] || !chance(random, t[i]->channel_probability))
            continue;
        float amount = between(random, t[i]->range);
        switch (i) {
        case 0:
            rvx__augment_noise(plane, count, amount, random);
            break;
        case 1:
            rvx__augment_blur(plane, temporary, extent, amount, sampler->threads);
            break;
        case 2:
            rvx__augment_brightness(plane, count, amount);
            break;
        case 3:
            rvx__augment_contrast(plane, count, amount);
            break;
        case 4:
            rvx__augment_low_resolution(plane, temporary, extent, amount, sampler->threads);
            break;
        default:
            rvx__augment_gamma(plane, count, amount, i == 5);
        }
    }
}

/* From planes to voxels. */
static void interleave(void *image, const float *planes, int64_t count, int64_t channels,
                       rvx_dtype dtype, int threads)
{
    float *f32 = image;
    uint16_t *bf16 = image;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < channels; c++)
            if (dtype == RVX_BF16)
                bf16[i * channels + c] = rvx__bf16_of(planes[c * count + i]);
            else
                f32[i * channels + c] = planes[c * count + i];
}

void rvx__sample_draw(const rvx_sampler *sampler, void *image, uint8_t *labels, int64_t step,
                      int64_t index)
{
    const rvx_recipe *recipe = sampler->recipe;
    const int64_t *patch = sampler->patch;
    rvx_random random = {.seed = (uint64_t)recipe->training.seed,
                         .stream = 0x5A4D504Cu ^ ((uint64_t)step << 20) ^ ((uint64_t)index << 56)};
    const rvx_case *one = &sampler->cases[rvx__random_below(&random, sampler->case_count)];
    placement p = place(&random, recipe, patch, one);
    int64_t channels = recipe->network.in_channels, count = patch[0] * patch[1] * patch[2];
    float *planes = sampler->temporary + count;
    cut(planes, labels, &p, patch, one, sampler->threads);
    const double odds[7] = {recipe->augmentation.noise.probability,
                            recipe->augmentation.blur.probability,
                            recipe->augmentation.brightness.probability,
                            recipe->augmentation.contrast.probability,
                            recipe->augmentation.low_resolution.probability,
                            recipe->augmentation.gamma_inverted.probability,
                            recipe->augmentation.gamma.probability};
    bool applies[7];
    for (int i = 0; i < 7; i++)
        applies[i] = chance(&random, odds[i]);
    for (int64_t c = 0; c < channels; c++)
        change_intensity(planes + c * count, sampler, applies, &random);
    interleave(image, planes, count, channels, sampler->dtype, sampler->threads);
}
