/* rvx_bench_memory: see revoxel.h. Owns: the curve of a training step's memory over the couplings
 * per level. Every figure is read off the very plan that a session would allocate; none is
 * allocated. */
#include "bindings/c/bench.h"

#include "engine/plan/plan.h"
#include "models/models.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_DEFAULT = 128, EDGE_MAX = 1 << 20, DEPTHS_MAX = 16, DEPTH_MAX = 64, POLICIES = 3 };

static const rvx_policy policies[POLICIES] = {RVX_POLICY_STORE, RVX_POLICY_CHECKPOINT,
                                              RVX_POLICY_REVERSIBLE};

typedef struct curve_point {
    int64_t peak_bytes;       /* the arena */
    int64_t parameters_bytes; /* of it: parameters, their gradients and SGD's momentum */
    double flops_ratio;       /* recomputed work over that of a step that stores */
    double time_ratio;        /* predicted, to store */
} curve_point;

typedef struct memory_bench {
    rvx_bench_memory_options options;
    const rvx_model *model;
    int64_t size[3]; /* x, y, z */
    int64_t depths[DEPTHS_MAX];
    int depth_count;
    curve_point points[DEPTHS_MAX][POLICIES];
} memory_bench;

static rvx_status check(memory_bench *b, rvx_error *error)
{
    static const int64_t usual[] = {1, 2, 4, 8, 16};
    const rvx_bench_memory_options *o = &b->options;
    rvx_status status;
    RVX_TRY(rvx__facade_network(&b->model, o->network ? o->network : "revnet3d-full", error));
    RVX_TRY(rvx__facade_threads(o->threads, error));
    for (int axis = 0; axis < 3; axis++) {
        b->size[axis] = o->size[axis] ? o->size[axis] : SIZE_DEFAULT;
        if (b->size[axis] < 1 || b->size[axis] > EDGE_MAX)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "size expected 1 to %d along %c, found %lld", EDGE_MAX, "xyz"[axis],
                             (long long)b -> size[axis]);
    }
    if (o->depth_count < 0 || o->depth_count > DEPTHS_MAX || (o->depth_count > 0 && !o->depths))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "depths expected 1 to %d numbers, found %d",
                         DEPTHS_MAX, o->depth_count);
    b->depth_count = o->depth_count ? o->depth_count : (int)(sizeof usual / sizeof *usual);
    memcpy(b->depths, o->depth_count ? o->depths : usual,
           (size_t)b->depth_count * sizeof *b->depths);
    for (int i = 0; i < b->depth_count; i++)
        if (b->depths[i] < 1 || b->depths[i] > DEPTH_MAX || (i && b->depths[i] <= b->depths[i - 1]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "depths expected numbers from 1 to %d, ascending; depths[%d] is %lld",
                             DEPTH_MAX, i, (long long)b->depths[i]);
cleanup:
    return status;
}

/* One graph a depth, one plan a policy: batch 1, loss included, one optimiser slot. */
static rvx_status plan_depth(curve_point points[POLICIES], const memory_bench *b, int64_t depth,
                             rvx_error *error)
{
    rvx_status status;
    rvx_plan *plan = NULL;
    rvx_value logits[RVX_STAGES_MAX] = {{0}};
    double seconds = 0, flops = 0;
    rvx_model_config config = b->model->defaults;
    rvx_graph *graph = rvx__graph_create();
    if (!graph)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a graph");
    config.depth = (int)depth;
    RVX_TRY(rvx__model_config_check(&config, error));
    RVX_TRY(rvx__facade_size_check(b->size, &config, error));
    rvx__graph_set_storage(graph, RVX_BF16);
    rvx__graph_set_streams(graph, RVX_I16, 10);
    rvx_shape shape = {1, b->size[2], b->size[1], b->size[0], config.in_channels};
    rvx_value image = rvx__input(graph, "image", shape, RVX_BF16); /* as training does */
    int count = b->model->build(graph, image, &config, logits);
    RVX_TRY(rvx__graph_status(graph, error));
    rvx_supervision supervision = rvx__supervise(
        graph, logits, count, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    RVX_TRY(rvx__graph_status(graph, error));
    for (int i = 0; i < POLICIES; i++) {
        rvx_plan_options options = {.policy = policies[i],
                                    .isa = rvx__isa_detect(),
                                    .threads = rvx__facade_thread_count(b->options.threads),
                                    .loss_count = supervision.count,
                                    .optimizer_slots = 1};
        memcpy(options.losses, supervision.losses, sizeof supervision.losses);
        RVX_TRY(rvx__plan_create(&plan, graph, &options, error));
        double predicted = rvx__plan_seconds(plan), work = rvx__plan_cost(plan, false).flops;
        seconds = i ? seconds : predicted;
        flops = i ? flops : work;
        points[i] =
            (curve_point){.peak_bytes = plan->arena_bytes,
                          .parameters_bytes = plan->parameter_bytes * (2 + options.optimizer_slots),
                          .flops_ratio = rvx__plan_cost(plan, true).flops / flops,
                          .time_ratio = predicted / seconds};
        rvx__plan_free(plan);
        plan = NULL;
    }
cleanup:
    rvx__plan_free(plan);
    rvx__graph_free(graph);
    return status;
}

static double aside(const curve_point *p) { return (double)(p->peak_bytes - p->parameters_bytes); }

static double voxels(const memory_bench *b)
{
    return (double)b->size[0] * (double)b->size[1] * (double)b->size[2];
}

static void print_table(rvx_text *text, const memory_bench *b)
{
    rvx__text_format(
        text,
        "%s, %lld x %lld x %lld voxels, batch 1, bf16 and 16-bit streams: one training "
        "step, planned\n%-8s",
        b->model->name, (long long)b->size[0], (long long)b->size[1], (long long)b->size[2],
        "depth");
    for (int i = 0; i < POLICIES; i++)
        rvx__text_format(text, "  %22s", rvx__policy_names[policies[i]]);
    rvx__text_format(text, "  %10s\n%-8s", "parameters", "");
    for (int i = 0; i < POLICIES; i++)
        rvx__text_format(text, "  %10s %11s", "MiB", "bytes/voxel");
    rvx__text_format(text, "  %10s\n", "MiB");
    for (int d = 0; d < b->depth_count; d++) {
        rvx__text_format(text, "%-8lld", (long long)b->depths[d]);
        for (int i = 0; i < POLICIES; i++) {
            const curve_point *p = &b->points[d][i];
            rvx__text_format(text, "  %10.1f %11.1f", aside(p) / 0x1p20, aside(p) / voxels(b));
        }
        rvx__text_format(text, "  %10.1f\n", (double)b->points[d][0].parameters_bytes / 0x1p20);
    }
    if (b->depth_count < 2)
        return;
    rvx__text_format(text, "%-8s", "growth");
    for (int i = 0; i < POLICIES; i++) {
        double first = aside(&b->points[0][i]), last = aside(&b->points[b->depth_count - 1][i]);
        rvx__text_format(text, "  %20.2f %%", 100 * (last / first - 1));
    }
    rvx__text_add(text, "\nParameters (with gradients and momentum) stand aside; the peak is the "
                        "sum.\n");
}

static void print_csv(rvx_text *text, const memory_bench *b)
{
    rvx__text_add(text, "network,x,y,z,depth,policy,peak_bytes,parameters_bytes,"
                        "without_parameters_bytes,recompute_flops_ratio,predicted_time_ratio\n");
    for (int d = 0; d < b->depth_count; d++)
        for (int i = 0; i < POLICIES; i++) {
            const curve_point *p = &b->points[d][i];
            rvx__text_format(text, "%s,%lld,%lld,%lld,%lld,%s,%lld,%lld,%lld,", b->model->name,
                             (long long)b->size[0], (long long)b->size[1], (long long)b->size[2],
                             (long long)b->depths[d], rvx__policy_names[policies[i]],
                             (long long)p->peak_bytes, (long long)p->parameters_bytes,
                             (long long)(p->peak_bytes - p->parameters_bytes));
            rvx__text_number(text, round(1e4 * p->flops_ratio) / 1e4);
            rvx__text_add(text, ",");
            rvx__text_number(text, round(1e4 * p->time_ratio) / 1e4);
            rvx__text_add(text, "\n");
        }
}

/* A line a policy with the parameters aside, a dashed one of the same colour in all. */
static void draw(rvx_text *svg, const memory_bench *b)
{
    double x[DEPTHS_MAX], y[2 * POLICIES][DEPTHS_MAX], most = 0;
    rvx_series series[2 * POLICIES];
    char title[128];
    for (int d = 0; d < b->depth_count; d++)
        for (int i = 0; i < POLICIES; i++)
            most = fmax(most, (double)b->points[d][i].peak_bytes);
    double unit = most >= 0x1p30 ? 0x1p30 : 0x1p20;
    for (int i = 0; i < POLICIES; i++) {
        for (int d = 0; d < b->depth_count; d++) {
            x[d] = (double)b->depths[d];
            y[i][d] = aside(&b->points[d][i]) / unit;
            y[POLICIES + i][d] = (double)b->points[d][i].peak_bytes / unit;
        }
        series[i] = (rvx_series){.name = rvx__policy_names[policies[i]],
                                 .colour = rvx__class_colour(i),
                                 .x = x,
                                 .y = y[i],
                                 .count = b->depth_count};
        series[POLICIES + i] = series[i];
        series[POLICIES + i].name = i ? NULL : "with parameters";
        series[POLICIES + i].y = y[POLICIES + i];
        series[POLICIES + i].dashed = true;
    }
    rvx_text line = {0}; /* a title too long for it is cut, not lost */
    rvx__text_format(&line, "%s, %lld x %lld x %lld", b->model->name, (long long)b->size[0],
                     (long long)b->size[1], (long long)b->size[2]);
    strncpy(title, line.data ? line.data : "", sizeof title - 1);
    title[sizeof title - 1] = 0;
    rvx__text_free(&line);
    rvx_chart chart = {.title = title,
                       .x_label = "couplings per level",
                       .y_label = unit > 0x1p20 ? "peak of a training step, GiB"
                                                : "peak of a training step, MiB",
                       .y_low = 0,
                       .y_high = 1.05 * most / unit,
                       .series = series,
                       .series_count = 2 * POLICIES};
    rvx__svg_chart(svg, &chart);
}

rvx_status rvx__bench_write(rvx_text *text, const char *folder, const char *name, rvx_error *error)
{
    char path[RVX_PATH_BYTES];
    rvx_status status;
    RVX_TRY(rvx__text_check(text, error));
    RVX_TRY(rvx__path_join(path, folder, name, error));
    RVX_TRY(rvx__file_write(path, text->data, text->bytes, error));
cleanup:
    rvx__text_free(text);
    return status;
}

rvx_status rvx_bench_memory(char **table, const rvx_bench_memory_options *given, rvx_error *error)
{
    rvx_status status;
    memory_bench b = {.depth_count = 0};
    rvx_text text = {0}, csv = {0}, svg = {0};
    if (!table)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "table is NULL");
    *table = NULL;
    RVX_TRY(rvx__facade_options(&b.options, sizeof b.options, given, "rvx_bench_memory_options",
                                error));
    RVX_TRY(check(&b, error));
    for (int d = 0; d < b.depth_count; d++) {
        RVX_TRY(plan_depth(b.points[d], &b, b.depths[d], error));
        if (rvx__facade_progress(b.options.progress, b.options.context,
                                 rvx__facade_phase("plan", b.model->name, d + 1, b.depth_count)))
            RVX_TRY(rvx__fail(error, RVX_CANCELLED, "the bench was stopped"));
    }
    if (b.options.out) {
        RVX_TRY(rvx__directory_create(b.options.out, error));
        print_csv(&csv, &b);
        RVX_TRY(rvx__bench_write(&csv, b.options.out, "memory.csv", error));
        draw(&svg, &b);
        RVX_TRY(rvx__bench_write(&svg, b.options.out, "memory.svg", error));
    }
    print_table(&text, &b);
cleanup:
    return rvx__facade_text(table, &text, status, error);
}
