/* Phantom datasets on disk: same seed, same bytes; labels; memory; label maps as anatomy; refusals
 * that leave nothing behind. */
#include "engine/base/file.h"
#include "engine/phantom/acoustics.h"
#include "engine/phantom/phantom.h"
#include "engine/volume/dataset.h"
#include "tap.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/rvx_phantom_XXXXXX";

static const char *at(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 512, "%s/%s", folder, name);
    return path;
}

static rvx_status make(const char *name, const rvx_phantom_options *options, rvx_error *error)
{
    *error = (rvx_error){0};
    return rvx__phantom_generate(at(name), options, error);
}

static int same_bytes(const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    int64_t x_bytes = 0, y_bytes = 0;
    rvx_error error = {0};
    int same = rvx__file_read_all(&x, &x_bytes, at(a), 1 << 28, &error) == RVX_OK &&
               rvx__file_read_all(&y, &y_bytes, at(b), 1 << 28, &error) == RVX_OK &&
               x_bytes == y_bytes && x_bytes > 0 && !memcmp(x, y, (size_t)x_bytes);
    free(x);
    free(y);
    return same;
}

static void test_determinism(void)
{
    rvx_error error;
    const rvx_phantom_options odd = {.cases = 2, .size = {17, 31, 9}, .seed = 5, .threads = 1};
    rvx_phantom_options other = odd;
    TAP_OK(make("one", &odd, &error) == RVX_OK);
    other.cases = 1;
    other.test_cases = 1;
    other.threads = 3;
    TAP_OK(make("two", &other, &error) == RVX_OK);
    TAP_OK(
        same_bytes("one/imagesTr/phantom_000_0000.nii.gz", "two/imagesTr/phantom_000_0000.nii.gz"));
    TAP_OK(same_bytes("one/labelsTr/phantom_000.nii.gz", "two/labelsTr/phantom_000.nii.gz"));
    TAP_OK(
        same_bytes("one/imagesTr/phantom_001_0000.nii.gz", "two/imagesTs/phantom_001_0000.nii.gz"));
    TAP_OK(same_bytes("one/labelsTr/phantom_001.nii.gz", "two/labelsTs/phantom_001.nii.gz"));
    TAP_OK(!same_bytes("one/imagesTr/phantom_000_0000.nii.gz",
                       "one/imagesTr/phantom_001_0000.nii.gz"));
    other.seed = 6;
    TAP_OK(make("three", &other, &error) == RVX_OK);
    TAP_OK(!same_bytes("one/imagesTr/phantom_000_0000.nii.gz",
                       "three/imagesTr/phantom_000_0000.nii.gz"));
    /* Wide enough for several blocks of beams and for a halo of slices. */
    const rvx_phantom_options wide = {.cases = 1, .size = {90, 61, 80}, .seed = 8, .threads = 1};
    other = wide;
    other.threads = 2;
    TAP_OK(make("wide1", &wide, &error) == RVX_OK && make("wide2", &other, &error) == RVX_OK);
    TAP_OK(same_bytes("wide1/imagesTr/phantom_000_0000.nii.gz",
                      "wide2/imagesTr/phantom_000_0000.nii.gz"));
    TAP_OK(same_bytes("wide1/labelsTr/phantom_000.nii.gz", "wide2/labelsTr/phantom_000.nii.gz"));
}

static int64_t occurrences(const rvx_volume *v, int label)
{
    const uint8_t *voxels = v->voxels;
    int64_t count = 0;
    for (int64_t k = 0; k < rvx__geometry_voxels(&v->info.geometry); k++)
        count += voxels[k] == label;
    return count;
}

/* The 4-class task is there in most cases, and the picture shows what the labels say. */
static void test_labels(void)
{
    enum { CASES = 16 };
    rvx_error error;
    const rvx_phantom_options options = {.cases = CASES, .size = {48, 48, 48}, .seed = 21};
    rvx_dataset *dataset = NULL;
    int complete = 0, liver = 0, darker = 0, quiet = 1;
    TAP_OK(make("labels", &options, &error) == RVX_OK);
    TAP_OK(rvx__dataset_open(&dataset, at("labels"), &error) == RVX_OK);
    if (!dataset)
        return;
    TAP_OK(dataset->case_count == CASES && dataset->class_count == 5);
    TAP_OK(rvx__dataset_check(dataset, &error) == RVX_OK);
    for (int k = 0; k < CASES; k++) {
        rvx_volume image = {0}, labels = {0};
        if (rvx__volume_read_labels(&image, dataset->cases[k].images[0], &error) != RVX_OK ||
            rvx__volume_read_labels(&labels, dataset->cases[k].labels, &error) != RVX_OK) {
            tap_ok(0, "%s", error.message);
            continue;
        }
        int64_t counts[5], voxels = rvx__geometry_voxels(&labels.info.geometry);
        double sums[5] = {0};
        const uint8_t *grey = image.voxels, *label = labels.voxels;
        for (int c = 0; c < 5; c++)
            counts[c] = occurrences(&labels, c);
        for (int64_t v = 0; v < voxels; v++)
            sums[label[v]] += grey[v];
        complete += counts[1] && counts[2] > 50 && counts[3] > 50 && counts[4] > 20;
        liver += counts[1] * 12 > voxels;
        darker += counts[2] && sums[2] / (double)counts[2] < 0.8 * sums[1] / (double)counts[1];
        /* Upper corners lie outside every fan. */
        quiet &= !grey[0] && !label[0] && !grey[47] && !label[47];
        rvx__volume_free(&image);
        rvx__volume_free(&labels);
    }
    printf("# of %d: all labels %d, large liver %d, dark vessels %d\n", CASES, complete, liver,
           darker);
    TAP_OK(complete >= 13);
    TAP_OK(liver == CASES);
    TAP_OK(darker >= 15);
    TAP_OK(quiet);
    rvx__dataset_free(dataset);
}

/* Peak memory of a child process over its own start, against the stated bound: the scanner, two
 * writers of 17 MB (sink.c: 8 blocks of 1 MB before and after deflate), 6 MB of anatomy and heap.
 */
static void test_memory(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    tap_skip("sanitizers have memory of their own");
#else
    const rvx_phantom_options options = {
        .cases = 1, .size = {320, 320, 160}, .seed = 2, .threads = 2};
    int pipes[2];
    int64_t grown = -1;
    TAP_OK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        rvx_error error = {0};
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        rvx_status status = rvx__phantom_generate(at("memory"), &options, &error);
        getrusage(RUSAGE_SELF, &after);
        int64_t bytes =
            status == RVX_OK ? (int64_t)(after.ru_maxrss - before.ru_maxrss) * 1024 : -1;
        ssize_t written = write(pipes[1], &bytes, sizeof bytes);
        _exit(written != (ssize_t)sizeof bytes);
    }
    close(pipes[1]);
    int wait_status = 0;
    TAP_OK(read(pipes[0], &grown, sizeof grown) == (ssize_t)sizeof grown);
    TAP_OK(waitpid(child, &wait_status, 0) == child && wait_status == 0);
    close(pipes[0]);
    rvx_ultrasound_options o = {.size = {320, 320, 160}, .spacing = {0.5, 0.5, 1}, .threads = 2};
    rvx__probe_draw(&o.probe, 2, 0, (const double[3]){160, 160, 160});
    int64_t bound = rvx__ultrasound_bytes(&o), volumes = 2 * 320 * 320 * 160;
    printf("# grew by %.1f MB; slices of the scanner %.1f MB; both volumes would be %.1f MB\n",
           (double)grown / 1e6, (double)bound / 1e6, (double)volumes / 1e6);
    TAP_OK(grown >= 0 && grown < bound + 2 * 17 * 1050000 + 6000000);
    TAP_OK(bound < volumes / 8);
    /* The bound does not know how many slices there are. */
    o.size[2] = 100000;
    TAP_OK(rvx__ultrasound_bytes(&o) == bound);
#endif
}

/* ---- Label maps as anatomy ---- */

static const rvx_geometry map_grid = {.size = {20, 24, 6},
                                      .spacing = {1, 1, 4},
                                      .origin = {-3, 5, 7},
                                      .direction = {{0, 0, 1}, {1, 0, 0}, {0, -1, 0}}};

static uint16_t map_value(int64_t x, int64_t y, int64_t z)
{
    return (uint16_t)(y < 4 ? 0 : x < 8 ? 41 : y < 12 ? 1000 : z < 3 ? 2 : 7);
}

static void write_map(const char *path)
{
    static uint16_t voxels[20 * 24 * 6];
    rvx_error error = {0};
    for (int64_t k = 0; k < 20 * 24 * 6; k++)
        voxels[k] = map_value(k % 20, k / 20 % 24, k / 480);
    if (rvx__volume_write(path, &map_grid, RVX_VOXEL_U16, voxels, NULL, &error) != RVX_OK)
        tap_ok(0, "cannot write: %s", error.message);
}

static void test_anatomy(void)
{
    rvx_error error;
    rvx__directory_create(at("maps"), &error);
    write_map(at("maps/first.nii.gz"));
    write_map(at("maps/second.nii"));
    rvx_phantom_options options = {.anatomy = at("maps"), .seed = 1, .threads = 2};
    TAP_OK(make("atlas", &options, &error) == RVX_OK);
    rvx_volume labels = {0}, image = {0};
    TAP_OK(rvx__volume_read_labels(&labels, at("atlas/labelsTr/second.nii.gz"), &error) == RVX_OK);
    TAP_OK(rvx__volume_read_f32(&image, at("atlas/imagesTr/first_0000.nii.gz"), &error) == RVX_OK);
    TAP_OK(rvx__geometry_same(&labels.info.geometry, "labels", &map_grid, "map", 1e-3, &error) ==
           RVX_OK);
    TAP_OK(rvx__geometry_same(&image.info.geometry, "image", &map_grid, "map", 1e-3, &error) ==
           RVX_OK);
    /* Voxels: 41: 8*20*6 = 960, 1000: 12*8*6 = 576, 2 and 7: 12*12*3 = 432 each. */
    int wrong = 0;
    for (int64_t k = 0; k < 20 * 24 * 6; k++) {
        int value = map_value(k % 20, k / 20 % 24, k / 480);
        int expected = value == 0 ? 0 : value == 41 ? 1 : value == 1000 ? 2 : value == 2 ? 3 : 4;
        wrong += ((const uint8_t *)labels.voxels)[k] != expected;
    }
    TAP_OK(wrong == 0);
    rvx__volume_free(&labels);
    rvx__volume_free(&image);

    options.merge = "1000;7,2";
    options.spacing_mm = 2;
    options.cases = 1;
    options.test_cases = 1;
    TAP_OK(make("merged", &options, &error) == RVX_OK);
    TAP_OK(rvx__volume_read_labels(&labels, at("merged/labelsTs/second.nii.gz"), &error) == RVX_OK);
    const rvx_geometry *g = &labels.info.geometry;
    TAP_OK(g->size[0] == 10 && g->size[1] == 12 && g->size[2] == 12);
    wrong = 0;
    for (int64_t k = 0; k < rvx__geometry_voxels(g); k++) {
        /* Centre of a new voxel in units of the old ones; ties fall to the higher index. */
        int value = map_value(k % 10 * 2 + 1, k / 10 % 12 * 2 + 1, k / 120 / 2);
        int expected = value == 1000 ? 1 : value == 2 || value == 7 ? 2 : 0;
        wrong += ((const uint8_t *)labels.voxels)[k] != expected;
    }
    TAP_OK(wrong == 0);
    /* The box of space is kept: first corner of both grids. */
    double apart = 0;
    for (int row = 0; row < 3; row++) {
        double corner = 0;
        for (int i = 0; i < 3; i++)
            corner += 0.5 * (map_grid.direction[row][i] * map_grid.spacing[i] -
                             g->direction[row][i] * g->spacing[i]);
        apart = fmax(apart, fabs(map_grid.origin[row] - g->origin[row] - corner));
    }
    TAP_OK(apart < 1e-4);
    rvx__volume_free(&labels);
}

static void test_real_maps(void)
{
    const char *maps = "../shared/data/brain-labels";
    if (!rvx__path_is_directory(maps)) {
        tap_skip("no real label maps beside the repository");
        return;
    }
    rvx_error error;
    rvx_volume labels = {0};
    const rvx_phantom_options options = {.anatomy = maps,
                                         .cases = 1,
                                         .merge = "2,41;3,42;10,49,11,50,12,51,13,52;4,43;7,46,8,"
                                                  "47;16,28,60",
                                         .spacing_mm = 4};
    TAP_OK(make("brain", &options, &error) == RVX_OK);
    TAP_OK(rvx__volume_read_labels(&labels, at("brain/labelsTr/training_seg_01.nii.gz"), &error) ==
           RVX_OK);
    for (int k = 1; k <= 6 && labels.voxels; k++)
        TAP_OK(occurrences(&labels, k) > 100);
    rvx__volume_free(&labels);
}

/* ---- Refusals ---- */

static int stop_later(void *context, const char *identifier, int64_t done, int64_t total)
{
    int *calls = context;
    return identifier && done <= total && ++*calls == 11;
}

static void test_refusals(void)
{
    static const struct {
        const char *words;
        rvx_phantom_options options;
    } table[] = {
        {"size along y", {.size = {32, -1, 32}}},
        {"size along x", {.size = {100000, 16, 16}}},
        {"8x8", {.size = {4, 16, 16}}},
        {"cases", {.cases = -1}},
        {"cases", {.cases = INT64_MAX / 4}},
        {"spacing", {.spacing_mm = NAN}},
        {"anatomy", {.merge = "1"}},
        {"nowhere", {.anatomy = "/nowhere"}},
    };
    static const char *const merges[] = {"",     "x",     "1,",    "1;;2", "3=1",       "1=1;1=2",
                                         "2;2",  "0",     "1=0",   "0=4",  "999=4",     "1 2",
                                         "1,2;", "1=2=3", "1;2,1", ",1",   "9999999999"};
    rvx_error error;
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        rvx_status status = make("refused", &table[k].options, &error);
        tap_ok(status != RVX_OK && strstr(error.message, table[k].words) &&
                   !rvx__path_exists(at("refused")),
               "refused: %s", error.message);
    }
    for (size_t k = 0; k < sizeof merges / sizeof *merges; k++) {
        rvx_label_table table_read = {0};
        rvx_status status = rvx__label_table_parse(&table_read, merges[k], &error);
        if (!strcmp(merges[k], "1,2;")) /* a closing semicolon does no harm */
            tap_ok(status == RVX_OK && table_read.label_count == 2, "\"%s\" is one group",
                   merges[k]);
        else
            tap_ok(status == RVX_ERROR_ARGUMENT && strstr(error.message, "merge"), "refused: %s",
                   error.message);
        rvx__label_table_free(&table_read);
    }
    int calls = 0;
    rvx_phantom_options options = {
        .cases = 3, .size = {16, 16, 8}, .threads = 1, .progress = stop_later, .context = &calls};
    TAP_OK(make("stopped", &options, &error) == RVX_CANCELLED && calls == 11);
    TAP_OK(!rvx__path_exists(at("stopped")));
    options.progress = NULL;
    TAP_OK(make("kept", &options, &error) == RVX_OK);
    TAP_OK(make("kept", &options, &error) == RVX_ERROR_ARGUMENT && strstr(error.message, "there"));
    TAP_OK(rvx__path_is_file(at("kept/dataset.json")));
    TAP_OK(rvx__path_is_file(at("kept/imagesTr/phantom_002_0000.nii.gz")));
    /* A map cut short: the cases made before it go, too. */
    rvx__directory_create(at("bad"), &error);
    write_map(at("bad/a.nii"));
    write_map(at("bad/b.nii"));
    TAP_OK(truncate(at("bad/b.nii"), 2000) == 0);
    rvx_phantom_options bad = {.anatomy = at("bad"), .merge = "41"};
    TAP_OK(make("cut", &bad, &error) != RVX_OK && strstr(error.message, "b.nii"));
    TAP_OK(!rvx__path_exists(at("cut")));
    write_map(at("bad/a.nii.gz"));
    TAP_OK(make("cut", &bad, &error) == RVX_ERROR_ARGUMENT && strstr(error.message, "one name"));
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    test_memory(); /* first: its child starts from a small process */
    test_determinism();
    test_labels();
    test_anatomy();
    test_real_maps();
    test_refusals();
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        return 1;
    return tap_done();
}
