/* The planner beside nnU-Net's own, on the same data sets: tests/volume/goldens/README.md. There
 * axes are z, y, x, and those of a plan in the order of its transposition. */
#include "engine/run/recipe.h"
#include "engine/volume/fingerprint.h"
#include "engine/volume/preprocess.h"
#include "tap.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *json, size_t i)
{
    return json_number_value(json_array_get(json, i));
}

static int is_integers(const json_t *json, const int64_t values[3], const int axis_of[3])
{
    int same = json_array_size(json) == 3;
    for (size_t i = 0; i < 3; i++)
        same &= number(json, i) == (double)values[axis_of[i]];
    return same;
}

static int same_stages(const json_t *strides, const json_t *kernels, const rvx_recipe *recipe,
                       const int axis_of[3])
{
    int same = json_array_size(strides) == (size_t)recipe->network.stages;
    for (size_t s = 0; same && s < json_array_size(strides); s++)
        same &= is_integers(json_array_get(strides, s), recipe->network.strides[s], axis_of) &&
                is_integers(json_array_get(kernels, s), recipe->network.kernels[s], axis_of);
    return same;
}

static const int reversed[3] = {2, 1, 0};

static void test_topologies(const json_t *all)
{
    size_t i, asked = 0;
    int wrong = 0;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        rvx_recipe recipe;
        double spacing[3];
        if (json_array_size(json_object_get(one, "strides")) > RVX_STAGES_MAX)
            continue;
        rvx__recipe_base(&recipe);
        for (size_t k = 0; k < 3; k++) {
            recipe.patch.size[2 - k] = (int64_t)number(json_object_get(one, "patch"), k);
            spacing[2 - k] = number(json_object_get(one, "spacing"), k);
        }
        rvx__recipe_set_topology(&recipe, spacing, 32, 320);
        int same = is_integers(json_object_get(one, "padded"), recipe.patch.size, reversed) &&
                   same_stages(json_object_get(one, "strides"), json_object_get(one, "kernels"),
                               &recipe, reversed);
        if (!same)
            printf("# topology %zu\n", i);
        wrong += !same;
        asked++;
    }
    tap_ok(wrong == 0 && asked >= 190, "%zu topologies, %d differ", asked, wrong);
}

static int same_axis(const json_t *axis, int ours)
{
    return json_is_null(axis) ? ours == -1 : json_integer_value(axis) == 2 - ours;
}

static void test_grids(const json_t *all)
{
    size_t i;
    int wrong = 0;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        rvx_geometry g = {.size = {1, 1, 1}};
        rvx_grid_map map;
        rvx_error error = {0};
        double target[3];
        int same;
        for (size_t k = 0; k < 3; k++) {
            g.size[2 - k] = (int64_t)number(json_object_get(one, "size"), k);
            g.spacing[2 - k] = number(json_object_get(one, "spacing"), k);
            target[2 - k] = number(json_object_get(one, "target"), k);
        }
        same = rvx__grid_map_make(&map, &g, target, "grid", &error) == RVX_OK;
        for (size_t k = 0; k < 3 && same; k++) /* where nnU-Net has no voxel left we keep one */
            same &= (double)map.network_size[2 - k] ==
                    fmax(number(json_object_get(one, "new_size"), k), 1);
        same = same && same_axis(json_object_get(one, "separate"), map.separate_axis) &&
               same_axis(json_object_get(one, "separate_back"), map.separate_axis_back);
        if (!same)
            printf("# grid %zu %s\n", i, error.message);
        wrong += !same;
    }
    tap_ok(wrong == 0 && i == 400, "%zu grids, %d differ", i, wrong);
}

/* ---- Whole plans ------------------------------------------------------------------------------
 */

enum { CASES_MAX = 300, CHANNELS = 8, LABELS = 64 };

typedef struct subject {
    rvx_case_fingerprint cases[CASES_MAX];
    rvx_fingerprint fingerprint;
    int64_t sizes[CASES_MAX][3];
    double spacings[CASES_MAX][3];
    const char *channels[CHANNELS], *labels[LABELS];
    rvx_normalisation ct[CHANNELS];
    rvx_recipe_facts facts;
} subject;

static void names_fill(const char **out, int64_t *count, const json_t *names)
{
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) out[i] = json_string_value(name);
    *count = (int64_t)json_array_size(names);
}

static int subject_fill(subject *s, const json_t *one)
{
    const json_t *shapes = json_object_get(one, "shapes");
    rvx_error error = {0};
    const double share = json_number_value(json_object_get(one, "share"));
    memset(s, 0, sizeof *s);
    s->fingerprint.cases = s->cases;
    s->fingerprint.case_count = (int64_t)json_array_size(shapes);
    for (size_t i = 0; i < json_array_size(shapes); i++)
        for (size_t k = 0; k < 3; k++) {
            int64_t edge = (int64_t)number(json_array_get(shapes, i), k);
            s->sizes[i][2 - k] = s->cases[i].size[2 - k] = s->cases[i].nonzero_size[2 - k] = edge;
            s->spacings[i][2 - k] = s->cases[i].spacing[2 - k] =
                number(json_array_get(json_object_get(one, "spacings"), i), k);
        }
    if (rvx__fingerprint_medians(&s->fingerprint, &error) != RVX_OK)
        return 0;
    for (int c = 0; c < CHANNELS; c++)
        s->ct[c] = (rvx_normalisation){
            .scheme = RVX_NORMALISE_CT, .mean = 80, .std = 30, .lower = -100, .upper = 300};
    names_fill(s->channels, &s->facts.channels, json_object_get(one, "channels"));
    names_fill(s->labels, &s->facts.classes, json_object_get(one, "labels"));
    if (strcmp(s->labels[s->facts.classes - 1], "ignore") == 0) {
        s->facts.has_ignore_label = true;
        s->facts.classes--;
    }
    s->facts.sizes = (const int64_t(*)[3])s->sizes;
    s->facts.spacings = (const double(*)[3])s->spacings;
    s->facts.case_count = s->fingerprint.case_count;
    s->facts.channel_names = s->channels;
    s->facts.labels = s->labels;
    s->facts.ct = s->ct;
    s->facts.nonzero_only = share < RVX_NONZERO_SHARE;
    s->facts.scale = RVX_SCALE_FULL;
    memcpy(s->facts.target_spacing, s->fingerprint.target_spacing, sizeof(double[3]));
    return 1;
}

static int same_normalisation(const rvx_recipe *recipe, const json_t *plan)
{
    static const struct {
        const char *name;
        int scheme;
        double upper;
    } rows[] = {{"ZScoreNormalization", RVX_NORMALISE_ZSCORE, 0},
                {"CTNormalization", RVX_NORMALISE_CT, 300},
                {"RescaleTo01Normalization", RVX_NORMALISE_RESCALE, 0},
                {"RGBTo01Normalization", RVX_NORMALISE_CT, 255},
                {"NoNormalization", RVX_NORMALISE_NONE, 0}};
    int same = 1;
    for (size_t c = 0; c < (size_t)recipe->network.in_channels; c++) {
        const rvx_normalisation *n = &recipe->normalisation[c];
        const char *name =
            json_string_value(json_array_get(json_object_get(plan, "normalization"), c));
        int known = 0;
        for (int r = 0; r < 5; r++)
            known |= strcmp(rows[r].name, name) == 0 && n->scheme == rows[r].scheme &&
                     (n->scheme != RVX_NORMALISE_CT || n->upper == rows[r].upper);
        same &= known && n->nonzero_only ==
                             json_is_true(json_array_get(json_object_get(plan, "use_mask"), c));
    }
    return same;
}

static void test_plan(const json_t *one)
{
    static subject s;
    const json_t *plan = json_object_get(one, "plan");
    const char *name = json_string_value(json_object_get(one, "name"));
    rvx_recipe r;
    rvx_error error = {0};
    int axis_of[3], spacing = 1, widths = 1;
    if (!TAP_OK(subject_fill(&s, one)))
        return;
    if (!tap_ok(rvx__recipe_default(&r, &s.facts, &error) == RVX_OK, "%s %s", name, error.message))
        return;
    for (size_t k = 0; k < 3; k++)
        axis_of[k] = 2 - (int)number(json_object_get(plan, "transpose_forward"), k);
    for (size_t k = 0; k < 3; k++)
        spacing &=
            fabs(number(json_object_get(plan, "spacing"), k) / r.spacing[axis_of[k]] - 1) < 1e-12;
    for (size_t i = 0; i < (size_t)r.network.stages; i++)
        widths &= number(json_object_get(plan, "widths"), i) == (double)r.network.widths[i];
    int patch = is_integers(json_object_get(plan, "patch"), r.patch.size, axis_of);
    int stages = same_stages(json_object_get(plan, "strides"), json_object_get(plan, "kernels"), &r,
                             axis_of);
    int batch = json_integer_value(json_object_get(plan, "batch")) == r.patch.batch;
    int normalised = same_normalisation(&r, plan);
    if (!tap_ok(spacing && patch && stages && widths && batch && normalised, "%s", name))
        printf("# spacing %d patch %d (%lld %lld %lld) stages %d widths %d batch %d (%lld) "
               "normalisation %d\n",
               spacing, patch, (long long)r.patch.size[axis_of[0]],
               (long long)r.patch.size[axis_of[1]], (long long)r.patch.size[axis_of[2]], stages,
               widths, batch, (long long)r.patch.batch, normalised);
    rvx__recipe_free(&r);
}

int main(void)
{
    json_error_t where;
    json_t *root = json_load_file("tests/volume/goldens/planner.json", 0, &where);
    size_t i;
    json_t *one;
    if (!tap_ok(root != NULL, "planner.json %s", root ? "" : where.text))
        return tap_done();
    test_topologies(json_object_get(root, "topologies"));
    test_grids(json_object_get(root, "grids"));
    json_array_foreach(json_object_get(root, "plans"), i, one) test_plan(one);
    TAP_OK(i >= 40);
    json_decref(root);
    return tap_done();
}
