/* Normalisation, resampling, cases and fingerprints: hand-computed answers, and the same bits for
 * any thread count. Called with arguments it is the tool behind test_preprocess_numpy.py:
  NONZERO: 1 statistics of nonzero voxels, 2 crop, 3 both.
 *   test_preprocess case NORMALIZATION NONZERO SX,SY,SZ LABELS|- OUT IMAGE...   OUT.image,
 * OUT.labels test_preprocess fingerprint DATASET                                         JSON */
#include "engine/base/file.h"
#include "engine/volume/case_reader.h"
#include "engine/volume/fingerprint.h"
#include "engine/volume/preprocess.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static char folder[] = "/tmp/rvx_preprocess_XXXXXX";

static const char *at(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 512, "%s/%s", folder, name);
    return path;
}

static void test_names(void)
{
    rvx_normalization n;
    int wrong = 0;
    for (int i = 0; i < RVX_NORMALIZATION_COUNT; i++) {
        bool found = rvx__normalization_find(&n, rvx__normalization_name((rvx_normalization)i));
        wrong += !found || (int)n != i;
    }
    TAP_OK(wrong == 0 && !rvx__normalization_find(&n, "ZScore"));
    TAP_OK(rvx__normalization_of_channel("CT") == RVX_NORMALIZATION_CT &&
           rvx__normalization_of_channel("ct") == RVX_NORMALIZATION_CT &&
           rvx__normalization_of_channel("noNorm") == RVX_NORMALIZATION_NONE &&
           rvx__normalization_of_channel("rescale_to_0_1") == RVX_NORMALIZATION_RESCALE &&
           rvx__normalization_of_channel("US") == RVX_NORMALIZATION_ZSCORE);
}

/* Of one channel of voxels in memory, `pitch` floats apart. */
static rvx_intensity_map map_find(const rvx_channel_recipe *recipe, const float *voxels,
                                  int64_t count, int64_t pitch)
{
    rvx_statistics s;
    rvx__statistics_start(&s);
    rvx__statistics_add(&s, voxels, count, pitch);
    rvx__statistics_end(&s);
    const int64_t zeros = recipe->nonzero_only ? 0 : count - s.nonzero.count;
    return rvx__intensity_map_make(recipe, &s.nonzero, zeros);
}

static void test_maps(void)
{
    /* Two channels, four voxels; channel 0: 0 2 4 10, mean 4, deviation sqrt(56 / 4). */
    float v[8] = {0, 7, 2, 7, 4, 7, 10, 7};
    rvx_channel_recipe r = {.normalization = RVX_NORMALIZATION_ZSCORE};
    rvx_intensity_map map = map_find(&r, v, 4, 2);
    TAP_OK(map.shift == 4 && fabsf(map.scale - 1 / sqrtf(14)) < 1e-7f);
    r.nonzero_only = true; /* 2 4 10: mean 16 / 3, variance 104 / 9 */
    map = map_find(&r, v, 4, 2);
    TAP_OK(fabsf(map.shift - 16.0f / 3) < 1e-6f && fabsf(map.scale - 3 / sqrtf(104)) < 1e-7f);
    map = map_find(&r, v + 1, 4, 2);
    rvx__intensity_map_apply(v + 1, 4, 2, &map);
    tap_ok(v[1] == 0 && v[7] == 0 && v[2] == 2, "a constant channel becomes 0, the other stays");
    float zeros[4] = {0};
    map = map_find(&r, zeros, 4, 1);
    rvx__intensity_map_apply(zeros, 4, 1, &map);
    tap_ok(zeros[0] == 0 && isfinite(map.scale), "nothing but zeros stays zero");
    float w[4] = {-3, 1, 2, 5};
    r = (rvx_channel_recipe){.normalization = RVX_NORMALIZATION_RESCALE};
    map = map_find(&r, w, 4, 1);
    rvx__intensity_map_apply(w, 4, 1, &map);
    TAP_OK(w[0] == 0 && w[1] == 0.5f && w[2] == 0.625f && w[3] == 1);
    float ct[4] = {-2000, 40, 100, 3000};
    r = (rvx_channel_recipe){
        .normalization = RVX_NORMALIZATION_CT, .mean = 50, .std = 25, .low = -100, .high = 300};
    map = map_find(&r, ct, 4, 1);
    rvx__intensity_map_apply(ct, 4, 1, &map);
    TAP_OK(fabsf(ct[0] + 6) < 1e-6f && fabsf(ct[1] + 0.4f) < 1e-6f && fabsf(ct[2] - 2) < 1e-6f &&
           fabsf(ct[3] - 10) < 1e-6f);
    float same[2] = {3.25f, -1e30f};
    r = (rvx_channel_recipe){.normalization = RVX_NORMALIZATION_NONE};
    map = map_find(&r, same, 2, 1);
    rvx__intensity_map_apply(same, 2, 1, &map);
    TAP_OK(same[0] == 3.25f && same[1] == -1e30f);
}

/* A fan with a hole in it: black around, the hole inside. */
static void test_sector(void)
{
    static const char fan[5][8] = {"...11..", "..1111.", ".11.111", ".111111", "......."};
    float slice[35];
    int64_t columns[7][2], nonzero = 0;
    for (int i = 0; i < 35; i++) {
        slice[i] = fan[i / 7][i % 7] == '1' ? 4.0f + (float)(i % 3) : 0;
        nonzero += slice[i] != 0;
    }
    int64_t count = rvx__sector_count(slice, (int64_t[2]){7, 5}, columns);
    tap_ok(count == nonzero + 1, "the hole belongs to the sector, the corners do not: %lld",
           (long long)count);
    TAP_OK(rvx__sector_count((float[35]){0}, (int64_t[2]){7, 5}, columns) == 0);
    /* Through a case: the mean is that of the sector. */
    const rvx_geometry line = {
        .size = {7, 5, 1}, .spacing = {1, 1, 1}, .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    const rvx_channel_recipe sector = {.normalization = RVX_NORMALIZATION_ZSCORE,
                                       .sector_only = true};
    const rvx_case_recipe recipe = {.channel_count = 1, .channels = &sector};
    const float *channels[1] = {slice};
    rvx_case_reader *reader = NULL;
    rvx_error error;
    float out[35];
    double sum = 0, squares = 0;
    TAP_OK(rvx__case_reader_open_memory(&reader, "fan", &line, channels, &recipe, &error) ==
               RVX_OK &&
           rvx__case_reader_image(reader, out, 0, 1, &error) == RVX_OK);
    for (int i = 0; i < 35; i++)
        if (slice[i] != 0 || i == 2 * 7 + 3) {
            sum += (double)out[i];
            squares += (double)out[i] * (double)out[i];
        }
    tap_ok(fabs(sum) < 1e-5 && fabs(squares / (double)count - 1) < 1e-5,
           "mean 0 and deviation 1 over the sector");
    rvx__case_reader_close(reader);
}

static void test_grid_map(void)
{
    rvx_error error = {0};
    rvx_geometry g = {.size = {100, 50, 3}, .spacing = {0.5, 1, 4}};
    rvx_grid_map map;
    const double close[3] = {0.501, 0, 3.97}, other[3] = {1, 0.5, 100};
    TAP_OK(rvx__grid_map_make(&map, &g, close, "a", &error) == RVX_OK &&
           memcmp(map.file_size, map.network_size, sizeof map.file_size) == 0 &&
           map.scale[0] == 1 && map.offset[2] == 0);
    TAP_OK(rvx__grid_map_make(&map, &g, other, "a", &error) == RVX_OK &&
           map.network_size[0] == 50 && map.network_size[1] == 100 && map.network_size[2] == 1 &&
           map.scale[0] == 0.5 && map.offset[0] == -0.25 && map.scale[1] == 2 &&
           map.offset[1] == 0.5);
    const double negative[3] = {-1, 1, 1}, tiny[3] = {1e-9, 1, 1}, many[3] = {1e-3, 1e-4, 1e-4};
    TAP_OK(rvx__grid_map_make(&map, &g, negative, "a", &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__grid_map_make(&map, &g, tiny, "a", &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__grid_map_make(&map, &g, many, "a", &error) == RVX_ERROR_ARGUMENT);
}

/* Class 0 common, 1 rare, 2 in between, 3 absent, 4 ignore. */
static void labels_fill(uint8_t *labels, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t word = rvx__philox(3, 4, (uint64_t)i).word[0];
        labels[i] = word % 1000 == 0 ? 1 : word % 7 == 0 ? 2 : word % 11 == 0 ? 4 : 0;
    }
}

static const uint8_t *located; /* labels of test_locations, rows of its size */
enum { LOCATED_X = 61, LOCATED_Y = 47, LOCATED_Z = 53 };

static rvx_status located_read(void *context, uint8_t *out, int64_t z_first, int64_t z_count,
                               rvx_error *error)
{
    (void)context, (void)error;
    const int64_t slice = LOCATED_X * LOCATED_Y;
    memcpy(out, located + z_first * slice, (size_t)(z_count * slice));
    return RVX_OK;
}

static void test_locations(void)
{
    const int64_t size[3] = {LOCATED_X, LOCATED_Y, LOCATED_Z};
    const int64_t count = LOCATED_X * LOCATED_Y * LOCATED_Z;
    const rvx_label_slices slices = {located_read, NULL};
    rvx_error error = {0};
    rvx_class_locations found[4] = {{0}};
    uint8_t *labels = malloc((size_t)count);
    int64_t expected[5] = {0};
    labels_fill(labels, count);
    located = labels;
    for (int64_t i = 0; i < count; i++)
        expected[labels[i]]++;
    TAP_OK(rvx__class_locations_find(found, 4, &slices, size, &error) == RVX_OK);
    for (int label = 0; label < 4; label++) {
        const rvx_class_locations *l = &found[label];
        int wrong =
            l->voxel_count != expected[label] ||
            l->count != (expected[label] < RVX_LOCATIONS_MAX ? expected[label] : RVX_LOCATIONS_MAX);
        for (int64_t i = 0; i < l->count; i++)
            wrong += labels[l->voxels[i]] != label || (i > 0 && l->voxels[i] <= l->voxels[i - 1]);
        tap_ok(wrong == 0, "class %d: %lld of %lld voxels, ascending, each of its class", label,
               (long long)l->count, (long long)l->voxel_count);
    }
    tap_ok(found[0].voxels[5000] > count * 45 / 100 && found[0].voxels[5000] < count * 55 / 100,
           "spread over the volume");
    for (int threads = 1; threads <= 5; threads += 2) {
        rvx_class_locations again[4] = {{0}};
        omp_set_num_threads(threads);
        rvx__class_locations_find(again, 4, &slices, size, &error);
        int same = 1;
        for (int label = 0; label < 4; label++) {
            same &= memcmp(again[label].voxels, found[label].voxels,
                           (size_t)found[label].count * 8) == 0;
            free(again[label].voxels);
        }
        tap_ok(same, "the same locations with %d threads", threads);
    }
    for (int label = 0; label < 4; label++)
        free(found[label].voxels);
    free(labels);
}

/* ---- Cases ------------------------------------------------------------------------------------
 */

static const rvx_geometry grid = {.size = {40, 30, 21},
                                  .spacing = {0.5, 0.5, 1.5},
                                  .origin = {1, 2, 3},
                                  .direction = {{-1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};

static void dataset_make(void)
{
    static const char *const channels[] = {"US", "CT"};
    static const char *const classes[] = {"background", "a", "b", "c", "ignore"};
    const int64_t count = rvx__geometry_voxels(&grid);
    rvx_error error = {0};
    float *image = malloc((size_t)count * sizeof *image);
    uint8_t *labels = malloc((size_t)count);
    rvx__directory_create(at("imagesTr"), &error);
    rvx__directory_create(at("labelsTr"), &error);
    labels_fill(labels, count);
    for (int i = 0; i < 3; i++) {
        char name[64];
        for (int channel = 0; channel < 2; channel++) {
            for (int64_t v = 0; v < count; v++)
                image[v] = rvx__word_uniform(
                               rvx__philox(9, (uint64_t)(2 * i + channel), (uint64_t)v).word[1]) *
                           (float)(100 + v / 100);
            snprintf(name, sizeof name, "imagesTr/p%d_%04d.nii.gz", i, channel);
            rvx__volume_write(at(name), &grid, RVX_VOXEL_F32, image, NULL, &error);
        }
        snprintf(name, sizeof name, "labelsTr/p%d.nii.gz", i);
        rvx__volume_write(at(name), &grid, RVX_VOXEL_U8, labels, NULL, &error);
    }
    rvx_status status =
        rvx__dataset_write(folder, "p", channels, 2, classes, 5, 3, ".nii.gz", &error);
    tap_ok(status == RVX_OK, "makes a dataset %s", error.message);
    free(image);
    free(labels);
}

static void test_case(const rvx_dataset *d)
{
    const rvx_channel_recipe channels[2] = {
        {.normalization = RVX_NORMALIZATION_ZSCORE},
        {.normalization = RVX_NORMALIZATION_CT, .mean = 5, .std = 2, .low = 1, .high = 60}};
    rvx_case_recipe recipe = {.channel_count = 2,
                              .channels = channels,
                              .spacing = {0.8, 0.5, 1},
                              .image_rule = RVX_RESAMPLING_LINEAR,
                              .label_rule = RVX_RESAMPLING_NEAREST,
                              .class_count = 4,
                              .ignore_label = 4};
    rvx_case first = {0};
    const char *const *images = (const char *const *)d->cases[0].images;
    for (int threads = 1; threads <= 5; threads++) {
        rvx_error error = {0};
        rvx_case one = {0};
        omp_set_num_threads(threads);
        rvx_status status = rvx__case_load(&one, "p0", images, d->cases[0].labels, &recipe, &error);
        if (!tap_ok(status == RVX_OK, "loads with %d threads %s", threads, error.message))
            return;
        if (threads == 1) {
            first = one;
            continue;
        }
        int64_t voxels = rvx__shape_voxels(one.shape);
        int same = memcmp(one.image, first.image, (size_t)voxels * 2 * sizeof(float)) == 0 &&
                   memcmp(one.labels, first.labels, (size_t)voxels) == 0;
        for (int label = 0; label < 4; label++)
            same &= one.locations[label].count == first.locations[label].count &&
                    memcmp(one.locations[label].voxels, first.locations[label].voxels,
                           (size_t)one.locations[label].count * 8) == 0;
        tap_ok(same, "the same bits with %d threads", threads);
        rvx__case_free(&one);
    }
    TAP_OK(first.shape.n == 1 && first.shape.d == 32 && first.shape.h == 30 &&
           first.shape.w == 25 && first.shape.c == 2);
    TAP_OK(first.info.geometry.size[0] == 40 && first.map.network_size[0] == 25);
    double low = 1e9, high = -1e9;
    for (int64_t i = 0; i < rvx__shape_voxels(first.shape); i++) {
        low = fmin(low, (double)first.image[2 * i + 1]);
        high = fmax(high, (double)first.image[2 * i + 1]);
    }
    tap_ok(low >= -2 - 1e-6 && high <= 27.5 + 1e-5 && high > 20, "clipped: %g..%g", low, high);
    rvx__case_free(&first);

    rvx_error error = {0};
    rvx_case one = {0};
    recipe.class_count = 2;
    recipe.ignore_label = -1;
    TAP_OK(rvx__case_load(&one, "p0", images, d->cases[0].labels, &recipe, &error) ==
           RVX_ERROR_FORMAT);
    tap_ok(strstr(error.message, "case p0") && strstr(error.message, "does not name"), "%s",
           error.message);
    TAP_OK(!one.image && !one.labels && !one.identifier);
    TAP_OK(rvx__case_load(&one, "p0", images, NULL, &recipe, &error) == RVX_OK && !one.labels &&
           !one.locations);
    rvx__case_free(&one);
    rvx__case_free(NULL);
}

static void test_fingerprint(const rvx_dataset *d)
{
    rvx_fingerprint first = {0};
    for (int threads = 1; threads <= 3; threads++) {
        rvx_error error = {0};
        rvx_fingerprint f = {0};
        omp_set_num_threads(threads);
        rvx_status status = rvx__fingerprint_make(&f, d, &error);
        if (!tap_ok(status == RVX_OK, "fingerprint with %d threads %s", threads, error.message))
            return;
        if (threads == 1) {
            first = f;
            continue;
        }
        tap_ok(memcmp(f.intensities, first.intensities, 2 * sizeof *f.intensities) == 0 &&
                   memcmp(f.cases, first.cases, 3 * sizeof *f.cases) == 0,
               "the same fingerprint with %d threads", threads);
        rvx__fingerprint_free(&f);
    }
    TAP_OK(first.case_count == 3 && first.target_spacing[2] == 1.5 && first.median_size[0] == 40);
    rvx__fingerprint_free(&first);
    const double values[4] = {1, 2, 4, 8};
    TAP_OK(rvx__percentile_f64(values, 4, 0) == 1 && rvx__percentile_f64(values, 4, 100) == 8 &&
           rvx__percentile_f64(values, 4, 50) == 3 && rvx__percentile_f64(values, 1, 99.5) == 1);
}

/* Class 1 at low x in every case; class 2 at low or high y, as `high_y` says for each case. */
static void sided_labels_write(const bool high_y[3])
{
    const int64_t count = rvx__geometry_voxels(&grid);
    rvx_error error = {0};
    uint8_t *labels = malloc((size_t)count);
    for (int i = 0; i < 3; i++) {
        char name[64];
        memset(labels, 0, (size_t)count);
        for (int64_t z = 0; z < grid.size[2]; z++) {
            for (int64_t y = 0; y < grid.size[1]; y++)
                labels[(z * grid.size[1] + y) * grid.size[0] + 5] = 1;
            for (int64_t x = 10; x < 30; x++)
                labels[(z * grid.size[1] + (high_y[i] ? 25 : 4)) * grid.size[0] + x] = 2;
        }
        snprintf(name, sizeof name, "labelsTr/p%d.nii.gz", i);
        rvx__volume_write(at(name), &grid, RVX_VOXEL_U8, labels, NULL, &error);
    }
    free(labels);
}

static void test_sides(const rvx_dataset *d)
{
    static const bool varies[3] = {false, true, false}, never[3] = {false, false, false};
    rvx_fingerprint f = {0};
    rvx_error error = {0};
    sided_labels_write(varies);
    TAP_OK(rvx__fingerprint_make(&f, d, &error) == RVX_OK);
    TAP_OK(f.one_sided[0] && !f.one_sided[1] && !f.one_sided[2]);
    const rvx_case_fingerprint *one = &f.cases[1];
    TAP_OK(one->label_voxels[1] == 30 * 21 && one->label_below[1][0] == 2 * 30 * 21 &&
           one->label_below[1][1] == 30 * 21 && one->label_below[1][2] == 30 * 21);
    TAP_OK(one->label_below[2][1] == 0 && one->label_below[2][0] == one->label_voxels[2]);
    rvx__fingerprint_free(&f);
    sided_labels_write(never);
    TAP_OK(rvx__fingerprint_make(&f, d, &error) == RVX_OK);
    TAP_OK(f.one_sided[0] && f.one_sided[1] && !f.one_sided[2]);
    rvx__fingerprint_free(&f);
}

/* ---- Tool -------------------------------------------------------------------------------------
 */

static int tool_case(int count, char **arguments)
{
    rvx_error error = {0};
    rvx_channel_recipe channels[8];
    rvx_case_recipe recipe = {.channel_count = count - 7,
                              .channels = channels,
                              .class_count = 255,
                              .ignore_label = -1,
                              .crop_to_nonzero = count > 3 && atoi(arguments[3]) >= 2,
                              .image_rule = RVX_RESAMPLING_LINEAR,
                              .label_rule = RVX_RESAMPLING_NEAREST};
    rvx_case one;
    rvx_normalization n;
    double s[3];
    char path[1024];
    double to[2] = {0, 1}; /* SCHEME or SCHEME:b_min,b_max,clip */
    int clip = 1;
    char *options = strchr(arguments[2], ':');
    if (options && sscanf(options, ":%lf,%lf,%d", &to[0], &to[1], &clip) != 3)
        return 2;
    if (options)
        *options = 0;
    if (count - 7 > 8 || !rvx__normalization_find(&n, arguments[2]) ||
        sscanf(arguments[4], "%lf,%lf,%lf", &s[0], &s[1], &s[2]) != 3)
        return 2;
    for (int c = 0; c < count - 7; c++)
        channels[c] = (rvx_channel_recipe){.normalization = n,
                                           .nonzero_only = atoi(arguments[3]) % 2,
                                           .mean = 100,
                                           .std = 40,
                                           .to = {to[0], to[1]},
                                           .clip = clip,
                                           .low = 20,
                                           .high = n == RVX_NORMALIZATION_PERCENTILES ? 99.5 : 180};
    memcpy(recipe.spacing, s, sizeof s);
    const char *labels = strcmp(arguments[5], "-") == 0 ? NULL : arguments[5];
    if (rvx__case_load(&one, "case", (const char *const *)arguments + 7, labels, &recipe, &error) !=
        RVX_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    int64_t voxels = rvx__shape_voxels(one.shape);
    snprintf(path, sizeof path, "%s.image", arguments[6]);
    rvx__file_write(path, one.image, voxels * one.shape.c * 4, &error);
    snprintf(path, sizeof path, "%s.labels", arguments[6]);
    if (one.labels)
        rvx__file_write(path, one.labels, voxels, &error);
    printf("[%lld, %lld, %lld, %lld]\n", (long long)one.shape.d, (long long)one.shape.h,
           (long long)one.shape.w, (long long)one.shape.c);
    rvx__case_free(&one);
    return 0;
}

static int tool_fingerprint(const char *path)
{
    rvx_error error = {0};
    rvx_dataset *d = NULL;
    rvx_fingerprint f = {0};
    rvx_status status = rvx__dataset_open(&d, path, &error);
    if (status == RVX_OK)
        status = rvx__fingerprint_make(&f, d, &error);
    if (status != RVX_OK) {
        fprintf(stderr, "%s\n", error.message);
    } else {
        const rvx_intensity *i = &f.intensities[0];
        printf("{\"intensity\": [%.17g, %.17g, %.17g, %.17g, %.17g, %.17g, %.17g], ", i->mean,
               i->std, i->min, i->max, i->median, i->percentile_00_5, i->percentile_99_5);
        printf("\"share\": %.17g, \"spacing\": [%.17g, %.17g, %.17g], \"cases\": [",
               f.nonzero_share, f.target_spacing[0], f.target_spacing[1], f.target_spacing[2]);
        for (int64_t c = 0; c < f.case_count; c++)
            printf("%s[%lld, %lld, %lld, %lld, %lld]", c ? ", " : "",
                   (long long)f.cases[c].nonzero_size[0], (long long)f.cases[c].nonzero_size[1],
                   (long long)f.cases[c].nonzero_size[2], (long long)f.cases[c].nonzero_voxels,
                   (long long)f.cases[c].label_voxels[1]);
        printf("]}\n");
    }
    rvx__fingerprint_free(&f);
    rvx__dataset_free(d);
    return status != RVX_OK;
}

int main(int count, char **arguments)
{
    rvx_error error = {0};
    rvx_dataset *d = NULL;
    char command[200];
    if (count > 7 && strcmp(arguments[1], "case") == 0)
        return tool_case(count, arguments);
    if (count == 3 && strcmp(arguments[1], "fingerprint") == 0)
        return tool_fingerprint(arguments[2]);
    if (!mkdtemp(folder))
        return 1;
    test_names();
    test_maps();
    test_sector();
    test_grid_map();
    test_locations();
    dataset_make();
    if (TAP_OK(rvx__dataset_open(&d, folder, &error) == RVX_OK)) {
        test_case(d);
        test_fingerprint(d);
        test_sides(d);
    }
    rvx__dataset_free(d);
    snprintf(command, sizeof command, "rm -r %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
