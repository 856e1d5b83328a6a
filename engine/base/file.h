/* Files and folders. Owns: every write to disk and the bounded reads of small files. Invariant: a
 * target path holds either its old content or the complete new one; after a failure nothing is left
 * beside it, and what a killed process left is removed by the next writer of the same target.
 *
 * Errors are RVX_ERROR_IO with path and reason. Paths are UTF-8 bytes of at most RVX_PATH_BYTES. */
#ifndef RVX_FILE_H
#define RVX_FILE_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { RVX_PATH_BYTES = 4096 }; /* with the terminating zero */

/* ---- Atomic output ---------------------------------------------------------------------------
 * Data goes to a hidden file beside `path`; commit makes it durable and renames it over `path`. A
 * symbolic link is followed; a target that exists and is not a regular file is refused. */
typedef struct rvx_output rvx_output;

rvx_status rvx__output_create(rvx_output **output, const char *path, rvx_error *error);
/* Appends. After a failure every later call fails too, so the caller may check at commit only. */
rvx_status rvx__output_write(rvx_output *output, const void *data, int64_t bytes, rvx_error *error);
/* Overwrites bytes that were written before: [offset, offset + bytes) lies inside the file. */
rvx_status rvx__output_write_at(rvx_output *output, int64_t offset, const void *data, int64_t bytes,
                                rvx_error *error);
int64_t rvx__output_bytes(const rvx_output *output); /* written so far */
const char *rvx__output_path(const rvx_output *output);
rvx_status rvx__output_commit(rvx_output *output, rvx_error *error); /* frees in every case */
void rvx__output_abandon(rvx_output *output); /* removes the hidden file; NULL is legal */

/* The three calls in one, for content that is in memory. */
rvx_status rvx__file_write(const char *path, const void *data, int64_t bytes, rvx_error *error);

/* For logs, which grow in place: writes all of `data` at offset *file_bytes and moves that on, or
 * cuts the file back to it. */
rvx_status rvx__file_append(int fd, const char *path, int64_t *file_bytes, const void *data,
                            int64_t bytes, rvx_error *error);

/* ---- Reading ----------------------------------------------------------------------------------
 * The whole file, which may have at most `bytes_max` bytes (more: RVX_ERROR_FORMAT). `*data` gets a
 * terminating zero that `*bytes` does not count; the caller frees it with free(). */
rvx_status rvx__file_read_all(char **data, int64_t *bytes, const char *path, int64_t bytes_max,
                              rvx_error *error);

/* ---- Folders and paths ------------------------------------------------------------------------
 */
bool rvx__path_exists(const char *path);
bool rvx__path_is_file(const char *path);      /* follows links */
bool rvx__path_is_directory(const char *path); /* follows links */

/* Makes the folder and its parents; an existing folder is fine. */
rvx_status rvx__directory_create(const char *path, rvx_error *error);
/* Removes a file; one that is not there is fine. */
rvx_status rvx__file_remove(const char *path, rvx_error *error);

typedef struct rvx_names {
    char **names;
    int64_t count;
} rvx_names;

/* Names (not paths) of the entries that end with `suffix` (NULL or "": all), hidden ones left out,
 * sorted by byte value. Free with rvx__names_free. */
rvx_status rvx__directory_list(rvx_names *names, const char *path, const char *suffix,
                               rvx_error *error);
void rvx__names_free(rvx_names *names); /* of a zeroed struct is legal */

/* "folder/name", or `name` alone where it is absolute or the folder is "" or NULL. */
rvx_status rvx__path_join(char out[RVX_PATH_BYTES], const char *folder, const char *name,
                          rvx_error *error);
/* The part after the last '/', inside `path`. */
const char *rvx__path_name(const char *path);
/* The part before the last '/'; "." where there is none. */
rvx_status rvx__path_parent(char out[RVX_PATH_BYTES], const char *path, rvx_error *error);
bool rvx__text_ends_with(const char *text, const char *suffix);

#endif
