/* revoxel evaluate: predictions against references. */
#include "bindings/cli/cli.h"

typedef struct evaluate_options {
    const char *predictions, *references, *out, *csv, *html;
    double tolerance_mm;
    int64_t threads, resamples, seed;
    bool quiet;
    bool repair;
} evaluate_options;

#define AT(field) offsetof(evaluate_options, field)
static const rvx_cli_option options_table[] = {
    {"--pred", "DIR", "label maps to judge, or the folder of a cross-validation", RVX_CLI_TEXT,
     .offset = AT(predictions), .required = true},
    {"--ref", "DIR", "reference label maps of the same names", RVX_CLI_TEXT,
     .offset = AT(references), .required = true},
    {"--out", "FILE", "write all figures as JSON", RVX_CLI_TEXT, .offset = AT(out)},
    {"--csv", "FILE", "one row a case and class", RVX_CLI_TEXT, .offset = AT(csv)},
    {"--html", "FILE", "the same as a page", RVX_CLI_TEXT, .offset = AT(html)},
    {"--resamples", "N", "of the bootstrap (default 2000)", RVX_CLI_INTEGER,
     .offset = AT(resamples), 1, 1000000},
    {"--seed", "S", "of the bootstrap (default 0)", RVX_CLI_INTEGER, .offset = AT(seed), 0, 9e18},
    {"--tolerance", "MM", "of the normalised surface Dice (default 1)", RVX_CLI_NUMBER,
     .offset = AT(tolerance_mm), 0.001, 1000},
    {"--threads", "N", "cores to use (default: all)", RVX_CLI_INTEGER, .offset = AT(threads), 1,
     RVX_CLI_THREADS_MAX},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {"--repair", NULL, "repair what is wrong with files where that is sane, and say it",
     RVX_CLI_FLAG, .offset = AT(repair)},
    {0}};

static int run(int count, char **arguments)
{
    evaluate_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_evaluate, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_evaluate_options evaluate = RVX_OPTIONS(rvx_evaluate_options);
    rvx_cli_progress progress;
    rvx_error error;
    char *table = NULL;
    evaluate.out = options.out;
    evaluate.tolerance_mm = options.tolerance_mm;
    evaluate.repair = options.repair;
    evaluate.csv = options.csv;
    evaluate.html = options.html;
    evaluate.resamples = (int)options.resamples;
    evaluate.seed = (uint64_t)options.seed;
    evaluate.threads = (int)options.threads;
    evaluate.progress = rvx__cli_progress;
    evaluate.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status =
        rvx_evaluate(&table, options.predictions, options.references, &evaluate, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, table);
}

const rvx_cli_verb rvx__cli_evaluate = {
    .name = "evaluate",
    .summary = "compare label maps with references",
    .usage = "--pred DIR --ref DIR [--out metrics.json] [options]",
    .details = "Per case and class: Dice, IoU, HD95, ASSD, surface Dice at a tolerance, volume "
               "error; in\nmillimetres of the true spacing. Means with standard deviations and\n95 "
               "% bootstrap intervals. "
               "Definitions: docs/metrics.md.",
    .example = "revoxel evaluate --pred segmented --ref labelsTs --out metrics.json",
    .options = options_table,
    .arguments_min = 0,
    .arguments_max = 0,
    .run = run};
