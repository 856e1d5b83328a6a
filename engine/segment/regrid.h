/* From the network's grid back to the file's: logits become labels. Owns: one network slice and one
 * file slice. Invariant: logits are interpolated linearly (along an axis that was resampled by
 * itself the nearest is taken), then the greatest wins; outside the box of the map is background;
 * file slices come in order, each as soon as both its neighbours are there. */
#ifndef RVX_REGRID_H
#define RVX_REGRID_H

#include "engine/segment/predictor.h"

typedef struct rvx_regrid rvx_regrid;

typedef struct rvx_regrid_options {
    rvx_grid_map map;
    int classes, threads;
    bool probabilities; /* the sink gets them too */
    rvx_label_sink sink;
    void *sink_context;
} rvx_regrid_options;

rvx_status rvx__regrid_create(rvx_regrid **regrid, const rvx_regrid_options *options,
                              rvx_error *error);
/* An rvx_slab_sink whose context is the regrid. */
rvx_status rvx__regrid_take(void *regrid, const float *logits, int64_t z_first, int64_t z_count,
                            rvx_error *error);
int64_t rvx__regrid_bytes(const rvx_grid_map *map, int classes, bool probabilities);
void rvx__regrid_free(rvx_regrid *regrid); /* NULL is legal */

#endif
