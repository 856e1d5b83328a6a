/* revoxel convert: a volume as another file. */
#include "bindings/cli/cli.h"

#include <stdlib.h>

typedef struct convert_options {
    const char *spacing, *orient, *dtype, *like, *interpolation;
    bool labels;
    bool repair;
} convert_options;

#define AT(field) offsetof(convert_options, field)
static const rvx_cli_option options_table[] = {
    {"--spacing", "X,Y,Z", "mm a voxel along the axes of OUT; 0 keeps one", RVX_CLI_TEXT,
     .offset = AT(spacing)},
    {"--orient", "RAS|LPS|...", "where x, y, z of OUT grow to", RVX_CLI_TEXT, .offset = AT(orient)},
    {"--dtype", "TYPE", "int16, uint8, float32, ... (default: that of IN)", RVX_CLI_TEXT,
     .offset = AT(dtype)},
    {"--like", "FILE", "onto the grid of this volume; 0 outside IN", RVX_CLI_TEXT,
     .offset = AT(like)},
    {"--interpolation", "linear|cubic|nearest", "cubic: where spacing alone changes (linear)",
     RVX_CLI_TEXT, .offset = AT(interpolation)},
    {"--labels", NULL, "a label map: the nearest voxel instead of interpolation", RVX_CLI_FLAG,
     .offset = AT(labels)},
    {"--repair", NULL, "repair what is wrong with files where that is sane, and say it",
     RVX_CLI_FLAG, .offset = AT(repair)},
    {0}};

/* "1,1,2.5": three numbers. */
static bool spacing_parse(double out[3], const char *text)
{
    for (int axis = 0; axis < 3; axis++) {
        char *stop;
        out[axis] = strtod(text, &stop);
        if (stop == text || *stop != (axis < 2 ? ',' : 0) || !(out[axis] >= 0))
            return false;
        text = stop + 1;
    }
    return true;
}

static int run(int count, char **arguments)
{
    convert_options options = {.spacing = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_convert, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_cli_progress progress = {.quiet = true}; /* repairs alone are told */
    rvx_convert_options convert = RVX_OPTIONS(rvx_convert_options);
    rvx_error error;
    if (options.spacing && !spacing_parse(convert.spacing, options.spacing))
        return rvx__cli_usage_error("convert",
                                    "--spacing expected three lengths such as 1,1,2.5, "
                                    "found '%s'",
                                    options.spacing);
    convert.orient = options.orient;
    convert.dtype = options.dtype;
    convert.like = options.like;
    convert.interpolation = options.interpolation;
    convert.labels = options.labels;
    convert.repair = options.repair;
    convert.progress = rvx__cli_progress;
    convert.context = &progress;
    rvx_status status = rvx_convert(arguments[0], arguments[1], &convert, &error);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_convert = {
    .name = "convert",
    .summary = "write a volume in another format or on another grid",
    .usage = "IN OUT [options]",
    .details =
        "The ending of OUT says the format: .nii.gz, .nii, .hdr, .nrrd, .nhdr, .seg.nrrd, "
        ".mha, .mhd,\n.raw.json (docs/formats.md). The place in the patient stays. OUT is written "
        "whole or not at all.",
    .example = "revoxel convert scan.mha scan.nii.gz --orient RAS --spacing 1,1,1",
    .options = options_table,
    .arguments_min = 2,
    .arguments_max = 2,
    .run = run};
