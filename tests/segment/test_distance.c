/* Exact distance transform against the plainest search, over odd boxes, spacings and densities. */
#include "engine/segment/distance.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <string.h>

static double brute_squared(const uint8_t *site, const int64_t size[3], const double spacing[3],
                            int64_t x, int64_t y, int64_t z)
{
    double best = INFINITY;
    for (int64_t k = 0; k < size[2]; k++)
        for (int64_t j = 0; j < size[1]; j++)
            for (int64_t i = 0; i < size[0]; i++)
                if (site[(k * size[1] + j) * size[0] + i]) {
                    double dx = spacing[0] * (double)(i - x), dy = spacing[1] * (double)(j - y),
                           dz = spacing[2] * (double)(k - z);
                    best = fmin(best, dx * dx + dy * dy + dz * dz);
                }
    return best;
}

/* Largest relative difference to the search, or infinity where one is empty and the other is not.
 */
static double worst_difference(const int64_t size[3], const double spacing[3], float share,
                               uint64_t seed, int *same_for_threads)
{
    int64_t voxels = size[0] * size[1] * size[2];
    uint8_t *site = malloc((size_t)voxels);
    float *field = malloc((size_t)voxels * 4), *again = malloc((size_t)voxels * 4);
    rvx_random random = {.seed = seed};
    for (int64_t i = 0; i < voxels; i++) {
        site[i] = rvx__random_uniform(&random) < share;
        field[i] = again[i] = site[i] ? 0.0f : INFINITY;
    }
    double worst = 0.0;
    if (rvx__distance_squared(field, size, spacing, 1, NULL) != RVX_OK ||
        rvx__distance_squared(again, size, spacing, 5, NULL) != RVX_OK)
        worst = INFINITY;
    *same_for_threads = memcmp(field, again, (size_t)voxels * 4) == 0;
    for (int64_t i = 0; i < voxels; i++) {
        double truth = brute_squared(site, size, spacing, i % size[0], i / size[0] % size[1],
                                     i / (size[0] * size[1]));
        if (isinf(truth) || isinf(field[i]) || truth == 0.0)
            worst = (double)field[i] == truth ? worst : INFINITY;
        else
            worst = fmax(worst, fabs((double)field[i] - truth) / truth);
    }
    free(site);
    free(field);
    free(again);
    return worst;
}

int main(void)
{
    static const struct {
        int64_t size[3];
        double spacing[3];
        float share;
    } cases[] = {
        {{17, 31, 9}, {1, 1, 1}, 0.01f},     {{17, 31, 9}, {0.7, 1.3, 5.0}, 0.002f},
        {{33, 5, 12}, {3.0, 0.25, 1}, 0.3f}, {{1, 1, 1}, {1, 2, 3}, 1.0f},
        {{1, 40, 1}, {1, 0.1, 1}, 0.05f},    {{19, 1, 23}, {0.5, 9, 0.5}, 0.02f},
        {{16, 16, 16}, {1, 1, 1}, 0.0f},     {{8, 9, 10}, {1e-3, 1e3, 1}, 0.05f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int same = 0;
        double worst =
            worst_difference(cases[i].size, cases[i].spacing, cases[i].share, 7 + i, &same);
        /* three float32 stores, half a unit in the last place each */
        tap_ok(worst <= 3.0 * 0x1p-24, "case %zu: relative difference %.3g", i, worst);
        tap_ok(same, "case %zu: one and five threads give the same bits", i);
    }
    float one = 0.0f;
    rvx_error error = {0};
    int64_t size[3] = {1, 1, 1};
    double zero[3] = {1, 0, 1}, nan_spacing[3] = {1, NAN, 1};
    TAP_OK(rvx__distance_squared(&one, size, zero, 1, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(strstr(error.message, "axis 1") != NULL);
    TAP_OK(rvx__distance_squared(&one, size, nan_spacing, 1, &error) == RVX_ERROR_ARGUMENT);
    return tap_done();
}
