/* The metrics log: one JSON object a line, the first key always "step", steps never falling.
 * Owns: the file metrics.jsonl. Invariant: every line on disk is whole but perhaps the last; after
 * a resume the file is byte for byte what an uninterrupted run would have written, as long as lines
 * hold nothing but functions of the step (times go elsewhere). */
#ifndef RVX_LOG_H
#define RVX_LOG_H

#include "engine/base/json.h"

typedef struct rvx_log rvx_log;

typedef struct rvx_log_value {
    const char *name;
    double number;                       /* NaN and infinities are written as null */
    const char *text;                    /* written instead of the number where it is not NULL */
    const struct rvx_log_value *members; /* an object of these instead, where it is not NULL */
    int64_t member_count;
} rvx_log_value;

/* Opens for appending. `last_step`: of the checkpoint that the run goes on from; later lines and an
 * unfinished last line are cut off. -1: a new run, an old file is emptied. */
rvx_status rvx__log_open(rvx_log **log, const char *path, int64_t last_step, rvx_error *error);
/* One line, handed to the system before the call returns. */
rvx_status rvx__log_write(rvx_log *log, int64_t step, const rvx_log_value *values, int64_t count,
                          rvx_error *error);
/* Makes the lines durable: call it before a checkpoint is committed. */
rvx_status rvx__log_sync(rvx_log *log, rvx_error *error);
void rvx__log_close(rvx_log *log); /* NULL is legal */

/* All lines as an array of objects (an unfinished last line is left out); json_decref frees it. */
rvx_status rvx__log_load(json_t **lines, const char *path, rvx_error *error);

#endif
