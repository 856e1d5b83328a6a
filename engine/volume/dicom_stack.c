/* DICOM frames as one volume: see dicom_stack.h. */
#include "engine/volume/dicom_stack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX_MM 1e6      /* a kilometre: beyond, no number is a place in a patient */
#define SAME_PLACE_MM 1e-3    /* closer than this, two slices are in one plane */
#define SAME_DIRECTION 1e-4   /* entries of ImageOrientationPatient, written with few digits */
#define UNEVEN_MAX 0.05       /* of the spacing: how far a slice may be off its place */
#define SHIFT_MAX 0.05        /* voxels: how far it may be off in its plane; or, if more, */
#define SHIFT_COSINE_MAX 1e-3 /* of the way along the stack, as all grids may (geometry.c) */
#define MISSING_MAX 0.1       /* of the spacing: a gap this near to a multiple misses slices */
#define GAP_MAX 2.5           /* spacings: no more is filled by interpolation */
#define DEGREES (180 / 3.14159265358979323846)

typedef struct work {
    const rvx__dicom_question *q;
    rvx__dicom_source *s;
    int64_t count;
    double axis[3][3]; /* directions of x, y and the normal */
    double *gaps;
    rvx__dicom_stack *out;
} work;

static double dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static rvx_status alike_check(const work *w, const rvx__dicom_source *a, rvx_error *error)
{
    const rvx__dicom_source *first = &w->s[0];
    const char *field = NULL;
    if (!a->at.has_position || !a->at.has_direction || !a->at.has_spacing)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: frame %lld has no %s: it has no place in the patient", a->name,
                         (long long)a->frame + 1,
                         !a->at.has_position    ? "ImagePositionPatient"
                         : !a->at.has_direction ? "ImageOrientationPatient"
                                                : "PixelSpacing");
    for (int i = 0; i < 3; i++)
        if (!(fabs(a->at.position[i]) <= PLACE_MAX_MM))
            field = "ImagePositionPatient";
    for (int i = 0; i < 2; i++)
        if (!(a->at.spacing[i] >= 1 / PLACE_MAX_MM && a->at.spacing[i] <= PLACE_MAX_MM))
            field = "PixelSpacing";
    if (field)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: frame %lld: %s: expected numbers up to %g mm, and spacings above 0",
                         a->name, (long long)a->frame + 1, field, PLACE_MAX_MM);
    if (a->columns != first->columns || a->rows != first->rows)
        field = "Rows and Columns";
    for (int i = 0; i < 6; i++)
        if (!(fabs(a->at.direction[i / 3][i % 3] - first->at.direction[i / 3][i % 3]) <=
              SAME_DIRECTION))
            field = "ImageOrientationPatient";
    for (int i = 0; i < 2; i++)
        if (!(fabs(a->at.spacing[i] - first->at.spacing[i]) <= 1e-4 * first->at.spacing[i]))
            field = "PixelSpacing";
    if (!field)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                     "%s: frame %lld differs in %s from frame %lld of %s: they are not slices of "
                     "one volume",
                     a->name, (long long)a->frame + 1, field, (long long)first->frame + 1,
                     first->name);
}

/* The directions of the first frame, and how far along their normal every frame lies. */
static rvx_status axes_find(work *w, rvx_error *error)
{
    const double(*d)[3] = (const double(*)[3])w->s[0].at.direction;
    double columns[3][3], length = 0;
    char name[512];
    bool repaired;
    rvx_geometry g = {.size = {1, 1, 1}};
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        columns[i][0] = d[0][i];
        columns[i][1] = d[1][i];
        columns[i][2] = d[0][j] * d[1][k] - d[0][k] * d[1][j];
        length += columns[i][2] * columns[i][2];
    }
    for (int i = 0; i < 3; i++)
        columns[i][2] /= length > 0 ? sqrt(length) : 1;
    snprintf(name, sizeof name, "%.400s: ImageOrientationPatient, ImagePositionPatient",
             w->s[0].name);
    const double spacing[3] = {w->s[0].at.spacing[0], w->s[0].at.spacing[1], 1};
    rvx_status status = rvx__geometry_from_axes_repair(&g, w->s[0].at.position, spacing,
                                                       (const double(*)[3])columns, name,
                                                       w->q->repairs, &repaired, error);
    if (status != RVX_OK)
        return status;
    memcpy(w->out->geometry.direction, g.direction, sizeof g.direction);
    for (int a = 0; a < 3; a++)
        for (int i = 0; i < 3; i++)
            w->axis[a][i] = g.direction[i][a];
    for (int64_t i = 0; i < w->count; i++)
        w->s[i].along = dot(w->s[i].at.position, w->axis[2]);
    return RVX_OK;
}

static int by_place(const void *a, const void *b)
{
    const rvx__dicom_source *p = a, *q = b;
    if (fabs(p->along - q->along) > 0)
        return p->along < q->along ? -1 : 1;
    if (p->at.number != q->at.number)
        return p->at.number < q->at.number ? -1 : 1;
    if (p->file != q->file)
        return p->file < q->file ? -1 : 1;
    return (p->frame > q->frame) - (p->frame < q->frame);
}

/* Two frames in one plane: the second goes if it is the first again. */
static rvx_status double_drop(work *w, int64_t kept, const rvx__dicom_source *second,
                              rvx_error *error)
{
    const rvx__dicom_source *first = &w->s[kept];
    bool same = false;
    rvx_status status = w->q->same(&same, w->q->context, first, second, error);
    if (status != RVX_OK)
        return status;
    if (!same)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: frame %lld and frame %lld of %s have the same ImagePositionPatient "
                         "and differ: a series over time, echoes or directions, expected one "
                         "volume",
                         first->name, (long long)first->frame + 1, (long long)second->frame + 1,
                         second->name);
    if (!w->q->repairs) {
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: frame %lld is a duplicate of frame %lld of %s: the same "
                           "ImagePositionPatient, the same voxels",
                           second->name, (long long)second->frame + 1, (long long)first->frame + 1,
                           first->name);
        rvx__repair_advise(error, "drops it");
        return status;
    }
    rvx__repairs_add(w->q->repairs,
                     "%s: frame %lld: a duplicate (ImagePositionPatient and voxels) of frame %lld "
                     "of %s; dropped",
                     second->name, (long long)second->frame + 1, (long long)first->frame + 1,
                     first->name);
    return RVX_OK;
}

static rvx_status doubles_drop(work *w, rvx_error *error)
{
    int64_t kept = 0;
    for (int64_t i = 1; i < w->count; i++) {
        if (w->s[i].along - w->s[kept].along > SAME_PLACE_MM) {
            w->s[++kept] = w->s[i];
            continue;
        }
        rvx_status status = double_drop(w, kept, &w->s[i], error);
        if (status != RVX_OK)
            return status;
    }
    w->count = kept + 1;
    return RVX_OK;
}

static int by_size(const void *a, const void *b)
{
    const double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

/* ---- Even slices ------------------------------------------------------------------------------
 */

/* How far the slices are off the places that an even stack from the first to the last has. */
static double uneven_by(const work *w, double step)
{
    double worst = 0;
    for (int64_t i = 0; i < w->count; i++)
        worst = fmax(worst, fabs(w->s[i].along - w->s[0].along - step * (double)i));
    return worst;
}

/* Why the slices are not even, in words, with the files at the widest gap. */
static rvx_status uneven_refuse(const work *w, double usual, bool missing, rvx_error *error)
{
    int64_t widest = 0, absent = 0;
    for (int64_t i = 0; i + 1 < w->count; i++) {
        if (w->s[i + 1].along - w->s[i].along > w->s[widest + 1].along - w->s[widest].along)
            widest = i;
        absent += (int64_t)rint((w->s[i + 1].along - w->s[i].along) / usual) - 1;
    }
    const rvx__dicom_source *a = &w->s[widest], *b = &w->s[widest + 1];
    const double gap = b->along - a->along;
    if (missing)
        rvx__fail(error, RVX_ERROR_FORMAT,
                  "%s: ImagePositionPatient: %lld slice%s missing: from frame %lld of %s to frame "
                  "%lld of %s it is %.6g mm, elsewhere %.6g",
                  w->q->path, (long long)absent, absent == 1 ? " is" : "s are",
                  (long long)a->frame + 1, a->name, (long long)b->frame + 1, b->name, gap, usual);
    else
        rvx__fail(error, RVX_ERROR_FORMAT,
                  "%s: ImagePositionPatient: slices are unevenly spaced: from frame %lld of %s to "
                  "frame %lld of %s it is %.6g mm, elsewhere down to %.6g mm",
                  w->q->path, (long long)a->frame + 1, a->name, (long long)b->frame + 1, b->name,
                  gap, w->gaps[0]);
    if (gap > GAP_MAX * usual)
        rvx__fail_context(error,
                          "cannot be repaired, as a gap of more than %.3g spacings would be "
                          "invented",
                          GAP_MAX);
    else
        rvx__repair_advise(error, "fills in by linear interpolation");
    return RVX_ERROR_FORMAT;
}

static rvx_status slices_set(work *w, double step, int64_t count, rvx_error *error)
{
    rvx__dicom_stack *out = w->out;
    int64_t low = 0;
    out->slices = calloc((size_t)count, sizeof *out->slices);
    if (!out->slices)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld slices", w->q->path,
                         (long long)count);
    for (int64_t z = 0; z < count; z++) {
        const double at = w->s[0].along + step * (double)z;
        rvx__dicom_slice *one = &out->slices[z];
        if (!out->resampled) {
            *one = (rvx__dicom_slice){z, z, 0};
            continue;
        }
        while (low + 2 < w->count && w->s[low + 1].along <= at)
            low++;
        const double gap = w->s[low + 1].along - w->s[low].along;
        double weight = (at - w->s[low].along) / gap;
        if (fabs(weight - rint(weight)) < 1e-6)
            weight = rint(weight);
        one->low = weight < 1 ? low : low + 1;
        one->weight = weight > 0 && weight < 1 ? weight : 0;
        one->high = one->weight > 0 ? low + 1 : one->low;
    }
    out->geometry.size[2] = count;
    out->geometry.spacing[2] = step;
    return RVX_OK;
}

static rvx_status one_slice(work *w, rvx_error *error)
{
    double step = w->s[0].at.thickness;
    if (!(step >= 1 / PLACE_MAX_MM && step <= PLACE_MAX_MM)) {
        step = 1;
        snprintf(w->out->remark, sizeof w->out->remark, "one slice without SliceThickness: 1 mm");
    }
    return slices_set(w, step, 1, error);
}

static rvx_status spacing_find(work *w, rvx_error *error)
{
    const int64_t gap_count = w->count - 1;
    if (gap_count == 0)
        return one_slice(w, error);
    w->gaps = malloc((size_t)gap_count * sizeof *w->gaps);
    if (!w->gaps)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld slices", w->q->path,
                         (long long)w->count);
    for (int64_t i = 0; i < gap_count; i++)
        w->gaps[i] = w->s[i + 1].along - w->s[i].along;
    qsort(w->gaps, (size_t)gap_count, sizeof *w->gaps, by_size);
    const double usual = w->gaps[gap_count / 2], extent = w->s[gap_count].along - w->s[0].along;
    const double even = extent / (double)gap_count, off = uneven_by(w, even);
    if (off <= UNEVEN_MAX * even) {
        if (off > SAME_PLACE_MM)
            snprintf(w->out->remark, sizeof w->out->remark, "slices are up to %.2g mm off even",
                     off);
        return slices_set(w, even, w->count, error);
    }
    bool missing = true;
    for (int64_t i = 0; i < gap_count; i++)
        missing &= w->gaps[i] > 0.5 * usual &&
                   fabs(w->gaps[i] / usual - rint(w->gaps[i] / usual)) <= MISSING_MAX;
    if (!w->q->repairs || w->gaps[gap_count - 1] > GAP_MAX * usual)
        return uneven_refuse(w, usual, missing, error);
    /* With slices missing the others are even; else the usual gap is as good as any. */
    const double steps = missing ? rint(extent / usual) : floor(extent / usual + 1e-6);
    const double step = missing ? extent / steps : usual;
    w->out->resampled = true;
    rvx__repairs_add(w->q->repairs,
                     "%s: ImagePositionPatient: %s (gaps of %.6g to %.6g mm); %lld slices made of "
                     "%lld by linear interpolation, %.6g mm apart",
                     w->q->path, missing ? "slices are missing" : "slices are unevenly spaced",
                     w->gaps[0], w->gaps[gap_count - 1], (long long)steps + 1, (long long)w->count,
                     step);
    return slices_set(w, step, (int64_t)steps + 1, error);
}

/* ---- Slices above each other ------------------------------------------------------------------
 */

/* In a tilted gantry the next slice lies not straight above the last one. */
static rvx_status shifts_find(work *w, rvx_error *error)
{
    const double extent = w->s[w->count - 1].along - w->s[0].along;
    double worst_mm = 0, allowed = SHIFT_COSINE_MAX * extent, last[2] = {0};
    for (int64_t i = 0; i < w->count; i++)
        for (int a = 0; a < 2; a++) {
            double off[3];
            for (int k = 0; k < 3; k++)
                off[k] = w->s[i].at.position[k] - w->s[0].at.position[k];
            last[a] = dot(off, w->axis[a]);
            w->s[i].shift[a] = last[a] / w->s[0].at.spacing[a];
            worst_mm = fmax(worst_mm, fabs(last[a]));
            allowed = fmax(allowed, SHIFT_MAX * w->s[0].at.spacing[a]);
        }
    if (worst_mm <= allowed) {
        for (int64_t i = 0; i < w->count; i++)
            w->s[i].shift[0] = w->s[i].shift[1] = 0;
        return RVX_OK;
    }
    const double angle = DEGREES * atan2(hypot(last[0], last[1]), extent);
    char said[64] = "no GantryDetectorTilt is given";
    if (fabs(w->q->tilt) > 0)
        snprintf(said, sizeof said, "GantryDetectorTilt is %.4g", w->q->tilt);
    if (!w->q->repairs) {
        rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                  "%s: ImagePositionPatient: the stack leans by %.4g degrees against its slices, "
                  "up to %.4g mm (gantry tilt; %s): the grid is sheared",
                  w->q->path, angle, worst_mm, said);
        if (w->q->same) /* labels are not interpolated */
            rvx__repair_advise(error, "moves every slice in its plane by linear interpolation");
        return RVX_ERROR_UNSUPPORTED;
    }
    w->out->resampled = true;
    rvx__repairs_add(w->q->repairs,
                     "%s: ImagePositionPatient: the stack leans by %.4g degrees against its slices "
                     "(gantry tilt; %s); slices moved in their planes by up to %.4g mm, linear "
                     "interpolation, edges repeated",
                     w->q->path, angle, said, worst_mm);
    return RVX_OK;
}

static void grid_set(work *w)
{
    w->out->geometry.size[0] = w->s[0].columns;
    w->out->geometry.size[1] = w->s[0].rows;
    for (int i = 0; i < 3; i++) {
        w->out->geometry.origin[i] = w->s[0].at.position[i] + 0.0;
        if (i < 2)
            w->out->geometry.spacing[i] = w->s[0].at.spacing[i];
    }
}

rvx_status rvx__dicom_stack_make(rvx__dicom_stack *stack, rvx__dicom_source *sources, int64_t count,
                                 const rvx__dicom_question *question, rvx_error *error)
{
    rvx_status status = RVX_OK;
    work w = {.q = question, .s = sources, .count = count, .out = stack};
    memset(stack, 0, sizeof *stack);
    for (int64_t i = 0; i < count; i++)
        RVX_TRY(alike_check(&w, &sources[i], error));
    RVX_TRY(axes_find(&w, error));
    qsort(sources, (size_t)count, sizeof *sources, by_place);
    RVX_TRY(doubles_drop(&w, error));
    RVX_TRY(shifts_find(&w, error));
    RVX_TRY(spacing_find(&w, error));
    stack->source_count = w.count;
    grid_set(&w);
cleanup:
    free(w.gaps);
    return status;
}

/* ---- Slices of a segmentation -----------------------------------------------------------------
 */

/* SpacingBetweenSlices where the places lie on its multiples, else the least way between two. */
static double sparse_step(work *w, rvx_error *error)
{
    const double given = w->s[0].at.thickness, extent = w->s[w->count - 1].along - w->s[0].along;
    double least = extent;
    for (int64_t i = 0; i + 1 < w->count; i++) {
        const double gap = w->s[i + 1].along - w->s[i].along;
        if (gap > SAME_PLACE_MM)
            least = fmin(least, gap);
    }
    if (!(extent > SAME_PLACE_MM))
        return one_slice(w, error) == RVX_OK ? w->out->geometry.spacing[2] : 0;
    const double times = given > SAME_PLACE_MM ? rint(least / given) : 0;
    if (w->s[0].at.has_step && times >= 1 && fabs(least / given - times) <= UNEVEN_MAX)
        least = given;
    return extent / fmax(rint(extent / least), 1);
}

static rvx_status places_find(work *w, int64_t **places, rvx_error *error)
{
    const double step = sparse_step(w, error);
    const double extent = w->s[w->count - 1].along - w->s[0].along;
    if (!(step > 0))
        return RVX_ERROR_MEMORY;
    if (!(extent / step < RVX_DICOM_FRAMES_MAX))
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: ImagePositionPatient: frames %.6g mm apart in slices of %.6g mm",
                         w->q->path, extent, step);
    const int64_t slices = (int64_t)rint(extent / step) + 1;
    *places = calloc((size_t)slices + 1, sizeof **places);
    if (!*places)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld slices", w->q->path,
                         (long long)slices);
    for (int64_t i = 0, z = 0; i < w->count; i++) {
        const double at = (w->s[i].along - w->s[0].along) / step;
        if (fabs(at - rint(at)) > UNEVEN_MAX)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: ImagePositionPatient: slices are unevenly spaced: frame %lld is "
                             "%.6g slices of %.6g mm from the first",
                             w->q->path, (long long)w->s[i].frame + 1, at, step);
        while (z < (int64_t)rint(at))
            (*places)[++z] = i;
    }
    (*places)[slices] = w->count;
    w->out->geometry.size[2] = slices;
    w->out->geometry.spacing[2] = step;
    return RVX_OK;
}

rvx_status rvx__dicom_stack_sparse(rvx__dicom_stack *stack, int64_t **places,
                                   rvx__dicom_source *sources, int64_t count,
                                   const rvx__dicom_question *question, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx__dicom_question strict = {.path = question->path, .tilt = question->tilt};
    work w = {.q = &strict, .s = sources, .count = count, .out = stack};
    memset(stack, 0, sizeof *stack);
    *places = NULL;
    for (int64_t i = 0; i < count; i++)
        RVX_TRY(alike_check(&w, &sources[i], error));
    RVX_TRY(axes_find(&w, error));
    qsort(sources, (size_t)count, sizeof *sources, by_place);
    RVX_TRY(shifts_find(&w, error));
    RVX_TRY(places_find(&w, places, error));
    stack->source_count = count;
    grid_set(&w);
cleanup:
    return status;
}

void rvx__dicom_stack_free(rvx__dicom_stack *stack)
{
    free(stack->slices);
    *stack = (rvx__dicom_stack){0};
}
