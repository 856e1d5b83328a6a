/* What a run holds beside its step, found from the headers of a dataset alone: see memory_table.h.
 * Counts as training does (train.c): cases as they lie in memory, and the network that validates.
 */
#include "bindings/c/memory_table.h"

#include "engine/run/cases.h"
#include "engine/run/infer.h"
#include "engine/volume/repair.h"

#include <stdlib.h>
#include <string.h>

/* Then only what lies in its memory counts: cases do not. */
static bool on_gpu(const rvx_subject *subject) { return subject->job.isa == RVX_ISA_CUDA; }

/* Size on the network's grid, d, h, w. */
static rvx_status case_size(int64_t out[3], const rvx_recipe *recipe, const char *image,
                            rvx_error *error)
{
    rvx_volume_reader *reader = NULL;
    rvx_grid_map map;
    double spacing[3] = {0, 0, 0};
    rvx_repairs repairs = {0}; /* of a size alone: not listed */
    rvx_status status = rvx__volume_reader_open_repair(&reader, image, &repairs, error);
    if (status != RVX_OK) {
        rvx__repairs_free(&repairs);
        return status;
    }
    for (int axis = 0; axis < 3 && !recipe->spacing_native; axis++)
        spacing[axis] = recipe->spacing[axis];
    status =
        rvx__grid_map_make(&map, &rvx__volume_reader_info(reader)->geometry, spacing, image, error);
    rvx__volume_reader_close(reader);
    rvx__repairs_free(&repairs);
    for (int axis = 0; axis < 3 && status == RVX_OK; axis++)
        out[axis] = map.network_size[2 - axis];
    return status;
}

/* Cases with their shapes and nothing in them, as rvx__cases_bytes and rvx__patch_find read them.
 */
static rvx_status shapes_find(rvx_case *cases, const rvx_names *names, const rvx_dataset *dataset,
                              const rvx_recipe *recipe, rvx_error *error)
{
    for (int64_t i = 0; i < names->count; i++) {
        int64_t size[3], index = rvx__dataset_find(dataset, names->names[i]);
        if (index < 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: the dataset has no training case '%s'",
                             dataset->path, names->names[i]);
        rvx_status status = case_size(size, recipe, dataset->cases[index].images[0], error);
        if (status != RVX_OK)
            return status;
        cases[i].shape = (rvx_shape){1, size[0], size[1], size[2], recipe->network.in_channels};
    }
    return RVX_OK;
}

static rvx_status add_validation(int64_t *bytes, const rvx_subject *subject, const int64_t patch[3],
                                 const rvx_case *cases, int64_t count, rvx_error *error)
{
    rvx_inference *inference = NULL;
    int64_t most = 0;
    rvx_inference_options options = rvx__train_inference(&subject->job, patch);
    options.plan_only = true;
    if (count == 0)
        return RVX_OK;
    rvx_status status = rvx__inference_create(&inference, subject->job.model, &subject->job.config,
                                              &options, error);
    for (int64_t i = 0; i < count && status == RVX_OK; i++) {
        const rvx_shape s = cases[i].shape;
        int64_t needed = rvx__inference_bytes(inference, (int64_t[]){s.d, s.h, s.w});
        if (on_gpu(subject)) /* which has the network, not the slices under construction */
            needed = rvx__inference_arena_bytes(inference);
        most = needed > most ? needed : most;
    }
    rvx__inference_free(inference);
    *bytes += most;
    return status;
}

rvx_status rvx__memory_held(int64_t *bytes, rvx_subject *subject, const char *path,
                            rvx_error *error)
{
    rvx_status status;
    rvx_dataset *dataset = NULL;
    rvx_names all = {0}, train = {0}, validation = {0};
    rvx_case *cases = NULL;
    char splits[RVX_PATH_BYTES];
    int64_t patch[3];
    RVX_TRY(rvx__dataset_open(&dataset, path, error));
    all = (rvx_names){calloc((size_t)dataset->case_count + 1, sizeof *all.names),
                      dataset->case_count};
    cases = calloc((size_t)dataset->case_count + 1, sizeof *cases);
    if (!all.names || !cases)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld cases",
                          (long long)dataset->case_count));
    for (int64_t i = 0; i < all.count; i++)
        all.names[i] = dataset->cases[i].identifier;
    RVX_TRY(rvx__path_join(splits, dataset->path, "splits_final.json", error));
    RVX_TRY(rvx__recipe_split(&train, &validation, &subject->recipe, &all, splits, error));
    RVX_TRY(shapes_find(cases, &train, dataset, &subject->recipe, error));
    rvx__patch_find(patch, &subject->recipe, cases, train.count);
    *bytes = on_gpu(subject) ? 0 : rvx__cases_bytes(cases, train.count);
    RVX_TRY(shapes_find(cases, &validation, dataset, &subject->recipe, error));
    *bytes += on_gpu(subject) ? 0 : rvx__cases_bytes(cases, validation.count);
    RVX_TRY(add_validation(bytes, subject, patch, cases, validation.count, error));
    if (subject->recipe.patch.whole && !subject->size[0])
        for (int axis = 0; axis < 3; axis++)
            subject->size[axis] = patch[2 - axis];
cleanup:
    rvx__names_free(&train);
    rvx__names_free(&validation);
    free(all.names);
    free(cases);
    rvx__dataset_free(dataset);
    return status;
}
