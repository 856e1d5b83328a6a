/* revoxel plan: from a dataset to an editable plan.json; and what a training step takes under each
 * memory policy, for that plan or for a network by its name. */
#include "bindings/cli/implementation.h"
#include "bindings/cli/plan_options.h"

#include <stdio.h>
#include <string.h>

typedef struct plan_options {
    rvx_cli_plan plan;
    rvx_cli_implementation implementation;
    const char *out, *device;
    int64_t size[3], in_channels, classes, depth, batch, threads;
    bool json;
    bool repair;
} plan_options;

#define AT(field) offsetof(plan_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "FILE", "write the plan there (default: print it)", RVX_CLI_TEXT, .offset = AT(out)},
    {"--size", "XxYxZ", "without DATASET: voxels of a sample; with --budget its proportions",
     RVX_CLI_SIZE, .offset = AT(size), 1, 1048576},
    {"--in", "C", "without DATASET: input channels (default: the published network's)",
     RVX_CLI_INTEGER, .offset = AT(in_channels), 1, 65536},
    {"--classes", "K", "without DATASET: classes, background included", RVX_CLI_INTEGER,
     .offset = AT(classes), 2, 255},
    {"--depth", "N", "without DATASET: convolutions or couplings per stage", RVX_CLI_INTEGER,
     .offset = AT(depth), 1, 1024},
    {"--batch", "N", "without DATASET: samples of a step (default 1)", RVX_CLI_INTEGER,
     .offset = AT(batch), 1, 1024},
    {"--json", NULL, "print the table of policies as JSON (and no plan)", RVX_CLI_FLAG,
     .offset = AT(json)},
#define RVX_PLAN_OPTION(name, value, help, kind, field, min, max, word, word_value)                \
    {name, value, help, kind, .offset = AT(plan.field), min, max, word, word_value},
#include "bindings/cli/plan_options.def"
#undef RVX_PLAN_OPTION
    {"--device", "cpu|cuda", "what the table is for (default cpu); the GPU need not be there",
     RVX_CLI_TEXT, .offset = AT(device)},
    RVX_CLI_IMPLEMENTATION(plan_options, implementation),
    {"--threads", "N", "cores that training will use (default: all)", RVX_CLI_INTEGER,
     .offset = AT(threads), 1, RVX_CLI_THREADS_MAX},
    {"--repair", NULL, "repair what is wrong with files where that is sane, and say it",
     RVX_CLI_FLAG, .offset = AT(repair)},
    {0}};

/* What only one of the two kinds of planning knows: refused beside the other. */
static int check_kind(const plan_options *o, bool dataset)
{
    const struct {
        const char *name;
        bool given, for_dataset;
    } options[] = {{"--size", o->size[0] > 0, false},
                   {"--in", o->in_channels > 0, false},
                   {"--classes", o->classes > 0, false},
                   {"--depth", o->depth > 0, false},
                   {"--batch", o->batch > 0, false},
                   {"--out", o->out != NULL, true},
                   {"--patch", o->plan.patch[0] != 0, true},
                   {"--steps", o->plan.steps > 0, true},
                   {"--minutes", o->plan.minutes > 0, true},
                   {"--fold", o->plan.fold != 0, true},
                   {"--seed", o->plan.seed > 0, true},
                   {"--augmentation", o->plan.augmentation != NULL, true},
                   {"--memory", o->plan.memory != NULL, true}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given && options[i].for_dataset != dataset)
            return rvx__cli_usage_error("plan", "%s goes %s a DATASET", options[i].name,
                                        dataset ? "without" : "with");
    if (!dataset && !o->plan.network)
        return rvx__cli_usage_error("plan", "plan needs a DATASET, or --model NAME with --size "
                                            "XxYxZ or --budget BYTES");
    if (!dataset && !o->size[0] && !o->plan.budget_bytes)
        return rvx__cli_usage_error("plan", "--model without a DATASET needs --size XxYxZ or "
                                            "--budget BYTES");
    return 0;
}

/* The table for a network by its name. */
static int plan_network(const plan_options *options,
                        const rvx_implementation_options *implementation)
{
    rvx_memory_options memory = RVX_OPTIONS(rvx_memory_options);
    rvx_error error;
    char *table = NULL;
    memory.network = options->plan.network;
    memory.in_channels = (int)options->in_channels;
    memory.classes = (int)options->classes;
    memory.depth = (int)options->depth;
    memory.batch = (int)options->batch;
    memory.widths = options->plan.widths.values;
    memory.width_count = options->plan.widths.count;
    memcpy(memory.size, options->size, sizeof memory.size);
    memory.storage = options->plan.storage;
    memory.streams = options->plan.streams;
    memory.grid_log2 = (int)options->plan.grid_log2;
    memory.budget_bytes = options->plan.budget_bytes;
    memory.threads = (int)options->threads;
    memory.json = options->json;
    memory.device = options->device;
    memory.implementation = implementation;
    rvx_status status = rvx_plan_memory(&table, &memory, &error);
    return rvx__cli_finish(status, &error, table);
}

/* Standard output is the plan, so that it can be piped on, and the table goes beside it; it is the
 * table where the plan goes to a file or JSON is wanted. */
static int plan_dataset(const plan_options *options, const char *dataset,
                        const rvx_implementation_options *implementation)
{
    rvx_plan_settings settings;
    rvx_cli_progress progress = {.quiet = true}; /* repairs alone are told */
    rvx_memory_options memory = RVX_OPTIONS(rvx_memory_options);
    rvx_error error;
    char *plan = NULL, *table = NULL;
    if (options->plan.fold == RVX_CLI_FOLD_EACH)
        return rvx__cli_usage_error("plan", "--fold all: a plan names one fold; 'revoxel train "
                                            "--fold all' takes it through all of them");
    rvx__cli_plan_settings(&settings, &options->plan);
    settings.out = options->out;
    settings.threads = (int)options->threads;
    settings.repair = options->repair;
    settings.progress = rvx__cli_progress;
    settings.context = &progress;
    rvx_status status = rvx_plan_dataset(&plan, dataset, &settings, &error);
    if (status == RVX_OK) {
        memory.plan = plan;
        memory.dataset = dataset;
        memory.threads = (int)options->threads;
        memory.json = options->json;
        memory.device = options->device;
        memory.implementation = implementation;
        status = rvx_plan_memory(&table, &memory, &error);
    }
    if (!options->out && !options->json && table) {
        fputs(table, stderr);
        rvx_string_free(table);
        table = plan;
        plan = NULL;
    }
    rvx_string_free(plan);
    return rvx__cli_finish(status, &error, table);
}

/* What is known of the GPU: nothing is measured for a plan. */
static int list_implementations(const plan_options *options,
                                const rvx_implementation_options *implementation)
{
    rvx_error error;
    char *table = NULL;
    if (!options->device)
        return rvx__cli_usage_error("plan", "--list-implementations goes with --device cuda[:I]");
    rvx_status status = rvx_implementations(&table, options->device, rvx__cli_device_library(),
                                            implementation, &error);
    if (table)
        fputs(table, stderr);
    rvx_string_free(table);
    return rvx__cli_finish(status, &error, NULL);
}

static int run(int count, char **arguments)
{
    plan_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_plan, &options, &positional_count, count, arguments);
    if (!wrong)
        wrong = check_kind(&options, positional_count > 0);
    if (wrong)
        return wrong;
    rvx_implementation_options implementation;
    rvx__cli_implementation(&implementation, &options.implementation);
    if (options.implementation.list) {
        wrong = list_implementations(&options, &implementation);
        if (wrong)
            return wrong;
    }
    return positional_count ? plan_dataset(&options, arguments[0], &implementation)
                            : plan_network(&options, &implementation);
}

const rvx_cli_verb rvx__cli_plan = {
    .name = "plan",
    .summary = "make an editable training plan; show what each memory policy takes",
    .usage = "DATASET [--out FILE] [options]\n"
             "       revoxel plan --model NAME --size XxYxZ | --budget BYTES [options]",
    .details =
        "Reads every case of DATASET (nnU-Net raw layout) once and makes the plan, one JSON: "
        "network,\npatch, spacing, normalisation, augmentation, optimiser, folds. Edit it "
        "and train with --plan.\nThen, or for a network by its name, a table: what a training "
        "step takes at its peak under each\nmemory policy, what holds it, work done twice, "
        "time (docs/memory.md). Nothing of that size is\nallocated. The plan goes to standard "
        "output and the table to standard error; with --out FILE or\n--json the table goes to "
        "standard output.",
    .example = "revoxel plan Dataset001_TrusGland --steps 500 --out plan.json",
    .options = options_table,
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run};
