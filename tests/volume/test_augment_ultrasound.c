/* Each transform of ultrasound pictures against what its physics says: decibels become grey values,
 * echoes come at their delays, speckle keeps its statistics; and beams are found where a picture
 * widens. */
#include "engine/volume/augment_ultrasound.h"
#include "engine/volume/point_spread.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { D = 12, H = 64, W = 48, COUNT = D * H * W };

/* Voxels in rows. */
static rvx_warp_source rows_of(const float *image, const uint8_t *labels, int64_t d, int64_t h,
                               int64_t w, int64_t c)
{
    static int64_t along[3][1 << 12];
    for (int64_t i = 0; i < 1 << 12; i++) {
        along[0][i] = i * h * w;
        along[1][i] = i * w;
        along[2][i] = i;
    }
    return (rvx_warp_source){image, labels, {1, d, h, w, c}, {along[0], along[1], along[2]}};
}

static rvx_beam_frame frame;
static rvx_ultrasound_patch patch;
static float voxels[COUNT], temporary[RVX_ULTRASOUND_PLANES * COUNT];

/* 60 dB from black (-2) to white (4): 0.1 a decibel. Beams go down (+y), almost in parallel. */
static rvx_ultrasound_change start(double apex)
{
    const int64_t size[3] = {D, H, W};
    const double spacing[3] = {2, 0.5, 0.7};
    rvx__beam_frame_make(&frame, RVX_BEAM_PLUS_Y, 2, size, spacing, apex);
    patch = (rvx_ultrasound_patch){.size = {D, H, W},
                                   .frame = &frame,
                                   .black = -2,
                                   .white = 4,
                                   .random = {1, 2, 3},
                                   .threads = 2};
    rvx_affine identity;
    rvx__affine_identity(&identity);
    rvx__echo_frame(&patch.to_frame, &identity, &frame);
    for (int i = 0; i < COUNT; i++)
        voxels[i] = 1;
    return (rvx_ultrasound_change){.stretch = 1, .opening = 1, .decibels = 60, .correlation = 1};
}

static float at(int z, int y, int x) { return voxels[(z * H + y) * W + x]; }
static bool near(double a, double b, double tolerance) { return fabs(a - b) <= tolerance; }

static void test_gain(void)
{
    rvx_ultrasound_change change = start(50);
    voxels[5] = -2;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    TAP_OK(at(3, 3, 3) == 1 && at(0, 0, 5) == -2); /* nothing drawn: nothing changed */
    change.gain = 7;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    TAP_OK(near((double)at(2, 9, 20), 1.7, 1e-5) && at(0, 0, 5) == -2);
    change.gain = -90;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    TAP_OK(at(2, 9, 20) == -2);
    change = start(50);
    change.gain = 90;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    TAP_OK(at(2, 9, 20) == 4);
    /* Attenuation: linear in depth, `attenuation` dB at the far side. */
    change = start(50);
    change.attenuation = -12;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    bool linear = true;
    for (int y = 0; y < H; y++)
        linear &= near((double)at(5, y, W / 2), 1 - 1.2 * (y + 0.5) / H, 1e-3);
    TAP_OK(linear);
    /* Sliders: each at its depth. */
    change = start(50);
    for (int s = 0; s < RVX_SLIDERS; s++)
        change.sliders[s] = (float)(s % 3 - 1) * 4;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    bool right = true;
    for (int s = 1; s < RVX_SLIDERS - 1; s++) {
        double row = s * (double)H / (RVX_SLIDERS - 1) - 0.5;
        int low = (int)row;
        double value = (double)at(5, low, W / 2) +
                       (row - low) * ((double)at(5, low + 1, W / 2) - (double)at(5, low, W / 2));
        right &= near(value, 1 + 0.4 * (s % 3 - 1), 0.06);
    }
    TAP_OK(right);
    /* A rise fades out towards black. */
    change = start(50);
    for (int i = 0; i < COUNT; i++)
        voxels[i] = -1.7f;
    change.gain = 6;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    TAP_OK(near((double)at(2, 9, 20), -1.7 + 0.6 * 0.3 / 0.6, 1e-4));
}

static void test_shadow(void)
{
    rvx_ultrasound_change change = start(50);
    change.shadow_count = 1;
    change.shadows[0] =
        (rvx_shadow){.half_width = 0.3f, .half_height = 2, .start = 0.4f, .decibels = 15};
    rvx__echo_picture(voxels, temporary, &change, &patch);
    TAP_OK(at(6, 10, W / 2) == 1);                      /* above it */
    TAP_OK(near((double)at(6, 50, W / 2), -0.5, 1e-5)); /* in it */
    TAP_OK(at(6, 50, 2) == 1 && at(6, 50, W - 3) == 1); /* beside it */
    float side = at(6, 50, W / 2 + 7);                  /* 0.3 of 24 voxels: its soft side */
    TAP_OK(side > -0.5f && side < 1);
}

static void test_reverberation(void)
{
    rvx_ultrasound_change change = start(50);
    const int from = 10;
    for (int i = 0; i < COUNT; i++)
        voxels[i] = i / W % H == from ? 3.5f : -1.9f; /* a bright interface in almost nothing */
    change.has_reverberation = true;
    change.echo = -10;
    change.spacing = 0.25f; /* 16 rows */
    rvx__echo_picture(voxels, temporary, &change, &patch);
    int x = W / 2 - 1;
    TAP_OK(near((double)at(5, from, x), 3.5, 1e-5) && near((double)at(5, from - 5, x), -1.9, 1e-4));
    for (int echo = 1; echo <= 3; echo++)
        TAP_OK(near((double)at(5, from + 16 * echo, x), 3.5 - echo, 0.1));
    TAP_OK((double)at(5, from + 8, x) < -1.5);
}

/* Fully developed speckle of constant power, well inside black and white. */
static void speckle_fill(float *re, float *im)
{
    for (int r = 0; r < D * H; r++)
        rvx__complex_noise(re + r * W, im + r * W, W, 9, 9, (uint64_t)(r * W));
    for (int i = 0; i < COUNT; i++) {
        double power = (double)re[i] * (double)re[i] + (double)im[i] * (double)im[i];
        voxels[i] = (float)(2 + 0.1 * 10 * log10(power));
    }
}

static double power_of(float grey) { return pow(10, ((double)grey - 2) / (0.1 * 10)); }

static void test_speckle(void)
{
    static float before[COUNT];
    const float correlations[] = {0.9f, 0.5f, 0};
    for (int k = 0; k < 3; k++) {
        rvx_ultrasound_change change = start(50);
        patch.black = -4; /* 10 dB a grey value as above, but next to nothing is cut off */
        patch.white = 8;
        change.decibels = 120;
        speckle_fill(temporary, temporary + COUNT);
        memcpy(before, voxels, sizeof before);
        change.has_speckle = true;
        change.correlation = correlations[k];
        rvx__echo_picture(voxels, temporary, &change, &patch);
        double a = 0, b = 0, aa = 0, bb = 0, ab = 0, n = COUNT;
        for (int i = 0; i < COUNT; i++) {
            double p = power_of(before[i]), q = power_of(voxels[i]);
            a += p / n, b += q / n, aa += p * p / n, bb += q * q / n, ab += p * q / n;
        }
        double correlation = (ab - a * b) / sqrt((aa - a * a) * (bb - b * b));
        double wanted = (double)correlations[k] * (double)correlations[k];
        printf("# c %g: correlation %.3f power %.3f deviation %.3f (before %.3f)\n",
               (double)correlations[k], correlation, b / a, sqrt(bb - b * b) / b,
               sqrt(aa - a * a) / a);
        /* The mean around a voxel holds that voxel too, and varies: less than 0.1. */
        TAP_OK(near(correlation, wanted, 0.1));
        TAP_OK(near(b / a, 1, 0.1));
        /* Rayleigh: the deviation of the power is its mean. */
        TAP_OK(near(sqrt(bb - b * b) / b, 1, 0.15));
    }
    /* A smooth picture has no speckle to lose. */
    rvx_ultrasound_change change = start(50);
    for (int i = 0; i < COUNT; i++)
        voxels[i] = 1 + 0.01f * (float)(i / W % H);
    memcpy(before, voxels, sizeof before);
    change.has_speckle = true;
    change.correlation = 0;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    double most = 0;
    for (int i = 0; i < COUNT; i++)
        most = fmax(most, fabs((double)voxels[i] - (double)before[i]));
    TAP_OK(most < 0.05);
}

static void test_sector(void)
{
    rvx_ultrasound_change change = start(0.5);
    static uint8_t labels[COUNT];
    memset(labels, 1, sizeof labels);
    rvx__echo_labels(labels, &change, &patch);
    TAP_OK(labels[0] == 1); /* none was drawn */
    change.has_sector = true;
    change.opening = 0.6f;
    rvx__echo_picture(voxels, temporary, &change, &patch);
    rvx__echo_labels(labels, &change, &patch);
    bool together = true;
    for (int i = 0; i < COUNT; i++)
        together &= (voxels[i] == -2) == (labels[i] == 0);
    TAP_OK(together);
    TAP_OK(at(5, 40, W / 2) == 1 && at(5, 40, 0) == -2);
    /* Half widths at a depth: opening times half the far width, shrinking towards the apex. */
    int lit = 0;
    for (int x = 0; x < W; x++)
        lit += at(5, H - 1, x) == 1;
    TAP_OK(abs(lit - (int)(0.6 * W)) <= 1);
    lit = 0;
    for (int x = 0; x < W; x++)
        lit += at(5, 0, x) == 1;
    TAP_OK(lit > 0 && lit <= (int)(0.6 * W / 3) + 2);
}

/* Pose and sound: where a line of the anatomy comes to lie. */
static void test_warp(void)
{
    static float image[COUNT];
    static uint8_t labels[COUNT], out[COUNT];
    rvx_ultrasound_change change = start(50);
    const rvx_warp_source source = rows_of(image, labels, D, H, W, 1);
    const int64_t size[3] = {D, H, W};
    for (int i = 0; i < COUNT; i++)
        image[i] = labels[i] = i / W % H >= 32; /* a border at depth 1/2 */
    rvx_warp warp = {.outside = -2};
    rvx__affine_identity(&warp.direct);
    TAP_OK(!rvx__echo_warps(&change));
    change.stretch = 1450.0 / 1540;
    TAP_OK(rvx__echo_warps(&change));
    rvx__echo_warp(&warp, &frame, &change);
    rvx__warp(voxels, out, &warp, size, &source, 2);
    /* Shown where depth * stretch is 1/2. */
    int border = 0;
    while (border < H && out[(5 * H + border) * W + W / 2] == 0)
        border++;
    TAP_OK(abs(border - (int)lround(32 / change.stretch)) <= 1);
    /* Turned about the point of contact, which stays. */
    change = start(50);
    for (int i = 0; i < COUNT; i++)
        labels[i] = i / W % H < 2 && abs(i % W - W / 2) < 3;
    change.turn[0] = 0.2;
    warp = (rvx_warp){.outside = -2};
    rvx__affine_identity(&warp.direct);
    rvx__echo_warp(&warp, &frame, &change);
    rvx__warp(voxels, out, &warp, size, &source, 2);
    TAP_OK(!warp.stretched && out[(5 * H + 0) * W + W / 2] == 1);
    const double *m = warp.direct.matrix[2];
    TAP_OK(near(fabs(m[1]) * 0.7 / 0.5, sin(0.2), 1e-9)); /* in mm a rotation by that angle */
}

static void test_frame(void)
{
    const int64_t size[3] = {10, 20, 30};
    const double spacing[3] = {3, 2, 1};
    for (int beam = 0; beam < 6; beam++) {
        int axial = 2 - beam / 2, sweep = (beam / 2 + 1) % 3;
        rvx__beam_frame_make(&frame, beam, sweep, size, spacing, 0.5);
        double depth = (double)size[axial] * spacing[axial];
        double face[3];
        for (int a = 0; a < 3; a++)
            face[a] = 0.5 * (double)(size[a] - 1);
        face[axial] = beam % 2 ? (double)size[axial] - 0.5 : -0.5;
        double axial_mm = 0, swept_step = frame.to_frame[2][2 - sweep];
        for (int a = 0; a < 3; a++)
            axial_mm += frame.to_frame[0][a] * (face[a] - frame.apex[a]);
        TAP_OK(near(axial_mm, 0.5 * depth, 1e-9) && near(frame.radius, 0.5 * depth, 1e-9) &&
               near(fabs(swept_step), spacing[2 - sweep], 1e-9) && frame.swept);
    }
}

static void test_guess(void)
{
    static float image[32 * 32 * 32];
    static rvx_coarse_image coarse;
    rvx_coarse_image *const images[2] = {&coarse, NULL};
    const int64_t size[3] = {32, 32, 32};
    for (int beam = 0; beam < 6; beam++)
        for (int swept = 0; swept < 2; swept++) {
            int axial = beam / 2, lateral = (axial + 1) % 3, third = 3 - axial - lateral;
            for (int i = 0; i < 32 * 32 * 32; i++) {
                int xyz[3] = {i % 32, i / 32 % 32, i / 1024};
                double depth = beam % 2 ? 31 - xyz[axial] : xyz[axial], half = 4 + depth * 0.35;
                bool lit = fabs(xyz[lateral] - 15.5) < half &&
                           (swept || fabs(xyz[third] - 15.5) < 0.8 * half);
                image[i] = lit ? 50 : 3;
            }
            memset(&coarse, 0, sizeof coarse);
            rvx__coarse_image_add(&coarse, image, size, 0, 32);
            int found, sweep;
            TAP_OK(rvx__beam_guess(&found, &sweep, images, 2) && found == beam &&
                   sweep == (swept ? third : 3));
        }
    for (int i = 0; i < 32 * 32 * 32; i++)
        image[i] = (float)(i * 7919 % 101);
    memset(&coarse, 0, sizeof coarse);
    rvx__coarse_image_add(&coarse, image, size, 0, 32);
    int found, sweep;
    TAP_OK(!rvx__beam_guess(&found, &sweep, images, 1) && found == RVX_BEAM_PLUS_Y && sweep == 2);
}

int main(void)
{
    test_gain();
    test_shadow();
    test_reverberation();
    test_speckle();
    test_sector();
    test_warp();
    test_frame();
    test_guess();
    return tap_done();
}
