/* rvx_train: plan, train, and in the end segment and judge the validation cases. */
#include "bindings/c/training.h"

#include "models/models.h"

#include <stdlib.h>
#include <string.h>

static int poll_training(void *context, const rvx_train_status *s)
{
    rvx_training *t = context;
    rvx_progress progress = rvx__facade_phase(s->phase, s->item, s->done, s->total);
    progress.loss = s->loss;
    progress.learning_rate = s->learning_rate;
    progress.dice = s->dice;
    progress.voxels_per_second = s->voxels_per_second;
    progress.seconds_left = s->seconds_left;
    progress.overflow = t->overflow = s->overflow;
    progress.loader_wait = s->wait_share;
    if (!rvx__facade_repairs_tell(&t->repairs, t->options.progress, t->options.context))
        return 1;
    return rvx__facade_progress(t->options.progress, t->options.context, progress);
}

/* In order: the plan given; that of the run to be resumed; a new one for the dataset. Settings must
 * not contradict a plan that is there. */
static rvx_status find_plan(rvx_training *t, const char *dataset, const char *run, rvx_error *error)
{
    rvx_status status;
    char in_run[RVX_PATH_BYTES];
    rvx_plan_settings settings;
    RVX_TRY(rvx__facade_options(&settings, sizeof settings, t->options.settings,
                                "rvx_plan_settings", error));
    RVX_TRY(rvx__path_join(in_run, run, "plan.json", error));
    const char *source = t->options.plan;
    if (!source && t->options.resume && rvx__path_exists(in_run))
        source = in_run;
    if (source) {
        RVX_TRY(rvx__recipe_load(&t->recipe, source, error));
        return rvx__facade_plan_agrees(&t->recipe, source, &settings, error);
    }
    if (!settings.progress) {
        settings.progress = t->options.progress;
        settings.context = t->options.context;
    }
    status = rvx__facade_plan(&t->recipe, dataset, &settings, t->dataset->repairs, error);
cleanup:
    return status;
}

/* The recipe's channels and classes against those of the dataset. */
static rvx_status check_dataset(const rvx_training *t, rvx_error *error)
{
    const rvx_dataset *d = t->dataset;
    if (t->recipe.network.in_channels != d->channel_count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "plan: network.in_channels is %lld, the dataset %s has %d channels",
                         (long long)t->recipe.network.in_channels, d->path, d->channel_count);
    if (t->recipe.network.classes != d->class_count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "plan: network.classes is %lld, the dataset %s has %d labels",
                         (long long)t->recipe.network.classes, d->path, d->class_count);
    if (t->recipe.loss.ignore_label != d->ignore_label)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "plan: loss.ignore_label is %lld, that of the dataset %s is %d (-1: none)",
                         (long long)t->recipe.loss.ignore_label, d->path, d->ignore_label);
    for (int k = 0; k < d->class_count; k++)
        if (strcmp(t->recipe.labels[k], d->class_names[k]) != 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "plan: labels: %d is \"%s\", in the dataset %s it is \"%s\"", k,
                             t->recipe.labels[k], d->path, d->class_names[k]);
    for (int i = 0; i < d->channel_count; i++)
        if (strcmp(t->recipe.channel_names[i], d->channel_names[i]) != 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "plan: channel_names: %d is \"%s\", in the dataset %s it is \"%s\"", i,
                             t->recipe.channel_names[i], d->path, d->channel_names[i]);
    return RVX_OK;
}

rvx_status rvx__training_open(rvx_training *t, const char *dataset, const char *folder,
                              const rvx_train_options *given, rvx_error *error)
{
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__facade_options(&t->options, sizeof t->options, given, "rvx_train_options", error));
    RVX_TRY(rvx__facade_required(dataset, "dataset", error));
    RVX_TRY(rvx__facade_required(folder, "run", error));
    RVX_TRY(rvx__facade_threads(t->options.threads, error));
    RVX_TRY(rvx__device_open(&t->device, t->options.device, t->options.device_library, error));
    RVX_TRY(rvx__facade_tf32(t->options.tf32, t->device, error));
    RVX_TRY(rvx__facade_choices(&t->choices, t->device, t->options.implementation, error));
    RVX_TRY(rvx__facade_workspace(&t->workspace_bytes, t->options.implementation, error));
    RVX_TRY(rvx__dataset_open(&t->dataset, dataset, error));
    t->dataset->repairs = t->options.repair ? &t->repairs : NULL;
    RVX_TRY(find_plan(t, dataset, folder, error));
    RVX_TRY(rvx__facade_segmenter(&t->model, t->recipe.network.name, error));
    status = check_dataset(t, error);
cleanup:
    return status;
}

/* Segments as rvx_predict does, with own kernels. */
rvx_status rvx__training_judge(const rvx_training *t, const char *run, rvx_error *error)
{
    rvx_device *device = t->device;
    rvx_choices *choices = device ? device->choices : NULL;
    if (device)
        device->choices = NULL;
    rvx_status status = rvx__facade_judge(t->dataset, run, &t->options, device, t->overflow, error);
    if (device)
        device->choices = choices;
    return status;
}

rvx_status rvx__training_run(rvx_training *t, const char *run, rvx_error *error)
{
    rvx_status status;
    rvx_device *device = t->device;
    int threads = t->options.threads ? t->options.threads : (int)t->recipe.training.threads;
    rvx_train_job job = {.recipe = &t->recipe,
                         .model = t->model,
                         .dataset = t->dataset,
                         .run = run,
                         .cache = t->options.cache,
                         .resume = t->options.resume != 0,
                         .threads = rvx__facade_thread_count(threads),
                         .isa = device ? RVX_ISA_CUDA : rvx__isa_detect(),
                         .device = device,
                         .workspace_bytes = device ? t->workspace_bytes : 0,
                         .tf32 = t->options.tf32 != 0,
                         .poll = poll_training,
                         .context = t};
    rvx__facade_model_config(&job.config, &t->recipe);
    RVX_TRY(rvx__train(&job, error));
    if (!t->options.no_validation_output)
        RVX_TRY(rvx__training_judge(t, run, error));
    rvx__facade_repairs_tell(&t->repairs, t->options.progress, t->options.context);
    status = rvx__facade_repairs_write(&t->repairs, run, error);
cleanup:
    return status;
}

void rvx__training_close(rvx_training *t)
{
    rvx__repairs_free(&t->repairs);
    rvx__recipe_free(&t->recipe);
    rvx__dataset_free(t->dataset);
    rvx__choices_close(t->choices);
    rvx__device_close(t->device);
}

rvx_status rvx_train(const char *dataset, const char *run, const rvx_train_options *given,
                     rvx_error *error)
{
    rvx_training t = {0};
    rvx_status status = rvx__training_open(&t, dataset, run, given, error);
    if (status == RVX_OK)
        status = rvx__training_run(&t, run, error);
    rvx__training_close(&t);
    return status;
}
