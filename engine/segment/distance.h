/* Exact Euclidean distance transform. Owns: the distance, in millimetres, from every voxel of a box
 * to the nearest site, for any (anisotropic) spacing.
 *
 * Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 8
 * (2012): one lower envelope of parabolas per line and axis, linear in the number of voxels.
 * Invariant: each line is computed alone, so the result does not depend on the thread count. */
#ifndef RVX_SEGMENT_DISTANCE_H
#define RVX_SEGMENT_DISTANCE_H

#include "kernels/status.h"

#include <stdint.h>

/* In place. field: size[2] * size[1] * size[0] floats, x fastest; on entry 0 at the sites and
 * INFINITY elsewhere, on return the squared distance in mm^2 to the nearest site (INFINITY
 * everywhere when there is none). spacing: mm along x, y, z, positive and finite. Envelopes are
 * found in double; a stored value is off by at most three float32 roundings. Needs
 * threads * (88 bytes * longest side) of working memory. Errors: ARGUMENT, MEMORY. */
rvx_status rvx__distance_squared(float *field, const int64_t size[3], const double spacing[3],
                                 int threads, rvx_error *error);

#endif
