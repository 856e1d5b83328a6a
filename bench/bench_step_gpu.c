/* A whole training step on a GPU (or, with the emulated library, a test of this program): forward,
 * loss, backward, norm of the gradients, update; batch 1, random voxels and labels. Time is that of
 * the host's clock around a step, copies of the image and the labels included; the median counts.
 *
 * usage: bench_step_gpu [--library FILE] [--network NAME --size XxYxZ] [--policy P] [--storage
 * bf16|f32]
 *                       [--streams i16|bf16|f32] [--budget BYTES] [--steps N] [--seconds S]
 *                       [--json FILE] [--plan-only]
 *
 * P: a memory policy, or "inference": one forward pass over the whole volume, to labels. Networks
 * and, where none is named, the list of jobs: step_job.c. Under a job with a goal stands whether it
 * is met. Steps that do not fit are reported as such; of a network that is named, by the status.
 * --plan-only: no device is asked for; bytes and work of each plan, which are those of the step. */
#include "bench/gpu_energy.h"
#include "bench/json_keep.h"
#include "bench/step_job.h"
#include "engine/run/device.h"
#include "engine/run/optimizer.h"
#include "kernels/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench_options {
    step_job job;
    const char *library, *json;
    int steps;
    bool plan_only;
    double seconds, end; /* end: no job begins later */
} bench_options;

enum { STEPS_MAX = 1000 };

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A run of numbers, again and again: 200 million of their own would take longer than the benchmark.
 */
static void fill(const rvx_tensor *t, bool labels, int classes)
{
    enum { RUN = 1 << 16 };
    rvx_random random = {.seed = 3};
    int64_t count = rvx__shape_count(t->shape), size = rvx__dtype_bytes(t->dtype);
    for (int64_t i = 0; i < count && i < RUN; i++) {
        float v = rvx__random_normal(&random);
        if (labels)
            ((uint8_t *)t->data)[i] = (uint8_t)rvx__random_below(&random, (uint32_t)classes);
        else if (t->dtype == RVX_BF16)
            ((uint16_t *)t->data)[i] = rvx__bf16_of(v);
        else
            ((float *)t->data)[i] = v;
    }
    for (int64_t i = RUN; i < count; i += RUN)
        memcpy((char *)t->data + i * size, t->data,
               (size_t)((count - i < RUN ? count - i : RUN) * size));
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct bench_result {
    double median, least, joules, norm; /* joules of a step; negative: cannot be read */
    double held_bytes;                  /* of the card, the driver's own included; NaN: not run */
    int steps;                          /* 0: not run */
} bench_result;

static rvx_status run_steps(bench_result *result, rvx_session *session, bool inference, int most,
                            double seconds, rvx_error *error)
{
    static const rvx_optimizer sgd = {.name = RVX_OPTIMIZER_SGD,
                                      .learning_rate = 0.01,
                                      .momentum = 0.99,
                                      .nesterov = true,
                                      .gradient_clip = 12,
                                      .schedule = RVX_SCHEDULE_CONSTANT};
    double times[STEPS_MAX], until = 0, joules = -1, warm = 0;
    enum { WARM = 3 }; /* the first is queued call by call, the second recorded */
    *result = (bench_result){.joules = -1, .held_bytes = NAN};
    for (int i = 0; i < WARM + most; i++) {
        double start = now_seconds();
        if (i == WARM) {
            until = start + seconds;
            warm = start;
            joules = gpu_joules(0);
        }
        if (i > WARM && start > until)
            break;
        rvx_status status = inference ? rvx__session_forward(session, NULL, NULL, error)
                                      : rvx__session_run(session, NULL, NULL, error);
        if (status == RVX_OK && !inference)
            status = rvx__optimizer_step(&result->norm, &sgd, session, 0, error);
        if (status != RVX_OK)
            return status;
        if (i >= WARM)
            times[result->steps++] = now_seconds() - start;
    }
    if (joules >= 0 && now_seconds() - warm > 1)
        result->joules = (gpu_joules(0) - joules) / result->steps;
    qsort(times, (size_t)result->steps, sizeof *times, by_size);
    result->median = times[result->steps / 2];
    result->least = times[0];
    return RVX_OK;
}

/* Everything that the step needs goes to the device, and is run. */
static rvx_status run_job(bench_result *result, const step_plan *planned, const step_job *job,
                          const rvx_device *device, const bench_options *options, double seconds,
                          rvx_error *error)
{
    rvx_session *session = NULL;
    rvx_cuda_info info;
    rvx_status status = rvx__session_create_on(&session, planned->plan, device, error);
    if (status == RVX_OK) {
        rvx_tensor x = rvx__session_tensor(session, planned->image);
        fill(&x, false, 0);
        for (int i = 0; i < planned->supervision.count; i++) {
            rvx_tensor labels = rvx__session_tensor(session, planned->supervision.labels[i]);
            fill(&labels, true, planned->classes);
        }
        rvx__session_initialise(session, 1);
        status = rvx__session_upload(session, error);
    }
    if (status == RVX_OK)
        status = run_steps(result, session, step_is_inference(job), options->steps, seconds, error);
    if (status == RVX_OK)
        status = device->cuda->device_info(&info, device->handle, error);
    if (status == RVX_OK)
        result->held_bytes = (double)(info.memory_bytes - info.free_bytes);
    rvx__session_free(session);
    return status;
}

static void print_size(const int64_t size[3])
{
    char text[64];
    snprintf(text, sizeof text, "%lldx%lldx%lld", (long long)size[0], (long long)size[1],
             (long long)size[2]);
    printf(" %13s", text);
}

/* The goals of a job: what the plan says, and what was measured where it was run. */
static void print_goals(const step_job *job, const rvx_plan *plan, const bench_result *r,
                        FILE *json)
{
    const bench_goal *goals[] = {&job->planned, &job->bytes, &job->seconds};
    const char *const kinds[] = {"planned", "held by the card", "a step"};
    char row[128];
    bool first = true;
    double unit = job->bytes.figure && strcmp(job->bytes.figure, "GiB") == 0 ? 0x1p30 : 1e9;
    double figures[] = {plan ? (double)plan->arena_bytes / unit : NAN, NAN, NAN};
    if (r->steps > 0) {
        figures[1] = r->held_bytes / unit;
        figures[2] = r->median;
    }
    if (json)
        fprintf(json, ", \"goals\": [");
    for (int i = 0; i < 3; i++) {
        if (!goals[i]->figure)
            continue;
        snprintf(row, sizeof row, "%s %lldx%lldx%lld %s, %s", job->network, (long long)job->size[0],
                 (long long)job->size[1], (long long)job->size[2], job->policy,
                 step_is_inference(job) && i == 2 ? "a pass" : kinds[i]);
        goal_print(goals[i], row, figures[i]);
        if (json)
            goal_json(json, goals[i], figures[i], first);
        first = false;
    }
    if (json)
        fprintf(json, "]");
}

static void print_json(FILE *json, const step_job *job, const step_plan *planned,
                       const bench_result *r)
{
    const rvx_plan *plan = planned->plan;
    fprintf(json,
            "\n  {\"network\": \"%s\", \"size\": [%lld, %lld, %lld], \"run_as\": [%lld, %lld, "
            "%lld], \"policy\": \"%s\", \"storage\": \"%s\", \"streams\": \"%s\"",
            job->network, (long long)job->size[0], (long long)job->size[1], (long long)job->size[2],
            (long long)planned->size[0], (long long)planned->size[1], (long long)planned->size[2],
            job->policy, job->storage, job->streams);
    if (plan)
        fprintf(json,
                ", \"arena_bytes\": %lld, \"tflop\": %.4f, \"tflop_rebuilt\": %.4f, "
                "\"predicted_seconds\": %.4f",
                (long long)plan->arena_bytes, rvx__plan_cost(plan, false).flops * 1e-12,
                rvx__plan_cost(plan, true).flops * 1e-12, rvx__plan_seconds(plan));
    if (r->steps > 0)
        fprintf(json,
                ", \"seconds\": %.6f, \"least\": %.6f, \"steps\": %d, \"held_bytes\": %.0f, "
                "\"joules\": %.3f",
                r->median, r->least, r->steps, r->held_bytes, r->joules);
}

/* A line of the table, its goals, and an object of the list. False: it was not run. */
static bool bench_job(const step_job *job, const rvx_device *device, const bench_options *options,
                      double seconds, FILE *json, bool *first)
{
    rvx_error error = {RVX_OK, ""};
    step_plan planned = {0};
    bench_result r = {.joules = -1, .held_bytes = NAN};
    rvx_status status = step_plan_make(&planned, job, &error);
    if (status == RVX_OK && device)
        status = now_seconds() > options->end
                     ? rvx__fail(&error, RVX_CANCELLED, "no time left")
                     : run_job(&r, &planned, job, device, options, seconds, &error);
    const rvx_plan *plan = planned.plan;
    printf("%-13s", job->network);
    print_size(job->size);
    printf(" %-10s %-4s %-4s", job->policy, job->storage, job->streams);
    if (plan)
        printf(" %7.2f GiB %7.1f TFLOP", (double)plan->arena_bytes / 0x1p30,
               rvx__plan_cost(plan, false).flops * 1e-12);
    if (status != RVX_OK) {
        printf("  not run: %s", error.message);
    } else if (r.steps > 0) {
        double voxels = (double)job->size[0] * (double)job->size[1] * (double)job->size[2];
        printf(" %9.4f s %8.1f Mvoxel/s %7.1f TFLOP/s", r.median, voxels / r.median * 1e-6,
               rvx__plan_cost(plan, false).flops / r.median * 1e-12);
        if (r.joules >= 0)
            printf(" %8.1f J", r.joules);
    } else {
        printf("  predicted %.3f s", rvx__plan_seconds(plan));
    }
    if (memcmp(planned.size, job->size, sizeof planned.size) != 0) {
        printf("  run as");
        print_size(planned.size);
    }
    printf("\n");
    if (json) {
        fprintf(json, "%s", *first ? "" : ",");
        print_json(json, job, &planned, &r);
    }
    print_goals(job, plan, &r, json);
    if (json) {
        fprintf(json, "}");
        json_keep(json);
        *first = false;
    }
    fflush(stdout);
    step_plan_free(&planned);
    return status == RVX_OK;
}

static bool parse(bench_options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        long long x, y, z;
        if (strcmp(name, "--plan-only") == 0) {
            o->plan_only = true;
            continue;
        }
        i++;
        if (!value)
            return false;
        if (strcmp(name, "--library") == 0)
            o->library = value;
        else if (strcmp(name, "--network") == 0)
            o->job.network = value;
        else if (strcmp(name, "--policy") == 0)
            o->job.policy = value;
        else if (strcmp(name, "--storage") == 0)
            o->job.storage = value;
        else if (strcmp(name, "--streams") == 0)
            o->job.streams = value;
        else if (strcmp(name, "--budget") == 0)
            o->job.budget_bytes = atof(value);
        else if (strcmp(name, "--json") == 0)
            o->json = value;
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = atof(value);
        else if (strcmp(name, "--steps") == 0)
            o->steps = atoi(value);
        else if (strcmp(name, "--size") == 0 && sscanf(value, "%lldx%lldx%lld", &x, &y, &z) == 3)
            memcpy(o->job.size, (int64_t[3]){x, y, z}, sizeof o->job.size);
        else
            return false;
    }
    return o->steps >= 1 && o->steps <= STEPS_MAX && !o->job.network == !o->job.size[0];
}

/* The job that is named, or the list of them. False: the one that is named was not run. */
static bool bench_all(const rvx_device *device, bench_options *options, FILE *json)
{
    bool first = true, good = true;
    options->end = now_seconds() + options->seconds;
    if (json) {
        fprintf(json, "{\"device\": \"%s\", \"rows\": [", device ? device->info.name : "none");
        json_keep(json);
    }
    if (options->job.network)
        good = bench_job(&options->job, device, options, options->seconds, json, &first);
    /* building, copying and warming up take the other half of the time */
    for (int i = 0; i < step_job_count && !options->job.network; i++)
        bench_job(&step_jobs[i], device, options, options->seconds / 2 / step_job_count, json,
                  &first);
    if (json)
        fprintf(json, "\n]}\n");
    return good;
}

int main(int argc, char **argv)
{
    bench_options options = {.job = {.policy = "reversible", .storage = "bf16", .streams = "i16"},
                             .steps = 50,
                             .seconds = 90};
    rvx_error error = {RVX_OK, ""};
    rvx_device *device = NULL;
    if (!parse(&options, argc, argv)) {
        fprintf(
            stderr,
            "usage: bench_step_gpu [--library FILE] [--network NAME --size XxYxZ] [--policy P]\n"
            "    [--storage bf16|f32] [--streams i16|bf16|f32] [--budget BYTES] [--steps N]\n"
            "    [--seconds S] [--json FILE] [--plan-only]\n");
        return 2;
    }
    if (!options.plan_only &&
        rvx__device_open(&device, "cuda", options.library, &error) != RVX_OK) {
        fprintf(stderr, "bench_step_gpu: %s\n", error.message);
        return 3;
    }
    FILE *json = options.json ? fopen(options.json, "w") : NULL;
    if (options.json && !json) {
        fprintf(stderr, "bench_step_gpu: %s: cannot be written\n", options.json);
        rvx__device_close(device);
        return 2;
    }
    if (device)
        printf("%s, %.1f GiB free\n", device->info.name, (double)device->info.free_bytes / 0x1p30);
    fflush(stdout);
    const bool good = bench_all(device, &options, json);
    if (json)
        fclose(json);
    rvx__device_close(device);
    return good ? 0 : 1;
}
