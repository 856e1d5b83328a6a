/* Integer streams: rounding to the grid, wrap-around, the count of what did not fit, sums that
 * their difference undoes bit for bit, statistics that equal those of whole numbers, and kernels
 * whose result does not depend on how voxels lie in memory. Every instruction set, and CUDA. */
#include "kernels/op.h"
#include "kernels/random.h"
#include "tap.h"
#include "tests/kernels/device.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 10 };

static rvx_tensor tensor_make(rvx_shape shape, int64_t pitch, rvx_dtype dtype)
{
    int64_t bytes = (rvx__shape_voxels(shape) * pitch * rvx__dtype_bytes(dtype) + 127) / 64 * 64;
    void *data = device_allocate(bytes);
    if (!data)
        abort();
    memset(data, 0, (size_t)bytes);
    return (rvx_tensor){.data = data,
                        .shape = shape,
                        .pitch = pitch,
                        .dtype = dtype,
                        .grid_log2 = dtype == RVX_I16 ? GRID : 0};
}

/* Runs one phase to its end, with the scratch that the row asks for. False, and nothing done, where
 * the op has no kernel for CUDA. */
static bool run(const rvx_op *op, rvx_phase phase, rvx_call *call, rvx_isa isa)
{
    rvx_kernel kernel = device_kernel(op, phase, isa);
    if (!kernel)
        return false;
    rvx_shape in[RVX_IN_MAX], out[RVX_OUT_MAX];
    for (int i = 0; i < RVX_IN_MAX; i++)
        in[i] = call->in[i].shape;
    for (int i = 0; i < RVX_OUT_MAX; i++)
        out[i] = call->out[i].shape;
    call->threads = 2;
    call->scratch_bytes = device_scratch(op, phase, in, out, call->params, call->threads, isa);
    call->scratch = device_allocate((call->scratch_bytes + 127) / 64 * 64);
    device_run(kernel, call, isa);
    device_free(call->scratch);
    return true;
}

static bool skipped(const rvx_op *op, rvx_phase phase, rvx_isa isa)
{
    if (device_kernel(op, phase, isa))
        return false;
    printf("# %s has no kernel for CUDA\n", op->name);
    tap_skip("no kernel for CUDA");
    return true;
}

static int64_t element(const rvx_tensor *t, int64_t i)
{
    return i / t->shape.c * t->pitch + i % t->shape.c;
}

static int16_t *integers(const rvx_tensor *t) { return (int16_t *)t->data; }

/* The specification: nearest, ties to even, NaN to 0, clamped far outside, then the low 16 bits. */
static int64_t expected(double value)
{
    double steps = value * (1 << GRID);
    if (isnan(steps))
        return 0;
    return (int64_t)nearbyint(fmin(fmax(steps, -4194303.0), 4194303.0));
}

static void rounding_check(rvx_isa isa)
{
    static const float special[] = {0.0f,         0.5f / 1024,  1.5f / 1024, 2.5f / 1024,
                                    -0.5f / 1024, -1.5f / 1024, 31.999f,     32.0f,
                                    -32.0f,       -32.001f,     1e6f,        -1e30f,
                                    INFINITY,     -INFINITY,    NAN,         0.49999f / 1024};
    enum { COUNT = 37 * 21 };
    rvx_shape shape = {1, 1, 3, 7, 37};
    rvx_tensor x = tensor_make(shape, 37, RVX_F32), y = tensor_make(shape, 40, RVX_I16);
    int64_t *overflow = device_allocate(64), lost = 0;
    *overflow = 0;
    y.overflow = overflow;
    rvx_random random = {.seed = 7};
    for (int i = 0; i < COUNT; i++)
        rvx__f32(&x)[i] = i < 16 ? special[i] : 20 * rvx__random_normal(&random);
    rvx_call call = {.in = {x}, .out = {y}};
    run(&rvx__op_round, RVX_FORWARD, &call, isa);
    int wrong = 0;
    for (int i = 0; i < COUNT; i++) {
        int64_t want = expected((double)rvx__f32(&x)[i]);
        wrong += integers(&y)[element(&y, i)] != (int16_t)want;
        lost += want != (int16_t)want;
    }
    tap_ok(wrong == 0, "isa %d: %d of %d values on the grid", (int)isa, COUNT - wrong, COUNT);
    tap_ok(*overflow == lost && lost > 0, "isa %d: %lld of %lld overflows counted", (int)isa,
           (long long)*overflow, (long long)lost);
    device_free(x.data);
    device_free(y.data);
    device_free(overflow);
}

/* y = a + b in place of a, then a = y - b, with b in each type and some sums out of range. */
static void sum_check(rvx_isa isa, rvx_dtype type, int64_t channels)
{
    rvx_shape shape = {2, 3, 5, 7, channels};
    int64_t count = rvx__shape_count(shape), *overflow = device_allocate(64), lost = 0;
    *overflow = 0;
    rvx_tensor y = tensor_make(shape, channels + 3, RVX_I16),
               b = tensor_make(shape, channels, type);
    int16_t *before = malloc((size_t)count * sizeof *before);
    rvx_random random = {.seed = 11};
    int64_t *want = malloc((size_t)count * sizeof *want);
    for (int64_t i = 0; i < count; i++) {
        float value = 8 * rvx__random_normal(&random), a = 12 * rvx__random_normal(&random);
        int64_t integer = expected((double)value);
        if (type == RVX_F32) {
            rvx__f32(&b)[i] = value;
        } else if (type == RVX_BF16) {
            ((uint16_t *)b.data)[i] = rvx__bf16_of(value);
            integer = expected((double)rvx__f32_of(rvx__bf16_of(value)));
        } else {
            integers(&b)[i] = (int16_t)integer;
            integer = (int16_t)integer;
        }
        before[i] = integers(&y)[element(&y, i)] = (int16_t)expected((double)a);
        lost += integer != (int16_t)integer;
        want[i] = before[i] + (int16_t)integer;
        lost += want[i] != (int16_t)want[i];
    }
    y.overflow = overflow;
    rvx_call call = {.in = {y, b}, .out = {y}};
    run(&rvx__op_add, RVX_FORWARD, &call, isa);
    int64_t wrong = 0, changed = 0;
    for (int64_t i = 0; i < count; i++)
        wrong += integers(&y)[element(&y, i)] != (int16_t)want[i];
    tap_ok(wrong == 0 && *overflow == lost,
           "isa %d: sum with type %d, %lld channels, %lld overflows", (int)isa, (int)type,
           (long long)channels, (long long)lost);
    call.rebuild = 0;
    run(&rvx__op_add, RVX_INVERSE, &call, isa);
    for (int64_t i = 0; i < count; i++)
        changed += integers(&y)[element(&y, i)] != before[i];
    tap_ok(changed == 0, "isa %d: the difference undoes it", (int)isa);
    device_free(y.data);
    device_free(b.data);
    device_free(overflow);
    free(before);
    free(want);
}

/* Statistics of a stream against sums of integers in long double. */
static void statistics_check(rvx_isa isa, int64_t channels, int32_t groups)
{
    rvx_shape shape = {2, 5, 17, 31, channels};
    rvx_op_params params = {.groups = groups, .epsilon = 1e-5f, .slope = 0.01f};
    int64_t sizes = groups ? groups : channels, size = channels / sizes;
    rvx_tensor x = tensor_make(shape, channels + 5, RVX_I16);
    rvx_tensor statistics = tensor_make((rvx_shape){2, 1, 1, sizes, 2}, 2, RVX_F32);
    rvx_tensor fold = tensor_make((rvx_shape){2, 1, 1, 3, channels}, channels, RVX_F32);
    int64_t count = 5 * 17 * 31;
    rvx_random random = {.seed = 13};
    for (int64_t i = 0; i < rvx__shape_count(shape); i++)
        integers(&x)[element(&x, i)] =
            (int16_t)(25000 + (int)rvx__random_below(&random, 700) - (int)(i % channels) * 3);
    rvx_call call = {.params = &params, .in = {x}, .out = {{.shape = shape}, statistics, fold}};
    run(&rvx__op_norm_act, RVX_FORWARD, &call, isa);
    int wrong = 0;
    for (int64_t n = 0; n < 2; n++)
        for (int64_t g = 0; g < sizes; g++) {
            __int128 sum = 0, squares = 0, total = (__int128)count * size;
            for (int64_t i = 0; i < count * channels; i++)
                if (i % channels / size == g) {
                    int64_t v = integers(&x)[element(&x, n * count * channels + i)];
                    sum += v;
                    squares += v * v;
                }
            double unit = 1.0 / (1 << GRID), mean = unit * (double)sum / (double)total;
            double variance = unit * unit * (double)(total * squares - sum * sum) /
                              ((double)total * (double)total);
            const float *pair = rvx__f32(&statistics) + (n * sizes + g) * 2;
            wrong += pair[0] != (float)mean;
            /* the square root may fall to either neighbour */
            wrong += fabs((double)pair[1] * sqrt(variance + (double)1e-5f) - 1) > 0x1p-23;
        }
    tap_ok(wrong == 0, "isa %d: statistics of %lld channels in %lld groups", (int)isa,
           (long long)channels, (long long)sizes);
    device_free(x.data);
    device_free(statistics.data);
    device_free(fold.data);
}

typedef struct conv_case {
    const char *name;
    rvx_shape x;
    int64_t channels;
    int32_t kernel, stride;
} conv_case;

static const conv_case conv_cases[] = {{"odd", {2, 5, 7, 9, 3}, 5, 3, 1},
                                       {"8 to 8", {1, 6, 5, 33, 8}, 8, 3, 1},
                                       {"30 to 33", {1, 4, 5, 6, 30}, 33, 3, 1},
                                       {"64 to 48", {1, 16, 17, 16, 64}, 48, 3, 1},
                                       {"256 to 256, few voxels", {1, 2, 3, 2, 256}, 256, 3, 1},
                                       {"pointwise", {1, 5, 6, 7, 16}, 12, 1, 1},
                                       {"stride 2", {1, 6, 7, 9, 16}, 16, 3, 2}};

static void fill(const rvx_tensor *t, uint64_t stream, float scale)
{
    rvx_random random = {.seed = 17, .stream = stream};
    for (int64_t i = 0; i < rvx__shape_count(t->shape); i++) {
        float value = scale * rvx__random_normal(&random);
        if (t->dtype == RVX_I16)
            integers(t)[element(t, i)] = (int16_t)expected((double)value);
        else
            rvx__f32(t)[element(t, i)] = value;
    }
}

static bool same(const rvx_tensor *a, const rvx_tensor *b)
{
    int64_t differ = 0, bytes = rvx__dtype_bytes(a->dtype);
    for (int64_t i = 0; i < rvx__shape_count(a->shape); i++)
        differ += memcmp((char *)a->data + element(a, i) * bytes,
                         (char *)b->data + element(b, i) * bytes, (size_t)bytes) != 0;
    return differ == 0;
}

/* y = r + conv(fold(x)) in one pass equals the convolution, stored as f32, and then the sum, bit
 * for bit; the inverse in place of y gives r back; a convolution that stores to the grid equals one
 * that is rounded after. For streams of integers and of f32, with x itself a stream. */
static void convolution_check(rvx_isa isa, const conv_case *c, rvx_dtype type, int bf16_products)
{
    rvx_op_params params = {.channels_out = (int32_t)c->channels, .bf16_products = bf16_products};
    for (int a = 0; a < 3; a++) {
        params.kernel[a] = c->kernel;
        params.stride[a] = c->stride;
        params.pad[a] = c->kernel / 2;
    }
    rvx_shape in[RVX_IN_MAX] = {c->x, {c->kernel, c->kernel, c->kernel, c->x.c, c->channels}}, y;
    rvx_error error;
    rvx__op_conv.shape(&y, in, 2, &params, &error);
    rvx_tensor x = tensor_make(c->x, c->x.c + 3, type), weight = tensor_make(in[1], c->channels, 0);
    rvx_tensor fold = tensor_make((rvx_shape){c->x.n, 1, 1, 3, c->x.c}, c->x.c, RVX_F32);
    rvx_tensor before = tensor_make(y, c->channels, type),
               one = tensor_make(y, c->channels + 2, type);
    rvx_tensor sum = tensor_make(y, c->channels, RVX_F32), two = tensor_make(y, c->channels, type);
    fill(&x, 1, 2);
    fill(&weight, 2, 1.0f / sqrtf((float)(c->kernel * c->kernel * c->kernel * c->x.c)));
    fill(&fold, 3, 1);
    fill(&before, 4, 4);
    for (int64_t i = 0; i < rvx__shape_count(y); i++)
        memcpy((char *)one.data + element(&one, i) * rvx__dtype_bytes(type),
               (char *)before.data + i * rvx__dtype_bytes(type), (size_t)rvx__dtype_bytes(type));
    rvx_call call = {.params = &params, .in = {x, weight, {0}, one}, .out = {one}, .fold = fold};
    run(&rvx__op_conv, RVX_FORWARD, &call, isa);
    rvx_call plain = call;
    plain.in[3] = (rvx_tensor){0};
    plain.out[0] = sum;
    run(&rvx__op_conv, RVX_FORWARD, &plain, isa);
    rvx_call add = {.in = {before, sum}, .out = {two}};
    run(&rvx__op_add, RVX_FORWARD, &add, isa);
    tap_ok(same(&one, &two), "isa %d, %s, type %d%s: residual == convolution, then sum", (int)isa,
           c->name, (int)type, bf16_products ? ", bf16 products" : "");
    call.rebuild = 3;
    run(&rvx__op_conv, RVX_INVERSE, &call, isa);
    /* f32 gives back what it can: two roundings of numbers below 32, half of 2^-19 each */
    double worst = 0;
    for (int64_t i = 0; i < rvx__shape_count(y) && type == RVX_F32; i++)
        worst = fmax(worst,
                     fabs((double)rvx__f32(&one)[element(&one, i)] - (double)rvx__f32(&before)[i]));
    tap_ok(type == RVX_F32 ? worst <= 0x1p-19 : same(&one, &before), "the inverse gives it back");
    if (type == RVX_I16) {
        plain.out[0] = one;
        run(&rvx__op_conv, RVX_FORWARD, &plain, isa);
        rvx_call round = {.in = {sum}, .out = {two}};
        run(&rvx__op_round, RVX_FORWARD, &round, isa);
        tap_ok(same(&one, &two), "stored to the grid == rounded after");
    }
    void *all[] = {x.data, weight.data, fold.data, before.data, one.data, sum.data, two.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        device_free(all[i]);
}

static void isa_check(rvx_isa isa)
{
    rounding_check(isa);
    for (int type = RVX_F32; type <= RVX_I16; type++)
        for (int64_t channels = 1; channels <= 33; channels += 16)
            sum_check(isa, (rvx_dtype)type, channels);
    if (!skipped(&rvx__op_norm_act, RVX_FORWARD, isa)) {
        statistics_check(isa, 1, 0);
        statistics_check(isa, 30, 15);
        statistics_check(isa, 48, 0);
    }
    if (skipped(&rvx__op_conv, RVX_FORWARD, isa))
        return;
    for (size_t i = 0; i < sizeof conv_cases / sizeof *conv_cases; i++) {
        convolution_check(isa, &conv_cases[i], RVX_F32, 0);
        convolution_check(isa, &conv_cases[i], RVX_I16, 0);
        convolution_check(isa, &conv_cases[i], RVX_I16, 1);
    }
}

int main(void)
{
    for (int isa = 0; isa <= (int)rvx__isa_detect(); isa++)
        isa_check((rvx_isa)isa);
    if (tap_ok(device_use(), "the CUDA backend is there"))
        isa_check(RVX_ISA_CUDA);
    return tap_done();
}
