/* Convolutions by libraries: which calls may be, that operands and results reach them whole, from
 * slices, folded and added to, and that what is chosen and its bits do not depend on where tensors
 * lie. In the emulation plain loops stand for a library; on a GPU cuDNN and cuBLAS, where they are.
 */
#include "kernels/conv.h"
#include "kernels/random.h"
#include "tap.h"
#include "tests/kernels/device.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { NAMES = 32, ROOM = 64 << 20 };

typedef struct shape_case {
    const char *name;
    rvx_shape x;
    int32_t channels, kernel[3], stride[3];
} shape_case;

static const shape_case cases[] = {
    {"3^3", {2, 5, 6, 7, 8}, 16, {3, 3, 3}, {1, 1, 1}},
    {"3^3 stride 2, odd", {1, 6, 5, 7, 5}, 3, {3, 3, 3}, {2, 2, 2}},
    {"1^3", {2, 3, 4, 5, 16}, 8, {1, 1, 1}, {1, 1, 1}},
    {"in plane", {1, 3, 8, 6, 8}, 8, {1, 3, 3}, {1, 2, 1}},
};

/* How a call's tensors are made. */
typedef struct way {
    rvx_dtype dtype;
    bool fold, bias, accumulate;
    int64_t extra; /* channels beside those of a slice */
} way;

static rvx_tensor tensor_make(rvx_shape shape, rvx_dtype dtype, int64_t extra, uint64_t stream)
{
    rvx_tensor t = {.shape = shape, .pitch = shape.c + extra, .dtype = dtype};
    rvx_random random = {.seed = 7, .stream = stream};
    int64_t voxels = rvx__shape_voxels(shape);
    char *memory = device_allocate((voxels * t.pitch + 64) * rvx__dtype_bytes(dtype));
    memset(memory, 0xFF, (size_t)((voxels * t.pitch + 64) * rvx__dtype_bytes(dtype)));
    t.data = memory;
    for (int64_t v = 0; v < voxels; v++)
        for (int64_t c = 0; c < shape.c; c++) {
            float value = rvx__random_normal(&random);
            if (dtype == RVX_F32)
                rvx__f32(&t)[v * t.pitch + c] = value;
            else
                ((uint16_t *)t.data)[v * t.pitch + c] = rvx__bf16_of(value);
        }
    return t;
}

static float value_at(const rvx_tensor *t, int64_t v, int64_t c)
{
    if (t->dtype == RVX_BF16)
        return rvx__f32_of(((uint16_t *)t->data)[v * t->pitch + c]);
    return rvx__f32(t)[v * t->pitch + c];
}

static rvx_op_params params_of(const shape_case *c)
{
    rvx_op_params p = {.channels_out = c->channels};
    for (int a = 0; a < 3; a++) {
        p.kernel[a] = c->kernel[a];
        p.stride[a] = c->stride[a];
        p.pad[a] = (c->kernel[a] - 1) / 2;
    }
    return p;
}

/* All that the phase reads and writes; results[] are what it writes. */
static void call_make(rvx_call *call, rvx_tensor *results[2], const shape_case *c,
                      rvx_op_params *params, rvx_phase phase, way w)
{
    rvx_error error;
    const rvx_shape weight = {c->kernel[0], c->kernel[1], c->kernel[2], c->x.c, c->channels};
    const rvx_shape bias = {1, 1, 1, 1, c->channels}, table = {c->x.n, 1, 1, 3, c->x.c};
    rvx_shape in[4] = {c->x, weight, w.bias ? bias : (rvx_shape){0}}, y[1];
    *call = (rvx_call){.params = params};
    *params = params_of(c);
    params->bf16_products = w.dtype == RVX_BF16;
    rvx__op_conv.shape(y, in, 3, params, &error);
    for (int i = 0; i < 3; i++)
        call->in[i].shape = in[i];
    call->out[0].shape = *y;
    results[0] = results[1] = NULL;
    if (phase != RVX_BACKWARD_DATA) {
        call->in[0] = tensor_make(c->x, w.dtype, w.extra, 1);
        if (w.fold)
            call->fold = tensor_make(table, RVX_F32, 0, 4);
    }
    if (phase != RVX_BACKWARD_PARAMETERS)
        call->in[1] = tensor_make(weight, RVX_F32, 0, 2);
    if (phase == RVX_FORWARD) {
        if (w.bias)
            call->in[2] = tensor_make(bias, RVX_F32, 0, 3);
        call->out[0] = tensor_make(*y, w.dtype, w.extra, 5);
        results[0] = &call->out[0];
        return;
    }
    call->grad_out[0] = tensor_make(*y, w.dtype, w.extra, 6);
    call->accumulate = w.accumulate ? 1u : 0u;
    if (phase == RVX_BACKWARD_DATA) {
        call->grad_in[0] = tensor_make(c->x, w.dtype, w.extra, 7);
        results[0] = &call->grad_in[0];
        return;
    }
    call->grad_in[1] = tensor_make(weight, RVX_F32, 0, 8);
    results[0] = &call->grad_in[1];
    if (w.bias) {
        call->grad_in[2] = tensor_make(bias, RVX_F32, 0, 9);
        results[1] = &call->grad_in[2];
    }
}

static void call_free(rvx_call *call)
{
    for (int i = 0; i < 4; i++) {
        device_free(call->in[i].data);
        device_free(call->grad_in[i].data);
    }
    device_free(call->out[0].data);
    device_free(call->grad_out[0].data);
    device_free(call->fold.data);
    device_free(call->scratch);
}

static void scratch_make(rvx_call *call, int64_t bytes)
{
    call->scratch = device_allocate(bytes);
    call->scratch_bytes = bytes;
}

/* Runs by a library; false: it does not take the call. */
static bool run_by(rvx_call *call, rvx_phase phase, const char *name)
{
    rvx_error error = {0};
    void *implementation = NULL;
    scratch_make(call, ROOM);
    if (device_interface->prepare(&implementation, device_used, "conv", phase, call, name,
                                  &error) != RVX_OK)
        return false;
    call->implementation = implementation;
    device_run(device_interface->run_prepared, call, RVX_ISA_CUDA);
    device_interface->unprepare(device_used, implementation);
    return true;
}

/* Largest difference over the largest number. */
static double distance(const rvx_tensor *a, const rvx_tensor *b)
{
    double most = 0, largest = 1e-30;
    for (int64_t v = 0; v < rvx__shape_voxels(a->shape); v++)
        for (int64_t c = 0; c < a->shape.c; c++) {
            double want = (double)value_at(b, v, c);
            double difference = fabs((double)value_at(a, v, c) - want);
            most = difference <= most ? most : difference;
            largest = fmax(largest, fabs(want));
        }
    return most / largest;
}

static bool same_bits(const rvx_tensor *a, const rvx_tensor *b)
{
    for (int64_t v = 0; v < rvx__shape_voxels(a->shape); v++)
        for (int64_t c = 0; c < a->shape.c; c++) {
            float x = value_at(a, v, c), y = value_at(b, v, c);
            if (memcmp(&x, &y, sizeof x) != 0)
                return false;
        }
    return true;
}

/* One library against our kernel; then the same with slices of wider tensors. */
static void check_one(const shape_case *c, rvx_phase phase, way w, const char *name)
{
    static const char *const phases[] = {"forward", "weight", "data"};
    rvx_op_params params;
    rvx_call own, by, slices;
    rvx_tensor *want[2], *got[2], *sliced[2];
    call_make(&own, want, c, &params, phase, w);
    scratch_make(&own, ROOM);
    device_run(device_interface->kernel("conv", phase), &own, RVX_ISA_CUDA);
    call_make(&by, got, c, &params, phase, w);
    w.extra = 8;
    call_make(&slices, sliced, c, &params, phase, w);
    bool ran = run_by(&by, phase, name) && run_by(&slices, phase, name);
    /* f32: another order of sums; bf16: neighbours, and a bias rounded first */
    const double tolerance = w.dtype == RVX_BF16 ? 0x1p-6 : 2e-5;
    double worst = 0;
    bool same = ran;
    for (int i = 0; i < 2 && ran && want[i]; i++) {
        worst = fmax(worst, distance(got[i], want[i]));
        same = same && same_bits(got[i], sliced[i]);
    }
    tap_ok(ran && worst <= tolerance, "%s %s, %s%s%s%s, %s: equals our kernel (%.1e)", c->name,
           phases[phase], w.dtype == RVX_BF16 ? "bf16" : "f32", w.fold ? ", folded" : "",
           w.bias ? ", bias" : "", w.accumulate ? ", added" : "", name, worst);
    tap_ok(same, "and the same bits where tensors are slices");
    call_free(&own);
    call_free(&by);
    call_free(&slices);
}

static int names_of(char (*names)[RVX_CUDA_CHOICE_BYTES], rvx_phase phase, const rvx_call *call)
{
    return device_interface->choices(names, NAMES, device_used, "conv", phase, call);
}

static void check_cases(void)
{
    static const way ways[] = {{RVX_F32, false, true, false, 0},
                               {RVX_F32, true, false, false, 0},
                               {RVX_BF16, true, true, false, 0},
                               {RVX_BF16, false, false, true, 0}};
    char(*names)[RVX_CUDA_CHOICE_BYTES] = calloc(NAMES, sizeof *names);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
            for (int phase = RVX_FORWARD; phase <= RVX_BACKWARD_DATA; phase++) {
                way w = ways[k];
                rvx_op_params params;
                rvx_call call;
                rvx_tensor *results[2];
                w.accumulate = w.accumulate && phase == RVX_BACKWARD_DATA;
                call_make(&call, results, &cases[i], &params, (rvx_phase)phase, w);
                call.scratch_bytes = ROOM;
                int count = names_of(names, (rvx_phase)phase, &call);
                call_free(&call);
                for (int n = 0; n < count; n++)
                    check_one(&cases[i], (rvx_phase)phase, w, names[n]);
            }
    free(names);
}

static bool listed(char (*names)[RVX_CUDA_CHOICE_BYTES], int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void check_lists(void)
{
    char(*names)[RVX_CUDA_CHOICE_BYTES] = calloc(NAMES, sizeof *names);
    rvx_op_params params;
    rvx_call call;
    rvx_tensor *results[2], residual;
    rvx_error error;
    void *implementation;
    const way plain = {RVX_F32, false, true, false, 0};
    call_make(&call, results, &cases[0], &params, RVX_FORWARD, plain);
    call.scratch_bytes = ROOM;
    int count = names_of(names, RVX_FORWARD, &call);
    if (device_interface->emulated)
        tap_ok(count == 2 && listed(names, count, "emulated:forwards") &&
                   listed(names, count, "emulated:backwards"),
               "what varies, what rounds more and what needs more workspace is no choice");
    call.scratch_bytes = 1000;
    tap_ok(names_of(names, RVX_FORWARD, &call) == 0, "no room for operands: no choice");
    tap_ok(device_interface->prepare(&implementation, device_used, "conv", RVX_FORWARD, &call,
                                     "emulated:forwards", &error) == RVX_ERROR_UNSUPPORTED &&
               !implementation,
           "and none is prepared: %s", error.message);
    call.scratch_bytes = ROOM;
    tap_ok(device_interface->prepare(&implementation, device_used, "conv", RVX_FORWARD, &call,
                                     "cudnn:eng99999", &error) == RVX_ERROR_UNSUPPORTED,
           "an unknown name is refused: %s", error.message);
    residual = tensor_make(call.out[0].shape, RVX_F32, 0, 12);
    call.in[RVX_CONV_RESIDUAL] = residual;
    tap_ok(names_of(names, RVX_FORWARD, &call) == 0, "a residual: no choice");
    call.in[RVX_CONV_RESIDUAL].data = NULL;
    tap_ok(names_of(names, RVX_INVERSE, &call) == 0, "an inverse: no choice");
    call.out[0].dtype = RVX_I16;
    tap_ok(names_of(names, RVX_FORWARD, &call) == 0, "to a stream: no choice");
    call.out[0].dtype = RVX_BF16;
    tap_ok(names_of(names, RVX_FORWARD, &call) == 0, "f32 to bf16: no choice");
    call.out[0].dtype = RVX_F32;
    params.bf16_products = 1;
    tap_ok(names_of(names, RVX_FORWARD, &call) == 0, "f32 of bf16 products: no choice");
    device_free(residual.data);
    call_free(&call);
    free(names);
}

int main(void)
{
    if (!tap_ok(device_use(), "the CUDA backend is there"))
        return tap_done();
    printf("# %s\n", device_interface->libraries(device_used));
    check_cases();
    check_lists();
    return tap_done();
}
