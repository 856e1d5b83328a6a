/* Draws of augmentation as training gets them: nothing happens at probability 0, a sample depends
 * on seed, step and index alone, image and labels stay together, and every parameter has the odds
 * and the range that the plan says. */
#include "engine/run/augmentation.h"
#include "engine/run/sampler.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { D = 20, H = 28, W = 24, VOXELS = D * H * W, CHANNELS = 3, P = 16, PATCH = P * P * P };

static float image[VOXELS * CHANNELS];
static uint8_t labels[VOXELS];
static rvx_case one = {.shape = {1, D, H, W, CHANNELS},
                       .image = image,
                       .labels = labels,
                       .map = {{W, H, D}, {W, H, D}, {1, 1, 1}, {0, 0, 0}}};
static const int64_t patch[3] = {P, P, P};

typedef struct sample {
    float image[PATCH * CHANNELS];
    uint8_t labels[PATCH];
} sample;

static rvx_recipe recipe_of(rvx_augmentation augmentation)
{
    rvx_recipe recipe;
    rvx__recipe_base(&recipe);
    recipe.network.in_channels = CHANNELS;
    rvx__recipe_augment(&recipe, augmentation);
    return recipe;
}

static void draw(sample *out, const rvx_recipe *recipe, int64_t step, int64_t index, int threads)
{
    rvx_sampler sampler = {.recipe = recipe,
                           .patch = {P, P, P},
                           .cases = &one,
                           .case_count = 1,
                           .dtype = RVX_F32,
                           .threads = threads};
    sampler.temporary = malloc((size_t)rvx__sample_temporary_floats(recipe, patch) * sizeof(float));
    rvx__sample_draw(&sampler, out->image, out->labels, step, index);
    free(sampler.temporary);
}

/* The channels of a voxel are its own place. */
static void fill_places(void)
{
    for (int i = 0; i < VOXELS; i++) {
        image[i * 3] = (float)(i / (H * W));
        image[i * 3 + 1] = (float)(i / W % H);
        image[i * 3 + 2] = (float)(i % W);
        labels[i] = (uint8_t)(i * 7919 % 251);
    }
}

static void test_identity(void)
{
    static sample s;
    rvx_recipe recipe = recipe_of(RVX_AUGMENTATION_NONE);
    bool same = true;
    for (int64_t step = 0; step < 20; step++) {
        draw(&s, &recipe, step, step % 3, 1);
        int64_t z0 = (int64_t)s.image[0], y0 = (int64_t)s.image[1], x0 = (int64_t)s.image[2];
        for (int64_t i = 0; i < PATCH; i++) {
            int64_t z = z0 + i / (P * P), y = y0 + i / P % P, x = x0 + i % P;
            int64_t from = (z * H + y) * W + x;
            same = same && memcmp(s.image + 3 * i, image + 3 * from, 3 * sizeof(float)) == 0 &&
                   s.labels[i] == labels[from];
        }
    }
    TAP_OK(same);
}

static void test_pure(void)
{
    static sample a, b;
    rvx_recipe recipe = recipe_of(RVX_AUGMENTATION_ULTRASOUND);
    bool same = true, other = true;
    for (int64_t step = 0; step < 40; step++) {
        draw(&a, &recipe, step, 1, 1);
        draw(&b, &recipe, step, 1, 3);
        same = same && memcmp(&a, &b, sizeof a) == 0;
        draw(&b, &recipe, step, 0, 1);
        other = other && memcmp(&a, &b, sizeof a) != 0;
    }
    TAP_OK(same);
    TAP_OK(other);
    /* What ultrasound draws does not move what the others draw. */
    rvx_recipe nnunet = recipe_of(RVX_AUGMENTATION_NNUNET);
    int64_t equal = 0;
    for (int64_t step = 0; step < 40; step++) {
        draw(&a, &recipe, step, 0, 1);
        draw(&b, &nnunet, step, 0, 1);
        equal += memcmp(&a, &b, sizeof a) == 0;
    }
    TAP_OK(equal > 3 && equal < 40);
}

/* All that moves or hides voxels, at once, on a case whose picture is its label. */
static void test_aligned(void)
{
    static sample s;
    rvx_recipe recipe = recipe_of(RVX_AUGMENTATION_NONE);
    rvx_ultrasound_recipe *u = &recipe.augmentation.ultrasound;
    recipe.augmentation.rotation_probability = recipe.augmentation.scaling.probability = 0.7;
    recipe.augmentation.mirror_probability = 0.5;
    u->pose.probability = u->sound.probability = u->sector.probability = 0.7;
    for (int i = 0; i < VOXELS; i++) {
        labels[i] = (i * 7919 % 101 < 25) | (i / 5 % 7 == 0);
        for (int c = 0; c < 3; c++)
            image[i * 3 + c] = labels[i];
    }
    int64_t wrong = 0, ones = 0;
    for (int64_t step = 0; step < 50; step++) {
        draw(&s, &recipe, step, 0, 2);
        for (int i = 0; i < PATCH; i++) {
            float x = s.image[3 * i];
            wrong += fabsf(x - 0.5f) > 1e-5f && (x > 0.5f) != (s.labels[i] == 1);
            ones += s.labels[i];
        }
    }
    TAP_OK(wrong == 0 && ones > 50 * PATCH / 20);
    fill_places();
}

/* ---- Odds and ranges --------------------------------------------------------------------------
 */

typedef struct tally {
    int64_t draws, drawn, below_one;
    double low, high, sum, squares;
} tally;

static void tally_add(tally *t, bool drawn, double value)
{
    t->draws++;
    if (!drawn)
        return;
    t->low = t->drawn ? fmin(t->low, value) : value;
    t->high = t->drawn ? fmax(t->high, value) : value;
    t->drawn++;
    t->sum += value;
    t->squares += value * value;
    t->below_one += value < 1;
}

/* Four standard errors: of a share, of the mean and of the variance of uniform values. */
static void check(const char *name, const tally *t, double probability, double low, double high)
{
    double n = (double)t->draws, k = (double)t->drawn, width = high - low;
    double share = k / n, mean = t->sum / k, variance = t->squares / k - mean * mean;
    bool odds = fabs(share - probability) <= 4 * sqrt(probability * (1 - probability) / n);
    bool range = t->low >= low - 1e-5 * fabs(low) && t->high <= high + 1e-5 * fabs(high);
    bool centre = fabs(mean - 0.5 * (low + high)) <= 4 * width / sqrt(12 * k);
    bool spread = fabs(variance / (width * width / 12) - 1) <= 4 * sqrt(0.8 / k);
    tap_ok(odds && range && centre && spread, "%s: %.3f of draws, %g .. %g, mean %g", name, share,
           t->low, t->high, mean);
}

static void test_ultrasound(void)
{
    enum { DRAWS = 20000 };
    rvx_recipe recipe = recipe_of(RVX_AUGMENTATION_ULTRASOUND);
    const rvx_ultrasound_recipe *u = &recipe.augmentation.ultrasound;
    const double spacing[3] = {1, 1, 1}, degree = 3.14159265358979323846 / 180;
    const int64_t size[3] = {D, H, W};
    tally pose = {0}, sound = {0}, speckle = {0}, echo = {0}, spacing_of = {0}, shadow = {0},
          width = {0}, attenuation = {0}, time_gain = {0}, gain = {0}, sector = {0}, apex = {0},
          decibels = {0}, left = {0}, shadows = {0};
    for (int64_t i = 0; i < DRAWS; i++) {
        rvx_ultrasound_change c;
        rvx_beam_frame frame;
        rvx_random random = rvx__sample_random(&recipe, i, 0, RVX_PURPOSE_ULTRASOUND);
        rvx__ultrasound_draw(&c, &frame, u, size, spacing, &random);
        tally_add(&apex, true, frame.radius / frame.depth);
        tally_add(&decibels, true, (double)c.decibels);
        tally_add(&pose, c.turn[0] != 0, fabs(c.turn[0]) / degree);
        tally_add(&left, c.turn[0] != 0, c.turn[0] < 0 ? 0.5 : 1.5);
        tally_add(&sound, c.stretch != 1, c.stretch * 1540);
        tally_add(&speckle, c.has_speckle, (double)c.correlation);
        tally_add(&echo, c.has_reverberation, (double)c.echo);
        tally_add(&spacing_of, c.has_reverberation, (double)c.spacing);
        tally_add(&shadow, c.shadow_count > 0, (double)c.shadows[0].decibels);
        tally_add(&width, c.shadow_count > 0, (double)c.shadows[0].half_width);
        tally_add(&shadows, c.shadow_count > 0, c.shadow_count);
        tally_add(&attenuation, c.attenuation != 0, (double)c.attenuation);
        tally_add(&time_gain, c.sliders[3] != 0, (double)c.sliders[3]);
        tally_add(&gain, c.gain != 0, (double)c.gain);
        tally_add(&sector, c.has_sector, (double)c.opening);
    }
    check("apex", &apex, 1, u->apex[0], u->apex[1]);
    check("decibels", &decibels, 1, u->decibels[0], u->decibels[1]);
#define CHECK(name) check(#name, &name, u->name.probability, u->name.range[0], u->name.range[1])
    CHECK(pose);
    CHECK(sound);
    CHECK(speckle);
    CHECK(shadow);
    CHECK(attenuation);
    CHECK(time_gain);
    CHECK(gain);
    CHECK(sector);
#undef CHECK
    check("reverberation", &echo, u->reverberation.probability, u->reverberation.range[0],
          u->reverberation.range[1]);
    check("spacing of echoes", &spacing_of, u->reverberation.probability,
          u->reverberation_spacing[0], u->reverberation_spacing[1]);
    check("width of shadows", &width, u->shadow.probability, u->shadow_width[0],
          u->shadow_width[1]);
    TAP_OK(fabs((double)left.below_one / (double)left.drawn - 0.5) <
           4 * 0.5 / sqrt((double)left.drawn));
    TAP_OK(shadows.low == 1 && shadows.high == RVX_SHADOWS_MAX);
}

/* The matrix of a patch, from the places that it shows about its middle. */
static void matrix_of(double m[3][3], const sample *s)
{
    int middle = (P / 2 * P + P / 2) * P + P / 2, step[3] = {P * P, P, 1};
    for (int i = 0; i < 3; i++)
        for (int a = 0; a < 3; a++)
            m[i][a] =
                (double)s->image[3 * (middle + step[a]) + i] - (double)s->image[3 * middle + i];
}

static double determinant(double m[3][3])
{
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
           m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

/* Scaling, rotation and mirroring as the patch shows them. */
static void test_spatial(void)
{
    enum { DRAWS = 4000 };
    static sample s;
    tally scaling = {0}, rotation = {0}, mirror[3] = {{0}};
    rvx_recipe recipe = recipe_of(RVX_AUGMENTATION_NONE);
    recipe.augmentation.scaling.probability = 0.2;
    for (int64_t i = 0; i < DRAWS; i++) {
        double m[3][3];
        draw(&s, &recipe, i, 0, 1);
        matrix_of(m, &s);
        double factor = cbrt(fabs(determinant(m)));
        tally_add(&scaling, fabs(factor - 1) > 1e-4, factor);
    }
    check("scaling", &scaling, 0.2, 0.7, 1.4);
    recipe.augmentation.scaling.probability = 0;
    recipe.augmentation.rotation_probability = 0.2;
    recipe.augmentation.rotation_degrees[0] = recipe.augmentation.rotation_degrees[1] = 0;
    for (int64_t i = 0; i < DRAWS; i++) {
        double m[3][3];
        draw(&s, &recipe, i, 0, 1);
        matrix_of(m, &s);
        double angle = atan2(m[2][1], m[1][1]) * 180 / 3.14159265358979323846;
        tally_add(&rotation, fabs(angle) > 1e-3, angle);
    }
    check("rotation about z", &rotation, 0.2, -30, 30);
    recipe.augmentation.rotation_probability = 0;
    recipe.augmentation.mirror_probability = 0.5;
    recipe.augmentation.mirror_axes[1] = false;
    for (int64_t i = 0; i < DRAWS; i++) {
        double m[3][3];
        draw(&s, &recipe, i, 0, 1);
        matrix_of(m, &s);
        for (int a = 0; a < 3; a++)
            tally_add(&mirror[a], m[a][a] < 0, 1);
    }
    double error = 4 * 0.5 / sqrt(DRAWS);
    TAP_OK(fabs((double)mirror[0].drawn / DRAWS - 0.5) < error && mirror[1].drawn == 0 &&
           fabs((double)mirror[2].drawn / DRAWS - 0.5) < error);
    /* The flat axis: slices stay slices. */
    recipe = recipe_of(RVX_AUGMENTATION_NNUNET);
    recipe.augmentation.flat_axis = RVX_AXIS_Z;
    recipe.augmentation.rotation_degrees[0] = recipe.augmentation.rotation_degrees[1] = 0;
    recipe.augmentation.rotation_degrees[2] = 180;
    recipe.augmentation.rotation_probability = recipe.augmentation.scaling.probability = 1;
    recipe.augmentation.noise.probability = recipe.augmentation.blur.probability =
        recipe.augmentation.brightness.probability = recipe.augmentation.contrast.probability =
            recipe.augmentation.gamma.probability = recipe.augmentation.gamma_inverted.probability =
                recipe.augmentation.low_resolution.probability = 0;
    bool flat = true;
    for (int64_t i = 0; i < 50; i++) {
        double m[3][3];
        draw(&s, &recipe, i, 0, 1);
        matrix_of(m, &s);
        flat = flat && fabs(fabs(m[0][0]) - 1) < 1e-5 && m[0][1] == 0 && m[0][2] == 0;
    }
    TAP_OK(flat);
}

/* Brightness on a picture of ones is its factor: half of the draws below 1, as in nnU-Net. */
static void test_brightness(void)
{
    enum { DRAWS = 6000 };
    static sample s;
    tally t = {0}, below = {0}, above = {0};
    rvx_recipe recipe = recipe_of(RVX_AUGMENTATION_NONE);
    recipe.augmentation.brightness = (rvx_transform){0.3, 1, {0.8, 1.6}};
    for (int i = 0; i < 3 * VOXELS; i++)
        image[i] = 1;
    for (int64_t i = 0; i < DRAWS; i++) {
        draw(&s, &recipe, i, 0, 1);
        double factor = (double)s.image[0];
        tally_add(&t, factor != 1, factor);
        tally_add(&below, factor < 1, factor);
        tally_add(&above, factor > 1, factor);
    }
    check("brightness below 1", &below, 0.15, 0.8, 1);
    check("brightness above 1", &above, 0.15, 1, 1.6);
    fill_places();
}

int main(void)
{
    if (!rvx__case_rows(&one))
        return 1;
    fill_places();
    test_identity();
    test_pure();
    test_aligned();
    test_ultrasound();
    test_spatial();
    test_brightness();
    one.image = NULL; /* static */
    one.labels = NULL;
    rvx__case_free(&one);
    return tap_done();
}
