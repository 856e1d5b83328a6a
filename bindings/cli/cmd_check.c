/* revoxel check: is a training step exact, and as large as planned? */
#include "bindings/cli/implementation.h"

#include <string.h>

typedef struct check_options {
    int64_t size[3], in_channels, classes, depth, batch, grid_log2, seed, threads;
    rvx_cli_list widths;
    rvx_cli_implementation implementation;
    const char *data, *storage, *streams, *device;
    bool json, quiet, tf32;
} check_options;

#define AT(field) offsetof(check_options, field)
static const rvx_cli_option options_table[] = {
    {"--size", "XxYxZ", "voxels of a sample (default: the plan's patch)", RVX_CLI_SIZE,
     .offset = AT(size), 1, 1048576},
    {"--data", "IMAGE", "take the middle of this image (default: random voxels)", RVX_CLI_TEXT,
     .offset = AT(data)},
    {"--batch", "N", "samples of a step (default: the plan's; 1 for a network by name)",
     RVX_CLI_INTEGER, .offset = AT(batch), 1, 1024},
    {"--in", "C", "a network by name: input channels", RVX_CLI_INTEGER, .offset = AT(in_channels),
     1, 65536},
    {"--classes", "K", "a network by name: classes, background included", RVX_CLI_INTEGER,
     .offset = AT(classes), 2, 255},
    {"--widths", "A,B,...", "a network by name: channels per stage, finest first", RVX_CLI_LIST,
     .offset = AT(widths), 1, 65536},
    {"--depth", "N", "a network by name: convolutions or couplings per stage", RVX_CLI_INTEGER,
     .offset = AT(depth), 1, 1024},
    {"--storage", "TYPE", "of activations: f32 or bf16 (default: the plan's, or f32)", RVX_CLI_TEXT,
     .offset = AT(storage)},
    {"--streams", "TYPE", "of couplings: i16, f32 or bf16 (default: the plan's, or i16)",
     RVX_CLI_TEXT, .offset = AT(streams)},
    {"--grid", "G", "i16 streams have steps of 2^-G (default: the plan's, or 10)", RVX_CLI_INTEGER,
     .offset = AT(grid_log2), 1, 15},
    {"--seed", "S", "of random voxels, labels and parameters (default 0)", RVX_CLI_INTEGER,
     .offset = AT(seed), 0, 9e18},
    {"--json", NULL, "print every run as JSON", RVX_CLI_FLAG, .offset = AT(json)},
    {"--device", "cpu|cuda[:I]", "where the network runs (default cpu); cuda: a GPU", RVX_CLI_TEXT,
     .offset = AT(device)},
    {"--tf32", NULL, "on a GPU: f32 convolutions multiply in tf32, on tensor cores", RVX_CLI_FLAG,
     .offset = AT(tf32)},
    RVX_CLI_IMPLEMENTATION(check_options, implementation),
    {"--threads", "N", "the several threads (default: all cores)", RVX_CLI_INTEGER,
     .offset = AT(threads), 1, RVX_CLI_THREADS_MAX},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {0}};

static int run(int count, char **arguments)
{
    check_options options = {.data = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_check, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_check_options check = RVX_OPTIONS(rvx_check_options);
    rvx_implementation_options implementation;
    rvx_cli_progress progress;
    rvx_error error;
    char *text = NULL;
    check.in_channels = (int)options.in_channels;
    check.classes = (int)options.classes;
    check.depth = (int)options.depth;
    check.widths = options.widths.values;
    check.width_count = options.widths.count;
    check.batch = (int)options.batch;
    memcpy(check.size, options.size, sizeof check.size);
    check.data = options.data;
    check.storage = options.storage;
    check.streams = options.streams;
    check.grid_log2 = (int)options.grid_log2;
    check.seed = (uint64_t)options.seed;
    check.threads = (int)options.threads;
    check.device = options.device;
    check.tf32 = options.tf32;
    check.device_library = rvx__cli_device_library();
    rvx__cli_implementation(&implementation, &options.implementation);
    check.implementation = &implementation;
    check.json = options.json;
    check.progress = rvx__cli_progress;
    check.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status = rvx_check(&text, arguments[0], &check, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, text);
}

const rvx_cli_verb rvx__cli_check = {
    .name = "check",
    .summary = "prove a training step exact: every policy, bit for bit",
    .usage = "MODEL|RUN|PLAN [--size XxYxZ] [--data IMAGE] [options]",
    .details =
        "One training step of a network by name, of a run or model file (with its parameters) "
        "or of a\nplan.json, under the policies store, checkpoint and reversible, on one "
        "thread and on several.\nCompares the loss, every value that is rebuilt and every "
        "gradient bit by bit, and the memory with\nwhat was planned. One line; exit status 1 "
        "where anything differs.",
    .example = "revoxel check revnet3d-full --size 32x32x32",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
