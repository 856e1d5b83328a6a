/* Runs one op on one case: memory with guards, inputs from Philox, calls as the engine makes them.
 * Owns: the meaning of a case and the tolerance. Invariant: a kernel sees only what its row says it
 * reads; everything it must not touch is filled with 0xFF bytes (NaN) and checked afterwards.
 *
 * Numbers: element i of a tensor is a function of (seed, stream, i), seed = FNV-1a of "op/case",
 * u = 24 bits of Philox word 0 in [0, 1), v = 2 u - 1, value = offset + scale v. make_goldens.py
 * makes the same numbers in numpy. */
#ifndef RVX_TEST_HARNESS_H
#define RVX_TEST_HARNESS_H

#include "kernels/op.h"
#include "kernels/random.h"
#include "tap.h"
#include "tests/kernels/device.h"

#include <stdbool.h>
#include <string.h>

#define TEST_FUNCTION __attribute__((unused)) static

typedef struct test_case {
    const char *name;
    rvx_shape in[RVX_IN_MAX]; /* c == 0: absent */
    rvx_op_params params;
    float offset, scale; /* of in[0]; scale 0: 1 */
    int levels;          /* > 0: in[0] is rounded down to multiples of 1 / levels (ties) */
    int labels;          /* u8 inputs are word % labels */
    bool golden_only;    /* the derivative does not exist: no finite differences */
} test_case;

/* What one number of an output is measured against: the largest of the tensor, of its column c or
 * of its row w (tables whose columns or rows mean different things). */
typedef enum test_scale { SCALE_TENSOR = 0, SCALE_COLUMN, SCALE_ROW } test_scale;

/* All cases of one op, with its plainest reference: double, dense arrays, fold already applied. */
typedef struct test_suite {
    const rvx_op *op;
    const test_case *cases;
    int case_count;
    void (*reference)(const test_case *c, const rvx_shape *out_shape, double *const *out,
                      double *const *in);
    /* Longest sum behind one number of out[index] or grad_in[index]. */
    double (*length)(const test_case *c, const rvx_shape *out_shape, bool gradient, int index);
    /* How much larger the terms are than the result, beyond the length of sums. NULL: 1. */
    double (*condition)(const test_case *c, const rvx_shape *out_shape, const rvx_tensor *in);
    uint32_t differentiable;          /* outputs that gradients flow into */
    uint32_t pitched_in, pitched_out; /* tensors that may be channel slices */
    uint32_t labels_in, labels_out;   /* u8 inputs and outputs */
    bool bf16_exact; /* with bf16 tensors: the f32 result, rounded once (see test_storage.c) */
    test_scale scale_out[RVX_OUT_MAX];
} test_suite;

enum { STREAM_GRAD_OUT = 16, STREAM_DIRECTION = 32, STREAM_BEFORE = 64, STREAM_FOLD = 80 };
enum { GUARD_BYTES = 64 };

/* ---- numbers ------------------------------------------------------------------------------- */

TEST_FUNCTION uint64_t case_seed(const test_suite *s, const test_case *c)
{
    uint64_t hash = 0xcbf29ce484222325u;
    char text[128];
    snprintf(text, sizeof text, "%s/%s", s->op->name, c->name);
    for (const char *p = text; *p; p++)
        hash = (hash ^ (uint64_t)(unsigned char)*p) * 0x100000001b3u;
    return hash;
}

TEST_FUNCTION float number(uint64_t seed, uint64_t stream, int64_t index)
{
    return 2 * rvx__word_uniform(rvx__philox(seed, stream, (uint64_t)index).word[0]) - 1;
}

/* One rule for every tolerance, relative to the largest number of what is compared (test_scale).
 * A sum of L terms in f32 is rounded at each term by 0.29 ulp (root mean square) of the partial
 * sum; that adds up as 0.29 sqrt(L), and four times as much is allowed, the largest of some 10^4
 * numbers, besides four ulp for what stands around the sum. An ulp is at most 2^-23. `condition`:
 * how much larger the terms are than the result. */
TEST_FUNCTION double tolerance(double length, double condition)
{
    return 0x1p-23 * (4 + 1.16 * sqrt(length)) * condition;
}

/* The same for a sum whose products a GPU's tensor cores form: nothing is rounded to nearest there.
 * At worst (sm_80: eight products at once, cut off with the sum at 2^-24 of the largest, then the
 * sum at 2^-23) half of 9 / 2 + 1 ulp is lost for eight products of one sign, always toward zero:
 * 0.344 ulp a product. docs/tensor-cores.md derives it; emulate_sum.h does it. */
TEST_FUNCTION double tolerance_products(double length, double condition)
{
    return tolerance(length, condition) + 0x1p-23 * 0.344 * length * condition;
}

/* ---- memory -------------------------------------------------------------------------------- */

typedef struct buffer {
    rvx_tensor tensor;
    unsigned char *base;
    int64_t bytes; /* with guards */
} buffer;

TEST_FUNCTION buffer buffer_make(rvx_shape shape, rvx_dtype dtype, int64_t extra_pitch)
{
    buffer b = {{.shape = shape, .pitch = shape.c + extra_pitch, .dtype = dtype}, NULL, 0};
    if (shape.c == 0)
        return b;
    int64_t inside = rvx__shape_voxels(shape) * b.tensor.pitch * rvx__dtype_bytes(dtype);
    b.bytes = (inside + 63) / 64 * 64 + 2 * GUARD_BYTES;
    b.base = device_allocate(b.bytes);
    if (!b.base)
        abort();
    memset(b.base, 0xFF, (size_t)b.bytes);
    b.tensor.data = b.base + GUARD_BYTES;
    return b;
}

TEST_FUNCTION void buffer_free(buffer *b)
{
    device_free(b->base);
    *b = (buffer){0};
}

/* Offset in elements of logical element i. */
TEST_FUNCTION int64_t element(const rvx_tensor *t, int64_t i)
{
    return i / t->shape.c * t->pitch + i % t->shape.c;
}

/* Guards and the gaps between channel slices still hold 0xFF. */
TEST_FUNCTION bool buffer_intact(const buffer *b)
{
    if (!b->base)
        return true;
    const rvx_tensor *t = &b->tensor;
    int64_t size = rvx__dtype_bytes(t->dtype), row = t->pitch * size, used = t->shape.c * size;
    for (int64_t i = 0; i < b->bytes; i++) {
        int64_t at = i - GUARD_BYTES;
        bool inside = at >= 0 && at < rvx__shape_voxels(t->shape) * row && at % row < used;
        if (!inside && b->base[i] != 0xFF)
            return false;
    }
    return true;
}

TEST_FUNCTION double value_of(const rvx_tensor *t, int64_t i)
{
    int64_t at = element(t, i);
    if (t->dtype == RVX_BF16)
        return (double)rvx__f32_of(((const uint16_t *)t->data)[at]);
    return t->dtype == RVX_U8 ? (double)((const uint8_t *)t->data)[at]
                              : (double)((const float *)t->data)[at];
}

TEST_FUNCTION double *doubles_of(const rvx_tensor *t)
{
    if (!t->data)
        return NULL;
    int64_t count = rvx__shape_count(t->shape);
    double *values = malloc((size_t)count * sizeof *values);
    if (!values)
        abort();
    for (int64_t i = 0; i < count; i++)
        values[i] = value_of(t, i);
    return values;
}

TEST_FUNCTION void buffer_random(buffer *b, uint64_t seed, uint64_t stream, const test_case *c)
{
    rvx_tensor *t = &b->tensor;
    for (int64_t i = 0; i < (t->data ? rvx__shape_count(t->shape) : 0); i++) {
        if (t->dtype == RVX_U8) {
            uint32_t word = rvx__philox(seed, stream, (uint64_t)i).word[0];
            ((uint8_t *)t->data)[element(t, i)] = (uint8_t)(word % (uint32_t)c->labels);
            continue;
        }
        float v = number(seed, stream, i);
        if (stream == 0) {
            if (c->levels)
                v = floorf(v * (float)c->levels) / (float)c->levels;
            v = (c->scale > 0 ? c->scale : 1) * v;
            v = c->offset + v;
        }
        if (t->dtype == RVX_BF16)
            ((uint16_t *)t->data)[element(t, i)] = rvx__bf16_of(v);
        else
            rvx__f32(t)[element(t, i)] = v;
    }
}

/* The same numbers in f32 as a bf16 tensor would hold. */
TEST_FUNCTION void buffer_round(buffer *b)
{
    for (int64_t i = 0; i < (b->base ? rvx__shape_count(b->tensor.shape) : 0); i++) {
        float *value = rvx__f32(&b->tensor) + element(&b->tensor, i);
        *value = rvx__f32_of(rvx__bf16_of(*value));
    }
}

/* ---- one run ------------------------------------------------------------------------------- */

typedef struct run_options {
    rvx_isa isa;
    int threads;
    int64_t extra_pitch;
    uint32_t accumulate;        /* grad_in[i] starts from random numbers */
    uint32_t no_grad_in;        /* bit i: grad_in[i] is not wanted */
    uint32_t bf16_in, bf16_out; /* bit i: in[i], out[i] and their gradients are bf16 */
    bool rounded;               /* ... are f32 that begin with numbers rounded to bf16 */
    bool forward_in_place, backward_in_place, fold, no_out0;
} run_options;

typedef struct run {
    const test_suite *suite;
    const test_case *c;
    run_options options;
    rvx_shape out_shape[RVX_OUT_MAX];
    buffer in[RVX_IN_MAX], out[RVX_OUT_MAX], grad_in[RVX_IN_MAX], grad_out[RVX_OUT_MAX], fold;
    double condition;
    int rebuild; /* RVX_INVERSE: the input to be written */
    bool intact; /* nothing was written where nothing may be */
} run;

TEST_FUNCTION int case_inputs(const test_case *c)
{
    int count = RVX_IN_MAX;
    while (count > 0 && c->in[count - 1].c == 0)
        count--;
    return count;
}

TEST_FUNCTION rvx_status case_shapes(rvx_shape *out, const test_suite *s, const test_case *c)
{
    rvx_error error = {RVX_OK, ""};
    rvx_status status = s->op->shape(out, c->in, case_inputs(c), &c->params, &error);
    if (status != RVX_OK)
        printf("# %s/%s: %s\n", s->op->name, c->name, error.message);
    return status;
}

/* scale in +-[1/2, 1], shift in [-1, 1], slope in [0, 1/2] */
TEST_FUNCTION buffer fold_make(uint64_t seed, rvx_shape x, int64_t extra_pitch)
{
    buffer b = buffer_make((rvx_shape){x.n, 1, 1, 3, x.c}, RVX_F32, extra_pitch);
    for (int64_t i = 0; i < rvx__shape_count(b.tensor.shape); i++) {
        float v = number(seed, STREAM_FOLD, i);
        int64_t row = i / x.c % 3;
        float values[3] = {v < 0 ? v / 2 - 0.5f : v / 2 + 0.5f, v, fabsf(v) / 2};
        rvx__f32(&b.tensor)[element(&b.tensor, i)] = values[row];
    }
    return b;
}

TEST_FUNCTION bool run_make(run *r, const test_suite *s, const test_case *c, run_options options)
{
    *r = (run){.suite = s, .c = c, .options = options, .intact = true};
    if (case_shapes(r->out_shape, s, c) != RVX_OK)
        return false;
    uint64_t seed = case_seed(s, c);
    for (int i = 0; i < RVX_IN_MAX; i++) {
        int64_t extra = s->pitched_in >> i & 1 ? options.extra_pitch : 0;
        bool labels = s->labels_in >> i & 1;
        bool round = options.bf16_in >> i & 1 && options.rounded && !labels;
        rvx_dtype dtype = options.bf16_in >> i & 1 && !round ? RVX_BF16 : RVX_F32;
        r->in[i] = buffer_make(c->in[i], labels ? RVX_U8 : dtype, extra);
        buffer_random(&r->in[i], seed, (uint64_t)i, c);
        if (round)
            buffer_round(&r->in[i]);
        bool constant = s->op->no_gradient_inputs >> i & 1;
        if (labels || constant || (options.no_grad_in | s->op->residual_inputs) >> i & 1 ||
            !s->differentiable)
            continue;
        r->grad_in[i] = buffer_make(c->in[i], dtype, extra);
        if (options.accumulate >> i & 1) {
            buffer_random(&r->grad_in[i], seed, STREAM_BEFORE + (uint64_t)i, c);
            if (round)
                buffer_round(&r->grad_in[i]);
        }
    }
    for (int i = 0; i < s->op->out_count; i++) {
        int64_t extra = s->pitched_out >> i & 1 ? options.extra_pitch : 0;
        bool round = options.bf16_out >> i & 1 && options.rounded;
        rvx_dtype dtype = options.bf16_out >> i & 1 && !round ? RVX_BF16 : RVX_F32;
        if (i > 0 || !options.no_out0)
            r->out[i] =
                buffer_make(r->out_shape[i], s->labels_out >> i & 1 ? RVX_U8 : dtype, extra);
        if (s->differentiable >> i & 1) {
            r->grad_out[i] = buffer_make(r->out_shape[i], dtype, extra);
            buffer_random(&r->grad_out[i], seed, STREAM_GRAD_OUT + (uint64_t)i, c);
            if (round)
                buffer_round(&r->grad_out[i]);
        }
    }
    if (options.fold)
        r->fold = fold_make(seed, c->in[0], options.extra_pitch);
    r->condition = s->condition ? s->condition(c, r->out_shape, &r->in[0].tensor) : 1;
    return true;
}

TEST_FUNCTION void run_free(run *r)
{
    for (int i = 0; i < RVX_IN_MAX; i++) {
        buffer_free(&r->in[i]);
        buffer_free(&r->grad_in[i]);
    }
    for (int i = 0; i < RVX_OUT_MAX; i++) {
        buffer_free(&r->out[i]);
        buffer_free(&r->grad_out[i]);
    }
    buffer_free(&r->fold);
}

/* The call of one phase: the row decides what is visible. */
TEST_FUNCTION rvx_call call_make(const run *r, rvx_phase phase)
{
    const rvx_op *op = r->suite->op;
    bool backward = phase == RVX_BACKWARD_DATA || phase == RVX_BACKWARD_PARAMETERS;
    uint32_t reads = phase == RVX_BACKWARD_DATA         ? op->reads_data
                     : phase == RVX_BACKWARD_PARAMETERS ? op->reads_parameters
                                                        : UINT32_MAX;
    rvx_call call = {.params = &r->c->params, .threads = r->options.threads, .rebuild = r->rebuild};
    for (int i = 0; i < RVX_IN_MAX; i++) {
        call.in[i] = r->in[i].tensor;
        if (!(reads & RVX_READS_IN(i)))
            call.in[i].data = NULL;
        call.grad_in[i] = r->grad_in[i].tensor;
        call.grad_in[i].shape = r->c->in[i];
        bool parameter = op->parameter_inputs >> i & 1;
        if (!backward || parameter != (phase == RVX_BACKWARD_PARAMETERS))
            call.grad_in[i].data = NULL;
    }
    for (int i = 0; i < op->out_count; i++) {
        call.out[i] = r->out[i].tensor;
        call.out[i].shape = r->out_shape[i];
        if (!(reads & RVX_READS_OUT(i)))
            call.out[i].data = NULL;
        call.grad_out[i] = r->grad_out[i].tensor;
        call.grad_out[i].shape = r->out_shape[i];
        if (!backward)
            call.grad_out[i].data = NULL;
    }
    if (reads & RVX_READS_IN(0))
        call.fold = r->fold.tensor;
    call.accumulate = backward ? r->options.accumulate : 0;
    return call;
}

/* The engine plans no backward phase of which nobody wants a gradient. */
TEST_FUNCTION bool phase_wanted(const rvx_call *call, rvx_phase phase)
{
    bool wanted = phase == RVX_FORWARD || phase == RVX_INVERSE;
    for (int i = 0; i < RVX_IN_MAX; i++)
        wanted = wanted || call->grad_in[i].data;
    return wanted;
}

/* The memory of a tensor, seen as another of as many elements. */
TEST_FUNCTION rvx_tensor tensor_over(const rvx_tensor *t, rvx_shape shape)
{
    rvx_tensor over = *t;
    over.pitch += shape.c - t->shape.c;
    over.shape = shape;
    return over;
}

/* Runs one phase with exactly the scratch that the row asks for. */
TEST_FUNCTION void run_phase(run *r, rvx_phase phase)
{
    const rvx_op *op = r->suite->op;
    rvx_kernel kernel = device_kernel(op, phase, r->options.isa);
    rvx_call call = call_make(r, phase);
    if (!kernel || !phase_wanted(&call, phase))
        return;
    if (phase == RVX_FORWARD && r->options.forward_in_place)
        call.out[0] = tensor_over(&r->in[0].tensor, r->out_shape[0]);
    if (phase == RVX_BACKWARD_DATA && r->options.backward_in_place)
        call.grad_in[0] = tensor_over(&r->grad_out[0].tensor, r->c->in[0]);
    call.scratch_bytes = device_scratch(op, phase, r->c->in, r->out_shape, &r->c->params,
                                        r->options.threads, r->options.isa);
    buffer scratch = {0};
    if (call.scratch_bytes > 0)
        scratch = buffer_make((rvx_shape){1, 1, 1, 1, call.scratch_bytes}, RVX_U8, 0);
    call.scratch = scratch.tensor.data;
    device_run(kernel, &call, r->options.isa);
    r->intact = r->intact && buffer_intact(&scratch) && buffer_intact(&r->fold);
    for (int i = 0; i < RVX_IN_MAX; i++)
        r->intact = r->intact && buffer_intact(&r->in[i]) && buffer_intact(&r->grad_in[i]);
    for (int i = 0; i < RVX_OUT_MAX; i++)
        r->intact = r->intact && buffer_intact(&r->out[i]) && buffer_intact(&r->grad_out[i]);
    buffer_free(&scratch);
}

TEST_FUNCTION void run_all(run *r)
{
    run_phase(r, RVX_FORWARD);
    run_phase(r, RVX_BACKWARD_PARAMETERS);
    run_phase(r, RVX_BACKWARD_DATA);
}

/* ---- comparisons --------------------------------------------------------------------------- */

TEST_FUNCTION bool same_bits(const rvx_tensor *a, const rvx_tensor *b)
{
    if (!a->data || !b->data)
        return !a->data && !b->data;
    int64_t bytes = rvx__dtype_bytes(a->dtype);
    if (a->dtype != b->dtype || rvx__shape_count(a->shape) != rvx__shape_count(b->shape))
        return false;
    for (int64_t i = 0; i < rvx__shape_count(a->shape); i++)
        if (memcmp((const char *)a->data + element(a, i) * bytes,
                   (const char *)b->data + element(b, i) * bytes, (size_t)bytes) != 0)
            return false;
    return true;
}

TEST_FUNCTION bool run_same_bits(const run *a, const run *b)
{
    bool same = true;
    for (int i = 0; i < a->suite->op->out_count; i++)
        same = same && same_bits(&a->out[i].tensor, &b->out[i].tensor);
    for (int i = 0; i < RVX_IN_MAX; i++)
        same = same && same_bits(&a->grad_in[i].tensor, &b->grad_in[i].tensor);
    return same;
}

/* The group of element i for test_scale. */
TEST_FUNCTION int64_t scale_group(const rvx_shape *s, test_scale scale, int64_t i)
{
    return scale == SCALE_TENSOR ? 0 : scale == SCALE_COLUMN ? i % s->c : i / s->c % s->w;
}

/* Largest |got - want| over the largest |want| of its group, in tolerances; NaN counts as 1e30.
 * Only every step-th element is given in want. */
TEST_FUNCTION double misfit_sampled(const rvx_tensor *got, const double *want, int64_t step,
                                    test_scale scale, double allowed)
{
    enum { GROUPS_MAX = 1024 };
    double largest[GROUPS_MAX] = {0}, worst = 0;
    int64_t count = (rvx__shape_count(got->shape) + step - 1) / step;
    for (int64_t i = 0; i < count; i++) {
        double *own = &largest[scale_group(&got->shape, scale, i * step) % GROUPS_MAX];
        *own = fmax(*own, fabs(want[i]));
    }
    for (int64_t i = 0; i < count; i++) {
        double own = largest[scale_group(&got->shape, scale, i * step) % GROUPS_MAX];
        double off = fabs(value_of(got, i * step) - want[i]);
        if (!(off <= own * allowed))
            worst = fmax(worst, own > 0 && off < 1e30 ? off / (own * allowed) : 1e30);
        else if (own > 0)
            worst = fmax(worst, off / (own * allowed));
    }
    return worst;
}

TEST_FUNCTION double misfit(const rvx_tensor *got, const double *want, test_scale scale,
                            double allowed)
{
    return misfit_sampled(got, want, 1, scale, allowed);
}

/* Tolerance of out[index] or grad_in[index]. Tables are formed in double: their condition is 1. */
TEST_FUNCTION double run_tolerance(const run *r, bool gradient, int index)
{
    double length = r->suite->length(r->c, r->out_shape, gradient, index);
    bool plain = !gradient && r->suite->scale_out[index] != SCALE_TENSOR;
    return tolerance(length, plain ? 1 : r->condition);
}

#endif
