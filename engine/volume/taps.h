/* How one axis of a new grid reads the old one: every voxel of the new axis is a weighted sum of
 * neighbouring voxels of the old. Owns: the three rules and the alignment of centres. Invariant:
 * the voxels that are read lie inside the old axis, and the weights of a voxel add up to 1.
 *
 * Centres are aligned as in skimage's and nnU-Net's resize: voxel i reads at (i + 0.5) * old / new
 * - 0.5; the old axis goes on with its edge values. An axis that keeps its size is copied. A place
 * of its own can be given instead (rvx_taps_place).
 *
 * Cubic is the interpolating cubic B-spline (Unser, Aldroubi and Eden 1993). Its prefilter, a
 * recursion over the whole axis in most programs, is folded into the weights: a voxel at distance d
 * counts sqrt(3) * z^d times, z = sqrt(3) - 2, which is below float's precision from d = 14 on. So
 * the rule needs 28 neighbours and no look at the rest of the axis: it streams. */
#ifndef RVX_TAPS_H
#define RVX_TAPS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum rvx_resampling {
    RVX_RESAMPLING_CUBIC, /* nnU-Net's for images */
    RVX_RESAMPLING_LINEAR,
    RVX_RESAMPLING_NEAREST, /* the voxel whose box holds the centre */
    RVX_RESAMPLING_COUNT
} rvx_resampling;

typedef struct rvx_taps {
    int64_t out_size, in_size;
    int64_t count;  /* of voxels that each new voxel reads */
    int64_t *first; /* the first of them, never descending; first + count <= in_size */
    float *weights; /* [new voxel][count] */
} rvx_taps;

/* Where the new voxels lie on the old axis: voxel i at start + i * step. step 0: centres aligned.
 */
typedef struct rvx_taps_place {
    double step, start;
} rvx_taps_place;

/* Whether every voxel is a voxel of the old axis, at the same place. */
bool rvx__taps_same(int64_t out_size, int64_t in_size, rvx_taps_place place);
/* False where memory is short. */
bool rvx__taps_create(rvx_taps *taps, rvx_resampling rule, int64_t out_size, int64_t in_size,
                      rvx_taps_place place);
void rvx__taps_free(rvx_taps *taps); /* zeroed is legal */

#endif
