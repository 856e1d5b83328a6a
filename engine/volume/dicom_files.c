/* Which DICOM files make up a volume. Owns: the walk through a folder, and the choice of a series.
 * Invariant: a file that begins as DICOM is read, or the volume is refused by its name; all other
 * files are passed by. */
#include "engine/base/file.h"
#include "engine/volume/dicom.h"
#include "engine/volume/dicom_head.h"

#include <stdlib.h>
#include <string.h>

enum { SERIES_SHOWN = 4 };

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

static rvx_status head_of(rvx__dicom_head *head, const char *path, rvx_error *error)
{
    uint8_t bytes[RVX__HEAD_BYTES];
    int64_t got = 0;
    rvx__source *source = NULL;
    rvx_status status = rvx__source_open(&source, path, error);
    if (status == RVX_OK)
        status = rvx__source_read(source, bytes, sizeof bytes, &got, error);
    *head = rvx__dicom_head_of(bytes, got);
    rvx__source_close(source);
    return status;
}

/* What a file says of its image. One that is not as files of DICOM begin says so where it fails. */
static rvx_status image_read(rvx__dicom_files *files, rvx_dicom_image *image, const char *path,
                             rvx_error *error)
{
    rvx__dicom_head head;
    rvx_error why = {0};
    rvx_status status = head_of(&head, path, error);
    if (status != RVX_OK)
        return status;
    if (head == RVX__DICOM_CUT)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: begins with DICM, which stands after 128 bytes in a file of DICOM: "
                         "its first 128 bytes are missing",
                         path);
    status = files->library->image_read(files->session, image, path, &why);
    if (status == RVX_OK)
        return RVX_OK;
    return rvx__fail(error, status, "%s%s", why.message,
                     head == RVX__DICOM_BARE ? "; 128 bytes and DICM are missing at its beginning, "
                                               "it was taken for DICOM by its first elements"
                                             : "");
}

/* Adds a file if it holds an image, of `series` where that is not NULL. */
static rvx_status file_add(rvx__dicom_files *files, const char *path, const char *series,
                           rvx_error *error)
{
    rvx_dicom_image image;
    rvx_status status = image_read(files, &image, path, error);
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

bool rvx__dicom_file(const char *path)
{
    rvx__dicom_head head;
    return rvx__path_is_file(path) && head_of(&head, path, NULL) == RVX_OK &&
           head != RVX__DICOM_NOT;
}

bool rvx__dicom_folder(const char *folder)
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
        rvx__dicom_head head;
        RVX_TRY(rvx__path_join(path, folder, names.names[i], error));
        if (!rvx__path_is_file(path))
            continue;
        RVX_TRY(head_of(&head, path, error));
        if (head != RVX__DICOM_NOT)
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

rvx_status rvx__dicom_files_find(rvx__dicom_files *files, const char *path, rvx_error *error)
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
        RVX_TRY(image_read(files, &image, path, error));
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
