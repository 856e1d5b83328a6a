/* The plan: round trip, refusals by name, nnU-Net's topology rules, folds. */
#include "engine/run/cases.h"
#include "engine/run/recipe.h"
#include "engine/run/recipe_fields.h"
#include "tap.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static rvx_error error;

static const char *const channel_names[] = {"ultrasound", "CT"};
static const char *const label_names[] = {"background", "gland", "cyst"};

static rvx_recipe_facts facts_for(const int64_t (*sizes)[3], const double (*spacings)[3],
                                  int64_t count)
{
    return (rvx_recipe_facts){.sizes = sizes,
                              .spacings = spacings,
                              .case_count = count,
                              .target_spacing = {spacings[0][0], spacings[0][1], spacings[0][2]},
                              .channels = 1,
                              .classes = 2,
                              .channel_names = channel_names,
                              .labels = label_names};
}

static json_t *sample(void)
{
    static const int64_t sizes[1][3] = {{64, 64, 64}};
    static const double spacings[1][3] = {{1, 1, 1}};
    rvx_recipe recipe;
    rvx_recipe_facts facts = facts_for(sizes, spacings, 1);
    if (rvx__recipe_default(&recipe, &facts, &error) != RVX_OK)
        return NULL;
    json_t *json = rvx__recipe_to_json(&recipe);
    rvx__recipe_free(&recipe);
    return json;
}

/* Sets a field of the sample to JSON text (NULL: removes it) and reads the plan. */
static int refused(const char *path, const char *value, const char *expected)
{
    json_t *root = sample(), *object = root;
    char part[64];
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        object = json_object_get(object, part);
    }
    if (value)
        json_object_set_new(object, path, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(object, path);
    rvx_recipe recipe;
    error.message[0] = 0;
    rvx_status status = rvx__recipe_from_json(&recipe, root, "plan.json", &error);
    rvx__recipe_free(&recipe);
    json_decref(root);
    int passed = expected ? status == RVX_ERROR_FORMAT && strstr(error.message, expected) &&
                                strncmp(error.message, "plan.json", 9) == 0
                          : status == RVX_OK;
    if (!passed)
        printf("# %s = %s: %s\n", path, value ? value : "(gone)", error.message);
    return passed;
}

static void test_refusals(void)
{
    TAP_OK(refused("optimizer.learning_rate", "0.02", NULL));
    TAP_OK(refused("optimizer.lerning_rate", "0.02",
                   "field 'optimizer.lerning_rate' is not known; did you mean 'learning_rate'?"));
    TAP_OK(refused("patchs", "1", "field 'patchs' is not known; did you mean 'patch'?"));
    TAP_OK(refused("augmentation.rotation.degree", "[1, 2, 3]", "did you mean 'degrees'?"));
    TAP_OK(refused("optimizer.learning_rate", "\"fast\"",
                   "field 'optimizer.learning_rate' expected number in [0, 100], found string"));
    TAP_OK(refused("optimizer.name", "\"adam\"", "expected \"sgd\" or \"adamw\""));
    TAP_OK(refused("training.seed", "-1", "field 'training.seed' expected integer in [0, "));
    TAP_OK(refused("format_version", "2", "field 'format_version' expected integer in [1, 1]"));
    TAP_OK(refused("format_version", NULL, "found nothing"));
    TAP_OK(refused("network.widths", NULL, "field 'network.widths' expected array"));
    TAP_OK(refused("network", NULL, "field 'network' expected object, found nothing"));
    TAP_OK(refused("network.strides", "[[1, 1, 1]]", "field 'network.strides' expected array of"));
    TAP_OK(refused("network.kernels", NULL, NULL));
    TAP_OK(refused("augmentation", NULL, NULL));
    TAP_OK(refused("network.classes", "3", "names no label with value 2"));
    TAP_OK(refused("network.in_channels", "2", "field 'normalisation' expected array of 2"));
    TAP_OK(refused("patch.size", "\"whole\"", NULL));
    TAP_OK(refused("patch.size", "\"hole\"", "expected [x, y, z] or \"whole\""));
    TAP_OK(refused("patch.size", "[64, 60, 64]",
                   "field 'patch.size' expected a multiple of 16 along y"));
    TAP_OK(refused("patch.size", "[16, 16, 16]", "leaves one voxel in the last stage"));
    TAP_OK(refused("spacing", "[1, 0, 1]", "field 'spacing[1]' expected number"));
    TAP_OK(refused("spacing", "null", NULL));
    TAP_OK(refused("normalisation", "[{\"scheme\": \"ct\"}]",
                   "field 'normalisation[0].lower' expected number"));
    TAP_OK(refused("normalisation",
                   "[{\"scheme\": \"ct\", \"lower\": 5, \"upper\": 1, \"mean\": 0, \"std\": 1}]",
                   "field 'normalisation[0].upper' expected number in [5,"));
    TAP_OK(refused("normalisation",
                   "[{\"scheme\": \"percentiles\", \"lower\": 0.5, \"upper\": 99.5}]", NULL));
    TAP_OK(refused("normalisation", "[{\"scheme\": \"percentiles\", \"lower\": 5, \"upper\": 101}]",
                   "field 'normalisation[0].upper' expected number in [5, 100]"));
    TAP_OK(refused("normalisation",
                   "[{\"scheme\": \"percentiles\", \"lower\": 1, \"upper\": 99, \"b_min\": -1, "
                   "\"b_max\": 3, \"clip\": false, \"relative\": true}]",
                   NULL));
    TAP_OK(refused("normalisation",
                   "[{\"scheme\": \"percentiles\", \"lower\": 1, \"upper\": 99, \"b_min\": 1}]",
                   "expected b_min < b_max"));
    TAP_OK(refused("normalisation",
                   "[{\"scheme\": \"percentiles\", \"lower\": 1, \"upper\": 99, \"clip\": 1}]",
                   "field 'normalisation[0].clip' expected"));
    TAP_OK(refused("normalisation", "[{\"scheme\": \"percentiles\", \"lower\": 50, \"upper\": 50}]",
                   "expected percentiles 0 <= lower < upper <= 100"));
    TAP_OK(refused("normalisation", "[{\"scheme\": \"none\", \"mean\": 1}]",
                   "field 'normalisation[0].mean' is not known"));
    TAP_OK(refused("augmentation.mirror_axes", "[]", NULL));
    TAP_OK(refused("augmentation.mirror_axes", "[\"x\", \"x\"]", "names axis x twice"));
    TAP_OK(refused("augmentation.gamma.exponent", "[2, 1]",
                   "field 'augmentation.gamma.exponent[1]' expected number in [2, 100]"));
    TAP_OK(refused("labels", "{\"background\": 0}", "names no label with value 1"));
    TAP_OK(refused("labels", "{\"background\": 0, \"gland\": 0}", "has value 0, and so has"));
    TAP_OK(refused("labels", "{\"background\": 0, \"gland\": 5}", "expected integer in [0, 1]"));
    TAP_OK(refused("labels", "{\"background\": 0, \"gland\": 1, \"ignore\": 2}",
                   "must both be given"));
    TAP_OK(refused("loss.ignore_label", "2", "must both be given"));
    TAP_OK(refused("fold.index", "5", "field 'fold.index' expected 0 to"));
    TAP_OK(refused("fold.train", "[\"a\", \"b\"]", NULL));
    TAP_OK(refused("fold.validation", "[\"a\"]", "field 'fold.train' lists no case"));
    TAP_OK(refused("optimizer.momentum", "0", "field 'optimizer.nesterov' needs a momentum"));
    TAP_OK(refused("optimizer.warmup_steps", "1000000", "field 'optimizer.warmup_steps'"));
}

/* MONAI's formula for what the ends become. */
static void test_percentiles(void)
{
    json_t *json = sample();
    rvx_recipe recipe;
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    rvx_case_recipe made;
    for (int relative = 0; relative < 2; relative++) {
        json_object_set_new(json, "normalisation",
                            json_pack("[{s:s,s:f,s:f,s:f,s:f,s:b,s:b}]", "scheme", "percentiles",
                                      "lower", 5.0, "upper", 90.0, "b_min", -1.0, "b_max", 3.0,
                                      "clip", !relative, "relative", relative));
        TAP_OK(rvx__recipe_from_json(&recipe, json, "plan.json", &error) == RVX_OK);
        json_t *again = rvx__recipe_to_json(&recipe);
        TAP_OK(json_equal(json_object_get(json, "normalisation"),
                          json_object_get(again, "normalisation")));
        rvx__case_recipe_make(&made, channels, &recipe);
        const double to[2] = {relative ? 4 * 0.05 - 1 : -1, relative ? 4 * 0.9 - 1 : 3};
        TAP_OK(fabs(channels[0].to[0] - to[0]) < 1e-12 && fabs(channels[0].to[1] - to[1]) < 1e-12 &&
               channels[0].clip == !relative && channels[0].low == 5 && channels[0].high == 90);
        json_decref(again);
        rvx__recipe_free(&recipe);
    }
    json_decref(json);
}

/* Every row of the table, set to a value other than its default, survives the round trip. */
static void test_round_trip(void)
{
    json_t *first = sample();
    json_object_set_new(json_object_get(first, "fold"), "train", json_pack("[ss]", "a", "b"));
    json_object_set_new(json_object_get(first, "fold"), "validation", json_pack("[s]", "c"));
    json_object_set_new(json_object_get(first, "loss"), "ignore_label", json_integer(2));
    json_object_set_new(json_object_get(first, "labels"), "ignore", json_integer(2));
    json_object_set_new(first, "normalisation",
                        json_pack("[{s:s,s:f,s:f,s:f,s:f}]", "scheme", "ct", "lower", -100.5,
                                  "upper", 300.1, "mean", 1.0 / 3, "std", 55.5));
    json_object_set_new(json_object_get(first, "augmentation"), "mirror_axes",
                        json_pack("[s]", "y"));
    int changed = 0;
    for (const rvx_field *field = rvx__recipe_fields; field->path; field++) {
        json_t *object = first;
        const char *key = field->path, *dot;
        char part[64];
        for (; (dot = strchr(key, '.')); key = dot + 1) {
            snprintf(part, sizeof part, "%.*s", (int)(dot - key), key);
            object = json_object_get(object, part);
        }
        double middle = field->min + (field->max - field->min) / 3.0;
        json_t *value = NULL;
        if (strstr(field->path, "fold.") || strstr(field->path, "ignore") || field->required)
            continue;
        if (field->kind == RVX_FIELD_INTEGER)
            value = json_integer(json_integer_value(json_object_get(object, key)) + 1);
        if (field->kind == RVX_FIELD_NUMBER)
            value = json_real(middle);
        if (field->kind == RVX_FIELD_RANGE)
            value = json_pack("[ff]", middle, field->max);
        if (field->kind == RVX_FIELD_TRIPLE)
            value = json_pack("[fff]", middle, field->max, field->min);
        if (field->kind == RVX_FIELD_BOOLEAN)
            value = json_boolean(!json_is_true(json_object_get(object, key)));
        if (field->kind == RVX_FIELD_CHOICE)
            value = json_string(field->names[1]);
        if (value && ++changed)
            json_object_set_new(object, key, value);
    }
    TAP_OK(changed > 50);
    rvx_recipe recipe, again;
    TAP_OK(rvx__recipe_from_json(&recipe, first, "plan.json", &error) == RVX_OK);
    json_t *second = rvx__recipe_to_json(&recipe);
    TAP_OK(json_equal(first, second));
    char path[] = "/tmp/rvx-plan-XXXXXX";
    close(mkstemp(path));
    rvx_text text = {0}, reread = {0};
    TAP_OK(rvx__recipe_save(&recipe, path, &error) == RVX_OK);
    TAP_OK(rvx__recipe_load(&again, path, &error) == RVX_OK);
    TAP_OK(rvx__recipe_print(&text, &recipe, &error) == RVX_OK &&
           rvx__recipe_print(&reread, &again, &error) == RVX_OK);
    TAP_OK(text.data && reread.data && strcmp(text.data, reread.data) == 0);
    rvx__recipe_free(&again);
    TAP_OK(rvx__recipe_parse(&again, text.data, "metadata", &error) == RVX_OK);
    TAP_OK(again.normalisation[0].mean == 1.0 / 3 && again.fold.train.count == 2);
    unlink(path);
    rvx__recipe_free(&recipe);
    rvx__recipe_free(&again);
    rvx__text_free(&text);
    rvx__text_free(&reread);
    json_decref(first);
    json_decref(second);
    TAP_OK(rvx__recipe_parse(&again, "[]", "x", &error) == RVX_ERROR_FORMAT);
    TAP_OK(rvx__recipe_parse(&again, "{", "x", &error) == RVX_ERROR_FORMAT);
}

static int stage_is(const int64_t values[3], int64_t x, int64_t y, int64_t z)
{
    return values[0] == x && values[1] == y && values[2] == z;
}

static void test_default(void)
{
    rvx_recipe recipe;
    /* The gland: 44x59x41, isotropic: three poolings, whole volumes. */
    const int64_t gland[3][3] = {{44, 59, 41}, {44, 59, 41}, {44, 59, 41}};
    const double even[3][3] = {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}};
    rvx_recipe_facts facts = facts_for(gland, even, 3);
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_OK);
    TAP_OK(recipe.network.stages == 4 && stage_is(recipe.patch.size, 48, 64, 48));
    TAP_OK(recipe.network.widths[0] == 16 && recipe.network.widths[3] == 128);
    TAP_OK(stage_is(recipe.network.strides[0], 1, 1, 1));
    TAP_OK(stage_is(recipe.network.strides[3], 2, 2, 2));
    TAP_OK(recipe.fold.count == 3);
    /* A large isotropic CT at full scale: 128^3, six stages, 320 channels at most (nnU-Net's own
     * plan for such data). */
    const int64_t ct[2][3] = {{512, 512, 500}, {512, 512, 540}};
    const double ct_spacing[2][3] = {{0.8, 0.8, 0.8}, {0.8, 0.8, 0.8}};
    const rvx_normalisation window[2] = {{0}, {.lower = -100, .upper = 300, .mean = 80, .std = 30}};
    facts = facts_for(ct, ct_spacing, 2);
    facts.channels = 2;
    facts.ct = window;
    facts.scale = RVX_SCALE_FULL;
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_OK);
    TAP_OK(stage_is(recipe.patch.size, 128, 128, 128) && recipe.network.stages == 6);
    TAP_OK(recipe.network.widths[0] == 32 && recipe.network.widths[5] == 320);
    TAP_OK(recipe.normalisation[0].scheme == RVX_NORMALISE_ZSCORE);
    TAP_OK(recipe.normalisation[1].scheme == RVX_NORMALISE_CT &&
           recipe.normalisation[1].mean == 80);
    /* Thick slices (prostate-like, 0.6 x 0.6 x 3.6 mm): z is pooled late, its kernel starts at 1.
     */
    const int64_t thick[1][3] = {{320, 320, 20}};
    const double thick_spacing[1][3] = {{0.6, 0.6, 3.6}};
    facts = facts_for(thick, thick_spacing, 1);
    facts.scale = RVX_SCALE_FULL;
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_OK);
    TAP_OK(stage_is(recipe.network.strides[1], 2, 2, 1));
    TAP_OK(stage_is(recipe.network.strides[2], 2, 2, 1));
    TAP_OK(stage_is(recipe.network.strides[3], 2, 2, 2));
    TAP_OK(stage_is(recipe.network.kernels[0], 3, 3, 1));
    TAP_OK(stage_is(recipe.network.kernels[1], 3, 3, 1));
    TAP_OK(stage_is(recipe.network.kernels[2], 3, 3, 3));
    TAP_OK(recipe.augmentation.rotation_degrees[2] == 180 &&
           recipe.augmentation.rotation_degrees[0] == 0);
    TAP_OK(recipe.patch.size[0] * recipe.patch.size[1] * recipe.patch.size[2] <= 128 * 128 * 128);
    /* Sizes count after resampling: 200 at 2 mm is 400 at 1 mm; the median of 100, 400 is 250. */
    const int64_t mixed[2][3] = {{100, 100, 100}, {200, 200, 200}};
    const double mixed_spacing[2][3] = {{1, 1, 1}, {2, 2, 2}};
    facts = facts_for(mixed, mixed_spacing, 2);
    facts.scale = RVX_SCALE_FULL;
    facts.nonzero_only = true;
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_OK);
    TAP_OK(recipe.spacing[2] == 1 && stage_is(recipe.patch.size, 128, 128, 128));
    TAP_OK(recipe.normalisation[0].nonzero_only);
    facts.target_spacing[1] = 0;
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_ERROR_ARGUMENT);
    /* Any size and spacing gives a plan that passes its own checks. */
    int passed = 1;
    for (int i = 0; i < 400; i++) {
        const int64_t size[1][3] = {{8 + i * 7 % 600, 8 + i * 31 % 500, 8 + i * 13 % 300}};
        const double spacing[1][3] = {{0.3 + i % 5, 0.3 + i % 7, 0.3 + i % 3}};
        facts = facts_for(size, spacing, 1);
        facts.scale = i % 2 ? RVX_SCALE_FULL : RVX_SCALE_CPU;
        passed &= rvx__recipe_default(&recipe, &facts, &error) == RVX_OK;
    }
    TAP_OK(passed);
    if (!passed)
        printf("# %s\n", error.message);
    const int64_t empty[1][3] = {{0, 5, 5}};
    facts = facts_for(empty, even, 1);
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_ERROR_ARGUMENT);
    facts = facts_for(gland, even, 0);
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_ERROR_ARGUMENT);
    facts = facts_for(gland, even, 3);
    facts.channels = 9;
    TAP_OK(rvx__recipe_default(&recipe, &facts, &error) == RVX_ERROR_UNSUPPORTED);
}

static void test_folds(void)
{
    char *all[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6"};
    rvx_names cases = {all, 7}, train, validation, again, rest;
    rvx_recipe recipe;
    rvx__recipe_base(&recipe);
    recipe.fold.count = 3;
    int seen[7] = {0}, complete = 1, sizes[3], repeated = 1;
    for (int fold = 0; fold < 3; fold++) {
        recipe.fold.index = fold;
        complete &= rvx__recipe_split(&train, &validation, &recipe, &cases, NULL, &error) == RVX_OK;
        complete &= rvx__recipe_split(&rest, &again, &recipe, &cases, "/nowhere", &error) == RVX_OK;
        complete &= train.count + validation.count == 7;
        sizes[fold] = (int)validation.count;
        for (int64_t i = 0; i < validation.count; i++) {
            seen[validation.names[i][1] - '0']++;
            repeated &= strcmp(validation.names[i], again.names[i]) == 0;
        }
        rvx__names_free(&train);
        rvx__names_free(&validation);
        rvx__names_free(&again);
        rvx__names_free(&rest);
    }
    for (int i = 0; i < 7; i++)
        complete &= seen[i] == 1;
    TAP_OK(complete && repeated);
    TAP_OK(sizes[0] == 3 && sizes[1] == 2 && sizes[2] == 2);
    recipe.fold.index = -1;
    TAP_OK(rvx__recipe_split(&train, &validation, &recipe, &cases, NULL, &error) == RVX_OK);
    TAP_OK(train.count == 7 && validation.count == 0);
    rvx__names_free(&train);
    rvx__names_free(&validation);
    recipe.fold.index = 0;
    recipe.fold.count = 8;
    TAP_OK(rvx__recipe_split(&train, &validation, &recipe, &cases, NULL, &error) ==
           RVX_ERROR_ARGUMENT);

    char path[] = "/tmp/rvx-splits-XXXXXX";
    close(mkstemp(path));
    const char *splits = "[{\"train\": [\"c1\", \"c2\"], \"val\": [\"c0\"]}, {\"train\": [\"c9\"], "
                         "\"val\": []}]";
    rvx__file_write(path, splits, (int64_t)strlen(splits), &error);
    TAP_OK(rvx__recipe_split(&train, &validation, &recipe, &cases, path, &error) == RVX_OK);
    TAP_OK(train.count == 2 && validation.count == 1 && !strcmp(validation.names[0], "c0"));
    rvx__names_free(&train);
    rvx__names_free(&validation);
    recipe.fold.index = 1;
    TAP_OK(rvx__recipe_split(&train, &validation, &recipe, &cases, path, &error) ==
           RVX_ERROR_FORMAT);
    TAP_OK(strstr(error.message, "field '[1].train[0]' names case \"c9\"") && !train.names);
    recipe.fold.index = 2;
    TAP_OK(rvx__recipe_split(&train, &validation, &recipe, &cases, path, &error) ==
           RVX_ERROR_ARGUMENT);
    char *listed[] = {"c3", "c9"};
    recipe.fold.listed = true;
    recipe.fold.train = (rvx_names){listed, 1};
    recipe.fold.validation = (rvx_names){listed + 1, 1};
    TAP_OK(rvx__recipe_split(&train, &validation, &recipe, &cases, path, &error) ==
           RVX_ERROR_FORMAT);
    TAP_OK(strstr(error.message, "'fold.validation' lists case \"c9\"") != NULL);
    unlink(path);
}

/* docs/plan.md describes every field. */
static void test_documented(void)
{
    char *text, row[128];
    int64_t bytes;
    if (!rvx__path_exists("docs/plan.md")) {
        tap_skip("not run from the root of the repository");
        return;
    }
    TAP_OK(rvx__file_read_all(&text, &bytes, "docs/plan.md", 1 << 20, &error) == RVX_OK);
    for (const rvx_field *field = rvx__recipe_fields; field->path; field++) {
        snprintf(row, sizeof row, "| `%s` | ", field->path);
        tap_ok(text && strstr(text, row), "docs/plan.md has a row for %s", field->path);
    }
    free(text);
}

int main(void)
{
    test_documented();
    test_refusals();
    test_percentiles();
    test_round_trip();
    test_default();
    test_folds();
    return tap_done();
}
