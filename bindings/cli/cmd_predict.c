/* revoxel predict: label maps for images. */
#include "bindings/cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { ALSO_MAX = 64 };

typedef struct predict_options {
    const char *out, *device, *format, *with, *postprocessing;
    double tile_step, smallest, holes;
    int64_t budget_bytes, threads;
    bool mirror, whole, probabilities, latest, no_postprocessing, quiet, tf32;
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
    {"--with", "RUN,RUN,...", "further runs or model files: the mean of all decides", RVX_CLI_TEXT,
     .offset = AT(with)},
    {"--postprocessing", "FILE", "rules (default: postprocessing.json beside the model, if there)",
     RVX_CLI_TEXT, .offset = AT(postprocessing)},
    {"--no-postprocessing", NULL, "what the network says, without rules", RVX_CLI_FLAG,
     .offset = AT(no_postprocessing)},
    {"--smallest-object", "MM3", "also remove smaller objects, of every class", RVX_CLI_NUMBER,
     .offset = AT(smallest), 0, 1e12},
    {"--fill-holes", "MM3", "also fill holes up to this, in every class", RVX_CLI_NUMBER,
     .offset = AT(holes), 0, 1e12},
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

/* Splits at commas, in place of the argument's own bytes; how many, or 0 where a name is empty or
 * there are too many. */
static int split(const char **names, char *text)
{
    int count = 0;
    for (char *at = text; at; count++) {
        char *end = strchr(at, ',');
        if (end)
            *end++ = 0;
        if (!at[0] || count == ALSO_MAX)
            return 0;
        names[count] = at;
        at = end;
    }
    return count;
}

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
    const char *also[ALSO_MAX];
    char *with = options.with ? strdup(options.with) : NULL;
    predict.also = also;
    predict.also_count = with ? split(also, with) : 0;
    if (options.with && predict.also_count == 0) {
        free(with);
        return rvx__cli_usage_error("predict", "--with expects runs such as run2,run3; found '%s'",
                                    options.with);
    }
    predict.postprocessing = options.postprocessing;
    predict.no_postprocessing = options.no_postprocessing;
    predict.smallest_object_mm3 = options.smallest;
    predict.fill_holes_mm3 = options.holes;
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
    free(with);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_predict = {
    .name = "predict",
    .summary = "segment images with a trained network",
    .usage = "RUN IMAGE... --out DIR [options]",
    .details =
        "RUN is a run folder, a model file, or the folder of a cross-validation, whose "
        "folds\nvote. An IMAGE is a volume (CASE_0000.nii.gz with its other\nchannels beside "
        "it; .mha and others: docs/formats.md), a DICOM series or a folder of these.\n"
        "Writes DIR/CASE with the dataset's ending, labels on exactly the image's grid.",
    .example = "revoxel predict run imagesTs --out segmented",
    .options = options_table,
    .arguments_min = 2,
    .arguments_max = RVX_CLI_ARGUMENTS_MAX,
    .run = run};
