/* Transforms of streams by lifting (ops with RVX_OP_I16 that mix the voxels of a block): the
 * inverse gives back every bit, whatever the integers, in place too and on any number of threads;
 * what did not fit is counted; and where everything fits the integers are those of the real
 * transform, but for rounding, so that orthonormal transforms preserve the norm. */
#include "tests/kernels/cases.h"

enum { GRID_LOG2 = 11 };

static bool lifts(const test_suite *s)
{
    return s->op->flags & RVX_OP_I16 && s->op->inverse_inputs == 1 &&
           !(s->op->flags & RVX_OP_PERMUTES);
}

/* Integers in +-range. */
static buffer stream_make(rvx_shape shape, int64_t extra, int range, uint64_t seed)
{
    buffer b = buffer_make(shape, RVX_I16, extra);
    b.tensor.grid_log2 = GRID_LOG2;
    for (int64_t i = 0; range && i < rvx__shape_count(shape); i++) {
        uint32_t word = rvx__philox(seed, 0, (uint64_t)i).word[0];
        ((int16_t *)b.tensor.data)[element(&b.tensor, i)] =
            (int16_t)((int)(word % (uint32_t)(2 * range + 1)) - range);
    }
    return b;
}

/* Counters of overflow where a GPU sees them too. */
static int64_t *counters_make(int count)
{
    int64_t *counters = device_allocate(64);
    if (!counters || count > 8)
        abort();
    memset(counters, 0, 64);
    return counters;
}

typedef struct setup {
    const test_suite *s;
    const test_case *c;
    rvx_shape shape;
    buffer parameter; /* in[1] */
    rvx_isa isa;
    int threads;
} setup;

static void phase_run(const setup *u, rvx_phase phase, rvx_tensor x, rvx_tensor y)
{
    const rvx_op *op = u->s->op;
    rvx_call call = {
        .params = &u->c->params, .in = {x, u->parameter.tensor}, .out = {y}, .threads = u->threads};
    rvx_shape in[2] = {x.shape, u->parameter.tensor.shape};
    call.scratch_bytes = device_scratch(op, phase, in, &y.shape, &u->c->params, u->threads, u->isa);
    buffer scratch = buffer_make((rvx_shape){1, 1, 1, 1, call.scratch_bytes}, RVX_U8, 0);
    call.scratch = scratch.tensor.data;
    device_run(device_kernel(op, phase, u->isa), &call, u->isa);
    if (!buffer_intact(&scratch))
        tap_ok(0, "%s/%s stays in its scratch", op->name, u->c->name);
    buffer_free(&scratch);
}

static void trip_check(setup *u, int range, int64_t extra)
{
    const char *name = u->s->op->name;
    uint64_t seed = case_seed(u->s, u->c);
    int64_t *lost = counters_make(2), *lost_in_place = lost + 1;
    buffer x = stream_make(u->c->in[0], extra, range, seed),
           over = stream_make(u->c->in[0], 0, range, seed);
    buffer y = stream_make(u->shape, extra, 0, 0), back = stream_make(u->c->in[0], extra, 0, 0);
    y.tensor.overflow = lost;
    phase_run(u, RVX_FORWARD, x.tensor, y.tensor);
    int64_t counted = *lost;
    phase_run(u, RVX_INVERSE, back.tensor, y.tensor);
    tap_ok(same_bits(&x.tensor, &back.tensor) && buffer_intact(&x) && buffer_intact(&y) &&
               buffer_intact(&back) && *lost == counted,
           "%s/%s isa %d, +-%d, pitch +%d, %d threads: inverse(forward(x)) == x", name, u->c->name,
           u->isa, range, (int)extra, u->threads);
    rvx_tensor squeezed = tensor_over(&over.tensor, u->shape);
    squeezed.overflow = lost_in_place;
    phase_run(u, RVX_FORWARD, over.tensor, squeezed);
    bool same = same_bits(&squeezed, &y.tensor) && *lost_in_place == counted;
    phase_run(u, RVX_INVERSE, over.tensor, squeezed);
    tap_ok(same && same_bits(&over.tensor, &x.tensor) && buffer_intact(&over),
           "%s/%s isa %d, +-%d, %d threads: the same in place", name, u->c->name, u->isa, range,
           u->threads);
    tap_ok(range > 30000 || counted == 0, "%s/%s isa %d, +-%d: %lld did not fit", name, u->c->name,
           u->isa, range, (long long)counted);
    buffer_free(&x);
    buffer_free(&y);
    buffer_free(&back);
    buffer_free(&over);
    device_free(lost);
}

/* Against the real transform: the rounding errors of `steps` liftings of s numbers are uniform in
 * +-1/2 and stay what they are under rotations, so an output is off by sqrt(steps / 12 s) (root
 * mean square); twice that is allowed, since means and coefficients are rounded too. */
static void rounding_check(setup *u, int range)
{
    const int32_t *stride = u->c->params.stride;
    buffer x = stream_make(u->c->in[0], 0, range, case_seed(u->s, u->c));
    buffer y = stream_make(u->shape, 0, 0, 0);
    phase_run(u, RVX_FORWARD, x.tensor, y.tensor);
    int64_t count = rvx__shape_count(u->shape);
    double *in[RVX_IN_MAX] = {malloc((size_t)count * sizeof(double)),
                              doubles_of(&u->parameter.tensor)};
    double *out[RVX_OUT_MAX] = {malloc((size_t)count * sizeof(double))};
    if (!in[0] || !out[0])
        abort();
    for (int64_t i = 0; i < count; i++)
        in[0][i] = (double)((int16_t *)x.tensor.data)[i];
    u->s->reference(u->c, &u->shape, out, in);
    double off = 0, norm = 0, real = 0, s = stride[0] * stride[1] * stride[2];
    for (int64_t i = 0; i < count; i++) {
        double got = (double)((int16_t *)y.tensor.data)[i];
        off += (got - out[0][i]) * (got - out[0][i]) / (double)count;
        norm += got * got / (double)count;
        real += out[0][i] * out[0][i] / (double)count;
    }
    double steps = 3 * s * (s - 1) / 2, allowed = 2 * sqrt(steps / (12 * s));
    tap_ok(sqrt(off) <= allowed, "%s/%s isa %d is off the real transform by %.2f units (%.2f)",
           u->s->op->name, u->c->name, u->isa, sqrt(off), allowed);
    tap_ok(fabs(sqrt(norm) - sqrt(real)) <= allowed, "%s/%s isa %d has its norm, %.3f",
           u->s->op->name, u->c->name, u->isa, sqrt(norm));
    for (int i = 0; i < 2; i++)
        free(in[i]);
    free(out[0]);
    buffer_free(&x);
    buffer_free(&y);
}

/* The largest integers must overflow in a transform that grows; the count says so. */
static void overflow_check(setup *u)
{
    int64_t *lost = counters_make(1);
    buffer x = stream_make(u->c->in[0], 0, 0, 0), y = stream_make(u->shape, 0, 0, 0);
    for (int64_t i = 0; i < rvx__shape_count(u->c->in[0]); i++)
        ((int16_t *)x.tensor.data)[i] = i / u->c->in[0].c % 2 ? 32767 : -32768;
    y.tensor.overflow = lost;
    phase_run(u, RVX_FORWARD, x.tensor, y.tensor);
    bool grows = u->c->params.stride[2] > 1 && u->shape.c > u->c->in[0].c;
    tap_ok(*lost > 0 || !grows, "%s/%s isa %d counts %lld that do not fit", u->s->op->name,
           u->c->name, u->isa, (long long)*lost);
    buffer_free(&x);
    buffer_free(&y);
    device_free(lost);
}

static void case_check(const test_suite *s, const test_case *c)
{
    setup u = {.s = s, .c = c};
    if (!tap_ok(case_shapes(&u.shape, s, c) == RVX_OK, "%s/%s has shapes", s->op->name, c->name))
        return;
    u.parameter = buffer_make(c->in[1], RVX_F32, 0);
    buffer_random(&u.parameter, case_seed(s, c), 1, c);
    for (int isa = device_isa_first(); isa <= device_isa_last(); isa++) {
        u.isa = (rvx_isa)isa;
        for (u.threads = 1; u.threads <= 3; u.threads++) {
            trip_check(&u, 4000, u.threads == 2 ? 3 : 0);
            trip_check(&u, 32767, u.threads == 3 ? 16 : 0);
        }
        u.threads = 2;
        rounding_check(&u, 4000);
        overflow_check(&u);
    }
    buffer_free(&u.parameter);
}

/* With an argument: that op only. */
int main(int argc, char **argv)
{
    device_isa_first();
    for (int i = 0; i < CASE_COUNT(suites); i++)
        for (int j = 0; j < suites[i]->case_count && lifts(suites[i]); j++)
            if (argc < 2 || strcmp(argv[1], suites[i]->op->name) == 0)
                case_check(suites[i], &suites[i]->cases[j]);
    return tap_done();
}
