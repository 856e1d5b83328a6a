/* Part of revoxel.h: segmenting volumes in memory, for applications that embed the library. */
#ifndef REVOXEL_SEGMENTER_H
#define REVOXEL_SEGMENTER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_grid {
    int64_t size[3];        /* voxels along x, y, z */
    double spacing[3];      /* mm */
    double origin[3];       /* LPS mm */
    double direction[3][3]; /* [row][axis] */
} rvx_grid;

typedef struct rvx_segmenter
    rvx_segmenter; /* a model ready to run; holds memory of its own budget */

typedef struct rvx_segmenter_options {
    size_t struct_bytes;
    int64_t budget_bytes; /* refuse what needs more, post-processing included; 0: none */
    int threads;
    int mirror;
    const char *device, *device_library; /* see Devices above */
    const char *postprocessing; /* rules (docs/postprocessing.md); NULL: postprocessing.json beside
                                   the model, if there */
    int no_postprocessing;      /* leave the rules beside the model aside */
} rvx_segmenter_options;

/* `model`: a .safetensors file or a run folder. */
RVX_API rvx_status rvx_segmenter_open(rvx_segmenter **segmenter, const char *model,
                                      const rvx_segmenter_options *options, rvx_error *error);
RVX_API void rvx_segmenter_close(rvx_segmenter *segmenter); /* NULL is legal */

RVX_API int rvx_segmenter_channels(const rvx_segmenter *segmenter);
RVX_API int rvx_segmenter_classes(const rvx_segmenter *segmenter); /* background included */
RVX_API const char *rvx_segmenter_label(const rvx_segmenter *segmenter,
                                        int label); /* lives as long as the handle */

/* Memory that a run on such a grid takes at most, in bytes, without running; RVX_ERROR_MEMORY where
 * that exceeds the budget, as rvx_segmenter_run says too before it begins. With post-processing 1
 * byte a voxel of the grid, 32 a voxel of a slice and 1 MiB are for that: a label map in so many
 * pieces that these do not hold them (more than one in some 200 voxels) fails with
 * RVX_ERROR_MEMORY. On a GPU the budget is about its memory, so post-processing is not in it. */
RVX_API rvx_status rvx_segmenter_bytes(int64_t *bytes, const rvx_segmenter *segmenter,
                                       const rvx_grid *grid, rvx_error *error);

/* channels[i]: float32 voxels of channel i on `grid`; labels: uint8 voxels on the same grid,
 * written; all 0 where the run fails or is cancelled once it has begun. */
RVX_API rvx_status rvx_segmenter_run(rvx_segmenter *segmenter, uint8_t *labels,
                                     const float *const *channels, const rvx_grid *grid,
                                     rvx_progress_callback progress, void *context,
                                     rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
