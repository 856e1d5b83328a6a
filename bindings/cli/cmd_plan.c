/* revoxel plan: from a dataset to an editable plan.json. */
#include "bindings/cli/plan_options.h"

typedef struct plan_options {
    rvx_cli_plan plan;
    const char *out;
    int64_t threads;
} plan_options;

#define AT(field) offsetof(plan_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "FILE", "write the plan there (default: print it)", RVX_CLI_TEXT, .offset = AT(out)},
#define RVX_PLAN_OPTION(name, value, help, kind, field, min, max, word, word_value)                \
    {name, value, help, kind, .offset = AT(plan.field), min, max, word, word_value},
#include "bindings/cli/plan_options.def"
#undef RVX_PLAN_OPTION
    {"--threads", "N", "cores that training will use (default: all)", RVX_CLI_INTEGER,
     .offset = AT(threads), 1, RVX_CLI_THREADS_MAX},
    {0}};

static int run(int count, char **arguments)
{
    plan_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_plan, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_plan_settings settings;
    rvx_error error;
    char *text = NULL;
    rvx__cli_plan_settings(&settings, &options.plan);
    settings.out = options.out;
    settings.threads = (int)options.threads;
    rvx_status status = rvx_plan_dataset(&text, arguments[0], &settings, &error);
    if (options.out) { /* on disk is where it was wanted */
        rvx_string_free(text);
        text = NULL;
    }
    return rvx__cli_finish(status, &error, text);
}

const rvx_cli_verb rvx__cli_plan = {
    .name = "plan",
    .summary = "make an editable training plan for a dataset",
    .usage = "DATASET [--out FILE] [options]",
    .details = "Reads every case of DATASET (nnU-Net raw layout) once and prints the plan as JSON: "
               "network,\npatch, spacing, normalisation, augmentation, optimiser, folds. Edit it "
               "and train with --plan.",
    .example = "revoxel plan Dataset001_TrusGland --steps 500 --out plan.json",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
