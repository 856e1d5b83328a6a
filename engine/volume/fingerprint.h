/* What a dataset is like: sizes, spacings, intensities under the labels. Owns: the numbers that
 * planning and CT normalisation start from, as nnU-Net defines them. Invariant: a pure function of
 * the files, for any thread count; memory is a few slices per thread and the samples.
 *
 * Intensities: foreground voxels (label above 0, not ignore), the same number from every case as
 * far as it has them, spread evenly over its foreground; together at most about four million. */
#ifndef RVX_FINGERPRINT_H
#define RVX_FINGERPRINT_H

#include "engine/volume/beam.h"
#include "engine/volume/dataset.h"

#include <stdbool.h>

/* Where the nonzero box has a smaller share of its volume than this, nnU-Net normalises inside the
 * nonzero mask only. */
#define RVX_NONZERO_SHARE 0.75

typedef struct rvx_intensity {
    double mean, median, std, min, max;
    double percentile_00_5, percentile_99_5; /* linear between samples, as numpy.percentile */
} rvx_intensity;

typedef struct rvx_case_fingerprint {
    int64_t size[3];         /* x, y, z */
    int64_t nonzero_size[3]; /* of the box around voxels that are not 0 in some channel; 0: none */
    int64_t nonzero_voxels;  /* not 0 in some channel */
    int64_t sector_voxels;   /* in the sector of the first channel, see preprocess.h */
    double spacing[3];
    int64_t label_voxels[256];
    int64_t label_below[256][3]; /* half voxels below the middle of the volume along x, y, z */
} rvx_case_fingerprint;

typedef struct rvx_fingerprint {
    int64_t case_count;
    rvx_case_fingerprint *cases; /* in the order of the dataset */
    int channel_count;
    rvx_intensity *intensities; /* by channel */
    double median_size[3];      /* x, y, z; of what cropping leaves */
    /* nnU-Net's rule: the median of each axis; but where one axis has more than three times the
     * spacing of the others and less than a third of their voxels, its 10th percentile (not below
     * the other axes, whose spacing and a hair more it then gets). */
    double target_spacing[3];
    /* Median over cases of (voxels in the nonzero box) / (voxels). */
    double nonzero_share;
    double sector_share;          /* median over cases of (voxels in the sector) / (voxels) */
    double mirror_correlation[3]; /* x, y, z: see symmetry.h */
    int beam, sweep;              /* were it ultrasound: rvx__beam_guess */
    bool one_sided[3];            /* some class lies on one side of the middle in every case */
} rvx_fingerprint;

/* Reads every training case once for its labels and once for its images, and refuses what
 * rvx__dataset_check refuses. A dataset without any foreground voxel: RVX_ERROR_FORMAT. */
rvx_status rvx__fingerprint_make(rvx_fingerprint *fingerprint, const rvx_dataset *dataset,
                                 rvx_error *error);
/* Fills medians, target spacing and shares from the cases; part of the above. */
rvx_status rvx__fingerprint_medians(rvx_fingerprint *fingerprint, rvx_error *error);
/* What cropping to the nonzero voxels leaves: x, y, z; all of a case that has none. */
const int64_t *rvx__case_box(const rvx_case_fingerprint *one);
void rvx__fingerprint_free(rvx_fingerprint *fingerprint); /* zeroed is legal */

/* numpy.percentile(values, percent) of ascending values. */
double rvx__percentile_f32(const float *ascending, int64_t count, double percent);
double rvx__percentile_f64(const double *ascending, int64_t count, double percent);

#endif
