/* Part of revoxel.h: volumes and data sets: making, describing, converting, meshing them. */
#ifndef REVOXEL_DATA_H
#define REVOXEL_DATA_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_synth_options {
    size_t struct_bytes;
    int64_t cases;      /* default 10 */
    int64_t test_cases; /* held-out cases in imagesTs and labelsTs; default 0 */
    int64_t size[3];    /* x, y, z voxels; default 64, 64, 64 */
    uint64_t seed;
    const char *anatomy; /* folder of label maps to use as anatomy instead of the phantom; NULL */
    const char *merge;   /* with anatomy: groups of values, "2,41;3,42;..." = label 1, 2, ...; NULL:
                            by frequency */
    double spacing_mm;   /* with anatomy: resample to this; 0: as it is */
    int threads;         /* 0: all cores */
    rvx_progress_callback progress;
    void *context;
} rvx_synth_options;

/* Writes a simulated 3D B-mode ultrasound dataset in nnU-Net's raw layout into the folder `out`.
 * Same seed, same bytes. Memory: a few slabs, whatever the size. */
RVX_API rvx_status rvx_synth(const char *out, const rvx_synth_options *options, rvx_error *error);

/* Text about a volume or a folder: shape, spacing, orientation, type, range, label counts. A
 * dataset that breaks its own rules is refused, with `text` set to what could be read all the same.
 */
RVX_API rvx_status rvx_inspect(char **text, const char *path, rvx_error *error);

typedef struct rvx_convert_options {
    size_t struct_bytes;
    double spacing[3];  /* mm along the output's axes; 0: as it is */
    const char *orient; /* "RAS": where the output's x, y, z grow to; NULL: as it is */
    const char *dtype;  /* "int16", "float32", ...; NULL: the input's, float32 where it is scaled */
    const char *like;   /* a volume whose grid the output gets, 0 outside the input; NULL: none */
    int labels;         /* nearest voxel instead of linear interpolation */
    int repair;         /* see Repairs above */
    rvx_progress_callback progress; /* phase "repair" alone */
    void *context;
    const char *interpolation; /* "linear", "cubic" (the B-spline, held to the input's range; where
                                  spacing alone changes), "nearest"; NULL: linear, or nearest */
} rvx_convert_options;

/* Writes a volume in the format that `out` ends with. Its place in the patient stays. A value that
 * the type cannot hold is refused. */
RVX_API rvx_status rvx_convert(const char *in, const char *out, const rvx_convert_options *options,
                               rvx_error *error);

typedef struct rvx_mesh_options {
    size_t struct_bytes;
    const char *format;  /* "stl" (binary) or "obj"; NULL: stl */
    const char *dataset; /* a dataset.json: names and regions; NULL: the label map's own */
    int smoothing;       /* passes of a blur that places vertices, 1 to 16; 0: 2; negative: none */
    rvx_progress_callback progress; /* phase "mesh" */
    void *context;
} rvx_mesh_options;

/* Surfaces of a label map: OUT/NAME_<class>.stl for every class that occurs, closed, manifold,
 * normals outwards, in LPS mm. `table` receives triangles, area and volume. Memory: a few slices.
 */
RVX_API rvx_status rvx_mesh(char **table, const char *labels, const char *out,
                            const rvx_mesh_options *options, rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
