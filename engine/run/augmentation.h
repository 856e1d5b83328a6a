/* What augmentation does to one sample. Owns: odds, order and ranges of the transforms, as drawn
 * from a recipe. Invariant: a pure function of the recipe and the random numbers; with every
 * probability 0 nothing changes.
 *
 * Order: pose, sound speed, rotation, scaling and mirroring in one pass over the patch (the
 * sampler's); then the picture of ultrasound: speckle, reverberation, shadow, attenuation, time
 * gain, gain, sector; then nnU-Net's intensity transforms in nnU-Net's order. */
#ifndef RVX_AUGMENTATION_H
#define RVX_AUGMENTATION_H

#include "engine/run/recipe.h"
#include "engine/volume/augment_ultrasound.h"

/* Random numbers of a sample, by what they are for: what one draws does not move the others. */
typedef enum rvx_augmentation_purpose {
    RVX_PURPOSE_PLACE = 0,
    RVX_PURPOSE_INTENSITY = 1,
    RVX_PURPOSE_ULTRASOUND = 2,
    RVX_PURPOSE_SPECKLE = 3,
    RVX_PURPOSE_NOISE = 4
} rvx_augmentation_purpose;

rvx_random rvx__sample_random(const rvx_recipe *recipe, int64_t step, int64_t index, int purpose);

/* One draw of what ultrasound gets, and of the frame along its beams for a case of size and spacing
 * d, h, w. False: nothing is to be done. */
bool rvx__ultrasound_draw(rvx_ultrasound_change *change, rvx_beam_frame *frame,
                          const rvx_ultrasound_recipe *recipe, const int64_t size[3],
                          const double spacing[3], rvx_random *random);

/* nnU-Net's intensity transforms on planes [channels][d][h][w]. temporary: one plane. */
void rvx__intensity_change(float *planes, float *temporary, const rvx_recipe *recipe,
                           const int64_t patch[3], int64_t step, int64_t index, int threads);

#endif
