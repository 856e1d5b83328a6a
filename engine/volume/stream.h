/* Byte streams under the file formats. Owns: gzip in both directions.
 *
 * Source: a regular file seen as its uncompressed bytes; gzip is known by content, not by name.
 * Memory: one input buffer and the decompressor's 32 KiB window.
 * Sink: an atomic output (engine/base/file.h), compressed or not. Compressed bytes do not depend on
 * the thread count: the data are cut into fixed blocks, each deflated alone and joined by sync
 * flushes into one gzip member (as pigz does). */
#ifndef RVX_VOLUME_STREAM_H
#define RVX_VOLUME_STREAM_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rvx__source rvx__source;
typedef struct rvx__sink rvx__sink;

rvx_status rvx__source_open(rvx__source **source, const char *path, rvx_error *error);
bool rvx__source_compressed(const rvx__source *source);
/* Most bytes that the source can yield: its size, or for gzip 1032 times its size, which no deflate
 * stream exceeds (258 bytes from two bits, zlib's technical notes). */
int64_t rvx__source_bytes_max(const rvx__source *source);
/* Reads `count` bytes at the current position; `got` is smaller only at the end of the data. */
rvx_status rvx__source_read(rvx__source *source, void *out, int64_t count, int64_t *got,
                            rvx_error *error);
/* Moves to an uncompressed offset. Backward in gzip starts over. Past the end is found by the next
 * read. */
rvx_status rvx__source_seek(rvx__source *source, int64_t offset, rvx_error *error);
int64_t rvx__source_tell(const rvx__source *source);
void rvx__source_close(rvx__source *source); /* NULL is legal */

rvx_status rvx__sink_create(rvx__sink **sink, const char *path, bool compress, rvx_error *error);
rvx_status rvx__sink_write(rvx__sink *sink, const void *bytes, int64_t count, rvx_error *error);
/* Frees the sink on success and failure; on failure nothing is left behind. */
rvx_status rvx__sink_commit(rvx__sink *sink, rvx_error *error);
void rvx__sink_abandon(rvx__sink *sink); /* NULL is legal */

#endif
