/* The table of rvx_plan_memory: what plan_memory.c fills and memory_print.c prints. */
#ifndef RVX_MEMORY_TABLE_H
#define RVX_MEMORY_TABLE_H

#include "bindings/c/subject.h"

typedef struct rvx_memory_row {
    rvx_policy policy, taken; /* taken: what auto mixed with keeping everything */
    int32_t kept, dropped;    /* values that are kept after all, of those that `taken` drops */
    int64_t peak_bytes, parameters_bytes;
    double flops, recompute_flops, seconds;
    bool exact, fits;
    rvx_live *live; /* largest first, adds up to peak_bytes */
    int32_t live_count;
} rvx_memory_row;

typedef struct rvx_memory_table {
    int64_t size[3];      /* x, y, z */
    int64_t budget_bytes; /* 0: none */
    int64_t held_bytes;   /* what the run holds beside the step; counts against the budget */
    rvx_memory_row rows[RVX_POLICY_COUNT];
    int row_count;
    int64_t largest[RVX_POLICY_COUNT][3]; /* x, y, z that fit the budget; 0: none does */
} rvx_memory_table;

/* What a run on the dataset holds beside its step, as training counts it: every case, and the
 * network that validates. For whole volumes also the size of the step: that of the largest training
 * case. Reads headers only. */
rvx_status rvx__memory_held(int64_t *bytes, rvx_subject *subject, const char *dataset,
                            rvx_error *error);

void rvx__memory_print(rvx_text *out, const rvx_memory_table *table, const rvx_subject *subject,
                       bool json);

#endif
