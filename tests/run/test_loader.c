/* Samples of a whole volume are the same bits whoever draws them: the loader's thread ahead of
 * time, or the caller between steps, in the loader's memory or in the caller's, on one thread or
 * three. */
#include "engine/run/loader.h"
#include "tap.h"

#include <math.h>

enum { EDGE = 170, CHANNELS = 1, STEPS = 2 }; /* more than a loader may hold twice */

static rvx_error error;

typedef struct drawn {
    void *image[STEPS];
    uint8_t *labels[STEPS];
    int64_t held;
} drawn;

static drawn draw(const rvx_recipe *recipe, const rvx_case *one, rvx_dtype dtype, bool idle,
                  int threads)
{
    const int64_t voxels = (int64_t)EDGE * EDGE * EDGE;
    drawn d = {.held = -1};
    rvx_loader *loader = NULL;
    rvx_loader_options options = {.recipe = recipe,
                                  .patch = {EDGE, EDGE, EDGE},
                                  .cases = one,
                                  .case_count = 1,
                                  .first_step = 3,
                                  .dtype = dtype,
                                  .threads = threads};
    options.idle_bytes =
        idle ? rvx__sample_temporary_floats(recipe, options.patch) * (int64_t)sizeof(float) : 0;
    options.idle = idle ? malloc((size_t)options.idle_bytes) : NULL;
    if (rvx__loader_create(&loader, &options, &error) != RVX_OK) {
        tap_ok(0, "%s", error.message);
        exit(1);
    }
    d.held = rvx__loader_bytes(loader);
    for (int s = 0; s < STEPS; s++) {
        d.image[s] = malloc((size_t)(voxels * CHANNELS * rvx__dtype_bytes(dtype)));
        d.labels[s] = malloc((size_t)voxels);
        rvx__loader_next(loader, d.image[s], d.labels[s]);
    }
    rvx__loader_free(loader);
    free(options.idle);
    return d;
}

static void release(drawn *d)
{
    for (int s = 0; s < STEPS; s++) {
        free(d->image[s]);
        free(d->labels[s]);
    }
}

static bool same(const drawn *a, const drawn *b, int64_t element)
{
    const size_t voxels = (size_t)EDGE * EDGE * EDGE;
    bool equal = true;
    for (int s = 0; s < STEPS; s++)
        equal = equal &&
                memcmp(a->image[s], b->image[s], voxels * CHANNELS * (size_t)element) == 0 &&
                memcmp(a->labels[s], b->labels[s], voxels) == 0;
    return equal;
}

/* Steps on a device: many workers, several samples a batch; more batches than the loader holds. */
static void test_workers(const rvx_case *one)
{
    enum { SMALL = 24, BATCH = 3, RUNS = 9, SAMPLE = SMALL * SMALL * SMALL };
    static float image[2][BATCH * SAMPLE];
    static uint8_t labels[2][BATCH * SAMPLE];
    rvx_recipe recipe;
    rvx__recipe_base(&recipe);
    recipe.network.in_channels = CHANNELS;
    recipe.patch.batch = BATCH;
    rvx__recipe_augment(&recipe, RVX_AUGMENTATION_ULTRASOUND);
    rvx_loader *loaders[2] = {NULL, NULL};
    bool made = true, equal = true;
    for (int k = 0; k < 2; k++) {
        rvx_loader_options options = {.recipe = &recipe,
                                      .patch = {SMALL, SMALL, SMALL},
                                      .cases = one,
                                      .case_count = 1,
                                      .threads = k ? 5 : 1,
                                      .elsewhere = k};
        made &= rvx__loader_create(&loaders[k], &options, &error) == RVX_OK;
    }
    for (int step = 0; step < RUNS && made; step++) {
        for (int k = 0; k < 2; k++)
            rvx__loader_next(loaders[k], image[k], labels[k]);
        equal &= memcmp(image[0], image[1], sizeof image[0]) == 0 &&
                 memcmp(labels[0], labels[1], sizeof labels[0]) == 0;
    }
    TAP_OK(made && equal);
    TAP_OK(rvx__loader_wait_seconds(loaders[0]) > 0);
    rvx__loader_free(loaders[0]);
    rvx__loader_free(loaders[1]);
}

int main(void)
{
    const int64_t voxels = (int64_t)EDGE * EDGE * EDGE;
    rvx_case one = {.shape = {1, EDGE, EDGE, EDGE, CHANNELS}};
    one.image = malloc((size_t)voxels * sizeof *one.image);
    one.labels = malloc((size_t)voxels);
    if (!rvx__case_rows(&one))
        return 1;
    for (int64_t i = 0; i < voxels; i++) {
        one.image[i] = sinf((float)(i % EDGE) * 0.3f) + (float)(i * 7919 % 1009) / 1009;
        one.labels[i] = (uint8_t)(i / EDGE % EDGE / 60);
    }
    const rvx_transform often = {.probability = 1, .channel_probability = 1, .range = {0.6, 0.9}};
    rvx_recipe recipe = {.network = {.in_channels = CHANNELS}, .patch = {.batch = 1}};
    recipe.augmentation.noise = recipe.augmentation.blur = recipe.augmentation.brightness =
        recipe.augmentation.contrast = recipe.augmentation.low_resolution =
            recipe.augmentation.gamma_inverted = recipe.augmentation.gamma = often;
    recipe.augmentation.mirror_probability = 0.5;
    recipe.augmentation.mirror_axes[0] = recipe.augmentation.mirror_axes[2] = true;
    recipe.augmentation.scaling = often;
    recipe.augmentation.scaling.probability = 0.5;

    drawn ahead = draw(&recipe, &one, RVX_F32, false, 1);
    drawn ahead_bf16 = draw(&recipe, &one, RVX_BF16, false, 1);
    recipe.patch.whole = true;
    drawn own = draw(&recipe, &one, RVX_F32, false, 1);
    drawn lent = draw(&recipe, &one, RVX_F32, true, 3);
    drawn lent_bf16 = draw(&recipe, &one, RVX_BF16, true, 3);
    TAP_OK(same(&ahead, &own, 4));
    TAP_OK(same(&ahead, &lent, 4));
    TAP_OK(same(&ahead_bf16, &lent_bf16, 2));
    bool rounded = true;
    for (int64_t i = 0; i < voxels; i++)
        rounded &=
            ((uint16_t *)ahead_bf16.image[0])[i] == rvx__bf16_of(((float *)ahead.image[0])[i]);
    TAP_OK(rounded);
    TAP_OK(memcmp(ahead.image[0], ahead.image[1], (size_t)voxels * 4) != 0);
    TAP_OK(ahead.held == 2 * voxels * 5 + 8 * voxels);
    TAP_OK(own.held == 8 * voxels);
    TAP_OK(lent.held == 0 && lent_bf16.held == 0);
    drawn *const all[] = {&ahead, &ahead_bf16, &own, &lent, &lent_bf16};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
    test_workers(&one);
    rvx__case_free(&one);
    return tap_done();
}
