/* Segmenting in tiles is out of core: a volume eight times as long takes the same memory, which is
 * what the predictor says it takes, also where the network's grid is another one. The label map of
 * the longer volume is complete. */
#include "bindings/c/facade.h"
#include "bindings/c/model_file.h"
#include "engine/base/file.h"
#include "run/peak.h"
#include "tap.h"

#include <string.h>

enum { X = 160, Y = 160, SHORT = 40, LONG = 320, REST_BYTES = 32 << 20, SAME_BYTES = 4 << 20 };

static char folder[] = "/tmp/revoxel_out_of_core_XXXXXX";

static int failed(const rvx_error *error)
{
    printf("# %s\n", error->message);
    fflush(stdout);
    return 1;
}

static const char *at(const char *name, const char *file)
{
    static char paths[4][RVX_PATH_BYTES];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, RVX_PATH_BYTES, "%s/%s%s", folder, name, file);
    return path;
}

/* What is trained on. */
static int make(const char *name)
{
    rvx_error error;
    rvx_synth_options synth = RVX_OPTIONS(rvx_synth_options);
    synth.cases = 1;
    synth.size[0] = synth.size[1] = synth.size[2] = 48;
    return rvx_synth(at(name, ""), &synth, &error) == RVX_OK ? 0 : failed(&error);
}

/* What is segmented: `name` is short or long. */
static rvx_geometry grid_of(int64_t slices)
{
    return (rvx_geometry){.size = {X, Y, slices},
                          .spacing = {1, 1, 1},
                          .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
}

static int write_image(const char *name)
{
    rvx_error error;
    rvx_volume_writer *writer = NULL;
    static float slice[X * Y];
    const rvx_geometry grid = grid_of(strcmp(name, "short") == 0 ? SHORT : LONG);
    if (rvx__directory_create(at(name, ""), &error) != RVX_OK ||
        rvx__volume_writer_create(&writer, at(name, "/image.nii"), &grid, RVX_VOXEL_F32, NULL,
                                  &error) != RVX_OK)
        return failed(&error);
    for (int64_t z = 0; z < grid.size[2]; z++) {
        for (int64_t i = 0; i < X * Y; i++)
            slice[i] = (float)((i * 7919 + z * 104729) % 1009);
        rvx__volume_writer_slab(writer, slice, 1, &error);
    }
    return rvx__volume_writer_commit(writer, &error) == RVX_OK ? 0 : failed(&error);
}

/* One step; `name`: of the run, and "coarse" has a spacing of its own. */
static int train(const char *name)
{
    static const int64_t widths[] = {4, 8};
    rvx_error error;
    rvx_recipe recipe;
    rvx_plan_settings settings = RVX_OPTIONS(rvx_plan_settings);
    settings.patch[0] = settings.patch[1] = settings.patch[2] = 32;
    settings.widths = widths;
    settings.width_count = 2;
    settings.steps = 1;
    settings.fold = -1;
    if (rvx__facade_plan(&recipe, at("data", ""), &settings, NULL, &error) != RVX_OK)
        return failed(&error);
    for (int a = 0; a < 3; a++)
        recipe.spacing[a] = strcmp(name, "coarse") == 0 ? 1.3 : 1;
    strcpy(recipe.file_ending, ".nii"); /* no compressor, whose blocks fill with the label map */
    rvx_status status = rvx__recipe_save(&recipe, at(name, ".json"), &error);
    rvx__recipe_free(&recipe);
    rvx_train_options options = RVX_OPTIONS(rvx_train_options);
    options.plan = at(name, ".json");
    options.threads = 2;
    if (status == RVX_OK)
        status = rvx_train(at("data", ""), at(name, ""), &options, &error);
    return status == RVX_OK ? 0 : failed(&error);
}

static const char *run_name; /* of the network that `predict` takes */

static int predict(const char *name)
{
    rvx_error error;
    const char *const images[] = {at(name, "/image.nii")};
    rvx_predict_options options = RVX_OPTIONS(rvx_predict_options);
    options.threads = 2;
    options.tile_step = 1;
    return rvx_predict(at(run_name, ""), images, 1, at(name, "/out"), &options, &error) == RVX_OK
               ? 0
               : failed(&error);
}

static int64_t predicted_bytes(const char *run, int64_t slices)
{
    rvx_error error;
    rvx_model_file model = {0};
    rvx_grid_map map;
    int64_t bytes = 0;
    const rvx_predictor_options options = {.threads = 2, .isa = rvx__isa_detect()};
    const rvx_geometry grid = grid_of(slices);
    if (rvx__model_file_open(&model, at(run, ""), false, &options, &error) != RVX_OK ||
        rvx__grid_map_make(&map, &grid, model.recipe.spacing, "grid", &error) != RVX_OK ||
        rvx__predictor_bytes(&bytes, model.predictor, &map, &error) != RVX_OK)
        failed(&error);
    rvx__model_file_close(&model);
    return bytes;
}

static void test_run(const char *run)
{
    run_name = run;
    if (!tap_ok(peak_of(train, run) > 0, "%s: trains", run))
        return;
    int64_t planned = predicted_bytes(run, SHORT), planned_long = predicted_bytes(run, LONG);
    int64_t few = peak_of(predict, "short"), many = peak_of(predict, "long");
    const int64_t image = (int64_t)X * Y * LONG * 4;
    tap_ok(planned_long - planned < SAME_BYTES / 8, "%s: the plan does not depend on the length",
           run);
    tap_ok(few > 0 && few <= planned + REST_BYTES, "%s: takes %.1f MiB, %.1f planned", run,
           (double)few / 0x1p20, (double)planned / 0x1p20);
    tap_ok(many > 0 && many <= few + SAME_BYTES && SAME_BYTES < image / 4,
           "%s: a volume eight times as long takes %.1f MiB", run, (double)many / 0x1p20);
    rvx_error error;
    rvx_volume labels = {0};
    TAP_OK(rvx__volume_read_labels(&labels, at("long", "/out/image.nii"), &error) == RVX_OK &&
           labels.info.geometry.size[2] == LONG);
    rvx__volume_free(&labels);
}

int main(void)
{
    char command[RVX_PATH_BYTES];
    if (!mkdtemp(folder))
        return 1;
    TAP_OK(peak_of(make, "data") > 0 && peak_of(write_image, "short") > 0 &&
           peak_of(write_image, "long") > 0);
    test_run("native");
    test_run("coarse");
    snprintf(command, sizeof command, "rm -r %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
