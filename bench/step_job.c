/* See step_job.h. */
#include "bench/step_job.h"

#include <string.h>

typedef struct bench_network {
    const char *name, *model;
    int in_channels, depth, decoder_depth, stage_count;
    int widths[RVX_STAGES_MAX];
} bench_network;

/* "reference": the network that the goals were derived for, a partially reversible U-Net whose
 * couplings have halves of 16, 32, 64, 128 and 160 channels. "full-C": nothing stored but streams
 * of C channels. */
static const bench_network networks[] = {
    {"reference", "revunet3d", 1, 2, 1, 5, {32, 64, 128, 256, 320}},
    {"full-16", "revnet3d-full", 1, 2, 0, 4, {16, 32, 64, 128}},
    {"full-32", "revnet3d-full", 1, 2, 0, 4, {32, 64, 128, 256}},
};

#define GIB 1073741824.0
#define SECONDS(must, stretch)                                                                     \
    {                                                                                              \
        "seconds", must, stretch, 0                                                                \
    }
#define GIGABYTES(must)                                                                            \
    {                                                                                              \
        "GB", must, 0, 0                                                                           \
    }
#define GIBIBYTES(must)                                                                            \
    {                                                                                              \
        "GiB", must, 0, 0                                                                          \
    }
#define WHOLE                                                                                      \
    {                                                                                              \
        1000, 1000, 200                                                                            \
    }
/* What a card with 60 GB to spare has left for tensors beside the driver's own. */
#define ROOM 59e9

const step_job step_jobs[] = {
    {"reference", {256, 256, 128}, "reversible", "bf16", "i16", 0, {0}, {0}, {0}},
    {"reference", WHOLE, "auto", "bf16", "i16", ROOM, SECONDS(0.65, 0.52), GIGABYTES(60),
     GIGABYTES(60)},
    {"reference", WHOLE, "reversible", "bf16", "i16", 0, SECONDS(0.65, 0.52), GIGABYTES(60),
     GIGABYTES(60)},
    {"reference", WHOLE, "inference", "bf16", "i16", 0, SECONDS(0.15, 0), {0}, {0}},
    {"full-32", WHOLE, "reversible", "bf16", "i16", 0, {0}, GIBIBYTES(28), GIBIBYTES(28)},
    {"full-16", WHOLE, "reversible", "bf16", "i16", 0, {0}, {0}, {0}},
    {"full-16", WHOLE, "inference", "bf16", "i16", 0, {0}, {0}, {0}},
    {"reference", {512, 512, 160}, "store", "bf16", "bf16", 0, {0}, {0}, {0}},
    {"reference", {512, 512, 160}, "reversible", "bf16", "i16", 0, {0}, {0}, {0}},
    {"reference", {512, 512, 160}, "reversible", "bf16", "bf16", 0, {0}, {0}, {0}},
    {"full-16", {512, 512, 160}, "store", "bf16", "i16", 0, {0}, {0}, {0}},
    {"full-16", {512, 512, 160}, "reversible", "bf16", "i16", 0, {0}, {0}, {0}},
    {"reference", {128, 128, 128}, "store", "bf16", "i16", 0, {0}, {0}, {0}},
    {"reference", {128, 128, 128}, "reversible", "bf16", "i16", 0, {0}, {0}, {0}},
};
const int step_job_count = sizeof step_jobs / sizeof *step_jobs;

bool step_is_inference(const step_job *job) { return strcmp(job->policy, "inference") == 0; }

static rvx_dtype dtype_of(const char *name)
{
    return strcmp(name, "f32") == 0 ? RVX_F32 : strcmp(name, "i16") == 0 ? RVX_I16 : RVX_BF16;
}

static const rvx_model *model_of(rvx_model_config *config, const char *name)
{
    const bench_network *network = NULL;
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (strcmp(networks[i].name, name) == 0)
            network = &networks[i];
    const rvx_model *model = rvx__model_find(network ? network->model : name);
    if (!model)
        return NULL;
    *config = model->defaults;
    config->deep_supervision = false;
    if (network) {
        config->in_channels = network->in_channels;
        config->depth = network->depth;
        config->decoder_depth = network->decoder_depth;
        config->stage_count = network->stage_count;
        memcpy(config->widths, network->widths, sizeof config->widths);
    }
    return model;
}

/* The next size that every stage divides. */
static void round_up(int64_t size[3], const rvx_model_config *config)
{
    for (int axis = 0; axis < 3; axis++) {
        int64_t product = 1;
        for (int s = 0; s < config->stage_count; s++)
            product *= config->strides[s][2 - axis] > 0 ? config->strides[s][2 - axis] : 1;
        size[axis] = (size[axis] + product - 1) / product * product;
    }
}

static void ask_for(rvx_plan_options *options, step_plan *p, rvx_value *logits, int count,
                    const step_job *job)
{
    if (step_is_inference(job)) {
        options->outputs[options->output_count++] = rvx__labels(p->graph, logits[0]);
        return;
    }
    p->supervision = rvx__supervise(p->graph, logits, count,
                                    (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    options->loss_count = options->output_count = p->supervision.count;
    options->optimizer_slots = 1;
    memcpy(options->losses, p->supervision.losses, sizeof p->supervision.losses);
    memcpy(options->outputs, p->supervision.losses, sizeof p->supervision.losses);
    for (int i = 0; rvx__policy_names[i]; i++)
        if (strcmp(rvx__policy_names[i], job->policy) == 0)
            options->policy = (rvx_policy)i;
}

rvx_status step_plan_make(step_plan *p, const step_job *job, rvx_error *error)
{
    rvx_model_config config;
    rvx_value logits[RVX_STAGES_MAX];
    *p = (step_plan){0};
    const rvx_model *model = model_of(&config, job->network);
    if (!model)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "no network is called %s", job->network);
    if (!(p->graph = rvx__graph_create()))
        return rvx__fail(error, RVX_ERROR_MEMORY, "out of memory");
    memcpy(p->size, job->size, sizeof p->size);
    round_up(p->size, &config);
    p->classes = config.classes;
    bool exact = strcmp(job->streams, "i16") == 0;
    rvx_dtype storage = dtype_of(job->storage);
    rvx__graph_set_storage(p->graph, storage);
    rvx__graph_set_streams(p->graph, dtype_of(job->streams), exact ? 10 : 0);
    rvx_shape shape = {1, p->size[2], p->size[1], p->size[0], config.in_channels};
    p->image = rvx__input(p->graph, "image", shape, storage);
    int count = model->build(p->graph, p->image, &config, logits);
    rvx_plan_options options = {.isa = RVX_ISA_CUDA,
                                .threads = 1,
                                .inexact = !exact,
                                .budget_bytes = (int64_t)job->budget_bytes};
    ask_for(&options, p, logits, count, job);
    rvx_status status = rvx__graph_status(p->graph, error);
    return status == RVX_OK ? rvx__plan_create(&p->plan, p->graph, &options, error) : status;
}

void step_plan_free(step_plan *p)
{
    rvx__plan_free(p->plan);
    rvx__graph_free(p->graph);
    *p = (step_plan){0};
}
