/* Part of revoxel.h: segmenting files. */
#ifndef REVOXEL_PREDICT_H
#define REVOXEL_PREDICT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_predict_options {
    size_t struct_bytes;
    int use_latest;       /* latest.safetensors instead of best.safetensors */
    double tile_step;     /* fraction of the patch; 0: the plan's */
    int mirror;           /* average over mirrorings along the plan's mirror axes */
    int whole;            /* whole volume in one piece */
    int probabilities;    /* also CASE_prob_<label>.nii.gz, uint8 0 .. 255 per class */
    int64_t budget_bytes; /* refuse what needs more; 0: none */
    int threads;
    rvx_progress_callback progress;
    void *context;
    const char *device, *device_library; /* see Devices above */
    int repair;                          /* see Repairs above */
    const char *format;      /* ending of what is written, ".nrrd"; NULL: the dataset's */
    int tf32;                /* see rvx_train_options */
    const char *const *also; /* further run folders or model files: classes get the mean of the
                                softmax of all; they agree on labels and channels */
    int also_count;
    const char *postprocessing; /* rules (docs/postprocessing.md); NULL: postprocessing.json of
                                   `run`, if there */
    int no_postprocessing;      /* leave the rules of `run` aside */
    double smallest_object_mm3; /* also remove objects below this, of every class; 0: none */
    double fill_holes_mm3;      /* also fill holes up to this, in every class; 0: none */
} rvx_predict_options;

/* Segments images (files, CASE_0000.nii.gz with its other channels beside it, DICOM series, files
 * and folders, or folders of such: docs/formats.md) into out/CASE.nii.gz on exactly the input's
 * grid. `run`: a run folder, a model file, or the folder of a cross-validation, whose folds then
 * vote as with `also`. Several networks work one after the other: memory is that of one, and 4
 * bytes a voxel and class are needed on disk in `out` while they do. */
RVX_API rvx_status rvx_predict(const char *run, const char *const *images, int64_t image_count,
                               const char *out, const rvx_predict_options *options,
                               rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
