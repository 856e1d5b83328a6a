/* Post-processing: what each rule does to small maps, its file, and the choice by validation. */
#include "../run/peak.h"
#include "engine/segment/postprocess.h"
#include "fixture.h"

static const double millimetre[3] = {1, 1, 1};

/* Runs the rules over a map of one slice after the other and says whether it becomes `after`. */
static bool becomes(uint8_t *labels, const uint8_t *after, const int64_t size[3],
                    const double spacing[3], const rvx_postprocess *rules,
                    rvx_postprocess_result *result)
{
    int64_t voxels = size[0] * size[1] * size[2];
    rvx_spool *spool = NULL;
    bool same = rvx__spool_over(&spool, labels, voxels, NULL) == RVX_OK &&
                rvx__postprocess_run(spool, size, spacing, rules, 0, result, NULL) == RVX_OK &&
                memcmp(labels, after, (size_t)voxels) == 0;
    rvx__spool_free(spool);
    return same;
}

static void test_largest(void)
{
    const int64_t size[3] = {9, 1, 2};
    const uint8_t before[18] = {1, 1, 0, 1, 2, 0, 2, 0, 3, /**/ 0, 1, 0, 1, 0, 0, 2, 2, 0};
    const uint8_t all[18] = {1, 1, 0, 0, 0, 0, 2, 0, 3, /**/ 0, 1, 0, 0, 0, 0, 2, 2, 0};
    const uint8_t two[18] = {1, 1, 0, 1, 0, 0, 2, 0, 3, /**/ 0, 1, 0, 1, 0, 0, 2, 2, 0};
    /* All foreground makes three objects: 3 voxels from x = 0, 3 from 3, and 4 from 6, whose parts
     * touch by an edge. */
    const uint8_t one[18] = {0, 0, 0, 0, 0, 0, 2, 0, 3, /**/ 0, 0, 0, 0, 0, 0, 2, 2, 0};
    uint8_t labels[18];
    rvx_postprocess_result result;
    rvx_postprocess rules = {.largest = {[2] = true}};
    TAP_OK(!rvx__postprocess_idle(&rules));
    TAP_OK(rvx__postprocess_idle(&(rvx_postprocess){0}));
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, two, size, millimetre, &rules, &result));
    TAP_OK(result.removed_voxels == 1 && result.filled_voxels == 0);
    memset(rules.largest, true, sizeof rules.largest);
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, all, size, millimetre, &rules, &result) && result.removed_voxels == 3);
    memcpy(labels, before, sizeof labels);
    rules = (rvx_postprocess){.largest_foreground = true};
    TAP_OK(becomes(labels, one, size, millimetre, &rules, &result));
    TAP_OK(result.removed_voxels == 6);
    uint8_t ties[5] = {1, 0, 1, 0, 1}, first[5] = {1};
    TAP_OK(becomes(ties, first, (int64_t[]){5, 1, 1}, millimetre, &rules, NULL));
}

static void test_smallest(void)
{
    const int64_t size[3] = {8, 1, 1};
    const double spacing[3] = {2, 0.5, 3}; /* 3 mm^3 a voxel */
    const uint8_t before[8] = {1, 1, 0, 1, 0, 2, 0, 0}, after[8] = {1, 1, 0, 0, 0, 2, 0, 0};
    uint8_t labels[8];
    rvx_postprocess rules = {.smallest_mm3 = {[1] = 6}};
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, after, size, spacing, &rules, NULL)); /* an object of 6 mm^3 stays */
    rules.smallest_mm3[1] = 3;
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, before, size, spacing, &rules, NULL));
}

/* A box of 1 with holes of one and of two voxels, one that touches label 2, and a notch that
 * reaches the face of the volume. */
static void test_holes(void)
{
    const int64_t size[3] = {9, 7, 7};
    uint8_t before[9 * 7 * 7], after[9 * 7 * 7], labels[9 * 7 * 7];
    memset(before, 0, sizeof before);
#define AT(x, y, z) (((z)*7 + (y)) * 9 + (x))
    for (int z = 1; z < 6; z++)
        for (int y = 1; y < 6; y++)
            for (int x = 0; x < 8; x++)
                before[AT(x, y, z)] = 1;
    before[AT(2, 2, 2)] = 0;
    before[AT(4, 2, 2)] = before[AT(4, 3, 2)] = 0;
    before[AT(6, 4, 4)] = 0, before[AT(6, 4, 3)] = 2;
    before[AT(0, 4, 4)] = 0;
    memcpy(after, before, sizeof after);
    after[AT(2, 2, 2)] = 1;
    rvx_postprocess rules = {.hole_mm3 = {[1] = 1, [2] = 100}};
    rvx_postprocess_result result;
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, after, size, millimetre, &rules, &result));
    TAP_OK(result.filled_voxels == 1 && result.removed_voxels == 0);
    after[AT(4, 2, 2)] = after[AT(4, 3, 2)] = 1;
    rules.hole_mm3[1] = 2;
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, after, size, millimetre, &rules, &result) && result.filled_voxels == 3);
    /* What is removed first opens no hole and may close none: label 2 goes, its place is filled. */
    rules.smallest_mm3[2] = 2;
    after[AT(6, 4, 4)] = after[AT(6, 4, 3)] = 1;
    memcpy(labels, before, sizeof labels);
    TAP_OK(becomes(labels, after, size, millimetre, &rules, &result));
    TAP_OK(result.removed_voxels == 1 && result.filled_voxels == 5);
#undef AT
}

/* The file on disk gives what memory gives, and leaves nothing. */
static void test_spool(void)
{
    rvx_spool *spool = NULL;
    rvx_names names = {0};
    uint8_t labels[5] = {1, 0, 1, 1, 0}, got[5];
    const uint8_t after[5] = {0, 0, 1, 1, 0};
    rvx_error error = {0};
    const rvx_postprocess rules = {.largest = {[1] = true}};
    TAP_OK(rvx__directory_create(fixture_path("room"), &error) == RVX_OK);
    TAP_OK(rvx__spool_create(&spool, fixture_path("room"), &error) == RVX_OK);
    TAP_OK(rvx__spool_write(spool, 0, labels, 5, &error) == RVX_OK);
    TAP_OK(rvx__postprocess_run(spool, (int64_t[]){5, 1, 1}, millimetre, &rules, 0, NULL, &error) ==
           RVX_OK);
    TAP_OK(rvx__spool_read(spool, 0, got, 5, &error) == RVX_OK && memcmp(got, after, 5) == 0);
    TAP_OK(rvx__spool_read(spool, 3, got, 5, &error) == RVX_ERROR_IO);
    TAP_OK(rvx__directory_list(&names, fixture_path("room"), NULL, &error) == RVX_OK &&
           names.count == 0);
    rvx__names_free(&names);
    rvx__spool_free(spool);
    TAP_OK(rvx__spool_create(&spool, fixture_path("nowhere"), &error) == RVX_ERROR_IO && !spool);
    TAP_OK(strstr(error.message, "nowhere") != NULL);
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

enum { EDGE = 256, DEPTH = 96 };
static const int64_t large[3] = {EDGE, EDGE, DEPTH};
static uint8_t pieces[EDGE * EDGE * DEPTH];

/* Single voxels of liver, so far apart. */
static void scatter(int pitch)
{
    memset(pieces, 0, sizeof pieces);
    for (int z = 0; z < DEPTH; z += pitch)
        for (int y = 0; y < EDGE; y += pitch)
            for (int x = 0; x < EDGE; x += pitch)
                pieces[((int64_t)z * EDGE + y) * EDGE + x] = 1;
}

static rvx_status apply_within(int64_t bytes_max, rvx_error *error)
{
    const rvx_postprocess rules = {.largest = {[1] = true}, .hole_mm3 = {[1] = 9}};
    rvx_spool *spool = NULL;
    rvx_status status = rvx__spool_over(&spool, pieces, sizeof pieces, error);
    if (status == RVX_OK)
        status = rvx__postprocess_run(spool, large, millimetre, &rules, bytes_max, NULL, error);
    rvx__spool_free(spool);
    return status;
}

/* As processes: nothing; within what is promised; refused by it; without a limit. */
static int apply_nothing(const char *unused) { return unused && pieces[0] ? 0 : 1; }

static int64_t promised(void)
{
    return rvx__postprocess_bytes(large, &(rvx_postprocess){.largest_foreground = true});
}

static int apply_promised(const char *unused)
{
    return unused && apply_within(promised(), NULL) == RVX_OK ? 0 : 1;
}

static int apply_refused(const char *unused)
{
    return unused && apply_within(promised(), NULL) == RVX_ERROR_MEMORY ? 0 : 1;
}

static int apply_freely(const char *unused)
{
    return unused && apply_within(0, NULL) == RVX_OK ? 0 : 1;
}

static int64_t more_than_nothing(int (*work)(const char *))
{
    int64_t before = peak_of(apply_nothing, "");
    int64_t peak = peak_of(work, "");
    return before < 0 || peak < 0 ? -1 : peak - before;
}

/* What is promised is kept by the process, whether the map is done or refused. */
static void test_bytes(void)
{
    rvx_error error = {0};
    const int64_t bound = promised();
    TAP_OK(bound == (int64_t)EDGE * EDGE * (DEPTH + 32) + (1 << 20));
    TAP_OK(rvx__postprocess_bytes(large, &(rvx_postprocess){0}) == 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    tap_skip("sanitizers have memory of their own");
    scatter(2);
#else
    scatter(6); /* one object in 216 voxels */
    int64_t done = more_than_nothing(apply_promised);
    tap_ok(done > (1 << 20) && done <= bound + (1 << 20), "%lld of %lld bytes promised",
           (long long)done, (long long)bound);
    scatter(2); /* one in 8 */
    int64_t refused = more_than_nothing(apply_refused), free = more_than_nothing(apply_freely);
    tap_ok(refused > (1 << 20) && refused <= bound + (1 << 20), "refused with %lld bytes of %lld",
           (long long)refused, (long long)bound);
    tap_ok(free > 2 * bound, "and takes %lld where it may", (long long)free);
#endif
    TAP_OK(apply_within(bound, &error) == RVX_ERROR_MEMORY && strstr(error.message, "pieces"));
    TAP_OK(apply_within(EDGE * EDGE, &error) == RVX_ERROR_MEMORY && strstr(error.message, "slice"));
    const int64_t least = EDGE * EDGE + 4096; /* not even the rows of two slices */
    TAP_OK(apply_within(least, &error) == RVX_ERROR_MEMORY);
}

static void test_file(void)
{
    static const char *const names[] = {"background", "liver", "vessel"};
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"{\"format_version\": 2}", "format_version"},
        {"{\"format_version\": 1, \"keep\": 1}", "keep"},
        {"{\"format_version\": 1, \"keep_largest\": {\"classes\": [\"livre\"]}}", "livre"},
        {"{\"format_version\": 1, \"keep_largest\": {\"classes\": [\"background\"]}}",
         "background"},
        {"{\"format_version\": 1, \"fill_holes_mm3\": {\"liver\": -1}}", "fill_holes_mm3.liver"},
        {"{\"format_version\": 1, \"smallest_object_mm3\": 5}", "smallest_object_mm3"}};
    rvx_postprocess rules;
    rvx_error error = {0};
    const char *path = fixture_path("rules.json");
    fixture_write("rules.json",
                  "{\"format_version\": 1, \"keep_largest\": {\"classes\": [\"vessel\"]},"
                  "\"smallest_object_mm3\": {\"liver\": 12.5},"
                  "\"fill_holes_mm3\": {\"vessel\": 3}}");
    TAP_OK(rvx__postprocess_load(&rules, path, names, 3, &error) == RVX_OK);
    TAP_OK(!rules.largest_foreground && rules.largest[2] && !rules.largest[1] &&
           rules.smallest_mm3[1] == 12.5 && rules.hole_mm3[2] == 3);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fixture_write("rules.json", wrong[i].text);
        TAP_OK(rvx__postprocess_load(&rules, path, names, 3, &error) == RVX_ERROR_FORMAT);
        tap_ok(strstr(error.message, wrong[i].says) && strstr(error.message, "rules.json"), "%s",
               error.message);
    }
}

/* Two cases of label 1 with an island each, which is a mistake; of label 2 with two parts, which
 * both are right. Dice by hand: 64 voxels a box. */
static void test_choice(void)
{
    static const char *const names[] = {"background", "liver", "vessel"};
    uint8_t reference[12 * 10 * 8] = {0}, prediction[12 * 10 * 8];
    rvx_label_class classes[2];
    rvx_class_list list;
    rvx_postprocess_choice choice = {0};
    rvx_postprocess rules;
    rvx_error error = {0};
    json_t *tree = NULL;
    rvx__label_class_set(&classes[0], "liver", 1);
    rvx__label_class_set(&classes[1], "vessel", 2);
    TAP_OK(rvx__class_list_copy(&list, classes, 2, -1, &error) == RVX_OK);
    fixture_box(reference, 0, 1);
    fixture_box(reference, 6, 2);
    reference[11] = 2;
    memcpy(prediction, reference, sizeof prediction);
    prediction[12 * 10 * 8 - 12] = 1; /* the last row: far from all else */
    fixture_volume("reference.nii.gz", reference, 0);
    fixture_volume("prediction.nii.gz", prediction, 0);
    TAP_OK(rvx__postprocess_choice_create(&choice, &list, &error) == RVX_OK);
    for (int i = 0; i < 2; i++)
        TAP_OK(rvx__postprocess_choice_add(&choice, fixture_path("prediction.nii.gz"),
                                           fixture_path("reference.nii.gz"), NULL,
                                           &error) == RVX_OK);
    const char *path = fixture_path("chosen.json");
    TAP_OK(rvx__postprocess_choice_write(&choice, path, &error) == RVX_OK);
    TAP_OK(!choice.rules.largest_foreground && choice.rules.largest[1] && !choice.rules.largest[2]);
    TAP_OK(rvx__postprocess_load(&rules, path, names, 3, &error) == RVX_OK);
    TAP_OK(memcmp(&rules, &choice.rules, sizeof rules) == 0);
    TAP_OK(rvx__json_load(&tree, path, 1 << 20, &error) == RVX_OK);
    json_t *gains = json_object_get(json_object_get(tree, "chosen_by"), "classes");
    json_t *liver = json_array_get(gains, 0), *vessel = json_array_get(gains, 1);
    double before = json_number_value(json_object_get(liver, "dice_as_predicted"));
    TAP_OK(fabs(before - 2.0 * 64 / (64 + 65)) < 1e-15);
    TAP_OK(json_number_value(json_object_get(liver, "dice_chosen")) == 1);
    TAP_OK(json_number_value(json_object_get(vessel, "dice_chosen")) == 1);
    double worse = json_number_value(json_object_get(vessel, "dice_class_largest"));
    TAP_OK(fabs(worse - 2.0 * 64 / (64 + 65)) < 1e-15);
    json_decref(tree);
    rvx__postprocess_choice_free(&choice);
    rvx__class_list_free(&list);
}

int main(void)
{
    fixture_begin();
    test_largest();
    test_smallest();
    test_holes();
    test_spool();
    test_bytes();
    test_file();
    test_choice();
    fixture_end();
    return tap_done();
}
