/* revoxel models: the networks and their figures. */
#include "bindings/cli/cli.h"

typedef struct models_options {
    int64_t in_channels, classes, size[3];
    rvx_cli_list widths;
    bool json;
} models_options;

#define AT(field) offsetof(models_options, field)
static const rvx_cli_option options_table[] = {
    {"--in", "C", "input channels (default: the published network's)", RVX_CLI_INTEGER,
     .offset = AT(in_channels), 1, 65536},
    {"--classes", "K", "classes, background included", RVX_CLI_INTEGER, .offset = AT(classes), 2,
     255},
    {"--widths", "A,B,...", "channels per stage, finest first", RVX_CLI_LIST, .offset = AT(widths),
     1, 65536},
    {"--size", "XxYxZ", "voxels of the input (default 128x128x128)", RVX_CLI_SIZE,
     .offset = AT(size), 1, 1048576},
    {"--json", NULL,
     "print JSON: name, parameters, output_shape [n, classes, z, y, x],\n"
     "flops_per_voxel (of inference)",
     RVX_CLI_FLAG, .offset = AT(json)},
    {0}};

static int run(int count, char **arguments)
{
    models_options options = {.in_channels = 0};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_models, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_models_options models = RVX_OPTIONS(rvx_models_options);
    rvx_error error;
    char *text = NULL;
    models.name = positional_count ? arguments[0] : NULL;
    models.in_channels = (int)options.in_channels;
    models.classes = (int)options.classes;
    models.widths = options.widths.values;
    models.width_count = options.widths.count;
    for (int axis = 0; axis < 3; axis++)
        models.size[axis] = options.size[axis];
    models.json = options.json;
    rvx_status status = rvx_models(&text, &models, &error);
    return rvx__cli_finish(status, &error, text);
}

const rvx_cli_verb rvx__cli_models = {
    .name = "models",
    .summary = "list the networks with parameters, output shape and work",
    .usage = "[NAME] [options]",
    .details = "Builds each network (or NAME only) and prints its figures.",
    .example = "revoxel models revunet3d --in 1 --classes 5 --widths 32,64,128 --size 96x96x64",
    .options = options_table,
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run};
