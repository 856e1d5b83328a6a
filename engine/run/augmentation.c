/* What augmentation does to one sample: see augmentation.h. */
#include "engine/run/augmentation.h"

#include "engine/volume/augment.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static bool chance(rvx_random *random, double probability)
{
    return (double)rvx__random_uniform(random) < probability;
}

static float between(rvx_random *random, const double range[2])
{
    return rvx__random_range(random, (float)range[0], (float)range[1]);
}

/* Half of the draws below 1 and half above, where the range has both. */
static float around_one(rvx_random *random, const double range[2])
{
    bool below = rvx__random_uniform(random) < 0.5f && range[0] < 1;
    double part[2] = {below ? range[0] : fmax(range[0], 1), below ? fmin(range[1], 1) : range[1]};
    return between(random, part[1] > part[0] ? part : range);
}

rvx_random rvx__sample_random(const rvx_recipe *recipe, int64_t step, int64_t index, int purpose)
{
    return (rvx_random){.seed = (uint64_t)recipe->training.seed,
                        .stream = 0x5A4D504Cu ^ ((uint64_t)step << 20) ^ ((uint64_t)index << 56),
                        .counter = (uint64_t)purpose << 56};
}

/* ---- Ultrasound -------------------------------------------------------------------------------
 */

/* A shadow anywhere in the fan; long ones, as of ribs, may go through all frames. */
static rvx_shadow shadow_draw(rvx_random *random, const rvx_ultrasound_recipe *recipe)
{
    rvx_shadow shadow;
    shadow.across = rvx__random_range(random, -0.9f, 0.9f);
    shadow.along = rvx__random_range(random, -0.9f, 0.9f);
    shadow.half_width = between(random, recipe->shadow_width);
    shadow.half_height = shadow.half_width * rvx__random_range(random, 1, 6);
    shadow.start = rvx__random_range(random, 0, 0.6f);
    shadow.decibels = between(random, recipe->shadow.range);
    return shadow;
}

bool rvx__ultrasound_draw(rvx_ultrasound_change *change, rvx_beam_frame *frame,
                          const rvx_ultrasound_recipe *recipe, const int64_t size[3],
                          const double spacing[3], rvx_random *random)
{
    *change = (rvx_ultrasound_change){.stretch = 1, .opening = 1};
    double apex = (double)between(random, recipe->apex);
    rvx__beam_frame_make(frame, recipe->beam, recipe->sweep, size, spacing, apex);
    change->decibels = between(random, recipe->decibels);
    bool any = false, has = chance(random, recipe->pose.probability);
    for (int side = 0; side < 2 && has; side++) {
        double turn = (double)between(random, recipe->pose.range) * pi / 180;
        change->turn[side] = chance(random, 0.5) ? turn : -turn;
    }
    any |= has;
    has = chance(random, recipe->sound.probability);
    change->stretch = has ? (double)between(random, recipe->sound.range) / 1540 : 1;
    any |= has;
    change->has_speckle = has = chance(random, recipe->speckle.probability);
    change->correlation = has ? between(random, recipe->speckle.range) : 1;
    any |= has;
    change->has_reverberation = has = chance(random, recipe->reverberation.probability);
    change->echo = has ? between(random, recipe->reverberation.range) : 0;
    change->spacing = has ? between(random, recipe->reverberation_spacing) : 1;
    any |= has;
    has = chance(random, recipe->shadow.probability);
    change->shadow_count = has ? 1 + (int)rvx__random_below(random, RVX_SHADOWS_MAX) : 0;
    for (int s = 0; s < change->shadow_count; s++)
        change->shadows[s] = shadow_draw(random, recipe);
    any |= has;
    has = chance(random, recipe->attenuation.probability);
    change->attenuation = has ? between(random, recipe->attenuation.range) : 0;
    any |= has;
    has = chance(random, recipe->time_gain.probability);
    for (int s = 0; s < RVX_SLIDERS; s++)
        change->sliders[s] = has ? between(random, recipe->time_gain.range) : 0;
    any |= has;
    has = chance(random, recipe->gain.probability);
    change->gain = has ? between(random, recipe->gain.range) : 0;
    any |= has;
    change->has_sector = has = chance(random, recipe->sector.probability);
    change->opening = has ? between(random, recipe->sector.range) : 1;
    change->tilt = has ? rvx__random_range(random, -0.15f, 0.15f) : 0;
    return any | has;
}

/* ---- nnU-Net's --------------------------------------------------------------------------------
 */

enum { NOISE, BLUR, BRIGHTNESS, CONTRAST, LOW_RESOLUTION, GAMMA_INVERTED, GAMMA, TRANSFORMS };

typedef struct work {
    const rvx_recipe *recipe;
    const rvx_transform *transforms[TRANSFORMS];
    const int64_t *patch;
    float *temporary;
    rvx_random noise;
    float variance; /* of the noise: the same in all channels, as in nnU-Net */
    int threads;
} work;

static void change_channel(float *plane, const work *w, int transform, rvx_random *random)
{
    const rvx_transform *t = w->transforms[transform];
    const int64_t *patch = w->patch;
    rvx_extent extent = {patch[0], patch[1], patch[2]};
    int64_t count = patch[0] * patch[1] * patch[2];
    int flat = 2 - w->recipe->augmentation.flat_axis; /* -1: none */
    float three[3];
    switch (transform) {
    case NOISE:
        rvx__augment_noise(plane, count, w->variance, w->noise, w->threads);
        break;
    case BLUR:
        for (int a = 0; a < 3; a++)
            three[a] = between(random, t->range);
        rvx__augment_blur(plane, w->temporary, extent, three, w->threads);
        break;
    case BRIGHTNESS:
        rvx__augment_brightness(plane, count, around_one(random, t->range));
        break;
    case CONTRAST:
        rvx__augment_contrast(plane, count, around_one(random, t->range));
        break;
    case LOW_RESOLUTION:
        three[0] = three[1] = three[2] = between(random, t->range);
        if (flat >= 0)
            three[flat] = 1;
        rvx__augment_low_resolution(plane, w->temporary, extent, three, w->threads);
        break;
    default:
        rvx__augment_gamma(plane, count, around_one(random, t->range), transform == GAMMA_INVERTED);
    }
}

void rvx__intensity_change(float *planes, float *temporary, const rvx_recipe *recipe,
                           const int64_t patch[3], int64_t step, int64_t index, int threads)
{
    work w = {.recipe = recipe,
              .transforms = {&recipe->augmentation.noise, &recipe->augmentation.blur,
                             &recipe->augmentation.brightness, &recipe->augmentation.contrast,
                             &recipe->augmentation.low_resolution,
                             &recipe->augmentation.gamma_inverted, &recipe->augmentation.gamma},
              .patch = patch,
              .temporary = temporary,
              .threads = threads};
    rvx_random random = rvx__sample_random(recipe, step, index, RVX_PURPOSE_INTENSITY);
    bool applies[TRANSFORMS];
    for (int i = 0; i < TRANSFORMS; i++)
        applies[i] = chance(&random, w.transforms[i]->probability);
    w.noise = rvx__sample_random(recipe, step, index, RVX_PURPOSE_NOISE);
    w.variance = between(&random, recipe->augmentation.noise.range);
    int64_t count = patch[0] * patch[1] * patch[2];
    for (int64_t c = 0; c < recipe->network.in_channels; c++)
        for (int i = 0; i < TRANSFORMS; i++)
            if (applies[i] && chance(&random, w.transforms[i]->channel_probability))
                change_channel(planes + c * count, &w, i, &random);
}
