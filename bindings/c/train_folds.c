/* rvx_train_folds: every fold in turn, and what they say together. Everything that trains is
 * rvx__training_run; the folds share one cache of preprocessed cases. */
#include "bindings/c/model_set.h"
#include "bindings/c/training.h"

#include "engine/run/folds.h"
#include "engine/segment/evaluate.h"
#include "engine/segment/report.h"

#include <stdlib.h>
#include <string.h>

/* A cross-validation that is there is only touched to be resumed, with as many folds. */
static rvx_status folder_check(int *finished, const char *folder, int folds, bool resume,
                               rvx_error *error)
{
    int before = 0;
    *finished = 0;
    rvx_status status = rvx__folds_read(&before, finished, folder, error);
    if (status != RVX_OK || before == 0)
        return status;
    if (!resume)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: holds a cross-validation; resume it (--resume) or choose another "
                         "folder",
                         folder);
    if (before != folds)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: was begun with %d folds, the plan and the dataset have %d", folder,
                         before, folds);
    return RVX_OK;
}

/* Moves the cases of one fold's validation into `all`. A fold that was trained without segmenting
 * its cases is judged now. */
static rvx_status evaluation_join(rvx_evaluation *all, const rvx_training *t, const char *run,
                                  int fold, rvx_error *error)
{
    rvx_status status;
    char path[RVX_PATH_BYTES];
    rvx_evaluation one = {0};
    RVX_TRY(rvx__path_join(path, run, "validation.json", error));
    if (!rvx__path_is_file(path))
        RVX_TRY(rvx__training_judge(t, run, error));
    RVX_TRY(rvx__evaluation_load(&one, path, error));
    status = rvx__evaluation_take(all, &one, fold, error);
cleanup:
    rvx__evaluation_free(&one);
    return status;
}

/* Every case judged by the network that has not seen it, and the rules that help all of them. */
static rvx_status judge_folds(const rvx_training *t, const char *folder, int folds,
                              rvx_error *error)
{
    rvx_status status;
    char path[RVX_PATH_BYTES];
    rvx_evaluation all = {0};
    rvx_class_list list = {0};
    rvx_postprocess_choice choice = {0};
    for (int k = 1; k <= folds; k++) {
        RVX_TRY(rvx__fold_path(path, folder, k, error));
        RVX_TRY(evaluation_join(&all, t, path, k, error));
    }
    RVX_TRY(rvx__path_join(path, t->dataset->path, "dataset.json", error));
    RVX_TRY(rvx__class_list_load(&list, path, error));
    RVX_TRY(rvx__postprocess_choice_create(&choice, &list, error));
    for (int64_t i = 0; i < all.case_count; i++)
        RVX_TRY(rvx__postprocess_choice_add(&choice, all.cases[i].prediction_path,
                                            all.cases[i].reference_path, t->dataset->repairs,
                                            error));
    RVX_TRY(rvx__path_join(path, folder, RVX_POSTPROCESS_FILE, error));
    RVX_TRY(rvx__postprocess_choice_write(&choice, path, error));
    RVX_TRY(rvx__path_join(path, folder, "validation.json", error));
    RVX_TRY(rvx__evaluation_write(&all, path, error));
    RVX_TRY(rvx__path_join(path, folder, "report.html", error));
    status = rvx__report_run(path, folder, NULL, error);
cleanup:
    rvx__postprocess_choice_free(&choice);
    rvx__class_list_free(&list);
    rvx__evaluation_free(&all);
    return status;
}

static rvx_status train_each(rvx_training *t, const char *folder, int folds, int finished,
                             rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    const bool resume = t->options.resume != 0;
    for (int k = finished + 1; k <= folds; k++) {
        RVX_TRY(rvx__fold_path(path, folder, k, error));
        t->recipe.fold.index = k - 1;
        t->overflow = 0;
        /* Only the fold that was stopped has something to go on from; later ones have nothing. */
        t->options.resume = resume;
        RVX_TRY(rvx__training_run(t, path, error));
        RVX_TRY(rvx__folds_write(folder, folds, k, error));
    }
cleanup:
    return status;
}

rvx_status rvx_train_folds(const char *dataset, const char *folder, const rvx_train_options *given,
                           rvx_error *error)
{
    rvx_status status;
    rvx_training t = {0};
    char path[RVX_PATH_BYTES], cache[RVX_PATH_BYTES];
    int64_t folds = 0;
    int finished = 0;
    RVX_TRY(rvx__training_open(&t, dataset, folder, given, error));
    if (t.options.settings && t.options.settings->fold)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "settings.fold expected 0 in a cross-validation, found %d",
                          t.options.settings->fold));
    RVX_TRY(rvx__path_join(path, t.dataset->path, "splits_final.json", error));
    RVX_TRY(rvx__recipe_fold_count(&folds, &t.recipe, path, error));
    if (folds < 2)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "field 'fold.count' is %lld: a cross-validation needs at least 2 folds",
                          (long long)folds));
    RVX_TRY(folder_check(&finished, folder, (int)folds, t.options.resume != 0, error));
    RVX_TRY(rvx__path_join(cache, folder, "preprocessed", error));
    if (!t.options.cache)
        t.options.cache = cache;
    RVX_TRY(rvx__directory_create(folder, error));
    t.recipe.fold.index = 0;
    RVX_TRY(rvx__path_join(path, folder, "plan.json", error));
    RVX_TRY(rvx__recipe_save(&t.recipe, path, error));
    RVX_TRY(rvx__folds_write(folder, (int)folds, finished, error));
    RVX_TRY(train_each(&t, folder, (int)folds, finished, error));
    if (!t.options.no_validation_output)
        RVX_TRY(judge_folds(&t, folder, (int)folds, error));
    rvx__facade_repairs_tell(&t.repairs, t.options.progress, t.options.context);
cleanup:
    rvx__training_close(&t);
    return status;
}
