/* revoxel inspect: what a file or a folder holds. */
#include "bindings/cli/cli.h"

static const rvx_cli_option options_table[] = {{0}};

static int run(int count, char **arguments)
{
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_inspect, NULL, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_error error;
    char *text = NULL;
    rvx_status status = rvx_inspect(&text, arguments[0], &error);
    return rvx__cli_finish(status, &error, text);
}

const rvx_cli_verb rvx__cli_inspect = {
    .name = "inspect",
    .summary = "show what a volume or a dataset holds",
    .usage = "FILE|DIR",
    .details = "Prints shape, spacing, orientation, type, range and label counts of a volume "
               "(docs/formats.md), of\na folder of them, or of a dataset in nnU-Net's raw layout.",
    .example = "revoxel inspect liver.nii.gz",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
