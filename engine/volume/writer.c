/* Volumes as files. Owns: the way from slices to a header and its voxels, in one file or two.
 * Invariant: a target holds its old content or the complete new one; of two files, the voxels come
 * first, so that a header never names voxels that are not there. */
#include "engine/base/file.h"
#include "engine/volume/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rvx_volume_writer {
    char *path;
    rvx__sink *head; /* the header's file where the voxels have their own; else NULL */
    rvx__sink *sink; /* the voxels' file; NULL after a failure */
    int64_t size_at;
    int64_t slice_bytes, slices_left;
};

/* Opens the files of a volume and writes what stands before the voxels. */
static rvx_status files_open(rvx_volume_writer *w, const rvx__header *header, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char folder[RVX_PATH_BYTES], data[RVX_PATH_BYTES];
    const bool whole = rvx__text_ends_with(w->path, ".gz");
    RVX_TRY(rvx__text_check(&header->text, error));
    if (header->data_name) {
        RVX_TRY(rvx__path_parent(folder, w->path, error));
        RVX_TRY(rvx__path_join(data, folder, header->data_name, error));
        RVX_TRY(rvx__sink_create(&w->head, w->path, RVX__PACKING_NONE, error));
        RVX_TRY(rvx__sink_plain(w->head, header->text.data, header->text.bytes, error));
        RVX_TRY(rvx__sink_create(&w->sink, data, header->packing, error));
        return RVX_OK;
    }
    RVX_TRY(
        rvx__sink_create(&w->sink, w->path, whole ? RVX__PACKING_GZIP : header->packing, error));
    status = whole ? rvx__sink_write(w->sink, header->text.data, header->text.bytes, error)
                   : rvx__sink_plain(w->sink, header->text.data, header->text.bytes, error);
cleanup:
    return status;
}

rvx_status rvx__volume_writer_create_segments(rvx_volume_writer **writer, const char *path,
                                              const rvx_geometry *geometry, rvx_voxel_type type,
                                              const rvx_volume_info *like,
                                              const rvx_segments *segments, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__header header = {0};
    rvx_volume_writer *w = NULL;
    *writer = NULL;
    const rvx__format *format = rvx__format_find(path);
    const rvx__request request = {geometry, type, like, segments, path};
    if (!format)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: no format goes by this name; expected %s", path, RVX_VOLUME_SUFFIXES);
    RVX_TRY(rvx__geometry_check(geometry, path, error));
    if (like)
        RVX_TRY(rvx__geometry_same(geometry, path, &like->geometry, "the header to repeat", 1e-3,
                                   error));
    RVX_TRY(format->compose(&header, &request, error));
    w = calloc(1, sizeof *w);
    if (w)
        w->path = strdup(path);
    if (!w || !w->path) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    w->slice_bytes = geometry->size[0] * geometry->size[1] * rvx__voxel_type_bytes(type);
    w->slices_left = geometry->size[2];
    w->size_at = header.size_at;
    RVX_TRY(files_open(w, &header, error));
    *writer = w;
    w = NULL;
cleanup:
    rvx__header_free(&header);
    rvx__volume_writer_abandon(w);
    return status;
}

rvx_status rvx__volume_writer_create(rvx_volume_writer **writer, const char *path,
                                     const rvx_geometry *geometry, rvx_voxel_type type,
                                     const rvx_volume_info *like, rvx_error *error)
{
    return rvx__volume_writer_create_segments(writer, path, geometry, type, like, NULL, error);
}

rvx_status rvx__volume_writer_slab(rvx_volume_writer *writer, const void *voxels, int64_t z_count,
                                   rvx_error *error)
{
    if (!writer->sink)
        return rvx__fail(error, RVX_ERROR_IO, "%s: an earlier write failed", writer->path);
    if (z_count < 0 || z_count > writer->slices_left)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: %lld slices given, %lld are left to write",
                         writer->path, (long long)z_count, (long long)writer->slices_left);
    writer->slices_left -= z_count;
    rvx_status status = rvx__sink_write(writer->sink, voxels, z_count * writer->slice_bytes, error);
    if (status != RVX_OK) { /* a full disk gets its space back at once */
        rvx__sink_abandon(writer->sink);
        rvx__sink_abandon(writer->head);
        writer->sink = writer->head = NULL;
    }
    return status;
}

/* Ends the voxels' data, tells the header how long they are, and puts the files in place. */
static rvx_status files_commit(rvx_volume_writer *w, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__sink *sink = w->sink;
    char digits[RVX__SIZE_DIGITS + 1];
    int64_t stored_bytes;
    RVX_TRY(rvx__sink_finish(w->sink, &stored_bytes, error));
    if (w->size_at) {
        snprintf(digits, sizeof digits, "%-*lld", RVX__SIZE_DIGITS, (long long)stored_bytes);
        RVX_TRY(rvx__sink_patch(w->head ? w->head : w->sink, w->size_at, digits, RVX__SIZE_DIGITS,
                                error));
    }
    w->sink = NULL;
    RVX_TRY(rvx__sink_commit(sink, error));
    if (w->head) {
        sink = w->head;
        w->head = NULL;
        status = rvx__sink_commit(sink, error);
    }
cleanup:
    return status;
}

rvx_status rvx__volume_writer_commit(rvx_volume_writer *writer, rvx_error *error)
{
    rvx_status status;
    if (!writer->sink)
        status = rvx__fail(error, RVX_ERROR_IO, "%s: an earlier write failed", writer->path);
    else if (writer->slices_left)
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: %lld slices were never written",
                           writer->path, (long long)writer->slices_left);
    else
        status = files_commit(writer, error);
    rvx__volume_writer_abandon(writer);
    return status;
}

void rvx__volume_writer_abandon(rvx_volume_writer *writer)
{
    if (!writer)
        return;
    rvx__sink_abandon(writer->head);
    rvx__sink_abandon(writer->sink);
    free(writer->path);
    free(writer);
}

rvx_status rvx__volume_write(const char *path, const rvx_geometry *geometry, rvx_voxel_type type,
                             const void *voxels, const rvx_volume_info *like, rvx_error *error)
{
    rvx_volume_writer *writer = NULL;
    rvx_status status = rvx__volume_writer_create(&writer, path, geometry, type, like, error);
    if (status != RVX_OK)
        return status;
    status = rvx__volume_writer_slab(writer, voxels, geometry->size[2], error);
    if (status != RVX_OK) {
        rvx__volume_writer_abandon(writer);
        return status;
    }
    return rvx__volume_writer_commit(writer, error);
}
