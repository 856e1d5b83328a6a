/* Every kernel of the CUDA backend on every case of its op, beside the CPU's plainest kernel: f32
 * to the tolerance of the case, bf16 to one rounding more; slices, folds, added gradients, in
 * place; the same bits twice; PyTorch's values. On a GPU or in the emulation: see
 * tests/kernels/device.h. */
#include "kernels/norm_conv.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/golden.h"

#include <time.h>

/* Too much work for the emulation: these run on a GPU alone. */
static const struct {
    const char *op, *name;
} on_gpu_only[] = {{NULL, NULL}};

/* Largest difference over the largest number of its group, in tolerances. */
static double distance(const run *got, const run *want, const rvx_tensor *a, const rvx_tensor *b,
                       bool gradient, int index)
{
    double allowed = 2 * run_tolerance(want, gradient, index);
    if (a->dtype == RVX_BF16 || b->dtype == RVX_BF16 || got->options.bf16_in)
        /* A number between two of bf16 may go either way, and these lie up to 2^-7 apart; products
         * may be of rounded numbers. */
        allowed += 0x1p-7;
    double *values = doubles_of(b);
    double worst =
        misfit(a, values, gradient ? SCALE_TENSOR : got->suite->scale_out[index], allowed);
    free(values);
    return worst;
}

static double farthest(const run *got, const run *want)
{
    double worst = 0;
    for (int i = 0; i < got->suite->op->out_count; i++)
        if (got->out[i].base)
            worst = fmax(worst,
                         distance(got, want, &got->out[i].tensor, &want->out[i].tensor, false, i));
    if (got->options.backward_in_place) {
        const rvx_tensor a = tensor_over(&got->grad_out[0].tensor, got->c->in[0]);
        const rvx_tensor b = tensor_over(&want->grad_out[0].tensor, got->c->in[0]);
        worst = fmax(worst, distance(got, want, &a, &b, true, 0));
    }
    for (int i = got->options.backward_in_place; i < RVX_IN_MAX; i++)
        if (got->grad_in[i].base)
            worst = fmax(worst, distance(got, want, &got->grad_in[i].tensor,
                                         &want->grad_in[i].tensor, true, i));
    return worst;
}

/* `golden`: PyTorch's values, or NULL. */
static void check(const test_suite *s, const test_case *c, run_options options, const char *what,
                  FILE *golden)
{
    run got, again, want;
    options.isa = RVX_ISA_CUDA;
    run_make(&got, s, c, options);
    run_all(&got);
    run_make(&again, s, c, options);
    run_all(&again);
    options.isa = RVX_ISA_BASE;
    run_make(&want, s, c, options);
    run_all(&want);
    double worst = farthest(&got, &want);
    tap_ok(worst <= 1, "%s/%s, %s: equals the CPU (%.2f tolerances)", s->op->name, c->name, what,
           worst);
    tap_ok(got.intact, "%s/%s, %s: nothing else is written", s->op->name, c->name, what);
    tap_ok(run_same_bits(&got, &again), "%s/%s, %s: the same bits twice", s->op->name, c->name,
           what);
    if (golden)
        golden_check(&got, golden);
    run_free(&got);
    run_free(&again);
    run_free(&want);
}

static void case_check(const test_suite *s, const test_case *c, FILE *golden)
{
    const uint32_t all = (1u << RVX_IN_MAX) - 1;
    check(s, c, (run_options){.threads = 1}, "f32", golden);
    check(s, c, (run_options){.threads = 1, .extra_pitch = 3, .accumulate = all}, "slices, added",
          NULL);
    if (s->op->flags & RVX_OP_FOLDS)
        check(s, c, (run_options){.threads = 1, .fold = true}, "fold", NULL);
    if (s->op->flags & RVX_OP_BACKWARD_IN_PLACE)
        check(s, c, (run_options){.threads = 1, .backward_in_place = true}, "in place", NULL);
    if (!(s->op->flags & RVX_OP_BF16))
        return;
    const run_options bf16 = {.threads = 1, .bf16_in = s->pitched_in, .bf16_out = s->pitched_out};
    run_options options = bf16;
    check(s, c, options, "bf16", NULL);
    options.extra_pitch = 8;
    options.accumulate = all;
    options.fold = (s->op->flags & RVX_OP_FOLDS) != 0;
    check(s, c, options, "bf16 slices, added", NULL);
    options = bf16;
    options.bf16_out = 0;
    check(s, c, options, "bf16 to f32", NULL);
}

/* The same case in many slabs and in one: bf16 results may lie at two neighbours where sums over
 * voxels were cut otherwise. */
static void slabs_against_one(const test_case *c, const test_case *one, run_options options)
{
    run got, want;
    options.isa = RVX_ISA_CUDA;
    run_make(&got, &norm_conv_suite, c, options);
    run_all(&got);
    run_make(&want, &norm_conv_suite, one, options);
    run_all(&want);
    double worst = farthest(&got, &want);
    tap_ok(worst <= 1 && got.intact, "%s, %s: equals one slab (%.2f tolerances)", c->name,
           options.bf16_in ? "bf16" : "f32", worst);
    run_free(&got);
    run_free(&want);
}

/* norm_conv's backward in slabs as small as can be, so that a sample is walked in several, some
 * away from its ends: the CPU's values, and the scratch of one slab. */
static void slabs_check(void)
{
    static const test_case cases[] = {
        {"four_slabs", NORM_CONV_IN(2, 14, 5, 6, 8, 16), NORM_CONV(16, 0), .offset = 0.5f},
        {"odd_last_slab", NORM_CONV_IN(1, 9, 4, 7, 6, 5), NORM_CONV(5, 2), .offset = 0},
        {"in_plane",
         {{1, 13, 6, 7, 5}, {1, 3, 3, 5, 7}, {0}, {1, 13, 6, 7, 7}},
         {.kernel = {1, 3, 3},
          .stride = {1, 1, 1},
          .pad = {0, 1, 1},
          .channels_out = 7,
          .epsilon = 1e-5f,
          .slope = 0.2f},
         .offset = 0}};
    const uint32_t all = (1u << RVX_IN_MAX) - 1;
    for (int i = 0; i < CASE_COUNT(cases); i++) {
        test_case c = cases[i];
        rvx_shape out[RVX_OUT_MAX];
        c.params.slab_bytes = 1;
        case_shapes(out, &norm_conv_suite, &c);
        int64_t slices = rvx__slab_slices(c.in[0], rvx__slab_bytes_cuda(&c.params));
        int64_t scratch = rvx__op_norm_conv.cuda_scratch(RVX_BACKWARD_DATA, c.in, out, &c.params);
        int64_t whole =
            rvx__op_norm_conv.cuda_scratch(RVX_BACKWARD_DATA, c.in, out, &cases[i].params);
        tap_ok(c.in[0].d > 2 * slices && scratch < whole,
               "%s: %d slices in slabs of %d take %lld bytes, at once %lld", c.name, (int)c.in[0].d,
               (int)slices, (long long)scratch, (long long)whole);
        check(&norm_conv_suite, &c, (run_options){.threads = 1}, "f32", NULL);
        check(&norm_conv_suite, &c,
              (run_options){.threads = 1, .extra_pitch = 3, .accumulate = all}, "slices, added",
              NULL);
        slabs_against_one(&c, &cases[i], (run_options){.threads = 1});
        slabs_against_one(&c, &cases[i],
                          (run_options){.threads = 1,
                                        .bf16_in = norm_conv_suite.pitched_in,
                                        .bf16_out = norm_conv_suite.pitched_out,
                                        .extra_pitch = 8,
                                        .accumulate = all});
    }
}

/* The plug-in has exactly the kernels that the rows promise. */
static void rows_check(void)
{
    for (int i = 0; rvx__ops[i]; i++)
        for (int phase = 0; phase < RVX_PHASE_COUNT; phase++) {
            bool promised = rvx__ops[i]->cuda & RVX_CUDA_HAS(phase);
            bool there = device_interface->kernel(rvx__ops[i]->name, (rvx_phase)phase) != NULL;
            tap_ok(promised == there, "%s, phase %d: the row %s a kernel", rvx__ops[i]->name, phase,
                   promised ? "promises" : "does not promise");
        }
}

/* `most_work`: no case with more FLOPs or bytes in its forward phase. */
static bool case_wanted(const test_suite *s, const test_case *c, double most_work)
{
    rvx_shape out[RVX_OUT_MAX];
    if (case_shapes(out, s, c) == RVX_OK) {
        rvx_cost cost = s->op->cost(RVX_FORWARD, c->in, out, &c->params);
        if (cost.flops > most_work || cost.bytes > most_work)
            return false;
    }
    for (int i = 0; on_gpu_only[i].op && device_interface->emulated; i++)
        if (strcmp(on_gpu_only[i].op, s->op->name) == 0 &&
            strcmp(on_gpu_only[i].name, c->name) == 0)
            return false;
    return true;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void suite_check(const test_suite *s, double most_work)
{
    double before = seconds();
    int skipped = 0;
    FILE *golden = golden_open(s->op->name);
    tap_ok(golden != NULL, "%s has golden values", s->op->name);
    for (int i = 0; i < s->case_count; i++) {
        if (case_wanted(s, &s->cases[i], most_work)) {
            case_check(s, &s->cases[i], golden);
        } else {
            printf("# left out: %s/%s\n", s->op->name, s->cases[i].name);
            tap_skip("too much work");
            skipped++;
        }
    }
    if (golden)
        fclose(golden);
    printf("# %s: %.1f s of processor time, %d of %d cases\n", s->op->name, seconds() - before,
           s->case_count - skipped, s->case_count);
}

/* usage: test_ops [OP|all|slabs [MOST_WORK]] */
int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "all";
    double most_work = argc > 2 ? strtod(argv[2], NULL) : INFINITY;
    if (!tap_ok(device_use(), "the CUDA backend is there"))
        return tap_done();
    rows_check();
    for (int i = 0; i < CASE_COUNT(suites); i++)
        if (suites[i]->op->cuda &&
            (strcmp(only, "all") == 0 || strcmp(only, suites[i]->op->name) == 0))
            suite_check(suites[i], most_work);
    if (strcmp(only, "all") == 0 || strcmp(only, "slabs") == 0)
        slabs_check();
    return tap_done();
}
