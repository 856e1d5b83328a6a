/* Room on disk for what is too large for memory and is gone with its owner. Owns: a file without a
 * name, or a view of the caller's memory under the same calls. Invariant: whatever ends the
 * process, nothing is left behind. */
#ifndef RVX_SPOOL_H
#define RVX_SPOOL_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct rvx_spool rvx_spool;

/* In `folder`, which must exist: there is as much room as for what will be written there. */
rvx_status rvx__spool_create(rvx_spool **spool, const char *folder, rvx_error *error);
/* Over `bytes` of the caller's memory. */
rvx_status rvx__spool_over(rvx_spool **spool, void *memory, int64_t bytes, rvx_error *error);
/* Any range; a file reads as zeros where nothing was written before its end. Past the end: IO. */
rvx_status rvx__spool_write(rvx_spool *spool, int64_t offset, const void *data, int64_t bytes,
                            rvx_error *error);
rvx_status rvx__spool_read(rvx_spool *spool, int64_t offset, void *data, int64_t bytes,
                           rvx_error *error);
void rvx__spool_free(rvx_spool *spool); /* NULL is legal */

#endif
