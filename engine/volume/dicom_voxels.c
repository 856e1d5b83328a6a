/* Voxels of a stack of DICOM frames. Owns: the way from stored bits to values, and slices that lie
 * between frames. Memory: three slices, whatever the volume's size.
 *
 * Voxels of one format without scaling keep their type. Whole slopes and intercepts, those of CT,
 * are applied: int16 where that holds all values that the bits can say, else int32. One fractional
 * slope for all is left to the reader of the volume; with several, and where slices are made by
 * interpolation, voxels become float32. */
#include "engine/volume/dicom.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct decoder {
    rvx__decoder base;
    rvx__dicom_files files;
    rvx__dicom_source *sources;
    rvx__dicom_stack stack;
    rvx_voxel_type type;
    bool applied; /* slope and intercept, on the way to `type` */
    int64_t voxels, slice_bytes;
    void *slice; /* the one that was read last */
    int64_t slice_index;
    uint8_t *stored;   /* one frame */
    double *values[2]; /* frames with values applied, where slices are interpolated */
} decoder;

/* Stored bits to values of the frame's type: voxels may use part of their bits, with other things
 * in the rest. */
static void bits_settle(void *voxels, int64_t count, const rvx_dicom_image *image)
{
    const int allocated = image->bits_allocated;
    const int up = 31 - image->high_bit, down = 32 - image->bits_stored;
    if (image->bits_stored == allocated)
        return;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = allocated == 8    ? ((uint8_t *)voxels)[i]
                        : allocated == 16 ? ((uint16_t *)voxels)[i]
                                          : ((uint32_t *)voxels)[i];
        bits = image->is_signed ? (uint32_t)((int32_t)(bits << up) >> down) : bits << up >> down;
        if (allocated == 8)
            ((uint8_t *)voxels)[i] = (uint8_t)bits;
        else if (allocated == 16)
            ((uint16_t *)voxels)[i] = (uint16_t)bits;
        else
            ((uint32_t *)voxels)[i] = bits;
    }
}

static rvx_voxel_type type_of(const rvx_dicom_image *image)
{
    const bool is_signed = image->is_signed;
    if (image->bits_allocated == 8)
        return is_signed ? RVX_VOXEL_I8 : RVX_VOXEL_U8;
    if (image->bits_allocated == 16)
        return is_signed ? RVX_VOXEL_I16 : RVX_VOXEL_U16;
    return is_signed ? RVX_VOXEL_I32 : RVX_VOXEL_U32;
}

static double value_of(const void *voxels, int64_t i, rvx_voxel_type type)
{
    switch (type) {
    case RVX_VOXEL_U8:
        return ((const uint8_t *)voxels)[i];
    case RVX_VOXEL_I8:
        return ((const int8_t *)voxels)[i];
    case RVX_VOXEL_U16:
        return ((const uint16_t *)voxels)[i];
    case RVX_VOXEL_I16:
        return ((const int16_t *)voxels)[i];
    case RVX_VOXEL_U32:
        return ((const uint32_t *)voxels)[i];
    default:
        return ((const int32_t *)voxels)[i];
    }
}

static int64_t frame_bytes(const rvx_dicom_image *image)
{
    return image->rows * image->columns * (image->bits_allocated / 8);
}

/* The stored voxels of one frame. */
static rvx_status frame_read(const rvx__dicom_files *files, void *out, const rvx__dicom_source *s,
                             rvx_error *error)
{
    const rvx_dicom_image *image = &files->images[s->file];
    rvx_status status =
        files->library->frame_read(files->session, out, s->name, image, s->frame, error);
    if (status == RVX_OK)
        bits_settle(out, image->rows * image->columns, image);
    return status;
}

rvx_status rvx__dicom_frames_same(bool *same, const rvx__dicom_files *files,
                                  const rvx__dicom_source *a, const rvx__dicom_source *b,
                                  rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_dicom_image *p = &files->images[a->file], *q = &files->images[b->file];
    const size_t bytes = (size_t)frame_bytes(p);
    void *x = NULL, *y = NULL;
    *same = p->bits_allocated == q->bits_allocated && p->is_signed == q->is_signed &&
            fabs(a->at.slope - b->at.slope) <= 0 && fabs(a->at.intercept - b->at.intercept) <= 0;
    if (!*same)
        return RVX_OK;
    x = malloc(bytes);
    y = malloc(bytes);
    if (!x || !y)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for two frames", a->name));
    RVX_TRY(frame_read(files, x, a, error));
    RVX_TRY(frame_read(files, y, b, error));
    *same = memcmp(x, y, bytes) == 0;
cleanup:
    free(x);
    free(y);
    return status;
}

/* ---- Values -----------------------------------------------------------------------------------
 */

/* A frame's values where its slice lies on the grid: moved by a part of a voxel in its plane. */
static rvx_status frame_values(decoder *d, double *out, const rvx__dicom_source *s,
                               rvx_error *error)
{
    const rvx_dicom_image *image = &d->files.images[s->file];
    const rvx_voxel_type type = type_of(image);
    const int64_t columns = image->columns, rows = image->rows;
    rvx_status status = frame_read(&d->files, d->stored, s, error);
    if (status != RVX_OK)
        return status;
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < columns; x++) {
            const int64_t last[2] = {columns - 1, rows - 1};
            const double at[2] = {(double)x - s->shift[0], (double)y - s->shift[1]};
            int64_t low[2], high[2];
            double weight[2];
            for (int a = 0; a < 2; a++) {
                double p = at[a] < 0 ? 0 : at[a] > (double)last[a] ? (double)last[a] : at[a];
                low[a] = (int64_t)p;
                weight[a] = p - (double)low[a];
                high[a] = low[a] + (low[a] < last[a]);
            }
            double rows_value[2];
            for (int k = 0; k < 2; k++) {
                const int64_t line = (k ? high[1] : low[1]) * columns;
                rows_value[k] = (1 - weight[0]) * value_of(d->stored, line + low[0], type) +
                                weight[0] * value_of(d->stored, line + high[0], type);
            }
            const double stored = (1 - weight[1]) * rows_value[0] + weight[1] * rows_value[1];
            out[y * columns + x] = stored * s->at.slope + s->at.intercept;
        }
    return RVX_OK;
}

static rvx_status slice_make(decoder *d, int64_t z, rvx_error *error)
{
    const rvx__dicom_slice *one = &d->stack.slices[z];
    rvx_status status = RVX_OK;
    d->slice_index = -1;
    if (!d->applied) {
        status = frame_read(&d->files, d->slice, &d->sources[one->low], error);
    } else {
        status = frame_values(d, d->values[0], &d->sources[one->low], error);
        if (status == RVX_OK && one->weight > 0)
            status = frame_values(d, d->values[1], &d->sources[one->high], error);
        for (int64_t i = 0; status == RVX_OK && i < d->voxels; i++) {
            double value = d->values[0][i];
            if (one->weight > 0)
                value = (1 - one->weight) * value + one->weight * d->values[1][i];
            if (d->type == RVX_VOXEL_I16)
                ((int16_t *)d->slice)[i] = (int16_t)value;
            else if (d->type == RVX_VOXEL_I32)
                ((int32_t *)d->slice)[i] = (int32_t)value;
            else
                ((float *)d->slice)[i] = (float)value;
        }
    }
    if (status == RVX_OK)
        d->slice_index = z;
    return status;
}

static rvx_status decoder_read(rvx__decoder *base, void *out, int64_t offset, int64_t count,
                               rvx_error *error)
{
    decoder *d = (decoder *)base;
    uint8_t *to = out;
    while (count > 0) {
        const int64_t z = offset / d->slice_bytes, at = offset % d->slice_bytes;
        const int64_t part = d->slice_bytes - at < count ? d->slice_bytes - at : count;
        if (z != d->slice_index) {
            rvx_status status = slice_make(d, z, error);
            if (status != RVX_OK)
                return status;
        }
        memcpy(to, (const uint8_t *)d->slice + at, (size_t)part);
        to += part;
        offset += part;
        count -= part;
    }
    return RVX_OK;
}

static void decoder_free(rvx__decoder *base)
{
    decoder *d = (decoder *)base;
    if (!d)
        return;
    rvx__dicom_files_free(&d->files);
    rvx__dicom_stack_free(&d->stack);
    free(d->sources);
    free(d->slice);
    free(d->stored);
    free(d->values[0]);
    free(d->values[1]);
    free(d);
}

/* ---- Types ------------------------------------------------------------------------------------
 */

/* The least and the greatest value that the bits of a frame can say; false where some are not
 * whole. */
static bool range_find(double range[2], const decoder *d, const rvx__dicom_source *s)
{
    const rvx_dicom_image *image = &d->files.images[s->file];
    const double all = exp2(image->bits_stored), low = image->is_signed ? -all / 2 : 0;
    range[0] = low * s->at.slope + s->at.intercept;
    range[1] = (low + all - 1) * s->at.slope + s->at.intercept;
    if (range[0] > range[1]) {
        const double kept = range[0];
        range[0] = range[1];
        range[1] = kept;
    }
    return fabs(s->at.slope - rint(s->at.slope)) <= 0 &&
           fabs(s->at.intercept - rint(s->at.intercept)) <= 0;
}

static void type_choose(decoder *d, rvx_volume_info *info)
{
    const rvx__dicom_source *first = &d->sources[0];
    const rvx_voxel_type stored = type_of(&d->files.images[first->file]);
    bool uniform = true, whole = true;
    double least = 0, most = 0;
    for (int64_t i = 0; i < d->stack.source_count; i++) {
        const rvx__dicom_source *s = &d->sources[i];
        double range[2];
        uniform &= type_of(&d->files.images[s->file]) == stored &&
                   fabs(s->at.slope - first->at.slope) <= 0 &&
                   fabs(s->at.intercept - first->at.intercept) <= 0;
        whole &= range_find(range, d, s);
        least = fmin(least, range[0]);
        most = fmax(most, range[1]);
    }
    const bool plain = fabs(first->at.slope - 1) <= 0 && fabs(first->at.intercept) <= 0;
    const bool integers = whole && least >= INT32_MIN && most <= INT32_MAX;
    d->applied = d->stack.resampled || !uniform || (!plain && integers);
    d->type = !d->applied                        ? stored
              : d->stack.resampled || !integers  ? RVX_VOXEL_F32
              : least >= -32768 && most <= 32767 ? RVX_VOXEL_I16
                                                 : RVX_VOXEL_I32;
    info->type = d->type;
    info->slope = d->applied ? 1 : first->at.slope;
    info->intercept = d->applied ? 0 : first->at.intercept;
}

rvx_status rvx__dicom_decoder_make(rvx__decoder **out, rvx_volume_info *info,
                                   rvx__dicom_files *files, rvx__dicom_source **sources,
                                   rvx__dicom_stack *stack, rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t most = 0;
    decoder *d = calloc(1, sizeof *d);
    if (!d)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", files->paths[0]);
    d->base = (rvx__decoder){decoder_read, decoder_free};
    d->files = *files;
    d->sources = *sources;
    d->stack = *stack;
    *files = (rvx__dicom_files){0};
    *sources = NULL;
    *stack = (rvx__dicom_stack){0};
    d->slice_index = -1;
    for (int64_t i = 0; i < d->files.count; i++) {
        most = frame_bytes(&d->files.images[i]) > most ? frame_bytes(&d->files.images[i]) : most;
        free(d->files.images[i].frames); /* the sources have what they said */
        d->files.images[i].frames = NULL;
    }
    const rvx__dicom_source *first = &d->sources[0];
    type_choose(d, info);
    d->voxels = first->columns * first->rows;
    d->slice_bytes = d->voxels * rvx__voxel_type_bytes(info->type);
    d->slice = malloc((size_t)d->slice_bytes);
    d->stored = malloc((size_t)most);
    for (int i = 0; i < 2 && d->applied; i++)
        d->values[i] = malloc((size_t)d->voxels * sizeof *d->values[i]);
    if (!d->slice || !d->stored || (d->applied && (!d->values[0] || !d->values[1])))
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a slice of %lld voxels",
                          first->name, (long long)d->voxels));
    *out = &d->base;
    d = NULL;
cleanup:
    if (d)
        decoder_free(&d->base);
    return status;
}
