/* Ops that move values (RVX_OP_PERMUTES) from one tensor to one: every bit of every type arrives
 * where the reference says, forward, by the inverse and in place, also from and to slices of wider
 * tensors. Those with parts are in test_interleave.c. Values are
 * integers of 16 or 32 bits, so that none passes for another. */
#include "tests/kernels/cases.h"

/* A tensor filled with the bits of `index(i)`; dense where extra is 0. */
static buffer filled(rvx_shape shape, rvx_dtype dtype, int64_t extra, const double *index)
{
    buffer b = buffer_make(shape, dtype, extra);
    for (int64_t i = 0; index && i < rvx__shape_count(shape); i++) {
        uint32_t bits = (uint32_t)index[i] * 2654435761u; /* odd: one to one, in 16 bits too */
        memcpy((char *)b.tensor.data + element(&b.tensor, i) * rvx__dtype_bytes(dtype), &bits,
               (size_t)rvx__dtype_bytes(dtype));
    }
    return b;
}

static void phase_run(const test_suite *s, const test_case *c, rvx_phase phase, rvx_isa isa,
                      rvx_tensor x, rvx_tensor y, int threads)
{
    rvx_call call = {.params = &c->params, .in = {x}, .out = {y}, .threads = threads};
    rvx_shape in = x.shape, out = y.shape;
    call.scratch_bytes = device_scratch(s->op, phase, &in, &out, &c->params, threads, isa);
    buffer scratch = buffer_make((rvx_shape){1, 1, 1, 1, call.scratch_bytes}, RVX_U8, 0);
    call.scratch = scratch.tensor.data;
    device_run(device_kernel(s->op, phase, isa), &call, isa);
    tap_ok(buffer_intact(&scratch), "%s/%s stays in its scratch", s->op->name, c->name);
    buffer_free(&scratch);
}

typedef struct expectation {
    rvx_shape shape;
    double *in, *out; /* the index of each element, and where it must go */
} expectation;

static void type_check(const test_suite *s, const test_case *c, const expectation *e,
                       rvx_dtype dtype, rvx_isa isa)
{
    const char *name = s->op->name;
    for (int64_t extra = 0; extra <= 3; extra += 3) {
        buffer x = filled(c->in[0], dtype, extra, e->in);
        buffer y = filled(e->shape, dtype, extra, NULL),
               back = filled(c->in[0], dtype, extra, NULL);
        buffer want = filled(e->shape, dtype, 0, e->out);
        phase_run(s, c, RVX_FORWARD, isa, x.tensor, y.tensor, 2);
        tap_ok(same_bits(&y.tensor, &want.tensor) && buffer_intact(&y) && buffer_intact(&x),
               "%s/%s isa %d type %d pitch +%d: forward", name, c->name, isa, dtype, (int)extra);
        phase_run(s, c, RVX_INVERSE, isa, back.tensor, y.tensor, 2);
        tap_ok(same_bits(&back.tensor, &x.tensor) && buffer_intact(&back),
               "%s/%s isa %d type %d pitch +%d: inverse", name, c->name, isa, dtype, (int)extra);
        buffer_free(&x);
        buffer_free(&y);
        buffer_free(&back);
        buffer_free(&want);
    }
    for (int threads = 1; threads <= 3; threads++) {
        buffer x = filled(c->in[0], dtype, 0, e->in), y = filled(c->in[0], dtype, 0, e->in);
        buffer want = filled(e->shape, dtype, 0, e->out);
        rvx_tensor over = tensor_over(&y.tensor, e->shape);
        phase_run(s, c, RVX_FORWARD, isa, y.tensor, over, threads);
        tap_ok(same_bits(&over, &want.tensor) && buffer_intact(&y),
               "%s/%s isa %d type %d: forward in place, %d threads", name, c->name, isa, dtype,
               threads);
        phase_run(s, c, RVX_INVERSE, isa, y.tensor, over, threads);
        tap_ok(same_bits(&y.tensor, &x.tensor) && buffer_intact(&y),
               "%s/%s isa %d type %d: inverse in place, %d threads", name, c->name, isa, dtype,
               threads);
        buffer_free(&x);
        buffer_free(&y);
        buffer_free(&want);
    }
}

static void case_check(const test_suite *s, const test_case *c)
{
    static const rvx_dtype types[] = {RVX_F32, RVX_BF16, RVX_I16};
    expectation e = {0};
    if (!tap_ok(case_shapes(&e.shape, s, c) == RVX_OK, "%s/%s has shapes", s->op->name, c->name))
        return;
    int64_t count = rvx__shape_count(e.shape);
    e.in = malloc((size_t)count * sizeof *e.in);
    e.out = malloc((size_t)count * sizeof *e.out);
    if (!e.in || !e.out)
        abort();
    for (int64_t i = 0; i < count; i++)
        e.in[i] = (double)i;
    s->reference(c, &e.shape, &e.out, &e.in);
    for (int isa = device_isa_first(); isa <= device_isa_last(); isa++)
        for (int i = 0; i < CASE_COUNT(types); i++)
            type_check(s, c, &e, types[i], (rvx_isa)isa);
    free(e.in);
    free(e.out);
}

int main(void)
{
    for (int i = 0; i < CASE_COUNT(suites); i++)
        for (int j = 0; j < suites[i]->case_count; j++)
            if ((suites[i]->op->flags & (RVX_OP_PERMUTES | RVX_OP_PARTS)) == RVX_OP_PERMUTES)
                case_check(suites[i], &suites[i]->cases[j]);
    return tap_done();
}
