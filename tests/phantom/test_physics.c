/* Physics of the phantom: speckle statistics, loss and gain, elementary functions, vessel lookup.
 * Tolerances are standard errors estimated from independent blocks of the data, or the error bound
 * that the function under test states. */
#include "engine/phantom/acoustics.h"
#include "engine/phantom/vessels.h"
#include "engine/volume/point_spread.h"

#include "tap.h"

#include <math.h>
#include <string.h>

/* ---- Scenes of simple shape ---- */

typedef struct ball {
    float centre[3], radius;
    rvx_material material;
} ball;

typedef struct balls {
    rvx_material ground;
    int count;
    ball items[3];
} balls;

static rvx_material balls_material(const void *self, rvx_point p)
{
    const balls *b = self;
    for (int k = 0; k < b->count; k++) {
        float x = p.x - b->items[k].centre[0], y = p.y - b->items[k].centre[1];
        float z = p.z - b->items[k].centre[2];
        if (x * x + y * y + z * z < b->items[k].radius * b->items[k].radius)
            return b->items[k].material;
    }
    return b->ground;
}

static uint8_t balls_label(const void *self, rvx_point p)
{
    (void)self;
    (void)p;
    return 1;
}

static rvx_ultrasound_options quiet_options(const balls *scene)
{
    return (rvx_ultrasound_options){
        .size = {128, 128, 40},
        .spacing = {0.8, 0.8, 2.0},
        .probe = {.apex_x = 0,
                  .apex_y = -38,
                  .radius = 40,
                  .depth = 96,
                  .angle_half = 0.38,
                  .frequency_mhz = 3.0,
                  .focus = 60,
                  .noise_deep_db = -90,
                  .range_db = 60},
        .scene = {scene, balls_material, balls_label},
        .seed = 11,
        .threads = 2,
    };
}

/* Point spread functions correlate slices, so only every fourth is used. Each of `slices` times
 * 4 x 4 blocks gives one estimate; returns mean and standard error over them. */
typedef struct estimate {
    double mean, error;
} estimate;

enum { SLICES = 8, CUTS = 4, BLOCKS = SLICES * CUTS * CUTS };

static estimate over_blocks(const double values[BLOCKS])
{
    double sum = 0, squares = 0;
    for (int k = 0; k < BLOCKS; k++)
        sum += values[k];
    double mean = sum / BLOCKS;
    for (int k = 0; k < BLOCKS; k++)
        squares += (values[k] - mean) * (values[k] - mean);
    return (estimate){mean, sqrt(squares / (BLOCKS - 1) / BLOCKS)};
}

/* Rayleigh envelope A of unit power: mean sqrt(pi) / 2, E A^2 = 1, E A^4 = 2. The ratio of mean to
 * deviation, sqrt(pi / (4 - pi)) = 1.913, follows from the moments of all blocks together. */
static void test_speckle(void)
{
    static const balls uniform = {.ground = {1.0f, 1.6f, 0.5f}};
    static double first[BLOCKS], second[BLOCKS], fourth[BLOCKS];
    rvx_ultrasound_options options = quiet_options(&uniform);
    rvx_ultrasound *u = NULL;
    rvx_error error = {0};
    static uint8_t image[128 * 128];
    TAP_OK(rvx__ultrasound_create(&u, &options, &error) == RVX_OK);
    if (!u)
        return;
    for (int z = 0, used = 0; used < SLICES; z++) {
        rvx__ultrasound_next(u, image);
        if (z % 4)
            continue;
        rvx_envelope e = rvx__ultrasound_envelope(u);
        int64_t margin = (int64_t)ceil((-options.probe.angle_half - e.angle_first) / e.beam_rad);
        int64_t rows = (e.rows - 16) / CUTS, beams = (e.beams - 2 * margin) / CUTS;
        for (int block = 0; block < CUTS * CUTS; block++) {
            int at = used * CUTS * CUTS + block;
            double n = (double)(rows * beams);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t b = 0; b < beams; b++) {
                    int64_t row = 8 + (block / CUTS) * rows + r;
                    double a =
                        (double)e.values[row * e.beams + margin + (block % CUTS) * beams + b];
                    first[at] += a / n;
                    second[at] += a * a / n;
                    fourth[at] += a * a * a * a / n;
                }
        }
        used++;
    }
    rvx__ultrasound_free(u);
    estimate mean = over_blocks(first), power = over_blocks(second), kurt = over_blocks(fourth);
    double ratio = mean.mean / sqrt(power.mean - mean.mean * mean.mean);
    printf("# mean %.4f +- %.4f, power %.4f +- %.4f, fourth moment %.4f +- %.4f, ratio %.4f\n",
           mean.mean, mean.error, power.mean, power.error, kurt.mean, kurt.error, ratio);
    TAP_OK(mean.error < 0.01 && power.error < 0.02 && kurt.error < 0.1);
    TAP_OK(fabs(mean.mean - sqrt(3.14159265 / 4)) < 4 * mean.error);
    TAP_OK(fabs(power.mean - 1) < 4 * power.error);
    TAP_OK(fabs(kurt.mean - 2) < 4 * kurt.error);
    /* d ratio = ratio (dm / m) + ..., bounded by the errors of both moments. */
    double spread = ratio * (mean.error / mean.mean) +
                    0.5 * ratio * (power.error + 2 * mean.mean * mean.error) /
                        (power.mean - mean.mean * mean.mean);
    TAP_OK(fabs(ratio - sqrt(3.14159265 / (4 - 3.14159265))) < 4 * spread);
}

/* Mean power, in decibel, of a sector: depths in mm, angles from the centre. */
static double sector_db(const rvx_envelope *e, const rvx_probe *probe, double depth_low,
                        double depth_high, double angle, double half)
{
    (void)probe;
    double sum = 0;
    int64_t count = 0;
    for (int64_t r = 0; r < e->rows; r++)
        for (int64_t b = 0; b < e->beams; b++) {
            double depth = ((double)r + 0.5) * e->row_mm;
            double at = e->angle_first + (double)b * e->beam_rad;
            if (depth < depth_low || depth > depth_high || fabs(at - angle) > half)
                continue;
            double a = (double)e->values[r * e->beams + b];
            sum += a * a;
            count++;
        }
    return 10 * log10(sum / (double)count);
}

/* A bag of fluid at -0.2 rad and a stone at +0.2 rad, 50 mm deep, in uniform tissue. */
static void test_shadow(void)
{
    float r = 90;
    const balls scene = {
        .ground = {1.0f, 1.6f, 0.5f},
        .count = 2,
        .items = {{{-r * sinf(0.2f), -38 + r * cosf(0.2f), 0}, 10, {0.02f, 1.57f, 0.0f}},
                  {{r * sinf(0.2f), -38 + r * cosf(0.2f), 0}, 6, {3.0f, 5.0f, 22.0f}}},
    };
    rvx_ultrasound_options options = quiet_options(&scene);
    rvx_ultrasound *u = NULL;
    rvx_error error = {0};
    static uint8_t image[128 * 128];
    TAP_OK(rvx__ultrasound_create(&u, &options, &error) == RVX_OK);
    if (!u)
        return;
    double level = 0, behind_fluid = 0, behind_stone = 0, fluid = 0, face = 0;
    enum { FIRST = 18, LAST = 21 };
    for (int z = 0; z <= LAST; z++) {
        rvx__ultrasound_next(u, image);
        if (z < FIRST)
            continue;
        rvx_envelope e = rvx__ultrasound_envelope(u);
        const rvx_probe *p = &options.probe;
        level += sector_db(&e, p, 66, 90, 0.0, 0.05) / (LAST - FIRST + 1);
        behind_fluid += sector_db(&e, p, 66, 90, -0.2, 0.03) / (LAST - FIRST + 1);
        behind_stone += sector_db(&e, p, 66, 90, 0.2, 0.02) / (LAST - FIRST + 1);
        fluid += sector_db(&e, p, 46, 54, -0.2, 0.04) / (LAST - FIRST + 1);
        face += sector_db(&e, p, 43, 45, 0.2, 0.01) / (LAST - FIRST + 1);
    }
    rvx__ultrasound_free(u);
    printf("# level %.2f dB, behind fluid %.2f, behind stone %.2f, in fluid %.2f, face %.2f\n",
           level, behind_fluid, behind_stone, fluid, face);
    /* 2 x 0.5 dB/cm/MHz x 3 MHz x at most 2 cm = 6 dB at the middle of the bag; its chords over
     * +- 0.03 rad and +- 4 mm of slices are 1.75 to 2 cm, and speckle leaves about 0.5 dB. */
    TAP_OK(behind_fluid - level > 4.5 && behind_fluid - level < 6.8);
    TAP_OK(behind_stone < level - 25);
    TAP_OK(fluid < level - 25);
    TAP_OK(face > level + 12);
}

static void test_functions(void)
{
    double log_worst = 0, exp_worst = 0, sine_worst = 0;
    for (int k = 1; k < 200000; k++) {
        float x = (float)k * 1e-4f, t = ((float)k - 1e5f) * 3e-4f;
        log_worst = fmax(log_worst, fabs((double)rvx__log_fast(x) - log((double)x)));
        float y = ((float)k - 1e5f) * 1.2e-3f;
        exp_worst = fmax(exp_worst, fabs((double)rvx__exp2_fast(y) / exp2((double)y) - 1));
        sine_worst =
            fmax(sine_worst, fabs((double)rvx__sine_turns(t) - sin(6.283185307179586 * (double)t)));
    }
    printf("# log %.2g, exp2 %.2g, sine %.2g\n", log_worst, exp_worst, sine_worst);
    TAP_OK(log_worst < 1e-6);
    TAP_OK(exp_worst < 1e-6);
    /* 4e-6 of the polynomial, and t itself is rounded: 2 pi x 32 x 2^-24. */
    TAP_OK(sine_worst < 4e-6 + 6.3 * 32 * 0x1p-24);
}

/* Every tap row has unit energy, and filters do what the sum says. */
static void test_taps(void)
{
    enum { STRIDE = 16, COUNT = 9 };
    float values[3 * STRIDE], in[COUNT + 2 * STRIDE], out[COUNT];
    int32_t radius[3];
    rvx_taps taps = {values, radius, STRIDE};
    const double sigmas[3] = {0.1, 1.3, 4.7};
    for (int k = 0; k < COUNT + 2 * STRIDE; k++)
        in[k] = (float)((k * 7919) % 23) - 11;
    for (int row = 0; row < 3; row++) {
        rvx__taps_set(&taps, row, sigmas[row], 3.0);
        const float *h = values + row * STRIDE;
        double energy = (double)h[0] * (double)h[0], worst = 0, sum = (double)h[0];
        for (int t = 1; t <= radius[row]; t++) {
            energy += 2 * (double)h[t] * (double)h[t];
            sum += 2 * (double)h[t];
        }
        rvx__taps_along(out, in + STRIDE, COUNT, h, radius[row]);
        for (int j = 0; j < COUNT; j++) {
            double expected = 0;
            for (int t = -radius[row]; t <= radius[row]; t++)
                expected += (double)h[abs(t)] * (double)in[STRIDE + j + t];
            worst = fmax(worst, fabs(expected - (double)out[j]));
        }
        /* One rounding per tap of values at most 11 * sum. */
        TAP_OK(radius[row] < STRIDE && fabs(energy - 1) < 32 * 0x1p-24);
        TAP_OK(worst <= 2 * STRIDE * 0x1p-24 * 11 * sum);
        TAP_OK(fabs((double)rvx__taps_gain(&taps, row) - sum) < 32 * 0x1p-24 * sum);
    }
}

/* Sample k is the same whatever the length of the row and where it starts. */
static void test_noise_is_addressable(void)
{
    float re[200], im[200], part_re[70], part_im[70];
    rvx__complex_noise(re, im, 200, 5, 6, 1000);
    rvx__complex_noise(part_re, part_im, 67, 5, 6, 1090);
    TAP_OK(!memcmp(re + 90, part_re, 67 * sizeof(float)));
    TAP_OK(!memcmp(im + 90, part_im, 67 * sizeof(float)));
    rvx__complex_noise(part_re, part_im, 67, 5, 7, 1090);
    TAP_OK(memcmp(re + 90, part_re, 67 * sizeof(float)) != 0);
}

/* ---- Vessels ---- */

static float sphere_distance(const void *context, const float p[3])
{
    (void)context;
    return sqrtf(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) - 60;
}

static float distance_to(const rvx_capsule *c, const float p[3])
{
    float best = 1e9f;
    for (int k = 0; k <= 400; k++) {
        float t = (float)k / 400, squared = 0;
        for (int i = 0; i < 3; i++) {
            float d = p[i] - c->start[i] - t * c->axis[i];
            squared += d * d;
        }
        best = fminf(best, sqrtf(squared) - c->radius - t * c->taper);
    }
    return best;
}

static void test_vessels(void)
{
    rvx_vessels vessels = {0};
    rvx_error error = {0};
    rvx_random random = {.seed = 4, .stream = 9};
    rvx_tree_options options = {
        .start = {0, 55, 0},
        .direction = {0, -1, 0},
        .radius = 5,
        .radius_min = 1.0f,
        .length_ratio = 5,
        .organ = sphere_distance,
    };
    TAP_OK(rvx__vessels_grow(&vessels, &options, &random, &error) == RVX_OK);
    TAP_OK(vessels.count > 60);
    TAP_OK(rvx__vessels_index(&vessels, (float[3]){-70, -70, -70}, (float[3]){70, 70, 70}, 2.0f,
                              &error) == RVX_OK);
    int inside_organ = 1, near = 0, wrong = 0;
    for (int64_t k = 0; k < vessels.count; k++) {
        float end[3];
        for (int i = 0; i < 3; i++)
            end[i] = vessels.capsules[k].start[i] + vessels.capsules[k].axis[i];
        inside_organ &= sphere_distance(NULL, end) < 0;
    }
    TAP_OK(inside_organ);
    for (int k = 0; k < 3000; k++) {
        float p[3];
        for (int i = 0; i < 3; i++)
            p[i] = rvx__random_range(&random, -60, 60);
        float best = 1e9f;
        for (int64_t c = 0; c < vessels.count; c++)
            best = fminf(best, distance_to(&vessels.capsules[c], p));
        rvx_vessel_hit hit = rvx__vessels_nearest(&vessels, p);
        if (best < 1.9f) { /* within reach: exact but for the 400 steps of the search above */
            near++;
            wrong += fabsf(hit.distance - best) > 0.03f;
        } else
            wrong += hit.distance < best - 0.03f;
    }
    printf("# %lld tubes, %d of 3000 points near one, %d wrong\n", (long long)vessels.count, near,
           wrong);
    TAP_OK(near > 50 && wrong == 0);
    rvx__vessels_free(&vessels);
}

int main(void)
{
    test_functions();
    test_taps();
    test_noise_is_addressable();
    test_vessels();
    test_speckle();
    test_shadow();
    return tap_done();
}
