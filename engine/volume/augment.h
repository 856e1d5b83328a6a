/* Intensity augmentation of one channel of a patch, in place. Owns: what each transform means; when
 * it is applied is engine/run/augmentation.h's business. Invariant: pure functions of their
 * arguments, whatever the number of threads. Meanings follow nnU-Net v2 / batchgeneratorsv2
 * (Isensee et al. 2021). Layout: [d][h][w], one channel. */
#ifndef RVX_AUGMENT_H
#define RVX_AUGMENT_H

#include "kernels/random.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rvx_extent {
    int64_t d, h, w;
} rvx_extent;

/* Adds Gaussian noise whose variance is `variance`. Voxel i's is a pure function of (random, i). */
void rvx__augment_noise(float *voxels, int64_t count, float variance, rvx_random random,
                        int threads);
/* Gaussian blur, `sigma` in voxels along d, h, w, cut at 4 sigma, edge replicated. 0: none along
 * that axis. temporary: as many floats as the patch. */
void rvx__augment_blur(float *voxels, float *temporary, rvx_extent extent, const float sigma[3],
                       int threads);
void rvx__augment_brightness(float *voxels, int64_t count, float factor);
/* Stretches around the mean, then clips to the old range. */
void rvx__augment_contrast(float *voxels, int64_t count, float factor);
/* Down by `zoom` along d, h, w (nearest), up again (linear): what a coarser scan would have shown.
 */
void rvx__augment_low_resolution(float *voxels, float *temporary, rvx_extent extent,
                                 const float zoom[3], int threads);
/* x^gamma on the patch's own range, mean and deviation restored; inverted: on -x. */
void rvx__augment_gamma(float *voxels, int64_t count, float gamma, bool inverted);

#endif
