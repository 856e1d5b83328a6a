/* Segmentation metrics of one case: definitions in metrics.h. Invariant: sums over voxels are
 * integers, sums over distances run in voxel order, so threads never change a bit. */
#include "engine/segment/metrics.h"

#include "engine/segment/distance.h"

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS = 256 };

#define FIELD(member, better, unit, text)                                                          \
    {                                                                                              \
#member, (int)offsetof(rvx_class_metrics, member), better, unit, text                      \
    }
const rvx_metrics_field rvx__metrics_fields[RVX_METRICS_FIELD_COUNT] = {
    FIELD(dice, 1, "", "Dice"),
    FIELD(iou, 1, "", "IoU"),
    FIELD(nsd, 1, "", "NSD"),
    FIELD(hd95_mm, 0, "mm", "HD95"),
    FIELD(assd_mm, 0, "mm", "ASSD"),
    FIELD(hd_mm, 0, "mm", "HD"),
    FIELD(volume_error_ml, -1, "ml", "Volume error"),
    FIELD(volume_error_relative, -1, "", "Relative volume error"),
    FIELD(precision, 1, "", "Precision"),
    FIELD(recall, 1, "", "Recall"),
    FIELD(reference_volume_ml, -1, "ml", "Reference volume"),
    FIELD(prediction_volume_ml, -1, "ml", "Predicted volume"),
};

/* Voxels with reference r and prediction p, and the box of each label in either map. */
typedef struct label_overlap {
    int64_t joint[LABELS][LABELS];
    int64_t low[LABELS][3], high[LABELS][3];
} label_overlap;

/* One object inside the box that holds both. */
typedef struct label_box {
    const uint8_t *labels; /* first voxel of the whole map */
    const uint8_t *member;
    int64_t size[3];        /* of the whole map */
    int64_t low[3], box[3]; /* first voxel and extent */
} label_box;

typedef struct distance_set {
    float *squared; /* mm^2, ascending after directed_distances */
    int64_t count;
    double sum_mm;
} distance_set;

void rvx__label_class_set(rvx_label_class *label_class, const char *name, int32_t label)
{
    memset(label_class, 0, sizeof *label_class);
    if (name)
        snprintf(label_class->name, sizeof label_class->name, "%s", name);
    else
        snprintf(label_class->name, sizeof label_class->name, "label %d", label);
    label_class->label = label;
    if (label >= 0 && label < LABELS)
        label_class->member[label] = 1;
}

void rvx__metrics_ignore(uint8_t *reference, uint8_t *prediction, int64_t voxels,
                         int32_t ignore_label)
{
    for (int64_t i = 0; i < voxels; i++) {
        if (reference[i] == ignore_label) {
            reference[i] = 0;
            prediction[i] = 0;
        }
    }
}

static void box_extend(label_overlap *overlap, int label, const int64_t low[3],
                       const int64_t high[3])
{
    for (int axis = 0; axis < 3; axis++) {
        if (low[axis] < overlap->low[label][axis])
            overlap->low[label][axis] = low[axis];
        if (high[axis] > overlap->high[label][axis])
            overlap->high[label][axis] = high[axis];
    }
}

static void overlap_clear(label_overlap *overlap)
{
    memset(overlap, 0, sizeof *overlap);
    for (int label = 0; label < LABELS; label++) {
        for (int axis = 0; axis < 3; axis++) {
            overlap->low[label][axis] = INT64_MAX;
            overlap->high[label][axis] = -1;
        }
    }
}

/* Label maps are piecewise constant, so a row is counted by runs of one (reference, prediction). */
static void overlap_slice(label_overlap *overlap, const uint8_t *reference,
                          const uint8_t *prediction, const int64_t size[3], int64_t z)
{
    for (int64_t y = 0; y < size[1]; y++) {
        const uint8_t *r = reference + (z * size[1] + y) * size[0];
        const uint8_t *p = prediction + (z * size[1] + y) * size[0];
        for (int64_t x = 0; x < size[0];) {
            int64_t first = x;
            uint8_t r_label = r[x], p_label = p[x];
            while (x < size[0] && r[x] == r_label && p[x] == p_label)
                x++;
            overlap->joint[r_label][p_label] += x - first;
            if (r_label || p_label) {
                int64_t low[3] = {first, y, z}, high[3] = {x - 1, y, z};
                box_extend(overlap, r_label, low, high);
                box_extend(overlap, p_label, low, high);
            }
        }
    }
}

static void overlap_merge(label_overlap *into, const label_overlap *from)
{
    for (int r = 0; r < LABELS; r++) {
        for (int p = 0; p < LABELS; p++)
            into->joint[r][p] += from->joint[r][p];
        box_extend(into, r, from->low[r], from->high[r]);
    }
}

/* overlaps: one per thread; the total ends in the first. */
static void overlap_count(label_overlap *overlaps, const uint8_t *reference,
                          const uint8_t *prediction, const int64_t size[3], int threads)
{
    for (int t = 0; t < threads; t++)
        overlap_clear(&overlaps[t]);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t z = 0; z < size[2]; z++)
        overlap_slice(&overlaps[omp_get_thread_num()], reference, prediction, size, z);
    for (int t = 1; t < threads; t++)
        overlap_merge(&overlaps[0], &overlaps[t]);
}

/* Walks the surface voxels of slice z of the box. Where `field` is set it becomes 0 on the surface
 * and INFINITY off it; where `out` is set it receives field values. Returns the number of them. */
static int64_t surface_slice(const label_box *b, int64_t z, float *field, const float *read,
                             float *out)
{
    int64_t count = 0, row_step = b->size[0], slice_step = b->size[0] * b->size[1];
    int64_t mz = b->low[2] + z;
    for (int64_t y = 0; y < b->box[1]; y++) {
        int64_t my = b->low[1] + y, place = (z * b->box[1] + y) * b->box[0];
        const uint8_t *row = b->labels + (mz * b->size[1] + my) * b->size[0];
        for (int64_t x = 0; x < b->box[0]; x++) {
            int64_t mx = b->low[0] + x;
            const uint8_t *v = row + mx;
            int surface = 0;
            if (b->member[*v]) {
                surface = mx == 0 || mx == b->size[0] - 1 || my == 0 || my == b->size[1] - 1 ||
                          mz == 0 || mz == b->size[2] - 1 || !b->member[v[-1]] ||
                          !b->member[v[1]] || !b->member[v[-row_step]] || !b->member[v[row_step]] ||
                          !b->member[v[-slice_step]] || !b->member[v[slice_step]];
            }
            if (field)
                field[place + x] = surface ? 0.0f : INFINITY;
            if (surface && out)
                out[count] = read[place + x];
            count += surface;
        }
    }
    return count;
}

static int float_compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Distances from the surface of `from` to the surface of `to`. field: the box; offset: box[2] + 1
 * counts. set->squared is allocated here and belongs to the caller. */
static rvx_status directed_distances(distance_set *set, const label_box *from, const label_box *to,
                                     const double spacing[3], float *field, int64_t *offset,
                                     int threads, rvx_error *error)
{
    int64_t depth = from->box[2];
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t z = 0; z < depth; z++) {
        surface_slice(to, z, field, NULL, NULL);
        offset[z + 1] = surface_slice(from, z, NULL, NULL, NULL);
    }
    offset[0] = 0;
    for (int64_t z = 0; z < depth; z++)
        offset[z + 1] += offset[z];
    set->count = offset[depth];
    set->squared = malloc((size_t)set->count * sizeof(float));
    if (!set->squared)
        return rvx__fail(error, RVX_ERROR_MEMORY, "surface distances: %lld bytes refused",
                         (long long)set->count * 4);
    rvx_status status = rvx__distance_squared(field, from->box, spacing, threads, error);
    if (status != RVX_OK)
        return status;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t z = 0; z < depth; z++)
        surface_slice(from, z, NULL, field, set->squared + offset[z]);
    set->sum_mm = 0.0;
    for (int64_t i = 0; i < set->count; i++)
        set->sum_mm += sqrt(set->squared[i]);
    qsort(set->squared, (size_t)set->count, sizeof(float), float_compare);
    return RVX_OK;
}

/* NumPy's linear percentile: place (n - 1) * share in the sorted distances. */
static double set_percentile_mm(const distance_set *set, double share)
{
    double place = (double)(set->count - 1) * share;
    int64_t below = (int64_t)floor(place);
    int64_t above = below + 1 < set->count ? below + 1 : below;
    double low = sqrt(set->squared[below]), high = sqrt(set->squared[above]);
    return low + (high - low) * (place - (double)below);
}

/* Inclusive; the slack of 1e-6 covers the float32 rounding of squared distances (3 * 2^-24) and of
 * spacings that came from a float32 header, and is far below any voxel. */
static int64_t set_within(const distance_set *set, double tolerance_mm)
{
    double limit = tolerance_mm * tolerance_mm * (1.0 + 1e-6);
    int64_t low = 0, high = set->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (set->squared[middle] <= limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Surface figures of a class that neither map lacks. */
static rvx_status surface_metrics(rvx_class_metrics *m, const label_box *reference,
                                  const label_box *prediction, const double spacing[3],
                                  double tolerance_mm, int threads, rvx_error *error)
{
    rvx_status status = RVX_OK;
    distance_set r = {0}, p = {0};
    int64_t voxels = reference->box[0] * reference->box[1] * reference->box[2];
    float *field = malloc((size_t)voxels * sizeof(float));
    int64_t *offset = malloc((size_t)(reference->box[2] + 1) * sizeof(int64_t));
    if (!field || !offset) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "surface distances: %lld bytes refused",
                           (long long)voxels * 4);
        goto cleanup;
    }
    RVX_TRY(directed_distances(&r, reference, prediction, spacing, field, offset, threads, error));
    RVX_TRY(directed_distances(&p, prediction, reference, spacing, field, offset, threads, error));
    double surfaces = (double)(r.count + p.count);
    m->hd_mm = fmax(sqrt(r.squared[r.count - 1]), sqrt(p.squared[p.count - 1]));
    m->hd95_mm = fmax(set_percentile_mm(&r, 0.95), set_percentile_mm(&p, 0.95));
    m->assd_mm = (r.sum_mm + p.sum_mm) / surfaces;
    m->nsd = (double)(set_within(&r, tolerance_mm) + set_within(&p, tolerance_mm)) / surfaces;
cleanup:
    free(field);
    free(offset);
    free(r.squared);
    free(p.squared);
    return status;
}

static double ratio(double part, double whole) { return whole > 0.0 ? part / whole : NAN; }

/* Voxel counts and what follows from them; distances start undefined. */
static void count_metrics(rvx_class_metrics *m, const label_overlap *overlap,
                          const rvx_label_class *label_class, const double spacing[3])
{
    *m = (rvx_class_metrics){.hd_mm = NAN, .hd95_mm = NAN, .assd_mm = NAN, .nsd = NAN};
    for (int r = 0; r < LABELS; r++) {
        for (int p = 0; p < LABELS; p++) {
            int64_t n = overlap->joint[r][p];
            m->true_positive += label_class->member[r] && label_class->member[p] ? n : 0;
            m->false_positive += !label_class->member[r] && label_class->member[p] ? n : 0;
            m->false_negative += label_class->member[r] && !label_class->member[p] ? n : 0;
        }
    }
    m->reference_voxels = m->true_positive + m->false_negative;
    m->prediction_voxels = m->true_positive + m->false_positive;
    double hit = (double)m->true_positive;
    double r = (double)m->reference_voxels, p = (double)m->prediction_voxels;
    m->dice = ratio(2.0 * hit, r + p);
    m->iou = ratio(hit, r + p - hit);
    m->precision = ratio(hit, p);
    m->recall = ratio(hit, r);
    double voxel_ml = spacing[0] * spacing[1] * spacing[2] / 1000.0;
    m->reference_volume_ml = r * voxel_ml;
    m->prediction_volume_ml = p * voxel_ml;
    m->volume_error_ml = (p - r) * voxel_ml;
    m->volume_error_relative = ratio(p - r, r);
    if ((r > 0.0) != (p > 0.0))
        m->nsd = 0.0;
}

/* The smallest box around all member labels of both maps. */
static void class_box(label_box *b, const label_overlap *overlap, const int64_t size[3],
                      const uint8_t *member)
{
    int64_t low[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[3] = {-1, -1, -1};
    for (int label = 0; label < LABELS; label++) {
        for (int axis = 0; axis < 3 && member[label]; axis++) {
            if (overlap->low[label][axis] < low[axis])
                low[axis] = overlap->low[label][axis];
            if (overlap->high[label][axis] > high[axis])
                high[axis] = overlap->high[label][axis];
        }
    }
    for (int axis = 0; axis < 3; axis++) {
        b->size[axis] = size[axis];
        /* Runs of pure background carry no box: a class with label 0 takes the whole map. */
        b->low[axis] = member[0] ? 0 : low[axis];
        b->box[axis] = member[0] ? size[axis] : high[axis] - low[axis] + 1;
    }
    b->member = member;
}

rvx_status rvx__metrics_compute(rvx_class_metrics *out, const uint8_t *reference,
                                const uint8_t *prediction, const int64_t size[3],
                                const double spacing[3], const rvx_label_class *classes,
                                int64_t class_count, const rvx_metrics_params *params,
                                rvx_error *error)
{
    double tolerance =
        params && params->tolerance_mm != 0.0 ? params->tolerance_mm : RVX_TOLERANCE_DEFAULT_MM;
    int threads = params && params->threads > 0 ? params->threads : 1;
    if (!(tolerance > 0.0) || !isfinite(tolerance))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "metrics: tolerance is %g mm; expected a positive number", tolerance);
    for (int axis = 0; axis < 3; axis++)
        if (size[axis] < 1 || !(spacing[axis] > 0.0) || !isfinite(spacing[axis]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "metrics: axis %d has %lld voxels of %g mm; expected at least one "
                             "voxel and a positive spacing",
                             axis, (long long)size[axis], spacing[axis]);
    rvx_status status = RVX_OK;
    label_overlap *overlaps = malloc((size_t)threads * sizeof *overlaps);
    if (!overlaps)
        return rvx__fail(error, RVX_ERROR_MEMORY, "metrics: %zu bytes refused",
                         (size_t)threads * sizeof *overlaps);
    overlap_count(overlaps, reference, prediction, size, threads);
    for (int64_t c = 0; c < class_count; c++) {
        count_metrics(&out[c], &overlaps[0], &classes[c], spacing);
        if (out[c].reference_voxels == 0 || out[c].prediction_voxels == 0)
            continue;
        label_box r = {.labels = reference}, p = {.labels = prediction};
        class_box(&r, &overlaps[0], size, classes[c].member);
        class_box(&p, &overlaps[0], size, classes[c].member);
        RVX_TRY(surface_metrics(&out[c], &r, &p, spacing, tolerance, threads, error));
    }
cleanup:
    free(overlaps);
    return status;
}
