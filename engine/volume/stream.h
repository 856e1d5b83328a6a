/* Byte streams under the file formats. Owns: gzip and zlib in both directions.
 *
 * Source: a regular file, or a section of one, seen as its uncompressed bytes. Memory: one input
 * buffer and the decompressor's 32 KiB window.
 * Sink: an atomic output (engine/base/file.h), compressed or not. Compressed bytes do not depend on
 * the thread count: the data are cut into fixed blocks, each deflated alone and joined by sync
 * flushes into one gzip member or zlib stream (as pigz does). */
#ifndef RVX_VOLUME_STREAM_H
#define RVX_VOLUME_STREAM_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum rvx__packing {
    RVX__PACKING_FOUND, /* reading: gzip where the first bytes say so, else plain */
    RVX__PACKING_NONE,
    RVX__PACKING_GZIP, /* reading: either of these two, whichever it is */
    RVX__PACKING_ZLIB
} rvx__packing;

/* Part of a file; all zero: the whole of it. */
typedef struct rvx__section {
    int64_t start;
    int64_t bytes; /* 0: to the end of the file */
    rvx__packing packing;
} rvx__section;

typedef struct rvx__source rvx__source;
typedef struct rvx__sink rvx__sink;

/* gzip is known by content, not by name. */
rvx_status rvx__source_open(rvx__source **source, const char *path, rvx_error *error);
/* Refuses a section that reaches past the end of the file. */
rvx_status rvx__source_open_section(rvx__source **source, const char *path,
                                    const rvx__section *section, rvx_error *error);
bool rvx__source_compressed(const rvx__source *source);
/* Most bytes that the source can yield: its size, or 1032 times its size, which no deflate stream
 * exceeds (258 bytes from two bits, zlib's technical notes). */
int64_t rvx__source_bytes_max(const rvx__source *source);
/* Reads `count` bytes at the current position; `got` is smaller only at the end of the data. */
rvx_status rvx__source_read(rvx__source *source, void *out, int64_t count, int64_t *got,
                            rvx_error *error);
/* Moves to an uncompressed offset. Backward in compressed data starts over. Past the end is found
 * by the next read. */
rvx_status rvx__source_seek(rvx__source *source, int64_t offset, rvx_error *error);
int64_t rvx__source_tell(const rvx__source *source);
void rvx__source_close(rvx__source *source); /* NULL is legal */

/* RVX__PACKING_FOUND is the same as NONE here. */
rvx_status rvx__sink_create(rvx__sink **sink, const char *path, rvx__packing packing,
                            rvx_error *error);
/* Bytes before the compressed ones, such as a header; before the first write. */
rvx_status rvx__sink_plain(rvx__sink *sink, const void *bytes, int64_t count, rvx_error *error);
rvx_status rvx__sink_write(rvx__sink *sink, const void *bytes, int64_t count, rvx_error *error);
/* Ends the compressed data and tells how many bytes the writes have become. Only patches and the
 * commit may follow. */
rvx_status rvx__sink_finish(rvx__sink *sink, int64_t *stored_bytes, rvx_error *error);
/* Overwrites bytes that rvx__sink_plain wrote. */
rvx_status rvx__sink_patch(rvx__sink *sink, int64_t offset, const void *bytes, int64_t count,
                           rvx_error *error);
/* Finishes where that was not done. Frees the sink on success and failure; on failure nothing is
 * left behind. */
rvx_status rvx__sink_commit(rvx__sink *sink, rvx_error *error);
void rvx__sink_abandon(rvx__sink *sink); /* NULL is legal */

#endif
