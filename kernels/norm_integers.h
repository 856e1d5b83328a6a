/* Statistics of integer streams: exact, so neither the order of a sum nor the number of threads,
 * tiles or devices shows in them. */
#ifndef RVX_NORM_INTEGERS_H
#define RVX_NORM_INTEGERS_H

#include <stdint.h>

/* Mean and variance over channels first .. first + count of `samples` samples of so many voxels.
 * sums: [sample][piece][channel][2], sum and sum of squares in units of the grid, over the pieces
 * of pieces.h. */
void rvx__integer_statistics(double *mean, double *variance, const int64_t *sums, int64_t voxels,
                             int64_t samples, int64_t channels, int64_t first, int64_t count,
                             int32_t grid_log2);

#endif
