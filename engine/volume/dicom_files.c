/* Which DICOM files make up a volume. Owns: the walk through folders. Invariant: a file that begins
 * as DICOM is read, or the volume is refused by its name; all other files, hidden ones and the
 * DICOMDIR of a disk are passed by.
 *
 * A folder is its own images; one without is all images below it, as on a disk that a hospital
 * gives away. Links to folders are not followed, so a walk ends. */
#include "engine/base/file.h"
#include "engine/base/library.h"
#include "engine/volume/dicom.h"
#include "engine/volume/dicom_head.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 16, ENTRIES_MAX = 1 << 18 };

void rvx__dicom_files_free(rvx__dicom_files *files)
{
    for (int64_t i = 0; i < files->count; i++) {
        if (files->paths)
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

/* What cannot become a volume of one number a voxel is refused by its field. */
static rvx_status image_check(const rvx_dicom_image *image, const char *path, rvx_error *error)
{
    if (image->segmentation[0]) /* dicom_segmentation.c looks at it */
        return RVX_OK;
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
    const rvx__section whole = {.packing = RVX__PACKING_NONE};
    rvx_status status = rvx__source_open_section(&source, path, &whole, error);
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

/* True where two images may be of one volume: of one series, and of one file's parts. */
static bool belongs(const rvx_dicom_image *image, const rvx_dicom_image *to)
{
    return strcmp(image->series, to->series) == 0 &&
           strcmp(image->concatenation, to->concatenation) == 0;
}

/* Adds a file if it holds an image, which belongs to `like` where that is not NULL. */
static rvx_status file_add(rvx__dicom_files *files, const char *path, const rvx_dicom_image *like,
                           rvx_error *error)
{
    rvx_dicom_image image = {0};
    rvx_status status = image_read(files, &image, path, error);
    if (status != RVX_OK)
        return status;
    if (!image.frame_count || (like && !belongs(&image, like))) {
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

/* A folder, and not a link to one. */
static bool is_inner_folder(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* True where a file of the folder is one of DICOM; below it too where it holds no volumes of other
 * formats and is no dataset. `entries` are counted against ENTRIES_MAX. */
static bool folder_has(const char *folder, int depth, int64_t *entries)
{
    rvx_names names = {0};
    char path[RVX_PATH_BYTES];
    bool found = false, other = false;
    if (depth > DEPTH_MAX || rvx__directory_list(&names, folder, NULL, NULL) != RVX_OK)
        return false;
    for (int pass = 0; pass < 2 && !other; pass++)
        for (int64_t i = 0; i < names.count && !found && *entries < ENTRIES_MAX; i++) {
            if (rvx__path_join(path, folder, names.names[i], NULL) != RVX_OK)
                continue;
            ++*entries;
            if (pass == 0) {
                found = rvx__dicom_file(path);
                other |= (rvx__volume_suffix(names.names[i]) && rvx__path_is_file(path)) ||
                         strcmp(names.names[i], "dataset.json") == 0;
            } else if (is_inner_folder(path)) {
                found = folder_has(path, depth + 1, entries);
            }
        }
    rvx__names_free(&names);
    return found;
}

bool rvx__dicom_folder(const char *path)
{
    int64_t entries = 0;
    return rvx__path_is_directory(path) && folder_has(path, 0, &entries);
}

typedef struct walk {
    rvx__dicom_files *files; /* what was found */
    const char *root;
    const rvx_dicom_image *like; /* what is looked for; NULL: all */
    bool deep;
    int64_t entries;
} walk;

static rvx_status folder_add(walk *w, const char *folder, int depth, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_names names = {0};
    char path[RVX_PATH_BYTES];
    if (depth > DEPTH_MAX || w->entries > ENTRIES_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: more than %d folders deep or %d entries: name the folder of a series",
                         w->root, (int)DEPTH_MAX, (int)ENTRIES_MAX);
    RVX_TRY(rvx__directory_list(&names, folder, NULL, error));
    w->entries += names.count;
    for (int64_t i = 0; i < names.count; i++) {
        rvx__dicom_head head;
        RVX_TRY(rvx__path_join(path, folder, names.names[i], error));
        if (w->deep && is_inner_folder(path))
            RVX_TRY(folder_add(w, path, depth + 1, error));
        if (!rvx__path_is_file(path))
            continue;
        RVX_TRY(head_of(&head, path, error));
        if (head != RVX__DICOM_NOT && head != RVX__DICOM_DIRECTORY)
            RVX_TRY(file_add(w->files, path, w->like, error));
    }
cleanup:
    rvx__names_free(&names);
    return status;
}

/* Every image that a folder stands for. */
static rvx_status images_add(rvx__dicom_files *files, const char *folder, rvx_error *error)
{
    rvx_status status = RVX_OK;
    for (int deep = 0; deep < 2 && !files->count; deep++) {
        walk w = {.files = files, .root = folder, .deep = deep};
        RVX_TRY(folder_add(&w, folder, 0, error));
    }
    if (!files->count)
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: no DICOM image in this folder or below it",
                           folder);
cleanup:
    return status;
}

/* What a file stands for: itself, or all parts of it, where it may have many frames, else its
 * series beside it; all below its folder where it is the DICOMDIR of a disk. */
static rvx_status file_stands_for(rvx__dicom_files *files, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char folder[RVX_PATH_BYTES];
    rvx_dicom_image image = {0};
    rvx__dicom_head head;
    RVX_TRY(rvx__path_parent(folder, path, error));
    RVX_TRY(head_of(&head, path, error));
    if (head == RVX__DICOM_DIRECTORY)
        return images_add(files, folder, error);
    RVX_TRY(image_read(files, &image, path, error));
    if (!image.frame_count)
        RVX_TRY(rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: a DICOM file without an image", path));
    if ((image.many_frames && !image.concatenation[0]) || !image.series[0]) {
        RVX_TRY(file_add(files, path, NULL, error));
    } else {
        walk w = {.files = files, .root = folder, .like = &image};
        RVX_TRY(folder_add(&w, folder, 0, error));
    }
cleanup:
    files->library->image_free(&image);
    return status;
}

rvx_status rvx__dicom_files_list(rvx__dicom_files *files, const char *path, rvx_error *error)
{
    rvx_status status = library_open(&files->library, path, error);
    if (status == RVX_OK)
        status = files->library->session_open(&files->session, error);
    if (status != RVX_OK)
        return status;
    return rvx__path_is_directory(path) ? images_add(files, path, error)
                                        : file_stands_for(files, path, error);
}

/* Files with many frames are volumes of their own, if they are not parts of one that was cut up. */
static rvx_status parts_check(const rvx__dicom_files *files, const char *path, rvx_error *error)
{
    const rvx_dicom_image *first = &files->images[0];
    const int64_t parts = first->part_count;
    for (int64_t i = 0; i < files->count && files->count > 1; i++) {
        const rvx_dicom_image *image = &files->images[i];
        if ((image->frame_count > 1 || image->segmentation[0]) &&
            (!first->concatenation[0] || !belongs(image, first)))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: %s has %lld frames and %lld files stand beside it: name the one "
                             "file that is meant",
                             path, files->paths[i], (long long)image->frame_count,
                             (long long)files->count - 1);
    }
    if (first->concatenation[0] && parts && parts != files->count)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: InConcatenationTotalNumber: %lld parts, found %lld of them beside it",
                         files->paths[0], (long long)parts, (long long)files->count);
    if (first->segmentation[0] && files->count > 1)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: ConcatenationUID: a segmentation in several files is not read", path);
    return RVX_OK;
}

rvx_status rvx__dicom_files_open(rvx__dicom_files *files, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__dicom_files_list(files, path, error));
    RVX_TRY(rvx__dicom_series_check(files, path, error));
    for (int64_t i = 0; i < files->count; i++)
        RVX_TRY(image_check(&files->images[i], files->paths[i], error));
    status = parts_check(files, path, error);
cleanup:
    return status;
}
