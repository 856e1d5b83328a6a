/* See problem.h. */
#include "bench/gpu/card.h"
#include "bench/gpu/device.h"
#include "bench/gpu/problem.h"
#include "kernels/norm_conv.h"

#include <algorithm>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

namespace bench
{
/* Sizes such that a run takes milliseconds, and operands exceed the L2. */
const Case cases[] = {
    {CONV, 16, 16, 192, 3, 1},      {CONV, 8, 8, 192, 3, 1},        {CONV, 24, 24, 160, 3, 1},
    {CONV, 32, 32, 160, 3, 1},      {CONV, 64, 64, 112, 3, 1},      {CONV, 128, 128, 80, 3, 1},
    {BRANCH, 16, 16, 192, 3, 1},    {BRANCH, 32, 32, 160, 3, 1},    {CONV, 16, 32, 192, 3, 2},
    {CONV, 32, 64, 160, 3, 2},      {CONV, 8, 8, 192, 3, 2},        {CONV, 24, 24, 160, 3, 2},
    {CONV, 64, 64, 112, 3, 2},      {CONV, 128, 128, 80, 3, 2},     {TRANSPOSED, 16, 16, 96, 2, 2},
    {TRANSPOSED, 32, 32, 80, 2, 2}, {TRANSPOSED, 64, 64, 56, 2, 2}, {CONV, 16, 16, 192, 1, 1},
    {CONV, 32, 32, 160, 1, 1},      {CONV, 64, 64, 112, 1, 1},      {NORM, 16, 16, 192, 0, 1},
    {NORM, 32, 32, 160, 0, 1},      {NORM, 64, 64, 112, 0, 1},
};
const int case_count = sizeof cases / sizeof *cases;

namespace
{
const rvx_op *op_of(const Case &c)
{
    const rvx_op *const ops[] = {&rvx__op_conv, &rvx__op_conv_transpose, &rvx__op_norm_act,
                                 &rvx__op_norm_conv};
    return ops[c.kind];
}

rvx_shape cube(int64_t side, int64_t channels) { return {1, side, side, side, channels}; }

rvx_tensor tensor(void *data, rvx_shape shape, rvx_dtype dtype)
{
    rvx_tensor t = {};
    t.data = data;
    t.shape = shape;
    t.pitch = shape.c;
    t.dtype = dtype;
    return t;
}

/* Ours are [k][k][k][ci][co], of norms gamma and beta. */
void fill_parameters(Problem &p)
{
    const Case &c = p.c;
    const int64_t count = c.kind == NORM ? 2 * c.in : rvx__shape_count(p.weight);
    p.parameters = device_memory<float>(4 * count);
    p.gradients = device_memory<float>(4 * count);
    p.peer_parameters = device_memory<uint16_t>(2 * count);
    float *ours = static_cast<float *>(malloc((size_t)count * sizeof *ours));
    uint16_t *peers = static_cast<uint16_t *>(malloc((size_t)count * sizeof *peers));
    const int64_t taps = (int64_t)c.kernel * c.kernel * c.kernel;
    const float scale = c.kind == NORM ? 1 : 1 / sqrtf((float)(taps * c.in));
    for (int64_t i = 0; i < count; i++) {
        const uint16_t bits = rvx__bf16_of(scale * sinf(1.7f * (float)i + 0.3f) * 1.4f);
        const int64_t tap = i / c.out / c.in, in = i / c.out % c.in, out = i % c.out;
        ours[i] = c.kind == NORM ? 1 : rvx__f32_of(bits);
        /* a transposed convolution is the data gradient of one: its in is that one's out */
        peers[c.kind == NORM         ? i
              : c.kind == TRANSPOSED ? (in * taps + tap) * c.out + out
                                     : (out * taps + tap) * c.in + in] = bits;
    }
    to_device(p.parameters, ours, 4 * count);
    to_device(p.peer_parameters, peers, 2 * count);
    free(ours);
    free(peers);
}
} // namespace

Problem problem_make(const Case &listed)
{
    Problem p = {};
    Case c = listed;
    c.side = amount(c.side, std::max<int64_t>(c.side / 32, 3));
    p.c = c;
    const int64_t side =
        c.kind == TRANSPOSED ? c.side * c.stride : (c.side + c.stride - 1) / c.stride;
    p.op = op_of(c);
    p.x = cube(c.side, c.in);
    p.y = cube(side, c.out);
    p.weight = {c.kernel, c.kernel, c.kernel, c.in, c.out};
    for (int a = 0; a < 3; a++) {
        p.params.kernel[a] = c.kernel;
        p.params.stride[a] = c.stride;
        p.params.pad[a] = c.kind == TRANSPOSED ? 0 : c.kernel / 2;
    }
    p.params.channels_out = (int32_t)c.out;
    p.params.epsilon = 1e-5f;
    p.params.slope = 0.01f;
    const int64_t x_bytes = 2 * rvx__shape_count(p.x), y_bytes = 2 * rvx__shape_count(p.y);
    p.sets = (int)std::clamp<int64_t>(3 * card.l2_bytes / (x_bytes + y_bytes) + 1, 2, SETS_MAX);
    for (int i = 0; i < p.sets; i++) {
        p.xs[i] = device_memory<char>(x_bytes);
        p.ys[i] = device_memory<char>(y_bytes);
    }
    p.tables = device_memory<float>(4 * 8 * c.in);
    fill_parameters(p);
    return p;
}

void problem_fill(Problem &p)
{
    for (int i = 0; i < p.sets; i++) {
        randomise(p.xs[i], rvx__shape_count(p.x), (uint32_t)i + 1);
        randomise(p.ys[i], rvx__shape_count(p.y), (uint32_t)i + 101);
    }
}

void problem_free(Problem &p)
{
    for (int i = 0; i < p.sets; i++) {
        device_free(p.xs[i]);
        device_free(p.ys[i]);
    }
    device_free(p.parameters);
    device_free(p.gradients);
    device_free(p.tables);
    device_free(p.peer_parameters);
}

rvx_call call_of(const Problem &p, rvx_phase phase, int set)
{
    rvx_call call = {};
    const rvx_tensor x = tensor(p.xs[set], p.x, RVX_BF16), y = tensor(p.ys[set], p.y, RVX_BF16);
    const int64_t c = p.c.in;
    call.params = &p.params;
    call.threads = 1;
    call.queue = stream;
    call.scratch = p.scratch;
    call.scratch_bytes = p.scratch_bytes;
    call.in[0] = x;
    call.out[0] = y;
    if (p.c.kind == NORM) {
        const rvx_shape row = {1, 1, 1, 1, c};
        call.in[1] = tensor(p.parameters, row, RVX_F32);
        call.in[2] = tensor(p.parameters + c, row, RVX_F32);
        call.out[1] = tensor(p.tables, {1, 1, 1, c, 2}, RVX_F32);
        call.out[2] = tensor(p.tables + 2 * c, {1, 1, 1, 3, c}, RVX_F32);
        if (phase == RVX_BACKWARD_PARAMETERS) {
            call.grad_in[1] = tensor(p.gradients, row, RVX_F32);
            call.grad_in[2] = tensor(p.gradients + c, row, RVX_F32);
        }
    } else {
        if (p.c.kind == BRANCH) {
            call.in[RVX_NORM_CONV_RESIDUAL] = y; /* the sum lies where it lay */
            call.out[1] = tensor(p.tables, {1, 1, 1, c, 2}, RVX_F32);
            call.out[2] = tensor(p.tables + 2 * c, {1, 1, 1, 3, c}, RVX_F32);
        }
        call.in[1] = tensor(p.parameters, p.weight, RVX_F32);
        if (phase == RVX_BACKWARD_PARAMETERS)
            call.grad_in[1] = tensor(p.gradients, p.weight, RVX_F32);
    }
    if (phase == RVX_FORWARD)
        return call;
    call.grad_out[0] = y;
    call.out[0].data = nullptr;
    if (phase == RVX_BACKWARD_DATA) {
        call.grad_in[0] = x;
        if (p.c.kind == NORM) /* reads x and writes dx: another set's */
            call.grad_in[0].data = p.xs[(set + 1) % p.sets];
        else
            call.in[0].data = nullptr;
    }
    return call;
}

void problem_name(char (&name)[64], const Case &c, int phase)
{
    const char *const kinds[] = {"conv", "conv_transpose", "norm_act", "norm_conv"};
    char what[32] = "", channels[32];
    if (c.kind != NORM)
        snprintf(what, sizeof what, "%d s%d", c.kernel, c.stride);
    snprintf(channels, sizeof channels, c.in == c.out ? "C=%d" : "C=%d-%d", (int)c.in, (int)c.out);
    snprintf(name, sizeof name, "%s%s %s %s", kinds[c.kind], what, channels, phase_names[phase]);
}

void scratch_make(Problem &p, int phase)
{
    rvx_shape in[RVX_IN_MAX] = {}, out[RVX_OUT_MAX] = {};
    const rvx_call shapes = call_of(p, phases[phase], 0);
    for (int i = 0; i < RVX_IN_MAX; i++)
        in[i] = shapes.in[i].shape;
    for (int i = 0; i < RVX_OUT_MAX; i++)
        out[i] = shapes.out[i].shape;
    p.scratch_bytes =
        p.op->cuda_scratch ? p.op->cuda_scratch(phases[phase], in, out, &p.params) : 0;
    p.scratch = device_memory<char>(std::max<int64_t>(p.scratch_bytes, 256));
}

void scratch_free(Problem &p)
{
    device_free(p.scratch);
    p.scratch = nullptr;
}

double floor_milliseconds(const Problem &p, int phase, double *flops)
{
    const double bytes = 2.0 * (double)(rvx__shape_count(p.x) + rvx__shape_count(p.y));
    *flops = 0;
    if (p.c.kind == NORM) /* statistics need x before the first y: x twice; dx needs x, dy twice */
        return 1e3 * bytes / card.copy_rate * (phase == 0 ? 1.5 : phase == 1 ? 1 : 2.5);
    const double residual = p.c.kind == BRANCH ? 2.0 * (double)rvx__shape_count(p.y) : 0;
    const double voxels = (double)rvx__shape_voxels(p.c.kind == TRANSPOSED ? p.x : p.y);
    *flops = 2 * voxels * (double)rvx__shape_count(p.weight);
    return 1e3 * std::max((bytes + residual) / card.copy_rate, *flops / card.matrix_rate);
}
} // namespace bench
