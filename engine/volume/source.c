/* Reading bytes, plain, gzip or zlib. Owns: the decompressor and its position. Invariant:
 * `position` is the uncompressed offset of the next byte; no byte outside the section is used;
 * compressed data are over only when their checksum has been checked.
 *
 * ISA-L inflates a stream as fast as libdeflate does a whole file, more than twice as fast as zlib
 * (.nii.gz of 512^3 int16: 0.3 against 0.8 processor seconds), and holds 85 KiB. */
#include "engine/volume/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <isa-l/igzip_lib.h>

enum { INPUT_BYTES = 256 * 1024, HEADER_BYTES = INPUT_BYTES / 2 };

struct rvx__source {
    char *path;
    int descriptor;
    bool compressed;
    bool members;        /* gzip: another member may follow */
    int64_t start, end;  /* of the section in the file */
    int64_t file_offset; /* of the next byte to be read from the file */
    int64_t position;
    struct inflate_state *inflate; /* where compressed */
    bool member_done;              /* the current gzip member, or the zlib stream, has ended */
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

static void member_start(rvx__source *s)
{
    isal_inflate_reset(s->inflate); /* keeps the input */
    s->member_done = false;
}

static void source_rewind(rvx__source *s)
{
    s->file_offset = s->start;
    s->position = 0;
    s->inflate->avail_in = 0;
    member_start(s);
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
    s->inflate = malloc(sizeof *s->inflate);
    if (!s->inflate)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory to decompress with", s->path);
    isal_inflate_init(s->inflate);
    s->inflate->next_in = s->input;
    s->inflate->avail_in = 0;
    s->inflate->crc_flag = s->members ? ISAL_GZIP : ISAL_ZLIB;
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
    if (s->inflate->avail_in)
        return RVX_OK;
    rvx_status status = file_read(s, s->input, INPUT_BYTES, &got, error);
    s->inflate->next_in = s->input;
    s->inflate->avail_in = (uint32_t)got;
    return status;
}

/* ISA-L forgets a gzip header's flags where it gets the header in pieces (2.30), so that a name and
 * a checksum of it are taken for voxels: members begin with all of theirs in the buffer. */
static rvx_status header_gather(rvx__source *s, rvx_error *error)
{
    int64_t got;
    const int64_t there = s->inflate->avail_in;
    if (there >= HEADER_BYTES)
        return RVX_OK;
    memmove(s->input, s->inflate->next_in, (size_t)there);
    rvx_status status = file_read(s, s->input + there, INPUT_BYTES - there, &got, error);
    s->inflate->next_in = s->input;
    s->inflate->avail_in = (uint32_t)(there + got);
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
    if (status != RVX_OK || !s->inflate->avail_in || s->inflate->next_in[0] != 0x1f)
        return status;
    *more = true;
    member_start(s);
    return header_gather(s, error);
}

static const char *damage_name(int code)
{
    switch (code) {
    case ISAL_INVALID_BLOCK:
        return "invalid block";
    case ISAL_INVALID_SYMBOL:
        return "invalid symbol";
    case ISAL_INVALID_LOOKBACK:
        return "distance too far back";
    case ISAL_INVALID_WRAPPER:
        return "invalid header of gzip or zlib";
    case ISAL_UNSUPPORTED_METHOD:
        return "another method than deflate";
    case ISAL_INCORRECT_CHECKSUM:
        return "checksum differs";
    default:
        return "a dictionary would be needed";
    }
}

/* What the input that is there becomes, at most `room` bytes of it. */
static rvx_status inflate_some(rvx__source *s, uint8_t *out, int64_t room, int64_t *made,
                               rvx_error *error)
{
    struct inflate_state *z = s->inflate;
    const bool file_end = z->avail_in == 0;
    z->next_out = out;
    z->avail_out = room > 1 << 30 ? 1u << 30 : (uint32_t)room;
    const uint32_t asked = z->avail_out;
    const int code = isal_inflate(z);
    *made = asked - z->avail_out;
    s->position += *made;
    if (code != ISAL_DECOMP_OK)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: compressed data are damaged near uncompressed byte %lld: %s", s->path,
                         (long long)s->position, damage_name(code));
    s->member_done = z->block_state == ISAL_BLOCK_FINISH;
    if (!s->member_done && file_end && *made == 0)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: compressed data end early, after %lld uncompressed bytes: the file "
                         "is truncated",
                         s->path, (long long)s->position);
    return RVX_OK;
}

static rvx_status inflate_read(rvx__source *s, uint8_t *out, int64_t count, int64_t *got,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    while (*got < count) {
        int64_t made;
        if (s->member_done) {
            bool more;
            RVX_TRY(member_next(s, &more, error));
            if (!more)
                break;
        }
        RVX_TRY(refill(s, error));
        RVX_TRY(inflate_some(s, out + *got, count - *got, &made, error));
        *got += made;
    }
cleanup:
    return status;
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
    uint8_t skipped[32 * 1024];
    rvx_status status = RVX_OK;
    if (!s->compressed) {
        s->position = offset;
        return RVX_OK;
    }
    if (offset < s->position)
        source_rewind(s);
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
    if (s->descriptor >= 0)
        close(s->descriptor);
    free(s->path);
    free(s->input);
    free(s->inflate);
    free(s);
}
