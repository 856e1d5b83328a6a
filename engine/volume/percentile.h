/* Percentiles of a stream of voxels, exactly, in bounded memory. Owns: two passes over the same
 * voxels and 2.5 MiB of counters.
 *
 * A float has 32 bits, and their order can be made that of the values. The first pass counts the
 * upper 16 bits of every voxel, which tells in which of 65536 bins a rank lies; the second counts
 * the lower 16 bits of the voxels of those bins, at most four. Invariant: the result depends on the
 * voxels alone, not on their order nor on how they were cut into calls. */
#ifndef RVX_PERCENTILE_H
#define RVX_PERCENTILE_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct rvx_percentiles rvx_percentiles;

int64_t rvx__percentiles_bytes(void);
/* NULL where memory is short. Free with rvx__percentiles_free; NULL is legal. */
rvx_percentiles *rvx__percentiles_create(void);
void rvx__percentiles_free(rvx_percentiles *percentiles);

/* `voxels` are finite. All of them are given once, then rvx__percentiles_again is called, then all
 * of them once more. */
void rvx__percentiles_add(rvx_percentiles *percentiles, const float *voxels, int64_t count);
/* Ends the first pass; `percent`: the two that are wanted, 0 to 100. At least one voxel was given.
 */
void rvx__percentiles_again(rvx_percentiles *percentiles, const double percent[2]);
/* After the second: their values, between neighbouring ranks linearly, as numpy.percentile has
 * them: rank (count - 1) * percent / 100. */
void rvx__percentiles_get(const rvx_percentiles *percentiles, double values[2]);

#endif
