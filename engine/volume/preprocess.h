/* From files to what a network reads. Owns: normalisation, resampling and the case in memory.
 * Invariant: the result is a function of the files and the recipe alone, for any thread count.
 *
 * Normalisation is one monotone map per case and channel, out = (clamp(in, low, high) - shift) *
 * scale, found on the original grid and then applied to every voxel; nnU-Net's four schemes
 * and percentiles are choices of these four numbers. Where nnU-Net normalises inside the nonzero
 * mask only and leaves 0 outside, `nonzero_only` takes the statistics there but maps all voxels:
 * what is outside stays darker than tissue. The mask is nnU-Net's: what is not 0 in some channel,
 * and the holes in that (nonzero.h). An ultrasound image is a lit sector on black, with
 * black cysts and shadows inside: its z-score counts those and not the black around
 * (`sector_only`). In every slice the sector is the voxels that lie, in their row and in their
 * column, between the first and the last that is not 0.
 *
 * Resampling: resample.h, by the recipe's rules. */
#ifndef RVX_PREPROCESS_H
#define RVX_PREPROCESS_H

#include "engine/volume/resample.h"
#include "engine/volume/statistics.h"
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
    /* Two percentiles of the case become two numbers; what is beyond may be clipped (MONAI's
     * ScaleIntensityRangePercentiles). */
    RVX_NORMALIZATION_PERCENTILES,
    RVX_NORMALIZATION_COUNT
} rvx_normalization;

/* "zscore", "ct", "rescale_to_0_1", "none", "percentiles", as plan.json has them. */
const char *rvx__normalization_name(rvx_normalization normalization);
/* By that name; false where there is none. */
bool rvx__normalization_find(rvx_normalization *normalization, const char *name);
/* nnU-Net's choice by channel name: "CT", "noNorm", "rescale_to_0_1", "rgb_to_0_1" in any letter
 * case, else z-score. */
rvx_normalization rvx__normalization_of_channel(const char *channel_name);

typedef struct rvx_channel_recipe {
    rvx_normalization normalization;
    bool nonzero_only; /* z-score: statistics over the mask of the voxels that are not 0 */
    bool sector_only;  /* z-score: over the sector */
    /* CT: of the dataset's foreground, see fingerprint.h. Percentiles: low and high, 0 to 100. */
    double mean, std, low, high;
    double to[2]; /* percentiles: what they become */
    bool clip;    /* percentiles: what lies beyond becomes `to` as well */
} rvx_channel_recipe;

typedef struct rvx_intensity_map {
    float low, high, shift, scale;
} rvx_intensity_map;

/* The map for one channel, from the statistics of its voxels: those that are not 0, and how many
 * zeros count beside them. Every value is finite. Not for percentiles, which moments do not tell.
 */
rvx_intensity_map rvx__intensity_map_make(const rvx_channel_recipe *recipe,
                                          const rvx_moments *nonzero, int64_t zeros);
/* For percentiles whose values are low and high. Where these are equal, nothing is scaled and they
 * become to[0], as in MONAI, which then does not clip either. */
rvx_intensity_map rvx__intensity_map_between(const rvx_channel_recipe *recipe, double low,
                                             double high);
/* Voxels of a slice [y][x] of `size` in its sector; `columns`: size[0] pairs of working memory. */
int64_t rvx__sector_count(const float *slice, const int64_t size[2], int64_t (*columns)[2]);
void rvx__intensity_map_apply(float *voxels, int64_t voxel_count, int64_t pitch,
                              const rvx_intensity_map *map);

/* ---- Grids ------------------------------------------------------------------------------------
 */
/* From a file's grid to the network's, which covers a box of the file: the whole of it, or the box
 * of its nonzero voxels. Voxel i of the file lies at i * scale + offset on the network's grid: what
 * a prediction needs on its way back. Outside the box is background. */
typedef struct rvx_grid_map {
    int64_t file_size[3], network_size[3];
    int64_t box_first[3], box_size[3]; /* in voxels of the file */
    double scale[3], offset[3];
    /* The axis that is resampled by itself, by the nearest slice, as nnU-Net does where one axis
     * has more than three times the spacing of another (in the file, else at the target) and no
     * other shares it; -1: none. On the way back the target is asked first, then the file. */
    int separate_axis, separate_axis_back;
} rvx_grid_map;

/* Voxels of an axis at the target spacing: nnU-Net's round(spacing / target * size), halves to
 * even, at least 1. */
double rvx__resampled_size(int64_t size, double spacing, double target);
/* Of the whole file. Target spacing in mm, 0: keep. */
rvx_status rvx__grid_map_make(rvx_grid_map *map, const rvx_geometry *file, const double spacing[3],
                              const char *name, rvx_error *error);

/* Of the box from box_first, box_size voxels long, which lies inside the file. */
rvx_status rvx__grid_map_make_box(rvx_grid_map *map, const rvx_geometry *file,
                                  const int64_t box_first[3], const int64_t box_size[3],
                                  const double spacing[3], const char *name, rvx_error *error);

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
    rvx_resampling image_rule, label_rule;
    int class_count;             /* labels are 0 .. class_count - 1 */
    int ignore_label;            /* -1: none */
    bool crop_to_nonzero;        /* to the box of the voxels that are not 0 in some channel */
    struct rvx_repairs *repairs; /* see repair.h; NULL: what is wrong is refused */
} rvx_case_recipe;

/* The rule of each axis. */
void rvx__resampling_rules(rvx_resampling rules[3], rvx_resampling rule, const rvx_grid_map *map);

typedef struct rvx_case {
    char *identifier;
    rvx_volume_info info; /* of the first channel's file: what a prediction repeats */
    rvx_grid_map map;
    rvx_shape shape;   /* n = 1, d = z, h = y, w = x, c = channels, on the network's grid */
    float *image;      /* normalised; voxel (z, y, x) is element along[0][z] + along[1][y] + */
    uint8_t *labels;   /* along[2][x] (times c); labels: NULL where the case has none */
    int64_t *along[3]; /* d, h, w: so that voxels may lie in rows or in chunks */
    int class_count;
    rvx_class_locations *locations; /* by class; NULL without labels */
    void *mapped; /* the file that image, labels and voxels of locations lie in (cache.h); NULL */
    int64_t mapped_bytes;
} rvx_case;

/* Loads, checks (one grid, finite voxels, labels that have a name), normalises and resamples, all
 * by rvx_case_reader (case_reader.h). `label_path` may be NULL. Free with rvx__case_free, also
 * after a failure. */
rvx_status rvx__case_load(rvx_case *out, const char *identifier, const char *const *image_paths,
                          const char *label_path, const rvx_case_recipe *recipe, rvx_error *error);
void rvx__case_free(rvx_case *one); /* NULL and zeroed are legal */

/* Fills `along` for voxels in rows, [z][y][x]; false where memory is short. */
bool rvx__case_rows(rvx_case *one);
static inline int64_t rvx__case_voxel(const rvx_case *one, int64_t z, int64_t y, int64_t x)
{
    return one->along[0][z] + one->along[1][y] + one->along[2][x];
}
/* The image of a case in memory or in a cache. The case must outlive it. */
rvx_slices rvx__case_slices(rvx_case *one);

/* Fills locations[0 .. class_count - 1] from label slices of `size` (x, y, z), which are read
 * twice; the caller frees each `voxels`. */
rvx_status rvx__class_locations_find(rvx_class_locations *locations, int class_count,
                                     const rvx_label_slices *labels, const int64_t size[3],
                                     rvx_error *error);

/* Rank k of `pick_count` ranks among `count`, ascending, one drawn from each of pick_count equal
 * parts; all of them where pick_count == count. */
int64_t rvx__stratified_rank(uint64_t stream, int64_t k, int64_t pick_count, int64_t count);

#endif
