/* deinterleave and interleave (RVX_OP_PARTS) move every bit of every type where the reference says,
 * in every phase: between different tensors, slices of wider ones among them, and in place, the
 * parts being the whole's memory one after the other. Values are integers of 16 or 32 bits, so that
 * none passes for another. */
#include "kernels/interleave.h"
#include "tests/kernels/cases.h"

/* A phase that takes the whole apart (or puts it together): which operands it moves. */
typedef struct movement {
    const rvx_op *op;
    rvx_phase phase;
    bool apart;
} movement;
static const movement movements[] = {
    {&rvx__op_deinterleave, RVX_FORWARD, true},
    {&rvx__op_interleave, RVX_BACKWARD_DATA, true},
    {&rvx__op_interleave, RVX_INVERSE, true},
    {&rvx__op_interleave, RVX_FORWARD, false},
    {&rvx__op_deinterleave, RVX_BACKWARD_DATA, false},
    {&rvx__op_deinterleave, RVX_INVERSE, false},
};

static void bits_put(const rvx_tensor *t, int64_t i, int64_t number)
{
    uint32_t bits = (uint32_t)number * 2654435761u; /* odd: one to one, in 16 bits too */
    memcpy((char *)t->data + element(t, i) * rvx__dtype_bytes(t->dtype), &bits,
           (size_t)rvx__dtype_bytes(t->dtype));
}

/* Number of the element of the whole that stands at element i of part p. */
static int64_t source_of(rvx_shape part, int p, int64_t i)
{
    return i / part.c * part.c * RVX_PARTS + p * part.c + i % part.c;
}

static void movement_run(const movement *m, rvx_tensor whole, const rvx_tensor *parts, int threads,
                         rvx_isa isa, const char *name)
{
    static const rvx_op_params none = {0};
    rvx_call call = {.params = &none, .threads = threads};
    bool deals = m->op == &rvx__op_deinterleave, backward = m->phase == RVX_BACKWARD_DATA;
    rvx_tensor *one =
        deals ? (backward ? call.grad_in : call.in) : (backward ? call.grad_out : call.out);
    rvx_tensor *four =
        deals ? (backward ? call.grad_out : call.out) : (backward ? call.grad_in : call.in);
    one[0] = whole;
    memcpy(four, parts, RVX_PARTS * sizeof *parts);
    rvx_shape shapes[RVX_PARTS], single = whole.shape;
    for (int p = 0; p < RVX_PARTS; p++)
        shapes[p] = parts[p].shape;
    call.scratch_bytes = device_scratch(m->op, m->phase, deals ? &single : shapes,
                                        deals ? shapes : &single, &none, threads, isa);
    buffer scratch = buffer_make((rvx_shape){1, 1, 1, 1, call.scratch_bytes}, RVX_U8, 0);
    call.scratch = scratch.tensor.data;
    device_run(device_kernel(m->op, m->phase, isa), &call, isa);
    tap_ok(buffer_intact(&scratch), "%s stays in its scratch", name);
    buffer_free(&scratch);
}

static bool parts_hold(const rvx_tensor *parts)
{
    bool same = true;
    for (int p = 0; p < RVX_PARTS; p++) {
        buffer want = buffer_make(parts[p].shape, parts[p].dtype, 0);
        for (int64_t i = 0; i < rvx__shape_count(parts[p].shape); i++)
            bits_put(&want.tensor, i, source_of(parts[p].shape, p, i));
        same = same && same_bits(&parts[p], &want.tensor);
        buffer_free(&want);
    }
    return same;
}

static bool whole_holds(const rvx_tensor *whole)
{
    buffer want = buffer_make(whole->shape, whole->dtype, 0);
    for (int64_t i = 0; i < rvx__shape_count(whole->shape); i++)
        bits_put(&want.tensor, i, i);
    bool same = same_bits(whole, &want.tensor);
    buffer_free(&want);
    return same;
}

static void fill(bool apart, const rvx_tensor *whole, const rvx_tensor *parts)
{
    for (int64_t i = 0; apart && i < rvx__shape_count(whole->shape); i++)
        bits_put(whole, i, i);
    for (int p = 0; p < RVX_PARTS && !apart; p++)
        for (int64_t i = 0; i < rvx__shape_count(parts[p].shape); i++)
            bits_put(&parts[p], i, source_of(parts[p].shape, p, i));
}

static void check(const movement *m, rvx_shape shape, rvx_dtype dtype, int64_t extra, bool in_place,
                  int threads, rvx_isa isa)
{
    char name[160];
    snprintf(name, sizeof name,
             "%s phase %d [%lld %lld %lld %lld %lld] isa %d type %d pitch +%d %s %d threads",
             m->op->name, m->phase, (long long)shape.n, (long long)shape.d, (long long)shape.h,
             (long long)shape.w, (long long)shape.c, isa, dtype, (int)extra,
             in_place ? "in place" : "", threads);
    rvx_shape part = shape;
    part.c /= RVX_PARTS;
    buffer whole = buffer_make(shape, dtype, extra), apart[RVX_PARTS];
    rvx_tensor parts[RVX_PARTS];
    for (int p = 0; p < RVX_PARTS; p++) {
        apart[p] = buffer_make(part, dtype, extra);
        parts[p] = in_place ? tensor_over(&whole.tensor, part) : apart[p].tensor;
        if (in_place)
            parts[p].data =
                (char *)whole.tensor.data + p * rvx__shape_count(part) * rvx__dtype_bytes(dtype);
    }
    fill(m->apart, &whole.tensor, parts);
    movement_run(m, whole.tensor, parts, threads, isa, name);
    bool right = m->apart ? parts_hold(parts) : whole_holds(&whole.tensor);
    for (int p = 0; p < RVX_PARTS; p++) {
        right = right && buffer_intact(&apart[p]);
        buffer_free(&apart[p]);
    }
    tap_ok(right && buffer_intact(&whole), "%s", name);
    buffer_free(&whole);
}

static void shape_check(rvx_shape shape, rvx_isa isa)
{
    static const rvx_dtype types[] = {RVX_F32, RVX_BF16, RVX_I16};
    for (int m = 0; m < CASE_COUNT(movements); m++)
        for (int t = 0; t < CASE_COUNT(types); t++) {
            if (movements[m].phase == RVX_BACKWARD_DATA && types[t] == RVX_I16)
                continue;
            check(&movements[m], shape, types[t], 0, false, 2, isa);
            check(&movements[m], shape, types[t], 3, false, 2, isa);
            for (int threads = 1; threads <= 3; threads++)
                check(&movements[m], shape, types[t], 0, true, threads, isa);
        }
}

int main(void)
{
    for (int isa = device_isa_first(); isa <= device_isa_last(); isa++)
        for (int i = 0; i < deinterleave_suite.case_count; i++)
            shape_check(deinterleave_suite.cases[i].in[0], (rvx_isa)isa);
    return tap_done();
}
