/* Both convolutions on bf16 tensors, every pass and instruction set, against sums in double.
 *
 * All operands are bf16 numbers, so products are exact in f32 and what may differ follows: the sum
 * (see tolerance()), the rounding of a folded operand to bf16 (2^-8 of every term) and of the
 * result to bf16 (2^-8 of the result; of the sum and of what it is added to, if that is in
 * bf16). Each is measured against the sum of the magnitudes of the terms. */
#include "tests/kernels/cases.h"

typedef struct variant {
    rvx_isa isa;
    rvx_phase phase;
    bool bf16_source, bf16_target; /* of the tensors read and written; weights are f32 */
    bool fold, accumulate;
    int64_t extra_pitch;
} variant;

static float bf16_round(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    bits = (bits + 0x7FFFu + (bits >> 16 & 1)) & 0xFFFF0000u;
    memcpy(&v, &bits, 4);
    return v;
}

static void put(const rvx_tensor *t, int64_t i, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    if (t->dtype == RVX_BF16)
        ((uint16_t *)t->data)[element(t, i)] = (uint16_t)(bits >> 16);
    else
        rvx__f32(t)[element(t, i)] = v;
}

static double get(const rvx_tensor *t, int64_t i)
{
    uint32_t bits;
    float v;
    if (t->dtype != RVX_BF16)
        return (double)rvx__f32(t)[element(t, i)];
    bits = (uint32_t)((const uint16_t *)t->data)[element(t, i)] << 16;
    memcpy(&v, &bits, 4);
    return (double)v;
}

/* Random numbers, and the same as doubles. */
static double *fill(buffer *b, uint64_t seed, uint64_t stream, bool rounded)
{
    int64_t count = rvx__shape_count(b->tensor.shape);
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    if (!values)
        abort();
    for (int64_t i = 0; i < count; i++) {
        float v = number(seed, stream, i);
        if (rounded)
            v = bf16_round(v);
        put(&b->tensor, i, v);
        values[i] = (double)v;
    }
    return values;
}

/* Sums and sums of magnitudes of out, grad a and grad w; those wanted are not NULL. */
typedef struct sums {
    double *sum, *magnitude;
} sums;

static void add(sums *s, int64_t i, double v)
{
    s->sum[i] += v;
    s->magnitude[i] += fabs(v);
}

static void products(const test_suite *suite, const test_case *c, rvx_shape out, rvx_phase phase,
                     const double *x, const double *w, const double *dy, sums *s)
{
    const rvx_shape in = c->in[0], weight = c->in[1];
    const bool transposed = suite->op == &rvx__op_conv_transpose;
    const rvx_shape few = transposed ? in : out, many = transposed ? out : in;
    const int32_t *stride = c->params.stride, *pad = c->params.pad;
    for (int64_t v = 0; v < rvx__shape_voxels(few); v++)
        for (int64_t k = 0; k < weight.n * weight.d * weight.h; k++) {
            const int64_t z =
                v / few.w / few.h % few.d * stride[0] - pad[0] + k / weight.h / weight.d;
            const int64_t y = v / few.w % few.h * stride[1] - pad[1] + k / weight.h % weight.d;
            const int64_t h = v % few.w * stride[2] - pad[2] + k % weight.h;
            if (z < 0 || z >= many.d || y < 0 || y >= many.h || h < 0 || h >= many.w)
                continue;
            const int64_t n = v / few.w / few.h / few.d;
            const int64_t u = ((n * many.d + z) * many.h + y) * many.w + h;
            const int64_t i = (transposed ? v : u) * in.c, o = (transposed ? u : v) * out.c;
            for (int64_t a = 0; a < in.c; a++)
                for (int64_t b = 0; b < out.c; b++) {
                    const int64_t j = (k * in.c + a) * out.c + b;
                    if (phase == RVX_FORWARD)
                        add(s, o + b, x[i + a] * w[j]);
                    else if (phase == RVX_BACKWARD_DATA)
                        add(s, i + a, dy[o + b] * w[j]);
                    else
                        add(s, j, x[i + a] * dy[o + b]);
                }
        }
}

typedef struct operands {
    buffer x, w, bias, y, fold; /* y: output or its gradient */
    buffer dx, dw, dbias;
    double *x_values, *w_values, *bias_values, *y_values;
    double *before, *before_bias; /* in the target */
} operands;

static operands operands_make(const test_suite *s, const test_case *c, rvx_shape out,
                              const variant *v)
{
    const uint64_t seed = case_seed(s, c);
    const rvx_dtype source = v->bf16_source ? RVX_BF16 : RVX_F32;
    const rvx_dtype target = v->bf16_target ? RVX_BF16 : RVX_F32;
    const bool forward = v->phase == RVX_FORWARD, data = v->phase == RVX_BACKWARD_DATA;
    const bool rounded = v->bf16_source || v->bf16_target;
    operands o = {.x = buffer_make(c->in[0], data ? target : source, v->extra_pitch),
                  .w = buffer_make(c->in[1], RVX_F32, 0),
                  .bias = buffer_make((rvx_shape){1, 1, 1, 1, out.c}, RVX_F32, 0),
                  .y = buffer_make(out, forward ? target : source, v->extra_pitch)};
    o.dx = buffer_make(c->in[0], target, v->extra_pitch);
    o.dw = buffer_make(c->in[1], RVX_F32, 0);
    o.dbias = buffer_make(o.bias.tensor.shape, RVX_F32, 0);
    o.x_values = fill(&o.x, seed, 0, rounded);
    o.w_values = fill(&o.w, seed, 1, rounded);
    o.bias_values = fill(&o.bias, seed, 2, rounded);
    o.y_values = fill(&o.y, seed, STREAM_GRAD_OUT, rounded);
    o.before = fill(data ? &o.dx : &o.dw, seed, STREAM_BEFORE, rounded);
    o.before_bias = fill(&o.dbias, seed, STREAM_BEFORE + 1, rounded);
    if (v->fold) {
        o.fold = fold_make(seed, c->in[0], v->extra_pitch);
        for (int64_t i = 0; i < rvx__shape_count(c->in[0]); i++) {
            const int64_t n = i / (rvx__shape_count(c->in[0]) / c->in[0].n);
            float t[3];
            for (int64_t row = 0; row < 3; row++)
                t[row] =
                    rvx__f32(&o.fold.tensor)[(n * 3 + row) * o.fold.tensor.pitch + i % c->in[0].c];
            double a = o.x_values[i] * (double)t[0] + (double)t[1];
            o.x_values[i] = a >= 0 ? a : a * (double)t[2];
        }
    }
    return o;
}

static void operands_free(operands *o)
{
    buffer *buffers[] = {&o->x, &o->w, &o->bias, &o->y, &o->fold, &o->dx, &o->dw, &o->dbias};
    double *values[] = {o->x_values, o->w_values, o->bias_values,
                        o->y_values, o->before,   o->before_bias};
    for (int i = 0; i < CASE_COUNT(buffers); i++)
        buffer_free(buffers[i]);
    for (int i = 0; i < CASE_COUNT(values); i++)
        free(values[i]);
}

/* Runs the kernel with exactly the scratch that the row asks for; whether memory around is intact.
 */
static bool call_run(const test_suite *s, const test_case *c, const variant *v, operands *o,
                     int threads)
{
    const bool forward = v->phase == RVX_FORWARD, data = v->phase == RVX_BACKWARD_DATA;
    rvx_shape out = o->y.tensor.shape;
    rvx_call call = {.params = &c->params, .threads = threads};
    call.in[0] = o->x.tensor;
    call.in[1] = o->w.tensor;
    call.out[0] = call.grad_out[0] = o->y.tensor;
    call.grad_in[0] = o->dx.tensor;
    call.grad_in[1] = o->dw.tensor;
    call.grad_in[2] = o->dbias.tensor;
    call.grad_in[0].data = data ? o->dx.tensor.data : NULL;
    if (forward)
        call.in[2] = o->bias.tensor;
    if (forward || data)
        call.grad_in[1].data = call.grad_in[2].data = NULL;
    if (forward)
        call.grad_out[0].data = NULL;
    else
        call.out[0].data = NULL;
    if (data)
        call.in[0].data = NULL;
    else if (v->fold)
        call.fold = o->fold.tensor;
    call.accumulate = v->accumulate ? data ? 1 : 6 : 0;
    call.scratch_bytes = s->op->scratch(v->phase, c->in, &out, &c->params, threads);
    buffer scratch = buffer_make((rvx_shape){1, 1, 1, 1, call.scratch_bytes + 1}, RVX_U8, 0);
    scratch.tensor.shape.c--;
    call.scratch = scratch.tensor.data;
    s->op->cpu[v->phase][v->isa](&call);
    bool intact = buffer_intact(&scratch) && buffer_intact(&o->x) && buffer_intact(&o->y) &&
                  buffer_intact(&o->dx) && buffer_intact(&o->dw) && buffer_intact(&o->dbias);
    buffer_free(&scratch);
    return intact;
}

/* Largest |got - want| in units of what is allowed; NaN counts as 1e30. */
static double worst_of(const rvx_tensor *got, const sums *s, const double *before, double length,
                       bool folded)
{
    double worst = 0;
    for (int64_t i = 0; i < rvx__shape_count(got->shape); i++) {
        double magnitude = s->magnitude[i], want = s->sum[i];
        if (before) {
            magnitude += fabs(before[i]);
            want += before[i];
        }
        double allowed = magnitude * (tolerance(length, 1) + (folded ? 0x1.02p-8 : 0));
        if (got->dtype == RVX_BF16) /* the sum may have been rounded before it was added */
            allowed += 0x1.02p-8 * (fabs(want) + (before ? fabs(s->sum[i]) : 0)) + 1e-38;
        double off = fabs(get(got, i) - want) / (allowed + 1e-30);
        if (!(off <= worst))
            worst = off == off ? off : 1e30;
    }
    return worst;
}

static sums sums_make(int64_t count)
{
    sums s = {calloc((size_t)count, sizeof(double)), calloc((size_t)count, sizeof(double))};
    if (!s.sum || !s.magnitude)
        abort();
    return s;
}

static void bias_check(const variant *v, const operands *o, const char *name)
{
    const rvx_shape out = o->y.tensor.shape;
    sums s = sums_make(out.c);
    for (int64_t i = 0; i < rvx__shape_count(out); i++)
        add(&s, i % out.c, o->y_values[i]);
    double worst = worst_of(&o->dbias.tensor, &s, v->accumulate ? o->before_bias : NULL,
                            (double)rvx__shape_voxels(out), false);
    tap_ok(worst <= 1, "%s bias (%.2f of what is allowed)", name, worst);
    free(s.sum);
    free(s.magnitude);
}

static void variant_check(const test_suite *s, const test_case *c, const variant *v)
{
    static const char *const phases[] = {"forward", "parameters", "data"};
    const bool forward = v->phase == RVX_FORWARD, data = v->phase == RVX_BACKWARD_DATA;
    char name[128];
    rvx_shape out;
    if (case_shapes(&out, s, c) != RVX_OK)
        return;
    snprintf(name, sizeof name, "%s/%s %s isa %d %s -> %s%s%s", s->op->name, c->name,
             phases[v->phase], v->isa, v->bf16_source ? "bf16" : "f32",
             v->bf16_target ? "bf16" : "f32", v->fold ? " fold" : "",
             v->accumulate ? " accumulate" : "");
    operands o = operands_make(s, c, out, v);
    rvx_tensor *got = forward ? &o.y.tensor : data ? &o.dx.tensor : &o.dw.tensor;
    sums want = sums_make(rvx__shape_count(got->shape));
    for (int64_t i = 0; forward && i < rvx__shape_count(out); i++)
        add(&want, i, o.bias_values[i % out.c]);
    products(s, c, out, v->phase, o.x_values, o.w_values, o.y_values, &want);
    double length = s->length(c, &out, !forward, data ? 0 : 1);
    if (!v->bf16_source && !v->bf16_target)
        length = 0; /* four ulp of the magnitudes' sum: a dropped third part would show */
    bool intact = call_run(s, c, v, &o, 2);
    double worst = worst_of(got, &want, v->accumulate ? o.before : NULL, length,
                            v->fold && !data && (v->bf16_source || v->bf16_target));
    tap_ok(worst <= 1 && intact, "%s (%.2f of what is allowed)%s", name, worst,
           intact ? "" : ", wrote beyond its memory");
    if (v->phase == RVX_BACKWARD_PARAMETERS)
        bias_check(v, &o, name);
    for (int threads = 1; threads <= 3; threads += 2) {
        operands again = operands_make(s, c, out, v);
        rvx_tensor *other = forward ? &again.y.tensor : data ? &again.dx.tensor : &again.dw.tensor;
        call_run(s, c, v, &again, threads);
        int64_t bytes = rvx__shape_voxels(got->shape) * got->pitch * rvx__dtype_bytes(got->dtype);
        if (memcmp(got->data, other->data, (size_t)bytes) != 0 ||
            memcmp(o.dbias.tensor.data, again.dbias.tensor.data, (size_t)out.c * 4) != 0)
            tap_ok(0, "%s: the same bits for %d threads", name, threads);
        operands_free(&again);
    }
    free(want.sum);
    free(want.magnitude);
    operands_free(&o);
}

int main(void)
{
    static const variant variants[] = {
        {.phase = RVX_FORWARD, .bf16_source = true, .bf16_target = false},
        {.phase = RVX_FORWARD, .bf16_source = true, .bf16_target = true, .extra_pitch = 3},
        {.phase = RVX_FORWARD, .bf16_source = false, .bf16_target = true, .fold = true},
        {.phase = RVX_FORWARD, .bf16_source = true, .bf16_target = true, .fold = true},
        {.phase = RVX_BACKWARD_DATA, .bf16_source = true, .bf16_target = true},
        {.phase = RVX_BACKWARD_DATA, .bf16_source = true, .bf16_target = false, .extra_pitch = 5},
        {.phase = RVX_BACKWARD_DATA, .bf16_source = true, .bf16_target = true, .accumulate = true},
        {.phase = RVX_BACKWARD_DATA, .bf16_target = true, .accumulate = true, .extra_pitch = 1},
        {.phase = RVX_BACKWARD_PARAMETERS, .bf16_source = true},
        {.phase = RVX_BACKWARD_PARAMETERS,
         .bf16_source = true,
         .accumulate = true,
         .extra_pitch = 3},
        {.phase = RVX_BACKWARD_PARAMETERS, .bf16_source = true, .fold = true},
    };
    /* f32 tensors large enough for three bf16 parts of every number; bf16 numbers only where said.
     * Packed voxels are as long as their channels, or rounded up to 32. */
    static const variant parts[] = {
        {.phase = RVX_FORWARD, .fold = true},
        {.phase = RVX_FORWARD, .extra_pitch = 3},
        {.phase = RVX_BACKWARD_DATA, .accumulate = true},
        {.phase = RVX_BACKWARD_PARAMETERS, .fold = true},
        {.phase = RVX_BACKWARD_PARAMETERS, .accumulate = true, .extra_pitch = 2},
        {.phase = RVX_FORWARD, .bf16_source = true, .bf16_target = true, .extra_pitch = 2},
    };
    static const test_case large[] = {
        {"f32_in_parts", CONV_IN(1, 17, 15, 17, 32, 35), CONV_3(35), .offset = 0},
        {"f32_in_parts_rounded", CONV_IN(1, 17, 15, 17, 30, 27), CONV_3(27), .offset = 0},
    };
    /* dW too large for a copy in each piece: threads share tiles, and channels of dy among them. */
    static const variant shared[] = {
        {.phase = RVX_BACKWARD_PARAMETERS, .accumulate = true},
        {.phase = RVX_BACKWARD_PARAMETERS, .bf16_source = true, .fold = true, .extra_pitch = 3},
    };
    static const test_case wide = {"shared_dw", TRANSPOSE(2, 3, 2, 5, 100, 84, 2, 2, 2),
                                   .offset = 0};
    const test_suite *const both[] = {&conv_suite, &conv_transpose_suite};
    for (int isa = 0; isa <= (int)rvx__isa_detect(); isa++)
        for (int i = 0; i < CASE_COUNT(both); i++)
            for (int j = 0; j < both[i]->case_count; j++)
                for (int k = 0; k < CASE_COUNT(variants); k++) {
                    variant v = variants[k];
                    v.isa = (rvx_isa)isa;
                    variant_check(both[i], &both[i]->cases[j], &v);
                }
    for (int isa = 0; isa <= (int)rvx__isa_detect(); isa++)
        for (int k = 0; k < CASE_COUNT(shared); k++) {
            variant v = shared[k];
            v.isa = (rvx_isa)isa;
            variant_check(&conv_transpose_suite, &wide, &v);
        }
    for (int i = 0; i < CASE_COUNT(large); i++)
        for (int k = 0; k < CASE_COUNT(parts); k++) {
            variant v = parts[k];
            v.isa = rvx__isa_detect();
            variant_check(&conv_suite, &large[i], &v);
        }
    return tap_done();
}
