/* One training step under every memory policy, compared bit for bit. Owns: what "exact" means: the
 * loss, every gradient of a parameter, and every value that backward rebuilds, against a step that
 * keeps everything; and what "as planned" means. */
#ifndef RVX_CHECK_H
#define RVX_CHECK_H

#include "engine/run/train_plan.h"

enum { RVX_CHECK_RUNS = 6 }; /* store, checkpoint, reversible; on several threads and on one */

typedef struct rvx_check_input {
    const rvx_train_job *job; /* threads: the several; at least 2 */
    int64_t patch[3];         /* d, h, w */
    const float *image;       /* [d][h][w][channels], for every sample; NULL: random */
    const char *weights;      /* a model file; NULL: as training starts */
    uint64_t seed;
    rvx_poll poll; /* work done of all */
    void *context;
} rvx_check_input;

typedef struct rvx_check_run {
    rvx_policy policy;
    int threads;
    bool exact_plan; /* the planner promises equal bits */
    double loss, seconds;
    int gradients, gradients_equal;
    char different[96]; /* the first parameter whose gradient differs; "" */
    double difference;  /* the largest, relative to the largest gradient of that parameter */
    int streams, streams_equal; /* rebuilt by an inverse */
    int reruns, reruns_equal;   /* rebuilt by running the producer again */
    bool loss_equal;
    int64_t overflow; /* values that did not fit a stream */
    int64_t planned_bytes, arena_bytes;
    int64_t growth_bytes; /* of the process's peak, beyond what it held before; 0: not measured */
} rvx_check_run;

typedef struct rvx_check_result {
    rvx_check_run runs[RVX_CHECK_RUNS]; /* the first is the reference */
    char overflow_name[96];             /* where most of them were */
    bool exact;                         /* every bit equal */
    bool as_planned; /* every arena has the bytes of its plan, and no process grew by more than 5 %
                        + 64 MiB beyond that */
    int64_t process_bytes; /* peak of the process so far; 0: not known */
} rvx_check_result;

rvx_status rvx__check(rvx_check_result *out, const rvx_check_input *input, rvx_error *error);

#endif
