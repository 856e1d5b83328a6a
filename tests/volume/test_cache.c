/* Cached cases: the bits of cases in memory; made anew when a source, the recipe or the file itself
 * is another; a patch reads its chunks and nothing else. */
#include "engine/base/file.h"
#include "engine/volume/cache.h"
#include "kernels/random.h"
#include "tap.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/rvx_cache_XXXXXX";
static rvx_error error;

static const char *at(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 512, "%s/%s", folder, name);
    return path;
}

static void write_sources(int64_t edge, uint64_t seed)
{
    const rvx_geometry grid = {.size = {edge + 7, edge, edge - 6},
                               .spacing = {0.5, 0.5, 1},
                               .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    const int64_t count = rvx__geometry_voxels(&grid);
    float *image = malloc((size_t)count * sizeof *image);
    uint8_t *labels = malloc((size_t)count);
    for (int channel = 0; channel < 2; channel++) {
        for (int64_t i = 0; i < count; i++) {
            uint32_t word = rvx__philox(seed, (uint64_t)channel, (uint64_t)i).word[0];
            image[i] = rvx__word_uniform(word) * 100;
            labels[i] = (uint8_t)(word % 3);
        }
        rvx__volume_write(at(channel ? "a_0001.nii" : "a_0000.nii"), &grid, RVX_VOXEL_F32, image,
                          NULL, &error);
    }
    rvx__volume_write(at("a.nii"), &grid, RVX_VOXEL_U8, labels, NULL, &error);
    free(image);
    free(labels);
}

static const rvx_channel_recipe channels[2] = {{.normalization = RVX_NORMALIZATION_ZSCORE},
                                               {.normalization = RVX_NORMALIZATION_RESCALE}};
static rvx_case_recipe recipe = {.channel_count = 2,
                                 .channels = channels,
                                 .spacing = {0.7, 0, 0.8},
                                 .label_rule = RVX_RESAMPLING_LINEAR,
                                 .class_count = 3,
                                 .ignore_label = -1};

static rvx_status load(rvx_case *out, bool cached)
{
    const char *const images[2] = {at("a_0000.nii"), at("a_0001.nii")};
    char label[512];
    snprintf(label, sizeof label, "%s", at("a.nii"));
    return cached ? rvx__cache_load(out, at("cache"), "a", images, label, &recipe, &error)
                  : rvx__case_load(out, "a", images, label, &recipe, &error);
}

static bool has(void)
{
    const char *const images[2] = {at("a_0000.nii"), at("a_0001.nii")};
    char label[512];
    snprintf(label, sizeof label, "%s", at("a.nii"));
    return rvx__cache_has(at("cache"), "a", images, label, &recipe);
}

/* Files of the cache that end so; hidden ones, as a writer leaves none, count too. */
static int64_t files(void)
{
    rvx_names names = {0};
    rvx__directory_list(&names, at("cache"), NULL, &error);
    int64_t count = names.count;
    rvx__names_free(&names);
    return count;
}

static bool same_case(const rvx_case *a, const rvx_case *b)
{
    const rvx_shape s = a->shape;
    bool same = memcmp(&a->shape, &b->shape, sizeof s) == 0 &&
                memcmp(a->info.geometry.spacing, b->info.geometry.spacing, 24) == 0 &&
                a->map.network_size[0] == b->map.network_size[0] &&
                a->class_count == b->class_count;
    for (int64_t z = 0; z < s.d && same; z++)
        for (int64_t y = 0; y < s.h && same; y++)
            for (int64_t x = 0; x < s.w && same; x++) {
                int64_t i = rvx__case_voxel(a, z, y, x), j = rvx__case_voxel(b, z, y, x);
                same = memcmp(a->image + i * s.c, b->image + j * s.c, (size_t)s.c * 4) == 0 &&
                       a->labels[i] == b->labels[j];
            }
    for (int k = 0; k < a->class_count && same; k++)
        same = a->locations[k].count == b->locations[k].count &&
               a->locations[k].voxel_count == b->locations[k].voxel_count &&
               memcmp(a->locations[k].voxels, b->locations[k].voxels,
                      (size_t)a->locations[k].count * 8) == 0;
    float *rows = malloc((size_t)(s.h * s.w * s.c) * 8), *other = rows + s.h * s.w * s.c;
    rvx_case copies[2] = {*a, *b};
    rvx_slices left = rvx__case_slices(&copies[0]), right = rvx__case_slices(&copies[1]);
    left.read(left.context, rows, s.d / 2, 1, &error);
    right.read(right.context, other, s.d / 2, 1, &error);
    same = same && memcmp(rows, other, (size_t)(s.h * s.w * s.c) * 4) == 0;
    free(rows);
    return same;
}

static void test_same(const char *what)
{
    rvx_case cached = {0}, plain = {0};
    rvx_status status = load(&cached, true);
    tap_ok(status == RVX_OK && load(&plain, false) == RVX_OK && same_case(&cached, &plain) &&
               cached.mapped && !plain.mapped,
           "%s: the bits of a case in memory %s", what, status == RVX_OK ? "" : error.message);
    rvx__case_free(&cached);
    rvx__case_free(&plain);
}

static char cache_path[512]; /* of the first file in the folder */

static void find_file(void)
{
    rvx_names names = {0};
    rvx__directory_list(&names, at("cache"), ".rvxcase", &error);
    snprintf(cache_path, sizeof cache_path, "%s/%s", at("cache"),
             names.count ? names.names[0] : "none");
    rvx__names_free(&names);
}

static void test_stale(void)
{
    struct stat before, after;
    TAP_OK(!has());
    test_same("made");
    TAP_OK(has() && files() == 1);
    find_file();
    stat(cache_path, &before);
    test_same("found");
    stat(cache_path, &after);
    tap_ok(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec,
           "what is there is not made again");

    recipe.spacing[0] = 0.6;
    TAP_OK(!has());
    test_same("another recipe");
    TAP_OK(files() == 2);
    recipe.spacing[0] = 0.7;
    tap_ok(has(), "and the first is still there");

    rvx_case held = {0};
    load(&held, true);
    float first = held.image[0];
    write_sources(40, 2);
    TAP_OK(!has());
    test_same("another source");
    tap_ok(files() == 2 && held.image[0] == first, "it takes the place of the old one, which stays "
                                                   "with whoever has it mapped");
    rvx__case_free(&held);

    for (int byte = 8; byte < 300; byte += 97) {
        int file = open(cache_path, O_RDWR);
        char value;
        bool flipped = pread(file, &value, 1, byte) == 1;
        value = (char)(value ^ 4);
        flipped = flipped && pwrite(file, &value, 1, byte) == 1;
        close(file);
        tap_ok(flipped && !has(), "byte %d of the header changed: not used", byte);
        test_same("made again");
    }
    TAP_OK(truncate(cache_path, 5000) == 0 && !has());
    test_same("cut short, made again");

    TAP_OK(unlink(at("a_0001.nii")) == 0);
    rvx_case none = {0};
    TAP_OK(load(&none, true) == RVX_ERROR_IO && strstr(error.message, "a_0001.nii"));
    TAP_OK(!none.image && files() == 2);
}

/* Pages of the file that are in memory. */
static int64_t resident(const rvx_case *one)
{
    int64_t pages = (one->mapped_bytes + 4095) / 4096, count = 0;
    unsigned char *map = malloc((size_t)pages);
    if (mincore(one->mapped, (size_t)one->mapped_bytes, map) != 0)
        pages = 0;
    for (int64_t i = 0; i < pages; i++)
        count += map[i] & 1;
    free(map);
    return count;
}

static void test_partial(void)
{
    write_sources(150, 3);
    recipe.spacing[0] = recipe.spacing[2] = 0;
    rvx_case one = {0};
    if (!TAP_OK(load(&one, true) == RVX_OK))
        return;
    rvx__case_free(&one);
    find_file();
    rvx_names names = {0};
    rvx__directory_list(&names, at("cache"), ".rvxcase", &error);
    for (int64_t i = 0; i < names.count; i++) {
        snprintf(cache_path, sizeof cache_path, "%s/%s", at("cache"), names.names[i]);
        int file = open(cache_path, O_RDONLY);
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        close(file);
    }
    rvx__names_free(&names);
    load(&one, true);
    int64_t pages = one.mapped_bytes / 4096, before = resident(&one);
    if (before > pages / 4) {
        tap_ok(1, "pages of a chunk # SKIP this file system does not give its pages up");
        rvx__case_free(&one);
        return;
    }
    /* A patch of 20^3 across chunk borders: at most 3^3 chunks, of 8 pages of image each (two
     * channels) and one of labels. */
    const int64_t low[3] = {30, 60, 94}, high[3] = {50, 80, 114};
    rvx__case_fetch(&one, low, high);
    double sum = 0;
    for (int64_t z = low[0]; z < high[0]; z++)
        for (int64_t y = low[1]; y < high[1]; y++)
            for (int64_t x = low[2]; x < high[2]; x++) {
                int64_t i = rvx__case_voxel(&one, z, y, x);
                sum += (double)one.image[2 * i] + one.labels[i];
            }
    int64_t after = resident(&one);
    tap_ok(isfinite(sum) && after > before && after - before <= 27 * 9,
           "a patch brings %lld of %lld pages", (long long)(after - before), (long long)pages);
    rvx__case_free(&one);
}

/* ---- Voxels behind a header -------------------------------------------------------------------
 */

enum { EDGE = 12, SLICES = 8, SLICE = EDGE * EDGE };

/* One way to keep voxels beside their header; `text` NULL: as a writer makes it. */
typedef struct kind {
    const char *what, *header, *text;
    const char *data; /* one of its data files */
} kind;

#define NRRD_LINES                                                                                 \
    "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 12 12 8\nencoding: raw\n"                         \
    "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"                  \
    "space origin: (0,0,0)\n"
#define META_LINES                                                                                 \
    "ObjectType = Image\nNDims = 3\nDimSize = 12 12 8\nElementType = MET_UCHAR\n"                  \
    "ElementSpacing = 1 1 2\n"
#define SLICE_NAMES "s0.raw\ns1.raw\ns2.raw\ns3.raw\ns4.raw\ns5.raw\ns6.raw\ns7.raw\n"

static const kind kinds[] = {
    {"a NIfTI pair", "k.hdr", NULL, "k.img"},
    {"a NIfTI pair by its image", "k.img", NULL, "k.img"},
    {"raw voxels and JSON", "k.raw.json", NULL, "k.raw"},
    {".nhdr and a file", "k.nhdr", NRRD_LINES "data file: k.bin\n", "k.bin"},
    {".nhdr and a list", "k.nhdr", NRRD_LINES "data file: LIST 2\n" SLICE_NAMES, "s3.raw"},
    {".nhdr and a pattern", "k.nhdr", NRRD_LINES "data file: s%d.raw 0 7 1 2\n", "s7.raw"},
    {".mhd and a file", "k.mhd", META_LINES "ElementDataFile = k.bin\n", "k.bin"},
    {".mhd and a list", "k.mhd", META_LINES "ElementDataFile = LIST 2D\n" SLICE_NAMES, "s0.raw"},
    {".mhd and a pattern", "k.mhd", META_LINES "ElementDataFile = s%d.raw 0 7 1\n", "s4.raw"},
};

static void write_kind(const kind *k)
{
    const rvx_geometry grid = {.size = {EDGE, EDGE, SLICES},
                               .spacing = {1, 1, 2},
                               .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    uint8_t voxels[SLICES * SLICE];
    char name[16], header[512];
    for (int i = 0; i < SLICES * SLICE; i++)
        voxels[i] = (uint8_t)(rvx__philox(9, 0, (uint64_t)i).word[0] % 3);
    snprintf(header, sizeof header, "%s", at(strcmp(k->header, "k.img") ? k->header : "k.hdr"));
    rvx__volume_write(at("other.nii"), &grid, RVX_VOXEL_U8, voxels, NULL, &error);
    if (k->text) {
        rvx__file_write(header, k->text, (int64_t)strlen(k->text), &error);
        rvx__file_write(at("k.bin"), voxels, sizeof voxels, &error);
        for (int z = 0; z < SLICES; z++) {
            snprintf(name, sizeof name, "s%d.raw", z);
            rvx__file_write(at(name), voxels + z * SLICE, SLICE, &error);
        }
    } else {
        rvx__volume_write(header, &grid, RVX_VOXEL_U8, voxels, NULL, &error);
    }
}

/* Another last voxel, a second later, in a file as long as before. */
static bool data_change(const char *path)
{
    struct stat before;
    uint8_t voxel;
    int file = open(path, O_RDWR);
    bool changed = fstat(file, &before) == 0 && pread(file, &voxel, 1, before.st_size - 1) == 1;
    voxel = (uint8_t)((voxel + 1) % 3);
    const struct timespec times[2] = {before.st_atim,
                                      {before.st_mtim.tv_sec + 1, before.st_mtim.tv_nsec}};
    changed =
        changed && pwrite(file, &voxel, 1, before.st_size - 1) == 1 && futimens(file, times) == 0;
    close(file);
    return changed;
}

static void test_kind(const kind *k, bool as_label)
{
    static const rvx_channel_recipe plain = {.normalization = RVX_NORMALIZATION_NONE};
    const rvx_case_recipe one = {.channel_count = 1,
                                 .channels = &plain,
                                 .label_rule = RVX_RESAMPLING_LINEAR,
                                 .class_count = 3,
                                 .ignore_label = -1};
    rvx_case first = {0}, second = {0}, fresh = {0};
    char header[512], other[512];
    write_kind(k);
    snprintf(header, sizeof header, "%s", at(k->header));
    snprintf(other, sizeof other, "%s", at("other.nii"));
    const char *const image = as_label ? other : header, *label = as_label ? header : other;
    const char *const where = at("cache");
    tap_ok(!rvx__cache_has(where, "k", &image, label, &one) &&
               rvx__cache_load(&first, where, "k", &image, label, &one, &error) == RVX_OK &&
               rvx__cache_has(where, "k", &image, label, &one),
           "%s as %s: cached", k->what, as_label ? "labels" : "an image");
    tap_ok(data_change(at(k->data)) && !rvx__cache_has(where, "k", &image, label, &one),
           "stale once %s is another", k->data);
    tap_ok(rvx__cache_load(&second, where, "k", &image, label, &one, &error) == RVX_OK &&
               rvx__case_load(&fresh, "k", &image, label, &one, &error) == RVX_OK &&
               same_case(&second, &fresh) && !same_case(&second, &first),
           "made again from what is there now");
    rvx__case_free(&first);
    rvx__case_free(&second);
    rvx__case_free(&fresh);
    tap_ok(unlink(at(k->data)) == 0 &&
               rvx__cache_load(&first, where, "k", &image, label, &one, &error) == RVX_ERROR_IO &&
               strstr(error.message, k->data),
           "%s is missing: %s", k->data, error.message);
}

int main(void)
{
    char command[600];
    if (!mkdtemp(folder))
        return 1;
    write_sources(40, 1);
    test_stale();
    test_partial();
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int as_label = 0; as_label < 2; as_label++)
            test_kind(&kinds[i], as_label);
    snprintf(command, sizeof command, "rm -r %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
