/* Part of revoxel.h: networks, training plans, their memory, which implementation does what. */
#ifndef REVOXEL_PLAN_H
#define REVOXEL_PLAN_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_models_options {
    size_t struct_bytes;
    const char *name; /* NULL: all */
    int in_channels;  /* 0: the published network's */
    int classes;
    const int64_t *widths; /* channels per stage, finest first; NULL: the published ones */
    int width_count;
    int64_t size[3]; /* x, y, z; 0: 128 each */
    int json;
} rvx_models_options;

/* Parameters, output shape and FLOPs per voxel of the networks, as a table or as JSON (an array of
 * objects with name, parameters, output_shape [n, classes, z, y, x], flops_per_voxel). */
RVX_API rvx_status rvx_models(char **text, const rvx_models_options *options, rvx_error *error);

typedef struct rvx_plan_settings {
    size_t struct_bytes;
    const char *network; /* default "unet3d" */
    const char *out;  /* where plan.json goes; NULL: DATASET/plan.json is NOT written, text only */
    int64_t patch[3]; /* x, y, z; 0: chosen from the dataset */
    int patch_whole;  /* train on whole volumes */
    const int64_t *widths;
    int width_count;
    int64_t steps;  /* 0: chosen */
    double minutes; /* time the default steps are chosen for, on this many threads; 0: 8 */
    int fold;       /* 1 .. folds: validate on it; 0: fold 1; negative: train on all cases */
    uint64_t seed;
    int threads;
    int64_t budget_bytes; /* memory that training may take; 0: no limit */
    rvx_progress_callback progress;
    void *context;
    const char *memory;       /* "store", "checkpoint", "reversible" or "auto"; NULL: auto */
    const char *storage;      /* of activations: "f32" or "bf16"; NULL: f32 */
    const char *streams;      /* of couplings: "i16", "f32" or "bf16"; NULL: i16 */
    int grid_log2;            /* 1 .. 15: i16 streams have steps of 2^-grid_log2; 0: 10 */
    const char *augmentation; /* "none", "nnunet" (its transforms) or "ultrasound" (and those of
                                 docs/augmentation.md); NULL: nnunet */
    int repair;               /* see Repairs above */
} rvx_plan_settings;

/* Reads the dataset's fingerprint and makes the training plan: one editable JSON. `text` receives
 * it. */
RVX_API rvx_status rvx_plan_dataset(char **text, const char *dataset,
                                    const rvx_plan_settings *settings, rvx_error *error);

typedef struct rvx_augment_options {
    size_t struct_bytes;
    const char *plan;         /* plan.json; NULL: the one that rvx_plan_dataset would make */
    const char *identifier;   /* of a dataset: the case; NULL: the first */
    const char *labels;       /* of an image outside a dataset; NULL: none */
    const char *augmentation; /* as in rvx_plan_settings */
    int draws;                /* samples as training gets them; 0: 6 */
    int channel;              /* that is shown */
    uint64_t seed;            /* 0: the plan's */
    int threads;
} rvx_augment_options;

/* Writes a PNG picture of what augmentation does: a patch as it is, each transform alone at its
 * strongest, samples as training draws them; labels are outlined. `target`: a dataset, an image of
 * one (imagesTr/CASE_0000...), or any volume. */
RVX_API rvx_status rvx_augment_preview(const char *target, const char *out,
                                       const rvx_augment_options *options, rvx_error *error);

/* Which implementation does a convolution on a GPU: one of Revoxel's own kernels, or a library's
 * algorithm with kernels of Revoxel's around it. Libraries may do all but heads fused with their
 * loss: docs/implementations.md. */
typedef struct rvx_implementation_options {
    size_t struct_bytes;
    const char *choose; /* NULL or "own": Revoxel's kernels; "auto": the fastest, measured when a
                         * shape is first met, before anything runs; "cudnn": cuDNN or cuBLAS
                         * wherever they can; else a file of such times, which is used as it is */
    const char *cache_folder; /* keeps what was measured; NULL: it is forgotten */
    int64_t workspace_bytes;  /* that a convolution may take for libraries, part of every plan;
                               * 0: 256 MiB. Without effect on "own" */
    int list;                 /* notice of every choice */
    void (*notice)(void *context, const char *text); /* one line each; NULL: nobody listens */
    void *context;
} rvx_implementation_options;

/* The table of what was measured on that device, or of the file that is chosen; measures nothing.
 */
RVX_API rvx_status rvx_implementations(char **text, const char *device, const char *device_library,
                                       const rvx_implementation_options *options, rvx_error *error);

typedef struct rvx_memory_options {
    size_t struct_bytes;
    const char *network;             /* a name of rvx_models; the next six change it */
    int in_channels, classes, depth; /* 0: the published network's */
    const int64_t *widths; /* channels per stage, finest first; NULL: the published ones */
    int width_count;
    int batch;           /* 0: 1 beside `network`, else the plan's */
    const char *plan;    /* instead of a network: plan.json, a run folder, a model file, or JSON */
    const char *dataset; /* with a plan: counts what the run holds beside the step, and gives the
                            size of whole volumes; NULL: the step alone */
    int64_t size[3]; /* x, y, z voxels; 0: the plan's patch, or the largest cube in the budget */
    const char *storage, *streams; /* as in rvx_plan_settings; NULL: the plan's */
    int grid_log2;
    int64_t budget_bytes; /* 0: the plan's, or none; else also the policy auto, and the largest size
                             that fits: a cube, or in the proportions of `size` */
    int threads;
    int json;
    const char *device; /* "cuda": as on a GPU, which need not be there; NULL: the CPU */
    const rvx_implementation_options *implementation; /* for its workspace; NULL: defaults */
} rvx_memory_options;

/* What one training step takes under each memory policy, by planning it: nothing of that size is
 * allocated. As a table, or as JSON: an array of objects with policy, peak_bytes, live_at_peak
 * [{name, bytes}] (adds up to peak_bytes), recompute_flops, time_ratio (to store, predicted),
 * exact, flops, parameters_bytes and more (docs/memory.md). */
RVX_API rvx_status rvx_plan_memory(char **text, const rvx_memory_options *options,
                                   rvx_error *error);

typedef struct rvx_check_options {
    size_t struct_bytes;
    int in_channels, classes, depth; /* of a network by name, as in rvx_memory_options */
    const int64_t *widths;
    int width_count;
    int batch;
    int64_t size[3]; /* x, y, z voxels; 0: the plan's patch, or the least that suits the network */
    const char
        *data; /* an image (CASE_0000.nii.gz with its other channels beside it); NULL: random */
    const char *storage, *streams;
    int grid_log2;
    uint64_t seed;
    int threads; /* 0: all cores; every policy also runs on one */
    int json;
    rvx_progress_callback progress;
    void *context;
    const char *device, *device_library; /* see Devices above; on a GPU every policy runs twice */
    const rvx_implementation_options *implementation; /* NULL: defaults */
    int tf32;                                         /* see rvx_train_options */
} rvx_check_options;

/* Runs one training step of a network under the policies store, checkpoint and reversible, on one
 * thread and on several, and compares the bits of the loss, of every value that is rebuilt and of
 * every gradient; and the memory with what was planned. `target`: a network's name, a plan.json, a
 * run folder or a model file (then with its parameters). `text`: one line, or JSON.
 * RVX_ERROR_NUMERIC, with `text` set, where anything differs. */
RVX_API rvx_status rvx_check(char **text, const char *target, const rvx_check_options *options,
                             rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
