/* rvx_plan_dataset, and the making of a recipe that training shares with it. Owns: how the settings
 * of a caller override the defaults of a data set, and how many steps fit a time. */
#include "engine/plan/plan.h"
#include "bindings/c/repairs.h"
#include "engine/run/cases.h"
#include "engine/run/train_plan.h"
#include "engine/volume/dataset.h"
#include "engine/volume/fingerprint.h"
#include "engine/volume/symmetry.h"
#include "models/models.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTES_DEFAULT = 8, STEPS_MIN = 100, STEPS_MAX = 250000, EDGE_MAX = 4096 };

/* The share of the time that goes to steps and validations; the rest is loading, checkpoints and
 * the final prediction. */
#define STEP_SHARE 0.8

void rvx__facade_model_config(rvx_model_config *config, const rvx_recipe *recipe)
{
    const rvx_model *model = rvx__model_find(recipe->network.name);
    *config = model ? model->defaults : (rvx_model_config){0};
    bool coupled = config->groups > 0; /* networks of reversible couplings count those */
    config->in_channels = (int)recipe->network.in_channels;
    config->classes = (int)recipe->network.classes;
    config->stage_count = (int)recipe->network.stages;
    config->depth = (int)(coupled ? recipe->network.depth : recipe->network.convolutions_per_stage);
    config->decoder_depth = 0;
    config->deep_supervision = config->deep_supervision && recipe->network.deep_supervision;
    for (int i = 0; i < config->stage_count; i++) {
        config->widths[i] = (int)recipe->network.widths[i];
        for (int axis = 0; axis < 3; axis++) {
            config->strides[i][axis] = (int)recipe->network.strides[i][2 - axis];
            config->kernels[i][axis] = (int)recipe->network.kernels[i][2 - axis];
        }
    }
}

/* ---- From the data set ------------------------------------------------------------------------
 */

typedef struct fact_arrays {
    int64_t (*sizes)[3];
    double (*spacings)[3];
    rvx_normalisation ct[RVX_CHANNELS_MAX];
} fact_arrays;

static rvx_status facts_collect(rvx_recipe_facts *facts, fact_arrays *arrays,
                                const rvx_dataset *dataset, const rvx_fingerprint *fingerprint,
                                rvx_error *error)
{
    size_t count = (size_t)fingerprint->case_count;
    arrays->sizes = malloc((count + 1) * sizeof *arrays->sizes);
    arrays->spacings = malloc((count + 1) * sizeof *arrays->spacings);
    if (!arrays->sizes || !arrays->spacings)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %zu cases", count);
    for (size_t i = 0; i < count; i++) {
        memcpy(arrays->sizes[i], rvx__case_box(&fingerprint->cases[i]), sizeof *arrays->sizes);
        memcpy(arrays->spacings[i], fingerprint->cases[i].spacing, sizeof *arrays->spacings);
    }
    for (int i = 0; i < fingerprint->channel_count && i < RVX_CHANNELS_MAX; i++) {
        const rvx_intensity *from = &fingerprint->intensities[i];
        arrays->ct[i] = (rvx_normalisation){.scheme = RVX_NORMALISE_CT,
                                            .lower = from->percentile_00_5,
                                            .upper = from->percentile_99_5,
                                            .mean = from->mean,
                                            .std = from->std};
    }
    *facts = (rvx_recipe_facts){.sizes = (const int64_t(*)[3])arrays->sizes,
                                .spacings = (const double(*)[3])arrays->spacings,
                                .case_count = fingerprint->case_count,
                                .nonzero_only = fingerprint->nonzero_share < RVX_NONZERO_SHARE,
                                .sector_only = fingerprint->sector_share < 0.75,
                                .channels = dataset->channel_count,
                                .classes = dataset->class_count,
                                .channel_names = (const char *const *)dataset->channel_names,
                                .ct = arrays->ct,
                                .labels = (const char *const *)dataset->class_names,
                                .has_ignore_label = dataset->ignore_label >= 0,
                                .file_ending = dataset->file_ending,
                                .beam = fingerprint->beam,
                                .sweep = fingerprint->sweep,
                                .scale = RVX_SCALE_CPU};
    memcpy(facts->target_spacing, fingerprint->target_spacing, sizeof facts->target_spacing);
    for (int axis = 0; axis < 3; axis++)
        facts->asymmetric[axis] = fingerprint->one_sided[axis] ||
                                  fingerprint->mirror_correlation[axis] < RVX_MIRROR_CORRELATION;
    return RVX_OK;
}

static int compare_integers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Median edge over the cases after resampling: the size that stands for "whole". */
static rvx_status median_size(int64_t out[3], const rvx_recipe_facts *facts, rvx_error *error)
{
    int64_t *edges = malloc((size_t)(facts->case_count + 1) * sizeof *edges);
    if (!edges)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld cases",
                         (long long)facts->case_count);
    for (int axis = 0; axis < 3; axis++) {
        for (int64_t i = 0; i < facts->case_count; i++)
            edges[i] =
                (int64_t)fmax(1, round((double)facts->sizes[i][axis] * facts->spacings[i][axis] /
                                       facts->target_spacing[axis]));
        qsort(edges, (size_t)facts->case_count, sizeof *edges, compare_integers);
        out[axis] = edges[facts->case_count / 2];
    }
    free(edges);
    return RVX_OK;
}

/* ---- From the settings ------------------------------------------------------------------------
 */

static rvx_memory_words words_of(const rvx_plan_settings *settings)
{
    return (rvx_memory_words){.policy = settings->memory,
                              .storage = settings->storage,
                              .streams = settings->streams,
                              .grid_log2 = settings->grid_log2,
                              .budget_bytes = settings->budget_bytes};
}

static bool augmentation_find(rvx_augmentation *augmentation, const char *name)
{
    static const char *const names[] = {"none", "nnunet", "ultrasound"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *augmentation = (rvx_augmentation)i;
            return true;
        }
    return false;
}

static rvx_status settings_check(const rvx_plan_settings *settings, rvx_error *error)
{
    for (int axis = 0; axis < 3; axis++)
        if (settings->patch[axis] < 0 || settings->patch[axis] > EDGE_MAX ||
            (settings->patch[axis] == 0) != (settings->patch[0] == 0))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "patch expected 1 to %d voxels along each axis, found %lld along %c",
                             EDGE_MAX, (long long)settings->patch[axis], "xyz"[axis]);
    if (settings->patch_whole && settings->patch[0])
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "patch is given both as a size and as whole");
    if (settings->width_count < 0 || settings->width_count > RVX_STAGES_MAX ||
        (settings->width_count > 0 && !settings->widths))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "widths expected 2 to %d channel counts, found %d", RVX_STAGES_MAX,
                         settings->width_count);
    for (int i = 0; i < settings->width_count; i++)
        if (settings->widths[i] < 1 || settings->widths[i] > 4096)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "widths[%d] expected 1 to 4096, found %lld",
                             i, (long long)settings->widths[i]);
    if (settings->steps < 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "steps expected 0 or more, found %lld",
                         (long long)settings->steps);
    if (!(settings->minutes >= 0) || !isfinite(settings->minutes))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "minutes expected 0 or more, found %g",
                         settings->minutes);
    if (settings->seed > INT64_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "seed expected 0 to 2^63 - 1, found %llu",
                         (unsigned long long)settings->seed);
    rvx_memory_words words = words_of(settings);
    rvx_augmentation augmentation;
    if (settings->augmentation && !augmentation_find(&augmentation, settings->augmentation))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "augmentation expected \"none\", \"nnunet\" or \"ultrasound\", found "
                         "\"%s\"",
                         settings->augmentation);
    rvx_status status = rvx__facade_memory_check(&words, error);
    return status == RVX_OK ? rvx__facade_threads(settings->threads, error) : status;
}

static rvx_status widths_apply(rvx_recipe *recipe, const rvx_plan_settings *settings,
                               rvx_error *error)
{
    if (settings->width_count == 0)
        return RVX_OK;
    const int64_t *size = recipe->patch.size;
    if (settings->width_count > recipe->network.stages)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "widths names %d stages, but %s %lld x %lld x %lld can be halved for "
                         "%lld only",
                         settings->width_count,
                         recipe->patch.whole ? "a median case of" : "a patch of",
                         (long long)size[0], (long long)size[1], (long long)size[2],
                         (long long)recipe->network.stages);
    recipe->network.stages = settings->width_count;
    memcpy(recipe->network.widths, settings->widths,
           (size_t)settings->width_count * sizeof *settings->widths);
    return RVX_OK;
}

/* Widths that are no free choice follow from the first one. */
static void widths_follow(rvx_recipe *recipe, const rvx_model *model)
{
    rvx_model_config config;
    rvx__facade_model_config(&config, recipe);
    model->set_widths(&config);
    for (int i = 0; i < config.stage_count; i++)
        recipe->network.widths[i] = config.widths[i];
}

static rvx_status fold_apply(rvx_recipe *recipe, int fold, rvx_error *error)
{
    if (fold < 0)
        recipe->fold.index = -1;
    else if (fold > recipe->fold.count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "fold expected 1 to %lld, or all cases for training, found %d",
                         (long long)recipe->fold.count, fold);
    else if (fold > 0)
        recipe->fold.index = fold - 1;
    return RVX_OK;
}

/* FLOPs of one training step, without what a memory policy computes again. */
static rvx_status step_flops(double *flops, const rvx_model *model, const rvx_recipe *recipe,
                             rvx_error *error)
{
    rvx_train_plan step = {0};
    rvx_train_job job = {.recipe = recipe, .model = model, .threads = 1, .isa = rvx__isa_detect()};
    const int64_t *size = recipe->patch.size;
    int64_t patch[3];
    rvx__facade_model_config(&job.config, recipe);
    rvx_status status = rvx__model_config_check(&job.config, error);
    if (status != RVX_OK)
        return status;
    rvx__patch_round(patch, recipe, (int64_t[]){size[2], size[1], size[0]});
    status =
        rvx__train_plan_step(&step, &job, RVX_POLICY_STORE, recipe->patch.batch, patch, 0, error);
    if (status == RVX_OK)
        *flops = rvx__plan_cost(step.plan, false).flops;
    rvx__train_plan_free(&step);
    return status;
}

/* FLOPs of one validation: every case of the fold in tiles, forward only. */
static double validation_flops(const rvx_recipe *recipe, const int64_t median[3],
                               int64_t case_count, double flops)
{
    if (recipe->fold.index < 0)
        return 0;
    double tiles = 1;
    for (int axis = 0; axis < 3 && !recipe->patch.whole; axis++) {
        double patch = (double)recipe->patch.size[axis];
        double rest = fmax((double)median[axis] - patch, 0);
        tiles *= 1 + ceil(rest / (patch * recipe->inference.tile_step));
    }
    double cases = ceil((double)case_count / (double)recipe->fold.count);
    double forward = flops / (3 * (double)recipe->patch.batch); /* backward is twice that */
    return cases * tiles * forward;
}

/* Two leading digits: a plan should not suggest more precision than the estimate has. */
static int64_t steps_round(double steps)
{
    double unit = pow(10, floor(log10(steps)) - 1);
    return (int64_t)(floor(steps / unit) * unit);
}

/* Steps that fit the time, and how often to validate: ten times, or less often where that would
 * take more than a quarter of all work. */
static rvx_status steps_apply(rvx_recipe *recipe, const rvx_model *model, const int64_t median[3],
                              int64_t case_count, const rvx_plan_settings *settings,
                              rvx_error *error)
{
    rvx_status status;
    double flops = 0;
    RVX_TRY(step_flops(&flops, model, recipe, error));
    double validation = validation_flops(recipe, median, case_count, flops);
    double minutes = settings->minutes > 0 ? settings->minutes : MINUTES_DEFAULT;
    double budget = 60 * minutes * STEP_SHARE * rvx__flops_per_second[rvx__isa_detect()] *
                    (double)rvx__facade_thread_count(settings->threads);
    if (settings->steps > 0)
        budget = 4. / 3 * (double)settings->steps * flops;
    double validations = fmin(10, fmax(1, floor(0.25 * budget / fmax(validation, 1))));
    int64_t steps = settings->steps;
    if (steps == 0) {
        double fitting = (budget - validations * validation) / fmax(flops, 1);
        steps = steps_round(fmin(fmax(fitting, STEPS_MIN), STEPS_MAX));
    }
    int64_t every = (int64_t)ceil((double)steps / validations);
    recipe->training.steps = steps;
    recipe->training.steps_per_epoch = steps >= 20 ? steps / 20 : 1;
    recipe->training.validation_every = every;
    recipe->training.checkpoint_every = steps >= 10 ? steps / 10 : 1;
    if (recipe->optimizer.warmup_steps >= steps)
        recipe->optimizer.warmup_steps = 0;
cleanup:
    return status;
}

static rvx_status settings_apply(rvx_recipe *recipe, const rvx_model *model,
                                 const rvx_recipe_facts *facts, const rvx_plan_settings *settings,
                                 rvx_error *error)
{
    rvx_status status;
    int64_t width_first = recipe->network.widths[0], width_max = 256, median[3];
    memset(recipe->network.name, 0, sizeof recipe->network.name);
    strncpy(recipe->network.name, model->name, sizeof recipe->network.name - 1);
    recipe->network.deep_supervision = model->defaults.deep_supervision;
    recipe->patch.whole = settings->patch_whole != 0;
    RVX_TRY(median_size(median, facts, error));
    if (recipe->patch.whole) {
        memcpy(recipe->patch.size, median, sizeof median);
        recipe->patch.batch = 1;
    }
    if (settings->patch[0])
        memcpy(recipe->patch.size, settings->patch, sizeof recipe->patch.size);
    if (recipe->patch.whole || settings->patch[0])
        rvx__recipe_set_topology(recipe, recipe->spacing, width_first, width_max);
    RVX_TRY(widths_apply(recipe, settings, error));
    if (model->set_widths && settings->width_count == 0)
        widths_follow(recipe, model);
    RVX_TRY(fold_apply(recipe, settings->fold, error));
    rvx_memory_words words = words_of(settings);
    rvx__facade_memory_apply(recipe, &words);
    rvx_augmentation augmentation;
    if (settings->augmentation && augmentation_find(&augmentation, settings->augmentation))
        rvx__recipe_augment(recipe, augmentation);
    RVX_TRY(rvx__recipe_check(recipe, error));
    RVX_TRY(steps_apply(recipe, model, median, facts->case_count, settings, error));
    status = rvx__recipe_check(recipe, error);
cleanup:
    return status;
}

rvx_status rvx__facade_plan(rvx_recipe *out, const char *path, const rvx_plan_settings *settings,
                            rvx_repairs *repairs, rvx_error *error)
{
    rvx_status status;
    rvx_dataset *dataset = NULL;
    rvx_fingerprint fingerprint = {0};
    fact_arrays arrays = {0};
    rvx_recipe_facts facts;
    const rvx_model *model = NULL;
    *out = (rvx_recipe){0};
    RVX_TRY(settings_check(settings, error));
    RVX_TRY(rvx__facade_segmenter(&model, settings->network ? settings->network : "unet3d", error));
    RVX_TRY(rvx__dataset_open(&dataset, path, error));
    dataset->repairs = repairs;
    if (rvx__facade_progress(settings->progress, settings->context,
                             rvx__facade_phase("load", path, 0, dataset->case_count))) {
        status = rvx__fail(error, RVX_CANCELLED, "planning was stopped");
        goto cleanup;
    }
    RVX_TRY(rvx__fingerprint_make(&fingerprint, dataset, error));
    if (repairs && !rvx__facade_repairs_tell(repairs, settings->progress, settings->context))
        RVX_TRY(rvx__fail(error, RVX_CANCELLED, "planning was stopped"));
    RVX_TRY(facts_collect(&facts, &arrays, dataset, &fingerprint, error));
    facts.budget_bytes = settings->budget_bytes;
    facts.seed = (int64_t)settings->seed;
    facts.threads = settings->threads;
    RVX_TRY(rvx__recipe_default(out, &facts, error));
    RVX_TRY(settings_apply(out, model, &facts, settings, error));
cleanup:
    if (status != RVX_OK)
        rvx__recipe_free(out);
    free(arrays.sizes);
    free(arrays.spacings);
    rvx__fingerprint_free(&fingerprint);
    rvx__dataset_free(dataset);
    return status;
}

/* ---- Settings beside a plan -------------------------------------------------------------------
 */

static rvx_status disagree(rvx_error *error, const char *source, const char *name)
{
    return rvx__fail(
        error, RVX_ERROR_ARGUMENT,
        "%s says otherwise about %s than the settings given; change the file, or leave "
        "the setting out",
        source, name);
}

rvx_status rvx__facade_plan_agrees(const rvx_recipe *recipe, const char *source,
                                   const rvx_plan_settings *settings, rvx_error *error)
{
    rvx_status status = settings_check(settings, error);
    if (status != RVX_OK)
        return status;
    if (settings->network && strcmp(settings->network, recipe->network.name) != 0)
        return disagree(error, source, "network.name");
    if (settings->patch_whole && !recipe->patch.whole)
        return disagree(error, source, "patch.size");
    for (int axis = 0; axis < 3 && settings->patch[0]; axis++) {
        int64_t divisor = 1; /* a patch was rounded up to what the strides divide */
        for (int64_t i = 0; i < recipe->network.stages; i++)
            divisor *= recipe->network.strides[i][axis];
        int64_t rounded = (settings->patch[axis] + divisor - 1) / divisor * divisor;
        if (recipe->patch.whole || recipe->patch.size[axis] != rounded)
            return disagree(error, source, "patch.size");
    }
    if (settings->width_count &&
        (settings->width_count != recipe->network.stages ||
         memcmp(settings->widths, recipe->network.widths,
                (size_t)settings->width_count * sizeof *settings->widths) != 0))
        return disagree(error, source, "network.widths");
    if (settings->steps && settings->steps != recipe->training.steps)
        return disagree(error, source, "training.steps");
    if (settings->fold && (settings->fold < 0 ? -1 : settings->fold - 1) != recipe->fold.index)
        return disagree(error, source, "fold.index");
    if (settings->seed && (int64_t)settings->seed != recipe->training.seed)
        return disagree(error, source, "training.seed");
    rvx_augmentation augmentation;
    if (settings->augmentation && augmentation_find(&augmentation, settings->augmentation)) {
        rvx_recipe wanted = *recipe;
        rvx__recipe_augment(&wanted, augmentation);
        if (memcmp(&wanted.augmentation, &recipe->augmentation, sizeof wanted.augmentation) != 0)
            return disagree(error, source, "augmentation");
    }
    rvx_memory_words words = words_of(settings);
    const char *field = rvx__facade_memory_contradiction(recipe, &words);
    return field ? disagree(error, source, field) : RVX_OK;
}

rvx_status rvx_plan_dataset(char **text, const char *dataset, const rvx_plan_settings *given,
                            rvx_error *error)
{
    rvx_plan_settings settings;
    rvx_recipe recipe = {0};
    rvx_repairs repairs = {0};
    rvx_text printed = {0};
    rvx_status status;
    if (text)
        *text = NULL;
    RVX_TRY(rvx__facade_required(dataset, "dataset", error));
    RVX_TRY(rvx__facade_options(&settings, sizeof settings, given, "rvx_plan_settings", error));
    RVX_TRY(
        rvx__facade_plan(&recipe, dataset, &settings, settings.repair ? &repairs : NULL, error));
    RVX_TRY(rvx__recipe_print(&printed, &recipe, error));
    if (settings.out)
        RVX_TRY(rvx__recipe_save(&recipe, settings.out, error));
    if (text)
        status = rvx__facade_text(text, &printed, status, error);
cleanup:
    rvx__repairs_free(&repairs);
    rvx__text_free(&printed);
    rvx__recipe_free(&recipe);
    return status;
}
