/* revoxel predict: label maps for images. */
#include "bindings/cli/cli.h"

typedef struct predict_options {
    const char *out, *device, *format;
    double tile_step;
    int64_t budget_bytes, threads;
    bool mirror, whole, probabilities, latest, quiet, tf32;
    bool repair;
} predict_options;

#define AT(field) offsetof(predict_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "DIR", "folder for the label maps", RVX_CLI_TEXT, .offset = AT(out),
     .required = true},
    {"--format", ".ENDING", "what is written: .nrrd, .mha, ... (default: as in the dataset)",
     RVX_CLI_TEXT, .offset = AT(format)},
    {"--mirror", NULL, "average over mirrored views: up to 8 times the work", RVX_CLI_FLAG,
     .offset = AT(mirror)},
    {"--step", "F", "tiles every F of a patch, above 0 up to 1 (default: the plan's, 0.5)",
     RVX_CLI_NUMBER, .offset = AT(tile_step), 0.05, 1},
    {"--whole", NULL, "the whole volume in one piece instead of tiles", RVX_CLI_FLAG,
     .offset = AT(whole)},
    {"--probabilities", NULL, "also CASE_prob_LABEL.nii.gz, 0 .. 255", RVX_CLI_FLAG,
     .offset = AT(probabilities)},
    {"--latest", NULL, "the last parameters of the run instead of the best", RVX_CLI_FLAG,
     .offset = AT(latest)},
    {"--budget", "BYTES", "refuse what needs more memory, e.g. 12GiB", RVX_CLI_BYTES,
     .offset = AT(budget_bytes)},
    {"--device", "cpu|cuda[:I]", "where the network runs (default cpu); cuda: a GPU", RVX_CLI_TEXT,
     .offset = AT(device)},
    {"--tf32", NULL, "on a GPU: f32 convolutions multiply in tf32, on tensor cores", RVX_CLI_FLAG,
     .offset = AT(tf32)},
    {"--threads", "N", "cores to use (default: all)", RVX_CLI_INTEGER, .offset = AT(threads), 1,
     RVX_CLI_THREADS_MAX},
    {"--quiet", NULL, "no progress line", RVX_CLI_FLAG, .offset = AT(quiet)},
    {"--repair", NULL, "repair what is wrong with files where that is sane, and say it",
     RVX_CLI_FLAG, .offset = AT(repair)},
    {0}};

static int run(int count, char **arguments)
{
    predict_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_predict, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_predict_options predict = RVX_OPTIONS(rvx_predict_options);
    rvx_cli_progress progress;
    rvx_error error;
    predict.use_latest = options.latest;
    predict.tile_step = options.tile_step;
    predict.mirror = options.mirror;
    predict.whole = options.whole;
    predict.probabilities = options.probabilities;
    predict.budget_bytes = options.budget_bytes;
    predict.repair = options.repair;
    predict.format = options.format;
    predict.threads = (int)options.threads;
    predict.device = options.device;
    predict.tf32 = options.tf32;
    predict.device_library = rvx__cli_device_library();
    predict.progress = rvx__cli_progress;
    predict.context = &progress;
    rvx__cli_progress_start(&progress, options.quiet);
    rvx_status status = rvx_predict(arguments[0], (const char *const *)(arguments + 1),
                                    positional_count - 1, options.out, &predict, &error);
    rvx__cli_progress_end(&progress);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_predict = {
    .name = "predict",
    .summary = "segment images with a trained network",
    .usage = "RUN IMAGE... --out DIR [options]",
    .details =
        "RUN is a run folder or a model file. An IMAGE is a volume (CASE_0000.nii.gz with "
        "its other\nchannels beside it; .mha and others: docs/formats.md), a DICOM series or a "
        "folder of volumes. Writes\nDIR/CASE with the dataset's ending, labels on exactly the "
        "image's "
        "grid.",
    .example = "revoxel predict run imagesTs --out segmented",
    .options = options_table,
    .arguments_min = 2,
    .arguments_max = RVX_CLI_ARGUMENTS_MAX,
    .run = run};
