/* Normalisation, activation and convolution as one op, with a residual: a pre-activation branch of
 * a coupling. Owns: its row and the walk over slabs in its backward.
 *
 *   y = residual + conv(leaky(gamma (x - mean) rstd + beta))
 *
 * in:  x, weight, bias, residual as in conv.h; gamma [c], beta [c] as in norm_act.c (each of bias,
 *      residual, gamma, beta may be absent)
 * out: y as it is stored, statistics and fold table as in norm_act.c
 * Only the planner makes such nodes, of a norm_act and a convolution (engine/plan/fuse.c).
 *
 * Backward of the data never holds the gradient of the convolution's input: this is made slab by
 * slab, and each slab goes through the normalisation at once (kernels/norm_slab.h), so the peak has
 * no tensor between grad_y and grad_x. Inverse: residual = y - conv(...), with the fold table of
 * the forward pass; exact for streams. */
#include "kernels/conv.h"
#include "kernels/norm_slab.h"
#include "kernels/pieces.h"

enum {
    IN_X,
    IN_WEIGHT,
    IN_BIAS,
    IN_RESIDUAL = RVX_CONV_RESIDUAL,
    IN_GAMMA,
    IN_BETA,
    IN_COUNT,
    SLAB_SLICES_MIN = 4,
    SLAB_BYTES = 4 << 20 /* stays in the cache between the two */
};

typedef struct slab_kernels {
    void (*open)(const rvx_call *call, const rvx__norm_slab *slab);
    void (*add)(const rvx_call *call, const rvx__norm_slab *slab);
    void (*close)(const rvx_call *call, const rvx__norm_slab *slab);
    void (*parameters)(const rvx_call *call, const double *totals);
} slab_kernels;

#define SLAB_CELL(isa)                                                                             \
    {                                                                                              \
        rvx__norm_slab_open_##isa, rvx__norm_slab_add_##isa, rvx__norm_slab_close_##isa,           \
            rvx__norm_slab_parameters_##isa                                                        \
    }
static const slab_kernels slab_table[RVX_ISA_COUNT] = {SLAB_CELL(base), SLAB_CELL(avx2),
                                                       SLAB_CELL(avx512), SLAB_CELL(avx512)};

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t a) { return (a + 63) / 64 * 64; }

/* ---- the two halves, as their rows see them -----------------------------------------------------
 */

static rvx_status norm_conv_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                  const rvx_op_params *params, rvx_error *error)
{
    const rvx_shape norm[3] = {in[IN_X], in_count > IN_GAMMA ? in[IN_GAMMA] : (rvx_shape){0},
                               in_count > IN_BETA ? in[IN_BETA] : (rvx_shape){0}};
    rvx_shape norm_out[3];
    rvx_status status = rvx__op_norm_act.shape(norm_out, norm, 3, params, error);
    if (status == RVX_OK)
        status = rvx__op_conv.shape(out, in, in_count > IN_RESIDUAL ? IN_RESIDUAL + 1 : in_count,
                                    params, error);
    out[1] = norm_out[1];
    out[2] = norm_out[2];
    return status;
}

static rvx_cost norm_conv_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                               const rvx_op_params *params)
{
    rvx_cost cost = rvx__op_conv.cost(phase, in, out, params);
    if (phase != RVX_FORWARD && phase != RVX_BACKWARD_DATA)
        return cost;
    rvx_cost norm = rvx__op_norm_act.cost(phase, in, in, params);
    return (rvx_cost){cost.flops + norm.flops, cost.bytes + norm.bytes};
}

static rvx_call norm_call(const rvx_call *call)
{
    rvx_call norm = *call;
    norm.in[1] = call->in[IN_GAMMA];
    norm.in[2] = call->in[IN_BETA];
    norm.out[0] = (rvx_tensor){.shape = call->in[IN_X].shape};
    norm.grad_in[1] = call->grad_in[IN_GAMMA];
    norm.grad_in[2] = call->grad_in[IN_BETA];
    norm.accumulate = (call->accumulate & 1u) | (call->accumulate >> IN_GAMMA & 1u) << 1 |
                      (call->accumulate >> IN_BETA & 1u) << 2;
    return norm;
}

static rvx_call conv_call(const rvx_call *call)
{
    rvx_call conv = *call;
    conv.fold = call->out[2];
    conv.in[IN_GAMMA] = conv.in[IN_BETA] = conv.out[1] = conv.out[2] = (rvx_tensor){0};
    return conv;
}

/* ---- slabs of the backward ----------------------------------------------------------------------
 */

/* Slices first .. first + count of the input, and the convolution that makes their gradient from
 * slices of grad_y: those from source_first on. It also makes `skip` slices before them, which lack
 * products and are not used. */
typedef struct slab_range {
    int64_t first, count, skip;
    int64_t source_first, source_count, made;
    rvx_op_params params;
} slab_range;

static int64_t slab_slices(rvx_shape x)
{
    int64_t bytes = x.h * x.w * x.c * (int64_t)sizeof(float);
    return smaller(x.d, larger(SLAB_SLICES_MIN, SLAB_BYTES / bytes));
}

/* Kernels of depth k = 2 pad + 1 and stride 1: slices away from the ends need pad more slices of
 * grad_y on either side and a convolution with a padding of k - 1. At an end the padding is pad on
 * both sides, so that slices inside come out short of products. */
static slab_range slab_make(rvx_shape x, const rvx_op_params *params, int64_t first)
{
    int64_t pad = params->pad[0], count = smaller(slab_slices(x), x.d - first);
    slab_range s = {.first = first, .count = count, .params = *params};
    s.source_first = larger(0, first - pad);
    s.source_count = smaller(x.d, first + count + pad) - s.source_first;
    if (s.source_first == first - pad && s.source_first + s.source_count == first + count + pad) {
        s.params.pad[0] = (int32_t)(2 * pad);
        s.made = count;
    } else {
        s.skip = first - s.source_first;
        s.made = s.source_count;
    }
    return s;
}

/* Slices of one sample; `shape` is that of the whole tensor but for n and d. */
static rvx_tensor slices(const rvx_tensor *t, int64_t n, int64_t first, int64_t count)
{
    rvx_tensor part = *t;
    int64_t slice = t->shape.h * t->shape.w * t->pitch * rvx__dtype_bytes(t->dtype);
    part.data = t->data ? (char *)t->data + (n * t->shape.d + first) * slice : NULL;
    part.shape.n = 1;
    part.shape.d = count;
    return part;
}

static rvx_tensor table_of(const rvx_tensor *t, int64_t n)
{
    rvx_tensor part = *t;
    part.data = rvx__f32(t) + n * t->shape.d * t->shape.h * t->shape.w * t->pitch;
    part.shape.n = 1;
    return part;
}

typedef struct slab_scratch {
    int64_t made_bytes, conv_bytes, partial_bytes, total;
} slab_scratch;

static slab_scratch scratch_make(const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads)
{
    slab_scratch s = {0};
    rvx_shape x = in[IN_X], part[3] = {in[IN_X], in[IN_WEIGHT], in[IN_BIAS]}, y = out[0];
    for (int64_t first = 0; first < x.d; first += slab_slices(x)) {
        slab_range range = slab_make(x, params, first);
        part[0].n = y.n = 1;
        part[0].d = range.made;
        y.d = range.source_count;
        s.made_bytes = larger(s.made_bytes, rvx__shape_count(part[0]) * (int64_t)sizeof(float));
        s.conv_bytes = larger(s.conv_bytes, rvx__op_conv.scratch(RVX_BACKWARD_DATA, part, &y,
                                                                 &range.params, threads));
        part[0].d = range.count;
        int64_t pieces = rvx__piece_count(range.count * x.h * x.w, x.c);
        s.partial_bytes = larger(s.partial_bytes, pieces * x.c * 2 * (int64_t)sizeof(double));
    }
    s.made_bytes = round_up(s.made_bytes + 64); /* kernels may read one vector more */
    s.conv_bytes = round_up(s.conv_bytes);
    s.partial_bytes = round_up(s.partial_bytes);
    s.total = s.made_bytes + larger(s.conv_bytes, s.partial_bytes) +
              round_up(x.c * RVX_NORM_SLAB_ROWS * (int64_t)sizeof(float)) +
              round_up(x.n * x.c * 2 * (int64_t)sizeof(double));
    return s;
}

static void backward_data(const rvx_call *call, rvx_isa isa)
{
    const slab_kernels *norm = &slab_table[isa];
    const rvx_tensor *x = &call->in[IN_X], *dx = &call->grad_in[IN_X], *dy = &call->grad_out[0];
    rvx_shape in[IN_COUNT];
    for (int i = 0; i < IN_COUNT; i++)
        in[i] = call->in[i].shape;
    slab_scratch scratch = scratch_make(in, &call->out[0].shape, call->params, call->threads);
    char *made = call->scratch, *shared = made + scratch.made_bytes;
    char *table = shared + larger(scratch.conv_bytes, scratch.partial_bytes);
    double *totals = (double *)(void *)(table + round_up(x->shape.c * RVX_NORM_SLAB_ROWS * 4));
    for (int64_t n = 0; n < x->shape.n; n++) {
        rvx_call sample = norm_call(call);
        sample.scratch = shared;
        sample.in[0] = slices(x, n, 0, x->shape.d);
        sample.grad_in[0] = slices(dx, n, 0, x->shape.d);
        sample.out[1] = table_of(&call->out[1], n);
        sample.out[2] = table_of(&call->out[2], n);
        const rvx__norm_slab slab = {(float *)(void *)table, totals + n * 2 * x->shape.c};
        norm->open(&sample, &slab);
        for (int64_t first = 0; first < x->shape.d; first += slab_slices(x->shape)) {
            const slab_range range = slab_make(x->shape, call->params, first);
            rvx_tensor gradient = {.data = made, .shape = x->shape, .pitch = x->shape.c};
            gradient.shape.n = 1;
            gradient.shape.d = range.made;
            rvx_call conv = {.params = &range.params,
                             .in = {gradient, call->in[IN_WEIGHT]},
                             .grad_in = {gradient},
                             .grad_out = {slices(dy, n, range.source_first, range.source_count)},
                             .scratch = shared,
                             .scratch_bytes = scratch.conv_bytes,
                             .threads = call->threads};
            rvx__op_conv.cpu[RVX_BACKWARD_DATA][isa](&conv);
            rvx_call part = sample;
            part.in[0] = slices(x, n, first, range.count);
            part.grad_in[0] = slices(dx, n, first, range.count);
            part.grad_out[0] = slices(&gradient, 0, range.skip, range.count);
            norm->add(&part, &slab);
        }
        norm->close(&sample, &slab);
    }
    const rvx_call whole = norm_call(call);
    norm->parameters(&whole, totals);
}

/* ---- phases -------------------------------------------------------------------------------------
 */

static void forward(const rvx_call *call, rvx_isa isa)
{
    const rvx_call norm = norm_call(call), conv = conv_call(call);
    rvx__op_norm_act.cpu[RVX_FORWARD][isa](&norm);
    rvx__op_conv.cpu[RVX_FORWARD][isa](&conv);
}

static void inverse(const rvx_call *call, rvx_isa isa)
{
    const rvx_call conv = conv_call(call);
    rvx__op_conv.cpu[RVX_INVERSE][isa](&conv);
}

static void backward_parameters(const rvx_call *call, rvx_isa isa)
{
    const rvx_call conv = conv_call(call);
    rvx__op_conv.cpu[RVX_BACKWARD_PARAMETERS][isa](&conv);
}

static int64_t norm_conv_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads)
{
    if (phase == RVX_BACKWARD_DATA)
        return scratch_make(in, out, params, threads).total;
    int64_t conv = rvx__op_conv.scratch(phase, in, out, params, threads);
    if (phase != RVX_FORWARD)
        return conv;
    rvx_shape norm_out[3] = {in[IN_X], out[1], out[2]};
    return larger(conv, rvx__op_norm_act.scratch(phase, in, norm_out, params, threads));
}

/* One function a cell: a kernel does not know its own instruction set. */
#define CELL(phase, isa, id)                                                                       \
    static void phase##_##isa(const rvx_call *call) { phase(call, id); }
#define CELLS(phase)                                                                               \
    CELL(phase, base, RVX_ISA_BASE)                                                                \
    CELL(phase, avx2, RVX_ISA_AVX2)                                                                \
    CELL(phase, avx512, RVX_ISA_AVX512)                                                            \
    CELL(phase, amx, RVX_ISA_AMX)
CELLS(forward)
CELLS(inverse)
CELLS(backward_parameters)
CELLS(backward_data)

const rvx_op rvx__op_norm_conv = {
    .name = "norm_conv",
    .in_min = 2,
    .in_max = IN_COUNT,
    .out_count = 3,
    .shape = norm_conv_shape,
    .parameter_inputs = 1u << IN_WEIGHT | 1u << IN_BIAS,
    .residual_inputs = 1u << IN_RESIDUAL,
    .inverse_inputs = 1u << IN_RESIDUAL,
    .reads_parameters = RVX_READS_IN(IN_X) | RVX_READS_OUT(2),
    .reads_data = RVX_READS_IN(IN_X) | RVX_READS_IN(IN_WEIGHT) | RVX_READS_IN(IN_GAMMA) |
                  RVX_READS_OUT(1) | RVX_READS_OUT(2),
    .stored_outputs = 1,
    .flags = RVX_OP_BF16 | RVX_OP_I16 | RVX_OP_INVERSE_IN_PLACE,
    .cost = norm_conv_cost,
    .scratch = norm_conv_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS_AMX(forward),
            [RVX_INVERSE] = RVX_CELLS_AMX(inverse),
            [RVX_BACKWARD_PARAMETERS] = RVX_CELLS_AMX(backward_parameters),
            [RVX_BACKWARD_DATA] = RVX_CELLS_AMX(backward_data)},
};
