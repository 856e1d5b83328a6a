/* What bench_step_gpu runs: networks by name, a job (network, size, policy, types), the list of
 * jobs with the goals of their figures, and the plan of a job. Needs no device. */
#ifndef BENCH_STEP_JOB_H
#define BENCH_STEP_JOB_H

#include "bench/goal.h"
#include "engine/plan/plan.h"
#include "models/models.h"

typedef struct step_job {
    const char *network; /* see step_job.c; or a model as it was published */
    int64_t size[3];     /* x, y, z; the network may need more: step_plan.size */
    const char *policy;  /* a memory policy, or "inference": one forward pass, to labels */
    const char *storage, *streams;      /* bf16 | f32, i16 | bf16 | f32 */
    double budget_bytes;                /* of policy auto; 0: none */
    bench_goal seconds, bytes, planned; /* figure NULL: no goal */
} step_job;

/* In the order in which they matter: time may run out. The first one is small. */
extern const step_job step_jobs[];
extern const int step_job_count;

typedef struct step_plan {
    rvx_graph *graph;
    rvx_plan *plan;
    rvx_supervision supervision; /* count 0: inference */
    rvx_value image;
    int classes;
    int64_t size[3]; /* x, y, z: rounded up to what the network divides */
} step_plan;

bool step_is_inference(const step_job *job);
/* On an error too *planned is to be freed. */
rvx_status step_plan_make(step_plan *planned, const step_job *job, rvx_error *error);
void step_plan_free(step_plan *planned);

#endif
