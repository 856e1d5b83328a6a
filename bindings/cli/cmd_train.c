/* revoxel train: from a dataset to a run folder. */
#include "bindings/cli/implementation.h"
#include "bindings/cli/plan_options.h"

typedef struct train_options {
    rvx_cli_plan plan;
    rvx_cli_implementation implementation;
    const char *out, *plan_file, *cache, *device;
    int64_t threads;
    bool resume, no_validation, quiet, tf32;
    bool repair;
} train_options;

#define AT(field) offsetof(train_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "RUN", "folder of the run", RVX_CLI_TEXT, .offset = AT(out), .required = true},
    {"--plan", "FILE", "a plan of 'revoxel plan'; options below that contradict it are refused",
     RVX_CLI_TEXT, .offset = AT(plan_file)},
    {"--resume", NULL, "go on from RUN's last checkpoint, bit for bit; without one, from the start",
     RVX_CLI_FLAG, .offset = AT(resume)},
#define RVX_PLAN_OPTION(name, value, help, kind, field, min, max, word, word_value)                \
    {name, value, help, kind, .offset = AT(plan.field), min, max, word, word_value},
#include "bindings/cli/plan_options.def"
#undef RVX_PLAN_OPTION
    {"--cache", "FOLDER", "preprocessed cases on disk, shared by runs (default: in memory)",
     RVX_CLI_TEXT, .offset = AT(cache)},
    {"--device", "cpu|cuda[:I]", "where the network runs (default cpu); cuda: a GPU", RVX_CLI_TEXT,
     .offset = AT(device)},
    {"--tf32", NULL, "on a GPU: f32 convolutions multiply in tf32, on tensor cores", RVX_CLI_FLAG,
     .offset = AT(tf32)},
    RVX_CLI_IMPLEMENTATION(train_options, implementation),
    {"--threads", "N", "cores to use (default: all); the result does not depend on it",
     RVX_CLI_INTEGER, .offset = AT(threads), 1, RVX_CLI_THREADS_MAX},
    {"--no-validation-output", NULL, "do not segment the validation cases in the end", RVX_CLI_FLAG,
     .offset = AT(no_validation)},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {"--repair", NULL, "repair what is wrong with files where that is sane, and say it",
     RVX_CLI_FLAG, .offset = AT(repair)},
    {0}};

static int run(int count, char **arguments)
{
    train_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_train, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_train_options train = RVX_OPTIONS(rvx_train_options);
    rvx_plan_settings settings;
    rvx_implementation_options implementation;
    rvx_cli_progress progress;
    rvx_error error;
    rvx__cli_plan_settings(&settings, &options.plan);
    settings.threads = (int)options.threads;
    bool folds = options.plan.fold == RVX_CLI_FOLD_EACH;
    if (folds)
        settings.fold = 0;
    train.settings = &settings;
    train.plan = options.plan_file;
    train.repair = options.repair;
    train.resume = options.resume;
    train.threads = (int)options.threads;
    train.cache = options.cache;
    train.device = options.device;
    train.tf32 = options.tf32;
    train.device_library = rvx__cli_device_library();
    rvx__cli_implementation(&implementation, &options.implementation);
    train.implementation = &implementation;
    train.no_validation_output = options.no_validation;
    train.progress = rvx__cli_progress;
    train.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status = folds ? rvx_train_folds(arguments[0], options.out, &train, &error)
                              : rvx_train(arguments[0], options.out, &train, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_train = {
    .name = "train",
    .summary = "train a network on a dataset",
    .usage = "DATASET --out RUN [options]",
    .details = "Trains on DATASET (nnU-Net raw layout) and writes into the folder RUN: plan.json, "
               "metrics.jsonl,\nTensorBoard events, best.safetensors and latest.safetensors, and "
               "the validation cases segmented\nand judged (validation/, validation.json), with "
               "the post-processing that "
               "helps them\n(postprocessing.json, which predict applies). With --fold all RUN "
               "holds a run for every fold\nand what they say together. Stopped, it goes on with "
               "--resume.",
    .example = "revoxel train Dataset001_TrusGland --model unet3d --out run",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
