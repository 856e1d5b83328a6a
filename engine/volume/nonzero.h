/* Where a case is not 0, from a stream of its slices. Owns: the box of the voxels that are not 0 in
 * some channel, and how many of the others lie outside of them: joined by faces, through voxels
 * that are 0 too, to the edge of the volume. What is 0 and not outside is a hole, which nnU-Net
 * fills before it counts (scipy.ndimage.binary_fill_holes).
 *
 * One walk: runs of zeros along x, joined with those of the row and the slice before them. Of all
 * that was met before, only the sets that reach the slice under way are kept, so memory is a few
 * numbers for every voxel of a slice at the worst, whatever the length of the volume. Numbers of
 * sets have 64 bits. */
#ifndef RVX_NONZERO_H
#define RVX_NONZERO_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rvx_nonzero rvx_nonzero;

/* `size`: x, y, z; at most `slab_slices` slices at a time. `outside`: count those voxels. */
rvx_status rvx__nonzero_create(rvx_nonzero **nonzero, const int64_t size[3], int64_t slab_slices,
                               bool outside, rvx_error *error);
void rvx__nonzero_free(rvx_nonzero *nonzero); /* NULL is legal */
/* The most that it can hold. */
int64_t rvx__nonzero_bytes(const int64_t size[3], int64_t slab_slices, bool outside);

/* The next slices of the volume: every channel of them, then rvx__nonzero_next. */
void rvx__nonzero_channel(rvx_nonzero *nonzero, const float *slab, int64_t slices);
rvx_status rvx__nonzero_next(rvx_nonzero *nonzero, int64_t slices, rvx_error *error);

/* After the last slice. Of nothing but zeros the box is the whole volume. */
void rvx__nonzero_box(const rvx_nonzero *nonzero, int64_t first[3], int64_t size[3]);
/* Outside voxels of the whole volume; everything beyond the box is one of them. */
int64_t rvx__nonzero_outside(const rvx_nonzero *nonzero);

#endif
