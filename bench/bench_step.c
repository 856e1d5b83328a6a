/* One training step of unet3d: time, memory, and where the time goes. Prints one JSON object a
 * size, in the terms of bench/peers/step.py, so that both can be read side by side.
 *
 * usage: bench_step [--size N] [--repeats R] [--threads T] [--bf16] [--profile] */
#include "engine/run/optimizer.h"
#include "kernels/random.h"
#include "models/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct profile {
    const rvx_plan *plan;
    double last;
    double *seconds; /* per call */
    int calls;
} profile;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Asked before every call: the time since the last one belongs to the call before. */
static int tick(void *context, double done, double total)
{
    (void)done, (void)total;
    profile *p = context;
    double now = now_seconds();
    if (p->calls > 0 && now - p->last < p->seconds[p->calls - 1])
        p->seconds[p->calls - 1] = now - p->last;
    p->last = now;
    p->calls++;
    return 0;
}

static double peak_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static void print_profile(const profile *p)
{
    static const char *const phases[] = {"forward", "weights", "data", "inverse"};
    int call = 0;
    for (int32_t s = 0; s < p->plan->step_count; s++) {
        const rvx_step *step = &p->plan->steps[s];
        int parts = 0;
        if (step->kind == RVX_STEP_GATHER) {
            for (int i = 0; i < RVX_IN_MAX; i++)
                parts += step->in[i] >= 0;
        } else {
            parts = 1;
        }
        for (int i = 0; i < parts; i++, call++) {
            double seconds = p->seconds[call];
            fprintf(stderr, "%9.3f ms %7.1f GFLOP/s %7.2f GB/s  %-8s %-18s %s\n", 1e3 * seconds,
                    step->cost.flops / seconds * 1e-9, step->cost.bytes / seconds * 1e-9,
                    phases[step->phase], step->op ? step->op->name : "copy",
                    p->plan->graph->nodes[step->node].name);
        }
    }
}

static void bench(int64_t size, int repeats, int threads, bool bf16, bool profiled)
{
    rvx_model_config config = rvx__model_unet3d.defaults;
    const int widths[4] = {16, 32, 64, 128};
    config.stage_count = 4;
    config.classes = 3;
    config.deep_supervision = false; /* as in bench/peers/step.py */
    memcpy(config.widths, widths, sizeof widths);
    rvx_error error = {0};
    rvx_graph *graph = rvx__graph_create();
    rvx__graph_set_storage(graph, bf16 ? RVX_BF16 : RVX_F32);
    rvx_value image = rvx__input(graph, "image", (rvx_shape){1, size, size, size, 1}, RVX_F32);
    rvx_value logits[RVX_STAGES_MAX];
    int count = rvx__model_unet3d.build(graph, image, &config, logits);
    rvx_supervision s = rvx__supervise(
        graph, logits, count, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    rvx_plan_options options = {.isa = rvx__isa_detect(),
                                .threads = threads,
                                .loss_count = s.count,
                                .output_count = s.count,
                                .optimizer_slots = 1};
    memcpy(options.losses, s.losses, sizeof s.losses);
    memcpy(options.outputs, s.losses, sizeof s.losses);
    double before = peak_mib();
    rvx_plan *plan = NULL;
    rvx_session *session = NULL;
    if (rvx__plan_create(&plan, graph, &options, &error) != RVX_OK ||
        rvx__session_create(&session, plan, &error) != RVX_OK) {
        fprintf(stderr, "bench_step: %s\n", error.message);
        exit(1);
    }
    rvx__session_initialise(session, 1);
    rvx_random random = {.seed = 1};
    rvx_tensor x = rvx__session_tensor(session, image);
    for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
        rvx__f32(&x)[i] = rvx__random_normal(&random);
    for (int i = 0; i < s.count; i++) {
        rvx_tensor labels = rvx__session_tensor(session, s.labels[i]);
        for (int64_t v = 0; v < rvx__shape_voxels(labels.shape); v++)
            ((uint8_t *)labels.data)[v] = (uint8_t)rvx__random_below(&random, 3);
    }
    rvx_optimizer sgd = {.name = RVX_OPTIMIZER_SGD,
                         .learning_rate = 0.01,
                         .momentum = 0.99,
                         .nesterov = true,
                         .gradient_clip = 12,
                         .schedule = RVX_SCHEDULE_CONSTANT};
    profile p = {.plan = plan, .seconds = malloc(sizeof(double) * 4096)};
    for (int i = 0; i < 4096; i++)
        p.seconds[i] = 1e9;
    double best = 1e9, norm;
    for (int r = 0; r <= repeats; r++) {
        double start = now_seconds();
        p.calls = 0;
        rvx__session_run(session, profiled ? tick : NULL, &p, &error);
        if (profiled)
            tick(&p, 0, 1);
        rvx__optimizer_step(&norm, &sgd, session, 0, NULL);
        double seconds = now_seconds() - start;
        if (r > 0 && seconds < best)
            best = seconds;
    }
    if (profiled)
        print_profile(&p);
    double flops = rvx__plan_cost(plan, false).flops;
    printf("{\"size\": %lld, \"storage\": \"%s\", \"threads\": %d, \"seconds\": %.4f, "
           "\"gflops_per_second\": %.1f, "
           "\"arena_mib\": %.1f, \"peak_mib\": %.1f, \"fragmentation\": %.4f}\n",
           (long long)size, bf16 ? "bf16" : "f32", threads, best, flops / best * 1e-9,
           (double)plan->arena_bytes / 0x1p20, peak_mib() - before,
           (double)plan->arena_bytes / (double)plan->peak_live_bytes - 1);
    if (profiled) {
        char text[2048];
        rvx__plan_describe_peak(plan, text, sizeof text, 12);
        fprintf(stderr, "at the peak:\n%s", text);
    }
    free(p.seconds);
    rvx__session_free(session);
    rvx__plan_free(plan);
    rvx__graph_free(graph);
}

int main(int argc, char **argv)
{
    int64_t size = 0;
    int repeats = 5, threads = 2;
    bool profiled = false, bf16 = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--profile") == 0)
            profiled = true;
        else if (strcmp(argv[i], "--bf16") == 0)
            bf16 = true;
        else if (i + 1 < argc && strcmp(argv[i], "--size") == 0)
            size = atoll(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--repeats") == 0)
            repeats = atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0)
            threads = atoi(argv[++i]);
        else {
            fprintf(
                stderr,
                "usage: bench_step [--size N] [--repeats R] [--threads T] [--bf16] [--profile]\n");
            return 2;
        }
    }
    if (size) {
        bench(size, repeats, threads, bf16, profiled);
    } else {
        bench(64, repeats, threads, bf16, profiled);
        bench(96, repeats, threads, bf16, profiled);
    }
    return 0;
}
