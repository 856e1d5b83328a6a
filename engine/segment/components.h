/* Connected components of label maps, slice by slice. Owns: their numbering. Invariant: components
 * are numbered by their first voxel in memory order; memory grows with two slices and with the
 * number of components, never with the number of voxels.
 *
 * Union-find over runs along x (He, Chao, Suzuki, "A Run-Based Two-Scan Labeling Algorithm", IEEE
 * TIP 2008). Two walks over the same slices: the first finds the components; the second meets the
 * same runs in the same order, so their provisional numbers need not be kept. Numbers have 64
 * bits. */
#ifndef RVX_SEGMENT_COMPONENTS_H
#define RVX_SEGMENT_COMPONENTS_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { RVX_AROUND_NOTHING = -1, RVX_AROUND_SEVERAL = 256 };

typedef struct rvx_component {
    uint8_t label; /* of its first voxel */
    int64_t voxels;
    int64_t first;           /* index of its first voxel */
    int64_t low[3], high[3]; /* box along x, y, z, both ends inside */
    int around; /* the one label that touches it by faces from outside its object, or one of
                   RVX_AROUND_*; only with params.around */
} rvx_component;

typedef struct rvx_components_params {
    int connectivity;      /* 6: by faces; 26: by faces, edges and corners */
    const uint8_t *object; /* 256: voxels belong together where this is equal and not 0; NULL: the
                              label itself */
    bool around;           /* find out what touches each component */
    int64_t bytes_max;     /* 0: no limit; what needs more is refused (MEMORY) */
} rvx_components_params;

typedef struct rvx_components rvx_components;

/* size: x, y of every slice. Errors of all calls: ARGUMENT, MEMORY. */
rvx_status rvx__components_create(rvx_components **components, const int64_t size[2],
                                  const rvx_components_params *params, rvx_error *error);
void rvx__components_free(rvx_components *components);           /* NULL is legal */
int64_t rvx__components_bytes(const rvx_components *components); /* held now */

/* The first walk: the next slice, then the list, which lives as long as the handle. */
rvx_status rvx__components_slice(rvx_components *components, const uint8_t *labels,
                                 rvx_error *error);
rvx_status rvx__components_finish(const rvx_component **list, int64_t *count,
                                  rvx_components *components, rvx_error *error);

/* The second walk, after finish: the same slices from the first on. `visit` gets each run: index of
 * its component, offset of its first voxel within the slice, length. */
typedef void (*rvx_run_visit)(void *context, int64_t component, int64_t offset, int64_t count);
rvx_status rvx__components_again(rvx_components *components, const uint8_t *labels,
                                 rvx_run_visit visit, void *context, rvx_error *error);

#endif
