/* revoxel augment: what augmentation does to a case, as a picture. */
#include "bindings/cli/cli.h"

typedef struct augment_options {
    const char *out, *plan, *identifier, *labels, *augmentation;
    int64_t draws, channel, seed, threads;
} augment_options;

#define AT(field) offsetof(augment_options, field)
static const rvx_cli_option options_table[] = {
    {"--out", "FILE.png", "where the picture goes", RVX_CLI_TEXT, .offset = AT(out),
     .required = true},
    {"--plan", "FILE", "a plan of 'revoxel plan' (default: the one it would make)", RVX_CLI_TEXT,
     .offset = AT(plan)},
    {"--case", "NAME", "of DATASET (default: its first)", RVX_CLI_TEXT, .offset = AT(identifier)},
    {"--labels", "FILE", "of an image outside a dataset", RVX_CLI_TEXT, .offset = AT(labels)},
    {"--augmentation", "SET", "none, nnunet or ultrasound, as for 'revoxel plan'", RVX_CLI_TEXT,
     .offset = AT(augmentation)},
    {"--draws", "N", "samples as training gets them (default 6)", RVX_CLI_INTEGER,
     .offset = AT(draws), 1, 1000},
    {"--channel", "C", "the channel that is shown (default 0)", RVX_CLI_INTEGER,
     .offset = AT(channel), 0, 7},
    {"--seed", "S", "other draws (default: the plan's)", RVX_CLI_INTEGER, .offset = AT(seed), 0,
     9e18},
    {"--threads", "N", "cores to use (default: all)", RVX_CLI_INTEGER, .offset = AT(threads), 1,
     RVX_CLI_THREADS_MAX},
    {0}};

static int run(int count, char **arguments)
{
    augment_options options = {.out = NULL};
    int64_t positional_count;
    int wrong = rvx__cli_parse(&rvx__cli_augment, &options, &positional_count, count, arguments);
    if (wrong)
        return wrong;
    rvx_augment_options augment = RVX_OPTIONS(rvx_augment_options);
    rvx_error error;
    augment.plan = options.plan;
    augment.identifier = options.identifier;
    augment.labels = options.labels;
    augment.augmentation = options.augmentation;
    augment.draws = (int)options.draws;
    augment.channel = (int)options.channel;
    augment.seed = (uint64_t)options.seed;
    augment.threads = (int)options.threads;
    rvx_status status = rvx_augment_preview(arguments[0], options.out, &augment, &error);
    return rvx__cli_finish(status, &error, NULL);
}

const rvx_cli_verb rvx__cli_augment = {
    .name = "augment",
    .summary = "show what augmentation does to a case",
    .usage = "DATASET|IMAGE --out FILE.png [options]",
    .details = "One picture: a patch as it is, each transform of the plan alone at its strongest "
               "with its\nprobability and range, then samples as training draws them; labels "
               "outlined\n(docs/augmentation.md). IMAGE may be a case of a dataset "
               "(imagesTr/CASE_0000...) or any volume.",
    .example = "revoxel augment Dataset001_TrusGland --out preview.png",
    .options = options_table,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run};
