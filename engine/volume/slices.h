/* An image as slices that are made when they are asked for: what lets readers, resampling and
 * inference work on volumes that nobody holds. */
#ifndef RVX_SLICES_H
#define RVX_SLICES_H

#include "kernels/status.h"

#include <stdint.h>

/* Slices z_first .. z_first + z_count - 1, [z][y][x][channels]. Going forward streams; going back
 * is legal and may start over. */
typedef struct rvx_slices {
    rvx_status (*read)(void *context, float *out, int64_t z_first, int64_t z_count,
                       rvx_error *error);
    void *context;
} rvx_slices;

#endif
