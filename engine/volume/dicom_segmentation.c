/* DICOM Segmentations as label maps: BINARY, with a frame for each segment and slice that has any,
 * and LABELMAP. Owns: the way from frames to labels, and what segments are called. Invariant: a
 * voxel's label is the number of its one segment, 0 where it is in none; a voxel in two is refused.
 *
 * Slices without frames are background. Memory: three slices, and what each frame says; the
 * plug-in's process holds the file. Source: DICOM PS3.3 C.8.20; CIELab (D50) to sRGB as in ICC
 * profiles. */
#include "engine/volume/dicom.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = UINT16_MAX };

typedef struct decoder {
    rvx__decoder base;
    rvx__dicom_files files; /* one file */
    rvx__dicom_source *sources;
    int64_t *places; /* see rvx__dicom_stack_sparse */
    bool named[LABEL_MAX + 1], labelmap;
    int64_t columns, rows;
    int label_bytes;   /* 1 or 2 */
    uint16_t *labels;  /* of one slice, and the segment of each voxel meanwhile */
    void *slice;       /* the same, as it is given out */
    uint8_t *stored;   /* one frame */
    int64_t slice_now; /* which slice that is; -1: none */
} decoder;

static const rvx_dicom_segment *segment_find(const decoder *d, int64_t number)
{
    const rvx_dicom_image *image = &d->files.images[0];
    for (int64_t i = 0; i < image->segment_count; i++)
        if (image->segments[i].number == number)
            return &image->segments[i];
    return NULL;
}

static rvx_status overlap_refuse(const decoder *d, int64_t at, int64_t z, int64_t other,
                                 rvx_error *error)
{
    const int64_t first = d->labels[at];
    const rvx_dicom_segment *a = segment_find(d, first), *b = segment_find(d, other);
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                     "%s: voxel (%lld, %lld, %lld) is in segment %lld (%s) and in segment %lld "
                     "(%s): a label map holds one",
                     d->files.paths[0], (long long)(at % d->columns), (long long)(at / d->columns),
                     (long long)z, (long long)first, a ? a->name : "", (long long)other,
                     b ? b->name : "");
}

/* Puts one frame over the slice's labels. */
static rvx_status frame_put(decoder *d, const rvx__dicom_source *s, int64_t z, rvx_error *error)
{
    const rvx_dicom_image *image = &d->files.images[0];
    rvx_status status = d->files.library->frame_read(d->files.session, d->stored, d->files.paths[0],
                                                     image, s->frame, error);
    for (int64_t i = 0; status == RVX_OK && i < d->columns * d->rows; i++) {
        int64_t value =
            image->bits_allocated == 8 ? d->stored[i] : ((const uint16_t *)(void *)d->stored)[i];
        if (!value)
            continue;
        if (!d->labelmap && value != 1)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: frame %lld: a voxel holds %lld, expected 0 or 1 in a BINARY "
                             "segmentation",
                             s->name, (long long)s->frame + 1, (long long)value);
        value = d->labelmap ? value : s->at.segment;
        if (d->labelmap && !d->named[value])
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: frame %lld: a voxel holds %lld, which SegmentSequence does not "
                             "name",
                             s->name, (long long)s->frame + 1, (long long)value);
        if (d->labels[i] && d->labels[i] != value)
            return overlap_refuse(d, i, z, value, error);
        d->labels[i] = (uint16_t)value;
    }
    return status;
}

static rvx_status slice_make(decoder *d, int64_t z, rvx_error *error)
{
    const int64_t count = d->columns * d->rows;
    d->slice_now = -1;
    memset(d->labels, 0, (size_t)count * sizeof *d->labels);
    for (int64_t i = d->places[z]; i < d->places[z + 1]; i++) {
        rvx_status status = frame_put(d, &d->sources[i], z, error);
        if (status != RVX_OK)
            return status;
    }
    for (int64_t i = 0; i < count; i++)
        if (d->label_bytes == 1)
            ((uint8_t *)d->slice)[i] = (uint8_t)d->labels[i];
        else
            ((uint16_t *)d->slice)[i] = d->labels[i];
    d->slice_now = z;
    return RVX_OK;
}

static rvx_status decoder_read(rvx__decoder *base, void *out, int64_t offset, int64_t count,
                               rvx_error *error)
{
    decoder *d = (decoder *)base;
    const int64_t slice_bytes = d->columns * d->rows * d->label_bytes;
    uint8_t *to = out;
    while (count > 0) {
        const int64_t z = offset / slice_bytes, at = offset % slice_bytes;
        const int64_t part = slice_bytes - at < count ? slice_bytes - at : count;
        rvx_status status = z == d->slice_now ? RVX_OK : slice_make(d, z, error);
        if (status != RVX_OK)
            return status;
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
    free(d->sources);
    free(d->places);
    free(d->labels);
    free(d->slice);
    free(d->stored);
    free(d);
}

/* ---- What the file says -----------------------------------------------------------------------
 */

/* RecommendedDisplayCIELabValue to red, green, blue. */
static void color_convert(double out[3], const int64_t lab[3])
{
    static const double white[3] = {0.9642, 1, 0.8249};
    static const double to_rgb[3][3] = {
        {3.1339, -1.6169, -0.4906}, {-0.9785, 1.9160, 0.0333}, {0.0720, -0.2290, 1.4057}};
    const double l = (double)lab[0] * 100 / 65535, a = (double)lab[1] * 255 / 65535 - 128,
                 b = (double)lab[2] * 255 / 65535 - 128;
    const double y = (l + 16) / 116, f[3] = {y + a / 500, y, y - b / 200};
    double xyz[3];
    for (int i = 0; i < 3; i++)
        xyz[i] = white[i] * (f[i] > 6.0 / 29 ? f[i] * f[i] * f[i]
                                             : 3 * (6.0 / 29) * (6.0 / 29) * (f[i] - 4.0 / 29));
    for (int i = 0; i < 3; i++) {
        double v = to_rgb[i][0] * xyz[0] + to_rgb[i][1] * xyz[1] + to_rgb[i][2] * xyz[2];
        v = v <= 0.0031308 ? 12.92 * v : 1.055 * pow(v, 1 / 2.4) - 0.055;
        out[i] = round(1e4 * fmin(fmax(v, 0), 1)) / 1e4;
    }
}

static rvx_status segments_list(decoder *d, rvx_segments *segments, rvx_error *error)
{
    const rvx_dicom_image *image = &d->files.images[0];
    const char *path = d->files.paths[0];
    int64_t most = 0;
    for (int64_t i = 0; i < image->segment_count; i++) {
        const rvx_dicom_segment *one = &image->segments[i];
        if (d->labelmap && one->number == 0) /* the background, by its name */
            continue;
        if (one->number < 1 || one->number > LABEL_MAX || d->named[one->number])
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: SegmentNumber: expected numbers from 1, each once, found %lld",
                             path, (long long)one->number);
        d->named[one->number] = true;
        rvx_status status = rvx__segments_add(segments, one->name, one->number, error);
        if (status != RVX_OK)
            return status;
        if (one->has_color)
            color_convert(segments->list[segments->count - 1].color, one->color);
        most = one->number > most ? one->number : most;
    }
    d->label_bytes = most <= UINT8_MAX ? 1 : 2;
    for (int64_t i = 0; i < image->frame_count && !d->labelmap; i++) {
        const int64_t number = image->frames[i].segment;
        if (number < 1 || number > LABEL_MAX || !d->named[number])
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: frame %lld: ReferencedSegmentNumber is %lld, which "
                             "SegmentSequence does not have",
                             path, (long long)i + 1, (long long)number);
    }
    return RVX_OK;
}

static rvx_status kind_check(const rvx_dicom_image *image, const char *path, rvx_error *error)
{
    const bool labelmap = strcmp(image->segmentation, "LABELMAP") == 0;
    if (!labelmap && strcmp(image->segmentation, "BINARY") != 0)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: SegmentationType: expected BINARY or LABELMAP, found %.40s", path,
                         image->segmentation);
    if (image->samples != 1 || image->is_signed || image->bits_stored != image->bits_allocated ||
        (image->bits_allocated != 8 && image->bits_allocated != 16))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: SamplesPerPixel %d, BitsAllocated %d, BitsStored %d: expected a "
                         "segmentation of 1, 8 or 16 bits",
                         path, image->samples, image->bits_allocated, image->bits_stored);
    return RVX_OK;
}

rvx_status rvx__dicom_segmentation_make(rvx__decoder **out, rvx_volume_info *info,
                                        rvx_segments *segments, rvx__dicom_files *files,
                                        rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__dicom_stack stack = {0};
    decoder *d = calloc(1, sizeof *d);
    if (!d)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", files->paths[0]);
    d->base = (rvx__decoder){decoder_read, decoder_free};
    d->files = *files;
    *files = (rvx__dicom_files){0};
    d->slice_now = -1;
    const rvx_dicom_image *image = &d->files.images[0];
    const char *path = d->files.paths[0];
    const rvx__dicom_question question = {.path = path};
    d->labelmap = strcmp(image->segmentation, "LABELMAP") == 0;
    d->columns = image->columns;
    d->rows = image->rows;
    RVX_TRY(kind_check(image, path, error));
    RVX_TRY(segments_list(d, segments, error));
    const size_t voxels = (size_t)(d->columns * d->rows);
    d->sources = calloc((size_t)image->frame_count, sizeof *d->sources);
    d->labels = malloc(voxels * sizeof *d->labels);
    d->slice = malloc(voxels * sizeof *d->labels);
    d->stored = malloc(voxels * (size_t)(image->bits_allocated / 8));
    if (!d->sources || !d->labels || !d->slice || !d->stored)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld frames", path,
                          (long long)image->frame_count));
    for (int64_t i = 0; i < image->frame_count; i++)
        d->sources[i] = (rvx__dicom_source){.at = image->frames[i],
                                            .columns = d->columns,
                                            .rows = d->rows,
                                            .frame = i,
                                            .name = path,
                                            .instance = image->instance};
    RVX_TRY(rvx__dicom_stack_sparse(&stack, &d->places, d->sources, image->frame_count, &question,
                                    error));
    info->geometry = stack.geometry;
    info->type = d->label_bytes == 1 ? RVX_VOXEL_U8 : RVX_VOXEL_U16;
    info->slope = 1;
    info->intercept = 0;
    snprintf(info->format, sizeof info->format, "dicom");
    snprintf(info->geometry_source, sizeof info->geometry_source, "ImagePositionPatient");
    snprintf(info->remark, sizeof info->remark, "%.16s %.40s, %.16s, %lld segment%s in %lld frames",
             image->modality, image->description, image->segmentation, (long long)segments->count,
             segments->count == 1 ? "" : "s", (long long)image->frame_count);
    *out = &d->base;
    d = NULL;
cleanup:
    if (d)
        decoder_free(&d->base);
    rvx__dicom_stack_free(&stack);
    return status;
}
