/* What a training run ends with: its validation cases segmented with the best parameters into
 * RUN/validation/CASE + ending, and judged in RUN/validation.json; the post-processing that helps
 * them in RUN/postprocessing.json. Cases are those of the dataset, wherever dataset.json says their
 * files are. */
#include "bindings/c/model_file.h"

#include "engine/run/cases.h"
#include "engine/segment/evaluate.h"
#include "engine/segment/postprocess.h"

#include <stdlib.h>
#include <string.h>

typedef struct judging {
    const rvx_dataset *dataset;
    const rvx_train_options *options;
    rvx_model_file model;
    rvx_names names; /* of the validation cases */
    rvx_evaluation evaluation;
    rvx_postprocess_choice choice;
    int64_t done, overflow; /* overflow: of the training */
} judging;

static int poll_tiles(void *context, double done, double total)
{
    const judging *j = context;
    (void)done, (void)total;
    const char *name = j->done < j->names.count ? j->names.names[j->done] : NULL;
    rvx_progress progress = rvx__facade_phase("predict", name, j->done, j->names.count);
    progress.overflow = j->overflow + rvx__predictor_overflow(j->model.predictor);
    return rvx__facade_progress(j->options->progress, j->options->context, progress);
}

static rvx_status find_names(judging *j, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_names train = {0};
    char splits[RVX_PATH_BYTES];
    const rvx_dataset *d = j->dataset;
    char **identifiers = calloc((size_t)d->case_count + 1, sizeof *identifiers);
    if (!identifiers)
        return rvx__fail(error, RVX_ERROR_MEMORY, "validation: out of memory");
    for (int64_t i = 0; i < d->case_count; i++)
        identifiers[i] = d->cases[i].identifier;
    const rvx_names all = {identifiers, d->case_count};
    RVX_TRY(rvx__path_join(splits, d->path, "splits_final.json", error));
    RVX_TRY(rvx__recipe_split(&train, &j->names, &j->model.recipe, &all, splits, error));
cleanup:
    rvx__names_free(&train);
    free(identifiers);
    return status;
}

static rvx_status judge_case(judging *j, const char *folder, int threads, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_case_reader *one = NULL;
    rvx_case_recipe recipe;
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    char path[RVX_PATH_BYTES];
    const rvx_recipe *plan = &j->model.recipe;
    const char *name = j->names.names[j->done];
    const rvx_dataset_case *files =
        &j->dataset->cases[rvx__dataset_find(j->dataset, name)]; /* the split checked the names */
    rvx__case_recipe_make(&recipe, channels, plan);
    recipe.repairs = j->dataset->repairs;
    RVX_TRY(rvx__case_reader_open(&one, name, (const char *const *)files->images, NULL, &recipe,
                                  error));
    RVX_TRY(
        rvx__predictor_write(j->model.predictor, plan, one, folder, false, poll_tiles, j, error));
    RVX_TRY(rvx__predictor_path(path, plan, name, folder, NULL, error));
    RVX_TRY(rvx__evaluation_add(&j->evaluation, name, path, files->labels, threads, error));
    status =
        rvx__postprocess_choice_add(&j->choice, path, files->labels, j->dataset->repairs, error);
cleanup:
    rvx__case_reader_close(one);
    return status;
}

rvx_status rvx__facade_judge(const rvx_dataset *dataset, const char *run,
                             const rvx_train_options *options, const rvx_device *device,
                             int64_t overflow, rvx_error *error)
{
    rvx_status status = RVX_OK;
    judging j = {.dataset = dataset, .options = options, .overflow = overflow};
    char folder[RVX_PATH_BYTES], labels[RVX_PATH_BYTES], json[RVX_PATH_BYTES];
    char rules[RVX_PATH_BYTES];
    const int threads = rvx__facade_thread_count(options->threads);
    const rvx_predictor_options predictor = {.threads = threads,
                                             .isa = device ? RVX_ISA_CUDA : rvx__isa_detect(),
                                             .tf32 = options->tf32 != 0,
                                             .device = device};
    RVX_TRY(rvx__model_file_open(&j.model, run, false, &predictor, error));
    RVX_TRY(find_names(&j, error));
    if (j.names.count == 0)
        goto cleanup;
    RVX_TRY(rvx__path_join(labels, dataset->path, "dataset.json", error));
    RVX_TRY(rvx__path_join(folder, run, "validation", error));
    RVX_TRY(rvx__path_join(json, run, "validation.json", error));
    RVX_TRY(rvx__class_list_load(&j.evaluation.list, labels, error));
    j.evaluation.repairs = dataset->repairs;
    RVX_TRY(rvx__postprocess_choice_create(&j.choice, &j.evaluation.list, error));
    RVX_TRY(rvx__directory_create(folder, error));
    while (j.done < j.names.count) {
        RVX_TRY(judge_case(&j, folder, threads, error));
        j.done++;
        if (poll_tiles(&j, 0, 1) && j.done < j.names.count)
            RVX_TRY(rvx__fail(error, RVX_CANCELLED, "cancelled"));
    }
    RVX_TRY(rvx__path_join(rules, run, RVX_POSTPROCESS_FILE, error));
    RVX_TRY(rvx__postprocess_choice_write(&j.choice, rules, error));
    RVX_TRY(rvx__evaluation_write(&j.evaluation, json, error));
cleanup:
    rvx__postprocess_choice_free(&j.choice);
    rvx__model_file_close(&j.model);
    rvx__evaluation_free(&j.evaluation);
    rvx__names_free(&j.names);
    return status;
}
