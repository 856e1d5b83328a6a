/* Which transforms a plan has, with their defaults. nnU-Net's probabilities and ranges are those of
 * its trainer (nnU-Net v2.8 with batchgeneratorsv2); docs/augmentation.md has the reasons for the
 * others, and what they did to Dice. */
#include "engine/run/recipe.h"

#include <string.h>
#include <strings.h>

/* Brightness, contrast, gamma: half of the draws lie below 1, half above (as in nnU-Net). The
 * number that nnU-Net draws for noise in [0, 0.1] is called a variance there and used as a standard
 * deviation; ours is a variance, so that the strongest noise is the same. */
static const rvx_transform nnunet_scaling = {0.2, 1, {0.7, 1.4}};
static const rvx_transform nnunet_noise = {0.1, 1, {0, 0.01}};
static const rvx_transform nnunet_blur = {0.2, 0.5, {0.5, 1}};
static const rvx_transform nnunet_brightness = {0.15, 1, {0.75, 1.25}};
static const rvx_transform nnunet_contrast = {0.15, 1, {0.75, 1.25}};
static const rvx_transform nnunet_low_resolution = {0.25, 0.5, {0.5, 1}};
static const rvx_transform nnunet_gamma_inverted = {0.1, 1, {0.7, 1.5}};
static const rvx_transform nnunet_gamma = {0.3, 1, {0.7, 1.5}};

/* Sound goes at 1450 m/s in fat and at 1580 m/s in muscle, where scanners count with 1540. A third
 * of the samples gets some of these: with three times the odds Dice fell, so that none is
 * on by default (docs/augmentation.md). */
static const rvx_ultrasound_recipe ultrasound_defaults = {.apex = {0.2, 0.6},
                                                          .decibels = {50, 70},
                                                          .pose = {0.05, 1, {0, 15}},
                                                          .sound = {0.033, 1, {1450, 1600}},
                                                          .speckle = {0.05, 1, {0.5, 0.95}},
                                                          .reverberation = {0.033, 1, {-24, -12}},
                                                          .reverberation_spacing = {0.05, 0.25},
                                                          .shadow = {0.05, 1, {6, 20}},
                                                          .shadow_width = {0.05, 0.25},
                                                          .attenuation = {0.05, 1, {-10, 10}},
                                                          .time_gain = {0.05, 1, {-4, 4}},
                                                          .gain = {0.05, 1, {-6, 6}},
                                                          .sector = {0.033, 1, {0.7, 1}}};

void rvx__recipe_augment(rvx_recipe *recipe, rvx_augmentation augmentation)
{
    bool nnunet = augmentation >= RVX_AUGMENTATION_NNUNET;
    rvx_transform *const transforms[] = {
        &recipe->augmentation.scaling,        &recipe->augmentation.noise,
        &recipe->augmentation.blur,           &recipe->augmentation.brightness,
        &recipe->augmentation.contrast,       &recipe->augmentation.low_resolution,
        &recipe->augmentation.gamma_inverted, &recipe->augmentation.gamma};
    static const rvx_transform *const defaults[] = {
        &nnunet_scaling,  &nnunet_noise,          &nnunet_blur,           &nnunet_brightness,
        &nnunet_contrast, &nnunet_low_resolution, &nnunet_gamma_inverted, &nnunet_gamma};
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        *transforms[i] = *defaults[i];
        transforms[i]->probability *= nnunet;
    }
    recipe->augmentation.mirror_probability = nnunet ? 0.5 : 0;
    recipe->augmentation.rotation_probability = nnunet ? 0.2 : 0;

    rvx_ultrasound_recipe *ultrasound = &recipe->augmentation.ultrasound;
    int beam = ultrasound->beam, sweep = ultrasound->sweep;
    *ultrasound = ultrasound_defaults;
    ultrasound->beam = beam;
    ultrasound->sweep = sweep;
    rvx_transform *const own[] = {
        &ultrasound->pose,          &ultrasound->sound,  &ultrasound->speckle,
        &ultrasound->reverberation, &ultrasound->shadow, &ultrasound->attenuation,
        &ultrasound->time_gain,     &ultrasound->gain,   &ultrasound->sector};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        own[i]->probability *= augmentation == RVX_AUGMENTATION_ULTRASOUND;
}

bool rvx__channel_is_ultrasound(const char *channel_name)
{
    static const char *const names[] = {
        "US",         "TRUS",   "3DUS",  "ultrasound", "ultrasonography",
        "sonography", "B-mode", "Bmode", "echo"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(names[i], channel_name) == 0)
            return true;
    return false;
}
