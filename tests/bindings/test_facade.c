/* The facade as an application sees it: nothing is included but the public header. Checks option
 * versions, refusals by name, and the published figures of the networks. */
#include "bindings/c/revoxel.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rvx_error error;

static int says(const char *part)
{
    if (strstr(error.message, part))
        return 1;
    printf("# message: %s\n", error.message);
    return 0;
}

/* The integer after "key": in the text; -1 where it is not there. */
static long long number_after(const char *text, const char *key)
{
    const char *at = text ? strstr(text, key) : NULL;
    return at ? atoll(at + strlen(key)) : -1;
}

static void test_options(void)
{
    char *text = NULL;
    rvx_models_options options = RVX_OPTIONS(rvx_models_options);
    TAP_OK(strcmp(rvx_version(), "0.1.0") == 0);
    rvx_string_free(NULL);

    options.struct_bytes = 0;
    TAP_OK(rvx_models(&text, &options, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(says("rvx_models_options.struct_bytes is 0") && !text);
    options.struct_bytes = (size_t)-1;
    TAP_OK(rvx_models(&text, &options, &error) == RVX_ERROR_ARGUMENT && !text);

    /* An older header: only struct_bytes and name existed. What lies behind is not read. */
    rvx_models_options older;
    memset(&older, 0xee, sizeof older);
    older.struct_bytes = sizeof(size_t) + sizeof(char *);
    older.name = "revunet3d";
    TAP_OK(rvx_models(&text, &older, &error) == RVX_OK && text && strstr(text, "12365283"));
    rvx_string_free(text);

    /* A newer header: unknown fields are fine as long as they are zero. */
    struct {
        rvx_models_options known;
        long long unknown;
    } newer = {.known = RVX_OPTIONS(rvx_models_options)};
    newer.known.struct_bytes = sizeof newer;
    newer.known.name = "revunet3d";
    TAP_OK(rvx_models(&text, &newer.known, &error) == RVX_OK);
    rvx_string_free(text);
    newer.unknown = 1;
    TAP_OK(rvx_models(&text, &newer.known, &error) == RVX_ERROR_UNSUPPORTED && !text);
    TAP_OK(says("does not know"));
    TAP_OK(rvx_models(&text, NULL, NULL) == RVX_OK && text); /* an error struct is optional */
    rvx_string_free(text);
}

static void test_models(void)
{
    char *text = NULL;
    rvx_models_options options = RVX_OPTIONS(rvx_models_options);
    options.json = 1;
    options.name = "unet3d";
    TAP_OK(rvx_models(&text, &options, &error) == RVX_OK);
    long long parameters = number_after(text, "\"parameters\": ");
    tap_ok(parameters > 31100000 && parameters < 31300000, "31.2 M parameters: %lld", parameters);
    TAP_OK(text && strstr(text, "\"output_shape\": [1, 2, 128, 128, 128]"));
    rvx_string_free(text);

    options.name = "revunet3d";
    options.in_channels = 4;
    options.classes = 3;
    options.size[0] = 64, options.size[1] = 32, options.size[2] = 16;
    TAP_OK(rvx_models(&text, &options, &error) == RVX_OK);
    TAP_OK(number_after(text, "\"parameters\": ") == 12365283);
    TAP_OK(text && strstr(text, "\"output_shape\": [1, 3, 16, 32, 64]"));
    rvx_string_free(text);

    /* unet3d with widths 4, 8, one input, two classes, by hand. Every unit adds bias, gamma, beta.
     * enc0 4(27 + 3) + 4(108 + 3), enc1 8(108 + 3) + 8(216 + 3), up 8 * 4 * 8 + 4,
     * dec0 4(216 + 3) + 4(108 + 3), head0 4 * 2 + 2. */
    static const int64_t widths[] = {4, 8};
    options = (rvx_models_options)RVX_OPTIONS(rvx_models_options);
    options.json = 1;
    options.name = "unet3d";
    options.widths = widths;
    options.width_count = 2;
    TAP_OK(rvx_models(&text, &options, &error) == RVX_OK);
    TAP_OK(number_after(text, "\"parameters\": ") == 120 + 444 + 888 + 1752 + 260 + 876 + 444 + 10);
    /* Two per multiply-add: 3^3 kernels at full and at half resolution, the block of the transposed
     * convolution, the head; normalisation adds a little on top. */
    double convolutions =
        2 * (27 * 4 + 108 * 4 + 108 * 8 / 8. + 216 * 8 / 8. + 8 * 4 + 216 * 4 + 108 * 4 + 4 * 2);
    double flops = (double)number_after(text, "\"flops_per_voxel\": ");
    tap_ok(flops >= convolutions - 1 && flops < 1.2 * convolutions,
           "%g FLOPs a voxel, %g of them "
           "convolutions",
           flops, convolutions);
    rvx_string_free(text);

    options.size[0] = options.size[1] = options.size[2] = 9;
    TAP_OK(rvx_models(&text, &options, &error) == RVX_ERROR_ARGUMENT && !text);
    TAP_OK(says("size expected a multiple of 2 along x"));
    options.name = "unet2d";
    TAP_OK(rvx_models(&text, &options, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(says("unet2d") && says("unet3d, revunet3d"));
    TAP_OK(rvx_models(NULL, &options, &error) == RVX_ERROR_ARGUMENT);
}

static void test_refusals(void)
{
    char *text = NULL;
    TAP_OK(rvx_inspect(&text, NULL, &error) == RVX_ERROR_ARGUMENT && says("path is NULL"));
    TAP_OK(rvx_inspect(&text, "", &error) == RVX_ERROR_ARGUMENT && says("path is empty"));
    TAP_OK(rvx_inspect(&text, "no/such/file.nii", &error) == RVX_ERROR_IO);
    TAP_OK(says("no/such/file.nii") && !text);

    rvx_synth_options synth = RVX_OPTIONS(rvx_synth_options);
    synth.merge = "1;2";
    TAP_OK(rvx_synth("no/such", &synth, &error) == RVX_ERROR_ARGUMENT && says("anatomy"));
    synth = (rvx_synth_options)RVX_OPTIONS(rvx_synth_options);
    synth.threads = -1;
    TAP_OK(rvx_synth("no/such", &synth, &error) == RVX_ERROR_ARGUMENT && says("threads"));

    rvx_plan_settings plan = RVX_OPTIONS(rvx_plan_settings);
    TAP_OK(rvx_plan_dataset(&text, "no/such", &plan, &error) == RVX_ERROR_IO && says("no/such"));
    plan.network = "vnet";
    TAP_OK(rvx_plan_dataset(&text, "no/such", &plan, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(says("unet3d, revunet3d") && !text);
    plan.network = NULL;
    plan.patch[0] = 32;
    TAP_OK(rvx_plan_dataset(&text, "no/such", &plan, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(says("patch"));

    plan = (rvx_plan_settings)RVX_OPTIONS(rvx_plan_settings);
    plan.streams = "i8";
    TAP_OK(rvx_plan_dataset(&text, "no/such", &plan, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(says("streams expected i16, f32 or bf16, found 'i8'"));

    rvx_memory_options memory = RVX_OPTIONS(rvx_memory_options);
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_ERROR_ARGUMENT && says("network"));
    memory.network = "unet3d";
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_ERROR_ARGUMENT && says("size"));
    memory.size[0] = memory.size[1] = 64;
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_ERROR_ARGUMENT && says("along z"));
    memory.size[2] = 64;
    memory.batch = -1;
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_ERROR_ARGUMENT && says("batch"));
    memory.batch = 0;
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_OK && strstr(text, "reversible"));
    rvx_string_free(text);
    memory.plan = "plan.json";
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_ERROR_ARGUMENT && !text);
    memory.network = NULL;
    memory.plan = "no/such/plan.json";
    TAP_OK(rvx_plan_memory(&text, &memory, &error) == RVX_ERROR_IO && says("no/such/plan.json"));

    rvx_check_options check = RVX_OPTIONS(rvx_check_options);
    TAP_OK(rvx_check(&text, "", &check, &error) == RVX_ERROR_ARGUMENT && says("target is empty"));
    TAP_OK(rvx_check(&text, "no/such", &check, &error) == RVX_ERROR_ARGUMENT && says("no/such"));
    check.data = "no/such/image.nii";
    TAP_OK(rvx_check(&text, "unet3d", &check, &error) == RVX_ERROR_IO && says("image.nii"));

    rvx_evaluate_options evaluate = RVX_OPTIONS(rvx_evaluate_options);
    TAP_OK(rvx_evaluate(&text, "no/such", "none", &evaluate, &error) == RVX_ERROR_IO);
    evaluate.tolerance_mm = -1;
    TAP_OK(rvx_evaluate(&text, "no/such", "none", &evaluate, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx_report("no/such/run", NULL, &error) != RVX_OK && says("no/such/run"));
}

/* Objects of one class go that have less than a litre: all of them. */
static void rules_write(const char *path, const char *name)
{
    FILE *file = fopen(path, "w");
    TAP_OK(file != NULL);
    if (!file)
        return;
    fprintf(file, "{\"format_version\": 1, \"smallest_object_mm3\": {\"%s\": 1e6}}\n", name);
    fclose(file);
}

enum { EDGE = 16, VOXELS = EDGE * EDGE * EDGE };
static const rvx_grid grid = {.size = {EDGE, EDGE, EDGE},
                              .spacing = {1, 1, 1},
                              .direction = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};

/* Labels of an image that is noise. */
static int segment(uint8_t *labels, const char *run, const char *rules, int none)
{
    static float image[VOXELS];
    const float *channels[] = {image};
    rvx_segmenter_options options = RVX_OPTIONS(rvx_segmenter_options);
    rvx_segmenter *segmenter = NULL;
    uint32_t state = 1;
    for (int i = 0; i < VOXELS; i++)
        image[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) / 65536.0f;
    options.postprocessing = rules;
    options.no_postprocessing = none;
    int fine = rvx_segmenter_open(&segmenter, run, &options, &error) == RVX_OK &&
               rvx_segmenter_run(segmenter, labels, channels, &grid, NULL, NULL, &error) == RVX_OK;
    if (!fine)
        printf("# %s\n", error.message);
    rvx_segmenter_close(segmenter);
    return fine;
}

/* The label that most voxels have, background aside. */
static int most_frequent(const uint8_t *labels, int voxels)
{
    int count[256] = {0}, best = 1;
    for (int i = 0; i < voxels; i++)
        count[labels[i]]++;
    for (int label = 1; label < 256; label++)
        best = count[label] > count[best] ? label : best;
    return count[best] ? best : 0;
}

static int cancel(void *context, const rvx_progress *progress)
{
    (void)context, (void)progress;
    return 1;
}

static int all_are(const uint8_t *labels, uint8_t value)
{
    for (int i = 0; i < VOXELS; i++)
        if (labels[i] != value)
            return 0;
    return 1;
}

/* Opens with a budget, asks for the bytes and runs. */
static rvx_status run_within(int64_t *bytes, uint8_t *labels, const char *run, int64_t budget,
                             int none, rvx_progress_callback progress)
{
    static const float image[VOXELS];
    const float *channels[] = {image};
    rvx_segmenter_options options = RVX_OPTIONS(rvx_segmenter_options);
    rvx_segmenter *segmenter = NULL;
    options.budget_bytes = budget;
    options.no_postprocessing = none;
    rvx_status asked = RVX_OK, status = rvx_segmenter_open(&segmenter, run, &options, &error);
    if (status == RVX_OK) {
        asked = rvx_segmenter_bytes(bytes, segmenter, &grid, &error);
        status = rvx_segmenter_run(segmenter, labels, channels, &grid, progress, NULL, &error);
    }
    rvx_segmenter_close(segmenter);
    TAP_OK((asked == RVX_OK) == (status == RVX_OK || progress));
    return status;
}

/* `run` has rules beside its model: their memory is part of what is asked and of the budget. */
static void test_segmenter_budget(const char *run)
{
    static uint8_t labels[VOXELS];
    int64_t with = 0, without = 0, untouched = -7;
    TAP_OK(run_within(&with, labels, run, 0, 0, NULL) == RVX_OK);
    TAP_OK(run_within(&without, labels, run, 0, 1, NULL) == RVX_OK);
    tap_ok(with - without == VOXELS + 32 * EDGE * EDGE + (1 << 20), "rules count: %lld, %lld",
           (long long)with, (long long)without);
    TAP_OK(run_within(&with, labels, run, with, 0, NULL) == RVX_OK);
    memset(labels, 9, sizeof labels);
    TAP_OK(run_within(&untouched, labels, run, with - 1, 0, NULL) == RVX_ERROR_MEMORY);
    TAP_OK(says("post-processing") && says("budget") && untouched == -7 && all_are(labels, 9));
    TAP_OK(run_within(&without, labels, run, without, 1, NULL) == RVX_OK);
    TAP_OK(run_within(&untouched, labels, run, without - 1, 1, NULL) == RVX_ERROR_MEMORY);
    memset(labels, 9, sizeof labels);
    TAP_OK(run_within(&with, labels, run, 0, 0, cancel) == RVX_CANCELLED && all_are(labels, 0));
}

static void test_segmenter_rules(void)
{
    static const char *const names[] = {"background", "parenchyma", "vessel", "gallbladder",
                                        "tumour"};
    static uint8_t raw[VOXELS], beside[VOXELS], named[VOXELS], wanted[VOXELS];
    static const int64_t widths[] = {4, 8};
    char folder[] = "/tmp/rvx_facade_XXXXXX", data[64], run[64], rules[96], command[64];
    if (!mkdtemp(folder)) {
        tap_ok(0, "a scratch folder");
        return;
    }
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(rules, sizeof rules, "%s/postprocessing.json", run);
    rvx_synth_options synth = RVX_OPTIONS(rvx_synth_options);
    synth.cases = 5;
    synth.size[0] = synth.size[1] = synth.size[2] = 16;
    TAP_OK(rvx_synth(data, &synth, &error) == RVX_OK);
    rvx_plan_settings plan = RVX_OPTIONS(rvx_plan_settings);
    plan.widths = widths;
    plan.width_count = 2;
    plan.patch[0] = plan.patch[1] = plan.patch[2] = 16;
    plan.steps = 2;
    rvx_train_options train = RVX_OPTIONS(rvx_train_options);
    train.settings = &plan;
    train.no_validation_output = 1;
    train.threads = 1;
    tap_ok(rvx_train(data, run, &train, &error) == RVX_OK, "trained: %s", error.message);
    TAP_OK(segment(raw, run, NULL, 0)); /* nothing lies beside the model yet */
    int label = most_frequent(raw, VOXELS);
    tap_ok(label > 0 && label < 5, "some class is found: %d", label);
    rules_write(rules, label > 0 && label < 5 ? names[label] : "");
    TAP_OK(segment(beside, run, NULL, 0));
    for (int i = 0; i < VOXELS; i++)
        wanted[i] = raw[i] == label ? 0 : raw[i];
    tap_ok(memcmp(beside, wanted, VOXELS) == 0, "rules beside the model are applied");
    TAP_OK(segment(named, run, rules, 0) && memcmp(named, beside, VOXELS) == 0);
    TAP_OK(segment(named, run, NULL, 1) && memcmp(named, raw, VOXELS) == 0);
    TAP_OK(!segment(named, run, rules, 1) && says("exclude each other"));
    TAP_OK(!segment(named, run, "no/such.json", 0) && says("no/such.json"));
    test_segmenter_budget(run);
    snprintf(command, sizeof command, "rm -r %s", folder);
    TAP_OK(system(command) == 0);
}

int main(void)
{
    test_options();
    test_models();
    test_refusals();
    test_segmenter_rules();
    return tap_done();
}
