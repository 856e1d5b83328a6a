/* Connected components of label maps. Owns: their numbering and the removal of all but the largest.
 * Invariant: components are numbered by their first voxel in memory order, whatever the threads;
 * memory grows with the number of runs along x, not with the number of voxels.
 *
 * Union-find over runs (He, Chao, Suzuki, "A Run-Based Two-Scan Labeling Algorithm", IEEE TIP
 * 2008). Voxels are connected where they have the same label (not 0) and touch by a face (6) or by
 * a face, edge or corner (26). */
#ifndef RVX_SEGMENT_COMPONENTS_H
#define RVX_SEGMENT_COMPONENTS_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct rvx_component {
    uint8_t label;
    int64_t voxels;
    int64_t first;           /* index of its first voxel */
    int64_t low[3], high[3]; /* box along x, y, z, both ends inside */
} rvx_component;

typedef struct rvx_run {
    int64_t first, count; /* voxel index and length along x */
    int64_t component;
} rvx_run;

typedef struct rvx_components {
    rvx_component *components;
    int64_t count;
    rvx_run *runs; /* in memory order */
    int64_t run_count;
} rvx_components;

/* labels: size[2] * size[1] * size[0], x fastest. connectivity: 6 or 26. Errors: ARGUMENT, MEMORY.
 * Free in every case. */
rvx_status rvx__components_find(rvx_components *out, const uint8_t *labels, const int64_t size[3],
                                int connectivity, rvx_error *error);
void rvx__components_free(rvx_components *components); /* of a zeroed struct is legal */

/* Sets to 0 every component that is not the largest of its label; of equals the first stays.
 * keep_all: 256 flags of labels left as they are, or NULL. removed_voxels may be NULL. */
rvx_status rvx__components_keep_largest(uint8_t *labels, const int64_t size[3], int connectivity,
                                        const uint8_t *keep_all, int64_t *removed_voxels,
                                        rvx_error *error);

#endif
