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

/* What the second walk says of every voxel, and which components it said so of. */
typedef struct painting {
    int64_t *out; /* of the slice at hand: component from 1 */
    int64_t runs;
} painting;

static void paint(void *context, int64_t component, int64_t offset, int64_t count)
{
    painting *p = context;
    p->runs++;
    for (int64_t i = 0; i < count; i++)
        p->out[offset + i] = component + 1;
}

/* Counts, boxes, numbers of the voxels, and what touches each component, against the flood. */
static bool same_as_flood(const uint8_t *labels, const int64_t size[3], int connectivity)
{
    int64_t voxels = size[0] * size[1] * size[2], plane = size[0] * size[1], count = 0;
    int64_t *truth = calloc((size_t)voxels, sizeof *truth);
    int64_t *painted = calloc((size_t)voxels, sizeof *painted);
    const rvx_component *list = NULL;
    const rvx_components_params params = {.connectivity = connectivity, .around = true};
    rvx_components *c;
    int64_t expected = flood(truth, labels, size, connectivity);
    bool same = rvx__components_create(&c, size, &params, NULL) == RVX_OK;
    for (int64_t z = 0; z < size[2] && same; z++)
        same = rvx__components_slice(c, labels + z * plane, NULL) == RVX_OK;
    same = same && rvx__components_finish(&list, &count, c, NULL) == RVX_OK && count == expected;
    for (int64_t z = 0; z < size[2] && same; z++) {
        painting p = {.out = painted + z * plane};
        same = rvx__components_again(c, labels + z * plane, paint, &p, NULL) == RVX_OK;
    }
    same = same && memcmp(truth, painted, (size_t)voxels * sizeof *truth) == 0;
    for (int64_t k = 0; k < count && same; k++) {
        rvx_component own = {.first = -1, .low = {1 << 20, 1 << 20, 1 << 20}};
        int around = RVX_AROUND_NOTHING;
        for (int64_t i = 0; i < voxels; i++) {
            int64_t at[3] = {i % size[0], i / size[0] % size[1], i / plane};
            const int64_t step[3] = {1, size[0], plane};
            if (truth[i] != k + 1)
                continue;
            own.first = own.first < 0 ? i : own.first;
            own.voxels++;
            for (int a = 0; a < 3; a++) {
                own.low[a] = at[a] < own.low[a] ? at[a] : own.low[a];
                own.high[a] = at[a] > own.high[a] ? at[a] : own.high[a];
                for (int side = -1; side <= 1; side += 2) {
                    if (at[a] + side < 0 || at[a] + side >= size[a])
                        continue;
                    int label = labels[i + side * step[a]];
                    if (label != labels[i] && label != around)
                        around = around == RVX_AROUND_NOTHING ? label : RVX_AROUND_SEVERAL;
                }
            }
        }
        const rvx_component *f = &list[k];
        same = f->voxels == own.voxels && f->first == own.first && f->around == around &&
               f->label == labels[own.first] && memcmp(f->low, own.low, sizeof own.low) == 0 &&
               memcmp(f->high, own.high, sizeof own.high) == 0;
    }
    rvx__components_free(c);
    free(truth);
    free(painted);
    return same;
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

/* Labels can be taken together, or left out. */
static void test_objects(void)
{
    const int64_t size[2] = {7, 1};
    const uint8_t labels[7] = {1, 2, 0, 2, 3, 3, 1}, object[256] = {[1] = 1, [2] = 1, [0] = 2};
    const rvx_components_params params = {.connectivity = 6, .object = object, .around = true};
    const rvx_component *list;
    rvx_components *c;
    int64_t count;
    TAP_OK(rvx__components_create(&c, size, &params, NULL) == RVX_OK);
    TAP_OK(rvx__components_slice(c, labels, NULL) == RVX_OK);
    TAP_OK(rvx__components_finish(&list, &count, c, NULL) == RVX_OK && count == 4);
    TAP_OK(list[0].voxels == 2 && list[1].label == 0 && list[2].voxels == 1 && list[3].first == 6);
    TAP_OK(list[1].around == 2 && list[2].around == RVX_AROUND_SEVERAL && list[3].around == 3);
    rvx__components_free(c);
}

static void test_refusals(void)
{
    rvx_error error = {0};
    rvx_components *c;
    const rvx_components_params eighteen = {.connectivity = 18}, six = {.connectivity = 6};
    TAP_OK(rvx__components_create(&c, (int64_t[]){4, 4}, &eighteen, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(strstr(error.message, "connectivity 18") != NULL && !c);
    TAP_OK(rvx__components_create(&c, (int64_t[]){0, 4}, &six, &error) == RVX_ERROR_ARGUMENT);
    rvx__components_free(NULL);
}

int main(void)
{
    test_random();
    test_objects();
    test_refusals();
    return tap_done();
}
