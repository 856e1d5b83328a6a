/* Connected components against a flood fill, over random maps of several labels. */
#include "engine/segment/components.h"
#include "kernels/random.h"
#include "tap.h"

#include <stdbool.h>
#include <string.h>

/* The plainest way: out[voxel] = number of its component from 1, in order of first voxels. */
static int64_t flood(int64_t *out, const uint8_t *labels, const int64_t size[3], int connectivity)
{
    int64_t voxels = size[0] * size[1] * size[2], count = 0;
    int64_t *stack = malloc((size_t)voxels * sizeof *stack);
    memset(out, 0, (size_t)voxels * sizeof *out);
    for (int64_t seed = 0; seed < voxels; seed++) {
        int64_t top = 0;
        if (!labels[seed] || out[seed])
            continue;
        out[seed] = ++count;
        stack[top++] = seed;
        while (top > 0) {
            int64_t at = stack[--top], x = at % size[0], y = at / size[0] % size[1],
                    z = at / (size[0] * size[1]);
            for (int n = 0; n < 27; n++) {
                int64_t dx = n % 3 - 1, dy = n / 3 % 3 - 1, dz = n / 9 - 1;
                int64_t i = x + dx, j = y + dy, k = z + dz,
                        steps = (dx != 0) + (dy != 0) + (dz != 0);
                if (steps == 0 || (connectivity == 6 && steps > 1) || i < 0 || j < 0 || k < 0 ||
                    i >= size[0] || j >= size[1] || k >= size[2])
                    continue;
                int64_t next = (k * size[1] + j) * size[0] + i;
                if (labels[next] == labels[seed] && !out[next]) {
                    out[next] = count;
                    stack[top++] = next;
                }
            }
        }
    }
    free(stack);
    return count;
}

static bool same_as_flood(const uint8_t *labels, const int64_t size[3], int connectivity)
{
    int64_t voxels = size[0] * size[1] * size[2], covered = 0;
    int64_t *truth = malloc((size_t)voxels * sizeof *truth);
    rvx_components c;
    int64_t count = flood(truth, labels, size, connectivity);
    bool same =
        rvx__components_find(&c, labels, size, connectivity, NULL) == RVX_OK && c.count == count;
    for (int64_t r = 0; r < c.run_count && same; r++)
        for (int64_t i = 0; i < c.runs[r].count; i++, covered++)
            same = same && truth[c.runs[r].first + i] == c.runs[r].component + 1;
    for (int64_t i = 0; i < voxels && same; i++) {
        covered -= truth[i] != 0;
        if (!truth[i])
            continue;
        rvx_component *component = &c.components[truth[i] - 1];
        int64_t at[3] = {i % size[0], i / size[0] % size[1], i / (size[0] * size[1])};
        component->voxels--;
        same = component->label == labels[i] && component->first <= i;
        for (int axis = 0; axis < 3; axis++)
            same = same && at[axis] >= component->low[axis] && at[axis] <= component->high[axis];
    }
    for (int64_t k = 0; k < c.count && same; k++)
        same = c.components[k].voxels == 0;
    rvx__components_free(&c);
    free(truth);
    return same && covered == 0;
}

static void test_random(void)
{
    static const int64_t sizes[][3] = {{17, 31, 9}, {1, 1, 1},  {2, 2, 2},
                                       {40, 1, 7},  {1, 13, 5}, {6, 6, 6}};
    rvx_random random = {.seed = 5};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int connectivity = 6; connectivity <= 26; connectivity += 20) {
            int good = 0;
            enum { TRIALS = 40 };
            for (int trial = 0; trial < TRIALS; trial++) {
                uint8_t labels[17 * 31 * 9];
                int64_t voxels = sizes[s][0] * sizes[s][1] * sizes[s][2];
                float fill = rvx__random_range(&random, 0.1f, 1.0f);
                int64_t kinds = 1 + rvx__random_below(&random, 3);
                for (int64_t i = 0; i < voxels; i++)
                    labels[i] = rvx__random_uniform(&random) < fill
                                    ? (uint8_t)(1 + rvx__random_below(&random, kinds))
                                    : 0;
                good += same_as_flood(labels, sizes[s], connectivity);
            }
            tap_ok(good == TRIALS, "size %zu, connectivity %d: %d of %d maps as flooded", s,
                   connectivity, good, TRIALS);
        }
    }
}

static void test_keep_largest(void)
{
    const int64_t size[3] = {9, 1, 2};
    const uint8_t before[18] = {1, 1, 0, 1, 2, 0, 2, 0, 3, /**/ 0, 1, 0, 1, 0, 0, 2, 2, 0};
    const uint8_t six[18] = {1, 1, 0, 0, 0, 0, 2, 0, 3, /**/ 0, 1, 0, 0, 0, 0, 2, 2, 0};
    const uint8_t some[18] = {1, 1, 0, 1, 0, 0, 2, 0, 3, /**/ 0, 1, 0, 1, 0, 0, 2, 2, 0};
    uint8_t labels[18], keep[256] = {[1] = 1};
    int64_t removed = 0;
    memcpy(labels, before, sizeof labels);
    TAP_OK(rvx__components_keep_largest(labels, size, 6, NULL, &removed, NULL) == RVX_OK);
    TAP_OK(memcmp(labels, six, sizeof six) == 0 && removed == 3);
    memcpy(labels, before, sizeof labels);
    TAP_OK(rvx__components_keep_largest(labels, size, 6, keep, &removed, NULL) == RVX_OK);
    TAP_OK(memcmp(labels, some, sizeof some) == 0 && removed == 1);
    uint8_t ties[5] = {1, 0, 1, 0, 1};
    TAP_OK(rvx__components_keep_largest(ties, (int64_t[]){5, 1, 1}, 26, NULL, NULL, NULL) ==
           RVX_OK);
    TAP_OK(ties[0] == 1 && ties[2] == 0 && ties[4] == 0);
    rvx_error error = {0};
    TAP_OK(rvx__components_keep_largest(labels, size, 18, NULL, NULL, &error) ==
           RVX_ERROR_ARGUMENT);
    TAP_OK(strstr(error.message, "connectivity 18") != NULL);
}

int main(void)
{
    test_random();
    test_keep_largest();
    return tap_done();
}
