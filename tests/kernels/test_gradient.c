/* Every op against its plainest reference, in double: all outputs, on every instruction set, and
 * derivatives. With phi(x) = <f(x), w> the kernels' J^T w must meet
 *     <J^T w, v> = (phi(x + h v) - phi(x - h v)) / 2 h
 * for dense directions v and single elements, f in double (for the linear ops this is the adjoint
 * identity <J v, w> = <v, J^T w>). Also: a row of ops.def without cases fails here. */
#include "tests/kernels/cases.h"

enum { SINGLES = 6, DENSE = 2 };

typedef struct doubles {
    double *in[RVX_IN_MAX], *out[RVX_OUT_MAX];
} doubles;

static doubles doubles_make(const run *r)
{
    doubles d = {{NULL}, {NULL}};
    for (int i = 0; i < RVX_IN_MAX; i++)
        d.in[i] = doubles_of(&r->in[i].tensor);
    for (int i = 0; i < r->suite->op->out_count; i++) {
        d.out[i] = calloc((size_t)rvx__shape_count(r->out_shape[i]), sizeof(double));
        if (!d.out[i])
            abort();
    }
    return d;
}

static void doubles_free(doubles *d)
{
    for (int i = 0; i < RVX_IN_MAX; i++)
        free(d->in[i]);
    for (int i = 0; i < RVX_OUT_MAX; i++)
        free(d->out[i]);
}

/* phi: the outputs against the gradients that flow into them. */
static double phi(const run *r, doubles *d)
{
    double sum = 0;
    r->suite->reference(r->c, r->out_shape, d->out, d->in);
    for (int i = 0; i < r->suite->op->out_count; i++)
        if (r->suite->differentiable >> i & 1)
            for (int64_t j = 0; j < rvx__shape_count(r->out_shape[i]); j++)
                sum += d->out[i][j] * value_of(&r->grad_out[i].tensor, j);
    return sum;
}

/* The derivative of phi along v for input `index` by central differences. */
static double difference(const run *r, doubles *d, int index, const double *v)
{
    const double h = 1e-6;
    int64_t count = rvx__shape_count(r->c->in[index]);
    double value[2], *base = doubles_of(&r->in[index].tensor);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count; i++)
            d->in[index][i] = base[i] + (side ? h : -h) * v[i];
        value[side] = phi(r, d);
    }
    memcpy(d->in[index], base, (size_t)count * sizeof *base);
    free(base);
    return (value[1] - value[0]) / (2 * h);
}

static void direction_make(double *v, int64_t count, uint64_t seed, int which)
{
    for (int64_t i = 0; i < count; i++)
        v[i] = which < DENSE ? (double)number(seed, STREAM_DIRECTION + (uint64_t)which, i) : 0;
    if (which >= DENSE)
        v[rvx__philox(seed, STREAM_DIRECTION, (uint64_t)which).word[1] % count] = 1;
}

/* Largest disagreement over the directions, in tolerances. */
static double derivative_misfit(const run *r, doubles *d, int index)
{
    const rvx_tensor *gradient = &r->grad_in[index].tensor;
    int64_t count = rvx__shape_count(gradient->shape);
    uint64_t seed = case_seed(r->suite, r->c) + (uint64_t)index;
    double worst = 0, largest = 0, *v = malloc((size_t)count * sizeof *v);
    if (!v)
        abort();
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(value_of(gradient, i)));
    /* phi itself is known to half a unit in the last place of a double */
    double noise = 0x1p-52 * fabs(phi(r, d)) / 1e-6;
    for (int which = 0; which < DENSE + SINGLES; which++) {
        double product = 0, size = 0;
        direction_make(v, count, seed, which);
        for (int64_t i = 0; i < count; i++) {
            product += value_of(gradient, i) * v[i];
            size += fabs(v[i]);
        }
        double allowed = run_tolerance(r, true, index) * largest * size + 4 * noise;
        double off = fabs(product - difference(r, d, index, v));
        bool fits = off <= allowed; /* false for NaN */
        if (!fits)
            printf("# grad_in[%d] direction %d: %.9g, off by %.3g, allowed %.3g\n", index, which,
                   product, off, allowed);
        worst = fmax(worst, fits ? (allowed > 0 ? off / allowed : 0) : fmax(off / allowed, 2));
    }
    free(v);
    return worst;
}

static void forward_check(const run *r, const doubles *d)
{
    for (int i = 0; i < r->suite->op->out_count; i++) {
        double worst = misfit(&r->out[i].tensor, d->out[i], r->suite->scale_out[i],
                              run_tolerance(r, false, i));
        tap_ok(worst <= 1, "%s/%s out[%d] equals the reference (isa %d, %.2f tolerances)",
               r->suite->op->name, r->c->name, i, r->options.isa, worst);
    }
}

static void case_check(const test_suite *s, const test_case *c)
{
    rvx_isa best = rvx__isa_detect();
    for (int isa = RVX_ISA_BASE; isa <= (int)best; isa++) {
        run r;
        if (!run_make(&r, s, c, (run_options){.isa = (rvx_isa)isa, .threads = 2})) {
            tap_ok(0, "%s/%s has shapes", s->op->name, c->name);
            return;
        }
        run_all(&r);
        doubles d = doubles_make(&r);
        phi(&r, &d);
        forward_check(&r, &d);
        for (int i = 0; i < RVX_IN_MAX && isa == (int)best && !c->golden_only; i++) {
            if (!r.grad_in[i].tensor.data)
                continue;
            double worst = derivative_misfit(&r, &d, i);
            tap_ok(worst <= 1, "%s/%s grad_in[%d] is the derivative (%.2f tolerances)", s->op->name,
                   c->name, i, worst);
        }
        tap_ok(r.intact, "%s/%s stays in its memory (isa %d)", s->op->name, c->name, isa);
        doubles_free(&d);
        run_free(&r);
    }
}

/* With an argument: that op only. */
int main(int argc, char **argv)
{
    for (int i = 0; rvx__ops[i]; i++) {
        if (argc > 1 && strcmp(argv[1], rvx__ops[i]->name) != 0)
            continue;
        const test_suite *s = suite_of(rvx__ops[i]);
        tap_ok(s && s->case_count > 0, "%s has cases", rvx__ops[i]->name);
        for (int j = 0; s && j < s->case_count; j++)
            case_check(s, &s->cases[j]);
    }
    return tap_done();
}
