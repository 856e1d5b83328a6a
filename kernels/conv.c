/* The op row of the convolution: shape rule, cost and scratch. Kernels: see conv.h. */
#include "kernels/conv.h"

#include "kernels/conv_amx_weight.h"
#include "kernels/conv_plan.h"
#include "kernels/cuda/conv_sizes.h"

static const char axis_names[3] = {'d', 'h', 'w'};

static rvx_status conv_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                             const rvx_op_params *params, rvx_error *error)
{
    const int64_t length[3] = {in[0].d, in[0].h, in[0].w};
    const int64_t weight[3] = {in[1].n, in[1].d, in[1].h};
    int64_t result[3];
    if (in[0].n < 1 || in[0].c < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv: input has %lld samples and %lld channels; expected at least one",
                         (long long)in[0].n, (long long)in[0].c);
    if (params->channels_out < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "conv: channels_out is %d; expected at least 1",
                         params->channels_out);
    for (int i = 0; i < 3; i++) {
        int32_t kernel = params->kernel[i], stride = params->stride[i], pad = params->pad[i];
        if (kernel < 1 || stride < 1 || pad < 0 || pad >= kernel || kernel > 1024 || stride > 1024)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "conv: along %c kernel %d, stride %d, pad %d; expected kernel and "
                             "stride from 1 to 1024 and 0 <= pad < kernel",
                             axis_names[i], kernel, stride, pad);
        if (weight[i] != kernel)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "conv: along %c the weight has %lld taps; expected kernel %d",
                             axis_names[i], (long long)weight[i], kernel);
        if (length[i] < 1 || length[i] + 2 * (int64_t)pad < kernel)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "conv: along %c length %lld with pad %d is shorter than kernel %d",
                             axis_names[i], (long long)length[i], pad, kernel);
        result[i] = (length[i] + 2 * (int64_t)pad - kernel) / stride + 1;
    }
    if (in[1].w != in[0].c || in[1].c != params->channels_out)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv: weight maps %lld to %lld channels; expected %lld to %d",
                         (long long)in[1].w, (long long)in[1].c, (long long)in[0].c,
                         params->channels_out);
    if (in_count > 2 && in[2].c != 0 &&
        (in[2].c != params->channels_out || rvx__shape_voxels(in[2]) != 1))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv: bias has %lld values in %lld voxels; expected %d in one",
                         (long long)in[2].c, (long long)rvx__shape_voxels(in[2]),
                         params->channels_out);
    out[0] = (rvx_shape){in[0].n, result[0], result[1], result[2], params->channels_out};
    if (in_count > RVX_CONV_RESIDUAL && in[RVX_CONV_RESIDUAL].c != 0 &&
        !rvx__shape_equal(in[RVX_CONV_RESIDUAL], out[0]))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv: the residual does not have the shape of the result");
    return RVX_OK;
}

/* Products that meet the input, not the padding, along one axis. */
static int64_t axis_products(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad)
{
    int64_t products = 0;
    for (int64_t o = 0; o < out; o++) {
        int64_t low = o * stride - pad, high = low + kernel;
        products += (high < in ? high : in) - (low > 0 ? low : 0);
    }
    return products;
}

static rvx_cost conv_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                          const rvx_op_params *params)
{
    const int64_t x[3] = {in[0].d, in[0].h, in[0].w}, y[3] = {out[0].d, out[0].h, out[0].w};
    double flops = 2.0 * (double)in[0].n * (double)in[0].c * (double)out[0].c;
    for (int i = 0; i < 3; i++)
        flops *=
            (double)axis_products(x[i], y[i], params->kernel[i], params->stride[i], params->pad[i]);
    (void)phase; /* every phase does the same products over the same three tensors */
    double elements = (double)rvx__shape_count(in[0]) + (double)rvx__shape_count(out[0]) +
                      (double)rvx__shape_count(in[1]);
    return (rvx_cost){.flops = flops, .bytes = 4.0 * elements};
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t conv_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                            const rvx_op_params *params, int threads)
{
    rvx__correlation_plan plan;
    if (phase == RVX_BACKWARD_PARAMETERS)
        return larger(rvx__conv_weight_scratch(in, out, params, threads),
                      rvx__amx_weight_scratch(0, in, out, params, threads));
    rvx__correlation_plan_make(&plan, in, out, params, phase == RVX_BACKWARD_DATA, threads);
    const int64_t tiles =
        rvx__amx_scratch(phase == RVX_BACKWARD_DATA ? RVX__AMX_CONV_DATA : RVX__AMX_CONV_FORWARD,
                         in, out, params, threads);
    return larger(plan.scratch_bytes, tiles);
}

static int64_t conv_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params)
{
    if (phase == RVX_BACKWARD_PARAMETERS)
        return rvx__cuda_weight_scratch(&in[0], &out[0], params, 0);
    const rvx__cuda_gather gather = phase == RVX_BACKWARD_DATA
                                        ? rvx__cuda_gather_of(&out[0], &in[0], params, 1, 1)
                                        : rvx__cuda_gather_of(&in[0], &out[0], params, 0, 0);
    return rvx__cuda_correlate_bytes(&gather);
}

const rvx_op rvx__op_conv = {
    .name = "conv",
    .in_min = 2,
    .in_max = 4,
    .out_count = 1,
    .shape = conv_shape,
    .parameter_inputs = 1u << 1 | 1u << 2,
    .residual_inputs = 1u << RVX_CONV_RESIDUAL,
    .inverse_inputs = 1u << RVX_CONV_RESIDUAL,
    .reads_parameters = RVX_READS_IN(0),
    .reads_data = RVX_READS_IN(1),
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDS | RVX_OP_BF16 | RVX_OP_I16 | RVX_OP_INVERSE_IN_PLACE,
    .cost = conv_cost,
    .scratch = conv_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS_AMX(rvx__conv_forward),
            [RVX_BACKWARD_PARAMETERS] = RVX_CELLS_AMX(rvx__conv_backward_parameters),
            [RVX_BACKWARD_DATA] = RVX_CELLS_AMX(rvx__conv_backward_data),
            [RVX_INVERSE] = RVX_CELLS_AMX(rvx__conv_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_PARAMETERS) |
            RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = conv_cuda_scratch,
};
