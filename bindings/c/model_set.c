/* The networks of a prediction: see model_set.h. */
#include "bindings/c/model_set.h"

#include "engine/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FOLDS_MAX = 1000, FILE_BYTES_MAX = 1 << 16 };

rvx_status rvx__fold_path(char out[RVX_PATH_BYTES], const char *folder, int fold, rvx_error *error)
{
    char name[32];
    snprintf(name, sizeof name, "fold_%d", fold);
    return rvx__path_join(out, folder, name, error);
}

rvx_status rvx__folds_read(int *folds, int *finished, const char *path, rvx_error *error)
{
    static const char *const keys[] = {"format_version", "folds", "finished", NULL};
    rvx_status status;
    char file[RVX_PATH_BYTES];
    json_t *tree = NULL;
    int64_t version, count, done;
    *folds = 0;
    RVX_TRY(rvx__path_join(file, path, RVX_FOLDS_FILE, error));
    if (!rvx__path_is_file(file))
        return RVX_OK;
    RVX_TRY(rvx__json_load(&tree, file, FILE_BYTES_MAX, error));
    rvx_json root = rvx__json_root(tree, file);
    rvx_json members[3];
    RVX_TRY(rvx__json_object(&root, keys, error));
    for (int i = 0; i < 3; i++)
        members[i] = rvx__json_member(&root, keys[i]);
    RVX_TRY(rvx__json_integer(&version, &members[0], 1, 1, error));
    RVX_TRY(rvx__json_integer(&count, &members[1], 1, FOLDS_MAX, error));
    RVX_TRY(rvx__json_integer(&done, &members[2], 0, count, error));
    *folds = (int)count;
    if (finished)
        *finished = (int)done;
cleanup:
    json_decref(tree);
    return status;
}

rvx_status rvx__folds_write(const char *path, int folds, int finished, rvx_error *error)
{
    char file[RVX_PATH_BYTES];
    rvx_status status = rvx__path_join(file, path, RVX_FOLDS_FILE, error);
    if (status != RVX_OK)
        return status;
    json_t *root =
        json_pack("{s:i, s:i, s:i}", "format_version", 1, "folds", folds, "finished", finished);
    status = root ? rvx__json_save(root, file, error)
                  : rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory", file);
    json_decref(root);
    return status;
}

rvx_status rvx__model_rules(rvx_postprocess *rules, const rvx_recipe *recipe, const char *run,
                            const char *file, bool none, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const char *names[RVX_CLASSES_MAX];
    char path[RVX_PATH_BYTES], folder[RVX_PATH_BYTES];
    *rules = (rvx_postprocess){0};
    for (int64_t k = 0; k < recipe->network.classes; k++)
        names[k] = recipe->labels[k];
    if (file)
        return rvx__postprocess_load(rules, file, names, recipe->network.classes, error);
    if (none)
        return RVX_OK;
    RVX_TRY(rvx__path_is_directory(run) ? rvx__path_join(folder, NULL, run, error)
                                        : rvx__path_parent(folder, run, error));
    RVX_TRY(rvx__path_join(path, folder, RVX_POSTPROCESS_FILE, error));
    if (rvx__path_is_file(path))
        status = rvx__postprocess_load(rules, path, names, recipe->network.classes, error);
cleanup:
    return status;
}

/* The model's rules or the caller's; then what the caller adds for every class. */
static rvx_status rules_find(rvx_model_set *set, const char *run,
                             const rvx_predict_options *options, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_recipe *recipe = &set->files[0].recipe;
    RVX_TRY(rvx__model_rules(&set->rules, recipe, run, options->postprocessing,
                             options->no_postprocessing || options->also_count > 0, error));
    for (int64_t k = 1; k < recipe->network.classes; k++) {
        if (options->smallest_object_mm3 > set->rules.smallest_mm3[k])
            set->rules.smallest_mm3[k] = options->smallest_object_mm3;
        if (options->fill_holes_mm3 > set->rules.hole_mm3[k])
            set->rules.hole_mm3[k] = options->fill_holes_mm3;
    }
cleanup:
    return status;
}

static rvx_status options_check(const rvx_predict_options *o, rvx_error *error)
{
    if (o->also_count < 0 || o->also_count > FOLDS_MAX || (o->also_count > 0 && !o->also))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "also_count expected 0 to %d, found %d",
                         FOLDS_MAX, o->also_count);
    if (o->postprocessing && o->no_postprocessing)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "postprocessing and no_postprocessing exclude each other");
    if (!(o->smallest_object_mm3 >= 0 && o->smallest_object_mm3 <= 1e12))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "smallest_object_mm3 expected 0 to 1e12, found %g",
                         o->smallest_object_mm3);
    if (!(o->fill_holes_mm3 >= 0 && o->fill_holes_mm3 <= 1e12))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "fill_holes_mm3 expected 0 to 1e12, found %g",
                         o->fill_holes_mm3);
    return RVX_OK;
}

rvx_status rvx__model_set_open(rvx_model_set *set, const char *run,
                               const rvx_predict_options *options,
                               const rvx_predictor_options *predictor, rvx_error *error)
{
    rvx_status status;
    int folds = 0, finished = 0;
    *set = (rvx_model_set){0};
    RVX_TRY(options_check(options, error));
    RVX_TRY(rvx__folds_read(&folds, &finished, run, error));
    if (finished < folds)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "%s: %d of %d folds are trained; finish the cross-validation (train "
                          "--fold all --resume) or name a fold",
                          run, finished, folds));
    int own = folds ? folds : 1, count = own + options->also_count;
    set->files = calloc((size_t)count, sizeof *set->files);
    set->members = calloc((size_t)count, sizeof *set->members);
    if (!set->files || !set->members)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory"));
    while (set->count < count) {
        char path[RVX_PATH_BYTES];
        int i = set->count++;
        if (i < folds)
            RVX_TRY(rvx__fold_path(path, run, i + 1, error));
        else
            RVX_TRY(rvx__path_join(path, NULL, i < own ? run : options->also[i - own], error));
        RVX_TRY(
            rvx__model_file_open(&set->files[i], path, options->use_latest != 0, predictor, error));
        set->members[i] = (rvx_ensemble_member){set->files[i].predictor, &set->files[i].recipe,
                                                set->files[i].path};
    }
    RVX_TRY(rvx__ensemble_check(set->members, set->count, error));
    status = rules_find(set, run, options, error);
cleanup:
    return status;
}

void rvx__model_set_close(rvx_model_set *set)
{
    for (int i = 0; i < set->count && set->files; i++)
        rvx__model_file_close(&set->files[i]);
    free(set->files);
    free(set->members);
    *set = (rvx_model_set){0};
}
