/* The atomic writer of file.h. Invariant: the hidden file is locked (flock) as long as its writer
 * lives, so a hidden file that can be locked belongs to a dead process and may be removed. */
#include "engine/base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, NAME_KEPT = 100 };

struct rvx_output {
    int fd;
    char failure[128]; /* reason of the first failure; empty: none */
    int64_t flushed_bytes, buffered_bytes;
    char path[RVX_PATH_BYTES], hidden[RVX_PATH_BYTES], folder[RVX_PATH_BYTES];
    unsigned char buffer[BUFFER_BYTES];
};

/* The first reason is kept, so that later calls tell why it went wrong and not just that. */
static rvx_status output_fail(rvx_output *output, const char *reason, rvx_error *error)
{
    if (!output->failure[0])
        snprintf(output->failure, sizeof output->failure, "%s", reason);
    return rvx__fail(error, RVX_ERROR_IO, "%s: cannot write: %s", output->path, output->failure);
}

/* ".NAME.rvx-": what hidden files of this target begin with. */
static void hidden_prefix(char out[NAME_KEPT + 8], const char *path)
{
    snprintf(out, NAME_KEPT + 8, ".%.*s.rvx-", NAME_KEPT, rvx__path_name(path));
}

/* Removes what killed writers of the same target have left. Failures do not matter here. */
static void stale_remove(const char *folder, const char *prefix)
{
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    const struct dirent *entry;
    while ((entry = readdir(entries))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        int fd = openat(dirfd(entries), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(entries), entry->d_name, 0);
        close(fd);
    }
    closedir(entries);
}

/* Opens and locks a new hidden file. Another writer's stale_remove may take the file between open
 * and lock; then its link count is zero and the next name is tried. */
static rvx_status hidden_open(rvx_output *output, const char *prefix, rvx_error *error)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        char name[NAME_KEPT + 64];
        snprintf(name, sizeof name, "%s%ld-%09ld-%02d", prefix, (long)getpid(), now.tv_nsec,
                 attempt);
        rvx_status status = rvx__path_join(output->hidden, output->folder, name, error);
        if (status != RVX_OK)
            return status;
        output->fd = open(output->hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (output->fd < 0 && errno == EEXIST)
            continue;
        if (output->fd < 0)
            return output_fail(output, strerror(errno), error);
        struct stat info;
        /* A file system without locks (ENOLCK, ENOTSUP) only loses the cleaning of leftovers. */
        bool taken = flock(output->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
        if (!taken && fstat(output->fd, &info) == 0 && info.st_nlink > 0)
            return RVX_OK;
        close(output->fd);
        output->fd = -1;
    }
    return output_fail(output, "no free name for a temporary file", error);
}

static rvx_status target_resolve(rvx_output *output, const char *path, rvx_error *error)
{
    struct stat info;
    size_t length = strlen(path);
    if (length == 0 || length >= RVX_PATH_BYTES)
        return rvx__fail(error, RVX_ERROR_IO, "%.100s: cannot write: path is %s", path,
                         length ? "too long" : "empty");
    memcpy(output->path, path, length + 1);
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        char *target = realpath(path, NULL);
        if (!target)
            return output_fail(output, strerror(errno), error);
        snprintf(output->path, RVX_PATH_BYTES, "%s", target);
        free(target);
    }
    if (stat(output->path, &info) == 0 && !S_ISREG(info.st_mode))
        return output_fail(
            output, S_ISDIR(info.st_mode) ? "it is a folder" : "it is not a regular file", error);
    return rvx__path_parent(output->folder, output->path, error);
}

rvx_status rvx__output_create(rvx_output **out, const char *path, rvx_error *error)
{
    *out = NULL;
    rvx_output *output = malloc(sizeof *output);
    if (!output)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a write buffer", path);
    output->fd = -1;
    output->failure[0] = 0;
    output->flushed_bytes = output->buffered_bytes = 0;
    output->hidden[0] = 0;
    char prefix[NAME_KEPT + 8];
    rvx_status status;
    RVX_TRY(target_resolve(output, path, error));
    hidden_prefix(prefix, output->path);
    stale_remove(output->folder, prefix);
    RVX_TRY(hidden_open(output, prefix, error));
    *out = output;
cleanup:
    if (status != RVX_OK)
        rvx__output_abandon(output);
    return status;
}

/* NULL, or why it failed. */
static const char *write_at(int fd, int64_t offset, const void *data, int64_t bytes)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t count = pwrite(fd, next, (size_t)bytes, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count ? strerror(errno) : "short write";
        next += count;
        offset += count;
        bytes -= count;
    }
    return NULL;
}

static rvx_status write_fully(rvx_output *output, int64_t offset, const void *data, int64_t bytes,
                              rvx_error *error)
{
    const char *failure = write_at(output->fd, offset, data, bytes);
    return failure ? output_fail(output, failure, error) : RVX_OK;
}

static rvx_status buffer_flush(rvx_output *output, rvx_error *error)
{
    rvx_status status =
        write_fully(output, output->flushed_bytes, output->buffer, output->buffered_bytes, error);
    if (status == RVX_OK) {
        output->flushed_bytes += output->buffered_bytes;
        output->buffered_bytes = 0;
    }
    return status;
}

rvx_status rvx__output_write(rvx_output *output, const void *data, int64_t bytes, rvx_error *error)
{
    assert(bytes >= 0);
    if (output->failure[0])
        return output_fail(output, output->failure, error);
    if (output->buffered_bytes + bytes > BUFFER_BYTES) {
        rvx_status status = buffer_flush(output, error);
        if (status != RVX_OK)
            return status;
    }
    if (bytes > BUFFER_BYTES) {
        rvx_status status = write_fully(output, output->flushed_bytes, data, bytes, error);
        if (status == RVX_OK)
            output->flushed_bytes += bytes;
        return status;
    }
    if (bytes) {
        memcpy(output->buffer + output->buffered_bytes, data, (size_t)bytes);
        output->buffered_bytes += bytes;
    }
    return RVX_OK;
}

rvx_status rvx__output_write_at(rvx_output *output, int64_t offset, const void *data, int64_t bytes,
                                rvx_error *error)
{
    assert(offset >= 0 && bytes >= 0 && bytes <= rvx__output_bytes(output) - offset);
    if (output->failure[0])
        return output_fail(output, output->failure, error);
    rvx_status status = buffer_flush(output, error);
    return status == RVX_OK ? write_fully(output, offset, data, bytes, error) : status;
}

int64_t rvx__output_bytes(const rvx_output *output)
{
    return output->flushed_bytes + output->buffered_bytes;
}

const char *rvx__output_path(const rvx_output *output) { return output->path; }

/* The rename itself lives in the folder; without this a power cut may undo it. */
static rvx_status folder_sync(rvx_output *output, rvx_error *error)
{
    int fd = open(output->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return RVX_OK; /* a folder that may be written but not read: nothing more can be done */
    int failed = fsync(fd) && errno != EINVAL && errno != ENOTSUP ? errno : 0;
    close(fd);
    return failed ? output_fail(output, strerror(failed), error) : RVX_OK;
}

rvx_status rvx__output_commit(rvx_output *output, rvx_error *error)
{
    rvx_status status;
    if (output->failure[0]) {
        status = output_fail(output, output->failure, error);
        goto cleanup;
    }
    RVX_TRY(buffer_flush(output, error));
    if (fsync(output->fd) && errno != EINVAL && errno != ENOTSUP) {
        status = output_fail(output, strerror(errno), error);
        goto cleanup;
    }
    if (rename(output->hidden, output->path)) {
        status = output_fail(output, strerror(errno), error);
        goto cleanup;
    }
    output->hidden[0] = 0;
    status = folder_sync(output, error);
cleanup:
    rvx__output_abandon(output);
    return status;
}

void rvx__output_abandon(rvx_output *output)
{
    if (!output)
        return;
    if (output->fd >= 0) {
        if (output->hidden[0])
            unlink(output->hidden);
        close(output->fd);
    }
    free(output);
}

rvx_status rvx__file_write(const char *path, const void *data, int64_t bytes, rvx_error *error)
{
    rvx_output *output;
    rvx_status status = rvx__output_create(&output, path, error);
    if (status != RVX_OK)
        return status;
    status = rvx__output_write(output, data, bytes, error);
    if (status != RVX_OK) {
        rvx__output_abandon(output);
        return status;
    }
    return rvx__output_commit(output, error);
}

rvx_status rvx__file_append(int fd, const char *path, int64_t *file_bytes, const void *data,
                            int64_t bytes, rvx_error *error)
{
    const char *failure = write_at(fd, *file_bytes, data, bytes);
    if (!failure) {
        *file_bytes += bytes;
        return RVX_OK;
    }
    rvx__fail(error, RVX_ERROR_IO, "%s: cannot write: %s", path, failure);
    if (ftruncate(fd, (off_t)*file_bytes))
        rvx__fail_context(error, "a broken record stays at the end");
    return RVX_ERROR_IO;
}
