/* Percentiles of a stream equal those of the sorted voxels, bit for bit, however they are cut. */
#include "engine/volume/percentile.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 20000 };

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* numpy.percentile's default. */
static double sorted_percentile(const float *sorted, int64_t count, double percent)
{
    const double at = (double)(count - 1) * (percent / 100);
    const int64_t below = (int64_t)floor(at), above = below + (below + 1 < count);
    return sorted[below] + (at - (double)below) * ((double)sorted[above] - sorted[below]);
}

static void compare(const float *voxels, int64_t count, const double percent[2], const char *name)
{
    static float sorted[MOST];
    double values[2];
    rvx_percentiles *p = rvx__percentiles_create();
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t at = 0, part = 1; at < count; at += part, part = part * 3 % 1000 + 1) {
            const int64_t left = count - at;
            rvx__percentiles_add(p, voxels + at, left < part ? left : part);
            if (left < part)
                break;
        }
        if (pass == 0)
            rvx__percentiles_again(p, percent);
    }
    rvx__percentiles_get(p, values);
    rvx__percentiles_free(p);
    for (int64_t i = 0; i < count; i++)
        sorted[i] = voxels[i] + 0.0f; /* -0 is 0 */
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    const double low = sorted_percentile(sorted, count, percent[0]),
                 high = sorted_percentile(sorted, count, percent[1]);
    tap_ok(values[0] == low && values[1] == high,
           "%s, %lld voxels: %g and %g %% are %g and %g (%g and %g)", name, (long long)count,
           percent[0], percent[1], low, high, values[0], values[1]);
}

int main(void)
{
    static float voxels[MOST];
    const double percents[][2] = {{0, 100}, {0.5, 99.5}, {1, 99}, {25, 75}, {50, 50.01}, {0, 0.01}};
    const int64_t counts[] = {1, 2, 3, 17, 999, MOST};
    for (int kind = 0; kind < 4; kind++) {
        static const char *const names[] = {"both signs", "whole numbers", "far apart",
                                            "mostly black"};
        for (int64_t i = 0; i < MOST; i++) {
            rvx_random_block b = rvx__philox(5, (uint64_t)kind, (uint64_t)i);
            const float u = (float)(b.word[0] >> 8) * 0x1p-24f, s = b.word[1] & 1 ? 1.0f : -1.0f;
            voxels[i] = kind == 0   ? s * u
                        : kind == 1 ? floorf(s * u * 40)
                        : kind == 2 ? s * ldexpf(u, (int)(b.word[2] % 270) - 145)
                        : u < 0.8f  ? s * 0.0f
                                    : u;
        }
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (size_t k = 0; k < sizeof percents / sizeof *percents; k++)
                compare(voxels, counts[c], percents[k], names[kind]);
    }
    return tap_done();
}
