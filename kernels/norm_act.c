/* Normalisation and leaky ReLU as one op. Owns: its row, shape rule and scratch size.
 *
 *   y = leaky(gamma (x - mean) rstd + beta),   rstd = 1 / sqrt(variance + epsilon)
 *
 * Where x is an integer stream the sums are those of integers, exact.
 *
 * mean and biased variance over the voxels and channels of a group, per sample: instance norm
 * where params.groups is 0 (one group a channel; Ulyanov 2016), else group norm (Wu and He 2018);
 * or, with params.batch_statistics, over voxels and samples for each channel: batch norm (Ioffe and
 * Szegedy 2015). Inference then takes the running mean and variance instead. A training step moves
 * them in place, once (never in RVX_MODE_AGAIN):  r += momentum (s - r), s the step's own mean and
 * unbiased variance, as PyTorch does.
 *
 * in:  x [n][d][h][w][c], gamma [c] (absent: 1), beta [c] (absent: 0), running mean [c] and
 *      variance [c] (batch norm only; absent: the batch's own always)
 * out: y like x (written only where it has data), statistics [n][1][1][groups][2] of mean and
 *      rstd, fold table [n][1][1][3][c] of scale, shift and slope with y = fold(x).
 * Backward reads x, gamma, statistics and the fold table, never y; the slope counts where the
 * value before it is not above 0, as in PyTorch. */
#include "kernels/norm_cuda.h"
#include "kernels/op.h"
#include "kernels/pieces.h"

RVX_DECLARE_KERNEL(rvx__norm_act_forward)
RVX_DECLARE_KERNEL(rvx__norm_act_backward)

static rvx_status parameter_check(rvx_shape s, const char *name, int64_t c, rvx_error *error)
{
    if (s.c != 0 && (s.c != c || rvx__shape_voxels(s) != 1))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "norm_act: %s has %lld values, expected %lld, one a channel", name,
                         (long long)rvx__shape_count(s), (long long)c);
    return RVX_OK;
}

static rvx_status norm_act_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                 const rvx_op_params *params, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_shape x = in[0];
    int64_t groups = params->groups ? params->groups : x.c;
    if (x.c < 1 || groups < 1 || x.c % groups != 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "norm_act: %lld channels do not divide into %lld groups", (long long)x.c,
                         (long long)groups);
    if (params->batch_statistics && params->groups)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "norm_act: batch statistics of %d groups; they are those of channels",
                         params->groups);
    int64_t samples = params->batch_statistics ? x.n : 1;
    if (samples * x.d * x.h * x.w * (x.c / groups) < 2)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "norm_act: a group has one value only, so its variance means nothing; "
                         "use larger patches or fewer stages");
    if (!(params->epsilon > 0))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "norm_act: epsilon is %g, expected above 0",
                         (double)params->epsilon);
    if (in_count > 1)
        RVX_TRY(parameter_check(in[1], "gamma", x.c, error));
    if (in_count > 2)
        RVX_TRY(parameter_check(in[2], "beta", x.c, error));
    if (in_count > 3)
        RVX_TRY(parameter_check(in[3], "running mean", x.c, error));
    if (in_count > 4)
        RVX_TRY(parameter_check(in[4], "running variance", x.c, error));
    out[0] = x;
    out[1] = (rvx_shape){x.n, 1, 1, groups, 2};
    out[2] = (rvx_shape){x.n, 1, 1, 3, x.c};
cleanup:
    return status;
}

static rvx_cost norm_act_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                              const rvx_op_params *params)
{
    (void)out, (void)params;
    double count = (double)rvx__shape_count(in[0]);
    if (phase == RVX_FORWARD)
        return (rvx_cost){8 * count, 12 * count}; /* x twice, y once */
    return (rvx_cost){16 * count, 20 * count};    /* x and grad_y twice, grad_x once */
}

/* Two doubles a channel and piece; backward also four f32 rows a sample. */
static int64_t norm_act_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                const rvx_op_params *params, int threads)
{
    (void)out, (void)params, (void)threads;
    rvx_shape x = in[0];
    int64_t pieces = x.n * rvx__piece_count(x.d * x.h * x.w, x.c);
    int64_t bytes = pieces * x.c * 2 * (int64_t)sizeof(double);
    return phase == RVX_FORWARD ? bytes : bytes + x.n * x.c * 4 * (int64_t)sizeof(float);
}

static int64_t norm_act_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                     const rvx_op_params *params)
{
    (void)out, (void)params;
    return rvx__norm_cuda_of(phase, in[0]).bytes;
}

const rvx_op rvx__op_norm_act = {
    .name = "norm_act",
    .in_min = 1,
    .in_max = 5,
    .out_count = 3,
    .shape = norm_act_shape,
    .no_gradient_inputs = 1u << 3 | 1u << 4,
    .reads_data = RVX_READS_IN(0) | RVX_READS_IN(1) | RVX_READS_OUT(1) | RVX_READS_OUT(2),
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDABLE | RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_CHEAP |
             RVX_OP_BF16 | RVX_OP_I16,
    .cost = norm_act_cost,
    .scratch = norm_act_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__norm_act_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__norm_act_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
    .cuda_scratch = norm_act_cuda_scratch,
};
