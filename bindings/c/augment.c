/* rvx_augment_preview: see revoxel.h. */
#include "bindings/c/facade.h"
#include "engine/run/cases.h"
#include "engine/segment/augment_preview.h"
#include "engine/volume/beam.h"
#include "engine/volume/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EDGE_MAX = 128, DRAWS_MAX = 1000 };

/* "imagesTr/liver_003_0000.nii.gz", or a folder of DICOM without the ending, in a dataset: its
 * folder and "liver_003". False: it is in none. */
static bool in_dataset(char dataset[RVX_PATH_BYTES], char name[RVX_PATH_BYTES], const char *path)
{
    rvx_error ignored;
    char json[RVX_PATH_BYTES];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t folder = slash ? (size_t)(slash - path) : 0;
    if (snprintf(dataset, RVX_PATH_BYTES, "%.*s%s..", (int)folder, path, slash ? "/" : "") >=
            RVX_PATH_BYTES ||
        rvx__path_join(json, dataset, "dataset.json", &ignored) != RVX_OK ||
        !rvx__path_exists(json))
        return false;
    const char *channel = NULL;
    for (const char *at = base; (at = strstr(at, "_0000")) != NULL; at++)
        channel = at[5] == '.' || !at[5] ? at : channel;
    size_t length = channel ? (size_t)(channel - base) : strcspn(base, ".");
    memcpy(name, base, length);
    name[length] = 0;
    return true;
}

static rvx_status recipe_find(rvx_recipe *recipe, const char *dataset,
                              const rvx_augment_options *options, rvx_error *error)
{
    rvx_plan_settings settings = RVX_OPTIONS(rvx_plan_settings);
    settings.augmentation = options->augmentation;
    settings.seed = options->seed;
    settings.threads = options->threads;
    if (!options->plan)
        return rvx__facade_plan(recipe, dataset, &settings, NULL, error);
    rvx_status status = rvx__recipe_load(recipe, options->plan, error);
    return status == RVX_OK ? rvx__facade_plan_agrees(recipe, options->plan, &settings, error)
                            : status;
}

static rvx_status open_in_dataset(rvx_recipe *recipe, rvx_case *one, const char *path,
                                  const char *wanted, const rvx_augment_options *options,
                                  rvx_error *error)
{
    rvx_dataset *dataset = NULL;
    rvx_status status;
    RVX_TRY(rvx__dataset_open(&dataset, path, error));
    if (options->labels)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "labels are for an image outside a dataset; %s has its own", path));
    if (wanted && rvx__dataset_find(dataset, wanted) < 0)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: the dataset has no training case '%s'",
                          path, wanted));
    RVX_TRY(recipe_find(recipe, path, options, error));
    if (recipe->network.in_channels != dataset->channel_count)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "the plan is for %lld channels, the dataset has %d",
                          (long long)recipe->network.in_channels, dataset->channel_count));
    char *name = wanted ? (char *)(uintptr_t)wanted : dataset->cases[0].identifier;
    const rvx_names names = {&name, 1};
    status = rvx__cases_load(one, dataset, &names, recipe, NULL, NULL, NULL, error);
cleanup:
    rvx__dataset_free(dataset);
    return status;
}

/* Where the sound goes, from the one image that there is. */
static rvx_status beam_find(rvx_recipe *recipe, const rvx_case *one, rvx_error *error)
{
    const rvx_shape s = one->shape;
    rvx_coarse_image *coarse = calloc(1, sizeof *coarse);
    if (!coarse)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory", one->identifier);
    rvx__coarse_image_add(coarse, one->image, (int64_t[]){s.w, s.h, s.d}, 0, s.d);
    rvx__beam_guess(&recipe->augmentation.ultrasound.beam, &recipe->augmentation.ultrasound.sweep,
                    &coarse, 1);
    free(coarse);
    return RVX_OK;
}

/* One image of its own: nothing is known but what it holds. */
static rvx_status open_alone(rvx_recipe *recipe, rvx_case *one, const char *path,
                             const rvx_augment_options *options, rvx_error *error)
{
    rvx_status status = RVX_OK;
    if (options->plan) {
        RVX_TRY(rvx__recipe_load(recipe, options->plan, error));
    } else {
        rvx__recipe_base(recipe);
        recipe->network.in_channels = 1;
        recipe->network.classes = RVX_CLASSES_MAX - 1;
        if (options->augmentation && strcmp(options->augmentation, "nnunet") != 0)
            rvx__recipe_augment(recipe, strcmp(options->augmentation, "ultrasound") == 0
                                            ? RVX_AUGMENTATION_ULTRASOUND
                                            : RVX_AUGMENTATION_NONE);
    }
    if (recipe->network.in_channels != 1)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "%s is one channel, the plan is for %lld; name a dataset", path,
                          (long long)recipe->network.in_channels));
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    rvx_case_recipe case_recipe;
    rvx__case_recipe_make(&case_recipe, channels, recipe);
    RVX_TRY(rvx__case_load(one, rvx__path_name(path), &path, options->labels, &case_recipe, error));
    const int64_t size[3] = {one->shape.w, one->shape.h, one->shape.d};
    for (int a = 0; a < 3 && !options->plan; a++)
        recipe->patch.size[a] = size[a] < EDGE_MAX ? size[a] : EDGE_MAX;
    if (!options->plan)
        RVX_TRY(beam_find(recipe, one, error));
    if (!one->labels) {
        one->class_count = 0;
        one->labels = calloc((size_t)rvx__shape_voxels(one->shape), 1);
        if (!one->labels)
            status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its labels", path);
    }
cleanup:
    return status;
}

static rvx_status check(const rvx_augment_options *options, rvx_error *error)
{
    static const char *const sets[] = {"none", "nnunet", "ultrasound"};
    bool known = !options->augmentation;
    for (int i = 0; i < 3 && !known; i++)
        known = strcmp(options->augmentation, sets[i]) == 0;
    if (!known)
        return rvx__fail(
            error, RVX_ERROR_ARGUMENT,
            "augmentation expected \"none\", \"nnunet\" or \"ultrasound\", found \"%s\"",
            options->augmentation);
    if (options->draws < 0 || options->draws > DRAWS_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "draws expected 0 to %d, found %d", DRAWS_MAX,
                         options->draws);
    if (options->seed > INT64_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "seed expected 0 to 2^63 - 1, found %llu",
                         (unsigned long long)options->seed);
    return rvx__facade_threads(options->threads, error);
}

rvx_status rvx_augment_preview(const char *target, const char *out,
                               const rvx_augment_options *given, rvx_error *error)
{
    rvx_status status;
    rvx_augment_options options;
    rvx_recipe recipe = {0};
    rvx_case one = {0};
    rvx_image sheet = {0};
    rvx_text png = {0};
    char dataset[RVX_PATH_BYTES], name[RVX_PATH_BYTES], path[RVX_PATH_BYTES];
    RVX_TRY(rvx__facade_required(target, "target", error));
    RVX_TRY(rvx__facade_required(out, "out", error));
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_augment_options", error));
    RVX_TRY(check(&options, error));
    RVX_TRY(rvx__path_join(path, NULL, target, error));
    for (size_t bytes = strlen(path); bytes > 1 && path[bytes - 1] == '/';)
        path[--bytes] = 0;
    if (rvx__path_is_directory(path) && !rvx__format_of_folder(path))
        RVX_TRY(open_in_dataset(&recipe, &one, path, options.identifier, &options, error));
    else if (in_dataset(dataset, name, path))
        RVX_TRY(open_in_dataset(&recipe, &one, dataset, name, &options, error));
    else
        RVX_TRY(open_alone(&recipe, &one, path, &options, error));
    if (options.channel < 0 || options.channel >= recipe.network.in_channels)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "channel expected 0 to %lld, found %d",
                          (long long)recipe.network.in_channels - 1, options.channel));
    if (options.seed)
        recipe.training.seed = (int64_t)options.seed;
    int64_t patch[3];
    rvx__patch_find(patch, &recipe, &one, 1);
    const rvx_augment_preview_params params = {.recipe = &recipe,
                                               .one = &one,
                                               .patch = patch,
                                               .channel = options.channel,
                                               .draws = options.draws,
                                               .threads =
                                                   rvx__facade_thread_count(options.threads)};
    RVX_TRY(rvx__augment_preview(&sheet, &params, error));
    RVX_TRY(rvx__png_encode(&png, &sheet, error));
    status = rvx__file_write(out, png.data, png.bytes, error);
cleanup:
    rvx__text_free(&png);
    rvx__image_free(&sheet);
    rvx__case_free(&one);
    rvx__recipe_free(&recipe);
    return status;
}
