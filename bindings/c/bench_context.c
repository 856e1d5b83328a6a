/* rvx_bench_context: see revoxel.h. Owns: the runs of one network on samples of several sizes that
 * see equally many voxels. Invariant: the plans differ in patch, steps and seed, in nothing else.
 * Everything that trains is rvx_train on a plan file that stays in the folder. */
#include "bindings/c/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIZES_MAX = 8, SEEDS_MAX = 20, VALIDATIONS = 8, CASES_DEFAULT = 10 };
static const int64_t voxels_default = 256000000;

/* One size, or one run of it: sums over seeds become means. */
typedef struct context_row {
    char name[32]; /* "32", "whole" */
    int64_t patch[3], steps;
    double seconds, processor_seconds; /* of training steps alone; by the clock, of all threads */
    double memory_bytes, dice;
    int count; /* validations */
    double at[VALIDATIONS], curve[VALIDATIONS];
} context_row;

typedef struct context_bench {
    rvx_bench_context_options options;
    const char *dataset;
    int64_t sizes[SIZES_MAX], voxels;
    int size_count, seeds;
    context_row mean[SIZES_MAX];
    rvx_text csv;
    /* The run at hand. */
    context_row run;
    bool training; /* phase of the last call */
    bool validated;
    double then, processor_then; /* seconds */
} context_bench;

static rvx_status check(context_bench *b, rvx_error *error)
{
    static const int64_t usual[] = {32, 48, 64, 0};
    const rvx_bench_context_options *o = &b->options;
    rvx_status status = rvx__facade_required(o->out, "out", error);
    if (status != RVX_OK)
        return status;
    if (o->size_count < 0 || o->size_count > SIZES_MAX || (o->size_count > 0 && !o->sizes))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "sizes expected 1 to %d numbers, found %d",
                         SIZES_MAX, o->size_count);
    b->size_count = o->size_count ? o->size_count : (int)(sizeof usual / sizeof *usual);
    memcpy(b->sizes, o->size_count ? o->sizes : usual, (size_t)b->size_count * sizeof *b->sizes);
    for (int i = 0; i < b->size_count; i++)
        for (int k = 0; k <= i; k++)
            if (b->sizes[i] < 0 || (k < i && b->sizes[k] == b->sizes[i]))
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "sizes expected different edges, 0 for whole volumes; sizes[%d] "
                                 "is %lld",
                                 i, (long long)b->sizes[i]);
    if (o->voxels < 0 || o->seeds < 0 || o->seeds > SEEDS_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "voxels expected 0 or more and seeds 0 to %d, found %lld and %d",
                         SEEDS_MAX, (long long)o->voxels, o->seeds);
    b->voxels = o->voxels ? o->voxels : voxels_default;
    b->seeds = o->seeds ? o->seeds : 1;
    return RVX_OK;
}

/* The phantom of a bench that was given no data. */
static rvx_status synthesise(const char *folder, const context_bench *b, rvx_error *error)
{
    rvx_synth_options synth = RVX_OPTIONS(rvx_synth_options);
    const int64_t size[3] = {80, 80, 64}; /* larger than the largest patch */
    synth.cases = b->options.cases ? b->options.cases : CASES_DEFAULT;
    for (int axis = 0; axis < 3; axis++)
        synth.size[axis] = b->options.volume[axis] ? b->options.volume[axis] : size[axis];
    synth.threads = b->options.threads;
    synth.progress = b->options.progress;
    synth.context = b->options.context;
    return rvx_synth(folder, &synth, error);
}

static double processor_seconds(void)
{
    struct timespec used = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

/* What rvx_train reports: time spent in steps, the most memory, and every validation. A validation
 * shows when training goes on, or in the end. */
static int watch(void *context, const rvx_progress *now)
{
    context_bench *b = context;
    context_row *run = &b->run;
    double time = rvx__facade_seconds(), processor = processor_seconds();
    bool train = strcmp(now->phase, "train") == 0;
    if (b->training && train) {
        run->seconds += time - b->then;
        run->processor_seconds += processor - b->processor_then;
    }
    if (train || strcmp(now->phase, "validate") == 0)
        run->memory_bytes = fmax(run->memory_bytes, (double)now->memory_bytes);
    if (train && b->validated) {
        if (run->count < VALIDATIONS) {
            run->at[run->count] = run->processor_seconds;
            run->curve[run->count++] = isnan(now->dice) ? 0 : now->dice;
        }
        run->dice = isnan(now->dice) ? 0 : now->dice;
    }
    b->validated = strcmp(now->phase, "validate") == 0;
    b->training = train;
    b->then = time;
    b->processor_then = processor;
    return b->options.progress ? b->options.progress(b->options.context, now) : 0;
}

/* The plan of one run: batch 1, so many steps that the voxels are seen, at most VALIDATIONS
 * validations. Written to `path`. */
static rvx_status plan_run(context_bench *b, const char *path, int64_t edge, int seed,
                           rvx_error *error)
{
    static const int64_t widths[] = {8, 16, 32};
    rvx_status status;
    rvx_recipe recipe = {0};
    rvx_plan_settings settings = RVX_OPTIONS(rvx_plan_settings);
    settings.network = b->options.network ? b->options.network : "revnet3d-full";
    settings.patch_whole = edge == 0;
    for (int axis = 0; axis < 3; axis++)
        settings.patch[axis] = edge;
    settings.widths = b->options.width_count ? b->options.widths : widths;
    settings.width_count = b->options.width_count ? b->options.width_count : 3;
    settings.steps = 1; /* until the patch is known */
    settings.seed = (uint64_t)seed;
    settings.threads = b->options.threads;
    RVX_TRY(rvx__facade_plan(&recipe, b->dataset, &settings, NULL, error));
    int64_t *size = recipe.patch.size, seen = size[0] * size[1] * size[2];
    int64_t steps = (b->voxels + seen / 2) / seen;
    recipe.patch.batch = 1;
    recipe.training.steps = steps > 0 ? steps : 1;
    recipe.training.steps_per_epoch = (recipe.training.steps + 19) / 20;
    recipe.training.validation_every = (recipe.training.steps + VALIDATIONS - 1) / VALIDATIONS;
    recipe.training.checkpoint_every = recipe.training.steps;
    recipe.training.validation_smoothing = 0;
    RVX_TRY(rvx__recipe_check(&recipe, error));
    RVX_TRY(rvx__recipe_save(&recipe, path, error));
    memcpy(b->run.patch, size, sizeof b->run.patch);
    b->run.steps = recipe.training.steps;
cleanup:
    rvx__recipe_free(&recipe);
    return status;
}

static void add_run(context_bench *b, int index, int seed)
{
    const context_row *run = &b->run;
    context_row *mean = &b->mean[index];
    if (seed == 0) {
        *mean = *run;
    } else {
        double old = (double)seed / (seed + 1), new = 1. / (seed + 1);
        mean->seconds = old * mean->seconds + new * run->seconds;
        mean->processor_seconds = old * mean->processor_seconds + new * run->processor_seconds;
        mean->memory_bytes = old * mean->memory_bytes + new * run->memory_bytes;
        mean->dice = old * mean->dice + new * run->dice;
        for (int i = 0; i < mean->count && i < run->count; i++) {
            mean->at[i] = old * mean->at[i] + new * run->at[i];
            mean->curve[i] = old * mean->curve[i] + new * run->curve[i];
        }
    }
    rvx__text_format(&b->csv, "%s,%d,%lld,%lld,%lld,%lld,%lld,", run->name, seed,
                     (long long)run->patch[0], (long long)run->patch[1], (long long)run->patch[2],
                     (long long)run->steps,
                     (long long)(run->steps * run->patch[0] * run->patch[1] * run->patch[2]));
    rvx__text_number(&b->csv, round(1e3 * run->seconds) / 1e3);
    rvx__text_add(&b->csv, ",");
    rvx__text_number(&b->csv, round(1e3 * run->processor_seconds) / 1e3);
    rvx__text_format(&b->csv, ",%.0f,", run->memory_bytes);
    rvx__text_number(&b->csv, round(1e6 * run->dice) / 1e6);
    rvx__text_add(&b->csv, "\n");
}

static rvx_status one_run(context_bench *b, int index, int seed, rvx_error *error)
{
    rvx_status status;
    rvx_text name = {0};
    char plan[RVX_PATH_BYTES], folder[RVX_PATH_BYTES];
    int64_t edge = b->sizes[index];
    b->run = (context_row){.name = "whole"};
    if (edge > 0)
        rvx__text_format(&name, "%lld", (long long)edge);
    RVX_TRY(rvx__text_check(&name, error));
    if (edge > 0)
        strncpy(b->run.name, name.data, sizeof b->run.name - 1);
    rvx__text_free(&name);
    rvx__text_format(&name, "run-%s-seed%d", b->run.name, seed);
    RVX_TRY(rvx__text_check(&name, error));
    RVX_TRY(rvx__path_join(folder, b->options.out, name.data, error));
    rvx__text_add(&name, ".json");
    RVX_TRY(rvx__text_check(&name, error));
    RVX_TRY(rvx__path_join(plan, b->options.out, name.data, error));
    RVX_TRY(plan_run(b, plan, edge, seed, error));
    rvx_train_options train = RVX_OPTIONS(rvx_train_options);
    train.plan = plan;
    train.threads = b->options.threads;
    train.no_validation_output = 1;
    train.progress = watch;
    train.context = b;
    b->training = b->validated = false;
    RVX_TRY(rvx_train(b->dataset, folder, &train, error));
    add_run(b, index, seed);
cleanup:
    rvx__text_free(&name);
    return status;
}

static void print_table(rvx_text *text, const context_bench *b)
{
    rvx__text_format(text,
                     "%s, %lld voxels seen by every run, mean of %d seed%s, Dice on the cases held "
                     "out\n%-8s %17s %8s %10s %10s %12s %10s %8s\n",
                     b->options.network ? b->options.network : "revnet3d-full",
                     (long long)b->voxels, b->seeds, b->seeds == 1 ? "" : "s", "size", "patch",
                     "steps", "seconds", "processor", "kvoxels/s", "MiB", "Dice");
    for (int i = 0; i < b->size_count; i++) {
        const context_row *r = &b->mean[i];
        double seen = (double)(r->steps * r->patch[0] * r->patch[1] * r->patch[2]);
        rvx__text_format(text, "%-8s %5lld x%4lld x%4lld %8lld %10.1f %10.1f %12.1f %10.1f %8.4f\n",
                         r->name, (long long)r->patch[0], (long long)r->patch[1],
                         (long long)r->patch[2], (long long)r->steps, r->seconds,
                         r->processor_seconds, seen / fmax(r->seconds, 1e-9) / 1e3,
                         r->memory_bytes / 0x1p20, r->dice);
    }
}

/* Dice over the seconds of training, and the last Dice over the memory: a colour a size. */
static void draw(rvx_text *svg, const context_bench *b, bool memory)
{
    rvx_series series[SIZES_MAX];
    double bytes[SIZES_MAX];
    for (int i = 0; i < b->size_count; i++) {
        const context_row *r = &b->mean[i];
        bytes[i] = r->memory_bytes / 0x1p20;
        series[i] = (rvx_series){.name = r->name,
                                 .colour = rvx__class_colour(i),
                                 .x = memory ? &bytes[i] : r->at,
                                 .y = memory ? &r->dice : r->curve,
                                 .count = memory ? 1 : r->count};
    }
    rvx_chart chart = {.title = memory ? "Dice against memory" : "Dice against time",
                       .x_label =
                           memory ? "most resident memory, MiB" : "processor seconds of training",
                       .y_label = "mean foreground Dice, equal voxels seen",
                       .y_low = 0,
                       .y_high = 1,
                       .series = series,
                       .series_count = b->size_count};
    rvx__svg_chart(svg, &chart);
}

static rvx_status write_files(context_bench *b, rvx_error *error)
{
    rvx_status status;
    rvx_text time = {0}, memory = {0};
    RVX_TRY(rvx__bench_write(&b->csv, b->options.out, "context.csv", error));
    draw(&time, b, false);
    RVX_TRY(rvx__bench_write(&time, b->options.out, "context-time.svg", error));
    draw(&memory, b, true);
    RVX_TRY(rvx__bench_write(&memory, b->options.out, "context-memory.svg", error));
cleanup:
    return status;
}

rvx_status rvx_bench_context(char **table, const char *dataset,
                             const rvx_bench_context_options *given, rvx_error *error)
{
    rvx_status status;
    char phantom[RVX_PATH_BYTES];
    rvx_text text = {0};
    context_bench b = {.dataset = dataset};
    if (!table)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "table is NULL");
    *table = NULL;
    RVX_TRY(rvx__facade_options(&b.options, sizeof b.options, given, "rvx_bench_context_options",
                                error));
    RVX_TRY(check(&b, error));
    RVX_TRY(rvx__directory_create(b.options.out, error));
    if (!b.dataset) {
        RVX_TRY(rvx__path_join(phantom, b.options.out, "dataset", error));
        RVX_TRY(synthesise(phantom, &b, error));
        b.dataset = phantom;
    }
    rvx__text_add(
        &b.csv, "size,seed,x,y,z,steps,voxels_seen,seconds,processor_seconds,memory_bytes,dice\n");
    for (int seed = 0; seed < b.seeds; seed++)
        for (int i = 0; i < b.size_count; i++)
            RVX_TRY(one_run(&b, i, seed, error));
    RVX_TRY(write_files(&b, error));
    print_table(&text, &b);
cleanup:
    rvx__text_free(&b.csv);
    return rvx__facade_text(table, &text, status, error);
}
