/* bf16 storage: every op that takes bf16 tensors gives what its f32 kernel gives on the same
 * (rounded) numbers, rounded once; equal bits, because all arithmetic is f32 in the same order.
 * Inputs and outputs bf16 together and apart, with slices, folds, added gradients and in place;
 * and the conversion itself, on every instruction set's worst bits. Convolutions, whose products
 * may be bf16 too, are checked elsewhere. */
#include "tests/kernels/cases.h"

/* got = want, rounded where got is bf16. */
static bool same_rounded(const rvx_tensor *got, const rvx_tensor *want)
{
    if (!got->data || !want->data)
        return !got->data && !want->data;
    if (got->dtype == RVX_U8)
        return same_bits(got, want);
    for (int64_t i = 0; i < rvx__shape_count(got->shape); i++) {
        float value = rvx__f32(want)[element(want, i)];
        if (got->dtype == RVX_BF16) {
            if (((const uint16_t *)got->data)[element(got, i)] != rvx__bf16_of(value))
                return false;
        } else if (memcmp(rvx__f32(got) + element(got, i), &value, sizeof value) != 0) {
            return false;
        }
    }
    return true;
}

/* After an operation in place, the result stands in what was its operand. */
static bool run_rounded(const run *got, const run *want)
{
    bool same = got->intact;
    for (int i = 0; i < got->suite->op->out_count; i++)
        if (!(i == 0 && got->options.forward_in_place))
            same = same && same_rounded(&got->out[i].tensor, &want->out[i].tensor);
    for (int i = 0; i < RVX_IN_MAX; i++)
        if (!(i == 0 && got->options.backward_in_place))
            same = same && same_rounded(&got->grad_in[i].tensor, &want->grad_in[i].tensor);
    return same;
}

static void check(const test_suite *s, const test_case *c, run_options options, const char *what)
{
    run got, want;
    run_make(&got, s, c, options);
    run_all(&got);
    options.rounded = true;
    options.forward_in_place = options.backward_in_place = false;
    run_make(&want, s, c, options);
    run_all(&want);
    bool same = run_rounded(&got, &want);
    if (got.options.backward_in_place)
        same = same && same_rounded(&got.grad_out[0].tensor, &want.grad_in[0].tensor);
    tap_ok(same, "%s/%s isa %d, %d threads: %s", s->op->name, c->name, options.isa, options.threads,
           what);
    run_free(&got);
    run_free(&want);
}

/* In place by itself: the forward pass then overwrites what backward would read. */
static void forward_in_place_check(const test_suite *s, const test_case *c, run_options options)
{
    run got, want;
    options.forward_in_place = true;
    run_make(&got, s, c, options);
    run_phase(&got, RVX_FORWARD);
    options.rounded = true;
    options.forward_in_place = false;
    run_make(&want, s, c, options);
    run_phase(&want, RVX_FORWARD);
    tap_ok(same_rounded(&got.in[0].tensor, &want.out[0].tensor) && got.intact,
           "%s/%s isa %d: forward in place", s->op->name, c->name, options.isa);
    run_free(&got);
    run_free(&want);
}

static void case_check(const test_suite *s, const test_case *c, rvx_isa isa)
{
    const run_options all = {
        .isa = isa, .threads = 2, .bf16_in = s->pitched_in, .bf16_out = s->pitched_out};
    run_options options = all;
    for (options.threads = 1; options.threads <= 3; options.threads++)
        check(s, c, options, "all bf16");
    options = all;
    options.bf16_out = 0;
    options.extra_pitch = 3;
    check(s, c, options, "from bf16 to f32");
    options = all;
    options.bf16_in = 0;
    options.extra_pitch = 16;
    check(s, c, options, "from f32 to bf16");
    options = all;
    options.accumulate = (1u << RVX_IN_MAX) - 1;
    options.extra_pitch = 5;
    check(s, c, options, "added gradients, slices");
    if (s->op->flags & RVX_OP_FOLDS) {
        options = all;
        options.fold = true;
        check(s, c, options, "fold while loading");
    }
    if (s->op->flags & RVX_OP_BACKWARD_IN_PLACE) {
        options = all;
        options.backward_in_place = true;
        check(s, c, options, "backward in place");
    }
    if (s->op->flags & RVX_OP_FORWARD_IN_PLACE)
        forward_in_place_check(s, c, all);
}

/* Ties, carries into the exponent, overflow to infinity, denormals, infinities and NaNs, through
 * the copy that the concatenation of one tensor is. */
static void conversion_check(rvx_isa isa)
{
    static const uint32_t upper[] = {0x0000, 0x0001, 0x007F, 0x0080, 0x3F7F, 0x3F80, 0x3F81, 0x42FF,
                                     0x7F7E, 0x7F7F, 0x7F80, 0x7F81, 0x7FBF, 0x7FC0, 0x7FFF};
    static const uint32_t lower[] = {0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    enum { COUNT = 2 * CASE_COUNT(upper) * CASE_COUNT(lower) };
    static float from[COUNT], back[COUNT];
    static uint16_t to[COUNT];
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits = upper[i / 2 / CASE_COUNT(lower)] << 16 | lower[i / 2 % CASE_COUNT(lower)] |
                        (uint32_t)(i % 2) << 31;
        memcpy(&from[i], &bits, sizeof bits);
    }
    rvx_shape shape = {1, 1, 1, 1, COUNT};
    rvx_call call = {.in = {{.data = from, .shape = shape, .pitch = COUNT, .dtype = RVX_F32}},
                     .out = {{.data = to, .shape = shape, .pitch = COUNT, .dtype = RVX_BF16}},
                     .threads = 1};
    rvx__op_concat.cpu[RVX_FORWARD][isa](&call);
    call.in[0] = call.out[0];
    call.out[0] = (rvx_tensor){.data = back, .shape = shape, .pitch = COUNT, .dtype = RVX_F32};
    rvx__op_concat.cpu[RVX_FORWARD][isa](&call);
    int wrong = 0;
    for (int i = 0; i < COUNT; i++) {
        float value = rvx__f32_of(to[i]);
        /* nearest: no neighbour is nearer, and of two equally near ones the last bit is even */
        double off = fabs((double)value - (double)from[i]);
        double up = fabs((double)rvx__f32_of((uint16_t)(to[i] + 1)) - (double)from[i]);
        double down = fabs((double)rvx__f32_of((uint16_t)(to[i] - 1)) - (double)from[i]);
        if (isnan(from[i]))
            wrong += !isnan(value);
        else if (isinf(value))
            wrong += fabsf(from[i]) < 0x1.FFp127f || (value > 0) != (from[i] > 0);
        else
            wrong += isinf(from[i]) || up < off || down < off ||
                     ((up <= off || down <= off) && to[i] % 2);
        wrong += to[i] != rvx__bf16_of(from[i]);
        wrong += memcmp(&back[i], &value, sizeof value) != 0;
    }
    tap_ok(wrong == 0, "isa %d rounds to nearest even (%d wrong)", isa, wrong);
}

/* With an argument: that op only. */
int main(int argc, char **argv)
{
    for (int isa = RVX_ISA_BASE; isa <= (int)rvx__isa_detect(); isa++) {
        conversion_check((rvx_isa)isa);
        for (int i = 0; i < CASE_COUNT(suites); i++)
            for (int j = 0; j < suites[i]->case_count && suites[i]->bf16_exact; j++)
                if (argc < 2 || strcmp(argv[1], suites[i]->op->name) == 0)
                    case_check(suites[i], &suites[i]->cases[j], (rvx_isa)isa);
    }
    return tap_done();
}
