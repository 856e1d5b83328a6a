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
#include "kernels/norm_conv.h"
#include "kernels/norm_slab.h"
#include "kernels/pieces.h"

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
static int64_t round_up(int64_t a) { return (a + 63) / 64 * 64; }

/* ---- the two halves, as their rows see them -----------------------------------------------------
 */

static rvx_status norm_conv_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                  const rvx_op_params *params, rvx_error *error)
{
    const rvx_shape norm[3] = {
        in[RVX_NORM_CONV_X],
        in_count > RVX_NORM_CONV_GAMMA ? in[RVX_NORM_CONV_GAMMA] : (rvx_shape){0},
        in_count > RVX_NORM_CONV_BETA ? in[RVX_NORM_CONV_BETA] : (rvx_shape){0}};
    rvx_shape norm_out[3];
    rvx_status status = rvx__op_norm_act.shape(norm_out, norm, 3, params, error);
    if (status == RVX_OK)
        status = rvx__op_conv.shape(
            out, in, in_count > RVX_NORM_CONV_RESIDUAL ? RVX_NORM_CONV_RESIDUAL + 1 : in_count,
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

/* ---- slabs of the backward ----------------------------------------------------------------------
 */

typedef struct slab_scratch {
    int64_t made_bytes, conv_bytes, partial_bytes, total;
} slab_scratch;

static slab_scratch scratch_make(const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads)
{
    slab_scratch s = {0};
    rvx_shape x = in[RVX_NORM_CONV_X],
              part[3] = {in[RVX_NORM_CONV_X], in[RVX_NORM_CONV_WEIGHT], in[RVX_NORM_CONV_BIAS]},
              y = out[0];
    for (int64_t first = 0; first < x.d; first += rvx__slab_slices(x, RVX_SLAB_BYTES_CPU)) {
        rvx__slab_range range = rvx__slab_make(x, params, RVX_SLAB_BYTES_CPU, first);
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
    const rvx_tensor *x = &call->in[RVX_NORM_CONV_X], *dx = &call->grad_in[RVX_NORM_CONV_X],
                     *dy = &call->grad_out[0];
    rvx_shape in[RVX_NORM_CONV_INPUTS];
    for (int i = 0; i < RVX_NORM_CONV_INPUTS; i++)
        in[i] = call->in[i].shape;
    slab_scratch scratch = scratch_make(in, &call->out[0].shape, call->params, call->threads);
    char *made = call->scratch, *shared = made + scratch.made_bytes;
    char *table = shared + larger(scratch.conv_bytes, scratch.partial_bytes);
    double *totals = (double *)(void *)(table + round_up(x->shape.c * RVX_NORM_SLAB_ROWS * 4));
    for (int64_t n = 0; n < x->shape.n; n++) {
        rvx_call sample = rvx__norm_conv_norm(call);
        sample.scratch = shared;
        sample.in[0] = rvx__slab_slices_of(x, n, 0, x->shape.d);
        sample.grad_in[0] = rvx__slab_slices_of(dx, n, 0, x->shape.d);
        sample.out[1] = rvx__slab_table(&call->out[1], n);
        sample.out[2] = rvx__slab_table(&call->out[2], n);
        const rvx__norm_slab slab = {(float *)(void *)table, totals + n * 2 * x->shape.c};
        norm->open(&sample, &slab);
        for (int64_t first = 0; first < x->shape.d;
             first += rvx__slab_slices(x->shape, RVX_SLAB_BYTES_CPU)) {
            const rvx__slab_range range =
                rvx__slab_make(x->shape, call->params, RVX_SLAB_BYTES_CPU, first);
            rvx_tensor gradient = {.data = made, .shape = x->shape, .pitch = x->shape.c};
            gradient.shape.n = 1;
            gradient.shape.d = range.made;
            rvx_call conv = {
                .params = &range.params,
                .in = {gradient, call->in[RVX_NORM_CONV_WEIGHT]},
                .grad_in = {gradient},
                .grad_out = {rvx__slab_slices_of(dy, n, range.source_first, range.source_count)},
                .scratch = shared,
                .scratch_bytes = scratch.conv_bytes,
                .threads = call->threads};
            rvx__op_conv.cpu[RVX_BACKWARD_DATA][isa](&conv);
            rvx_call part = sample;
            part.in[0] = rvx__slab_slices_of(x, n, first, range.count);
            part.grad_in[0] = rvx__slab_slices_of(dx, n, first, range.count);
            part.grad_out[0] = rvx__slab_slices_of(&gradient, 0, range.skip, range.count);
            norm->add(&part, &slab);
        }
        norm->close(&sample, &slab);
    }
    const rvx_call whole = rvx__norm_conv_norm(call);
    norm->parameters(&whole, totals);
}

/* ---- phases -------------------------------------------------------------------------------------
 */

static void forward(const rvx_call *call, rvx_isa isa)
{
    const rvx_call norm = rvx__norm_conv_norm(call), conv = rvx__norm_conv_conv(call);
    rvx__op_norm_act.cpu[RVX_FORWARD][isa](&norm);
    rvx__op_conv.cpu[RVX_FORWARD][isa](&conv);
}

static void inverse(const rvx_call *call, rvx_isa isa)
{
    const rvx_call conv = rvx__norm_conv_conv(call);
    rvx__op_conv.cpu[RVX_INVERSE][isa](&conv);
}

static void backward_parameters(const rvx_call *call, rvx_isa isa)
{
    const rvx_call conv = rvx__norm_conv_conv(call);
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
    rvx_shape norm_out[3] = {in[RVX_NORM_CONV_X], out[1], out[2]};
    return larger(conv, rvx__op_norm_act.scratch(phase, in, norm_out, params, threads));
}

static int64_t norm_conv_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                      const rvx_op_params *params)
{
    rvx_shape x = in[RVX_NORM_CONV_X],
              part[3] = {x, in[RVX_NORM_CONV_WEIGHT], in[RVX_NORM_CONV_BIAS]};
    if (phase == RVX_FORWARD)
        return larger(rvx__op_conv.cuda_scratch(phase, in, out, params),
                      rvx__op_norm_act.cuda_scratch(phase, in, out, params));
    if (phase != RVX_BACKWARD_DATA)
        return rvx__op_conv.cuda_scratch(phase, in, out, params);
    int64_t conv = 0;
    const int64_t bytes = rvx__slab_bytes_cuda(params);
    for (int64_t first = 0; first < x.d; first += rvx__slab_slices(x, bytes)) {
        rvx__slab_range range = rvx__slab_make(x, params, bytes, first);
        rvx_shape y = out[0];
        part[0].n = y.n = 1;
        part[0].d = range.made;
        y.d = range.source_count;
        conv = larger(conv, rvx__op_conv.cuda_scratch(phase, part, &y, &range.params));
    }
    return rvx__slab_cuda_of(x, params).conv + conv;
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
    .in_max = RVX_NORM_CONV_INPUTS,
    .out_count = 3,
    .shape = norm_conv_shape,
    .parameter_inputs = 1u << RVX_NORM_CONV_WEIGHT | 1u << RVX_NORM_CONV_BIAS,
    .residual_inputs = 1u << RVX_NORM_CONV_RESIDUAL,
    .inverse_inputs = 1u << RVX_NORM_CONV_RESIDUAL,
    .reads_parameters = RVX_READS_IN(RVX_NORM_CONV_X) | RVX_READS_OUT(2),
    .reads_data = RVX_READS_IN(RVX_NORM_CONV_X) | RVX_READS_IN(RVX_NORM_CONV_WEIGHT) |
                  RVX_READS_IN(RVX_NORM_CONV_GAMMA) | RVX_READS_OUT(1) | RVX_READS_OUT(2),
    .stored_outputs = 1,
    .flags = RVX_OP_BF16 | RVX_OP_I16 | RVX_OP_INVERSE_IN_PLACE,
    .cost = norm_conv_cost,
    .scratch = norm_conv_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS_AMX(forward),
            [RVX_INVERSE] = RVX_CELLS_AMX(inverse),
            [RVX_BACKWARD_PARAMETERS] = RVX_CELLS_AMX(backward_parameters),
            [RVX_BACKWARD_DATA] = RVX_CELLS_AMX(backward_data)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_PARAMETERS) |
            RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = norm_conv_cuda_scratch,
};
