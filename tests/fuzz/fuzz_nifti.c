/* Any bytes as a volume file. The first byte chooses: bit 0, the rest is compressed first (so that
 * headers inside gzip are reached); bits 1-2, what is read. What opens must survive its own header:
 * composed anew and parsed again, geometry and forms are the same. */
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

static void header_check(const rvx_volume_info *info)
{
    rvx__header header = {0};
    rvx_volume_info again;
    rvx__layout layout = {0};
    rvx_error error;
    memset(&again, 0, sizeof again);
    const rvx__request request = {&info->geometry, info->type, info, NULL, "fuzz"};
    if (rvx__geometry_check(&info->geometry, "fuzz", &error) != RVX_OK)
        abort();
    if (rvx__format_nifti.compose(&header, &request, &error) != RVX_OK ||
        rvx__format_nifti.parse(&again, &layout, NULL, (const uint8_t *)header.text.data,
                                header.text.bytes, "fuzz", &error) != RVX_OK)
        abort();
    rvx__header_free(&header);
    rvx__layout_free(&layout);
    if (memcmp(&again.geometry, &info->geometry, sizeof again.geometry) != 0 ||
        memcmp(again.sform, info->sform, sizeof again.sform) != 0 ||
        memcmp(again.quaternion, info->quaternion, sizeof again.quaternion) != 0)
        abort();
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
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
        header_check(rvx__volume_reader_info(reader));
        slabs_read(reader, data[0] >> 1 & 3);
        rvx__volume_reader_close(reader);
    } else if (reader || !error.status || !error.message[0]) {
        abort();
    }
    close(file);
    return 0;
}
