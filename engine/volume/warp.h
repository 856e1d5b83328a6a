/* A patch read out of a case in one pass. Owns: interpolation. Invariant: image and labels are read
 * at the same positions; a warp that only moves by whole voxels or mirrors copies exactly. */
#ifndef RVX_WARP_H
#define RVX_WARP_H

#include "kernels/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* out = matrix * in + offset */
typedef struct rvx_affine {
    double matrix[3][3], offset[3];
} rvx_affine;

/* Voxels of the patch to voxels of the case, both as d, h, w:
 *     case = from_polar(p * (inner + (|p| - inner) * stretch) / |p|),  p = to_polar(patch)
 * where `stretched`, with |p| over the first `polar_axes` components; else case = direct(patch). */
typedef struct rvx_warp {
    rvx_affine direct;
    bool stretched;
    rvx_affine to_polar, from_polar;
    int polar_axes;
    double inner, stretch;
    float outside; /* of the image beyond the case; the label there is 0 */
} rvx_warp;

typedef struct rvx_warp_source {
    const float *image;    /* voxel (z, y, x) is element along[0][z] + along[1][y] + along[2][x] */
    const uint8_t *labels; /* the same; of the image, times c */
    rvx_shape shape;
    const int64_t *along[3];
} rvx_warp_source;

void rvx__affine_identity(rvx_affine *affine);
/* out = outer after inner; out may be either. */
void rvx__affine_chain(rvx_affine *out, const rvx_affine *outer, const rvx_affine *inner);

/* planes: [c][d][h][w], trilinear. labels: [d][h][w], the label with the greatest trilinear weight,
 * so that borders stay smooth where the case is enlarged. */
void rvx__warp(float *planes, uint8_t *labels, const rvx_warp *warp, const int64_t patch[3],
               const rvx_warp_source *source, int threads);

#endif
