/* Resampling: answers worked out by hand, polynomials that a cubic spline reproduces, and the same
 * bits however slices are asked for and for any thread count. Called with arguments it is the tool
 * behind test_resample_scipy.py:
 *   test_resample image|labels RULES IN X,Y,Z,C OUT X,Y,Z    RULES: c, l or n for x, y, z
 * Raw float32 or uint8 in, the same out. */
#include "engine/base/file.h"
#include "engine/volume/resample.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <omp.h>
#include <string.h>

typedef struct memory {
    const void *voxels;
    int64_t slice;  /* elements */
    int64_t slices; /* read so far */
} memory;

static rvx_status image_read(void *context, float *out, int64_t z_first, int64_t z_count,
                             rvx_error *error)
{
    (void)error;
    memory *m = context;
    m->slices += z_count;
    memcpy(out, (const float *)m->voxels + z_first * m->slice,
           (size_t)(z_count * m->slice) * sizeof *out);
    return RVX_OK;
}

static rvx_status labels_read(void *context, uint8_t *out, int64_t z_first, int64_t z_count,
                              rvx_error *error)
{
    (void)error;
    const memory *m = context;
    memcpy(out, (const uint8_t *)m->voxels + z_first * m->slice, (size_t)(z_count * m->slice));
    return RVX_OK;
}

/* In steps of `step` slices; returns how many input slices were read. */
static int64_t resample(float *out, const rvx_resampler_options *o, const float *in, int64_t step)
{
    rvx_error error;
    rvx_resampler *r = NULL;
    memory m = {in, o->in_size[0] * o->in_size[1] * o->channels, 0};
    if (rvx__resampler_create(&r, o, &(rvx_slices){image_read, &m}, &error) != RVX_OK)
        return -1;
    for (int64_t z = 0; z < o->out_size[2]; z += step) {
        int64_t count = o->out_size[2] - z < step ? o->out_size[2] - z : step;
        rvx__resampler_read(r, out + z * o->out_size[0] * o->out_size[1] * o->channels, z, count,
                            &error);
    }
    rvx__resampler_free(r);
    return m.slices;
}

static void resample_labels(uint8_t *out, const int64_t out_size[3], const uint8_t *in,
                            const int64_t in_size[3], const rvx_resampling rules[3])
{
    rvx_error error;
    rvx_label_resampler *r = NULL;
    memory m = {in, in_size[0] * in_size[1], 0};
    rvx__label_resampler_create(&r, out_size, in_size, rules, &(rvx_label_slices){labels_read, &m},
                                &error);
    if (r)
        rvx__label_resampler_read(r, out, 0, out_size[2], &error);
    rvx__label_resampler_free(r);
}

static rvx_resampler_options line(int64_t out, int64_t in, int64_t channels, rvx_resampling rule)
{
    return (rvx_resampler_options){.out_size = {out, 1, 1},
                                   .in_size = {in, 1, 1},
                                   .rules = {rule, rule, rule},
                                   .channels = channels};
}

/* 2 -> 4 along one axis: centres at -0.25, 0.25, 0.75, 1.25. */
static void test_by_hand(void)
{
    const float in[4] = {0, 10, 4, 20}; /* two channels: 0 4, 10 20 */
    float out[8];
    rvx_resampler_options o = line(4, 2, 2, RVX_RESAMPLING_LINEAR);
    resample(out, &o, in, 1);
    TAP_OK(out[0] == 0 && out[2] == 1 && out[4] == 3 && out[6] == 4);
    TAP_OK(out[1] == 10 && out[3] == 12.5f && out[5] == 17.5f && out[7] == 20);
    o = line(1, 2, 2, RVX_RESAMPLING_LINEAR);
    resample(out, &o, in, 1);
    TAP_OK(out[0] == 2 && out[1] == 15);
    o = line(4, 1, 2, RVX_RESAMPLING_CUBIC);
    resample(out, &o, in, 1);
    tap_ok(out[0] == 0 && out[6] == 0 && out[7] == 10, "one voxel fills an axis");
    const uint8_t labels[5] = {1, 2, 3, 4, 5};
    uint8_t picked[5];
    const rvx_resampling nearest[3] = {RVX_RESAMPLING_NEAREST, RVX_RESAMPLING_NEAREST,
                                       RVX_RESAMPLING_NEAREST},
                         linear[3] = {RVX_RESAMPLING_LINEAR, RVX_RESAMPLING_LINEAR,
                                      RVX_RESAMPLING_LINEAR};
    const int64_t five[3] = {5, 1, 1}, three[3] = {3, 1, 1}, two[3] = {2, 1, 1}, one[3] = {1, 1, 1};
    resample_labels(picked, three, labels, five, nearest); /* centres 0.33, 2, 3.67 */
    TAP_OK(picked[0] == 1 && picked[1] == 3 && picked[2] == 5);
    resample_labels(picked, five, labels, three, nearest);
    TAP_OK(picked[0] == 1 && picked[1] == 1 && picked[2] == 2 && picked[3] == 3 && picked[4] == 3);
    resample_labels(picked, one, labels, two, linear);
    tap_ok(picked[0] == 2, "two labels with half a voxel each: the greater");
    resample_labels(picked, three, labels, five, linear);
    tap_ok(picked[0] == 1 && picked[1] == 3 && picked[2] == 5, "the label with more than half");
}

/* Away from the edges an interpolating cubic spline returns every cubic polynomial. */
static void test_polynomial(void)
{
    enum { IN = 64, OUT = 101 };
    float in[IN], out[OUT];
    double worst = 0;
    for (int i = 0; i < IN; i++) {
        double t = (i - IN / 2) / 16.0;
        in[i] = (float)(t * t * t - 2 * t * t + t - 3);
    }
    const rvx_resampler_options o = line(OUT, IN, 1, RVX_RESAMPLING_CUBIC);
    resample(out, &o, in, 1);
    for (int i = 32; i < OUT - 32; i++) {
        double t = ((i + 0.5) * IN / OUT - 0.5 - IN / 2) / 16.0;
        worst = fmax(worst, fabs((double)out[i] - (t * t * t - 2 * t * t + t - 3)));
    }
    /* 28 products of values up to 13, weights that add up to about 2 without their signs; the edge,
     * where the polynomial ends, is 0.268^20 times smaller still. */
    tap_ok(worst < 28 * 2 * 13 * 0x1p-24, "a cubic polynomial comes back: off by %g", worst);
    for (int i = 0; i < IN; i++)
        in[i] = 7.25f;
    resample(out, &o, in, 1);
    worst = 0;
    for (int i = 0; i < OUT; i++)
        worst = fmax(worst, fabs((double)out[i] - 7.25));
    tap_ok(worst < 28 * 2 * 7.25 * 0x1p-24, "a constant comes back: off by %g", worst);
}

/* Every axis alike: a permuted volume gives permuted results. */
static void test_axes(rvx_resampling rule)
{
    enum { N = 7 * 5 * 3 };
    float a[N], b[N], a_out[9 * 4 * 6], b_out[9 * 4 * 6];
    for (int64_t z = 0; z < 3; z++)
        for (int64_t y = 0; y < 5; y++)
            for (int64_t x = 0; x < 7; x++)
                a[(z * 5 + y) * 7 + x] = b[(y * 7 + x) * 3 + z] = (float)(x * x + 3 * y - z * z);
    const rvx_resampler_options straight = {.out_size = {9, 4, 6},
                                            .in_size = {7, 5, 3},
                                            .rules = {rule, rule, rule},
                                            .channels = 1},
                                turned = {.out_size = {6, 9, 4},
                                          .in_size = {3, 7, 5},
                                          .rules = {rule, rule, rule},
                                          .channels = 1};
    resample(a_out, &straight, a, 6);
    resample(b_out, &turned, b, 4);
    double worst = 0;
    for (int64_t z = 0; z < 6; z++)
        for (int64_t y = 0; y < 4; y++)
            for (int64_t x = 0; x < 9; x++)
                worst = fmax(
                    worst, (double)fabsf(a_out[(z * 4 + y) * 9 + x] - b_out[(y * 9 + x) * 6 + z]));
    /* Sums of at most 28 of values up to 48, three times over. */
    tap_ok(worst <= 3 * 28 * 2 * 48 * 0x1p-24, "axes are alike: %g", worst);
}

/* Slabs, threads and going back do not change a bit; a stream reads every input slice once. */
static void test_same_bits(int64_t channels, rvx_resampling along_z)
{
    const float range[3][2] = {{-0.4f, 0.4f}, {-0.5f, 0.3f}, {-1, 1}};
    const rvx_resampler_options o = {.out_size = {61, 37, 90},
                                     .in_size = {40, 51, 57},
                                     .rules = {RVX_RESAMPLING_CUBIC, RVX_RESAMPLING_CUBIC, along_z},
                                     .channels = channels,
                                     .range = range};
    const int64_t in_count = 40 * 51 * 57 * channels, out_slice = 61 * 37 * channels;
    float *in = malloc((size_t)in_count * sizeof *in);
    float *first = malloc((size_t)(out_slice * 90) * sizeof *first);
    float *again = malloc((size_t)(out_slice * 90) * sizeof *again);
    for (int64_t i = 0; i < in_count; i++)
        in[i] = rvx__word_uniform(rvx__philox(1, 2, (uint64_t)i).word[0]) - 0.5f;
    omp_set_num_threads(1);
    int64_t read = resample(first, &o, in, 90);
    tap_ok(read == 57, "every slice is read once: %lld of 57", (long long)read);
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int64_t step = 1; step <= 90; step = step * 3 + 4) {
            read = resample(again, &o, in, step);
            tap_ok(read == 57 && memcmp(first, again, (size_t)(out_slice * 90) * 4) == 0,
                   "the same bits in steps of %lld with %d threads", (long long)step, threads);
        }
    }
    rvx_error error;
    rvx_resampler *r = NULL;
    memory m = {in, 40 * 51 * channels, 0};
    rvx__resampler_create(&r, &o, &(rvx_slices){image_read, &m}, &error);
    bool same = true;
    const int64_t order[5] = {80, 3, 40, 39, 0};
    for (int i = 0; i < 5; i++) {
        rvx__resampler_read(r, again, order[i], 1, &error);
        same &= memcmp(again, first + order[i] * out_slice, (size_t)out_slice * 4) == 0;
    }
    tap_ok(same, "the same bits in any order");
    rvx__resampler_free(r);
    int64_t bytes = rvx__resampler_bytes(&o);
    tap_ok(bytes > out_slice * 4 && bytes < (in_count + out_slice * 90) * 4,
           "%lld bytes are held: less than either volume", (long long)bytes);
    free(in);
    free(first);
    free(again);
}

/* ---- Tool -------------------------------------------------------------------------------------
 */

static int tool(char **a)
{
    rvx_error error;
    long long in[4], out[3];
    char *data = NULL;
    int64_t bytes;
    rvx_resampling rules[3];
    if (sscanf(a[4], "%lld,%lld,%lld,%lld", &in[0], &in[1], &in[2], &in[3]) != 4 ||
        sscanf(a[6], "%lld,%lld,%lld", &out[0], &out[1], &out[2]) != 3 ||
        rvx__file_read_all(&data, &bytes, a[3], 1 << 30, &error) != RVX_OK)
        return 2;
    for (int i = 0; i < 3; i++)
        rules[i] = a[2][i] == 'c'   ? RVX_RESAMPLING_CUBIC
                   : a[2][i] == 'l' ? RVX_RESAMPLING_LINEAR
                                    : RVX_RESAMPLING_NEAREST;
    const int64_t voxels = out[0] * out[1] * out[2];
    void *result = malloc((size_t)(voxels * in[3]) * sizeof(float));
    if (a[1][0] == 'l') {
        resample_labels(result, (int64_t[]){out[0], out[1], out[2]}, (const uint8_t *)data,
                        (int64_t[]){in[0], in[1], in[2]}, rules);
        rvx__file_write(a[5], result, voxels, &error);
    } else {
        float range[8][2] = {{0}};
        const float *v = (const float *)(const void *)data;
        for (int64_t i = 0; i < bytes / 4; i++) {
            float *r = range[i % in[3]];
            r[0] = i < in[3] ? v[i] : fminf(r[0], v[i]);
            r[1] = i < in[3] ? v[i] : fmaxf(r[1], v[i]);
        }
        const rvx_resampler_options o = {.out_size = {out[0], out[1], out[2]},
                                         .in_size = {in[0], in[1], in[2]},
                                         .rules = {rules[0], rules[1], rules[2]},
                                         .channels = in[3],
                                         .range = (const float(*)[2])range};
        resample(result, &o, v, 7);
        rvx__file_write(a[5], result, voxels * in[3] * 4, &error);
    }
    free(data);
    free(result);
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 7)
        return tool(arguments);
    test_by_hand();
    test_polynomial();
    test_axes(RVX_RESAMPLING_LINEAR);
    test_axes(RVX_RESAMPLING_CUBIC);
    test_same_bits(1, RVX_RESAMPLING_CUBIC);
    test_same_bits(3, RVX_RESAMPLING_LINEAR);
    test_same_bits(2, RVX_RESAMPLING_NEAREST);
    return tap_done();
}
