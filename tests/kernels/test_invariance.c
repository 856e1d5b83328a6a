/* What must not change a result: the thread count (same bits), channel slices of wider tensors,
 * adding to a gradient, working in place, leaving out what nobody wants, and applying
 * normalisation while loading (fold). Also inverses, and instruction sets against one another. */
#include "tests/kernels/cases.h"

static rvx_isa best_isa;

static void name_ok(int passed, const run *r, const char *what, double worst)
{
    tap_ok(passed, "%s/%s isa %d: %s (%.2f)", r->suite->op->name, r->c->name, r->options.isa, what,
           worst);
}

/* Largest difference between the results of two runs, in tolerances of the first. */
static double run_misfit(const run *a, const run *b)
{
    double worst = 0;
    for (int i = 0; i < a->suite->op->out_count; i++) {
        if (!a->out[i].base || !b->out[i].base)
            continue;
        double *want = doubles_of(&a->out[i].tensor);
        worst = fmax(worst, misfit(&b->out[i].tensor, want, a->suite->scale_out[i],
                                   run_tolerance(a, false, i)));
        free(want);
    }
    for (int i = 0; i < RVX_IN_MAX; i++) {
        if (!a->grad_in[i].base || !b->grad_in[i].base)
            continue;
        double *want = doubles_of(&a->grad_in[i].tensor);
        worst = fmax(worst,
                     misfit(&b->grad_in[i].tensor, want, SCALE_TENSOR, run_tolerance(a, true, i)));
        free(want);
    }
    return worst;
}

static run variant(const run *plain, run_options options)
{
    run r;
    run_make(&r, plain->suite, plain->c, options);
    run_all(&r);
    return r;
}

static void threads_check(const run *plain)
{
    for (int threads = 1; threads <= 3; threads += 2) {
        run_options options = plain->options;
        options.threads = threads;
        run r = variant(plain, options);
        name_ok(run_same_bits(plain, &r) && r.intact, &r, "same bits for 1, 2 and 3 threads", 0);
        run_free(&r);
    }
}

static void pitch_check(const run *plain)
{
    static const int64_t extra[] = {3, 16};
    for (int i = 0; i < CASE_COUNT(extra); i++) {
        run_options options = plain->options;
        options.extra_pitch = extra[i];
        run r = variant(plain, options);
        const double worst = run_misfit(plain, &r);
        bool same = worst <= 1;
        if (plain->options.isa == RVX_ISA_CUDA) /* which promises more */
            same = run_same_bits(plain, &r);
        name_ok(same && r.intact, &r, "channel slices of wider tensors", worst);
        run_free(&r);
    }
}

/* grad_in[i] before + gradient, each input by itself and all together */
static void accumulate_check(const run *plain)
{
    run_options options = plain->options;
    options.accumulate = (1u << RVX_IN_MAX) - 1;
    run r = variant(plain, options), before;
    run_make(&before, plain->suite, plain->c, options);
    double worst = 0;
    for (int i = 0; i < RVX_IN_MAX; i++) {
        if (!plain->grad_in[i].base)
            continue;
        double *want = doubles_of(&plain->grad_in[i].tensor);
        for (int64_t j = 0; j < rvx__shape_count(plain->c->in[i]); j++)
            want[j] += value_of(&before.grad_in[i].tensor, j);
        worst = fmax(
            worst, misfit(&r.grad_in[i].tensor, want, SCALE_TENSOR, run_tolerance(plain, true, i)));
        free(want);
    }
    name_ok(worst <= 1 && r.intact, &r, "adds to gradients", worst);
    run_free(&before);
    run_free(&r);
}

/* Every gradient alone has the bits it has among the others. */
static void unwanted_check(const run *plain)
{
    bool same = true;
    for (int i = 0; i < RVX_IN_MAX; i++) {
        if (!plain->grad_in[i].base)
            continue;
        run_options options = plain->options;
        options.no_grad_in = ~(1u << i);
        run r = variant(plain, options);
        same = same && same_bits(&plain->grad_in[i].tensor, &r.grad_in[i].tensor) && r.intact;
        run_free(&r);
    }
    name_ok(same, plain, "each gradient alone", 0);
}

static void in_place_check(const run *plain)
{
    const rvx_op *op = plain->suite->op;
    if (op->flags & RVX_OP_FORWARD_IN_PLACE) {
        run r;
        run_options options = plain->options;
        options.forward_in_place = true;
        run_make(&r, plain->suite, plain->c, options);
        run_phase(&r, RVX_FORWARD);
        name_ok(same_bits(&plain->out[0].tensor, &r.in[0].tensor) && r.intact, &r,
                "forward in place", 0);
        run_free(&r);
    }
    if (op->flags & RVX_OP_BACKWARD_IN_PLACE) {
        run_options options = plain->options;
        options.backward_in_place = true;
        run r = variant(plain, options);
        bool same = same_bits(&plain->grad_in[0].tensor, &r.grad_out[0].tensor);
        for (int i = 1; i < RVX_IN_MAX; i++)
            same = same && same_bits(&plain->grad_in[i].tensor, &r.grad_in[i].tensor);
        name_ok(same && r.intact, &r, "backward in place", 0);
        run_free(&r);
    }
}

/* Forward, wipe in[index], inverse. */
static void inverse_of(const run *plain, int index)
{
    run r;
    run_make(&r, plain->suite, plain->c, plain->options);
    run_phase(&r, RVX_FORWARD);
    const rvx_tensor *x = &r.in[index].tensor;
    double *want = doubles_of(x);
    for (int64_t i = 0; i < rvx__shape_count(x->shape); i++)
        rvx__f32(x)[element(x, i)] = NAN;
    r.rebuild = index;
    run_phase(&r, RVX_INVERSE);
    double worst = misfit(x, want, SCALE_TENSOR, run_tolerance(&r, false, 0));
    name_ok(worst <= 1 && r.intact, &r, "inverse", worst);
    free(want);
    run_free(&r);
}

/* Views give back in[0]; the others what their row says, where the case has it. */
static void inverse_check(const run *plain)
{
    const rvx_op *op = plain->suite->op;
    uint32_t inputs = op->flags & RVX_OP_VIEW ? 1u : op->inverse_inputs;
    for (int i = 0; i < RVX_IN_MAX && device_kernel(op, RVX_INVERSE, plain->options.isa); i++)
        if (inputs >> i & 1 && plain->in[i].tensor.data)
            inverse_of(plain, i);
}

/* in[0] becomes fold(in[0]). */
static void fold_apply(buffer *x, const buffer *fold)
{
    rvx_shape s = x->tensor.shape;
    for (int64_t i = 0; i < rvx__shape_count(s); i++) {
        int64_t n = i / (s.d * s.h * s.w * s.c), c = i % s.c;
        float *value = &rvx__f32(&x->tensor)[element(&x->tensor, i)];
        double t = (double)*value * value_of(&fold->tensor, (n * 3 + 0) * s.c + c) +
                   value_of(&fold->tensor, (n * 3 + 1) * s.c + c);
        double slope = value_of(&fold->tensor, (n * 3 + 2) * s.c + c);
        *value = (float)(t >= 0 ? t : slope * t);
    }
}

/* Folding on load equals folding first. */
static void fold_check(const run *plain)
{
    if (!(plain->suite->op->flags & RVX_OP_FOLDS))
        return;
    for (int64_t extra = 0; extra <= 16; extra += 16) {
        run_options options = plain->options;
        options.fold = true;
        options.extra_pitch = extra;
        run r = variant(plain, options), first;
        options.fold = false;
        run_make(&first, plain->suite, plain->c, options);
        fold_apply(&first.in[0], &r.fold);
        run_all(&first);
        double worst = run_misfit(&first, &r);
        name_ok(worst <= 1 && r.intact, &r, "fold while loading", worst);
        run_free(&first);
        run_free(&r);
    }
}

/* out[0] = fold(in[0]) by the table in out[2], and the tables do not need out[0]. */
static void foldable_check(const run *plain)
{
    if (!(plain->suite->op->flags & RVX_OP_FOLDABLE))
        return;
    run_options options = plain->options;
    options.no_out0 = true;
    run r = variant(plain, options);
    bool same = same_bits(&plain->out[1].tensor, &r.out[1].tensor) &&
                same_bits(&plain->out[2].tensor, &r.out[2].tensor) &&
                same_bits(&plain->grad_in[0].tensor, &r.grad_in[0].tensor);
    name_ok(same && r.intact, &r, "tables without the output", 0);
    fold_apply(&r.in[0], &r.out[2]);
    double *want = doubles_of(&r.in[0].tensor);
    double worst =
        misfit(&plain->out[0].tensor, want, SCALE_TENSOR, run_tolerance(plain, false, 0));
    name_ok(worst <= 1, &r, "output is the fold of the input", worst);
    free(want);
    run_free(&r);
}

static void case_check(const test_suite *s, const test_case *c)
{
    run best, r;
    run_options options = {.isa = best_isa, .threads = 2};
    if (!tap_ok(run_make(&best, s, c, options), "%s/%s has shapes", s->op->name, c->name))
        return;
    run_all(&best);
    for (int isa = device_isa_first(); isa <= (int)best_isa; isa++) {
        options.isa = (rvx_isa)isa;
        run_make(&r, s, c, options);
        run_all(&r);
        double worst = run_misfit(&best, &r);
        name_ok(worst <= 1 && r.intact, &r, "agrees with the best instruction set", worst);
        if (isa != RVX_ISA_CUDA)
            threads_check(&r);
        pitch_check(&r);
        accumulate_check(&r);
        unwanted_check(&r);
        in_place_check(&r);
        inverse_check(&r);
        fold_check(&r);
        foldable_check(&r);
        run_free(&r);
    }
    run_free(&best);
}

/* With an argument: that op only. */
int main(int argc, char **argv)
{
    device_isa_first(); /* before memory is asked for */
    best_isa = (rvx_isa)device_isa_last();
    for (int i = 0; i < CASE_COUNT(suites); i++)
        for (int j = 0; j < suites[i]->case_count; j++)
            if ((best_isa != RVX_ISA_CUDA || suites[i]->op->cuda) &&
                (argc < 2 || strcmp(argv[1], suites[i]->op->name) == 0))
                case_check(suites[i], &suites[i]->cases[j]);
    return tap_done();
}
