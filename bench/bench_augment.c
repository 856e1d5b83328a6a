/* Milliseconds a patch of each augmentation, alone and as training draws them: JSON for
 * bench/peers/augment.py, which measures scipy beside it.
 *
 * usage: bench_augment [EDGE [REPEATS]]: cubes of EDGE voxels (64), medians of REPEATS (15), one
 * thread, its processor time: others may compute beside it. */
#include "engine/run/augmentation.h"
#include "engine/run/sampler.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct measured {
    const char *name;
    size_t offset; /* of the rvx_transform; 0: see prepare */
} measured;

#define AT(member) offsetof(rvx_recipe, augmentation.member)
static const measured list[] = {{"copy", 0},
                                {"rotation", 0},
                                {"scaling", AT(scaling)},
                                {"noise", AT(noise)},
                                {"blur", AT(blur)},
                                {"brightness", AT(brightness)},
                                {"contrast", AT(contrast)},
                                {"low resolution", AT(low_resolution)},
                                {"gamma inverted", AT(gamma_inverted)},
                                {"gamma", AT(gamma)},
                                {"mirror", 0},
                                {"pose", AT(ultrasound.pose)},
                                {"sound", AT(ultrasound.sound)},
                                {"speckle", AT(ultrasound.speckle)},
                                {"reverberation", AT(ultrasound.reverberation)},
                                {"shadow", AT(ultrasound.shadow)},
                                {"attenuation", AT(ultrasound.attenuation)},
                                {"time gain", AT(ultrasound.time_gain)},
                                {"gain", AT(ultrasound.gain)},
                                {"sector", AT(ultrasound.sector)},
                                {"nnunet, as drawn", 0},
                                {"ultrasound, as drawn", 0}};

static double now_milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static rvx_recipe prepare(const measured *m)
{
    rvx_recipe recipe;
    rvx__recipe_base(&recipe);
    recipe.network.in_channels = 1;
    bool nnunet = m->name[0] == 'n' && m->name[1] == 'n', ultrasound = m->name[0] == 'u';
    rvx__recipe_augment(&recipe, ultrasound ? RVX_AUGMENTATION_ULTRASOUND
                                 : nnunet   ? RVX_AUGMENTATION_NNUNET
                                            : RVX_AUGMENTATION_NONE);
    if (m->offset) {
        rvx_transform *t = (rvx_transform *)(void *)((char *)&recipe + m->offset);
        t->probability = t->channel_probability = 1;
    }
    if (strcmp(m->name, "rotation") == 0)
        recipe.augmentation.rotation_probability = 1;
    if (strcmp(m->name, "mirror") == 0)
        recipe.augmentation.mirror_probability = 1;
    return recipe;
}

int main(int count, char **arguments)
{
    int64_t edge = count > 1 ? atoll(arguments[1]) : 64, size = edge + edge / 2;
    int repeats = count > 2 ? atoi(arguments[2]) : 15;
    int64_t voxels = size * size * size, patch_voxels = edge * edge * edge;
    rvx_case one = {.shape = {1, size, size, size, 1},
                    .image = malloc((size_t)voxels * sizeof(float)),
                    .labels = malloc((size_t)voxels)};
    float *image = malloc((size_t)patch_voxels * sizeof *image);
    uint8_t *labels = malloc((size_t)patch_voxels);
    rvx_sampler sampler = {
        .patch = {edge, edge, edge}, .cases = &one, .case_count = 1, .threads = 1};
    sampler.temporary = malloc((size_t)patch_voxels * 8 * sizeof(float));
    double *milliseconds = malloc((size_t)(repeats + 1) * sizeof *milliseconds);
    if (!one.image || !one.labels || !image || !labels || !sampler.temporary || !milliseconds ||
        repeats < 1 || edge < 4)
        return 1;
    for (int64_t i = 0; i < voxels; i++) {
        int64_t x = i % size, y = i / size % size, z = i / size / size;
        one.image[i] =
            sinf(0.2f * (float)(x + z)) * cosf(0.15f * (float)y) + (float)(i * 7919 % 1009) / 1009;
        one.labels[i] = (uint8_t)((x / 20 + y / 20 + z / 20) % 4);
    }
    printf("{\"edge\": %lld", (long long)edge);
    for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
        rvx_recipe recipe = prepare(&list[m]);
        bool drawn = strstr(list[m].name, "drawn") != NULL;
        int runs = drawn ? 6 : 1; /* what chance makes dear and cheap, averaged */
        sampler.recipe = &recipe;
        for (int r = -1; r < repeats; r++) {
            double start = now_milliseconds();
            for (int k = 0; k < runs; k++)
                rvx__sample_draw(&sampler, image, labels, (r + 1) * runs + k, 0);
            milliseconds[r < 0 ? 0 : r] = (now_milliseconds() - start) / runs;
        }
        double sum = 0;
        for (int r = 0; r < repeats; r++)
            sum += milliseconds[r] / repeats;
        qsort(milliseconds, (size_t)repeats, sizeof *milliseconds, compare);
        printf(", \"%s\": %.3f", list[m].name, drawn ? sum : milliseconds[repeats / 2]);
    }
    printf("}\n");
    free(milliseconds);
    free(sampler.temporary);
    free(labels);
    free(image);
    free(one.labels);
    free(one.image);
    return 0;
}
