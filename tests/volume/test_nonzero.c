/* The mask of a case's nonzero voxels: nnU-Net's own crop, mask and z-score of small volumes
 * (goldens/mask.json), and random volumes beside a flood from their edges. */
#include "engine/base/json.h"
#include "engine/volume/case_reader.h"
#include "engine/volume/nonzero.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS_MOST = 2, SLAB_MOST = 3 };
static rvx_error error;

/* ---- nnU-Net ----------------------------------------------------------------------------------
 */

static int64_t integer(const json_t *array, size_t i)
{
    return (int64_t)json_number_value(json_array_get(array, i));
}

/* Float32 keeps 24 bits; a z-score is a difference of voxels up to 199 over a deviation near 60, in
 * which the mean and the deviation are rounded too; goldens have six digits. */
static bool near(double ours, double theirs)
{
    return fabs(ours - theirs) <= 1e-5 * (1 + fabs(theirs));
}

static void test_golden(const json_t *one)
{
    const json_t *size = json_object_get(one, "size"), *box = json_object_get(one, "box");
    const json_t *voxels = json_object_get(one, "voxels");
    const json_t *normalised = json_object_get(one, "normalised");
    const char *mask = json_string_value(json_object_get(one, "mask"));
    const char *name = json_string_value(json_object_get(one, "name"));
    const int channel_count = (int)integer(size, 0);
    const rvx_geometry grid = {.size = {integer(size, 3), integer(size, 2), integer(size, 1)},
                               .spacing = {1, 1, 1},
                               .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    const int64_t count = rvx__geometry_voxels(&grid);
    const rvx_channel_recipe zscore = {.normalization = RVX_NORMALIZATION_ZSCORE,
                                       .nonzero_only = true};
    const rvx_channel_recipe recipes[CHANNELS_MOST] = {zscore, zscore};
    const rvx_case_recipe recipe = {
        .channel_count = channel_count, .channels = recipes, .crop_to_nonzero = true};
    float *all = malloc((size_t)(count * channel_count) * sizeof *all);
    for (int64_t i = 0; i < count * channel_count; i++)
        all[i] = (float)integer(voxels, (size_t)i);
    const float *const channels[CHANNELS_MOST] = {all, all + count * (channel_count - 1)};
    rvx_case_reader *reader = NULL;
    if (rvx__case_reader_open_memory(&reader, name, &grid, channels, &recipe, &error) != RVX_OK) {
        tap_ok(0, "%s: %s", name, error.message);
        free(all);
        return;
    }
    const rvx_grid_map *map = rvx__case_reader_map(reader);
    const rvx_shape s = rvx__case_reader_shape(reader);
    bool same = true;
    for (size_t axis = 0; axis < 3; axis++) {
        const json_t *ends = json_array_get(box, 2 - axis);
        same = same && map->box_first[axis] == integer(ends, 0) &&
               map->box_size[axis] == integer(ends, 1) - integer(ends, 0);
    }
    tap_ok(same && (int64_t)strlen(mask) == rvx__shape_voxels(s), "%s: nnU-Net's box", name);
    float *ours = malloc((size_t)rvx__shape_count(s) * sizeof *ours);
    same = rvx__case_reader_image(reader, ours, 0, s.d, &error) == RVX_OK;
    int64_t inside = 0, outside = 0;
    double black[CHANNELS_MOST] = {0};
    for (int64_t i = 0; same && i < rvx__shape_voxels(s); i++) {
        inside += mask[i] == '1';
        outside += mask[i] == '0';
        for (int64_t c = 0; c < s.c && same; c++) {
            const json_t *channel = json_array_get(normalised, (size_t)c);
            const double theirs = json_number_value(json_array_get(channel, (size_t)i));
            const double value = ours[i * s.c + c];
            if (mask[i] == '1')
                same = near(value, theirs);
            else if (black[c] < 0)
                same = value == black[c]; /* theirs is 0; ours is what black becomes */
            else
                same = (black[c] = value) < 0 && theirs == 0;
        }
    }
    tap_ok(same, "%s: nnU-Net's z-score in the %lld voxels of its mask, black in %lld", name,
           (long long)inside, (long long)outside);
    rvx__case_reader_close(reader);
    free(ours);
    free(all);
}

/* ---- A flood ----------------------------------------------------------------------------------
 */

/* Zeros that a walk over faces reaches from the edge of the volume. */
static int64_t flood_count(const float *voxels, const int64_t size[3])
{
    const int64_t count = size[0] * size[1] * size[2];
    const int64_t step[3] = {1, size[0], size[0] * size[1]};
    int64_t *queue = malloc((size_t)count * sizeof *queue), head = 0, tail = 0;
    bool *seen = calloc((size_t)count, 1);
    for (int64_t i = 0; i < count; i++) {
        bool edge = false;
        for (int a = 0; a < 3; a++)
            edge |= i / step[a] % size[a] == 0 || i / step[a] % size[a] == size[a] - 1;
        if (edge && voxels[i] == 0) {
            seen[i] = true;
            queue[tail++] = i;
        }
    }
    while (head < tail) {
        const int64_t i = queue[head++];
        for (int a = 0; a < 3; a++)
            for (int64_t side = -1; side <= 1; side += 2) {
                const int64_t at = i / step[a] % size[a] + side, j = i + side * step[a];
                if (at < 0 || at >= size[a] || seen[j] || voxels[j] != 0)
                    continue;
                seen[j] = true;
                queue[tail++] = j;
            }
    }
    free(seen);
    free(queue);
    return tail;
}

/* As the stream counts, in slabs of `slab` slices. */
static int64_t stream_count(const float *voxels, const int64_t size[3], int64_t slab)
{
    rvx_nonzero *n;
    int64_t found = -1;
    if (rvx__nonzero_create(&n, size, slab, true, &error) != RVX_OK)
        return found;
    rvx_status status = RVX_OK;
    for (int64_t z = 0; z < size[2] && status == RVX_OK; z += slab) {
        const int64_t slices = size[2] - z < slab ? size[2] - z : slab;
        rvx__nonzero_channel(n, voxels + z * size[0] * size[1], slices);
        status = rvx__nonzero_next(n, slices, &error);
    }
    if (status == RVX_OK)
        found = rvx__nonzero_outside(n);
    rvx__nonzero_free(n);
    return found;
}

/* Percolation over faces begins near a share of 0.31 of zeros: below, many small holes; about it,
 * long winding ones; above, nearly all zeros are outside. */
static void test_random(void)
{
    int wrong = 0, holes = 0, rounds = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        rvx_random random = {.seed = 77, .stream = seed};
        int64_t size[3];
        for (int a = 0; a < 3; a++)
            size[a] = 1 + rvx__random_below(&random, a == 2 ? 24 : 18);
        const int64_t count = size[0] * size[1] * size[2];
        const int64_t share = 15 + rvx__random_below(&random, 40);
        float *voxels = malloc((size_t)count * sizeof *voxels);
        int64_t zeros = 0;
        for (int64_t i = 0; i < count; i++) {
            voxels[i] = rvx__random_below(&random, 100) >= share;
            zeros += voxels[i] == 0;
        }
        const int64_t expected = flood_count(voxels, size);
        for (int64_t slab = 1; slab <= SLAB_MOST; slab += 2, rounds++)
            wrong += stream_count(voxels, size, slab) != expected;
        holes += expected < zeros;
        free(voxels);
    }
    tap_ok(wrong == 0 && holes > 100, "%d of %d streams differ from a flood; %d volumes have holes",
           wrong, rounds, holes);
}

/* A comb whose teeth meet in the last slice alone, and a spiral: sets that join late. */
static void test_late(void)
{
    const int64_t size[3] = {41, 9, 12};
    static float voxels[12 * 9 * 41];
    for (int64_t i = 0; i < 12 * 9 * 41; i++) {
        const int64_t x = i % 41, y = i / 41 % 9, z = i / 41 / 9;
        const bool tooth = x % 2 == 1 && x < 40 && y == 4 && z >= 2 && z <= 9;
        const bool back = y == 4 && z == 10 && x >= 1 && x <= 39;
        voxels[i] = !(tooth || back);
    }
    tap_ok(stream_count(voxels, size, 1) == 0, "a comb within is a hole");
    voxels[(2 * 9 + 4) * 41 + 40] = voxels[(2 * 9 + 4) * 41 + 39] = 0;
    tap_ok(stream_count(voxels, size, 2) == flood_count(voxels, size) &&
               flood_count(voxels, size) == 20 * 8 + 39 + 1,
           "with one tooth open all of it is outside");
}

/* Of noise, in which half of all voxels begin a run, memory is that of a slice. */
static void test_bounded(void)
{
    const int64_t size[3] = {31, 17, 400};
    const int64_t count = size[0] * size[1] * size[2];
    float *voxels = malloc((size_t)count * sizeof *voxels);
    for (int64_t i = 0; i < count; i++)
        voxels[i] = (float)((i % 31 + i / 31 % 17 + i / 31 / 17) % 2);
    tap_ok(stream_count(voxels, size, 3) == flood_count(voxels, size),
           "a chessboard of single zeros");
    const int64_t longer[3] = {31, 17, 400000};
    tap_ok(rvx__nonzero_bytes(size, 3, true) == rvx__nonzero_bytes(longer, 3, true) &&
               rvx__nonzero_bytes(size, 3, true) < 60 * 31 * 17,
           "memory does not grow with the slices");
    free(voxels);
}

int main(void)
{
    json_t *goldens = NULL;
    size_t i;
    json_t *one;
    if (TAP_OK(rvx__json_load(&goldens, "tests/volume/goldens/mask.json", 1 << 22, &error) ==
               RVX_OK)) {
        const json_t *volumes = json_object_get(goldens, "volumes");
        TAP_OK(json_array_size(volumes) >= 10);
        json_array_foreach(volumes, i, one) test_golden(one);
        json_decref(goldens);
    }
    test_random();
    test_late();
    test_bounded();
    return tap_done();
}
