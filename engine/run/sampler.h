/* Training samples: where a patch lies and what augmentation does to it. Owns: the rules of
 * nnU-Net's loader for where; augmentation.h has those for what. Invariant: sample
 * (step, index) is a pure function of the recipe's seed and the cases; nothing is carried from one
 * sample to the next, so a resumed run draws the same samples. */
#ifndef RVX_SAMPLER_H
#define RVX_SAMPLER_H

#include "engine/run/recipe.h"
#include "engine/volume/preprocess.h"

typedef struct rvx_sampler {
    const rvx_recipe *recipe;
    int64_t patch[3]; /* d, h, w */
    const rvx_case *cases;
    int64_t case_count;
    const float *greys; /* [case][channel]: rvx__grey_range; NULL: is found for every sample */
    rvx_dtype dtype;    /* of images: RVX_F32, or RVX_BF16 rounded from it */
    float *temporary;   /* rvx__sample_temporary_floats */
    int threads;        /* the sample does not depend on it */
} rvx_sampler;

/* Floats of temporary memory that a draw needs. */
int64_t rvx__sample_temporary_floats(const rvx_recipe *recipe, const int64_t patch[3]);

/* Fills [case][channel] pairs of black and white, for samplers to share. */
void rvx__sample_greys(float *greys, const rvx_case *cases, int64_t case_count, int64_t channels);

/* Draws sample `index` of `step`. image: [d][h][w][channels]; labels: [d][h][w]. Outside the case
 * the image is 0 and the label is 0. */
void rvx__sample_draw(const rvx_sampler *sampler, void *image, uint8_t *labels, int64_t step,
                      int64_t index);

#endif
