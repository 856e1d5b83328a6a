/* Convolutions by whom they are asked for by name: our kernels and libraries. Whatever is offered
 * for a call gives what the kernel gives that runs where nobody is asked for; the same bits from
 * slices of wider tensors; streams are given back by the inverse of the same name, bit for bit,
 * also on another grid than when the call was prepared. In the emulation plain loops stand for a
 * library; on a GPU cuDNN and cuBLAS, where they are, for as many calls as LOOK_SECONDS allow. */
#include "tests/cuda/prepared.h"

#include <time.h>

enum { NAMES = 256, LOOK_SECONDS = 30, LOOK_NAMES = 6 };

typedef char choice_name[RVX_CUDA_CHOICE_BYTES];

static int names_of(choice_name *names, const setup *s, rvx_phase phase, int64_t scratch_bytes)
{
    operands o;
    operands_make(&o, s, phase, 0);
    scratch_make(&o, scratch_bytes);
    const int count =
        device_interface->choices(names, NAMES, device_used, s->c->op->name, phase, &o.call);
    operands_free(&o);
    return count;
}

static bool is_library(const char *name) { return strchr(name, ':') != NULL; }

/* ---- what is offered gives what it should ------------------------------------------------------
 */

static const char *const phase_names[] = {"forward", "weights", "data", "inverse"};

/* The residual lies where the result goes, as in couplings. */
static void check_in_place(const setup *s, const char *name)
{
    operands apart, within;
    operands_make(&apart, s, RVX_FORWARD, 0);
    operands_make(&within, s, RVX_FORWARD, 0);
    within.call.out[0].data = within.call.in[RVX_CONV_RESIDUAL].data;
    const bool ran = run_by(&apart, s, RVX_FORWARD, name) && run_by(&within, s, RVX_FORWARD, name);
    tap_ok(ran && same_bits(apart.results[0], within.results[0]),
           "and the same bits in the residual's place");
    operands_free(&apart);
    operands_free(&within);
}

static void check_one(const setup *s, rvx_phase phase, const char *name)
{
    operands own, by, slices;
    operands_make(&own, s, phase, 0);
    operands_make(&by, s, phase, 0);
    operands_make(&slices, s, phase, 8);
    run_kernel(&own, s, phase);
    const bool ran = run_by(&by, s, phase, name) && run_by(&slices, s, phase, name);
    double worst = 0;
    bool same = ran, untouched = ran;
    for (int i = 0; i < own.result_count && ran; i++) {
        const rvx_tensor *want = own.results[i], *got = by.results[i];
        /* f32: another order of sums. bf16: a bias, or what is added to, may be rounded first.
         * Streams: a number between two of the grid. */
        const double allowed = want->dtype == RVX_BF16  ? 0x1p-6
                               : want->dtype == RVX_I16 ? 1.01 * GRID_UNIT / largest_of(want)
                                                        : 2e-5;
        const double off = distance(got, want) / allowed;
        worst = off <= worst || isnan(worst) ? worst : off;
        same = same && same_bits(got, slices.results[i]);
    }
    untouched =
        untouched && operands_intact(&by) && operands_intact(&slices) && same_inputs(&own, &by);
    tap_ok(ran && worst <= 1, "%s, %s, %s by %s: equals our kernel (%.2f of what is allowed)",
           s->c->name, s->w->name, phase_names[phase], name, worst);
    tap_ok(same, "and the same bits where tensors are slices");
    tap_ok(untouched, "and nothing else is written");
    operands_free(&own);
    operands_free(&by);
    operands_free(&slices);
    if (phase == RVX_FORWARD && s->w->residual)
        check_in_place(s, name);
}

static void set_grid(rvx_call *call, int32_t grid_log2)
{
    call->in[RVX_CONV_RESIDUAL].grid_log2 = call->out[0].grid_log2 = grid_log2;
}

/* Elements of the residual that the inverse does not give back, which lies in y's place. */
static int64_t lost_by(const setup *s, const char *forward, const char *inverse, int halvings)
{
    operands o;
    operands_make(&o, s, RVX_FORWARD, 0);
    rvx_tensor *r = &o.call.in[RVX_CONV_RESIDUAL], *y = &o.call.out[0];
    const int64_t bytes = rvx__shape_count(r->shape) * (int64_t)sizeof(int16_t);
    int16_t *before = malloc((size_t)bytes);
    int64_t lost = -1, count = bytes / (int64_t)sizeof(int16_t);
    memcpy(before, r->data, (size_t)bytes);
    y->data = r->data;
    void *forwards = prepared(&o, s, RVX_FORWARD, forward);
    rvx_call back = o.call;
    back.rebuild = RVX_CONV_RESIDUAL;
    operands by = {.call = back};
    void *backwards = prepared(&by, s, RVX_INVERSE, inverse);
    set_grid(&o.call, GRID - halvings);
    set_grid(&by.call, GRID - halvings);
    if (forwards && backwards) {
        o.call.implementation = forwards;
        by.call.implementation = backwards;
        device_run(device_interface->run_prepared, &o.call, RVX_ISA_CUDA);
        int64_t changed = 0;
        for (int64_t i = 0; i < count; i++)
            changed += ((int16_t *)r->data)[i] != before[i];
        device_run(device_interface->run_prepared, &by.call, RVX_ISA_CUDA);
        lost = changed > count / 2 ? 0 : count;
        for (int64_t i = 0; i < count; i++)
            lost += ((int16_t *)r->data)[i] != before[i];
    }
    device_interface->unprepare(device_used, forwards);
    device_interface->unprepare(device_used, backwards);
    free(before);
    o.call.out[0].data = NULL; /* the residual's */
    operands_free(&o);
    return lost;
}

/* A call whose streams are on a coarser grid than when it was prepared, beside our kernel's. */
static bool coarser_equals(const setup *s, const char *name, int halvings)
{
    operands own, by;
    operands_make(&own, s, RVX_FORWARD, 0);
    operands_make(&by, s, RVX_FORWARD, 0);
    by.call.implementation = prepared(&by, s, RVX_FORWARD, name);
    const bool there = by.call.implementation != NULL;
    set_grid(&own.call, GRID - halvings);
    set_grid(&by.call, GRID - halvings);
    run_kernel(&own, s, RVX_FORWARD);
    if (there)
        device_run(device_interface->run_prepared, &by.call, RVX_ISA_CUDA);
    device_interface->unprepare(device_used, by.call.implementation);
    const double allowed = 1.01 * ldexp(GRID_UNIT, halvings) / largest_of(own.results[0]);
    const bool equal = there && distance(by.results[0], own.results[0]) <= allowed;
    operands_free(&own);
    operands_free(&by);
    return equal;
}

static void check_inverse(const setup *s, const char *name)
{
    const int64_t lost = lost_by(s, name, name, 0), coarser = lost_by(s, name, name, 2);
    tap_ok(lost == 0, "%s, %s by %s: the inverse gives back every bit (%lld lost)", s->c->name,
           s->w->name, name, (long long)lost);
    tap_ok(coarser == 0, "also on a coarser grid than it was prepared for (%lld lost)",
           (long long)coarser);
    tap_ok(coarser_equals(s, name, 2), "where it equals our kernel");
}

/* All that is offered, in the emulation; on a GPU ours and some of the libraries' algorithms, the
 * first, the last and some between. */
static int some_of(choice_name *names, int count)
{
    int own = 0, kept;
    while (own < count && !is_library(names[own]))
        own++;
    if (device_interface->emulated || count <= own + LOOK_NAMES)
        return count;
    for (kept = 0; kept < LOOK_NAMES; kept++)
        memmove(names[own + kept], names[own + kept * (count - own - 1) / (LOOK_NAMES - 1)],
                sizeof *names);
    return own + kept;
}

/* Returns whether the call may be. */
static bool check_call(const shape_case *c, const way *w, rvx_phase phase, choice_name *names)
{
    setup s;
    if (!setup_make(&s, c, w, phase))
        return false;
    const int offered = names_of(names, &s, phase, room()), count = some_of(names, offered);
    const bool library = offered > 0 && is_library(names[offered - 1]);
    if (device_interface->libraries(device_used)[0] && device_interface->emulated)
        tap_ok(library, "%s, %s, %s: libraries are offered", c->name, w->name, phase_names[phase]);
    for (int n = 0; n < count; n++) {
        if (strcmp(names[n], RVX_CUDA_OWN) == 0)
            continue; /* what the others are compared with */
        if (phase == RVX_INVERSE)
            check_inverse(&s, names[n]);
        else
            check_one(&s, phase, names[n]);
    }
    return true;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* In an order that goes through shapes, ways and phases at once, as time may end before they do. */
static void check_calls(double started)
{
    choice_name *names = calloc(NAMES, sizeof *names);
    const int ways = way_count(), calls = case_count() * ways * RVX_PHASE_COUNT;
    int step = calls * 5 / 13, looked = 0, left = 0;
    for (int a = calls, b = step; b != 0 || a != 1;) /* until they have no common factor */
        if (b == 0)
            a = calls, b = ++step;
        else {
            const int rest = a % b;
            a = b;
            b = rest;
        }
    for (int i = 0; i < calls; i++) {
        const int at = (int)((int64_t)i * step % calls);
        if (!device_interface->emulated && seconds_now() - started > LOOK_SECONDS)
            left++;
        else
            looked += check_call(&cases[at / RVX_PHASE_COUNT / ways],
                                 &all_ways[at / RVX_PHASE_COUNT % ways],
                                 (rvx_phase)(at % RVX_PHASE_COUNT), names);
    }
    tap_ok(looked > 0, "%d calls were looked at; for at most %d more there was no time", looked,
           left);
    free(names);
}

/* ---- a mix-up is seen --------------------------------------------------------------------------
 */

/* Two algorithms round differently: had forward and inverse another one each, bits would be lost.
 */
static void check_mixed(void)
{
    static const shape_case large = {"3^3, larger", &rvx__op_conv, {1, 8, 16, 16, 8}, 16,
                                     {3, 3, 3},     {1, 1, 1},     {1, 1, 1}};
    static const way stream = {"stream", RVX_I16, RVX_I16, .residual = true, .fold = true};
    setup s;
    if (!device_interface->emulated || !setup_make(&s, &large, &stream, RVX_INVERSE))
        return;
    const int64_t lost = lost_by(&s, "emulated:forwards", "emulated:backwards", 0);
    tap_ok(lost > 0 && lost < 1000, "an inverse by another algorithm loses bits (%lld)",
           (long long)lost);
    operands a, b;
    operands_make(&a, &s, RVX_FORWARD, 0);
    operands_make(&b, &s, RVX_FORWARD, 0);
    tap_ok(run_by(&a, &s, RVX_FORWARD, "emulated:forwards") &&
               run_by(&b, &s, RVX_FORWARD, "emulated:backwards") &&
               !same_bits(a.results[0], b.results[0]),
           "as a forward pass by another gives others");
    operands_free(&a);
    operands_free(&b);
}

/* ---- lists -------------------------------------------------------------------------------------
 */

static bool listed(choice_name *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool refused(const setup *s, rvx_phase phase, const char *name, int64_t scratch_bytes,
                    rvx_error *error)
{
    operands o;
    void *implementation;
    operands_make(&o, s, phase, 0);
    o.call.scratch = device_allocate(scratch_bytes);
    o.call.scratch_bytes = scratch_bytes;
    const rvx_status status = device_interface->prepare(
        &implementation, device_used, s->c->op->name, phase, &o.call, name, error);
    operands_free(&o);
    return status == RVX_ERROR_UNSUPPORTED && !implementation;
}

static void check_lists(void)
{
    choice_name *names = calloc(NAMES, sizeof *names);
    rvx_error error = {0};
    setup s;
    setup_make(&s, &cases[0], &all_ways[0], RVX_FORWARD);
    int count = names_of(names, &s, RVX_FORWARD, room());
    if (device_interface->emulated)
        tap_ok(count == 3 && !is_library(names[0]) && listed(names, count, "emulated:forwards") &&
                   listed(names, count, "emulated:backwards"),
               "what varies, what rounds more and what needs more workspace is no choice");
    count = names_of(names, &s, RVX_FORWARD, 1000);
    tap_ok(count > 0 && !is_library(names[count - 1]), "no room for operands: our kernels alone");
    tap_ok(refused(&s, RVX_FORWARD, "emulated:forwards", 1000, &error),
           "and a library is not prepared: %s", error.message);
    tap_ok(refused(&s, RVX_FORWARD, "cudnn:eng99999", room(), &error),
           "an unknown name is refused: %s", error.message);
    tap_ok(refused(&s, RVX_FORWARD, "conv.halo", room(), &error),
           "so is a kernel of ours that does not take the call: %s", error.message);
    s.params.bf16_products = 1;
    s.w = &all_ways[3]; /* bf16 */
    count = names_of(names, &s, RVX_FORWARD, room());
    tap_ok(listed(names, count, "conv.halo") && listed(names, count, "conv.any"),
           "kernels of ours are choices too");
    operands o;
    operands_make(&o, &s, RVX_FORWARD, 0);
    tap_ok(device_interface->choices(names, NAMES, device_used, "add", RVX_FORWARD, &o.call) == 0,
           "an op that is no convolution has none");
    operands_free(&o);
    free(names);
}

int main(void)
{
    const double started = seconds_now();
    if (!tap_ok(device_use(), "the CUDA backend is there"))
        return tap_done();
    printf("# %s\n", device_interface->libraries(device_used));
    check_lists();
    check_mixed();
    check_calls(started);
    return tap_done();
}
