/* TensorBoard event files. Owns: the record framing (TensorFlow's TFRecord: length, masked CRC32C,
 * data, masked CRC32C) and the few protobuf fields of tensorflow.Event that carry scalars, encoded
 * by hand. Invariant: a file on disk is a sequence of whole records; a killed process loses at most
 * the record it was writing. */
#ifndef RVX_TENSORBOARD_H
#define RVX_TENSORBOARD_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct rvx_tensorboard rvx_tensorboard;

typedef struct rvx_scalar {
    const char *name; /* "loss/train": the part before '/' groups the charts */
    double value;
} rvx_scalar;

/* A new file events.out.tfevents.TIME.HOST.PID in `folder`, which is made if need be. A run that
 * goes on gives the step it starts from: TensorBoard then hides what older files say of that step
 * and later ones. Give 0 for a new run. */
rvx_status rvx__tensorboard_open(rvx_tensorboard **board, const char *folder, int64_t first_step,
                                 rvx_error *error);
/* One record with all scalars, on disk when the call returns (not yet synced). */
rvx_status rvx__tensorboard_write(rvx_tensorboard *board, int64_t step, const rvx_scalar *scalars,
                                  int64_t count, rvx_error *error);
void rvx__tensorboard_close(rvx_tensorboard *board); /* NULL is legal */
const char *rvx__tensorboard_path(const rvx_tensorboard *board);

#endif
