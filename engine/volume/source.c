/* Reading bytes, plain, gzip or zlib. Owns: the decompressor and its position. Invariant:
 * `position` is the uncompressed offset of the next byte; no byte outside the section is used;
 * compressed data are over only when zlib has checked their checksum. */
#include "engine/volume/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { INPUT_BYTES = 256 * 1024 };

struct rvx__source {
    char *path;
    int descriptor;
    bool compressed;
    bool members;        /* gzip: another member may follow */
    int64_t start, end;  /* of the section in the file */
    int64_t file_offset; /* of the next byte to be read from the file */
    int64_t position;
    z_stream zlib;
    bool zlib_ready;
    bool member_done; /* the current gzip member has ended */
    uint8_t *input;
};

static rvx_status file_read(rvx__source *s, void *out, int64_t count, int64_t *got,
                            rvx_error *error)
{
    *got = 0;
    if (count > s->end - s->file_offset)
        count = s->end > s->file_offset ? s->end - s->file_offset : 0;
    while (*got < count) {
        int64_t part = count - *got;
        if (part > 1 << 30)
            part = 1 << 30;
        ssize_t n = pread(s->descriptor, (uint8_t *)out + *got, (size_t)part, s->file_offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rvx__fail(error, RVX_ERROR_IO, "%s: cannot read: %s", s->path, strerror(errno));
        if (n == 0)
            break;
        *got += n;
        s->file_offset += n;
    }
    return RVX_OK;
}

static rvx_status source_rewind(rvx__source *s, rvx_error *error)
{
    s->file_offset = s->start;
    s->position = 0;
    s->member_done = false;
    s->zlib.avail_in = 0;
    if (inflateReset(&s->zlib) != Z_OK)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: cannot restart decompression", s->path);
    return RVX_OK;
}

rvx_status rvx__source_open(rvx__source **source, const char *path, rvx_error *error)
{
    static const rvx__section whole = {0};
    return rvx__source_open_section(source, path, &whole, error);
}

static rvx_status section_set(rvx__source *s, const rvx__section *section, int64_t file_bytes,
                              rvx_error *error)
{
    if (section->start < 0 || section->bytes < 0 || section->start > file_bytes ||
        section->bytes > file_bytes - section->start)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: truncated: %lld bytes from byte %lld expected, the file has %lld",
                         s->path, (long long)section->bytes, (long long)section->start,
                         (long long)file_bytes);
    s->start = s->file_offset = section->start;
    s->end = section->bytes ? section->start + section->bytes : file_bytes;
    return RVX_OK;
}

/* Starts the decompressor where there is something to decompress. */
static rvx_status packing_set(rvx__source *s, rvx__packing packing, rvx_error *error)
{
    uint8_t magic[2] = {0};
    int64_t got = 0;
    rvx_status status = file_read(s, magic, 2, &got, error);
    if (status != RVX_OK)
        return status;
    s->file_offset = s->start;
    s->members = got == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
    s->compressed = packing == RVX__PACKING_FOUND ? s->members : packing != RVX__PACKING_NONE;
    if (!s->compressed)
        return RVX_OK;
    if (inflateInit2(&s->zlib, 15 + (s->members ? 16 : 0)) != Z_OK)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: cannot start decompression", s->path);
    s->zlib_ready = true;
    return RVX_OK;
}

rvx_status rvx__source_open_section(rvx__source **source, const char *path,
                                    const rvx__section *section, rvx_error *error)
{
    rvx_status status = RVX_OK;
    struct stat info;
    *source = NULL;
    rvx__source *s = calloc(1, sizeof *s);
    if (!s)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
    s->descriptor = -1;
    s->path = strdup(path);
    s->input = malloc(INPUT_BYTES);
    if (!s->path || !s->input) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    s->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->descriptor < 0 || fstat(s->descriptor, &info) != 0) {
        status = rvx__fail(error, RVX_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
        goto cleanup;
    }
    if (!S_ISREG(info.st_mode)) {
        status = rvx__fail(error, RVX_ERROR_IO, "%s: expected a regular file, found %s", path,
                           S_ISDIR(info.st_mode) ? "a directory" : "something else");
        goto cleanup;
    }
    RVX_TRY(section_set(s, section, info.st_size, error));
    RVX_TRY(packing_set(s, section->packing, error));
    *source = s;
    s = NULL;
cleanup:
    rvx__source_close(s);
    return status;
}

bool rvx__source_compressed(const rvx__source *source) { return source->compressed; }
int64_t rvx__source_tell(const rvx__source *source) { return source->position; }

int64_t rvx__source_bytes_max(const rvx__source *source)
{
    int64_t bytes;
    if (!source->compressed)
        return source->end - source->start;
    return __builtin_mul_overflow(source->end - source->start, (int64_t)1032, &bytes) ? INT64_MAX
                                                                                      : bytes;
}

static rvx_status refill(rvx__source *s, rvx_error *error)
{
    int64_t got;
    if (s->zlib.avail_in)
        return RVX_OK;
    rvx_status status = file_read(s, s->input, INPUT_BYTES, &got, error);
    s->zlib.next_in = s->input;
    s->zlib.avail_in = (uInt)got;
    return status;
}

/* True where another gzip member follows the one that ended; zero padding and other trailing bytes
 * end the data, as in gzip itself. A zlib stream stands alone. */
static rvx_status member_next(rvx__source *s, bool *more, rvx_error *error)
{
    *more = false;
    if (!s->members)
        return RVX_OK;
    rvx_status status = refill(s, error);
    if (status != RVX_OK || !s->zlib.avail_in || s->zlib.next_in[0] != 0x1f)
        return status;
    *more = true;
    s->member_done = false;
    return inflateReset(&s->zlib) == Z_OK
               ? RVX_OK
               : rvx__fail(error, RVX_ERROR_MEMORY, "%s: cannot restart decompression", s->path);
}

static rvx_status inflate_read(rvx__source *s, uint8_t *out, int64_t count, int64_t *got,
                               rvx_error *error)
{
    rvx_status status;
    while (*got < count) {
        if (s->member_done) {
            bool more;
            status = member_next(s, &more, error);
            if (status != RVX_OK || !more)
                return status;
        }
        status = refill(s, error);
        if (status != RVX_OK)
            return status;
        int64_t want = count - *got;
        uInt room = want > 1 << 30 ? 1u << 30 : (uInt)want;
        s->zlib.next_out = out + *got;
        s->zlib.avail_out = room;
        bool file_end = s->zlib.avail_in == 0;
        int code = inflate(&s->zlib, Z_NO_FLUSH);
        int64_t made = room - s->zlib.avail_out;
        *got += made;
        s->position += made;
        if (code == Z_STREAM_END) {
            s->member_done = true;
        } else if (code == Z_BUF_ERROR || (code == Z_OK && file_end && made == 0)) {
            return rvx__fail(
                error, RVX_ERROR_FORMAT,
                "%s: compressed data end early, after %lld uncompressed bytes: the file is "
                "truncated",
                s->path, (long long)s->position);
        } else if (code != Z_OK) {
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: compressed data are damaged near uncompressed byte %lld: %s",
                             s->path, (long long)s->position,
                             s->zlib.msg ? s->zlib.msg : "no detail");
        }
    }
    return RVX_OK;
}

rvx_status rvx__source_read(rvx__source *s, void *out, int64_t count, int64_t *got,
                            rvx_error *error)
{
    *got = 0;
    if (s->compressed)
        return inflate_read(s, out, count, got, error);
    if (s->position > s->end - s->start)
        return RVX_OK;
    s->file_offset = s->start + s->position;
    rvx_status status = file_read(s, out, count, got, error);
    s->position += *got;
    return status;
}

rvx_status rvx__source_seek(rvx__source *s, int64_t offset, rvx_error *error)
{
    uint8_t skipped[4096];
    rvx_status status = RVX_OK;
    if (!s->compressed) {
        s->position = offset;
        return RVX_OK;
    }
    if (offset < s->position)
        status = source_rewind(s, error);
    while (status == RVX_OK && s->position < offset) {
        int64_t part = offset - s->position, got;
        if (part > (int64_t)sizeof skipped)
            part = sizeof skipped;
        status = rvx__source_read(s, skipped, part, &got, error);
        if (status == RVX_OK && got < part)
            status = rvx__fail(error, RVX_ERROR_FORMAT,
                               "%s: truncated: data end after %lld uncompressed bytes, expected "
                               "more than %lld",
                               s->path, (long long)s->position, (long long)offset);
    }
    return status;
}

void rvx__source_close(rvx__source *s)
{
    if (!s)
        return;
    if (s->zlib_ready)
        inflateEnd(&s->zlib);
    if (s->descriptor >= 0)
        close(s->descriptor);
    free(s->path);
    free(s->input);
    free(s);
}
