/* Room on disk: see spool.h. */
#include "engine/base/spool.h"
#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rvx_spool {
    int fd;                /* -1: in memory */
    unsigned char *memory; /* the caller's */
    int64_t bytes;         /* of it */
    char folder[RVX_PATH_BYTES];
};

/* A file system without nameless files (EOPNOTSUPP, or EISDIR of old kernels) gets one whose name
 * is removed at once. */
static int nameless_open(const char *folder)
{
    char path[RVX_PATH_BYTES + 32];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    strcpy(path, folder);
    strcat(path, "/.rvx-spool-XXXXXX");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

rvx_status rvx__spool_create(rvx_spool **spool, const char *folder, rvx_error *error)
{
    *spool = NULL;
    rvx_spool *made = calloc(1, sizeof *made);
    if (!made)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a temporary file", folder);
    rvx_status status = rvx__path_join(made->folder, NULL, folder, error);
    if (status == RVX_OK && (made->fd = nameless_open(made->folder)) < 0)
        status = rvx__fail(error, RVX_ERROR_IO, "%s: cannot make a temporary file: %s", folder,
                           strerror(errno));
    if (status != RVX_OK) {
        free(made);
        return status;
    }
    *spool = made;
    return RVX_OK;
}

rvx_status rvx__spool_over(rvx_spool **spool, void *memory, int64_t bytes, rvx_error *error)
{
    *spool = calloc(1, sizeof **spool);
    if (!*spool)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a spool");
    (*spool)->fd = -1;
    (*spool)->memory = memory;
    (*spool)->bytes = bytes;
    return RVX_OK;
}

/* Where a range lies in memory; NULL past its end. */
static unsigned char *inside(const rvx_spool *spool, int64_t offset, int64_t bytes)
{
    return offset <= spool->bytes - bytes ? spool->memory + offset : NULL;
}

static rvx_status past_end(const rvx_spool *spool, int64_t offset, int64_t bytes, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_IO, "spool: bytes %lld to %lld of %lld", (long long)offset,
                     (long long)(offset + bytes), (long long)spool->bytes);
}

rvx_status rvx__spool_write(rvx_spool *spool, int64_t offset, const void *data, int64_t bytes,
                            rvx_error *error)
{
    const unsigned char *from = data;
    if (spool->fd < 0) {
        unsigned char *to = inside(spool, offset, bytes);
        if (!to)
            return past_end(spool, offset, bytes, error);
        memcpy(to, data, (size_t)bytes);
        return RVX_OK;
    }
    while (bytes > 0) {
        ssize_t written = pwrite(spool->fd, from, (size_t)bytes, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return rvx__fail(error, RVX_ERROR_IO, "%s: cannot write a temporary file: %s",
                             spool->folder, strerror(errno));
        from += written;
        offset += written;
        bytes -= written;
    }
    return RVX_OK;
}

rvx_status rvx__spool_read(rvx_spool *spool, int64_t offset, void *data, int64_t bytes,
                           rvx_error *error)
{
    unsigned char *to = data;
    if (spool->fd < 0) {
        const unsigned char *from = inside(spool, offset, bytes);
        if (!from)
            return past_end(spool, offset, bytes, error);
        memcpy(to, from, (size_t)bytes);
        return RVX_OK;
    }
    while (bytes > 0) {
        ssize_t got = pread(spool->fd, to, (size_t)bytes, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return rvx__fail(error, RVX_ERROR_IO, "%s: cannot read a temporary file: %s",
                             spool->folder, got ? strerror(errno) : "it ends");
        to += got;
        offset += got;
        bytes -= got;
    }
    return RVX_OK;
}

void rvx__spool_free(rvx_spool *spool)
{
    if (!spool)
        return;
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool);
}
