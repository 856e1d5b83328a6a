/* revoxel bench: what memory policies and input sizes cost. A verb of two words. */
#include "bindings/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- bench memory ------------------------------------------------------------------------------
 */

typedef struct memory_options {
    const char *network, *out;
    int64_t size[3], threads;
    rvx_cli_list depths;
    bool quiet;
} memory_options;

#define AT(field) offsetof(memory_options, field)
static const rvx_cli_option memory_table[] = {
    {"--model", "NAME", "network, see 'revoxel models' (default revnet3d-full)", RVX_CLI_TEXT,
     .offset = AT(network)},
    {"--size", "XxYxZ", "voxels of the volume (default 128x128x128)", RVX_CLI_SIZE,
     .offset = AT(size), 1, 1048576},
    {"--depths", "A,B,...", "couplings per level, ascending (default 1,2,4,8,16)", RVX_CLI_LIST,
     .offset = AT(depths), 1, 64},
    {"--out", "DIR", "write DIR/memory.csv and DIR/memory.svg (default: the table only)",
     RVX_CLI_TEXT, .offset = AT(out)},
    {"--threads", "N", "cores to plan for (default: all)", RVX_CLI_INTEGER, .offset = AT(threads),
     1, RVX_CLI_THREADS_MAX},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {0}};
#undef AT

static const rvx_cli_verb memory_verb;

static int run_memory(int count, char **arguments)
{
    memory_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&memory_verb, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_bench_memory_options bench = RVX_OPTIONS(rvx_bench_memory_options);
    rvx_cli_progress progress;
    rvx_error error;
    char *table = NULL;
    bench.network = options.network;
    for (int axis = 0; axis < 3; axis++)
        bench.size[axis] = options.size[axis];
    bench.depths = options.depths.values;
    bench.depth_count = options.depths.count;
    bench.out = options.out;
    bench.threads = (int)options.threads;
    bench.progress = rvx__cli_progress;
    bench.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status = rvx_bench_memory(&table, &bench, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, table);
}

static const rvx_cli_verb memory_verb = {
    .name = "bench memory",
    .summary = "memory of a training step against the depth of a network",
    .usage = "[--model NAME] [--size XxYxZ] [--depths A,B,...] [--out DIR]",
    .details = "Plans one training step for each depth under the policies store, checkpoint and "
               "reversible and\nprints the bytes it would allocate, parameters aside. Allocates "
               "nothing of that size.",
    .example = "revoxel bench memory --model revunet3d --size 160x160x128 --out bench",
    .options = memory_table,
    .arguments_min = 0,
    .arguments_max = 0,
    .run = run_memory};

/* ---- bench context -----------------------------------------------------------------------------
 */

typedef struct context_options {
    const char *network, *out, *sizes;
    int64_t voxels, seeds, cases, volume[3], threads;
    rvx_cli_list widths;
    bool quiet;
} context_options;

#define AT(field) offsetof(context_options, field)
static const rvx_cli_option context_table[] = {
    {"--out", "DIR", "folder for the runs, the table and the plots", RVX_CLI_TEXT,
     .offset = AT(out), .required = true},
    {"--sizes", "A,B,...", "edges of cubic patches, 'whole' for volumes (default 32,48,64,whole)",
     RVX_CLI_TEXT, .offset = AT(sizes)},
    {"--voxels", "N", "voxels that every run sees (default 256000000)", RVX_CLI_INTEGER,
     .offset = AT(voxels), 1, 9e18},
    {"--seeds", "N", "runs per size (default 1)", RVX_CLI_INTEGER, .offset = AT(seeds), 1, 20},
    {"--model", "NAME", "network (default revnet3d-full)", RVX_CLI_TEXT, .offset = AT(network)},
    {"--widths", "A,B,...", "channels per stage (default 8,16,32)", RVX_CLI_LIST,
     .offset = AT(widths), 1, 4096},
    {"--cases", "N", "cases of the phantom, without DATASET (default 10)", RVX_CLI_INTEGER,
     .offset = AT(cases), 2, 100000},
    {"--volume", "XxYxZ", "voxels of such a case (default 80x80x64)", RVX_CLI_SIZE,
     .offset = AT(volume), 8, 4096},
    {"--threads", "N", "cores to use (default: all)", RVX_CLI_INTEGER, .offset = AT(threads), 1,
     RVX_CLI_THREADS_MAX},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {0}};
#undef AT

static const rvx_cli_verb context_verb;

/* "32,48,whole"; how many, or 0 where it makes no sense. */
static int read_sizes(int64_t sizes[RVX_CLI_LIST_MAX], const char *text)
{
    for (int count = 0; count < RVX_CLI_LIST_MAX; text++) {
        size_t bytes = strcspn(text, ",");
        char *end;
        if (bytes == 5 && strncmp(text, "whole", 5) == 0) {
            sizes[count++] = 0;
        } else if (*text >= '1' && *text <= '9' && bytes < 5) {
            sizes[count++] = strtol(text, &end, 10);
            if (end != text + bytes)
                return 0;
        } else {
            return 0;
        }
        text += bytes;
        if (!*text)
            return count;
    }
    return 0;
}

static int run_context(int count, char **arguments)
{
    context_options options = {.out = NULL};
    int64_t positional_count, sizes[RVX_CLI_LIST_MAX];
    int wrong = rvx__cli_parse(&context_verb, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_bench_context_options bench = RVX_OPTIONS(rvx_bench_context_options);
    rvx_cli_progress progress;
    rvx_error error;
    char *table = NULL;
    if (options.sizes) {
        bench.sizes = sizes;
        bench.size_count = read_sizes(sizes, options.sizes);
        if (!bench.size_count)
            return rvx__cli_usage_error(context_verb.name,
                                        "--sizes expects numbers from 1 to 9999 or 'whole', such "
                                        "as 32,48,whole; found '%s'",
                                        options.sizes);
    }
    if (positional_count && (options.cases || options.volume[0]))
        return rvx__cli_usage_error(context_verb.name,
                                    "--cases and --volume shape a phantom, and a dataset is given");
    bench.out = options.out;
    bench.network = options.network;
    bench.widths = options.widths.values;
    bench.width_count = options.widths.count;
    bench.voxels = options.voxels;
    bench.seeds = (int)options.seeds;
    bench.cases = options.cases;
    for (int axis = 0; axis < 3; axis++)
        bench.volume[axis] = options.volume[axis];
    bench.threads = (int)options.threads;
    bench.progress = rvx__cli_progress;
    bench.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status =
        rvx_bench_context(&table, positional_count ? arguments[0] : NULL, &bench, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, table);
}

static const rvx_cli_verb context_verb = {
    .name = "bench context",
    .summary = "Dice, time and memory against the size of training samples",
    .usage = "[DATASET] --out DIR [options]",
    .details = "Trains the same network on patches of several sizes and on whole volumes, each "
               "until it has seen\nequally many voxels, and compares Dice on the cases held out. "
               "Without DATASET on a phantom that it\nmakes. Writes context.csv, context-time.svg "
               "and context-memory.svg.",
    .example = "revoxel bench context --sizes 32,64,whole --out context",
    .options = context_table,
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run_context};

/* ---- bench -------------------------------------------------------------------------------------
 */

static const rvx_cli_option no_options[] = {{0}};
static const rvx_cli_verb *const parts[] = {&memory_verb, &context_verb, NULL};

/* Where the second word is missing or unknown. */
static int run(int count, char **arguments)
{
    if (count == 0)
        return rvx__cli_usage_error("bench", "usage: revoxel bench %s", rvx__cli_bench.usage);
    return rvx__cli_usage_error("bench", "bench measures 'memory' or 'context', not '%s'",
                                arguments[0]);
}

const rvx_cli_verb rvx__cli_bench = {
    .name = "bench",
    .summary = "measure what memory policies and input sizes cost",
    .usage = "memory|context [options]",
    .details = "  memory   memory of a training step against the depth of a network\n"
               "  context  Dice, time and memory against the size of training samples\n\n"
               "'revoxel bench memory --help' and 'revoxel bench context --help' explain them.",
    .example = "revoxel bench memory --size 64x64x64 --depths 1,2,4",
    .options = no_options,
    .arguments_min = 0,
    .arguments_max = 0,
    .run = run,
    .parts = parts};
