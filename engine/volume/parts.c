/* Stored voxels as one run of bytes: see format.h. Owns: which file is open. Invariant: every file
 * was found long enough for its part, as far as that can be known without reading it. */
#include "engine/base/file.h"
#include "engine/volume/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rvx__parts {
    char *path; /* of the header */
    const rvx_volume_info *info;
    const rvx__layout *layout;
    int64_t file_count, bytes, part_bytes;
    rvx__source *source;
    bool compressed;
    int64_t open; /* index of the file that is open; -1: none */
};

static const char *file_path(const rvx__parts *p, int64_t index)
{
    return p->layout->files ? p->layout->files[index] : p->path;
}

/* Puts "HEADER: its data file" before a message about a file that the header names. */
static rvx_status from_header(const rvx__parts *p, rvx_status status, rvx_error *error)
{
    if (status != RVX_OK && p->layout->files && error)
        rvx__fail_context(error, "%s: %s", p->path, p->layout->field);
    return status;
}

/* Bytes before the line after `lines` line ends, from byte `*start` on. */
static rvx_status lines_skip(int64_t *start, const char *path, int64_t lines, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__source *source = NULL;
    const rvx__section section = {.packing = RVX__PACKING_NONE};
    uint8_t block[4096];
    int64_t got = sizeof block, left = lines;
    RVX_TRY(rvx__source_open_section(&source, path, &section, error));
    RVX_TRY(rvx__source_seek(source, *start, error));
    while (left > 0 && got == sizeof block) {
        RVX_TRY(rvx__source_read(source, block, sizeof block, &got, error));
        for (int64_t i = 0; i < got && left > 0; i++) {
            (*start)++;
            left -= block[i] == '\n';
        }
    }
    if (left)
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: %lld lines to skip, the file has %lld",
                           path, (long long)lines, (long long)(lines - left));
cleanup:
    rvx__source_close(source);
    return status;
}

/* The header's promise must be possible before anything relies on it. */
static rvx_status promise_check(const rvx__parts *p, int64_t index, rvx_error *error)
{
    const rvx_geometry *g = &p->info->geometry;
    int64_t expected, most = rvx__source_bytes_max(p->source);
    char share[64] = "";
    if (__builtin_add_overflow(p->part_bytes, p->layout->data_offset, &expected))
        expected = INT64_MAX;
    if (expected <= most)
        return RVX_OK;
    if (p->file_count > 1)
        snprintf(share, sizeof share, ", one of %lld files", (long long)p->file_count);
    return rvx__fail(error, RVX_ERROR_FORMAT,
                     "%s: truncated: %s promises %lld x %lld x %lld voxels of %s, %lld bytes with "
                     "what stands before them%s; the file %s %lld",
                     file_path(p, index), p->layout->files ? rvx__path_name(p->path) : "the header",
                     (long long)g->size[0], (long long)g->size[1], (long long)g->size[2],
                     rvx__voxel_type_name(p->info->type), (long long)expected, share,
                     rvx__source_compressed(p->source) ? "cannot decompress to more than" : "has",
                     (long long)most);
}

static rvx_status part_open(rvx__parts *p, int64_t index, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx__layout *l = p->layout;
    const char *path = file_path(p, index);
    rvx__section section = {.start = l->start, .bytes = l->stored_bytes, .packing = l->packing};
    rvx__source_close(p->source);
    p->source = NULL;
    p->open = -1;
    if (l->line_skip)
        RVX_TRY(lines_skip(&section.start, path, l->line_skip, error));
    RVX_TRY(rvx__source_open_section(&p->source, path, &section, error));
    if (l->at_end) {
        int64_t all = rvx__source_bytes_max(p->source), spare = all - p->part_bytes;
        rvx__source_close(p->source);
        p->source = NULL;
        section.start += spare > 0 ? spare : 0;
        RVX_TRY(rvx__source_open_section(&p->source, path, &section, error));
    }
    RVX_TRY(promise_check(p, index, error));
    p->open = index;
    p->compressed = rvx__source_compressed(p->source);
cleanup:
    return status;
}

rvx_status rvx__parts_open(rvx__parts **parts, const char *path, const rvx_volume_info *info,
                           const rvx__layout *layout, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *parts = NULL;
    rvx__parts *p = calloc(1, sizeof *p);
    if (p)
        p->path = strdup(path);
    if (!p || !p->path) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    p->info = info;
    p->layout = layout;
    p->open = -1;
    p->file_count = layout->files ? layout->file_count : 1;
    p->compressed = layout->decoder != NULL;
    if (__builtin_mul_overflow(rvx__geometry_voxels(&info->geometry),
                               rvx__voxel_type_bytes(info->type) * layout->layers, &p->bytes)) {
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: its voxels exceed 64-bit sizes", path);
        goto cleanup;
    }
    if (layout->decoder) {
        *parts = p;
        return RVX_OK;
    }
    if (p->file_count < 1 || p->bytes % p->file_count) {
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: %s: %lld files cannot hold equal parts of %lld bytes of voxels",
                           path, layout->field, (long long)p->file_count, (long long)p->bytes);
        goto cleanup;
    }
    p->part_bytes = p->bytes / p->file_count;
    for (int64_t i = p->file_count - 1; i >= 0; i--) /* the first stays open */
        RVX_TRY(from_header(p, part_open(p, i, error), error));
    *parts = p;
    p = NULL;
cleanup:
    rvx__parts_close(p);
    return status;
}

bool rvx__parts_compressed(const rvx__parts *parts) { return parts->compressed; }

/* A compressed file must end where its header says: only then has zlib checked the whole of it. An
 * uncompressed one may go on, as for nibabel and ITK. */
static rvx_status end_check(rvx__parts *p, rvx_error *error)
{
    uint8_t more;
    int64_t got = 0;
    if (!rvx__source_compressed(p->source))
        return RVX_OK;
    rvx_status status = rvx__source_read(p->source, &more, 1, &got, error);
    if (status == RVX_OK && got)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: decompresses to more than the %lld bytes that its header promises",
                         file_path(p, p->open),
                         (long long)(p->layout->data_offset + p->part_bytes));
    return status;
}

rvx_status rvx__parts_read(rvx__parts *p, void *out, int64_t offset, int64_t count,
                           rvx_error *error)
{
    rvx_status status = RVX_OK;
    uint8_t *to = out;
    if (p->layout->decoder)
        return p->layout->decoder->read(p->layout->decoder, out, offset, count, error);
    while (status == RVX_OK && count > 0) {
        int64_t index = offset / p->part_bytes, at = offset % p->part_bytes, got = 0;
        int64_t part = p->part_bytes - at < count ? p->part_bytes - at : count;
        if (index != p->open)
            RVX_TRY(part_open(p, index, error));
        RVX_TRY(rvx__source_seek(p->source, p->layout->data_offset + at, error));
        RVX_TRY(rvx__source_read(p->source, to, part, &got, error));
        if (got < part) {
            status = rvx__fail(
                error, RVX_ERROR_FORMAT, "%s: truncated: expected %lld bytes of voxels, found %lld",
                file_path(p, index), (long long)p->part_bytes, (long long)(at + got));
            goto cleanup;
        }
        if (at + part == p->part_bytes)
            RVX_TRY(end_check(p, error));
        offset += part;
        to += part;
        count -= part;
    }
cleanup:
    return from_header(p, status, error);
}

void rvx__parts_close(rvx__parts *parts)
{
    if (!parts)
        return;
    rvx__source_close(parts->source);
    free(parts->path);
    free(parts);
}
