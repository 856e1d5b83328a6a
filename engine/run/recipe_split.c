/* Who trains and who validates: see recipe.h. */
#include "engine/run/folds.h"
#include "kernels/random.h"

#include <stdlib.h>
#include <string.h>

enum { SPLITS_BYTES_MAX = 64 << 20, SHUFFLE_STREAM = 0x666F6C64 /* "fold" */ };

static rvx_status names_reserve(rvx_names *names, int64_t count, rvx_error *error)
{
    *names = (rvx_names){.names = calloc((size_t)count + 1, sizeof(char *))};
    if (!names->names)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld case names",
                         (long long)count);
    return RVX_OK;
}

static rvx_status names_add(rvx_names *names, const char *name, rvx_error *error)
{
    char *copy = strdup(name);
    if (!copy)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a case name");
    names->names[names->count++] = copy;
    return RVX_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool names_contain(const rvx_names *sorted, const char *name)
{
    return sorted->count && bsearch(&name, sorted->names, (size_t)sorted->count,
                                    sizeof *sorted->names, compare_names) != NULL;
}

static rvx_status names_copy(rvx_names *out, const rvx_names *listed, const rvx_names *cases,
                             const char *source, rvx_error *error)
{
    rvx_status status;
    RVX_TRY(names_reserve(out, listed->count, error));
    for (int64_t i = 0; i < listed->count; i++) {
        if (!names_contain(cases, listed->names[i]))
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s lists case \"%s\", which the data set lacks", source,
                             listed->names[i]);
        RVX_TRY(names_add(out, listed->names[i], error));
    }
cleanup:
    return status;
}

/* ---- nnU-Net's splits_final.json: [{"train": [...], "val": [...]}, ...] -----------------------
 */

static rvx_status list_read(rvx_names *out, const rvx_json *split, const char *key,
                            const rvx_names *cases, rvx_error *error)
{
    rvx_status status;
    int64_t count;
    rvx_json list = rvx__json_member(split, key);
    RVX_TRY(rvx__json_array(&count, &list, 0, cases->count, error));
    RVX_TRY(names_reserve(out, count, error));
    for (int64_t i = 0; i < count; i++) {
        rvx_json element = rvx__json_element(&list, i);
        const char *name = NULL;
        RVX_TRY(rvx__json_string(&name, &element, 256, error));
        if (!names_contain(cases, name))
            return rvx__json_fail(&element, error, "names case \"%s\", which the data set lacks",
                                  name);
        RVX_TRY(names_add(out, name, error));
    }
cleanup:
    return status;
}

static rvx_status file_split(rvx_names *train, rvx_names *validation, int64_t index,
                             const rvx_names *cases, const char *path, rvx_error *error)
{
    static const char *const keys[] = {"train", "val", NULL};
    json_t *root;
    int64_t count;
    rvx_status status;
    RVX_TRY(rvx__json_load(&root, path, SPLITS_BYTES_MAX, error));
    rvx_json json = rvx__json_root(root, path);
    RVX_TRY(rvx__json_array(&count, &json, 1, 1000, error));
    if (index >= count) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                           "field 'fold.index' is %lld, but %s has %lld folds", (long long)index,
                           path, (long long)count);
        goto cleanup;
    }
    rvx_json split = rvx__json_element(&json, index);
    RVX_TRY(rvx__json_object(&split, keys, error));
    RVX_TRY(list_read(train, &split, "train", cases, error));
    RVX_TRY(list_read(validation, &split, "val", cases, error));
cleanup:
    json_decref(root);
    return status;
}

/* ---- Our own folds ----------------------------------------------------------------------------
 */

/* Fisher-Yates, then fold i takes the i-th of `count` runs whose lengths differ by at most one (the
 * longer ones first, as sklearn's KFold). */
static rvx_status shuffled_split(rvx_names *train, rvx_names *validation, const rvx_recipe *recipe,
                                 const rvx_names *cases, rvx_error *error)
{
    int64_t count = cases->count, folds = recipe->fold.count, index = recipe->fold.index;
    if (index >= 0 && count < folds)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "field 'fold.count' is %lld, but there are only %lld cases: lower it, "
                         "set 'fold.index' to null to train on all, or list the cases in "
                         "'fold.train' and 'fold.validation'",
                         (long long)folds, (long long)count);
    int64_t *order = malloc((size_t)(count + 1) * sizeof *order);
    char *validates = calloc((size_t)count + 1, 1);
    rvx_status status = RVX_OK;
    if (!order || !validates) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld cases", (long long)count);
        goto cleanup;
    }
    rvx_random random = {.seed = (uint64_t)recipe->fold.seed, .stream = SHUFFLE_STREAM};
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = rvx__random_below(&random, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    if (index >= 0) {
        int64_t length = count / folds, longer = count % folds;
        int64_t first = index * length + (index < longer ? index : longer);
        for (int64_t i = first; i < first + length + (index < longer); i++)
            validates[order[i]] = 1;
    }
    RVX_TRY(names_reserve(train, count, error));
    RVX_TRY(names_reserve(validation, count, error));
    for (int64_t i = 0; i < count; i++)
        RVX_TRY(names_add(validates[i] ? validation : train, cases->names[i], error));
cleanup:
    free(order);
    free(validates);
    return status;
}

rvx_status rvx__recipe_split(rvx_names *train, rvx_names *validation, const rvx_recipe *recipe,
                             const rvx_names *cases, const char *splits_path, rvx_error *error)
{
    rvx_status status;
    *train = *validation = (rvx_names){0};
    if (recipe->fold.listed) {
        RVX_TRY(names_copy(train, &recipe->fold.train, cases, "field 'fold.train'", error));
        RVX_TRY(names_copy(validation, &recipe->fold.validation, cases, "field 'fold.validation'",
                           error));
    } else if (recipe->fold.index >= 0 && splits_path && rvx__path_exists(splits_path)) {
        RVX_TRY(file_split(train, validation, recipe->fold.index, cases, splits_path, error));
    } else {
        RVX_TRY(shuffled_split(train, validation, recipe, cases, error));
    }
    if (train->count == 0)
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "no case is left to train on");
cleanup:
    if (status != RVX_OK) {
        rvx__names_free(train);
        rvx__names_free(validation);
    }
    return status;
}

rvx_status rvx__recipe_fold_count(int64_t *count, const rvx_recipe *recipe, const char *splits_path,
                                  rvx_error *error)
{
    json_t *root = NULL;
    rvx_status status = RVX_OK;
    *count = recipe->fold.count;
    if (recipe->fold.listed)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "the plan lists its cases in 'fold.train' and 'fold.validation', which is "
                         "one split: a cross-validation needs folds");
    if (!splits_path || !rvx__path_exists(splits_path))
        return RVX_OK;
    RVX_TRY(rvx__json_load(&root, splits_path, SPLITS_BYTES_MAX, error));
    rvx_json json = rvx__json_root(root, splits_path);
    status = rvx__json_array(count, &json, 1, 1000, error);
cleanup:
    json_decref(root);
    return status;
}
