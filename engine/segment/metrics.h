/* Segmentation metrics of one case. Owns: what every figure means; docs/metrics.md says it at
 * length. Invariant: figures are pure functions of the two label maps, the spacing and the
 * tolerance, the same for any thread count.
 *
 * R and P are the voxel sets of a class in reference and prediction.
 *   dice = 2 |R n P| / (|R| + |P|)      iou = |R n P| / |R u P|
 *   precision = |R n P| / |P|           recall = |R n P| / |R|
 * A surface voxel belongs to the object while one of its six face neighbours does not; outside the
 * volume nothing belongs (SciPy's binary_erosion with border_value 0, as in MONAI and MedPy).
 * d(a, B) is the Euclidean distance in mm from the centre of surface voxel a to the nearest centre
 * in surface B, with the true spacing; a runs over dR and dP:
 *   hd   = max(max d(r, dP), max d(p, dR))
 *   hd95 = max(p95 d(r, dP), p95 d(p, dR)), linear percentile as in NumPy (MONAI's convention)
 *   assd = (sum d(r, dP) + sum d(p, dR)) / (|dR| + |dP|)
 *   nsd  = (#{d(r, dP) <= t} + #{d(p, dR) <= t}) / (|dR| + |dP|), t the tolerance (MONAI's
 *          voxel form of Nikolov et al., arXiv:1809.04430)
 * Empty classes: R and P both empty: every ratio and distance is NaN (undefined, JSON null).
 * One empty: dice, iou and nsd 0; hd, hd95, assd NaN; precision NaN when P is empty, recall and
 * relative volume error NaN when R is. A mean leaves NaN out. */
#ifndef RVX_SEGMENT_METRICS_H
#define RVX_SEGMENT_METRICS_H

#include "kernels/status.h"

#include <stdint.h>

/* A class: one label value, or a region made of several. */
typedef struct rvx_label_class {
    char name[64];
    int32_t label;       /* shown to people; of a region the first value */
    uint8_t member[256]; /* 1 where a label value belongs to the class */
} rvx_label_class;

typedef struct rvx_class_metrics {
    int64_t reference_voxels, prediction_voxels;
    int64_t true_positive, false_positive, false_negative; /* voxels */
    double dice, iou, precision, recall;
    double nsd;
    double hd_mm, hd95_mm, assd_mm;
    double reference_volume_ml, prediction_volume_ml;
    double volume_error_ml;       /* prediction - reference: negative is too small */
    double volume_error_relative; /* the same over the reference volume */
} rvx_class_metrics;

typedef struct rvx_metrics_params {
    double tolerance_mm; /* of nsd, inclusive; 0: RVX_TOLERANCE_DEFAULT_MM */
    int threads;         /* 0: one */
} rvx_metrics_params;

/* The usual value in CT organ work (Nikolov et al.; Medical Segmentation Decathlon). */
#define RVX_TOLERANCE_DEFAULT_MM 1.0

/* One class from one label value. name NULL: "label N". */
void rvx__label_class_set(rvx_label_class *label_class, const char *name, int32_t label);

/* out: class_count results. reference, prediction: size[2] * size[1] * size[0] labels, x fastest,
 * on one grid. Works in a float32 field over the bounding box of R u P, one class at a time.
 * Errors: ARGUMENT, MEMORY. */
rvx_status rvx__metrics_compute(rvx_class_metrics *out, const uint8_t *reference,
                                const uint8_t *prediction, const int64_t size[3],
                                const double spacing[3], const rvx_label_class *classes,
                                int64_t class_count, const rvx_metrics_params *params,
                                rvx_error *error);

/* Sets both maps to 0 where the reference has the ignore label; call before compute. */
void rvx__metrics_ignore(uint8_t *reference, uint8_t *prediction, int64_t voxels,
                         int32_t ignore_label);

/* Figures by name, for tables, JSON and means: rvx__metrics_fields[RVX_METRICS_FIELD_COUNT]. */
typedef struct rvx_metrics_field {
    const char *name;      /* JSON key */
    int offset;            /* of the double in rvx_class_metrics */
    int higher_is_better;  /* 1, 0, or -1 where neither */
    const char *unit;      /* "", "mm", "ml" */
    const char *long_name; /* for people */
} rvx_metrics_field;

enum { RVX_METRICS_FIELD_COUNT = 12 };
extern const rvx_metrics_field rvx__metrics_fields[RVX_METRICS_FIELD_COUNT];

static inline double *rvx__metrics_value(rvx_class_metrics *m, int field)
{
    return (double *)(void *)((char *)m + rvx__metrics_fields[field].offset);
}

#endif
