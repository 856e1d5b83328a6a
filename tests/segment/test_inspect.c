/* Inspection of volumes and folders. */
#include "engine/segment/inspect.h"
#include "engine/volume/dataset.h"
#include "fixture.h"

/* Inspects and looks for parts of the text, or of the message where it is refused. */
static rvx_status inspect(const char *path, const char *const *parts)
{
    rvx_text text = {0};
    rvx_error error = {0};
    rvx_status status = rvx__inspect(&text, path, &error);
    const char *said = status == RVX_OK ? text.data : error.message;
    for (int i = 0; parts[i]; i++)
        if (!tap_ok(said && strstr(said, parts[i]) != NULL, "%s: says '%s'", rvx__path_name(path),
                    parts[i]))
            printf("# %s\n", said ? said : "(nothing)");
    rvx__text_free(&text);
    return status;
}
#define SAYS(...)                                                                                  \
    (const char *const[]) { __VA_ARGS__, NULL }

static void test_statistics(void)
{
    rvx_error error = {0};
    rvx_geometry grid = fixture_grid(0);
    float voxels[FIXTURE_VOXELS];
    double sum = 0;
    for (int i = 0; i < FIXTURE_VOXELS; i++) {
        voxels[i] = 1e6f + (float)(i % 7) * 0.25f;
        sum += (i % 7) * 0.25;
    }
    double mean = sum / FIXTURE_VOXELS, squares = 0;
    for (int i = 0; i < FIXTURE_VOXELS; i++)
        squares += ((i % 7) * 0.25 - mean) * ((i % 7) * 0.25 - mean);
    const char *path = fixture_path("float.nii.gz");
    TAP_OK(rvx__volume_write(path, &grid, RVX_VOXEL_F32, voxels, NULL, &error) == RVX_OK);
    rvx_volume_reader *reader = NULL;
    rvx_voxel_statistics s;
    TAP_OK(rvx__volume_reader_open(&reader, path, &error) == RVX_OK);
    TAP_OK(rvx__voxel_statistics(&s, reader, path, &error) == RVX_OK);
    rvx__volume_reader_close(reader);
    TAP_OK(s.voxels == FIXTURE_VOXELS && s.zeros == 0 && !s.countable);
    TAP_OK(s.low == 1e6 && s.high == 1e6 + 1.5);
    /* sums of multiples of 1/16 below 2^53: exact but for the last division */
    TAP_OK(fabs(s.mean - (1e6 + mean)) < 1e-9 && fabs(s.deviation - sqrt(squares / 960.0)) < 1e-9);
}

static void test_volume(void)
{
    uint8_t labels[FIXTURE_VOXELS] = {0};
    fixture_box(labels, 2, 5);
    labels[0] = 2;
    fixture_volume("labels.nii.gz", labels, 7.5);
    TAP_OK(inspect(fixture_path("labels.nii.gz"),
                   SAYS("12 x 10 x 8 voxels (x, y, z), uint8", "1 x 2 x 3 mm, extent 12 x 20 x 24",
                        "LPS (x", "7.5, 0, 0 mm (LPS", "sform code", "slope 1, intercept 0",
                        "0 to 5, mean 0.335417", "3 different whole numbers",
                        "               5              64     6.6667        0.3840",
                        "               2               1     0.1042        0.0060")) == RVX_OK);
    for (int i = 0; i < FIXTURE_VOXELS; i++)
        labels[i] = (uint8_t)i;
    fixture_volume("grey.nii", labels, 0);
    TAP_OK(inspect(fixture_path("grey.nii"), SAYS("256 different whole numbers")) == RVX_OK);
    fixture_write("broken.nii", "nonsense");
    TAP_OK(inspect(fixture_path("broken.nii"), SAYS("broken.nii")) != RVX_OK);
    TAP_OK(inspect(fixture_path("absent.nii"), SAYS("absent.nii")) == RVX_ERROR_IO);
}

static void test_folder(void)
{
    rvx_error error = {0};
    uint8_t labels[FIXTURE_VOXELS] = {0};
    rvx__directory_create(fixture_path("folder"), &error);
    TAP_OK(inspect(fixture_path("folder"), SAYS("neither dataset.json nor a volume")) ==
           RVX_ERROR_ARGUMENT);
    fixture_volume("folder/one.nii.gz", labels, 0);
    fixture_write("folder/notes.txt", "x");
    TAP_OK(inspect(fixture_path("folder"), SAYS("one.nii.gz", "12 x 10 x 8", "1 volume")) ==
           RVX_OK);
    fixture_write("folder/two.nii.gz", "cut");
    TAP_OK(inspect(fixture_path("folder"), SAYS("two.nii.gz")) != RVX_OK);
}

static void test_dataset(void)
{
    rvx_error error = {0};
    uint8_t labels[FIXTURE_VOXELS] = {0};
    static const char *const channels[] = {"US"}, *const classes[] = {"background", "cyst"};
    rvx__directory_create(fixture_path("set/imagesTr"), &error);
    rvx__directory_create(fixture_path("set/labelsTr"), &error);
    fixture_box(labels, 2, 1);
    fixture_volume("set/labelsTr/a.nii.gz", labels, 0);
    fixture_volume("set/imagesTr/a_0000.nii.gz", labels, 0);
    fixture_volume("set/imagesTr/b_0000.nii.gz", labels, 0);
    memset(labels, 0, sizeof labels);
    fixture_volume("set/labelsTr/b.nii.gz", labels, 0);
    const char *set = fixture_path("set");
    TAP_OK(rvx__dataset_write(set, "Set", channels, 1, classes, 2, 2, ".nii.gz", &error) == RVX_OK);
    TAP_OK(inspect(set, SAYS("2 training cases, 0 test cases", "x 12 voxels", "z 3 mm",
                             "LPS in 2 cases", "US, 0 to 1, mean 0.0666667",
                             "    1  cyst                             1              64        "
                             "0.3840")) == RVX_OK);
    fixture_box(labels, 2, 2);
    fixture_volume("set/labelsTr/b.nii.gz", labels, 0);
    TAP_OK(inspect(set, SAYS("b.nii.gz: 64 voxels have label 2; expected 0 to 1")) ==
           RVX_ERROR_FORMAT);
    TAP_OK(unlink(fixture_path("set/labelsTr/b.nii.gz")) == 0);
    TAP_OK(inspect(set, SAYS("b.nii.gz")) != RVX_OK);
}

int main(void)
{
    fixture_begin();
    test_statistics();
    test_volume();
    test_folder();
    test_dataset();
    fixture_end();
    return tap_done();
}
