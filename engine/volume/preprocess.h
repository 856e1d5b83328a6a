/* From files to what a network reads. Owns: normalisation, resampling and the case in memory.
 * Invariant: the result is a function of the files and the recipe alone, for any thread count.
 *
 * Normalisation is one monotone map per case and channel, out = (clamp(in, low, high) - shift) *
 * scale, found on the original grid and then applied to every voxel; nnU-Net's four schemes are
 * choices of these four numbers. Where nnU-Net normalises inside the nonzero mask only and leaves 0
 * outside, `nonzero_only` takes the statistics there but maps all voxels: an anechoic cyst then
 * stays darker than tissue.
 *
 * Resampling: image trilinear, labels nearest. Centres are aligned as in skimage's and nnU-Net's
 * resize: voxel i of the new grid reads the old one at (i + 0.5) * old / new - 0.5, edges clamped.
 */
#ifndef RVX_PREPROCESS_H
#define RVX_PREPROCESS_H

#include "engine/volume/volume.h"
#include "kernels/tensor.h"

#include <stdbool.h>

/* ---- Normalisation ----------------------------------------------------------------------------
 */
typedef enum rvx_normalization {
    RVX_NORMALIZATION_ZSCORE,  /* mean and standard deviation of the case */
    RVX_NORMALIZATION_CT,      /* clip to the dataset's percentiles, dataset mean and deviation */
    RVX_NORMALIZATION_RESCALE, /* least and greatest value of the case become 0 and 1 */
    RVX_NORMALIZATION_NONE,
    RVX_NORMALIZATION_COUNT
} rvx_normalization;

/* "zscore", "ct", "rescale_to_0_1", "none", as plan.json has them. */
const char *rvx__normalization_name(rvx_normalization normalization);
/* By that name; false where there is none. */
bool rvx__normalization_find(rvx_normalization *normalization, const char *name);
/* nnU-Net's choice by channel name: "CT", "noNorm", "rescale_to_0_1", "rgb_to_0_1" in any letter
 * case, else z-score. */
rvx_normalization rvx__normalization_of_channel(const char *channel_name);

typedef struct rvx_channel_recipe {
    rvx_normalization normalization;
    bool nonzero_only;           /* z-score: statistics over the voxels that are not 0 */
    double mean, std, low, high; /* CT: of the dataset's foreground, see fingerprint.h */
} rvx_channel_recipe;

typedef struct rvx_intensity_map {
    float low, high, shift, scale;
} rvx_intensity_map;

/* The map for one channel of `voxel_count` voxels, `pitch` floats apart. Every value is finite. */
rvx_intensity_map rvx__intensity_map_find(const rvx_channel_recipe *recipe, const float *voxels,
                                          int64_t voxel_count, int64_t pitch);
void rvx__intensity_map_apply(float *voxels, int64_t voxel_count, int64_t pitch,
                              const rvx_intensity_map *map);

/* ---- Resampling -------------------------------------------------------------------------------
 * Sizes are x, y, z. `in` is [z][y][x][channels]. */
void rvx__resample_linear(float *out, const int64_t out_size[3], const float *in,
                          const int64_t in_size[3], int64_t channels);
void rvx__resample_nearest(uint8_t *out, const int64_t out_size[3], const uint8_t *in,
                           const int64_t in_size[3]);

/* From a file's grid to the network's. Voxel i of the file lies at i * scale + offset on the
 * network's grid: what a prediction needs on its way back. */
typedef struct rvx_grid_map {
    int64_t file_size[3], network_size[3];
    double scale[3], offset[3];
} rvx_grid_map;

/* Target spacing in mm, 0: keep. An axis within 1 % of its target keeps its size; another takes
 * round(size * spacing / target), at least 1. */
rvx_status rvx__grid_map_make(rvx_grid_map *map, const rvx_geometry *file, const double spacing[3],
                              const char *name, rvx_error *error);

/* ---- Cases ------------------------------------------------------------------------------------
 */
enum { RVX_LOCATIONS_MAX = 10000 };

/* Where a class is, for oversampling: at most RVX_LOCATIONS_MAX voxels spread evenly over its
 * voxels in storage order, ascending. */
typedef struct rvx_class_locations {
    int64_t voxel_count; /* of the class in the case */
    int64_t count;
    int64_t *voxels; /* (z * h + y) * w + x on the network's grid */
} rvx_class_locations;

typedef struct rvx_case_recipe {
    int channel_count;
    const rvx_channel_recipe *channels;
    double spacing[3]; /* x, y, z in mm; 0: that of the file */
    int class_count;   /* labels are 0 .. class_count - 1 */
    int ignore_label;  /* -1: none */
} rvx_case_recipe;

typedef struct rvx_case {
    char *identifier;
    rvx_volume_info info; /* of the first channel's file: what a prediction repeats */
    rvx_grid_map map;
    rvx_shape shape; /* n = 1, d = z, h = y, w = x, c = channels, on the network's grid */
    float *image;    /* [z][y][x][c], normalised */
    uint8_t *labels; /* [z][y][x]; NULL where the case has none */
    int class_count;
    rvx_class_locations *locations; /* by class; NULL without labels */
} rvx_case;

/* Loads, checks (one grid, finite voxels, labels that have a name), normalises and resamples.
 * `label_path` may be NULL. Free with rvx__case_free, also after a failure. */
rvx_status rvx__case_load(rvx_case *out, const char *identifier, const char *const *image_paths,
                          const char *label_path, const rvx_case_recipe *recipe, rvx_error *error);
void rvx__case_free(rvx_case *one); /* NULL and zeroed are legal */

/* Fills locations[0 .. class_count - 1] from labels [z][y][x]; the caller frees each `voxels`. */
rvx_status rvx__class_locations_find(rvx_class_locations *locations, int class_count,
                                     const uint8_t *labels, const int64_t size[3],
                                     rvx_error *error);

/* Rank k of `pick_count` ranks among `count`, ascending, one drawn from each of pick_count equal
 * parts; all of them where pick_count == count. */
int64_t rvx__stratified_rank(uint64_t stream, int64_t k, int64_t pick_count, int64_t count);

#endif
