/* revoxel mesh: surfaces of label maps. */
#include "bindings/cli/cli.h"

typedef struct mesh_options {
    const char *out, *format, *dataset;
    int64_t smoothing;
    bool quiet;
} mesh_options;

#define AT(field) offsetof(mesh_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "DIR", "folder for the surfaces", RVX_CLI_TEXT, .offset = AT(out), .required = true},
    {"--format", "stl|obj", "binary STL (default) or OBJ", RVX_CLI_TEXT, .offset = AT(format)},
    {"--dataset", "FILE", "a dataset.json: names of the classes, and regions", RVX_CLI_TEXT,
     .offset = AT(dataset)},
    {"--smooth", "N|none",
     "passes of a small blur that places the surface between voxels\n"
     "(default 2); the voxels inside stay inside",
     RVX_CLI_INTEGER, .offset = AT(smoothing), 1, 16, "none", -1},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {0}};

static int run(int count, char **arguments)
{
    mesh_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_mesh, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_mesh_options mesh = RVX_OPTIONS(rvx_mesh_options);
    rvx_cli_progress progress;
    mesh.format = options.format;
    mesh.dataset = options.dataset;
    mesh.smoothing = (int)options.smoothing;
    mesh.progress = rvx__cli_progress;
    mesh.context = &progress;
    int result = 0;
    for (int64_t i = 0; i < positional_count && result == 0; i++) {
        rvx_error error;
        char *table = NULL;
        rvx__cli_progress_start(&progress, options.quiet);
        rvx_status status = rvx_mesh(&table, arguments[i], options.out, &mesh, &error);
        rvx__cli_progress_end(&progress);
        result = rvx__cli_finish(status, &error, table);
    }
    return result;
}

const rvx_cli_verb rvx__cli_mesh = {
    .name = "mesh",
    .summary = "surfaces of label maps, for planning software",
    .usage = "LABELS... --out DIR [options]",
    .details = "Writes DIR/NAME_CLASS.stl for every class of each label map: closed, manifold, "
               "normals outwards,\nin LPS millimetres. Names are those of a .seg.nrrd, or of "
               "--dataset.",
    .example = "revoxel mesh segmented/case.nii.gz --out surfaces --dataset dataset.json",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = RVX_CLI_ARGUMENTS_MAX,
    .run = run};
