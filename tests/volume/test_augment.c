/* Transforms of grey values and the reading of patches. With arguments it is the tool of
 * test_augment_scipy.py: NAME D H W IN OUT NUMBERS... applies one transform to a file of floats. */
#include "engine/volume/augment.h"
#include "engine/volume/warp.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { D = 7, H = 9, W = 11, COUNT = D * H * W };

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

static const rvx_extent extent = {D, H, W};

static void fill(float *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = sinf((float)(i * 7919 % 1009)) + 0.01f * (float)(i % 13);
}

static void test_identity(void)
{
    float voxels[COUNT], before[COUNT], temporary[COUNT];
    const float none[3] = {0, 0, 0}, one[3] = {1, 1, 1};
    fill(voxels, COUNT);
    memcpy(before, voxels, sizeof before);
    rvx__augment_noise(voxels, COUNT, 0, (rvx_random){1, 2, 3}, 2);
    rvx__augment_blur(voxels, temporary, extent, none, 2);
    rvx__augment_brightness(voxels, COUNT, 1);
    rvx__augment_low_resolution(voxels, temporary, extent, one, 2);
    TAP_OK(memcmp(before, voxels, sizeof before) == 0);
}

static void test_noise(void)
{
    enum { MANY = 200001 };
    float *voxels = calloc(MANY, sizeof *voxels), *again = calloc(MANY, sizeof *again);
    rvx_random random = {5, 77, (uint64_t)4 << 56};
    rvx__augment_noise(voxels, MANY, 0.04f, random, 1);
    rvx__augment_noise(again, MANY, 0.04f, random, 3);
    TAP_OK(memcmp(voxels, again, MANY * sizeof *voxels) == 0);
    double sum = 0, squares = 0, fourth = 0, neighbours = 0;
    for (int64_t i = 0; i < MANY; i++) {
        double x = (double)voxels[i];
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        neighbours += i ? x * (double)voxels[i - 1] : 0;
    }
    /* Standard errors of n independent normal values: 4 of them. */
    double n = MANY, variance = squares / n;
    TAP_OK(fabs(sum / n) < 4 * 0.2 / sqrt(n));
    TAP_OK(fabs(variance / 0.04 - 1) < 4 * sqrt(2 / n));
    TAP_OK(fabs(fourth / n / (variance * variance) - 3) < 4 * sqrt(24 / n));
    TAP_OK(fabs(neighbours / n / variance) < 4 / sqrt(n));
    random.stream++;
    memset(again, 0, MANY * sizeof *again);
    rvx__augment_noise(again, MANY, 0.04f, random, 1);
    double product = 0;
    for (int64_t i = 0; i < MANY; i++)
        product += (double)voxels[i] * (double)again[i];
    TAP_OK(fabs(product / n / 0.04) < 4 / sqrt(n));
    free(voxels);
    free(again);
}

/* A patch that only moves by whole voxels and mirrors is a copy. */
static void test_copy(void)
{
    float image[2 * COUNT], planes[2 * 5 * 4 * 14];
    uint8_t labels[COUNT], out[5 * 4 * 14];
    fill(image, 2 * COUNT);
    for (int i = 0; i < COUNT; i++)
        labels[i] = (uint8_t)(i * 31 % 5);
    const rvx_warp_source source = rows_of(image, labels, D, H, W, 2);
    const int64_t patch[3] = {5, 4, 14};
    rvx_warp warp = {.outside = -3};
    rvx__affine_identity(&warp.direct);
    warp.direct.matrix[2][2] = -1;
    warp.direct.offset[0] = 1;
    warp.direct.offset[1] = -1;
    warp.direct.offset[2] = 12;
    rvx__warp(planes, out, &warp, patch, &source, 2);
    bool same = true;
    for (int64_t z = 0; z < 5; z++)
        for (int64_t y = 0; y < 4; y++)
            for (int64_t x = 0; x < 14; x++)
                for (int64_t c = 0; c < 2; c++) {
                    int64_t sz = z + 1, sy = y - 1, sx = 12 - x, i = (z * 4 + y) * 14 + x;
                    bool inside = sy >= 0 && sx >= 0 && sx < W;
                    int64_t from = (sz * H + sy) * W + sx;
                    same &= planes[c * 280 + i] == (inside ? image[from * 2 + c] : -3);
                    same &= out[i] == (inside ? labels[from] : 0);
                }
    TAP_OK(same);
}

/* Where the label is the picture (0 or 1), the label that is read is 1 just where the picture is
 * above 1/2: they are read at the same places. */
static void test_aligned(void)
{
    enum { N = 24, VOXELS = N * N * N };
    static float image[VOXELS], planes[VOXELS];
    static uint8_t labels[VOXELS], out[VOXELS];
    for (int i = 0; i < VOXELS; i++)
        image[i] = labels[i] = (i * 7919 % 101 < 30) | (i / 5 % 7 == 0);
    const rvx_warp_source source = rows_of(image, labels, N, N, N, 1);
    const int64_t patch[3] = {N, N, N};
    for (int stretched = 0; stretched < 2; stretched++) {
        rvx_warp warp = {
            .direct = {{{0.8, 0.3, -0.1}, {-0.2, 0.9, 0.25}, {0.1, -0.3, 0.7}}, {2.3, -4.1, 5.7}}};
        if (stretched) {
            warp.stretched = true;
            warp.to_polar = warp.direct;
            rvx__affine_identity(&warp.from_polar);
            warp.polar_axes = 2;
            warp.inner = 3;
            warp.stretch = 1.07;
        }
        rvx__warp(planes, out, &warp, patch, &source, 1);
        int wrong = 0, ones = 0, between = 0;
        for (int i = 0; i < VOXELS; i++) {
            bool tie = fabsf(planes[i] - 0.5f) < 1e-5f;
            wrong += !tie && (planes[i] > 0.5f) != (out[i] == 1);
            ones += out[i];
            between += planes[i] > 0 && planes[i] < 1;
        }
        TAP_OK(wrong == 0 && ones > VOXELS / 20 && between > VOXELS / 4);
    }
}

/* ---- The tool ---------------------------------------------------------------------------------
 */

static int tool(int count, char **arguments)
{
    const char *name = arguments[1];
    rvx_extent e = {atoll(arguments[2]), atoll(arguments[3]), atoll(arguments[4])};
    int64_t voxels = e.d * e.h * e.w;
    double number[12] = {0};
    for (int i = 7; i < count && i < 19; i++)
        number[i - 7] = atof(arguments[i]);
    float *data = malloc((size_t)voxels * 4), *temporary = malloc((size_t)voxels * 4);
    uint8_t *labels = malloc((size_t)voxels), *labels_out = malloc((size_t)voxels);
    FILE *in = fopen(arguments[5], "rb"), *out = fopen(arguments[6], "wb");
    if (!data || !temporary || !labels || !labels_out || !in || !out ||
        fread(data, 4, (size_t)voxels, in) != (size_t)voxels)
        return 1;
    const float three[3] = {(float)number[0], (float)number[1], (float)number[2]};
    float amount = (float)number[0];
    const float *result = data;
    if (strcmp(name, "blur") == 0) {
        rvx__augment_blur(data, temporary, e, three, 2);
    } else if (strcmp(name, "brightness") == 0) {
        rvx__augment_brightness(data, voxels, amount);
    } else if (strcmp(name, "contrast") == 0) {
        rvx__augment_contrast(data, voxels, amount);
    } else if (strcmp(name, "gamma") == 0 || strcmp(name, "gamma_inverted") == 0) {
        rvx__augment_gamma(data, voxels, amount, name[5] != 0);
    } else if (strcmp(name, "low_resolution") == 0) {
        rvx__augment_low_resolution(data, temporary, e, three, 2);
    } else if (strcmp(name, "warp") == 0) {
        rvx_warp warp = {.outside = 0};
        memcpy(warp.direct.matrix, number, sizeof warp.direct.matrix);
        memcpy(warp.direct.offset, number + 9, sizeof warp.direct.offset);
        memset(labels, 0, (size_t)voxels);
        const int64_t patch[3] = {e.d, e.h, e.w};
        const rvx_warp_source source = rows_of(data, labels, e.d, e.h, e.w, 1);
        rvx__warp(temporary, labels_out, &warp, patch, &source, 2);
        result = temporary;
    } else {
        return 2;
    }
    bool written = fwrite(result, 4, (size_t)voxels, out) == (size_t)voxels;
    written = fclose(out) == 0 && written;
    fclose(in);
    free(data);
    free(temporary);
    free(labels);
    free(labels_out);
    return !written;
}

int main(int count, char **arguments)
{
    if (count > 6)
        return tool(count, arguments);
    test_identity();
    test_noise();
    test_copy();
    test_aligned();
    return tap_done();
}
