/* Dataset fingerprint, see fingerprint.h. Owns: the sampling of intensities. Cases run in parallel,
 * each a stream of slabs; their results are combined in case order. */
#include "engine/volume/fingerprint.h"
#include "engine/volume/preprocess.h"
#include "engine/volume/symmetry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLAB_VOXELS = 1 << 18, SAMPLES_TOTAL = 4000000, SAMPLES_CASE_MAX = 100000 };

#define FINEST_MARGIN 1e-5 /* mm: the coarse axis stays the coarse one, as in nnU-Net */
#define SAMPLE_STREAM 0x73616d706c650000u /* "sample" */

/* Everything about one case while it is read. */
typedef struct work {
    rvx_volume_reader **channels;
    rvx_volume_reader *labels;
    int64_t slice, slab_slices;
    uint8_t *label_slab;
    float *image_slab;    /* [channel][voxel] */
    float *samples;       /* [channel][sample] */
    int64_t sample_count; /* of one channel */
    int64_t foreground;   /* voxels */
    rvx_coarse_image *coarse;
    int64_t (*columns)[2]; /* for the sector of a slice */
} work;

static rvx_status no_memory(const char *what, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %s", what);
}

static bool is_foreground(uint8_t label, const rvx_dataset *d)
{
    return label > 0 && label != d->ignore_label;
}

/* Counts labels, and how much of each lies below the middle; a voxel in the middle is half below.
 */
static void labels_count(rvx_case_fingerprint *f, const uint8_t *labels, int64_t z_first,
                         int64_t z_count)
{
    for (int64_t z = z_first; z < z_first + z_count; z++)
        for (int64_t y = 0; y < f->size[1]; y++, labels += f->size[0])
            for (int64_t x = 0; x < f->size[0]; x++) {
                const int64_t at[3] = {x, y, z};
                f->label_voxels[labels[x]]++;
                for (int axis = 0; axis < 3; axis++) {
                    int64_t below = f->size[axis] - 2 * at[axis];
                    f->label_below[labels[x]][axis] += below > 1 ? 2 : below == 1;
                }
            }
}

static rvx_status labels_pass(work *w, rvx_case_fingerprint *f, const rvx_dataset *d,
                              const rvx_dataset_case *one, rvx_error *error)
{
    const rvx_geometry *g = &rvx__volume_reader_info(w->labels)->geometry;
    for (int64_t z = 0; z < g->size[2]; z += w->slab_slices) {
        int64_t count = g->size[2] - z < w->slab_slices ? g->size[2] - z : w->slab_slices;
        rvx_status status =
            rvx__volume_reader_slab_labels(w->labels, w->label_slab, z, count, error);
        if (status == RVX_OK)
            status = rvx__labels_check(w->label_slab, g, z, count, d->class_count, d->ignore_label,
                                       one->labels, error);
        if (status != RVX_OK)
            return status;
        labels_count(f, w->label_slab, z, count);
    }
    for (int label = 1; label < d->class_count; label++)
        w->foreground += f->label_voxels[label];
    return RVX_OK;
}

/* Widens the box around the nonzero voxels by one slab. */
static void box_widen(int64_t low[3], int64_t high[3], rvx_case_fingerprint *f, const work *w,
                      int channels, int64_t z_first, int64_t z_count)
{
    for (int64_t i = 0; i < z_count * w->slice; i++) {
        bool zero = true;
        for (int c = 0; c < channels && zero; c++)
            zero = w->image_slab[(int64_t)c * w->slab_slices * w->slice + i] == 0;
        if (zero)
            continue;
        const int64_t at[3] = {i % f->size[0], i / f->size[0] % f->size[1], z_first + i / w->slice};
        f->nonzero_voxels++;
        for (int axis = 0; axis < 3; axis++) {
            low[axis] = at[axis] < low[axis] ? at[axis] : low[axis];
            high[axis] = at[axis] > high[axis] ? at[axis] : high[axis];
        }
    }
}

/* Takes the samples that fall into one slab; `rank` counts foreground voxels, `pick` samples. */
static void slab_sample(work *w, const rvx_dataset *d, int64_t count, uint64_t stream,
                        int64_t *rank, int64_t *pick)
{
    if (*pick >= w->sample_count)
        return;
    int64_t next = rvx__stratified_rank(stream, *pick, w->sample_count, w->foreground);
    for (int64_t i = 0; i < count * w->slice; i++) {
        if (!is_foreground(w->label_slab[i], d) || (*rank)++ != next)
            continue;
        for (int c = 0; c < d->channel_count; c++)
            w->samples[(int64_t)c * w->sample_count + *pick] =
                w->image_slab[(int64_t)c * w->slab_slices * w->slice + i];
        next = ++*pick < w->sample_count
                   ? rvx__stratified_rank(stream, *pick, w->sample_count, w->foreground)
                   : -1;
    }
}

static rvx_status images_pass(work *w, rvx_case_fingerprint *f, const rvx_dataset *d, int64_t index,
                              rvx_error *error)
{
    int64_t low[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[3] = {-1, -1, -1};
    int64_t rank = 0, pick = 0;
    for (int64_t z = 0; z < f->size[2]; z += w->slab_slices) {
        int64_t count = f->size[2] - z < w->slab_slices ? f->size[2] - z : w->slab_slices;
        rvx_status status = RVX_OK;
        for (int c = 0; status == RVX_OK && c < d->channel_count; c++)
            status = rvx__volume_reader_slab_f32(
                w->channels[c], w->image_slab + (int64_t)c * w->slab_slices * w->slice, z, count,
                error);
        if (status == RVX_OK)
            status = rvx__volume_reader_slab_labels(w->labels, w->label_slab, z, count, error);
        if (status != RVX_OK)
            return status;
        box_widen(low, high, f, w, d->channel_count, z, count);
        for (int64_t k = 0; k < count; k++)
            f->sector_voxels +=
                rvx__sector_count(w->image_slab + k * w->slice, f->size, w->columns);
        rvx__coarse_image_add(w->coarse, w->image_slab, f->size, z, count);
        slab_sample(w, d, count, SAMPLE_STREAM + (uint64_t)index, &rank, &pick);
    }
    for (int axis = 0; axis < 3; axis++)
        f->nonzero_size[axis] = high[axis] < 0 ? 0 : high[axis] - low[axis] + 1;
    return RVX_OK;
}

static void work_close(work *w, int channels)
{
    for (int c = 0; w->channels && c < channels; c++)
        rvx__volume_reader_close(w->channels[c]);
    rvx__volume_reader_close(w->labels);
    free(w->channels);
    free(w->label_slab);
    free(w->image_slab);
    free(w->columns);
    w->columns = NULL;
    w->channels = NULL;
    w->labels = NULL;
    w->label_slab = NULL;
    w->image_slab = NULL;
}

static rvx_status case_fingerprint(work *w, rvx_case_fingerprint *f, const rvx_dataset *d,
                                   int64_t index, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_dataset_case *one = &d->cases[index];
    w->channels = calloc((size_t)d->channel_count, sizeof(rvx_volume_reader *));
    if (!w->channels) {
        status = no_memory("readers", error);
        goto cleanup;
    }
    RVX_TRY(rvx__case_files_open_repair(w->channels, &w->labels, (const char *const *)one->images,
                                        d->channel_count, one->labels, d->repairs, error));
    const rvx_geometry *g = &rvx__volume_reader_info(w->channels[0])->geometry;
    memcpy(f->size, g->size, sizeof f->size);
    memcpy(f->spacing, g->spacing, sizeof f->spacing);
    w->slice = g->size[0] * g->size[1];
    w->slab_slices = w->slice < SLAB_VOXELS ? SLAB_VOXELS / w->slice : 1;
    const size_t slab = (size_t)(w->slab_slices * w->slice);
    w->label_slab = malloc(slab);
    w->image_slab = malloc(slab * (size_t)d->channel_count * sizeof(float));
    w->columns = malloc((size_t)g->size[0] * sizeof *w->columns);
    if (!w->label_slab || !w->image_slab || !w->columns) {
        status = no_memory("a slab", error);
        goto cleanup;
    }
    RVX_TRY(labels_pass(w, f, d, one, error));
    int64_t share = SAMPLES_TOTAL / d->case_count;
    share = share > SAMPLES_CASE_MAX ? SAMPLES_CASE_MAX : share < 1 ? 1 : share;
    w->sample_count = w->foreground < share ? w->foreground : share;
    w->samples = malloc((size_t)(w->sample_count * d->channel_count + 1) * sizeof *w->samples);
    w->coarse = calloc(1, sizeof *w->coarse);
    if (!w->samples || !w->coarse) {
        status = no_memory("intensity samples", error);
        goto cleanup;
    }
    RVX_TRY(images_pass(w, f, d, index, error));
cleanup:
    if (status != RVX_OK)
        rvx__fail_context(error, "case %s", one->identifier);
    work_close(w, d->channel_count);
    return status;
}

static int compare_f32(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int compare_f64(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double rvx__percentile_f32(const float *ascending, int64_t count, double percent)
{
    double at = percent / 100 * (double)(count - 1);
    int64_t low = (int64_t)at, high = low + 1 < count ? low + 1 : low;
    return ascending[low] + (at - (double)low) * ((double)ascending[high] - ascending[low]);
}

double rvx__percentile_f64(const double *ascending, int64_t count, double percent)
{
    double at = percent / 100 * (double)(count - 1);
    int64_t low = (int64_t)at, high = low + 1 < count ? low + 1 : low;
    return ascending[low] + (at - (double)low) * (ascending[high] - ascending[low]);
}

static void intensity_find(rvx_intensity *out, const float *ascending, int64_t count)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ascending[i];
    out->mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        square += (ascending[i] - out->mean) * (ascending[i] - out->mean);
    out->std = sqrt(square / (double)count);
    out->min = ascending[0];
    out->max = ascending[count - 1];
    out->median = rvx__percentile_f32(ascending, count, 50);
    out->percentile_00_5 = rvx__percentile_f32(ascending, count, 0.5);
    out->percentile_99_5 = rvx__percentile_f32(ascending, count, 99.5);
}

/* All samples of each channel, sorted, to its statistics. */
static rvx_status intensities_find(rvx_fingerprint *f, const rvx_dataset *d, const work *works,
                                   rvx_error *error)
{
    int64_t total = 0;
    for (int64_t i = 0; i < d->case_count; i++)
        total += works[i].sample_count;
    if (!total)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: no case has a foreground voxel: every label is background or ignore",
                         d->path);
    float *all = malloc((size_t)total * sizeof *all);
    if (!all)
        return no_memory("intensity samples", error);
    for (int c = 0; c < d->channel_count; c++) {
        int64_t used = 0;
        for (int64_t i = 0; i < d->case_count; i++) {
            memcpy(all + used, works[i].samples + c * works[i].sample_count,
                   (size_t)works[i].sample_count * sizeof *all);
            used += works[i].sample_count;
        }
        qsort(all, (size_t)total, sizeof *all, compare_f32);
        intensity_find(&f->intensities[c], all, total);
    }
    free(all);
    return RVX_OK;
}

/* ---- Over cases -------------------------------------------------------------------------------
 */

typedef double (*case_number)(const rvx_case_fingerprint *one, int axis);

static double spacing_of(const rvx_case_fingerprint *one, int axis) { return one->spacing[axis]; }
const int64_t *rvx__case_box(const rvx_case_fingerprint *one)
{
    return one->nonzero_size[0] ? one->nonzero_size : one->size;
}

static double size_of(const rvx_case_fingerprint *one, int axis)
{
    return (double)rvx__case_box(one)[axis];
}

static double nonzero_share_of(const rvx_case_fingerprint *one, int axis)
{
    (void)axis;
    double share = 1;
    for (int i = 0; i < 3; i++)
        share *= (double)one->nonzero_size[i] / (double)one->size[i];
    return share;
}

static double sector_share_of(const rvx_case_fingerprint *one, int axis)
{
    (void)axis;
    return (double)one->sector_voxels /
           ((double)one->size[0] * (double)one->size[1] * (double)one->size[2]);
}

/* The percentile over cases of a number per case; `values` has room for one per case. */
static double over_cases(const rvx_fingerprint *f, double *values, case_number number, int axis,
                         double percent)
{
    for (int64_t i = 0; i < f->case_count; i++)
        values[i] = number(&f->cases[i], axis);
    qsort(values, (size_t)f->case_count, sizeof *values, compare_f64);
    return rvx__percentile_f64(values, f->case_count, percent);
}

rvx_status rvx__fingerprint_medians(rvx_fingerprint *f, rvx_error *error)
{
    double *values = malloc((size_t)f->case_count * sizeof *values);
    if (!values)
        return no_memory("case statistics", error);
    double *spacing = f->target_spacing, *size = f->median_size;
    int worst = 0;
    for (int axis = 0; axis < 3; axis++) {
        spacing[axis] = over_cases(f, values, spacing_of, axis, 50);
        size[axis] = over_cases(f, values, size_of, axis, 50);
        if (spacing[axis] > spacing[worst])
            worst = axis;
    }
    double others = fmax(spacing[(worst + 1) % 3], spacing[(worst + 2) % 3]);
    double voxels = fmin(size[(worst + 1) % 3], size[(worst + 2) % 3]);
    if (spacing[worst] > 3 * others && size[worst] * 3 < voxels)
        spacing[worst] = over_cases(f, values, spacing_of, worst, 10);
    if (spacing[worst] < others)
        spacing[worst] = others + FINEST_MARGIN;
    f->nonzero_share = over_cases(f, values, nonzero_share_of, 0, 50);
    f->sector_share = over_cases(f, values, sector_share_of, 0, 50);
    free(values);
    return RVX_OK;
}

static rvx_status symmetry_find(rvx_fingerprint *f, const work *works, rvx_error *error)
{
    rvx_coarse_image **images = malloc((size_t)(f->case_count + 1) * sizeof *images);
    if (!images)
        return no_memory("coarse images", error);
    for (int64_t i = 0; i < f->case_count; i++)
        images[i] = works[i].coarse;
    rvx__mirror_correlation(f->mirror_correlation, images, f->case_count);
    rvx__beam_guess(&f->beam, &f->sweep, images, f->case_count);
    free(images);
    return RVX_OK;
}

/* Whether `label` lies on the same side of the middle in every case that has it. */
static bool label_one_sided(const rvx_fingerprint *f, int label, int axis)
{
    bool below = true, above = true, somewhere = false;
    for (int64_t i = 0; i < f->case_count; i++) {
        const rvx_case_fingerprint *one = &f->cases[i];
        if (!one->label_voxels[label])
            continue;
        double share =
            0.5 * (double)one->label_below[label][axis] / (double)one->label_voxels[label];
        below &= share >= RVX_ONE_SIDED_SHARE;
        above &= share <= 1 - RVX_ONE_SIDED_SHARE;
        somewhere = true;
    }
    return somewhere && (below || above);
}

static void sides_find(rvx_fingerprint *f, const rvx_dataset *d)
{
    for (int axis = 0; axis < 3; axis++)
        for (int label = 1; label < d->class_count && !f->one_sided[axis]; label++)
            f->one_sided[axis] = label_one_sided(f, label, axis);
}

rvx_status rvx__fingerprint_make(rvx_fingerprint *f, const rvx_dataset *d, rvx_error *error)
{
    rvx_status status = RVX_OK;
    memset(f, 0, sizeof *f);
    const size_t count = (size_t)d->case_count;
    work *works = calloc(count + 1, sizeof *works);
    rvx_error *errors = calloc(count + 1, sizeof *errors);
    f->case_count = d->case_count;
    f->channel_count = d->channel_count;
    f->cases = calloc(count + 1, sizeof *f->cases);
    f->intensities = calloc((size_t)d->channel_count, sizeof *f->intensities);
    if (!works || !errors || !f->cases || !f->intensities) {
        status = no_memory("the fingerprint", error);
        goto cleanup;
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < d->case_count; i++)
        case_fingerprint(&works[i], &f->cases[i], d, i, &errors[i]);
    for (int64_t i = 0; i < d->case_count; i++)
        if (errors[i].status != RVX_OK) {
            if (error)
                *error = errors[i];
            status = errors[i].status;
            goto cleanup;
        }
    RVX_TRY(intensities_find(f, d, works, error));
    RVX_TRY(rvx__fingerprint_medians(f, error));
    RVX_TRY(symmetry_find(f, works, error));
    sides_find(f, d);
cleanup:
    for (size_t i = 0; works && i < count; i++) {
        free(works[i].samples);
        free(works[i].coarse);
    }
    free(works);
    free(errors);
    if (status != RVX_OK)
        rvx__fingerprint_free(f);
    return status;
}

void rvx__fingerprint_free(rvx_fingerprint *f)
{
    if (!f)
        return;
    free(f->cases);
    free(f->intensities);
    memset(f, 0, sizeof *f);
}
