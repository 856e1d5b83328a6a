/* What the cases of the ops do not reach on the CUDA backend, beside the CPU: running statistics of
 * batch norm in every mode, and streams through normalisation, pooling, enlargement and dropout. */
#define DEVICE_ONLY
#include "kernels/op.h"
#include "kernels/random.h"
#include "tap.h"
#include "tests/kernels/device.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { GRID = 10 };

static rvx_tensor tensor_make(rvx_shape shape, rvx_dtype dtype, int64_t extra)
{
    rvx_tensor t = {.shape = shape, .pitch = shape.c + extra, .dtype = dtype};
    t.grid_log2 = dtype == RVX_I16 ? GRID : 0;
    int64_t bytes = rvx__shape_voxels(shape) * t.pitch * rvx__dtype_bytes(dtype);
    t.data = device_allocate((bytes + 63) / 64 * 64);
    memset(t.data, 0, (size_t)bytes);
    return t;
}

static int64_t element(const rvx_tensor *t, int64_t i)
{
    return i / t->shape.c * t->pitch + i % t->shape.c;
}

static double value(const rvx_tensor *t, int64_t i)
{
    int64_t at = element(t, i);
    if (t->dtype == RVX_I16)
        return ldexp(((const int16_t *)t->data)[at], -t->grid_log2);
    return t->dtype == RVX_BF16 ? (double)rvx__f32_of(((const uint16_t *)t->data)[at])
                                : (double)((const float *)t->data)[at];
}

static void fill(const rvx_tensor *t, uint64_t stream, float offset)
{
    rvx_random random = {.seed = 23, .stream = stream};
    for (int64_t i = 0; i < rvx__shape_count(t->shape); i++) {
        float v = offset + rvx__random_normal(&random);
        int64_t at = element(t, i);
        if (t->dtype == RVX_I16)
            ((int16_t *)t->data)[at] = (int16_t)lrintf(v * (1 << GRID));
        else if (t->dtype == RVX_BF16)
            ((uint16_t *)t->data)[at] = rvx__bf16_of(v);
        else
            ((float *)t->data)[at] = v;
    }
}

static double distance(const rvx_tensor *a, const rvx_tensor *b)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < rvx__shape_count(a->shape); i++) {
        double difference = fabs(value(a, i) - value(b, i));
        if (isnan(difference))
            return INFINITY;
        worst = fmax(worst, difference);
        largest = fmax(largest, fabs(value(b, i)));
    }
    return worst / largest;
}

/* Runs a phase with the scratch it asks for. */
static void phase_run(const rvx_op *op, rvx_phase phase, rvx_call *call, rvx_isa isa)
{
    rvx_shape in[RVX_IN_MAX], out[RVX_OUT_MAX];
    for (int i = 0; i < RVX_IN_MAX; i++)
        in[i] = call->in[i].shape;
    for (int i = 0; i < RVX_OUT_MAX; i++)
        out[i] = call->out[i].shape;
    call->threads = 1;
    call->scratch_bytes = device_scratch(op, phase, in, out, call->params, 1, isa);
    call->scratch = device_allocate(call->scratch_bytes + 64);
    device_run(device_kernel(op, phase, isa), call, isa);
    device_free(call->scratch);
}

/* ---- running statistics ------------------------------------------------------------------------
 */

static void running_check(rvx_mode mode, int64_t channels)
{
    static const char *const names[] = {"training", "again", "inference"};
    const rvx_shape x = {3, 5, 7, 6, channels}, row = {1, 1, 1, 1, channels};
    const rvx_op_params params = {
        .epsilon = 1e-3f, .slope = 0, .batch_statistics = 1, .momentum = 0.1f};
    rvx_tensor result[2][5];
    for (int device = 0; device < 2; device++) {
        rvx_call call = {.params = &params, .mode = mode};
        call.in[0] = tensor_make(x, RVX_F32, 0);
        fill(&call.in[0], 0, 0.5f);
        for (int i = 1; i < 5; i++) {
            call.in[i] = tensor_make(row, RVX_F32, 0);
            fill(&call.in[i], (uint64_t)i, i == 4 ? 9 : 0);
        }
        call.out[0] = tensor_make(x, RVX_F32, 0);
        call.out[1] = tensor_make((rvx_shape){3, 1, 1, channels, 2}, RVX_F32, 0);
        call.out[2] = tensor_make((rvx_shape){3, 1, 1, 3, channels}, RVX_F32, 0);
        phase_run(&rvx__op_norm_act, RVX_FORWARD, &call, device ? RVX_ISA_CUDA : RVX_ISA_BASE);
        rvx_tensor got[] = {call.out[0], call.out[1], call.out[2], call.in[3], call.in[4]};
        memcpy(result[device], got, sizeof got);
        for (int i = 0; i < 3; i++)
            device_free(call.in[i].data);
    }
    double worst = 0;
    for (int i = 0; i < 5; i++)
        worst = fmax(worst, distance(&result[1][i], &result[0][i]));
    tap_ok(worst < 2e-6, "running statistics, %s, %lld channels (%.1e)", names[mode],
           (long long)channels, worst);
    rvx_tensor before = tensor_make(row, RVX_F32, 0);
    bool same = true;
    for (int i = 3; i < 5; i++) {
        fill(&before, (uint64_t)i, i == 4 ? 9 : 0);
        same = same && distance(&result[1][i], &before) == 0;
    }
    tap_ok(same == (mode != RVX_MODE_TRAINING), "... which move in training only");
    device_free(before.data);
    for (int i = 0; i < 10; i++)
        device_free(result[i / 5][i % 5].data);
}

/* ---- streams -----------------------------------------------------------------------------------
 */

/* Forward and backward of an op whose in[0] and, where it may be, out[0] are streams. */
static void stream_check(const rvx_op *op, rvx_op_params params, int64_t channels, rvx_dtype stored,
                         rvx_dtype gradient, int64_t extra)
{
    const rvx_shape x = {2, 4, 6, 7, channels}, row = {1, 1, 1, 1, channels}, one = {1, 1, 1, 1, 1};
    rvx_tensor result[2][4] = {{{0}}};
    int64_t lost[2] = {0};
    for (int device = 0; device < 2; device++) {
        const rvx_isa isa = device ? RVX_ISA_CUDA : RVX_ISA_BASE;
        rvx_call call = {.params = &params};
        const bool norm = op == &rvx__op_norm_act, drop = op == &rvx__op_dropout;
        rvx_shape in[RVX_IN_MAX] = {x,
                                    norm   ? row
                                    : drop ? one
                                           : (rvx_shape){0},
                                    norm ? row : (rvx_shape){0}},
                  out[RVX_OUT_MAX] = {{0}};
        rvx_error error;
        op->shape(out, in, norm ? 3 : drop ? 2 : 1, &params, &error);
        call.in[0] = tensor_make(x, RVX_I16, extra);
        fill(&call.in[0], 0, 0.5f);
        for (int i = 1; i < RVX_IN_MAX && in[i].c; i++) {
            call.in[i] = tensor_make(in[i], RVX_F32, 0);
            fill(&call.in[i], (uint64_t)i, 4);
        }
        for (int i = 0; i < op->out_count; i++)
            call.out[i] = tensor_make(out[i], i ? RVX_F32 : stored, i ? 0 : extra);
        call.out[0].overflow = &lost[device];
        phase_run(op, RVX_FORWARD, &call, isa);
        call.grad_out[0] = tensor_make(out[0], gradient, extra);
        fill(&call.grad_out[0], 9, 0);
        call.grad_in[0] = tensor_make(x, gradient, extra);
        for (int i = 1; norm && i < 3; i++)
            call.grad_in[i] = tensor_make(in[i], RVX_F32, 0);
        phase_run(op, RVX_BACKWARD_DATA, &call, isa);
        rvx_tensor got[] = {call.out[0], call.grad_in[0], call.grad_in[1], call.grad_in[2]};
        memcpy(result[device], got, sizeof got);
        device_free(call.in[0].data);
        device_free(call.grad_out[0].data);
        for (int i = 1; i < 3; i++) {
            device_free(call.in[i].data);
            device_free(call.out[i].data);
        }
    }
    /* one step of the grid, or of bf16, where a number lies between two */
    const double step[] = {1e-6, 0x1p-7, 0x1p-9};
    double worst = 0;
    for (int i = 0; i < 4 && (i < 2 || result[0][i].data); i++)
        worst = fmax(worst, distance(&result[1][i], &result[0][i]) /
                                (i > 1 ? 4e-6 : 4e-6 + step[i ? gradient : stored]));
    tap_ok(worst <= 1 && lost[0] == lost[1],
           "%s of a stream, %lld channels%s, to type %d: equals the CPU (%.2f)", op->name,
           (long long)channels, extra ? " of more" : "", (int)stored, worst);
    for (int i = 0; i < 8; i++)
        device_free(result[i / 4][i % 4].data);
}

int main(void)
{
    device_isa_first();
    static const int64_t channels[] = {16, 30, 72};
    const rvx_op_params norm = {.epsilon = 1e-5f, .slope = 0.01f},
                        group = {.groups = 2, .epsilon = 1e-5f, .slope = 0.2f},
                        pool = {.kernel = {2, 2, 3}}, drop = {.rate = 0.3f, .layer = 5};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        const int64_t c = channels[i];
        for (int mode = RVX_MODE_TRAINING; mode <= RVX_MODE_INFERENCE; mode++)
            running_check((rvx_mode)mode, c);
        for (int extra = 0; extra <= 8; extra += 4) {
            stream_check(&rvx__op_norm_act, norm, c, RVX_F32, RVX_F32, extra);
            stream_check(&rvx__op_norm_act, norm, c, RVX_BF16, RVX_BF16, extra);
            stream_check(&rvx__op_norm_act, group, c, RVX_I16, RVX_BF16, extra);
            stream_check(&rvx__op_max_pool, pool, c, RVX_I16, RVX_BF16, extra);
            stream_check(&rvx__op_mean_pool, pool, c, RVX_I16, RVX_F32, extra);
            stream_check(&rvx__op_upsample, pool, c, RVX_I16, RVX_BF16, extra);
            stream_check(&rvx__op_dropout, drop, c, RVX_I16, RVX_BF16, extra);
        }
    }
    return tap_done();
}
