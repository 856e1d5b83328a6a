/* Both convolutions of the CUDA backend beyond test_ops: products of numbers rounded to bf16
 * against sums of the same products in double, streams, residuals and their inverse, and the same
 * bits however voxels lie in memory. On a GPU or in the emulation: see tests/kernels/device.h. */
#include "kernels/cuda/conv_sizes.h"
#include "tests/kernels/harness.h"

#include <math.h>

enum { GRID = 10 };

typedef struct conv_case {
    const char *name;
    const rvx_op *op;
    rvx_shape x;
    int64_t channels;
    int32_t kernel[3], stride[3], pad[3];
} conv_case;

#define CONV_3                                                                                     \
    {3, 3, 3}, {1, 1, 1}, { 1, 1, 1 }
static const conv_case cases[] = {
    {"odd", &rvx__op_conv, {2, 5, 7, 9, 3}, 5, CONV_3},
    {"1 to 16", &rvx__op_conv, {1, 3, 4, 19, 1}, 16, CONV_3},
    {"8 to 8, several tiles", &rvx__op_conv, {1, 6, 11, 35, 8}, 8, CONV_3},
    {"16 to 16", &rvx__op_conv, {2, 5, 9, 17, 16}, 16, CONV_3},
    {"16 to 16, in pieces", &rvx__op_conv, {1, 35, 3, 35, 16}, 16, CONV_3},
    {"32 to 32", &rvx__op_conv, {1, 3, 18, 10, 32}, 32, CONV_3},
    {"24 to 40", &rvx__op_conv, {1, 3, 5, 18, 24}, 40, CONV_3},
    {"56 to 32", &rvx__op_conv, {1, 4, 3, 6, 56}, 32, CONV_3},
    {"64 to 64", &rvx__op_conv, {1, 2, 9, 5, 64}, 64, CONV_3},
    {"136 to 72", &rvx__op_conv, {1, 2, 3, 4, 136}, 72, CONV_3},
    {"72 to 80", &rvx__op_conv, {1, 2, 3, 4, 72}, 80, CONV_3},
    {"pads 2 0 1", &rvx__op_conv, {1, 4, 9, 6, 8}, 24, {3, 3, 3}, {1, 1, 1}, {2, 0, 1}},
    {"in plane", &rvx__op_conv, {2, 3, 9, 18, 16}, 8, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}},
    {"pointwise", &rvx__op_conv, {2, 3, 4, 7, 16}, 12, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
    {"stride 2", &rvx__op_conv, {1, 6, 7, 9, 16}, 24, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {"kernel 5", &rvx__op_conv, {1, 4, 5, 6, 8}, 16, {5, 5, 5}, {1, 1, 1}, {2, 2, 2}},
    {"in plane, stride 2, 3", &rvx__op_conv, {1, 3, 8, 9, 16}, 8, {1, 3, 2}, {1, 2, 3}, {0, 1, 1}},
    {"transposed", &rvx__op_conv_transpose, {2, 3, 4, 5, 16}, 24, {2, 2, 2}, {2, 2, 2}, {0, 0, 0}},
    {"transposed, 1 2 3", &rvx__op_conv_transpose, {1, 3, 5, 2, 5}, 7, {1, 2, 3}, {1, 2, 3}, {0}},
};

/* ---- operands -------------------------------------------------------------------------------- */

static void put(const rvx_tensor *t, int64_t i, float v)
{
    const int64_t at = element(t, i);
    if (t->dtype == RVX_BF16)
        ((uint16_t *)t->data)[at] = rvx__bf16_of(v);
    else if (t->dtype == RVX_I16)
        ((int16_t *)t->data)[at] = (int16_t)lrintf(v * (1 << GRID));
    else
        rvx__f32(t)[at] = v;
}

static float get(const rvx_tensor *t, int64_t i)
{
    return t->dtype == RVX_I16 ? (float)((int16_t *)t->data)[element(t, i)] / (1 << GRID)
                               : (float)value_of(t, i);
}

static buffer make(rvx_shape shape, rvx_dtype dtype, int64_t extra)
{
    buffer b = buffer_make(shape, dtype, extra);
    b.tensor.grid_log2 = dtype == RVX_I16 ? GRID : 0;
    return b;
}

static buffer random_make(rvx_shape shape, rvx_dtype dtype, int64_t extra, uint64_t stream,
                          float scale)
{
    buffer b = make(shape, dtype, extra);
    for (int64_t i = 0; i < rvx__shape_count(shape); i++)
        put(&b.tensor, i, scale * number(23, stream, i));
    return b;
}

typedef struct setup {
    const conv_case *c;
    rvx_op_params params;
    rvx_shape in[RVX_IN_MAX], y;
    rvx_dtype type; /* of x, y and their gradients */
    bool folds;
    bool tf32;          /* products of numbers rounded to tf32, not to bf16 */
    const char *kernel; /* pinned, where it takes the call; NULL: whatever is chosen */
} setup;

static setup setup_make(const conv_case *c, rvx_dtype type, bool bf16_products, bool folds,
                        const char *kernel)
{
    setup s = {.c = c, .type = type, .folds = folds, .kernel = kernel};
    s.params =
        (rvx_op_params){.channels_out = (int32_t)c->channels, .bf16_products = bf16_products};
    for (int a = 0; a < 3; a++) {
        s.params.kernel[a] = c->kernel[a];
        s.params.stride[a] = c->stride[a];
        s.params.pad[a] = c->pad[a];
    }
    s.in[0] = c->x;
    s.in[1] = (rvx_shape){c->kernel[0], c->kernel[1], c->kernel[2], c->x.c, c->channels};
    s.in[2] = (rvx_shape){1, 1, 1, 1, c->channels};
    if (c->op->shape(&s.y, s.in, 3, &s.params, NULL) != RVX_OK)
        abort();
    return s;
}

static bool takes(const conv_case *c, rvx_phase phase, const char *kernel)
{
    const rvx_shape y = {.c = c->channels};
    rvx_op_params params = {0};
    memcpy(params.kernel, c->kernel, sizeof params.kernel);
    memcpy(params.stride, c->stride, sizeof params.stride);
    const rvx__cuda_gather g = phase == RVX_BACKWARD_DATA
                                   ? rvx__cuda_gather_of(&y, &c->x, &params, 0, 1)
                                   : rvx__cuda_gather_of(&c->x, &y, &params, 0, 0);
    const bool halo = phase == RVX_BACKWARD_PARAMETERS
                          ? rvx__cuda_weight_halo_fits(&c->x, &y, &params)
                          : rvx__cuda_halo_fits(g.kernel, g.stride, g.source_c, g.target_c);
    if (c->op != &rvx__op_conv)
        return false;
    if (strcmp(kernel, "conv.stream") == 0)
        return phase != RVX_BACKWARD_PARAMETERS && rvx__cuda_stream_fits(&g);
    return halo; /* conv.any takes all: pinned where it is not what is chosen */
}

static void phase_run(const setup *s, rvx_phase phase, rvx_call *call)
{
    rvx_kernel kernel = device_kernel(s->c->op, phase, RVX_ISA_CUDA);
    if (s->kernel && takes(s->c, phase, s->kernel))
        kernel = device_interface->kernel(s->kernel, phase);
    call->params = &s->params;
    call->scratch_bytes = s->c->op->cuda_scratch(phase, s->in, &s->y, &s->params);
    buffer scratch = buffer_make((rvx_shape){1, 1, 1, 1, call->scratch_bytes}, RVX_U8, 0);
    call->scratch = scratch.tensor.data;
    device_run(kernel, call, RVX_ISA_CUDA);
    if (!buffer_intact(&scratch))
        tap_ok(0, "%s: writes beyond its scratch", s->c->name);
    buffer_free(&scratch);
}

/* ---- sums of products ------------------------------------------------------------------------ */

/* Products in double of the numbers that the kernel multiplies. */
typedef struct sums {
    double *y, *dx, *dw;
} sums;

/* As the kernel multiplies it: bf16 to nearest even, tf32 to nearest, halves away from zero. */
static float rounded(const setup *s, float v)
{
    uint32_t bits;
    if (!s->tf32)
        return rvx__f32_of(rvx__bf16_of(v));
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x1000u) & ~0x1FFFu;
    memcpy(&v, &bits, sizeof bits);
    return v;
}

static sums sums_make(const setup *s, const rvx_tensor *x, const rvx_tensor *w,
                      const rvx_tensor *dy, const rvx_tensor *fold)
{
    const rvx_shape in = s->in[0], out = s->y, weight = s->in[1];
    const bool transposed = s->c->op == &rvx__op_conv_transpose;
    const rvx_shape few = transposed ? in : out, many = transposed ? out : in;
    sums r = {calloc((size_t)rvx__shape_count(out), 8), calloc((size_t)rvx__shape_count(in), 8),
              calloc((size_t)rvx__shape_count(weight), 8)};
    for (int64_t i = 0; i < rvx__shape_count(weight) / out.c / in.c * rvx__shape_voxels(few); i++) {
        const int64_t v = i % rvx__shape_voxels(few), k = i / rvx__shape_voxels(few);
        const int32_t *stride = s->c->stride, *pad = s->c->pad;
        const int64_t z = v / few.w / few.h % few.d * stride[0] - pad[0] + k / weight.h / weight.d;
        const int64_t y = v / few.w % few.h * stride[1] - pad[1] + k / weight.h % weight.d;
        const int64_t h = v % few.w * stride[2] - pad[2] + k % weight.h;
        const int64_t n = v / few.w / few.h / few.d;
        if (z < 0 || z >= many.d || y < 0 || y >= many.h || h < 0 || h >= many.w)
            continue;
        const int64_t other = ((n * many.d + z) * many.h + y) * many.w + h;
        const int64_t xv = transposed ? v : other, yv = transposed ? other : v;
        for (int64_t ci = 0; ci < in.c; ci++) {
            float a = get(x, xv * in.c + ci);
            if (s->folds) {
                const float *row = rvx__f32(fold) + n * 3 * fold->pitch + ci;
                a = fmaf(a, row[0], row[fold->pitch]);
                a = a >= 0 ? a : a * row[2 * fold->pitch];
            }
            for (int64_t co = 0; co < out.c; co++) {
                const int64_t wi = (k * in.c + ci) * out.c + co;
                const double p = rounded(s, rvx__f32(w)[wi]),
                             g = rounded(s, get(dy, yv * out.c + co));
                r.y[yv * out.c + co] += (double)rounded(s, a) * p;
                r.dx[xv * in.c + ci] += g * p;
                r.dw[wi] += (double)rounded(s, a) * g;
            }
        }
    }
    return r;
}

static void compare(const setup *s, const rvx_tensor *got, const double *want, double length,
                    const char *what)
{
    const double allowed = tolerance_products(length, 1) + (got->dtype == RVX_BF16 ? 0x1.01p-8 : 0);
    const double worst = misfit(got, want, SCALE_TENSOR, allowed);
    tap_ok(worst <= 1, "%s: %s (%.2f tolerances)", s->c->name, what, worst);
}

/* f32 and bf16 tensors with bf16 or tf32 products: every phase. */
static void products_check(const conv_case *c, rvx_dtype type, int64_t extra, bool tf32,
                           const char *kernel)
{
    setup s = setup_make(c, type, !tf32, extra != 0, kernel);
    s.tf32 = tf32;
    s.params.tf32_products = tf32;
    buffer x = random_make(s.in[0], type, extra, 0, 1), w = random_make(s.in[1], RVX_F32, 0, 1, 1);
    buffer y = make(s.y, type, extra), dy = random_make(s.y, type, extra, 2, 1);
    buffer dx = make(s.in[0], type, extra), dw = make(s.in[1], RVX_F32, 0);
    buffer fold = {0};
    if (s.folds)
        fold = fold_make(29, s.in[0], 0);
    const double taps = c->kernel[0] * c->kernel[1] * c->kernel[2];
    sums want = sums_make(&s, &x.tensor, &w.tensor, &dy.tensor, &fold.tensor);
    rvx_call call = {.in = {x.tensor, w.tensor}, .out = {y.tensor}, .fold = fold.tensor};
    phase_run(&s, RVX_FORWARD, &call);
    compare(&s, &y.tensor, want.y, taps * (double)c->x.c,
            tf32 ? "tf32 products, forward" : "bf16 products, forward");
    call = (rvx_call){.in = {x.tensor}, .fold = fold.tensor};
    call.grad_in[1] = dw.tensor;
    call.grad_out[0] = dy.tensor;
    phase_run(&s, RVX_BACKWARD_PARAMETERS, &call);
    compare(&s, &dw.tensor, want.dw, (double)rvx__shape_voxels(s.y),
            tf32 ? "tf32 products, weights" : "bf16 products, weights");
    call = (rvx_call){.grad_in = {dx.tensor}, .grad_out = {dy.tensor}};
    call.in[1] = w.tensor;
    phase_run(&s, RVX_BACKWARD_DATA, &call);
    compare(&s, &dx.tensor, want.dx, taps * (double)c->channels,
            tf32 ? "tf32 products, data" : "bf16 products, data");
    tap_ok(buffer_intact(&y) && buffer_intact(&dx) && buffer_intact(&dw),
           "%s: nothing else is written", c->name);
    buffer *all[] = {&x, &w, &y, &dy, &dx, &dw, &fold};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buffer_free(all[i]);
    free(want.y);
    free(want.dx);
    free(want.dw);
}

/* ---- streams, residuals, inverses ------------------------------------------------------------ */

static bool same(const rvx_tensor *a, const rvx_tensor *b) { return same_bits(a, b); }

/* y = r + conv(fold(x)) in place of r equals the convolution stored as f32 and then the sum; the
 * inverse in place of y gives r back; a convolution stored to the grid equals one rounded after. */
static void residual_check(const conv_case *c, rvx_dtype type, bool bf16_products,
                           const char *kernel)
{
    const setup s = setup_make(c, type, bf16_products, true, kernel);
    buffer x = random_make(s.in[0], type, 3, 0, 2), w = random_make(s.in[1], RVX_F32, 0, 1, 0.5f);
    buffer dense = random_make(s.in[0], type, 0, 0, 2), far = random_make(s.in[0], type, 8, 0, 2);
    buffer bias = random_make(s.in[2], RVX_F32, 0, 3, 1), fold = fold_make(29, s.in[0], 0);
    buffer before = random_make(s.y, type, 0, 4, 31), one = random_make(s.y, type, 2, 4, 31);
    buffer sum = make(s.y, RVX_F32, 0), other = make(s.y, RVX_F32, 8), two = make(s.y, type, 0);
    int64_t counters = 2 * (int64_t)sizeof(int64_t);
    int64_t *lost = device_allocate(counters);
    memset(lost, 0, (size_t)counters);
    rvx_call plain = {.in = {x.tensor, w.tensor, bias.tensor}, .fold = fold.tensor};
    plain.out[0] = sum.tensor;
    plain.out[0].dtype = RVX_F32;
    phase_run(&s, RVX_FORWARD, &plain);
    plain.out[0] = other.tensor;
    const rvx_tensor elsewhere[2] = {dense.tensor, far.tensor};
    for (int i = 0; i < 2; i++) {
        plain.in[0] = elsewhere[i];
        phase_run(&s, RVX_FORWARD, &plain);
        tap_ok(same(&sum.tensor, &other.tensor), "%s, type %d: the same bits elsewhere", c->name,
               type);
    }
    if (c->op == &rvx__op_conv) {
        rvx_call call = plain;
        one.tensor.overflow = &lost[0];
        call.in[0] = x.tensor;
        call.in[3] = call.out[0] = one.tensor;
        phase_run(&s, RVX_FORWARD, &call);
        two.tensor.overflow = &lost[1];
        rvx_call add = {.in = {before.tensor, sum.tensor}, .out = {two.tensor}, .threads = 1};
        rvx__op_add.cpu[RVX_FORWARD][RVX_ISA_BASE](&add);
        tap_ok(same(&one.tensor, &two.tensor) && lost[0] == lost[1],
               "%s, type %d: residual == convolution, then sum; %lld lost", c->name, type,
               (long long)lost[0]);
        call.rebuild = 3;
        phase_run(&s, RVX_INVERSE, &call);
        tap_ok(type != RVX_I16 || (same(&one.tensor, &before.tensor) && lost[0] == lost[1]),
               "%s, type %d: the inverse gives it back", c->name, type);
    }
    lost[0] = lost[1] = 0;
    one.tensor.overflow = &lost[0];
    two.tensor.overflow = &lost[1];
    plain.in[0] = x.tensor;
    plain.out[0] = one.tensor;
    phase_run(&s, RVX_FORWARD, &plain);
    rvx_call round = {.in = {sum.tensor}, .out = {two.tensor}, .threads = 1};
    rvx__op_round.cpu[RVX_FORWARD][RVX_ISA_BASE](&round);
    tap_ok(same(&one.tensor, &two.tensor) && lost[0] == lost[1],
           "%s, type %d: stored == rounded after", c->name, type);
    tap_ok(buffer_intact(&one) && buffer_intact(&other), "%s: nothing else is written", c->name);
    buffer *all[] = {&x, &w, &dense, &far, &bias, &fold, &before, &one, &sum, &other, &two};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buffer_free(all[i]);
    device_free(lost);
}

static void case_check(const conv_case *c, const char *kernel)
{
    products_check(c, RVX_BF16, 0, false, kernel);
    products_check(c, RVX_F32, 5, false, kernel);
    if (!kernel) {
        products_check(c, RVX_F32, 0, true, kernel);
        products_check(c, RVX_F32, 5, true, kernel);
        residual_check(c, RVX_F32, false, kernel);
    }
    residual_check(c, RVX_I16, true, kernel);
    residual_check(c, RVX_BF16, true, kernel);
}

/* The emulation chooses conv.halo where it can; streams of planes take a device of sm_90a. */
static bool runs(const char *kernel)
{
    rvx_cuda_info info;
    rvx_error error;
    const bool streams = strcmp(kernel, "conv.stream") == 0;
    if (device_interface->emulated)
        return strcmp(kernel, "conv.halo") != 0;
    return !streams || (device_interface->device_info(&info, device_used, &error) == RVX_OK &&
                        info.major == 9 && info.minor == 0);
}

int main(void)
{
    if (!tap_ok(device_use(), "the CUDA backend is there"))
        return tap_done();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        case_check(&cases[i], NULL);
    const char *const pinned[] = {"conv.any", "conv.halo", "conv.stream"};
    for (size_t k = 0; k < sizeof pinned / sizeof *pinned; k++) {
        if (!runs(pinned[k])) {
            tap_ok(1, "# SKIP %s does not run on this device", pinned[k]);
            continue;
        }
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            if (takes(&cases[i], RVX_FORWARD, pinned[k]) ||
                takes(&cases[i], RVX_BACKWARD_DATA, pinned[k])) {
                printf("# %s\n", pinned[k]);
                case_check(&cases[i], pinned[k]);
            }
    }
    return tap_done();
}
