/* The gzip and zlib layer over the atomic output of engine/base. Owns: the blocks that wait to be
 * deflated. Invariant: the file's bytes depend on the data alone, not on how they were cut into
 * calls or on the thread count; ISA-L may pack otherwise on another kind of processor. */
#include "engine/base/file.h"
#include "engine/volume/stream.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h> /* joins checksums */

/* ISA-L at this level packs volumes five to eight times as fast as zlib at its first, and as far:
 * label maps shrink by two orders of magnitude at any level, speckle at none. */
enum { BLOCK_BYTES = 1 << 20, BLOCK_COUNT = 8, LEVEL = 2, TABLE_BYTES = ISAL_DEF_LVL2_DEFAULT };

struct rvx__sink {
    rvx_output *output;
    rvx__packing packing;
    bool started, finished; /* of the compressed data */
    int64_t plain_bytes;    /* before them in the file */
    uint8_t *plain;         /* BLOCK_COUNT blocks waiting to be deflated */
    uint8_t *packed;        /* BLOCK_COUNT outputs, packed_stride bytes each */
    int64_t packed_stride;
    int64_t filled; /* bytes in `plain` */
    int64_t total;  /* uncompressed bytes so far */
    uLong checksum; /* CRC-32, or Adler-32 of zlib */
};

static bool compresses(const rvx__sink *s)
{
    return s->packing == RVX__PACKING_GZIP || s->packing == RVX__PACKING_ZLIB;
}

rvx_status rvx__sink_create(rvx__sink **sink, const char *path, rvx__packing packing,
                            rvx_error *error)
{
    rvx_status status = RVX_OK;
    *sink = NULL;
    rvx__sink *s = calloc(1, sizeof *s);
    if (!s)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
    s->packing = packing;
    s->checksum = packing == RVX__PACKING_ZLIB ? adler32(0, NULL, 0) : crc32(0, NULL, 0);
    s->packed_stride = (int64_t)compressBound(BLOCK_BYTES) + 64;
    if (compresses(s)) {
        s->plain = malloc((size_t)BLOCK_BYTES * BLOCK_COUNT);
        s->packed = malloc((size_t)s->packed_stride * BLOCK_COUNT);
        if (!s->plain || !s->packed) {
            status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
            goto cleanup;
        }
    }
    RVX_TRY(rvx__output_create(&s->output, path, error));
    *sink = s;
    s = NULL;
cleanup:
    rvx__sink_abandon(s);
    return status;
}

rvx_status rvx__sink_plain(rvx__sink *s, const void *bytes, int64_t count, rvx_error *error)
{
    assert(!s->started);
    s->plain_bytes += count;
    return rvx__output_write(s->output, bytes, count, error);
}

static rvx_status start(rvx__sink *s, rvx_error *error)
{
    static const uint8_t gzip_header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff};
    static const uint8_t zlib_header[2] = {0x78, 0x01};
    if (s->started)
        return RVX_OK;
    s->started = true;
    if (s->packing == RVX__PACKING_ZLIB)
        return rvx__output_write(s->output, zlib_header, sizeof zlib_header, error);
    return s->packing == RVX__PACKING_GZIP
               ? rvx__output_write(s->output, gzip_header, sizeof gzip_header, error)
               : RVX_OK;
}

/* Deflates one block so that it ends on a byte boundary without ending the stream. Returns its
 * packed size, or -1 where there is no memory. */
static int64_t block_deflate(const uint8_t *plain, int64_t count, uint8_t *packed,
                             int64_t packed_bytes)
{
    struct isal_zstream z;
    uint8_t *tables = malloc(TABLE_BYTES);
    if (!tables)
        return -1;
    isal_deflate_init(&z);
    z.level = LEVEL;
    z.level_buf = tables;
    z.level_buf_size = TABLE_BYTES;
    z.flush = SYNC_FLUSH;
    z.next_in = (uint8_t *)(uintptr_t)plain; /* ISA-L reads only */
    z.avail_in = (uint32_t)count;
    z.next_out = packed;
    z.avail_out = (uint32_t)packed_bytes;
    const int code = isal_deflate(&z);
    free(tables);
    const bool whole = code == COMP_OK && z.avail_in == 0 && z.avail_out > 0;
    return whole ? packed_bytes - z.avail_out : -1;
}

static rvx_status blocks_flush(rvx__sink *s, rvx_error *error)
{
    int64_t sizes[BLOCK_COUNT];
    uLong sums[BLOCK_COUNT];
    const bool adler = s->packing == RVX__PACKING_ZLIB;
    int64_t count = (s->filled + BLOCK_BYTES - 1) / BLOCK_BYTES;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; i++) {
        int64_t bytes = s->filled - i * BLOCK_BYTES;
        if (bytes > BLOCK_BYTES)
            bytes = BLOCK_BYTES;
        const uint8_t *plain = s->plain + i * BLOCK_BYTES;
        sums[i] = adler ? isal_adler32(1, plain, (uint64_t)bytes)
                        : crc32_gzip_refl(0, plain, (uint64_t)bytes);
        sizes[i] = block_deflate(plain, bytes, s->packed + i * s->packed_stride, s->packed_stride);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t bytes = s->filled - i * BLOCK_BYTES;
        if (bytes > BLOCK_BYTES)
            bytes = BLOCK_BYTES;
        if (sizes[i] < 0)
            return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory to compress with",
                             rvx__output_path(s->output));
        s->checksum = adler ? adler32_combine(s->checksum, sums[i], (z_off_t)bytes)
                            : crc32_combine(s->checksum, sums[i], (z_off_t)bytes);
        rvx_status status =
            rvx__output_write(s->output, s->packed + i * s->packed_stride, sizes[i], error);
        if (status != RVX_OK)
            return status;
    }
    s->filled = 0;
    return RVX_OK;
}

rvx_status rvx__sink_write(rvx__sink *s, const void *bytes, int64_t count, rvx_error *error)
{
    const uint8_t *next = bytes;
    rvx_status status = start(s, error);
    if (status != RVX_OK)
        return status;
    s->total += count;
    if (!compresses(s))
        return rvx__output_write(s->output, bytes, count, error);
    while (count > 0) {
        int64_t room = (int64_t)BLOCK_BYTES * BLOCK_COUNT - s->filled;
        int64_t part = count < room ? count : room;
        memcpy(s->plain + s->filled, next, (size_t)part);
        s->filled += part;
        next += part;
        count -= part;
        if (part == room) {
            status = blocks_flush(s, error);
            if (status != RVX_OK)
                return status;
        }
    }
    return RVX_OK;
}

/* An empty final block, then the checksum: gzip's little-endian with the length modulo 2^32, zlib's
 * big-endian and alone. */
static rvx_status packing_finish(rvx__sink *s, rvx_error *error)
{
    uint8_t tail[10] = {0x03, 0x00};
    const bool zlib = s->packing == RVX__PACKING_ZLIB;
    rvx_status status = start(s, error);
    if (status == RVX_OK)
        status = blocks_flush(s, error);
    if (status != RVX_OK)
        return status;
    for (int i = 0; i < 4; i++) {
        tail[2 + i] = (uint8_t)(s->checksum >> (8 * (zlib ? 3 - i : i)));
        tail[6 + i] = (uint8_t)((uint64_t)s->total >> (8 * i));
    }
    return rvx__output_write(s->output, tail, zlib ? 6 : 10, error);
}

rvx_status rvx__sink_finish(rvx__sink *s, int64_t *stored_bytes, rvx_error *error)
{
    rvx_status status = compresses(s) && !s->finished ? packing_finish(s, error) : RVX_OK;
    s->finished = true;
    *stored_bytes = rvx__output_bytes(s->output) - s->plain_bytes;
    return status;
}

rvx_status rvx__sink_patch(rvx__sink *s, int64_t offset, const void *bytes, int64_t count,
                           rvx_error *error)
{
    assert(offset >= 0 && count <= s->plain_bytes - offset);
    return rvx__output_write_at(s->output, offset, bytes, count, error);
}

rvx_status rvx__sink_commit(rvx__sink *s, rvx_error *error)
{
    int64_t stored_bytes;
    rvx_status status = rvx__sink_finish(s, &stored_bytes, error);
    if (status == RVX_OK) {
        status = rvx__output_commit(s->output, error);
        s->output = NULL;
    }
    rvx__sink_abandon(s);
    return status;
}

void rvx__sink_abandon(rvx__sink *s)
{
    if (!s)
        return;
    rvx__output_abandon(s->output);
    free(s->plain);
    free(s->packed);
    free(s);
}
