/* A volume as another file: format, type, order of the axes, grid. Owns: what the grid becomes and
 * how values move to it. Memory: a few slices where the grid stays, or where its axes stay and
 * voxels only change their size (resample.h); else, and for nearest voxels and 32-bit integers, the
 * input's voxels in 4 bytes each and a slice of the output. Values go through float32, or through
 * 32-bit integers where labels or whole numbers only change their place. */
#ifndef RVX_VOLUME_CONVERT_H
#define RVX_VOLUME_CONVERT_H

#include "engine/volume/volume.h"

#include <stdbool.h>

typedef struct rvx_convert_params {
    double spacing[3];           /* mm along the axes of the output; 0: as it is */
    const char *orient;          /* "RAS": where x, y, z of the output grow to; NULL: as it is */
    const char *dtype;           /* "int16"; NULL: the input's, float32 where that is scaled */
    const char *like;            /* a volume whose grid the output gets; NULL: none */
    struct rvx_repairs *repairs; /* see repair.h; NULL: what is wrong is refused */
    bool labels;                 /* a label map: the nearest voxel */
    const char *interpolation; /* "linear", "cubic", "nearest"; NULL: linear, nearest for labels */
} rvx_convert_params;

/* Cubic is the interpolating B-spline, held to the range of the input, along axes that stay.
 * The file is written whole or not at all. Outside the input's field of view, which only `like` can
 * reach, the output is 0. A value that the type cannot hold is refused. */
rvx_status rvx__convert(const char *in, const char *out, const rvx_convert_params *params,
                        rvx_error *error);

/* The same grid with axes in another order and direction. */
rvx_status rvx__geometry_reorient(rvx_geometry *out, const rvx_geometry *in, const char *letters,
                                  rvx_error *error);
/* The same field of view in voxels of another size, centres aligned; 0 keeps an axis. */
rvx_status rvx__geometry_respace(rvx_geometry *out, const rvx_geometry *in, const double spacing[3],
                                 rvx_error *error);

#endif
