/* Training samples: see sampler.h. Axes here are d, h, w; the recipe's are x, y, z. */
#include "engine/run/sampler.h"
#include "engine/run/augmentation.h"
#include "engine/volume/cache.h"

#include <math.h>
#include <string.h>

int64_t rvx__sample_temporary_floats(const rvx_recipe *recipe, const int64_t patch[3])
{
    const rvx_ultrasound_recipe *ultrasound = &recipe->augmentation.ultrasound;
    int64_t beside = ultrasound->speckle.probability > 0 ? RVX_ULTRASOUND_PLANES : 1;
    return (recipe->network.in_channels + beside) * patch[0] * patch[1] * patch[2];
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

/* Rotation by angles about d, h, w in turn, then the field of view times `scale`: above 1 the
 * patch shows more of the case, smaller, as in nnU-Net. */
static void rotate_and_scale(rvx_affine *affine, const double angle[3], const double scale[3])
{
    for (int axis = 0; axis < 3; axis++) {
        int a = (axis + 1) % 3, b = (axis + 2) % 3;
        rvx_affine turn;
        rvx__affine_identity(&turn);
        turn.matrix[a][a] = turn.matrix[b][b] = cos(angle[axis]);
        turn.matrix[a][b] = -sin(angle[axis]);
        turn.matrix[b][a] = sin(angle[axis]);
        rvx__affine_chain(affine, &turn, affine);
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            affine->matrix[i][j] *= scale[i];
}

/* Voxels of the patch to voxels of the case: where it lies, rotated, scaled, mirrored. */
static rvx_affine place(rvx_random *random, const rvx_recipe *recipe, const int64_t patch[3],
                        const rvx_case *one)
{
    rvx_affine to_case;
    int64_t voxel[3] = {0}, size[3] = {one->shape.d, one->shape.h, one->shape.w}, start[3];
    double middle[3], angle[3] = {0, 0, 0}, scale[3] = {1, 1, 1};
    rvx__affine_identity(&to_case);
    bool has_voxel =
        chance(random, recipe->patch.foreground_fraction) && foreground_voxel(voxel, random, one);
    for (int a = 0; a < 3; a++)
        start[a] = patch_start(random, size[a], patch[a], has_voxel, voxel[a]);
    bool rotates = chance(random, recipe->augmentation.rotation_probability);
    for (int a = 0; a < 3 && rotates; a++)
        angle[a] = (double)rvx__random_range(random, -1, 1) *
                   recipe->augmentation.rotation_degrees[2 - a] * 3.14159265358979323846 / 180;
    bool scales = chance(random, recipe->augmentation.scaling.probability);
    double factor = scales ? (double)between(random, recipe->augmentation.scaling.range) : 1;
    for (int a = 0; a < 3; a++)
        scale[a] = 2 - a == recipe->augmentation.flat_axis ? 1 : factor;
    if (rotates || scales)
        rotate_and_scale(&to_case, angle, scale);
    for (int a = 0; a < 3; a++)
        if (recipe->augmentation.mirror_axes[2 - a] &&
            chance(random, recipe->augmentation.mirror_probability))
            for (int i = 0; i < 3; i++)
                to_case.matrix[i][a] = -to_case.matrix[i][a];
    /* About the middle of the patch; a patch that only moves keeps whole voxels. */
    for (int a = 0; a < 3; a++)
        middle[a] = 0.5 * (double)(patch[a] - 1);
    for (int i = 0; i < 3; i++) {
        to_case.offset[i] = (double)start[i] + middle[i];
        for (int a = 0; a < 3; a++)
            to_case.offset[i] -= to_case.matrix[i][a] * middle[a];
    }
    return to_case;
}

/* mm a voxel of the network's grid, as d, h, w. */
static void spacing_of(double spacing[3], const rvx_case *one)
{
    for (int a = 0; a < 3; a++) {
        double file = one->info.geometry.spacing[2 - a], voxels = (double)one->map.box_size[2 - a];
        double wanted = file * voxels / (double)one->map.network_size[2 - a];
        spacing[a] = isfinite(wanted) && wanted > 0 ? wanted : 1;
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

static rvx_warp_source source_of(const rvx_case *one)
{
    return (rvx_warp_source){
        one->image, one->labels, one->shape, {one->along[0], one->along[1], one->along[2]}};
}

void rvx__sample_greys(float *greys, const rvx_case *cases, int64_t case_count, int64_t channels)
{
    for (int64_t i = 0; i < case_count; i++) {
        const rvx_warp_source source = source_of(&cases[i]);
        for (int64_t c = 0; c < channels; c++, greys += 2)
            rvx__grey_range(&greys[0], &greys[1], &source, c);
    }
}

static void grey_range(rvx_ultrasound_patch *echo, const rvx_sampler *sampler,
                       const rvx_warp_source *source, int64_t case_index, int64_t channel)
{
    int64_t at = case_index * sampler->recipe->network.in_channels + channel;
    if (sampler->greys) {
        echo->black = sampler->greys[2 * at];
        echo->white = sampler->greys[2 * at + 1];
    } else {
        rvx__grey_range(&echo->black, &echo->white, source, channel);
    }
}

/* Tells a case on disk which voxels the patch reads, but for what a stretch adds. */
static void fetch(const rvx_affine *direct, const int64_t patch[3], const rvx_case *one)
{
    int64_t low[3], high[3];
    for (int a = 0; a < 3; a++) {
        double least = direct->offset[a], greatest = direct->offset[a];
        for (int b = 0; b < 3; b++) {
            double along = direct->matrix[a][b] * (double)(patch[b] - 1);
            least += fmin(along, 0);
            greatest += fmax(along, 0);
        }
        low[a] = (int64_t)floor(least);
        high[a] = (int64_t)floor(greatest) + 2;
    }
    rvx__case_fetch(one, low, high);
}

void rvx__sample_draw(const rvx_sampler *sampler, void *image, uint8_t *labels, int64_t step,
                      int64_t index)
{
    const rvx_recipe *recipe = sampler->recipe;
    const int64_t *patch = sampler->patch;
    int64_t channels = recipe->network.in_channels, count = patch[0] * patch[1] * patch[2];
    rvx_random random = rvx__sample_random(recipe, step, index, RVX_PURPOSE_PLACE);
    int64_t case_index = rvx__random_below(&random, sampler->case_count);
    const rvx_case *one = &sampler->cases[case_index];
    const rvx_warp_source source = source_of(one);
    rvx_warp warp = {.direct = place(&random, recipe, patch, one)};

    const int64_t size[3] = {one->shape.d, one->shape.h, one->shape.w};
    double spacing[3];
    rvx_ultrasound_change change;
    rvx_beam_frame frame;
    rvx_ultrasound_patch echo = {.size = {patch[0], patch[1], patch[2]},
                                 .frame = &frame,
                                 .random =
                                     rvx__sample_random(recipe, step, index, RVX_PURPOSE_SPECKLE),
                                 .threads = sampler->threads};
    random = rvx__sample_random(recipe, step, index, RVX_PURPOSE_ULTRASOUND);
    spacing_of(spacing, one);
    bool changes = rvx__ultrasound_draw(&change, &frame, &recipe->augmentation.ultrasound, size,
                                        spacing, &random);
    if (changes) {
        rvx__echo_frame(&echo.to_frame, &warp.direct, &frame);
        grey_range(&echo, sampler, &source, case_index, 0);
        warp.outside = echo.black;
        if (rvx__echo_warps(&change))
            rvx__echo_warp(&warp, &frame, &change);
    }
    float *temporary = sampler->temporary;
    float *planes = temporary + rvx__sample_temporary_floats(recipe, patch) - channels * count;
    fetch(&warp.direct, patch, one);
    rvx__warp(planes, labels, &warp, patch, &source, sampler->threads);
    for (int64_t c = 0; c < channels && changes; c++) {
        grey_range(&echo, sampler, &source, case_index, c);
        rvx__echo_picture(planes + c * count, temporary, &change, &echo);
    }
    if (changes)
        rvx__echo_labels(labels, &change, &echo);
    rvx__intensity_change(planes, temporary, recipe, patch, step, index, sampler->threads);
    interleave(image, planes, count, channels, sampler->dtype, sampler->threads);
}
