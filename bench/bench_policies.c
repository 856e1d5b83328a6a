/* The price of memory policies: one training step of a network under store, checkpoint and
 * reversible, interleaved in one run on the same numbers, so that other work on the machine meets
 * all alike. Prints one JSON object: per policy the arena, the measured seconds (median), those of
 * all processors together, the ratio to store as the median of paired ratios, the planner's
 * prediction, and how far the gradients are from those of store (worst parameter, relative L2).
 * With one policy alone its peak of resident memory, over what the process held before, is that of
 * the policy.
 *
 * usage: bench_policies [--model M] [--size DxHxW] [--depth N] [--f32] [--repeats R] [--threads T]
 *                       [--policy store|checkpoint|reversible]
 */
#include "engine/run/session.h"
#include "models/models.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLICIES = 3, REPEATS_MAX = 101 };

typedef struct settings {
    const char *model;
    int64_t size[3];
    int depth, repeats, threads;
    rvx_dtype storage;
    rvx_policy policies[POLICIES];
    int policy_count;
} settings;

typedef struct measured {
    rvx_plan *plan;
    rvx_session *session;
    double seconds[REPEATS_MAX], ratio[REPEATS_MAX], processor_seconds[REPEATS_MAX];
} measured;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count)
{
    double sorted[REPEATS_MAX];
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
    return sorted[count / 2];
}

static void fill(rvx_session *session, int classes)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    rvx__session_initialise(session, 1);
    uint32_t state = 1;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_INPUT)
            continue;
        rvx_tensor t = rvx__session_tensor(session, (rvx_value){v});
        for (int64_t i = 0; i < rvx__shape_count(t.shape); i++) {
            state = state * 1664525 + 1013904223;
            float noise = (float)(state >> 8) * 0x1p-23f - 1;
            if (t.dtype == RVX_U8)
                ((uint8_t *)t.data)[i] = (uint8_t)(state >> 24) % (uint8_t)classes;
            else if (t.dtype == RVX_BF16)
                ((uint16_t *)t.data)[i] = rvx__bf16_of(noise);
            else
                rvx__f32(&t)[i] = noise;
        }
    }
}

static rvx_status prepare(measured m[POLICIES], const settings *s, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_value logits[RVX_STAGES_MAX];
    const rvx_model *model = rvx__model_find(s->model);
    rvx_graph *graph = rvx__graph_create();
    if (!model || !graph)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "no network %s", s->model);
    rvx_model_config config = model->defaults;
    config.depth = s->depth ? s->depth : config.depth;
    rvx__graph_set_storage(graph, s->storage);
    rvx__graph_set_streams(graph, RVX_I16, 10);
    rvx_shape shape = {1, s->size[0], s->size[1], s->size[2], config.in_channels};
    int count = model->build(graph, rvx__input(graph, "image", shape, RVX_F32), &config, logits);
    rvx_supervision supervision = rvx__supervise(
        graph, logits, count, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    RVX_TRY(rvx__graph_status(graph, error));
    for (int i = 0; i < s->policy_count; i++) {
        rvx_plan_options options = {.policy = s->policies[i],
                                    .isa = rvx__isa_detect(),
                                    .threads = s->threads,
                                    .loss_count = supervision.count};
        memcpy(options.losses, supervision.losses, sizeof supervision.losses);
        RVX_TRY(rvx__plan_create(&m[i].plan, graph, &options, error));
        RVX_TRY(rvx__session_create(&m[i].session, m[i].plan, error));
        fill(m[i].session, config.classes);
        RVX_TRY(rvx__session_run(m[i].session, NULL, NULL, error)); /* touches every page */
    }
cleanup:
    rvx__graph_free(graph);
    return status;
}

/* A field of /proc/self/status, in bytes; 0 where the system does not say. */
static int64_t resident_bytes(const char *field)
{
    char line[256];
    long long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, field, strlen(field)) == 0)
            sscanf(line + strlen(field), ": %lld", &kib);
    if (status)
        fclose(status);
    return (int64_t)kib * 1024;
}

/* Of the parameter whose gradient differs most: L2 norm of the difference over that of store's. */
static double gradient_error(const rvx_session *other, const rvx_session *stored)
{
    const rvx_graph *graph = rvx__session_plan(stored)->graph;
    double worst = 0;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_tensor a = rvx__session_gradient(other, (rvx_value){v});
        rvx_tensor b = rvx__session_gradient(stored, (rvx_value){v});
        double difference = 0, norm = 0;
        for (int64_t i = 0; a.data && b.data && i < rvx__shape_count(b.shape); i++) {
            double x = (double)rvx__f32(&a)[i], y = (double)rvx__f32(&b)[i];
            difference += (x - y) * (x - y);
            norm += y * y;
        }
        worst = fmax(worst, norm > 0 ? sqrt(difference / norm) : difference > 0 ? 1 : 0);
    }
    return worst;
}

static void print(const measured m[POLICIES], const settings *s, int64_t peak_bytes)
{
    double voxels = (double)(s->size[0] * s->size[1] * s->size[2]);
    printf(
        "{\"model\": \"%s\", \"size\": [%lld, %lld, %lld], \"storage\": \"%s\", \"threads\": %d, "
        "\"repeats\": %d, \"peak_rss_bytes\": %lld, \"policies\": [",
        s->model, (long long)s->size[0], (long long)s->size[1], (long long)s->size[2],
        s->storage == RVX_BF16 ? "bf16" : "f32", s->threads, s->repeats, (long long)peak_bytes);
    for (int i = 0; i < s->policy_count; i++)
        printf("%s\n  {\"policy\": \"%s\", \"arena_bytes\": %lld, \"bytes_per_voxel\": %.1f, "
               "\"seconds\": %.4f, \"processor_seconds\": %.4f, "
               "\"time_ratio\": %.3f, \"predicted_ratio\": %.3f, "
               "\"recompute_flops_ratio\": %.3f, \"gradient_error\": %g}",
               i ? "," : "", rvx__policy_names[m[i].plan->options.policy],
               (long long)m[i].plan->arena_bytes, (double)m[i].plan->arena_bytes / voxels,
               median(m[i].seconds, s->repeats), median(m[i].processor_seconds, s->repeats),
               median(m[i].ratio, s->repeats),
               rvx__plan_seconds(m[i].plan) / rvx__plan_seconds(m[0].plan),
               rvx__plan_cost(m[i].plan, true).flops / rvx__plan_cost(m[0].plan, false).flops,
               gradient_error(m[i].session, m[0].session));
    printf("]}\n");
}

static bool parse(settings *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--f32") == 0) {
            s->storage = RVX_F32;
            continue;
        }
        if (strcmp(argv[i], "--model") == 0)
            s->model = value;
        else if (strcmp(argv[i], "--size") == 0 &&
                 sscanf(value, "%ldx%ldx%ld", &s->size[0], &s->size[1], &s->size[2]) != 3)
            return false;
        else if (strcmp(argv[i], "--depth") == 0)
            s->depth = atoi(value);
        else if (strcmp(argv[i], "--repeats") == 0)
            s->repeats = atoi(value);
        else if (strcmp(argv[i], "--threads") == 0)
            s->threads = atoi(value);
        else if (strcmp(argv[i], "--policy") == 0) {
            s->policy_count = 0;
            for (int p = 0; p < RVX_POLICY_AUTO; p++)
                if (strcmp(value, rvx__policy_names[p]) == 0)
                    s->policies[s->policy_count++] = (rvx_policy)p;
        } else if (strcmp(argv[i], "--size") != 0)
            return false;
        i++;
    }
    return s->repeats > 0 && s->repeats <= REPEATS_MAX && s->threads > 0 && s->policy_count > 0;
}

int main(int argc, char **argv)
{
    settings s = {"revnet3d-full",
                  {64, 64, 64},
                  0,
                  9,
                  2,
                  RVX_BF16,
                  {RVX_POLICY_STORE, RVX_POLICY_CHECKPOINT, RVX_POLICY_REVERSIBLE},
                  POLICIES};
    int64_t before = resident_bytes("VmRSS");
    measured m[POLICIES] = {{0}};
    rvx_error error = {0};
    if (!parse(&s, argc, argv)) {
        fprintf(stderr, "usage: bench_policies [--model M] [--size DxHxW] [--depth N] [--f32] "
                        "[--repeats R] [--threads T] [--policy P]\n");
        return 2;
    }
    if (prepare(m, &s, &error) != RVX_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (int r = 0; r < s.repeats; r++)
        for (int i = 0; i < s.policy_count; i++) {
            double start = now();
            clock_t processor = clock();
            rvx__session_run(m[i].session, NULL, NULL, &error);
            m[i].seconds[r] = now() - start;
            m[i].processor_seconds[r] = (double)(clock() - processor) / CLOCKS_PER_SEC;
            m[i].ratio[r] = m[i].seconds[r] / m[0].seconds[r];
        }
    print(m, &s, resident_bytes("VmHWM") - before);
    for (int i = 0; i < s.policy_count; i++) {
        rvx__session_free(m[i].session);
        rvx__plan_free(m[i].plan);
    }
    return 0;
}
