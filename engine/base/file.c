/* Files and folders: see file.h. This file owns paths, folders and reading; output.c the atomic
 * writer. */
#include "engine/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static rvx_status fail_errno(rvx_error *error, const char *path, const char *what)
{
    return rvx__fail(error, RVX_ERROR_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static rvx_status read_descriptor(char **data, int64_t *bytes, int fd, const char *path,
                                  int64_t bytes_max, rvx_error *error)
{
    struct stat info;
    if (fstat(fd, &info))
        return fail_errno(error, path, "cannot read");
    if (S_ISREG(info.st_mode) && info.st_size > bytes_max)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: file has %lld bytes, at most %lld are allowed here", path,
                         (long long)info.st_size, (long long)bytes_max);
    /* The size is only a hint: pipes say 0 and a file may grow meanwhile. */
    int64_t capacity = S_ISREG(info.st_mode) ? (int64_t)info.st_size + 1 : 65536, used = 0;
    char *buffer = malloc((size_t)capacity + 1);
    while (buffer) {
        ssize_t count = read(fd, buffer + used, (size_t)(capacity - used));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            free(buffer);
            return fail_errno(error, path, "cannot read");
        }
        if (count == 0)
            break;
        used += count;
        if (used > bytes_max) {
            free(buffer);
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: file has more than the %lld bytes that are allowed here", path,
                             (long long)bytes_max);
        }
        if (used == capacity) {
            capacity *= 2;
            char *larger = realloc(buffer, (size_t)capacity + 1);
            if (!larger)
                free(buffer);
            buffer = larger;
        }
    }
    if (!buffer)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld bytes", path,
                         (long long)capacity);
    buffer[used] = 0;
    *data = buffer;
    *bytes = used;
    return RVX_OK;
}

rvx_status rvx__file_read_all(char **data, int64_t *bytes, const char *path, int64_t bytes_max,
                              rvx_error *error)
{
    *data = NULL;
    *bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, path, "cannot open");
    rvx_status status = read_descriptor(data, bytes, fd, path, bytes_max, error);
    close(fd);
    return status;
}

/* ---- Folders ----------------------------------------------------------------------------------
 */

bool rvx__path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool rvx__path_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool rvx__path_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

rvx_status rvx__directory_create(const char *path, rvx_error *error)
{
    char partial[RVX_PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return rvx__fail(error, RVX_ERROR_IO, "%s: cannot make folder: path is %s", path,
                         length ? "too long" : "empty");
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != 0)
            continue;
        char kept = partial[i];
        partial[i] = 0;
        int failed = mkdir(partial, 0777) && errno != EEXIST;
        /* Some systems refuse to make an existing folder with another reason (read-only, ...). */
        if (failed && !rvx__path_is_directory(partial))
            return fail_errno(error, partial, "cannot make folder");
        partial[i] = kept;
    }
    if (!rvx__path_is_directory(path))
        return rvx__fail(error, RVX_ERROR_IO, "%s: cannot make folder: a file stands there", path);
    return RVX_OK;
}

rvx_status rvx__file_remove(const char *path, rvx_error *error)
{
    if (unlink(path) && errno != ENOENT)
        return fail_errno(error, path, "cannot remove");
    return RVX_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static rvx_status names_append(rvx_names *names, int64_t *capacity, const char *name,
                               rvx_error *error)
{
    if (names->count == *capacity) {
        int64_t larger = *capacity ? *capacity * 2 : 64;
        char **grown = realloc(names->names, (size_t)larger * sizeof *grown);
        if (!grown)
            return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld file names",
                             (long long)larger);
        names->names = grown;
        *capacity = larger;
    }
    char *copy = strdup(name);
    if (!copy)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a file name");
    names->names[names->count++] = copy;
    return RVX_OK;
}

rvx_status rvx__directory_list(rvx_names *names, const char *path, const char *suffix,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t capacity = 0;
    *names = (rvx_names){0};
    DIR *folder = opendir(path);
    if (!folder)
        return fail_errno(error, path, "cannot open folder");
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry && errno) {
            status = fail_errno(error, path, "cannot read folder");
            goto cleanup;
        }
        if (!entry)
            break;
        if (entry->d_name[0] == '.' || (suffix && !rvx__text_ends_with(entry->d_name, suffix)))
            continue;
        RVX_TRY(names_append(names, &capacity, entry->d_name, error));
    }
    if (names->count)
        qsort(names->names, (size_t)names->count, sizeof *names->names, compare_names);
cleanup:
    closedir(folder);
    if (status != RVX_OK)
        rvx__names_free(names);
    return status;
}

void rvx__names_free(rvx_names *names)
{
    for (int64_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (rvx_names){0};
}

/* ---- Paths ------------------------------------------------------------------------------------
 */

rvx_status rvx__path_join(char out[RVX_PATH_BYTES], const char *folder, const char *name,
                          rvx_error *error)
{
    size_t length = folder && name[0] != '/' ? strlen(folder) : 0;
    const char *separator = length && folder[length - 1] != '/' ? "/" : "";
    if (length + strlen(separator) + strlen(name) >= RVX_PATH_BYTES)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "path too long: %.100s...%s", name,
                         length ? folder : "");
    snprintf(out, RVX_PATH_BYTES, "%s%s%s", length ? folder : "", separator, name);
    return RVX_OK;
}

const char *rvx__path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

rvx_status rvx__path_parent(char out[RVX_PATH_BYTES], const char *path, rvx_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 1;
    if (length >= RVX_PATH_BYTES)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "path too long: %.100s...", path);
    if (slash == path)
        length = 1;
    memcpy(out, slash ? path : ".", length);
    out[length] = 0;
    return RVX_OK;
}

bool rvx__text_ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a >= b && memcmp(text + a - b, suffix, b) == 0;
}
