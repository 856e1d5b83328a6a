/* Calls of convolutions for test_prepared.c: shapes, types, operands with guards around them. Owns:
 * the tables of cases and ways. Every call of a setup gets the same numbers. */
#ifndef RVX_TEST_CUDA_PREPARED_H
#define RVX_TEST_CUDA_PREPARED_H

#include "kernels/norm_conv.h"
#include "kernels/random.h"
#include "tap.h"
#include "tests/kernels/harness.h"

#include <math.h>

enum { GRID = 11, GUARD = 256 };
#define GRID_UNIT (1.0 / (1 << GRID))

typedef struct shape_case {
    const char *name;
    const rvx_op *op;
    rvx_shape x;
    int32_t channels, kernel[3], stride[3], pad[3];
} shape_case;

static const shape_case cases[] = {
    {"3^3", &rvx__op_conv, {2, 5, 6, 7, 8}, 16, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}},
    {"3^3 stride 2, odd", &rvx__op_conv, {1, 6, 5, 7, 5}, 3, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}},
    {"1^3", &rvx__op_conv, {2, 3, 4, 5, 16}, 8, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
    {"5^3", &rvx__op_conv, {1, 5, 4, 6, 8}, 8, {5, 5, 5}, {1, 1, 1}, {2, 2, 2}},
    {"in plane", &rvx__op_conv, {1, 3, 8, 6, 8}, 8, {1, 3, 3}, {1, 2, 1}, {0, 1, 1}},
    {"transposed", &rvx__op_conv_transpose, {2, 3, 2, 4, 16}, 8, {2, 2, 2}, {2, 2, 2}, {0}},
    {"transposed, 1 2 3", &rvx__op_conv_transpose, {1, 3, 5, 2, 5}, 7, {1, 2, 3}, {1, 2, 3}, {0}},
    {"branch", &rvx__op_norm_conv, {2, 13, 3, 4, 8}, 8, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}},
};

/* What a call's tensors are. */
typedef struct way {
    const char *name;
    rvx_dtype x, y; /* gradients of streams: bf16 where products are, else f32 */
    bool bf16_products, fold, bias, residual, accumulate;
} way;

static const way all_ways[] = {
    {"f32", RVX_F32, RVX_F32, .bias = true, .accumulate = true},
    {"f32, folded", RVX_F32, RVX_F32, .fold = true},
    {"f32, residual", RVX_F32, RVX_F32, .bias = true, .residual = true},
    {"bf16", RVX_BF16, RVX_BF16, .bf16_products = true, .fold = true, .bias = true},
    {"bf16, added to", RVX_BF16, RVX_BF16, .bf16_products = true, .accumulate = true},
    {"bf16 to f32", RVX_BF16, RVX_F32, .bf16_products = true, .bias = true},
    {"bf16, residual", RVX_BF16, RVX_BF16, .bf16_products = true, .bias = true, .residual = true},
    {"f32 to bf16", RVX_F32, RVX_BF16, .bf16_products = true, .bias = true, .accumulate = true},
    {"stream to bf16", RVX_I16, RVX_BF16, .bf16_products = true, .fold = true},
    {"streams", RVX_I16, RVX_I16, .bf16_products = true, .fold = true, .residual = true},
    {"streams of f32", RVX_I16, RVX_I16, .fold = true, .bias = true, .residual = true},
};

/* Of scratch: cuBLAS takes 32 MiB. */
static inline int64_t room(void) { return device_interface->emulated ? 1 << 20 : 64 << 20; }
static inline int case_count(void) { return (int)(sizeof cases / sizeof *cases); }
static inline int way_count(void) { return (int)(sizeof all_ways / sizeof *all_ways); }

typedef struct setup {
    const shape_case *c;
    const way *w;
    rvx_op_params params;
    rvx_shape in[RVX_NORM_CONV_INPUTS], out[3];
} setup;

/* False: there is no such call. */
TEST_FUNCTION bool setup_make(setup *s, const shape_case *c, const way *w, rvx_phase phase)
{
    const bool branch = c->op == &rvx__op_norm_conv;
    *s = (setup){.c = c, .w = w};
    s->params = (rvx_op_params){.channels_out = c->channels,
                                .bf16_products = w->bf16_products,
                                .epsilon = 1e-5f,
                                .slope = 0.01f,
                                .slab_bytes = 1}; /* slabs of all kinds */
    memcpy(s->params.kernel, c->kernel, sizeof c->kernel);
    memcpy(s->params.stride, c->stride, sizeof c->stride);
    memcpy(s->params.pad, c->pad, sizeof c->pad);
    s->in[0] = c->x;
    s->in[1] = (rvx_shape){c->kernel[0], c->kernel[1], c->kernel[2], c->x.c, c->channels};
    if (w->bias)
        s->in[2] = (rvx_shape){1, 1, 1, 1, c->channels};
    if (branch)
        s->in[RVX_NORM_CONV_GAMMA] = s->in[RVX_NORM_CONV_BETA] = (rvx_shape){1, 1, 1, 1, c->x.c};
    if (c->op->shape(s->out, s->in, branch ? RVX_NORM_CONV_INPUTS : 3, &s->params, NULL) != RVX_OK)
        return false;
    if (w->residual)
        s->in[RVX_CONV_RESIDUAL] = s->out[0];
    if (w->residual && c->op == &rvx__op_conv_transpose)
        return false;
    if (phase == RVX_INVERSE) /* exact for streams alone */
        return w->residual && w->y == RVX_I16;
    if (branch && w->fold == false)
        return false; /* it folds what it normalises */
    return true;
}

/* ---- operands ----------------------------------------------------------------------------------
 */

enum { OPERANDS = 16 };

typedef struct operands {
    rvx_call call;
    buffer buffers[OPERANDS];
    int buffer_count, result_count;
    rvx_tensor *results[3];
} operands;

TEST_FUNCTION void put_number(const rvx_tensor *t, int64_t i, float v)
{
    const int64_t at = element(t, i);
    if (t->dtype == RVX_BF16)
        ((uint16_t *)t->data)[at] = rvx__bf16_of(v);
    else if (t->dtype == RVX_I16)
        ((int16_t *)t->data)[at] = (int16_t)lrintf(v * (1 << GRID));
    else
        rvx__f32(t)[at] = v;
}

TEST_FUNCTION double get_number(const rvx_tensor *t, int64_t i)
{
    return t->dtype == RVX_I16 ? ldexp(((int16_t *)t->data)[element(t, i)], -t->grid_log2)
                               : value_of(t, i);
}

/* As buffer_make of the harness, but on 256 bytes, as arenas are, so that a library may be given
 * the tensor itself. */
TEST_FUNCTION buffer arena_buffer(rvx_shape shape, rvx_dtype dtype, int64_t extra)
{
    buffer b = {{.shape = shape, .pitch = shape.c + extra, .dtype = dtype}, NULL, 0};
    const int64_t inside = rvx__shape_voxels(shape) * b.tensor.pitch * rvx__dtype_bytes(dtype);
    b.bytes = inside + 2 * GUARD;
    b.base = device_allocate(b.bytes);
    memset(b.base, 0xFF, (size_t)b.bytes);
    b.tensor.data = b.base + GUARD;
    return b;
}

TEST_FUNCTION bool arena_buffer_intact(const buffer *b)
{
    const rvx_tensor *t = &b->tensor;
    const int64_t size = rvx__dtype_bytes(t->dtype), row = t->pitch * size;
    for (int64_t i = 0; i < b->bytes; i++) {
        const int64_t at = i - GUARD;
        const bool inside =
            at >= 0 && at < rvx__shape_voxels(t->shape) * row && at % row < t->shape.c * size;
        if (!inside && b->base[i] != 0xFF)
            return false;
    }
    return true;
}

/* `scale` 0: left as it is. */
TEST_FUNCTION void tensor_make(operands *o, rvx_tensor *tensor, rvx_shape shape, rvx_dtype dtype,
                               int64_t extra, float scale)
{
    if (shape.c == 0)
        return;
    buffer *b = &o->buffers[o->buffer_count++];
    *b = arena_buffer(shape, dtype, extra);
    b->tensor.grid_log2 = dtype == RVX_I16 ? GRID : 0;
    for (int64_t i = 0; scale > 0 && i < rvx__shape_count(shape); i++)
        put_number(&b->tensor, i, scale * number(7, (uint64_t)(o->buffer_count), i));
    *tensor = b->tensor;
}

/* All that the phase reads and writes; results[] are what it writes. `extra`: channels beside those
 * of slices. */
TEST_FUNCTION void operands_make(operands *o, const setup *s, rvx_phase phase, int64_t extra)
{
    const way *w = s->w;
    const bool branch = s->c->op == &rvx__op_norm_conv, forward = phase == RVX_FORWARD;
    const bool wide = phase == RVX_BACKWARD_DATA || phase == RVX_BACKWARD_PARAMETERS;
    const rvx_dtype gradients = w->bf16_products ? RVX_BF16 : RVX_F32;
    const rvx_shape table = {s->c->x.n, 1, 1, 3, s->c->x.c};
    rvx_call *call = &o->call;
    *o = (operands){.call = {.params = &s->params}};
    for (int i = 0; i < RVX_NORM_CONV_INPUTS; i++)
        call->in[i].shape = s->in[i];
    for (int i = 0; i < s->c->op->out_count; i++)
        call->out[i].shape = s->out[i];
    if (phase != RVX_BACKWARD_DATA || branch)
        tensor_make(o, &call->in[0], s->in[0], w->x, extra, 1);
    if (phase != RVX_BACKWARD_PARAMETERS)
        tensor_make(o, &call->in[1], s->in[1], RVX_F32, 0, 0.2f);
    if (!wide) {
        tensor_make(o, &call->in[2], s->in[2], RVX_F32, 0, 1);
        tensor_make(o, &call->in[RVX_CONV_RESIDUAL], s->in[RVX_CONV_RESIDUAL], w->y, extra, 1);
        tensor_make(o, &call->out[0], s->out[0], w->y, extra, 0);
        o->results[o->result_count++] = &call->out[0];
    }
    if (branch) {
        tensor_make(o, &call->in[RVX_NORM_CONV_GAMMA], s->in[RVX_NORM_CONV_GAMMA], RVX_F32, 0, 1);
        tensor_make(o, &call->in[RVX_NORM_CONV_BETA], s->in[RVX_NORM_CONV_BETA], RVX_F32, 0, 1);
        tensor_make(o, &call->out[1], s->out[1], RVX_F32, 0, forward ? 0 : 1);
        tensor_make(o, &call->out[2], s->out[2], RVX_F32, 0, forward ? 0 : 1);
    } else if (w->fold && phase != RVX_BACKWARD_DATA) {
        tensor_make(o, &call->fold, table, RVX_F32, 0, 1);
    }
    if (!wide)
        return;
    tensor_make(o, &call->grad_out[0], s->out[0], w->y == RVX_I16 ? gradients : w->y, extra, 1);
    if (phase == RVX_BACKWARD_DATA) {
        call->accumulate = w->accumulate && !branch ? 1u : 0u;
        tensor_make(o, &call->grad_in[0], s->in[0], w->x == RVX_I16 ? gradients : w->x, extra, 1);
        o->results[o->result_count++] = &call->grad_in[0];
        for (int i = RVX_NORM_CONV_GAMMA; branch && i <= RVX_NORM_CONV_BETA; i++) {
            tensor_make(o, &call->grad_in[i], s->in[i], RVX_F32, 0, 0);
            o->results[o->result_count++] = &call->grad_in[i];
        }
        return;
    }
    call->accumulate = w->accumulate ? 6u : 0u;
    tensor_make(o, &call->grad_in[1], s->in[1], RVX_F32, 0, 1);
    tensor_make(o, &call->grad_in[2], s->in[2], RVX_F32, 0, 1);
    o->results[o->result_count++] = &call->grad_in[1];
    if (w->bias)
        o->results[o->result_count++] = &call->grad_in[2];
}

/* The scratch that a call was given goes with it. */
TEST_FUNCTION void operands_free(operands *o)
{
    for (int i = 0; i < o->buffer_count; i++)
        buffer_free(&o->buffers[i]);
    device_free(o->call.scratch);
    *o = (operands){0};
}

TEST_FUNCTION bool operands_intact(const operands *o)
{
    for (int i = 0; i < o->buffer_count; i++)
        if (!arena_buffer_intact(&o->buffers[i]))
            return false;
    return true;
}

/* What is read is as it was: the same in both. */
TEST_FUNCTION bool same_inputs(const operands *a, const operands *b)
{
    for (int i = 0; i < a->buffer_count; i++) {
        bool result = false;
        for (int r = 0; r < a->result_count; r++)
            result = result || a->results[r]->data == a->buffers[i].tensor.data;
        if (!result && memcmp(a->buffers[i].base, b->buffers[i].base, (size_t)a->buffers[i].bytes))
            return false;
    }
    return true;
}

/* ---- runs --------------------------------------------------------------------------------------
 */

TEST_FUNCTION void scratch_make(operands *o, int64_t bytes)
{
    o->call.scratch = device_allocate(bytes ? bytes : 64);
    o->call.scratch_bytes = bytes;
}

/* As it runs where nobody is asked for, with the scratch of its row. */
TEST_FUNCTION void run_kernel(operands *o, const setup *s, rvx_phase phase)
{
    scratch_make(o, s->c->op->cuda_scratch(phase, s->in, s->out, &s->params));
    device_run(device_kernel(s->c->op, phase, RVX_ISA_CUDA), &o->call, RVX_ISA_CUDA);
}

/* NULL, with a line that says why, where that is refused. */
TEST_FUNCTION void *prepared(operands *o, const setup *s, rvx_phase phase, const char *name)
{
    rvx_error error = {0};
    void *implementation = NULL;
    if (!o->call.scratch)
        scratch_make(o, room());
    if (device_interface->prepare(&implementation, device_used, s->c->op->name, phase, &o->call,
                                  name, &error) != RVX_OK)
        printf("# %s\n", error.message);
    return implementation;
}

TEST_FUNCTION bool run_by(operands *o, const setup *s, rvx_phase phase, const char *name)
{
    o->call.implementation = prepared(o, s, phase, name);
    if (!o->call.implementation)
        return false;
    device_run(device_interface->run_prepared, &o->call, RVX_ISA_CUDA);
    device_interface->unprepare(device_used, o->call.implementation);
    return true;
}

/* ---- comparisons -------------------------------------------------------------------------------
 */

TEST_FUNCTION double largest_of(const rvx_tensor *t)
{
    double largest = 1e-30;
    for (int64_t i = 0; i < rvx__shape_count(t->shape); i++)
        largest = fmax(largest, fabs(get_number(t, i)));
    return largest;
}

/* Largest difference over the largest number; a NaN stays. */
TEST_FUNCTION double distance(const rvx_tensor *a, const rvx_tensor *b)
{
    double most = 0;
    for (int64_t i = 0; i < rvx__shape_count(a->shape); i++) {
        const double difference = fabs(get_number(a, i) - get_number(b, i));
        most = difference <= most || isnan(most) ? most : difference;
    }
    return most / largest_of(b);
}

#endif
