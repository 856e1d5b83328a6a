/* A whole training step on a GPU (or, with the emulated library, a test of this program): forward,
 * loss, backward, norm of the gradients, update; batch 1, random voxels and labels. Time is that of
 * the host's clock around a step, copies of the image and the labels included; the median counts.
 *
 * usage: bench_step_gpu [--library FILE] [--network NAME --size XxYxZ] [--policy P] [--storage
 * bf16|f32]
 *                       [--streams i16|bf16|f32] [--steps N] [--seconds S] [--json FILE]
 *
 * P: a memory policy, or "inference": one forward pass over the whole volume, to labels.
 * Without a network: revnet3d-full and revunet3d at sizes up to 1000 x 1000 x 200. Steps that do
 * not fit are reported as such. */
#include "bench/gpu_energy.h"
#include "bench/json_keep.h"
#include "engine/run/device.h"
#include "engine/run/optimizer.h"
#include "kernels/random.h"
#include "models/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench_job {
    const char *network;
    int64_t size[3]; /* x, y, z */
    const char *policy, *storage, *streams;
} bench_job;

typedef struct bench_options {
    bench_job job;
    const char *library, *json;
    int steps;
    double seconds, end; /* end: no job begins later */
} bench_options;

enum { STEPS_MAX = 1000 };

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static rvx_dtype dtype_of(const char *name)
{
    return strcmp(name, "f32") == 0 ? RVX_F32 : strcmp(name, "i16") == 0 ? RVX_I16 : RVX_BF16;
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
    int steps;
} bench_result;

/* The policy of a job that segments: one forward pass, to labels. */
static bool is_inference(const bench_job *job) { return strcmp(job->policy, "inference") == 0; }

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
    *result = (bench_result){.joules = -1};
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

static rvx_status plan_job(rvx_plan **plan, rvx_graph *graph, rvx_supervision *supervision,
                           rvx_value *image, rvx_model_config *config, const bench_job *job,
                           rvx_error *error)
{
    const rvx_model *model = rvx__model_find(job->network);
    rvx_value logits[RVX_STAGES_MAX];
    if (!model)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "no network is called %s", job->network);
    *config = model->defaults;
    config->deep_supervision = false;
    rvx_dtype storage = dtype_of(job->storage);
    rvx__graph_set_storage(graph, storage);
    rvx__graph_set_streams(graph, dtype_of(job->streams),
                           strcmp(job->streams, "i16") == 0 ? 10 : 0);
    rvx_shape shape = {1, job->size[2], job->size[1], job->size[0], config->in_channels};
    *image = rvx__input(graph, "image", shape, storage);
    int count = model->build(graph, *image, config, logits);
    rvx_plan_options options = {
        .isa = RVX_ISA_CUDA, .threads = 1, .inexact = strcmp(job->streams, "i16") != 0};
    if (is_inference(job)) {
        options.outputs[options.output_count++] = rvx__labels(graph, logits[0]);
    } else {
        *supervision = rvx__supervise(graph, logits, count,
                                      (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
        options.loss_count = options.output_count = supervision->count;
        options.optimizer_slots = 1;
        memcpy(options.losses, supervision->losses, sizeof supervision->losses);
        memcpy(options.outputs, supervision->losses, sizeof supervision->losses);
    }
    rvx_status status = rvx__graph_status(graph, error);
    for (int i = 0; rvx__policy_names[i]; i++)
        if (strcmp(rvx__policy_names[i], job->policy) == 0)
            options.policy = (rvx_policy)i;
    return status == RVX_OK ? rvx__plan_create(plan, graph, &options, error) : status;
}

/* A line of the table, and an object of the list. */
static void run_job(const bench_job *job, const rvx_device *device, const bench_options *options,
                    double seconds, FILE *json, bool *first)
{
    rvx_error error = {RVX_OK, ""};
    rvx_graph *graph = rvx__graph_create();
    rvx_plan *plan = NULL;
    rvx_session *session = NULL;
    rvx_supervision supervision = {.count = 0};
    rvx_model_config config = {0};
    rvx_value image = {-1};
    bench_result r = {0};
    rvx_status status =
        now_seconds() > options->end ? rvx__fail(&error, RVX_CANCELLED, "no time left") : RVX_OK;
    if (status == RVX_OK)
        status = plan_job(&plan, graph, &supervision, &image, &config, job, &error);
    if (status == RVX_OK)
        status = rvx__session_create_on(&session, plan, device, &error);
    if (status == RVX_OK) {
        rvx_tensor x = rvx__session_tensor(session, image);
        fill(&x, false, 0);
        for (int i = 0; i < supervision.count; i++) {
            rvx_tensor labels = rvx__session_tensor(session, supervision.labels[i]);
            fill(&labels, true, config.classes);
        }
        rvx__session_initialise(session, 1);
        status = rvx__session_upload(session, &error);
    }
    if (status == RVX_OK)
        status = run_steps(&r, session, is_inference(job), options->steps, seconds, &error);
    double voxels = (double)job->size[0] * (double)job->size[1] * (double)job->size[2];
    double gib = plan ? (double)plan->arena_bytes / 0x1p30 : 0;
    printf("%-14s %5lldx%lldx%lld %-10s %-4s %-4s %8.2f GiB ", job->network,
           (long long)job->size[0], (long long)job->size[1], (long long)job->size[2], job->policy,
           job->storage, job->streams, gib);
    if (status == RVX_OK) {
        double flops = rvx__plan_cost(plan, false).flops,
               rebuilt = rvx__plan_cost(plan, true).flops;
        printf("%9.4f s %8.1f Mvoxel/s %7.1f TFLOP/s", r.median, voxels / r.median * 1e-6,
               flops / r.median * 1e-12);
        if (r.joules >= 0)
            printf(" %8.1f J", r.joules);
        if (json) {
            fprintf(
                json,
                "%s\n  {\"network\": \"%s\", \"size\": [%lld, %lld, %lld], \"policy\": \"%s\", "
                "\"storage\": \"%s\", \"streams\": \"%s\", \"seconds\": %.6f, \"least\": %.6f, "
                "\"steps\": %d, \"arena_bytes\": %lld, \"tflop\": %.4f, \"tflop_rebuilt\": %.4f, "
                "\"joules\": %.3f}",
                *first ? "" : ",", job->network, (long long)job->size[0], (long long)job->size[1],
                (long long)job->size[2], job->policy, job->storage, job->streams, r.median, r.least,
                r.steps, (long long)plan->arena_bytes, flops * 1e-12, rebuilt * 1e-12, r.joules);
            json_keep(json);
            *first = false;
        }
    } else {
        printf("not run: %s", error.message);
    }
    printf("\n");
    fflush(stdout);
    rvx__session_free(session);
    rvx__plan_free(plan);
    rvx__graph_free(graph);
}

static bool parse(bench_options *o, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        long long x, y, z;
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
        else if (strcmp(name, "--json") == 0)
            o->json = value;
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = atof(value);
        else if (strcmp(name, "--steps") == 0)
            o->steps = atoi(value);
        else if (strcmp(name, "--size") == 0 && sscanf(value, "%lldx%lldx%lld", &x, &y, &z) == 3) {
            o->job.size[0] = x;
            o->job.size[1] = y;
            o->job.size[2] = z;
        } else {
            return false;
        }
    }
    return argc % 2 == 1 && o->steps >= 1 && o->steps <= STEPS_MAX &&
           !o->job.network == !o->job.size[0];
}

int main(int argc, char **argv)
{
    /* a small one, then what matters most: time may run out */
    static const int64_t sizes[][3] = {
        {256, 256, 128}, {1000, 1000, 200}, {512, 512, 160}, {128, 128, 128}};
    static const char *const networks[] = {"revnet3d-full", "revunet3d"};
    bench_options options = {.job = {.policy = "reversible", .storage = "bf16", .streams = "i16"},
                             .steps = 50,
                             .seconds = 90};
    rvx_error error = {RVX_OK, ""};
    rvx_device *device = NULL;
    if (!parse(&options, argc, argv)) {
        fprintf(
            stderr,
            "usage: bench_step_gpu [--library FILE] [--network NAME --size XxYxZ] [--policy P]\n"
            "    [--storage bf16|f32] [--streams i16|bf16|f32] [--steps N] [--seconds S] "
            "[--json FILE]\n");
        return 2;
    }
    if (rvx__device_open(&device, "cuda", options.library, &error) != RVX_OK) {
        fprintf(stderr, "bench_step_gpu: %s\n", error.message);
        return 3;
    }
    printf("%s, %.1f GiB free\n", device->info.name, (double)device->info.free_bytes / 0x1p30);
    fflush(stdout);
    FILE *json = options.json ? fopen(options.json, "w") : NULL;
    bool first = true;
    options.end = now_seconds() + options.seconds;
    if (json) {
        fprintf(json, "{\"device\": \"%s\", \"rows\": [", device->info.name);
        json_keep(json);
    }
    if (options.job.network) {
        run_job(&options.job, device, &options, options.seconds, json, &first);
    } else {
        /* three ways of streams and memory for each, and segmenting, shares of the time */
        double share = options.seconds / 36;
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int n = 0; n < 2; n++) {
                bench_job job = options.job;
                job.network = networks[n];
                memcpy(job.size, sizes[s], sizeof job.size);
                run_job(&job, device, &options, share, json, &first);
                job.streams = "bf16";
                run_job(&job, device, &options, share, json, &first);
                job.policy = "store";
                run_job(&job, device, &options, share, json, &first);
                job.policy = "inference";
                job.streams = "i16";
                run_job(&job, device, &options, share, json, &first);
            }
    }
    if (json) {
        fprintf(json, "\n]}\n");
        fclose(json);
    }
    rvx__device_close(device);
    return 0;
}
