/* The training plan: every number that a run depends on, as one readable JSON file (plan.json).
 * Owns: names, defaults, limits and cross-checks of all settings. Invariant: writing and reading
 * back gives an equal recipe; an unknown, mistyped or contradictory field is refused by name.
 *
 * Axes are x, y, z throughout, as in the image files; the engine's d, h, w are z, y, x. Names and
 * defaults follow nnU-Net v2 (Isensee et al., Nature Methods 2021) unless a comment says why not.
 * A field left out of the JSON takes its default (rvx__recipe_base); those without one are marked
 * "required". docs/plan.md lists the JSON names. */
#ifndef RVX_RECIPE_H
#define RVX_RECIPE_H

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/graph/network.h"
#include "engine/volume/taps.h"

enum {
    RVX_CLASSES_MAX = 256,
    RVX_CHANNELS_MAX = 8,
    RVX_NAME_BYTES = 64, /* of any name, with the terminating zero */
    RVX_RECIPE_FORMAT = 1
};

typedef enum rvx_normalisation_scheme {
    RVX_NORMALISE_ZSCORE = 0, /* (x - mean) / std of the volume */
    RVX_NORMALISE_CT,         /* clip to [lower, upper], then (x - mean) / std of the data set */
    RVX_NORMALISE_RESCALE,    /* to [0, 1] by the volume's range */
    RVX_NORMALISE_NONE,
    RVX_NORMALISE_PERCENTILES /* two percentiles of the volume to two numbers */
} rvx_normalisation_scheme;

typedef struct rvx_normalisation {
    int scheme;                     /* rvx_normalisation_scheme */
    bool nonzero_only;              /* z-score over voxels other than zero */
    bool sector_only;               /* z-score over the lit sector, see preprocess.h */
    double lower, upper, mean, std; /* ct; percentiles: lower and upper, 0 to 100 */
    double to[2];                   /* percentiles: what these become */
    bool clip;                      /* percentiles: what lies beyond becomes them too */
    bool relative;                  /* percentiles: `to` is what 0 and 100 would become */
} rvx_normalisation;

typedef struct rvx_transform {
    double probability;         /* that a sample gets it */
    double channel_probability; /* that a channel of such a sample gets it */
    double range[2];            /* uniform; the unit is the JSON key's */
} rvx_transform;

typedef enum rvx_axis_name { RVX_AXIS_X, RVX_AXIS_Y, RVX_AXIS_Z, RVX_AXIS_NONE } rvx_axis_name;

/* What only pictures made by ultrasound get: engine/volume/augment_ultrasound.h says what each
 * transform means. All probabilities are 0 unless it is asked for. Lengths are shares of
 * the case: depth of its extent along the beam, width of its fan. */
typedef struct rvx_ultrasound_recipe {
    int beam;            /* rvx_beam: where the sound goes */
    int sweep;           /* rvx_axis_name: frames lie side by side along it; none: beams diverge */
    double apex[2];      /* how far behind the near side the beams meet: a share of the depth */
    double decibels[2];  /* between black and white */
    rvx_transform pose;  /* degrees */
    rvx_transform sound; /* m/s */
    rvx_transform speckle;       /* correlation with the speckle that was there */
    rvx_transform reverberation; /* dB of the first echo */
    double reverberation_spacing[2];
    rvx_transform shadow; /* dB */
    double shadow_width[2];
    rvx_transform attenuation; /* dB over the whole depth */
    rvx_transform time_gain;   /* dB of each slider */
    rvx_transform gain;        /* dB */
    rvx_transform sector;      /* opening, a share of the fan */
} rvx_ultrasound_recipe;

typedef enum rvx_optimizer_name { RVX_OPTIMIZER_SGD, RVX_OPTIMIZER_ADAMW } rvx_optimizer_name;
typedef enum rvx_schedule {
    RVX_SCHEDULE_POLY,
    RVX_SCHEDULE_COSINE,
    RVX_SCHEDULE_CONSTANT
} rvx_schedule;
typedef enum rvx_memory_policy {
    RVX_MEMORY_AUTO,
    RVX_MEMORY_STORE,
    RVX_MEMORY_CHECKPOINT,
    RVX_MEMORY_REVERSIBLE
} rvx_memory_policy;
typedef enum rvx_storage { RVX_STORAGE_F32 = RVX_F32, RVX_STORAGE_BF16 = RVX_BF16 } rvx_storage;
typedef enum rvx_streams { RVX_STREAMS_I16, RVX_STREAMS_F32, RVX_STREAMS_BF16 } rvx_streams;

typedef struct rvx_recipe {
    int64_t format_version;

    struct {
        char name[RVX_NAME_BYTES];          /* "unet3d", "revunet3d", ... */
        int64_t in_channels;                /* required; as many as channel_names */
        int64_t classes;                    /* required; labels without "ignore" */
        int64_t stages;                     /* length of the arrays below; not in the JSON */
        int64_t widths[RVX_STAGES_MAX];     /* channels; required */
        int64_t strides[RVX_STAGES_MAX][3]; /* x, y, z: taken on entering the stage; required */
        int64_t kernels[RVX_STAGES_MAX][3]; /* x, y, z: 1 or 3; default all 3 */
        int64_t convolutions_per_stage;
        int64_t depth; /* revunet3d: couplings per stage */
        bool deep_supervision;
    } network;

    struct {
        bool whole;      /* JSON: "size": "whole" */
        int64_t size[3]; /* x, y, z voxels, divisible by the product of the strides; required */
        int64_t batch;
        double foreground_fraction; /* of a batch is centred on a labelled voxel */
    } patch;

    bool crop_to_nonzero; /* cases are cut to the box of their nonzero voxels, see preprocess.h */
    bool spacing_native;  /* JSON: "spacing": null */
    double spacing[3];    /* x, y, z mm that cases are resampled to */
    struct {
        int image, labels; /* rvx_resampling */
    } resampling;
    rvx_normalisation normalisation[RVX_CHANNELS_MAX]; /* one per channel; default z-score */

    struct {
        bool mirror_axes[3]; /* x, y, z */
        double mirror_probability;
        double rotation_probability, rotation_degrees[3]; /* largest angle about x, y, z */
        int flat_axis; /* rvx_axis_name: rotation, scaling, low resolution stay in its slices */
        rvx_transform scaling, noise, blur, brightness, contrast, low_resolution, gamma_inverted,
            gamma;
        rvx_ultrasound_recipe ultrasound;
    } augmentation;

    struct {
        double smooth;
        bool include_background;
        int64_t ignore_label; /* -1: none (JSON null) */
    } loss;

    struct {
        int name; /* rvx_optimizer_name */
        double learning_rate, momentum;
        bool nesterov;
        double beta1, beta2, epsilon; /* adamw */
        double weight_decay;
        int schedule; /* rvx_schedule */
        double poly_power;
        int64_t warmup_steps;
        double gradient_clip; /* largest global norm; 0: none */
    } optimizer;

    struct {
        int64_t steps, steps_per_epoch;
        double time_limit_minutes;   /* 0: none */
        int64_t validation_every;    /* steps; 0: at the end only */
        int64_t checkpoint_every;    /* steps */
        double validation_smoothing; /* of the moving average that picks the best checkpoint */
        int64_t seed;
        int64_t threads; /* 0: all cores */
    } training;

    struct {
        int policy;           /* rvx_memory_policy */
        int64_t budget_bytes; /* 0: none */
        int storage;          /* rvx_storage */
        int streams;          /* rvx_streams: of couplings */
        int64_t grid_log2;    /* i16 streams: steps of 2^-grid_log2 */
    } memory;

    struct {
        double tile_step; /* of the patch */
        bool gaussian, mirror;
    } inference;

    /* JSON "labels": {name: value}, values 0 .. classes - 1 and perhaps "ignore": classes. */
    char labels[RVX_CLASSES_MAX][RVX_NAME_BYTES];
    char channel_names[RVX_CHANNELS_MAX][RVX_NAME_BYTES];
    char file_ending[RVX_NAME_BYTES];

    struct {
        int64_t index; /* which fold validates; -1 (JSON null): all cases train */
        int64_t count;
        int64_t seed;
        bool listed; /* the two lists below stand instead of a fold */
        rvx_names train, validation;
    } fold;
} rvx_recipe;

/* All defaults; the required fields are empty. Nothing to free yet, but rvx__recipe_free is legal.
 */
void rvx__recipe_base(rvx_recipe *recipe);
void rvx__recipe_free(rvx_recipe *recipe); /* frees the case lists and zeroes */

/* `file` names the source in messages. On failure *recipe is zeroed. The result is checked. */
rvx_status rvx__recipe_from_json(rvx_recipe *recipe, const json_t *root, const char *file,
                                 rvx_error *error);
rvx_status rvx__recipe_load(rvx_recipe *recipe, const char *path, rvx_error *error);
/* From text, e.g. the metadata of a model file. */
rvx_status rvx__recipe_parse(rvx_recipe *recipe, const char *text, const char *file,
                             rvx_error *error);
/* NULL where memory is short. Freed with json_decref. */
json_t *rvx__recipe_to_json(const rvx_recipe *recipe);
rvx_status rvx__recipe_save(const rvx_recipe *recipe, const char *path, rvx_error *error);
/* The text of the file; free with rvx__text_free. */
rvx_status rvx__recipe_print(rvx_text *text, const rvx_recipe *recipe, rvx_error *error);

/* Checks across fields (single fields are checked on reading): RVX_ERROR_ARGUMENT. Call it again
 * after changing fields in code. */
/* How streams are stored, in the words of tensors. */
rvx_dtype rvx__recipe_streams(const rvx_recipe *recipe);

rvx_status rvx__recipe_check(const rvx_recipe *recipe, rvx_error *error);

/* ---- Defaults for a data set ------------------------------------------------------------------
 */

/* Which transforms a plan has. */
typedef enum rvx_augmentation {
    RVX_AUGMENTATION_NONE,
    RVX_AUGMENTATION_NNUNET,    /* nnU-Net's, by its probabilities and ranges */
    RVX_AUGMENTATION_ULTRASOUND /* these, and those of ultrasound */
} rvx_augmentation;
/* Sets every probability: to the default of its transform, or to 0. */
void rvx__recipe_augment(rvx_recipe *recipe, rvx_augmentation augmentation);
/* Whether a channel of this name is ultrasound. */
bool rvx__channel_is_ultrasound(const char *channel_name);

typedef enum rvx_recipe_scale {
    RVX_SCALE_CPU = 0, /* widths from 16, patches to 64^3: minutes on a few cores */
    RVX_SCALE_FULL     /* nnU-Net's own: widths 32 .. 320, patch and batch as it chooses them */
} rvx_recipe_scale;

/* What a data set says of itself. `sizes` and `spacings` have one entry a case, x, y, z. */
typedef struct rvx_recipe_facts {
    const int64_t (*sizes)[3]; /* of what cases are cut to */
    const double (*spacings)[3];
    int64_t case_count;
    double target_spacing[3]; /* x, y, z mm; rvx_fingerprint has nnU-Net's choice */
    bool nonzero_only;        /* z-score over nonzero voxels (nnU-Net: nonzero share < 0.75) */
    bool sector_only;         /* else: of channels called ultrasound, over the sector */
    bool asymmetric[3];       /* x, y, z: not to be mirrored (rvx_fingerprint.mirror_correlation) */
    int beam, sweep;          /* of ultrasound: rvx_beam and rvx_axis_name; both 0: not known */
    int64_t channels, classes;
    const char *const *channel_names; /* `channels` names; one called "CT" gets the ct scheme */
    const rvx_normalisation *ct;      /* lower, upper, mean, std per channel; NULL: no CT channel */
    const char *const *labels;        /* `classes` names */
    bool has_ignore_label;
    const char *file_ending;
    rvx_recipe_scale scale;
    double time_limit_minutes; /* 0: none */
    int64_t budget_bytes;      /* 0: none */
    int64_t seed, threads;
} rvx_recipe_facts;

/* nnU-Net's rules: patch in the aspect of the spacing, clipped to the median case; pooling while an
 * edge stays >= 4 and only along axes whose spacing is within a factor of two of the finest. */
rvx_status rvx__recipe_default(rvx_recipe *recipe, const rvx_recipe_facts *facts, rvx_error *error);

/* The topology part alone, for a patch given by hand: sets stages, strides, kernels and widths of
 * `recipe` and rounds patch.size up to what the strides divide. Reads recipe->patch.size. */
void rvx__recipe_set_topology(rvx_recipe *recipe, const double spacing[3], int64_t width_first,
                              int64_t width_max);

/* ---- Folds ------------------------------------------------------------------------------------
 */

/* Who trains and who validates, of the sorted `cases`. In order: the recipe's own lists; the fold
 * of `splits_path` (nnU-Net's splits_final.json; NULL: none) where that file exists; else cases
 * dealt into recipe->fold.count folds after a shuffle. The shuffle is a Philox one: nnU-Net's comes
 * from NumPy's Mersenne twister, so the folds differ from those of sklearn with the same seed. A
 * listed case that `cases` lacks is an error. Free both with rvx__names_free. */
rvx_status rvx__recipe_split(rvx_names *train, rvx_names *validation, const rvx_recipe *recipe,
                             const rvx_names *cases, const char *splits_path, rvx_error *error);

#endif
