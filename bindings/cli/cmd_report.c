/* revoxel report: a run as one HTML file. */
#include "bindings/cli/cli.h"

#include <stdio.h>

typedef struct report_options {
    const char *out;
    int64_t cases_max;
} report_options;

#define AT(field) offsetof(report_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "FILE", "where it goes (default RUN/report.html)", RVX_CLI_TEXT, .offset = AT(out)},
    {"--cases", "N", "pictures of the N worst cases (default 12)", RVX_CLI_INTEGER,
     .offset = AT(cases_max), 1, 10000},
    {0}};

static int run(int count, char **arguments)
{
    report_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_report, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_report_options report = RVX_OPTIONS(rvx_report_options);
    rvx_error error;
    report.out = options.out;
    report.cases_max = (int)options.cases_max;
    rvx_status status = rvx_report(arguments[0], &report, &error);
    if (status == RVX_OK && options.out)
        printf("%s\n", options.out);
    else if (status == RVX_OK)
        printf("%s/report.html\n", arguments[0]);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_report = {
    .name = "report",
    .summary = "write a run's curves, figures and pictures as one HTML file",
    .usage = "RUN [--out FILE] [--cases N]",
    .details = "One self-contained file: loss and Dice curves, metrics of the validation cases, "
               "three-plane\noverlays of image, reference and prediction, worst cases first.",
    .example = "revoxel report run --out report.html",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
