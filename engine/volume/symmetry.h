/* How alike a dataset's images are to their mirror images. Owns: the coarse mean image. Mirroring
 * as augmentation, and mirrored inference, help where a mirrored case could be a real one, and harm
 * where it could not: depth in ultrasound, left and right of the liver (nnU-Net issues 80 and 869).
 *
 * Measure: each case's first channel is averaged into at most 16^3 cells and z-scored; the mean
 * over the cases is correlated (Pearson) with its own mirror image along each axis. 1: symmetric.
 * An abdomen's outline is symmetric where its organs are not, so the labels are asked as well: a
 * class that lies on the same side of the middle in every case (fingerprint.h) speaks against
 * mirroring. With one or two cases chance alone can do that; an axis too few is the lesser harm. */
#ifndef RVX_SYMMETRY_H
#define RVX_SYMMETRY_H

#include <stdint.h>

enum { RVX_COARSE_EDGE = 16, RVX_COARSE_CELLS = 16 * 16 * 16 };

/* Below this correlation an axis is not mirrored by default. */
#define RVX_MIRROR_CORRELATION 0.8
/* Share of a class's voxels on one side that makes it one-sided. */
#define RVX_ONE_SIDED_SHARE 0.95

typedef struct rvx_coarse_image {
    double sum[RVX_COARSE_CELLS];
    int64_t count[RVX_COARSE_CELLS];
} rvx_coarse_image;

/* Adds slices z_first .. z_first + z_count - 1 of a volume of `size` (x, y, z). */
void rvx__coarse_image_add(rvx_coarse_image *coarse, const float *voxels, const int64_t size[3],
                           int64_t z_first, int64_t z_count);

/* Correlations along x, y, z of the mean over `count` images (NULL entries are left out). Constant
 * images correlate as 1. */
void rvx__mirror_correlation(double out[3], rvx_coarse_image *const *images, int64_t count);

#endif
