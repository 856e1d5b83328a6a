/* See subject.h. */
#include "bindings/c/subject.h"

#include "bindings/c/model_file.h"
#include "engine/run/cases.h"
#include "engine/run/checkpoint.h"
#include "engine/run/device.h"
#include "models/models.h"

#include <string.h>

static rvx_status open_network(rvx_subject *s, const rvx_subject_options *options, rvx_error *error)
{
    rvx_recipe *recipe = &s->recipe;
    rvx_status status = rvx__facade_network(&s->job.model, options->network, error);
    if (status != RVX_OK)
        return status;
    rvx_models_options changes = RVX_OPTIONS(rvx_models_options);
    changes.in_channels = options->in_channels;
    changes.classes = options->classes;
    changes.widths = options->widths;
    changes.width_count = options->width_count;
    s->job.config = s->job.model->defaults;
    if (options->depth) {
        s->job.config.depth = options->depth;
        memset(s->job.config.blocks, 0, sizeof s->job.config.blocks);
    }
    RVX_TRY(rvx__facade_configure(&s->job.config, s->job.model, &changes, error));
    rvx__recipe_base(recipe);
    s->by_name = true;
    strncpy(recipe->network.name, s->job.model->name, sizeof recipe->network.name - 1);
    recipe->network.in_channels = s->job.config.in_channels;
    recipe->network.classes = s->job.config.classes;
    recipe->network.stages = s->job.config.stage_count;
    for (int i = 0; i < s->job.config.stage_count; i++)
        for (int axis = 0; axis < 3; axis++)
            recipe->network.strides[i][axis] = s->job.config.strides[i][2 - axis];
    recipe->patch.batch = 1;
cleanup:
    return status;
}

/* The plan in a model file's metadata. */
static rvx_status read_model_file(rvx_subject *s, rvx_error *error)
{
    static const char *const kinds[] = {RVX_KIND_MODEL, RVX_KIND_CHECKPOINT, NULL};
    rvx_safetensors *file = NULL;
    rvx_status status = rvx__checkpoint_open(&file, s->weights, kinds, error);
    if (status != RVX_OK)
        return status;
    const char *plan = rvx__safetensors_metadata(file, RVX_PLAN_KEY);
    if (plan)
        status = rvx__recipe_parse(&s->recipe, plan, s->weights, error);
    else
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: metadata '%s' is missing", s->weights,
                           RVX_PLAN_KEY);
    rvx__safetensors_close(file);
    return status;
}

static rvx_status open_plan(rvx_subject *s, const rvx_subject_options *options, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    if (options->in_channels || options->classes || options->depth || options->width_count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "channels, classes, widths and depth are those of the plan; only those of "
                         "a network by its name can be changed");
    if (options->plan[strspn(options->plan, " \t\r\n")] == '{') {
        RVX_TRY(rvx__recipe_parse(&s->recipe, options->plan, "plan", error));
    } else if (rvx__path_is_directory(options->plan)) {
        RVX_TRY(rvx__path_join(path, options->plan, "dataset.json", error));
        if (rvx__path_exists(path))
            RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                              "%s is a dataset: make its plan first ('revoxel plan DATASET --out "
                              "plan.json') and give that",
                              options->plan));
        RVX_TRY(rvx__model_file_find(s->weights, options->plan, false, error));
        RVX_TRY(read_model_file(s, error));
    } else if (rvx__text_ends_with(options->plan, ".safetensors")) {
        RVX_TRY(rvx__path_join(s->weights, NULL, options->plan, error));
        RVX_TRY(read_model_file(s, error));
    } else {
        RVX_TRY(rvx__recipe_load(&s->recipe, options->plan, error));
    }
    RVX_TRY(rvx__facade_network(&s->job.model, s->recipe.network.name, error));
    rvx__facade_model_config(&s->job.config, &s->recipe);
    RVX_TRY(rvx__model_config_check(&s->job.config, error));
    for (int axis = 0; axis < 3 && !s->recipe.patch.whole; axis++)
        s->size[axis] = s->recipe.patch.size[axis];
cleanup:
    return status;
}

rvx_status rvx__subject_open(rvx_subject *s, const rvx_subject_options *options, rvx_error *error)
{
    rvx_status status;
    memset(s, 0, sizeof *s);
    RVX_TRY(rvx__facade_threads(options->threads, error));
    RVX_TRY(rvx__facade_memory_check(&options->memory, error));
    if (options->depth < 0 || options->depth > 1024)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "depth expected 1 to 1024, found %d",
                          options->depth));
    if (options->batch < 0 || options->batch > 1024)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "batch expected 1 to 1024, found %d",
                          options->batch));
    RVX_TRY(options->network ? open_network(s, options, error) : open_plan(s, options, error));
    if (options->batch)
        s->recipe.patch.batch = options->batch;
    rvx__facade_memory_apply(&s->recipe, &options->memory);
    if (options->size[0] || options->size[1] || options->size[2]) {
        RVX_TRY(rvx__facade_size_check(options->size, &s->job.config, error));
        memcpy(s->size, options->size, sizeof s->size);
    }
    int threads = options->threads ? options->threads : (int)s->recipe.training.threads;
    s->job.recipe = &s->recipe;
    s->job.threads = rvx__facade_thread_count(threads);
    status = rvx__device_isa(&s->job.isa, options->device, error);
cleanup:
    return status;
}

void rvx__subject_close(rvx_subject *s) { rvx__recipe_free(&s->recipe); }

void rvx__subject_divisors(int64_t out[3], const rvx_subject *s)
{
    for (int axis = 0; axis < 3; axis++) {
        out[axis] = 1;
        for (int i = 0; i < s->job.config.stage_count; i++)
            out[axis] *= s->job.config.strides[i][2 - axis];
    }
}

rvx_status rvx__subject_plan(rvx_train_plan *out, const rvx_subject *s, rvx_policy policy,
                             const int64_t size[3], int64_t budget_bytes, rvx_error *error)
{
    const int64_t patch[3] = {size[2], size[1], size[0]};
    return rvx__train_plan_step(out, &s->job, policy, s->recipe.patch.batch, patch, budget_bytes,
                                error);
}
