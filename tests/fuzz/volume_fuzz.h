/* Any bytes as a volume file, for the fuzzers of the formats. Owns: the file and what is read from
 * it. The first byte of an input chooses: bit 0, the rest is compressed first (so that headers
 * inside gzip are reached); bits 1-2, what is read. */
#ifndef VOLUME_FUZZ_H
#define VOLUME_FUZZ_H

#include "engine/volume/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void payload_write(int file, const uint8_t *data, size_t size, bool compress)
{
    if (!compress) {
        if (size && write(file, data, size) < 0)
            abort();
        return;
    }
    z_stream z = {0};
    uLong room = compressBound((uLong)size) + 64;
    uint8_t *packed = malloc(room);
    if (!packed || deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = packed;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END || write(file, packed, room - z.avail_out) < 0)
        abort();
    deflateEnd(&z);
    free(packed);
}

static void slabs_read(rvx_volume_reader *reader, int kind)
{
    const rvx_geometry *g = &rvx__volume_reader_info(reader)->geometry;
    rvx_error error;
    rvx_status status = RVX_OK;
    int64_t most = 1 + g->size[2] / 3;
    void *slab = malloc((size_t)(g->size[0] * g->size[1] * most * 4));
    for (int64_t z = 0; slab && status == RVX_OK && z < g->size[2]; z += most) {
        int64_t count = g->size[2] - z < most ? g->size[2] - z : most;
        if (kind == 0)
            status = rvx__volume_reader_slab_f32(reader, slab, z, count, &error);
        else if (kind == 1)
            status = rvx__volume_reader_slab_labels(reader, slab, z, count, &error);
        else
            status = rvx__volume_reader_slab_i32(reader, slab, z, count, &error);
    }
    if (slab && kind == 3 && status == RVX_OK) /* back to the start */
        rvx__volume_reader_slab_f32(reader, slab, 0, 1, &error);
    free(slab);
}

/* What opens must survive its own header: composed anew and parsed again, the grid is the same to
 * within `tolerance` of its numbers. */
__attribute__((unused)) static void
text_header_check(const rvx__format *format, const rvx_volume_reader *reader, double tolerance)
{
    char path[64];
    rvx__header header = {0};
    rvx__layout layout = {.layers = 1};
    rvx__source *source = NULL;
    rvx_volume_info again;
    rvx_error error;
    const rvx_volume_info *info = rvx__volume_reader_info(reader);
    const rvx__request request = {&info->geometry, info->type, info,
                                  rvx__volume_reader_segments(reader), "fuzz.seg.nrrd"};
    memset(&again, 0, sizeof again);
    int file = memfd_create("header", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (rvx__geometry_check(&info->geometry, "fuzz", &error) != RVX_OK ||
        format->compose(&header, &request, &error) != RVX_OK ||
        write(file, header.text.data, (size_t)header.text.bytes) != header.text.bytes ||
        rvx__source_open(&source, path, &error) != RVX_OK ||
        format->parse(&again, &layout, source, (const uint8_t *)header.text.data, 0, path,
                      &error) != RVX_OK)
        abort();
    const double *a = info->geometry.spacing, *b = again.geometry.spacing;
    const int count = (int)((sizeof again.geometry - sizeof again.geometry.size) / sizeof *a);
    if (memcmp(again.geometry.size, info->geometry.size, sizeof again.geometry.size) != 0 ||
        again.type != info->type)
        abort();
    for (int i = 0; i < count; i++)
        if (!(a[i] - b[i] <= tolerance * (1 + (a[i] < 0 ? -a[i] : a[i])) &&
              b[i] - a[i] <= tolerance * (1 + (a[i] < 0 ? -a[i] : a[i]))))
            abort();
    rvx__source_close(source);
    rvx__header_free(&header);
    rvx__layout_free(&layout);
    close(file);
}

__attribute__((unused)) static int volume_fuzz(const uint8_t *data, size_t size,
                                               void (*check)(const rvx_volume_reader *reader))
{
    char path[64];
    rvx_error error;
    rvx_volume_reader *reader;
    if (!size)
        return 0;
    int file = memfd_create("fuzz", 0);
    if (file < 0)
        abort();
    payload_write(file, data + 1, size - 1, data[0] & 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (rvx__volume_reader_open(&reader, path, &error) == RVX_OK) {
        check(reader);
        slabs_read(reader, data[0] >> 1 & 3);
        rvx__volume_reader_close(reader);
    } else if (reader || !error.status || !error.message[0]) {
        abort();
    }
    close(file);
    return 0;
}

#endif
