/* Dataset folders: a sound one, then a table of damaged dataset.json texts and of damaged files. */
#include "engine/base/file.h"
#include "engine/volume/dataset.h"
#include "tap.h"

#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/rvx_dataset_XXXXXX";

static const rvx_geometry grid = {
    .size = {6, 5, 4}, .spacing = {1, 1, 2}, .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};

static const char *at(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 512, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const rvx_geometry *g, float value, rvx_voxel_type type)
{
    float f32[6 * 5 * 8] = {0};
    uint8_t u8[6 * 5 * 8] = {0};
    rvx_error error = {0};
    f32[6 * 5 * 3 + 6 * 2 + 1] = value;
    u8[6 * 5 * 3 + 6 * 2 + 1] = type == RVX_VOXEL_U8 ? (uint8_t)value : 0;
    const void *voxels = type == RVX_VOXEL_U8 ? (const void *)u8 : f32;
    if (rvx__volume_write(at(name), g, type, voxels, NULL, &error) != RVX_OK)
        tap_ok(0, "cannot write: %s", error.message);
}

static void sound_make(void)
{
    static const char *const channels[] = {"US", "doppler"};
    static const char *const classes[] = {"background", "gland", "ignore"};
    rvx_error error = {0};
    rvx__directory_create(at("imagesTr"), &error);
    rvx__directory_create(at("labelsTr"), &error);
    rvx__directory_create(at("imagesTs"), &error);
    static const char *const names[] = {"b_10", "a", "c"};
    for (int i = 0; i < 3; i++) {
        char name[64];
        for (int channel = 0; channel < 2; channel++) {
            snprintf(name, sizeof name, "imagesTr/%s_%04d.nii.gz", names[i], channel);
            put(name, &grid, 3.5f, RVX_VOXEL_F32);
        }
        snprintf(name, sizeof name, "labelsTr/%s.nii.gz", names[i]);
        put(name, &grid, (float)i, RVX_VOXEL_U8);
    }
    put("imagesTs/t_0000.nii.gz", &grid, 1, RVX_VOXEL_F32);
    put("imagesTs/t_0001.nii.gz", &grid, 1, RVX_VOXEL_F32);
    rvx_status status =
        rvx__dataset_write(folder, "Probe", channels, 2, classes, 3, 3, ".nii.gz", &error);
    tap_ok(status == RVX_OK, "writes dataset.json %s", error.message);
}

static void test_sound(void)
{
    rvx_error error = {0};
    rvx_dataset *d = NULL;
    rvx_status status = rvx__dataset_open(&d, at(""), &error);
    if (!tap_ok(status == RVX_OK, "opens: %s", error.message))
        return;
    TAP_OK(strcmp(d->name, "Probe") == 0 && strcmp(d->file_ending, ".nii.gz") == 0);
    TAP_OK(d->channel_count == 2 && strcmp(d->channel_names[1], "doppler") == 0);
    TAP_OK(d->class_count == 2 && strcmp(d->class_names[1], "gland") == 0 && d->ignore_label == 2);
    TAP_OK(d->case_count == 3 && strcmp(d->cases[0].identifier, "a") == 0 &&
           strcmp(d->cases[1].identifier, "b_10") == 0 && strcmp(d->cases[2].identifier, "c") == 0);
    TAP_OK(strcmp(rvx__path_name(d->cases[1].images[1]), "b_10_0001.nii.gz") == 0);
    TAP_OK(d->test_count == 1 && !d->tests[0].labels);
    TAP_OK(rvx__dataset_find(d, "c") == 2 && rvx__dataset_find(d, "zz") == -1);
    status = rvx__dataset_check(d, &error);
    tap_ok(status == RVX_OK, "checks: %s", error.message);
    rvx__dataset_free(d);
}

typedef struct damaged_text {
    const char *name, *text;
    rvx_status status;
    const char *expected;
} damaged_text;

#define HEAD "{\"channel_names\": {\"0\": \"US\", \"1\": \"d\"}, "
#define LABELS "\"labels\": {\"background\": 0, \"gland\": 1, \"ignore\": 2}, "
#define TAIL "\"numTraining\": 3, \"file_ending\": \".nii.gz\"}"

static const damaged_text texts[] = {
    {"sound", HEAD LABELS TAIL, RVX_OK, ""},
    {"other keys", HEAD LABELS "\"licence\": [1], " TAIL, RVX_OK, ""},
    {"empty", "", RVX_ERROR_FORMAT, "line 1"},
    {"not JSON", HEAD LABELS "}", RVX_ERROR_FORMAT, "line 1"},
    {"a list", "[1]", RVX_ERROR_FORMAT, "expected an object, found a list"},
    {"a key twice", HEAD LABELS LABELS TAIL, RVX_ERROR_FORMAT, "duplicate"},
    {"no channels", "{" LABELS TAIL, RVX_ERROR_FORMAT, "channel_names: expected an object"},
    {"channels empty", "{\"channel_names\": {}, " LABELS TAIL, RVX_ERROR_FORMAT, "1..256"},
    {"channels from 1", "{\"channel_names\": {\"1\": \"US\"}, " LABELS TAIL, RVX_ERROR_FORMAT,
     "\"0\": expected a string, found nothing"},
    {"channel number", "{\"channel_names\": {\"0\": 7}, " LABELS TAIL, RVX_ERROR_FORMAT,
     "found an integer"},
    {"no labels", HEAD TAIL, RVX_ERROR_FORMAT, "labels: expected an object"},
    {"old labels", HEAD "\"labels\": {\"0\": \"background\", \"1\": \"gland\"}, " TAIL,
     RVX_ERROR_FORMAT, "labels: \"0\": expected an integer, found a string"},
    {"regions", HEAD "\"labels\": {\"background\": 0, \"whole\": [1, 2], \"core\": 2}, " TAIL,
     RVX_ERROR_UNSUPPORTED, "\"whole\" is a region"},
    {"region order", HEAD LABELS "\"regions_class_order\": [1, 2], " TAIL, RVX_ERROR_UNSUPPORTED,
     "regions_class_order"},
    {"a hole", HEAD "\"labels\": {\"background\": 0, \"gland\": 2}, " TAIL, RVX_ERROR_FORMAT,
     "\"gland\" is 2"},
    {"a value twice", HEAD "\"labels\": {\"background\": 0, \"a\": 1, \"b\": 1}, " TAIL,
     RVX_ERROR_FORMAT, "\"a\" and \"b\" are both 1"},
    {"ignore twice", HEAD "\"labels\": {\"background\": 0, \"a\": 2, \"ignore\": 2}, " TAIL,
     RVX_ERROR_FORMAT, "\"a\" and \"ignore\" are both 2"},
    {"negative", HEAD "\"labels\": {\"background\": 0, \"a\": -1}, " TAIL, RVX_ERROR_FORMAT,
     "\"a\" is -1"},
    {"huge", HEAD "\"labels\": {\"background\": 0, \"a\": 9223372036854775807}, " TAIL,
     RVX_ERROR_FORMAT, "\"a\" is 9223372036854775807"},
    {"a real", HEAD "\"labels\": {\"background\": 0, \"a\": 1.0}, " TAIL, RVX_ERROR_FORMAT,
     "found a real"},
    {"no background", HEAD "\"labels\": {\"x\": 0, \"a\": 1}, " TAIL, RVX_ERROR_FORMAT,
     "expected \"background\" as 0"},
    {"ignore not last", HEAD "\"labels\": {\"background\": 0, \"ignore\": 1, \"a\": 2}, " TAIL,
     RVX_ERROR_FORMAT, "expected the highest value, 2"},
    {"only ignore", HEAD "\"labels\": {\"background\": 0, \"ignore\": 1}, " TAIL, RVX_ERROR_FORMAT,
     "at least one more"},
    {"ending", HEAD LABELS "\"numTraining\": 3, \"file_ending\": \".png\"}", RVX_ERROR_UNSUPPORTED,
     "file_ending: \".png\""},
    {"ending missing", HEAD LABELS "\"numTraining\": 3}", RVX_ERROR_FORMAT,
     "file_ending: expected"},
    {"count", HEAD LABELS "\"numTraining\": 4, \"file_ending\": \".nii.gz\"}", RVX_ERROR_FORMAT,
     "numTraining is 4, found 3"},
    {"count missing", HEAD LABELS "\"file_ending\": \".nii.gz\"}", RVX_ERROR_FORMAT,
     "numTraining: expected an integer"},
    {"too few channels", "{\"channel_names\": {\"0\": \"US\"}, " LABELS TAIL, RVX_ERROR_FORMAT,
     "is channel 1, dataset.json names 1"},
    {"too many channels",
     "{\"channel_names\": {\"0\": \"US\", \"1\": \"d\", \"2\": \"e\"}, " LABELS TAIL, RVX_ERROR_IO,
     "3 files missing: imagesTr/a_0002.nii.gz imagesTr/b_10_0002.nii.gz imagesTr/c_0002.nii.gz"},
    {"listed",
     HEAD LABELS
     "\"dataset\": {\"q\": {\"images\": [\"imagesTr/a_0000.nii.gz\", \"imagesTr/c_0001.nii.gz\"], "
     "\"label\": \"labelsTr/c.nii.gz\"}}, \"numTraining\": 1, \"file_ending\": \".nii.gz\"}",
     RVX_OK, ""},
    {"listed, incomplete",
     HEAD LABELS
     "\"dataset\": {\"q\": {\"images\": [\"imagesTr/a_0000.nii.gz\"], \"label\": \"x\"}}, " TAIL,
     RVX_ERROR_FORMAT, "\"q\": expected \"images\", a list of 2 paths"},
    {"listed, a file missing",
     HEAD LABELS "\"dataset\": {\"q\": {\"images\": [\"imagesTr/a_0000.nii.gz\", \"w\"], "
                 "\"label\": \"x\"}}, " TAIL,
     RVX_ERROR_IO, "2 files missing: w x"},
    {"listed, no list", HEAD LABELS "\"dataset\": 3, " TAIL, RVX_ERROR_FORMAT,
     "dataset: expected an object"},
};

static void test_texts(void)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const damaged_text *t = &texts[i];
        rvx_error error = {0};
        rvx_dataset *d = NULL;
        rvx__file_write(at("dataset.json"), t->text, (int64_t)strlen(t->text), &error);
        rvx_status status = rvx__dataset_open(&d, folder, &error);
        tap_ok(status == t->status && (status == RVX_OK) == (d != NULL) &&
                   (status == RVX_OK || strstr(error.message, t->expected)),
               "%s: %s", t->name, status == RVX_OK ? "opens" : error.message);
        rvx__dataset_free(d);
    }
    rvx_error error = {0};
    rvx__file_write(at("dataset.json"), texts[0].text, (int64_t)strlen(texts[0].text), &error);
}

/* Opens and checks; the message must hold `expected`. */
static void expect(const char *what, rvx_status expected_status, const char *expected)
{
    rvx_error error = {0};
    rvx_dataset *d = NULL;
    rvx_status status = rvx__dataset_open(&d, folder, &error);
    if (status == RVX_OK)
        status = rvx__dataset_check(d, &error);
    tap_ok(status == expected_status && strstr(error.message, expected), "%s: %s", what,
           error.message);
    rvx__dataset_free(d);
}

static void test_files(void)
{
    rvx_geometry other = grid;
    put("labelsTr/b_10.nii.gz", &grid, 7, RVX_VOXEL_U8);
    expect("a label without a name", RVX_ERROR_FORMAT,
           "labelsTr/b_10.nii.gz: voxel (1, 2, 3) holds label 7");
    put("labelsTr/b_10.nii.gz", &grid, 0.5f, RVX_VOXEL_F32);
    expect("half a label", RVX_ERROR_FORMAT, "voxel (1, 2, 3) holds 0.5");
    other.size[2] = 5;
    put("labelsTr/b_10.nii.gz", &other, 1, RVX_VOXEL_U8);
    expect("another size", RVX_ERROR_ARGUMENT, "case b_10: grids differ in size");
    other = grid;
    other.spacing[2] = 2.2;
    put("labelsTr/b_10.nii.gz", &other, 1, RVX_VOXEL_U8);
    expect("another spacing", RVX_ERROR_ARGUMENT, "case b_10: grids differ in spacing");
    other = grid;
    other.origin[0] = 0.01;
    put("labelsTr/b_10.nii.gz", &other, 1, RVX_VOXEL_U8);
    expect("a hundredth of a voxel", RVX_OK, "");
    other.spacing[1] = 3;
    put("imagesTr/c_0001.nii.gz", &other, 1, RVX_VOXEL_F32);
    expect("channels on two grids", RVX_ERROR_ARGUMENT, "case c: grids differ in spacing");
    put("imagesTr/c_0001.nii.gz", &grid, __builtin_nanf(""), RVX_VOXEL_F32);
    expect("NaN", RVX_ERROR_NUMERIC, "c_0001.nii.gz: voxel (1, 2, 3) holds nan");
    rvx_error error = {0};
    rvx__file_remove(at("imagesTr/c_0001.nii.gz"), &error);
    rvx__file_remove(at("labelsTr/a.nii.gz"), &error);
    expect("missing files", RVX_ERROR_IO,
           "2 files missing: labelsTr/a.nii.gz imagesTr/c_0001.nii.gz");
    put("imagesTr/c_0001.nii.gz", &grid, 1, RVX_VOXEL_F32);
    put("labelsTr/a.nii.gz", &grid, 1, RVX_VOXEL_U8);
    put("labelsTr/z.nii.gz", &grid, 1, RVX_VOXEL_U8);
    expect("labels without images", RVX_ERROR_IO, "imagesTr/z_0000.nii.gz imagesTr/z_0001.nii.gz");
    rvx__file_remove(at("labelsTr/z.nii.gz"), &error);
    put("imagesTr/stray.nii.gz", &grid, 1, RVX_VOXEL_F32);
    expect("a stray name", RVX_ERROR_FORMAT, "imagesTr/stray.nii.gz: expected a name such as");
    rvx__file_remove(at("imagesTr/stray.nii.gz"), &error);
    rvx__file_remove(at("imagesTs/t_0001.nii.gz"), &error);
    expect("a test channel missing", RVX_ERROR_IO, "1 file missing: imagesTs/t_0001.nii.gz");
    rvx__file_remove(at("dataset.json"), &error);
    expect("no dataset.json", RVX_ERROR_IO, "dataset.json: cannot open");
}

static void test_write(void)
{
    static const char *const channels[] = {"US"};
    static const char *const twice[] = {"background", "a", "a"};
    static const char *const bytes[] = {"background", "\xff\xfe"};
    rvx_error error = {0};
    TAP_OK(rvx__dataset_write(folder, "x", channels, 1, twice, 3, 1, ".nii", &error) ==
           RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__dataset_write(folder, "x", channels, 1, bytes, 2, 1, ".nii", &error) ==
           RVX_ERROR_ARGUMENT);
    TAP_OK(!rvx__path_exists(at("dataset.json")));
}

int main(void)
{
    char command[200];
    if (!mkdtemp(folder))
        return 1;
    sound_make();
    test_sound();
    test_texts();
    test_files();
    test_write();
    snprintf(command, sizeof command, "rm -r %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
