/* Exact sums over voxels of integer streams, from which kernels/norm_integers.h makes statistics.
 */
#ifndef RVX_CPU_NORM_INTEGERS_H
#define RVX_CPU_NORM_INTEGERS_H

#include "kernels/cpu/vec.h"
#include "kernels/norm_integers.h"
#include "kernels/op.h"

/* sums[2 j] = sum, sums[2 j + 1] = sum of squares of channel j, in units of the grid, over voxels
 * of a plane of RVX_I16. */
void RVX_KERNEL(rvx__integer_sums)(int64_t *sums, rvx_plane x, int64_t voxels, int64_t channels);

#endif
