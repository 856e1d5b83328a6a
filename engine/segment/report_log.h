/* The training log of a run (metrics.jsonl) as columns for charts. Owns: its parsing. Invariant: a
 * line that is not JSON is refused by number; a key that a line lacks is NaN; what a resumed run
 * did again stands once. */
#ifndef RVX_SEGMENT_REPORT_LOG_H
#define RVX_SEGMENT_REPORT_LOG_H

#include "engine/base/text.h"

enum { RVX_LOG_CLASSES_MAX = 64 };

typedef struct rvx_log_step {
    double step, epoch, loss, learning_rate, voxels_per_second;
} rvx_log_step;

typedef struct rvx_log_validation {
    double step, epoch, mean_dice, ema_dice;
    double dice[RVX_LOG_CLASSES_MAX]; /* in the order of rvx_run_log.class_names */
} rvx_log_validation;

typedef struct rvx_run_log {
    rvx_log_step *steps;
    int64_t step_count, step_capacity;
    rvx_log_validation *validations;
    int64_t validation_count, validation_capacity;
    char *class_names[RVX_LOG_CLASSES_MAX];
    int64_t class_count; /* classes beyond the limit are left out of the charts */
} rvx_run_log;

/* A line is an object. With "step" and any of "loss", "lr", "voxels_per_s" it is a training step;
 * with "mean_dice" and, per class, "dice/NAME" it is a validation, as is a nested {"validation":
 * {"step", "epoch", "mean_dice", "ema_dice", "dice": {NAME: value}}}. Other keys and other lines
 * are left alone. A last line without its line feed is one being written: ignored where it does not
 * parse. Errors: IO, FORMAT "file:line", MEMORY. Free in every case. */
rvx_status rvx__run_log_parse(rvx_run_log *log, const char *text, int64_t bytes, const char *file,
                              rvx_error *error);
rvx_status rvx__run_log_load(rvx_run_log *log, const char *path, rvx_error *error);
void rvx__run_log_free(rvx_run_log *log); /* of a zeroed struct is legal */

#endif
