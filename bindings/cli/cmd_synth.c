/* revoxel synth: a simulated ultrasound dataset. */
#include "bindings/cli/cli.h"

typedef struct synth_options {
    int64_t cases, test_cases, size[3], seed, threads;
    const char *anatomy, *merge;
    double spacing_mm;
    bool quiet;
} synth_options;

#define AT(field) offsetof(synth_options, field)
static const rvx_cli_option options_table[] = {
    {"--cases", "N", "training cases (default 10; with --anatomy all maps)", RVX_CLI_INTEGER,
     .offset = AT(cases), 1, 1000000},
    {"--test-cases", "M", "further cases in imagesTs and labelsTs (default 0)", RVX_CLI_INTEGER,
     .offset = AT(test_cases), 0, 1000000},
    {"--size", "XxYxZ", "voxels of a case (default 64x64x64)", RVX_CLI_SIZE, .offset = AT(size), 8,
     4096},
    {"--seed", "S", "same seed, same bytes (default 0)", RVX_CLI_INTEGER, .offset = AT(seed), 0,
     9e18},
    {"--anatomy", "DIR", "label maps to insonify instead of the liver phantom", RVX_CLI_TEXT,
     .offset = AT(anatomy)},
    {"--merge", "GROUPS", "with --anatomy: values of label 1, of label 2, ..., e.g. \"2,41;3,42\"",
     RVX_CLI_TEXT, .offset = AT(merge)},
    {"--spacing", "MM", "with --anatomy: resample to this isotropic spacing", RVX_CLI_NUMBER,
     .offset = AT(spacing_mm), 0.01, 100},
    {"--threads", "N", "cores to use (default: all)", RVX_CLI_INTEGER, .offset = AT(threads), 1,
     RVX_CLI_THREADS_MAX},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {0}};

static int run(int count, char **arguments)
{
    synth_options options = {.cases = 0};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_synth, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_synth_options synth = RVX_OPTIONS(rvx_synth_options);
    rvx_cli_progress progress;
    rvx_error error;
    synth.cases = options.cases;
    synth.test_cases = options.test_cases;
    for (int axis = 0; axis < 3; axis++)
        synth.size[axis] = options.size[axis];
    synth.seed = (uint64_t)options.seed;
    synth.anatomy = options.anatomy;
    synth.merge = options.merge;
    synth.spacing_mm = options.spacing_mm;
    synth.threads = (int)options.threads;
    synth.progress = rvx__cli_progress;
    synth.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status = rvx_synth(arguments[0], &synth, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_synth = {
    .name = "synth",
    .summary = "write a simulated 3D ultrasound dataset",
    .usage = "OUT [options]",
    .details = "Simulates 3D B-mode scenes of the liver (parenchyma, vessels, gallbladder, "
               "tumours) from their\nphysics and writes them with their labels into the folder "
               "OUT, in nnU-Net's raw layout.",
    .example = "revoxel synth Dataset900_Liver --cases 10 --test-cases 2 --size 64x64x64",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
