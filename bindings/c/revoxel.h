/* Revoxel: trains and runs 3D medical segmentation networks on whole volumes.
 * The only public header.
 *
 * Status: every function that can fail returns rvx_status and fills the caller's rvx_error (may
 * be NULL) with one sentence: which file, which field, what was expected. The library never
 * prints, exits, aborts or reads the environment.
 *
 * Options: option structs begin with struct_bytes; start from RVX_OPTIONS(type), which sets it
 * and zeroes the rest. Zero always means the default. Newer libraries accept older structs.
 *
 * Geometry: as in ITK. LPS millimetres, origin = centre of the first voxel, direction columns =
 * unit vectors of the index axes x, y, z. Voxel (x, y, z) is element (z * Y + y) * X + x.
 *
 * Ownership: strings returned through char ** are freed with rvx_string_free; handles with their
 * close.
 *
 * Threads: a handle is used by one thread at a time; different handles are independent. Results
 * do not depend on the number of threads.
 *
 * Progress: callbacks come from the calling thread; a nonzero return stops the work with
 * RVX_CANCELLED and leaves handles usable and files whole.
 *
 * Devices: "cpu" (NULL means that), "cuda" or "cuda:I". A GPU needs the library librevoxel_cuda.so
 * in the folder of this library (or of the program that has it built in), or where the option
 * device_library says. What is missing is refused before any work starts. A budget is then about
 * the memory of the GPU; without one, all that is free there may be taken.
 *
 * Repairs: a file that is wrong (docs/formats.md, "Bad input") is refused, with its field and what
 * the option `repair` would do. With it, what has a sane repair is repaired, and every repair is
 * told by a progress call of phase "repair" with one sentence as its item, and listed in
 * repairs.txt in the folder that a training or a prediction writes.
 *
 * Files: a target holds its old content or the complete new one, never half of it. */
#ifndef REVOXEL_H
#define REVOXEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RVX_API __attribute__((visibility("default")))
#else
#define RVX_API
#endif

#define RVX_VERSION_MAJOR 0
#define RVX_VERSION_MINOR 1
#define RVX_VERSION_PATCH 0

#ifndef RVX_STATUS_DEFINED
#define RVX_STATUS_DEFINED
typedef enum rvx_status {
    RVX_OK = 0,
    RVX_ERROR_ARGUMENT = 1,    /* a value given makes no sense */
    RVX_ERROR_FORMAT = 2,      /* a file is not what it says it is */
    RVX_ERROR_IO = 3,          /* the operating system refused */
    RVX_ERROR_MEMORY = 4,      /* does not fit the memory or the budget */
    RVX_ERROR_UNSUPPORTED = 5, /* valid, but not something this build or device can do */
    RVX_ERROR_NUMERIC = 6,     /* NaN or infinity where a finite number was needed */
    RVX_CANCELLED = 7          /* a callback asked to stop */
} rvx_status;

typedef struct rvx_error {
    rvx_status status;
    char message[1024];
} rvx_error;
#endif

/* rvx_train_options o = RVX_OPTIONS(rvx_train_options); (C and C++) */
#ifdef __cplusplus
#define RVX_OPTIONS(type) (type{sizeof(type)})
#else
#define RVX_OPTIONS(type) ((type){.struct_bytes = sizeof(type)})
#endif

RVX_API const char *rvx_version(void);    /* "0.1.0" */
RVX_API void rvx_string_free(char *text); /* NULL is legal */

/* ---- progress ---- */

typedef struct rvx_progress {
    size_t struct_bytes;
    const char *phase;        /* "load", "train", "validate", "predict", "synth", "evaluate",
                               "repair", "mesh" */
    const char *item;         /* case or file at hand; may be NULL */
    int64_t done, total;      /* steps, tiles or cases of this phase */
    double loss;              /* training: moving average; else NaN */
    double learning_rate;     /* training; else 0 */
    double dice;              /* last mean foreground Dice in validation; NaN: none yet */
    double voxels_per_second; /* through the network */
    double seconds_left;      /* estimate for the phase; negative: unknown */
    int64_t memory_bytes;     /* resident memory of the process now */
    int64_t overflow;   /* values that did not fit the 16-bit streams of the network so far, even on
                           the coarsest grid: what was computed there is wrong */
    double loader_wait; /* training: share of the time of all steps so far that went into waiting
                           for samples; else 0 */
} rvx_progress;

typedef int (*rvx_progress_callback)(void *context, const rvx_progress *progress);

/* ---- data ---- */

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

/* ---- networks and plans ---- */

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

/* Which implementation does a convolution on a GPU. Libraries may do forward passes and gradients
 * of plain convolutions (no residual, tensors all bf16 or all f32); everything else is always done
 * by Revoxel's own kernels. */
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

/* ---- training ---- */

typedef struct rvx_train_options {
    size_t struct_bytes;
    const char *plan; /* plan.json; NULL: made as rvx_plan_dataset does, from `settings` */
    const rvx_plan_settings *settings; /* NULL: defaults. Beside a plan, or where a run goes on:
                                        * must not contradict the plan that is there */
    int resume;                        /* go on from RUN's latest checkpoint, bit for bit */
    int threads;                       /* 0: the plan's, else all cores */
    int no_validation_output;          /* leave out the final prediction of the validation cases */
    rvx_progress_callback progress;
    void *context;
    const char *device, *device_library;              /* see Devices above */
    const rvx_implementation_options *implementation; /* of training; NULL: defaults */
    int repair;                                       /* see Repairs above */
    int tf32; /* on a GPU: convolutions of f32 tensors multiply numbers rounded to tf32, 10 bits
               * after the point, on tensor cores. No part of the plan: what goes on or predicts
               * says so again */
    const char
        *cache; /* folder, made if need be, in which preprocessed cases are kept and from which
                 * samples are read, so that a dataset may be larger than memory; runs may
                 * share it. NULL: cases are held in memory. The result is the same bits */
} rvx_train_options;

/* Trains on `dataset` (nnU-Net raw layout) and writes into the folder `run`: plan.json,
 * metrics.jsonl, timing.json, TensorBoard events, latest.safetensors, best.safetensors, and with
 * validation cases validation/, validation.json and postprocessing.json. */
RVX_API rvx_status rvx_train(const char *dataset, const char *run, const rvx_train_options *options,
                             rvx_error *error);

/* Cross-validation: trains every fold of the plan into FOLDER/fold_1, ... as rvx_train does, with
 * one cache of cases (options->cache, else FOLDER/preprocessed); `resume` leaves finished folds
 * alone. Then FOLDER/validation.json, every case judged by the network that has not seen it,
 * postprocessing.json and report.html. settings->fold is 0: the plan says how many there are. */
RVX_API rvx_status rvx_train_folds(const char *dataset, const char *folder,
                                   const rvx_train_options *options, rvx_error *error);

/* ---- segmenting files ---- */

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

/* Segments images (files, CASE_0000.nii.gz with its other channels beside it, or folders of such)
 * into out/CASE.nii.gz on exactly the input's grid. `run`: a run folder, a
 * model file, or the folder of a cross-validation, whose folds then vote as with `also`. Several
 * networks work one after the other: memory is that of one, and 4 bytes a voxel and class are
 * needed on disk in `out` while they do. */
RVX_API rvx_status rvx_predict(const char *run, const char *const *images, int64_t image_count,
                               const char *out, const rvx_predict_options *options,
                               rvx_error *error);

/* ---- judging ---- */

typedef struct rvx_evaluate_options {
    size_t struct_bytes;
    const char *out;     /* metrics as JSON; NULL: none */
    double tolerance_mm; /* of the normalised surface dice; 0: 1 mm */
    int threads;
    rvx_progress_callback progress;
    void *context;
    int repair;       /* see Repairs above */
    const char *csv;  /* one row a case and class; NULL: none */
    const char *html; /* a report, without pictures; NULL: none */
    int resamples;    /* of the bootstrap; 0: 2000 */
    uint64_t seed;    /* of the bootstrap */
} rvx_evaluate_options;

/* Compares label maps of equal name; `table` receives a table for the screen, with standard
 * deviations and bootstrap intervals (docs/metrics.md). `predictions`: a folder, or that of a
 * cross-validation: every case is taken from the fold that validated it. */
RVX_API rvx_status rvx_evaluate(char **table, const char *predictions, const char *references,
                                const rvx_evaluate_options *options, rvx_error *error);

typedef struct rvx_report_options {
    size_t struct_bytes;
    const char *out; /* default RUN/report.html */
    int cases_max;   /* overlays of so many worst cases; 0: 12 */
} rvx_report_options;

/* One self-contained HTML file about a run: curves, metrics, overlays, worst cases first. */
RVX_API rvx_status rvx_report(const char *run, const rvx_report_options *options, rvx_error *error);

/* ---- measuring ---- */

typedef struct rvx_bench_memory_options {
    size_t struct_bytes;
    const char *network;   /* default "revnet3d-full" */
    int64_t size[3];       /* x, y, z voxels; 0: 128 each */
    const int64_t *depths; /* couplings (unet3d: convolutions) per level, ascending; NULL: 1, 2, 4,
                              8, 16 */
    int depth_count;
    const char *out; /* folder for memory.csv and memory.svg; NULL: no files */
    int threads;
    rvx_progress_callback progress; /* phase "plan" */
    void *context;
} rvx_bench_memory_options;

/* Memory of one training step against the depth of the network, under the policies store,
 * checkpoint and reversible: the bytes that such a step would allocate, by planning it. Nothing of
 * that size is allocated. `table` receives a table for the screen. */
RVX_API rvx_status rvx_bench_memory(char **table, const rvx_bench_memory_options *options,
                                    rvx_error *error);

typedef struct rvx_bench_context_options {
    size_t struct_bytes;
    const char *out; /* folder for the runs, context.csv, context-time.svg, context-memory.svg */
    const char *network;  /* default "revnet3d-full" */
    const int64_t *sizes; /* edges of cubic patches, 0: whole volumes; NULL: 32, 48, 64, whole */
    int size_count;
    const int64_t *widths; /* NULL: 8, 16, 32 */
    int width_count;
    int64_t voxels;    /* that every run sees; 0: 256 million */
    int seeds;         /* runs per size, with seeds 0, 1, ...; 0: 1 */
    int64_t cases;     /* of the phantom, without a dataset; 0: 10 */
    int64_t volume[3]; /* x, y, z voxels of such a case; 0: 80, 80, 64 */
    int threads;
    rvx_progress_callback progress;
    void *context;
} rvx_bench_context_options;

/* Trains one network on samples of several sizes at equal voxels seen, and compares Dice on the
 * cases held out, time and memory. `dataset` NULL: a phantom is made in OUT/dataset. A row's memory
 * is the most that was resident while it trained and validated. `table` receives a table. */
RVX_API rvx_status rvx_bench_context(char **table, const char *dataset,
                                     const rvx_bench_context_options *options, rvx_error *error);

/* ---- segmenting in memory: for applications that embed the library ---- */

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
    int64_t budget_bytes; /* 0: none */
    int threads;
    int mirror;
    const char *device, *device_library; /* see Devices above */
} rvx_segmenter_options;

/* `model`: a .safetensors file or a run folder. */
RVX_API rvx_status rvx_segmenter_open(rvx_segmenter **segmenter, const char *model,
                                      const rvx_segmenter_options *options, rvx_error *error);
RVX_API void rvx_segmenter_close(rvx_segmenter *segmenter); /* NULL is legal */

RVX_API int rvx_segmenter_channels(const rvx_segmenter *segmenter);
RVX_API int rvx_segmenter_classes(const rvx_segmenter *segmenter); /* background included */
RVX_API const char *rvx_segmenter_label(const rvx_segmenter *segmenter,
                                        int label); /* lives as long as the handle */

/* Memory that a run on such a grid takes at most, in bytes, without running. */
RVX_API rvx_status rvx_segmenter_bytes(int64_t *bytes, const rvx_segmenter *segmenter,
                                       const rvx_grid *grid, rvx_error *error);

/* channels[i]: float32 voxels of channel i on `grid`; labels: uint8 voxels on the same grid,
 * written. */
RVX_API rvx_status rvx_segmenter_run(rvx_segmenter *segmenter, uint8_t *labels,
                                     const float *const *channels, const rvx_grid *grid,
                                     rvx_progress_callback progress, void *context,
                                     rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
