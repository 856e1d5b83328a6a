/* DICOM (read only): a folder with one series, one file of a series, or one file with many frames
 * (Enhanced CT and MR, Enhanced US Volume). Owns: the step from files to a stack of frames. Which
 * files make up a volume is found in dicom_files.c; reading them is the plug-in's part
 * (dicom_plugin.h).
 *
 * World: LPS, from ImageOrientationPatient and ImagePositionPatient of every frame. An Enhanced US
 * Volume is in a frame of reference of its own; its numbers are taken as LPS, and this is said. */
#include "engine/volume/dicom.h"

#include "engine/base/file.h"
#include "engine/volume/dicom_head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool dicom_recognise(const uint8_t *head, int64_t count)
{
    return rvx__dicom_head_of(head, count) != RVX__DICOM_NOT;
}

static rvx_status slope_check(rvx_dicom_frame *frame, const char *path, rvx_repairs *repairs,
                              rvx_error *error)
{
    if (fabs(frame->slope) > 0)
        return RVX_OK;
    if (!repairs) {
        rvx__fail(error, RVX_ERROR_FORMAT, "%s: RescaleSlope is 0: all voxels would be equal",
                  path);
        rvx__repair_advise(error, "takes 1");
        return RVX_ERROR_FORMAT;
    }
    rvx__repairs_add(repairs, "%s: RescaleSlope 0: taken as 1", path);
    frame->slope = 1;
    return RVX_OK;
}

static rvx_status sources_make(rvx__dicom_source **sources, int64_t *count,
                               const rvx__dicom_files *files, rvx_repairs *repairs,
                               rvx_error *error)
{
    int64_t total = 0;
    for (int64_t i = 0; i < files->count; i++)
        total += files->images[i].frame_count;
    *count = 0;
    *sources = calloc((size_t)total, sizeof **sources);
    if (!*sources)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld frames", files->paths[0],
                         (long long)total);
    for (int64_t i = 0; i < files->count; i++) {
        const rvx_dicom_image *image = &files->images[i];
        for (int64_t f = 0; f < image->frame_count; f++) {
            rvx__dicom_source *s = &(*sources)[(*count)++];
            *s = (rvx__dicom_source){.at = image->frames[f],
                                     .columns = image->columns,
                                     .rows = image->rows,
                                     .file = i,
                                     .frame = f,
                                     .name = files->paths[i],
                                     .instance = image->instance};
            rvx_status status = slope_check(&s->at, files->paths[i], repairs, error);
            if (status != RVX_OK)
                return status;
        }
    }
    return RVX_OK;
}

static rvx_status same_ask(bool *same, void *context, const rvx__dicom_source *a,
                           const rvx__dicom_source *b, rvx_error *error)
{
    return rvx__dicom_frames_same(same, context, a, b, error);
}

static void remark_put(rvx_volume_info *info, const rvx__dicom_files *files,
                       const rvx__dicom_stack *stack)
{
    const rvx_dicom_image *image = &files->images[0];
    const char *source = image->volume_frame ? "ImagePositionVolume" : "ImagePositionPatient";
    snprintf(info->format, sizeof info->format, "dicom");
    snprintf(info->geometry_source, sizeof info->geometry_source, "%s", source);
    snprintf(info->remark, sizeof info->remark, "%.16s%s%.40s, %lld file%s%s%.50s", image->modality,
             image->description[0] ? " " : "", image->description, (long long)files->count,
             files->count == 1 ? "" : "s", stack->remark[0] || image->volume_frame ? ", " : "",
             image->volume_frame ? "not in the patient's frame but the volume's own"
                                 : stack->remark);
}

static rvx_status dicom_parse(rvx_volume_info *info, rvx__layout *layout, rvx__source *header,
                              const uint8_t *head, int64_t count, const char *path,
                              rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__dicom_files files = {0};
    rvx__dicom_source *sources = NULL;
    rvx__dicom_stack stack = {0};
    int64_t source_count;
    (void)header;
    (void)head;
    (void)count;
    RVX_TRY(rvx__dicom_files_open(&files, path, error));
    if (files.images[0].segmentation[0]) {
        status =
            rvx__dicom_segmentation_make(&layout->decoder, info, &layout->segments, &files, error);
        goto cleanup;
    }
    RVX_TRY(sources_make(&sources, &source_count, &files, layout->repairs, error));
    const rvx__dicom_question question = {.path = path,
                                          .tilt = files.images[0].tilt,
                                          .repairs = layout->repairs,
                                          .same = same_ask,
                                          .context = &files};
    RVX_TRY(rvx__dicom_stack_make(&stack, sources, source_count, &question, error));
    info->geometry = stack.geometry;
    remark_put(info, &files, &stack);
    status = rvx__dicom_decoder_make(&layout->decoder, info, &files, &sources, &stack, error);
cleanup:
    rvx__dicom_files_free(&files);
    rvx__dicom_stack_free(&stack);
    free(sources);
    return status;
}

/* Also files that opening will refuse, as those of a second series. */
static rvx_status dicom_list(rvx_names *names, const char *path, rvx_error *error)
{
    rvx__dicom_files files = {0};
    rvx_status status = rvx__dicom_files_list(&files, path, error);
    if (status == RVX_OK) {
        *names = (rvx_names){files.paths, files.count};
        files.paths = NULL;
    }
    rvx__dicom_files_free(&files);
    return status;
}

const rvx__format rvx__format_dicom = {
    .name = "DICOM",
    .recognise = dicom_recognise,
    .folder = rvx__dicom_folder,
    .parse = dicom_parse,
    .list = dicom_list,
};
