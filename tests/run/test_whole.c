/* Training on a whole volume takes the arena of the step, the case once, and little more: nothing
 * around the network holds the volume a second time. Segmenting it takes the arena alone: logits
 * never exist, and the image goes slice by slice into the network. Measured by what the system says
 * of a process that did it. */
#include "bindings/c/facade.h"
#include "bindings/c/model_file.h"
#include "engine/base/file.h"
#include "engine/run/train_plan.h"
#include "models/models.h"
#include "run/peak.h"
#include "tap.h"

#include <string.h>

enum { X = 192, Y = 192, Z = 160, REST_BYTES = 32 << 20 };

static int failed(const rvx_error *error)
{
    printf("# %s\n", error->message);
    fflush(stdout);
    return 1;
}

static int make(const char *folder)
{
    rvx_error error;
    rvx_synth_options synth = RVX_OPTIONS(rvx_synth_options);
    synth.cases = 1;
    synth.size[0] = X, synth.size[1] = Y, synth.size[2] = Z;
    char path[RVX_PATH_BYTES];
    snprintf(path, sizeof path, "%s/data", folder);
    return rvx_synth(path, &synth, &error) == RVX_OK ? 0 : failed(&error);
}

/* The plan that the dataset gets, for a small network that stores bf16. */
static int plan(const char *folder)
{
    static const int64_t widths[] = {8, 16};
    rvx_error error;
    rvx_recipe recipe;
    char data[RVX_PATH_BYTES], path[RVX_PATH_BYTES];
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(path, sizeof path, "%s/plan.json", folder);
    rvx_plan_settings settings = RVX_OPTIONS(rvx_plan_settings);
    settings.patch_whole = 1;
    settings.widths = widths;
    settings.width_count = 2;
    settings.steps = 1;
    settings.fold = -1;
    if (rvx__facade_plan(&recipe, data, &settings, NULL, &error) != RVX_OK)
        return failed(&error);
    recipe.memory.storage = RVX_STORAGE_BF16;
    recipe.augmentation.blur.probability = recipe.augmentation.low_resolution.probability = 1;
    rvx_status status = rvx__recipe_save(&recipe, path, &error);
    rvx__recipe_free(&recipe);
    return status == RVX_OK ? 0 : failed(&error);
}

static int train(const char *folder)
{
    rvx_error error;
    char data[RVX_PATH_BYTES], run[RVX_PATH_BYTES], path[RVX_PATH_BYTES];
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(path, sizeof path, "%s/plan.json", folder);
    rvx_train_options options = RVX_OPTIONS(rvx_train_options);
    options.plan = path;
    options.threads = 2;
    return rvx_train(data, run, &options, &error) == RVX_OK ? 0 : failed(&error);
}

static int predict(const char *folder)
{
    rvx_error error;
    char run[RVX_PATH_BYTES], image[RVX_PATH_BYTES], out[RVX_PATH_BYTES];
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(image, sizeof image, "%s/data/imagesTr", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    const char *const images[] = {image};
    rvx_predict_options options = RVX_OPTIONS(rvx_predict_options);
    options.whole = 1;
    options.threads = 2;
    return rvx_predict(run, images, 1, out, &options, &error) == RVX_OK ? 0 : failed(&error);
}

/* What the predictor says that it takes beyond the image; in one piece that is all. */
static int64_t prediction_bytes(const char *folder)
{
    rvx_error error;
    rvx_model_file model = {0};
    char run[RVX_PATH_BYTES];
    int64_t bytes = 0;
    const rvx_grid_map map = {
        .file_size = {X, Y, Z}, .network_size = {X, Y, Z}, .box_size = {X, Y, Z}};
    const rvx_predictor_options options = {.whole = true, .threads = 2, .isa = rvx__isa_detect()};
    snprintf(run, sizeof run, "%s/run", folder);
    if (rvx__model_file_open(&model, run, false, &options, &error) != RVX_OK ||
        rvx__predictor_bytes(&bytes, model.predictor, &map, &error) != RVX_OK)
        failed(&error);
    rvx__model_file_close(&model);
    return bytes;
}

static int64_t arena_bytes(const char *folder)
{
    rvx_error error;
    rvx_recipe recipe;
    rvx_train_plan step = {0};
    char path[RVX_PATH_BYTES];
    snprintf(path, sizeof path, "%s/plan.json", folder);
    if (rvx__recipe_load(&recipe, path, &error) != RVX_OK)
        return failed(&error);
    rvx_train_job job = {.recipe = &recipe,
                         .model = rvx__model_find(recipe.network.name),
                         .threads = 2,
                         .isa = rvx__isa_detect()};
    rvx__facade_model_config(&job.config, &recipe);
    int64_t bytes = 0;
    if (rvx__train_plan_create(&step, &job, (int64_t[]){Z, Y, X}, 0, &error) == RVX_OK)
        bytes = step.plan->arena_bytes;
    rvx__train_plan_free(&step);
    rvx__recipe_free(&recipe);
    return bytes;
}

int main(void)
{
    const int64_t voxels = (int64_t)X * Y * Z, held = voxels * 5;
    char folder[] = "/tmp/revoxel_whole_XXXXXX", command[RVX_PATH_BYTES];
    if (!mkdtemp(folder))
        return 1;
    int64_t synth = peak_of(make, folder), planning = peak_of(plan, folder);
    int64_t training = peak_of(train, folder), prediction = peak_of(predict, folder);
    int64_t arena = arena_bytes(folder), planned = prediction_bytes(folder);
    tap_ok(synth > 0 && synth <= 2 * REST_BYTES, "a volume is made in %.1f MiB",
           (double)synth / 0x1p20);
    tap_ok(planning > 0 && planning <= REST_BYTES, "a dataset is planned in %.1f MiB",
           (double)planning / 0x1p20);
    tap_ok(training > arena * 9 / 10 && training <= arena + held + REST_BYTES,
           "a step on a whole volume takes %.1f MiB: an arena of %.1f, the case %.1f",
           (double)training / 0x1p20, (double)arena / 0x1p20, (double)held / 0x1p20);
    tap_ok(prediction > planned * 9 / 10 && prediction <= planned + REST_BYTES,
           "segmenting it takes %.1f MiB, %.1f planned", (double)prediction / 0x1p20,
           (double)planned / 0x1p20);
    snprintf(command, sizeof command, "rm -r %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
