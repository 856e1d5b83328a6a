/* Where the time of a training goes. Owns: RUN/timing.json, the one file of a run that is no
 * function of the plan: metrics.jsonl holds no times, so that a resumed run ends in the same bytes.
 * Counts since the process began, without its first step. */
#ifndef RVX_TIMING_H
#define RVX_TIMING_H

#include "kernels/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rvx_timing {
    int64_t steps;
    double step_seconds; /* of all steps, with their waits; without validation and checkpoints */
    double wait_seconds; /* of these, spent waiting for samples */
} rvx_timing;

/* Part of the steps' time that went into waiting; 0 before the first. */
double rvx__timing_wait_share(const rvx_timing *timing);
rvx_status rvx__timing_save(const rvx_timing *timing, const char *run, rvx_error *error);
/* Zeroes where the run has no such file, or another program's. */
void rvx__timing_load(rvx_timing *timing, const char *run);

#endif
