/* DICOM (read only): a folder with one series, one file of a series, or one file with many frames
 * (Enhanced CT and MR, Enhanced US Volume). Owns: which files make up a volume. Reading them is the
 * plug-in's part (dicom_plugin.h).
 *
 * World: LPS, from ImageOrientationPatient and ImagePositionPatient of every frame. An Enhanced US
 * Volume is in a frame of reference of its own; its numbers are taken as LPS, and this is said. */
#include "engine/volume/dicom.h"

#include "engine/base/file.h"
#include "engine/base/library.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_AT = 128, MAGIC_BYTES = 132, SERIES_SHOWN = 4 };

static bool dicom_recognise(const uint8_t *head, int64_t count)
{
    return count >= MAGIC_BYTES && memcmp(head + MAGIC_AT, "DICM", 4) == 0;
}

void rvx__dicom_files_free(rvx__dicom_files *files)
{
    for (int64_t i = 0; i < files->count; i++) {
        free(files->paths[i]);
        files->library->image_free(&files->images[i]);
    }
    if (files->library)
        files->library->session_close(files->session);
    free(files->paths);
    free(files->images);
    *files = (rvx__dicom_files){0};
}

static rvx_status library_open(const rvx_dicom **library, const char *path, rvx_error *error)
{
    const void *found;
    const rvx_library_request request = {
        .file = RVX_DICOM_LIBRARY,
        .symbol = RVX_DICOM_SYMBOL,
        .what = "Revoxel's DICOM library",
        .advice = "reading DICOM needs it; 'make' builds it where GDCM (libgdcm-dev) is",
        .name = path,
    };
    rvx_status status = rvx__library_open(&found, &request, RVX_DICOM_INTERFACE, error);
    *library = found;
    return status;
}

/* ---- Files ------------------------------------------------------------------------------------
 */

/* What cannot become a volume of one number a voxel is refused by its field. */
static rvx_status image_check(const rvx_dicom_image *image, const char *path, rvx_error *error)
{
    if (image->samples != 1 || (strcmp(image->photometric, "MONOCHROME1") != 0 &&
                                strcmp(image->photometric, "MONOCHROME2") != 0))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: SamplesPerPixel %d, PhotometricInterpretation %.40s: colour, "
                         "expected one value per voxel",
                         path, image->samples, image->photometric);
    if (image->is_real)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: FloatPixelData: floating point voxels are not read", path);
    if (image->has_table)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: ModalityLUTSequence: values through a table are not read", path);
    if (image->bits_allocated != 8 && image->bits_allocated != 16 && image->bits_allocated != 32)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: BitsAllocated: expected 8, 16 or 32, found %d", path,
                         image->bits_allocated);
    if (image->bits_stored < 1 || image->bits_stored > image->bits_allocated ||
        image->high_bit < image->bits_stored - 1 || image->high_bit >= image->bits_allocated)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: BitsStored %d and HighBit %d do not fit BitsAllocated %d", path,
                         image->bits_stored, image->high_bit, image->bits_allocated);
    return RVX_OK;
}

/* Adds a file if it holds an image, of `series` where that is not NULL. */
static rvx_status file_add(rvx__dicom_files *files, const char *path, const char *series,
                           rvx_error *error)
{
    rvx_dicom_image image;
    rvx_status status = files->library->image_read(files->session, &image, path, error);
    if (status != RVX_OK)
        return status;
    if (!image.frame_count || (series && strcmp(series, image.series) != 0)) {
        files->library->image_free(&image);
        return RVX_OK;
    }
    const size_t room = (size_t)files->count + 1;
    char *copy = strdup(path), **paths = realloc(files->paths, room * sizeof *paths);
    if (paths)
        files->paths = paths;
    rvx_dicom_image *images = realloc(files->images, room * sizeof *images);
    if (images)
        files->images = images;
    if (!copy || !paths || !images) {
        files->library->image_free(&image);
        free(copy);
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
    }
    files->paths[files->count] = copy;
    files->images[files->count++] = image;
    return RVX_OK;
}

static rvx_status is_dicom(bool *yes, const char *path, rvx_error *error)
{
    uint8_t head[MAGIC_BYTES];
    int64_t got = 0;
    rvx__source *source = NULL;
    rvx_status status = rvx__source_open(&source, path, error);
    if (status == RVX_OK)
        status = rvx__source_read(source, head, sizeof head, &got, error);
    *yes = dicom_recognise(head, got);
    rvx__source_close(source);
    return status;
}

bool rvx__dicom_file(const char *path)
{
    bool yes;
    return rvx__path_is_file(path) && is_dicom(&yes, path, NULL) == RVX_OK && yes;
}

/* True where any file is one of DICOM. */
static bool dicom_folder(const char *folder)
{
    rvx_names names = {0};
    char path[RVX_PATH_BYTES];
    bool found = false;
    if (!rvx__path_is_directory(folder) ||
        rvx__directory_list(&names, folder, NULL, NULL) != RVX_OK)
        return false;
    for (int64_t i = 0; i < names.count && !found; i++)
        if (rvx__path_join(path, folder, names.names[i], NULL) == RVX_OK && rvx__dicom_file(path))
            found = true;
    rvx__names_free(&names);
    return found;
}

/* All images of a folder, of one series where `series` is not NULL; other files are passed by. */
static rvx_status folder_add(rvx__dicom_files *files, const char *folder, const char *series,
                             rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_names names = {0};
    char path[RVX_PATH_BYTES];
    RVX_TRY(rvx__directory_list(&names, folder, NULL, error));
    for (int64_t i = 0; i < names.count; i++) {
        bool yes;
        RVX_TRY(rvx__path_join(path, folder, names.names[i], error));
        if (!rvx__path_is_file(path))
            continue;
        RVX_TRY(is_dicom(&yes, path, error));
        if (yes)
            RVX_TRY(file_add(files, path, series, error));
    }
cleanup:
    rvx__names_free(&names);
    return status;
}

/* A folder with several series: which of them is meant is not for us to guess. */
static rvx_status series_refuse(const rvx__dicom_files *files, const char *folder, rvx_error *error)
{
    rvx_text list = {0};
    int64_t found = 0;
    for (int64_t i = 0; i < files->count; i++) {
        int64_t same = 0, first = i;
        for (int64_t j = files->count - 1; j >= 0; j--)
            if (strcmp(files->images[j].series, files->images[i].series) == 0) {
                first = j;
                same++;
            }
        if (first == i && found++ < SERIES_SHOWN)
            rvx__text_format(&list, "%s%s \"%.40s\" (%lld file%s, such as %.80s)",
                             found > 1 ? "; " : "", files->images[i].modality,
                             files->images[i].description, (long long)same, same == 1 ? "" : "s",
                             rvx__path_name(files->paths[i]));
    }
    rvx_status status = rvx__fail(
        error, RVX_ERROR_ARGUMENT,
        "%s: SeriesInstanceUID: %lld series, expected one; name a file of the one that is "
        "meant: %s%s",
        folder, (long long)found, list.data ? list.data : "", found > SERIES_SHOWN ? "; ..." : "");
    rvx__text_free(&list);
    return status;
}

static rvx_status files_find(rvx__dicom_files *files, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char folder[RVX_PATH_BYTES];
    rvx_dicom_image image = {0};
    if (rvx__path_is_directory(path)) {
        RVX_TRY(folder_add(files, path, NULL, error));
        for (int64_t i = 1; i < files->count; i++)
            if (strcmp(files->images[i].series, files->images[0].series) != 0)
                RVX_TRY(series_refuse(files, path, error));
    } else {
        RVX_TRY(files->library->image_read(files->session, &image, path, error));
        if (!image.frame_count)
            RVX_TRY(
                rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: a DICOM file without an image", path));
        if (image.many_frames || !image.series[0]) {
            RVX_TRY(file_add(files, path, NULL, error));
        } else {
            RVX_TRY(rvx__path_parent(folder, path, error));
            RVX_TRY(folder_add(files, folder, image.series, error));
        }
    }
    if (!files->count)
        RVX_TRY(rvx__fail(error, RVX_ERROR_FORMAT, "%s: no DICOM image in this folder", path));
    for (int64_t i = 0; i < files->count; i++) {
        RVX_TRY(image_check(&files->images[i], files->paths[i], error));
        if (files->count > 1 && files->images[i].frame_count > 1)
            RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                              "%s: %s has %lld frames and %lld files stand beside it: name the one "
                              "file that is meant",
                              path, files->paths[i], (long long)files->images[i].frame_count,
                              (long long)files->count - 1));
    }
cleanup:
    files->library->image_free(&image);
    return status;
}

/* ---- From files to a stack --------------------------------------------------------------------
 */

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
    RVX_TRY(library_open(&files.library, path, error));
    RVX_TRY(files.library->session_open(&files.session, error));
    RVX_TRY(files_find(&files, path, error));
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

const rvx__format rvx__format_dicom = {
    .name = "DICOM",
    .recognise = dicom_recognise,
    .folder = dicom_folder,
    .parse = dicom_parse,
};
