/* The op row of the transposed convolution: shape rule, cost and scratch. Kernels: see
 * conv_transpose.h; the weight gradient stands in cpu/conv_weight.c. */
#include "kernels/conv_transpose.h"

#include "kernels/conv_amx_weight.h"
#include "kernels/cpu/conv_weight.h"
#include "kernels/cuda/conv_sizes.h"

static const char axis_names[3] = {'d', 'h', 'w'};

static rvx_status conv_transpose_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                       const rvx_op_params *params, rvx_error *error)
{
    const int64_t length[3] = {in[0].d, in[0].h, in[0].w};
    const int64_t weight[3] = {in[1].n, in[1].d, in[1].h};
    if (in[0].n < 1 || in[0].c < 1)
        return rvx__fail(
            error, RVX_ERROR_ARGUMENT,
            "conv_transpose: input has %lld samples and %lld channels; expected at least one",
            (long long)in[0].n, (long long)in[0].c);
    if (params->channels_out < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv_transpose: channels_out is %d; expected at least 1",
                         params->channels_out);
    for (int i = 0; i < 3; i++) {
        int32_t kernel = params->kernel[i];
        if (kernel < 1 || kernel > 1024 || params->stride[i] != kernel || params->pad[i] != 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "conv_transpose: along %c kernel %d, stride %d, pad %d; expected "
                             "kernel = stride from 1 to 1024, no pad",
                             axis_names[i], kernel, params->stride[i], params->pad[i]);
        if (weight[i] != kernel)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "conv_transpose: along %c the weight has %lld taps; expected kernel "
                             "%d",
                             axis_names[i], (long long)weight[i], kernel);
        if (length[i] < 1 || length[i] > INT64_MAX / 1024)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "conv_transpose: input has length %lld along %c; expected at least 1",
                             (long long)length[i], axis_names[i]);
    }
    if (in[1].w != in[0].c || in[1].c != params->channels_out)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv_transpose: weight maps %lld to %lld channels; expected %lld to %d",
                         (long long)in[1].w, (long long)in[1].c, (long long)in[0].c,
                         params->channels_out);
    if (in_count > 2 && in[2].c != 0 &&
        (in[2].c != params->channels_out || rvx__shape_voxels(in[2]) != 1))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "conv_transpose: bias has %lld values in %lld voxels; expected %d in one",
                         (long long)in[2].c, (long long)rvx__shape_voxels(in[2]),
                         params->channels_out);
    out[0] = (rvx_shape){in[0].n, length[0] * params->kernel[0], length[1] * params->kernel[1],
                         length[2] * params->kernel[2], params->channels_out};
    return RVX_OK;
}

static rvx_cost conv_transpose_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                    const rvx_op_params *params)
{
    (void)phase; /* every phase does the same products over the same three tensors */
    (void)params;
    double elements = (double)rvx__shape_count(in[0]) + (double)rvx__shape_count(out[0]) +
                      (double)rvx__shape_count(in[1]);
    return (rvx_cost){.flops = 2.0 * (double)rvx__shape_count(out[0]) * (double)in[0].c,
                      .bytes = 4.0 * elements};
}

static int64_t conv_transpose_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                      const rvx_op_params *params, int threads)
{
    const int64_t taps = (int64_t)params->kernel[0] * params->kernel[1] * params->kernel[2];
    int64_t bytes, tiles;
    if (phase == RVX_BACKWARD_PARAMETERS) {
        const rvx__conv_weight_geometry g =
            rvx__conv_weight_geometry_of(&in[0], &out[0], params, true);
        bytes = rvx__conv_weight_bytes(&g, threads);
        tiles = rvx__amx_weight_scratch(1, in, out, params, threads);
    } else if (phase == RVX_BACKWARD_DATA) {
        bytes = 4 * rvx__transpose_weight_floats(taps, out[0].c, in[0].c);
        tiles = rvx__amx_scratch(RVX__AMX_TRANSPOSE_DATA, in, out, params, threads);
    } else if (phase == RVX_FORWARD) { /* and the folded input of one piece per thread */
        bytes = 4 * (rvx__transpose_weight_floats(taps, in[0].c, out[0].c) +
                     threads * RVX__TRANSPOSE_PIECE_VOXELS * in[0].c);
        tiles = rvx__amx_scratch(RVX__AMX_TRANSPOSE_FORWARD, in, out, params, threads);
    } else
        return 0;
    return bytes > tiles ? bytes : tiles;
}

static int64_t conv_transpose_cuda_scratch(rvx_phase phase, const rvx_shape *in,
                                           const rvx_shape *out, const rvx_op_params *params)
{
    if (phase == RVX_BACKWARD_PARAMETERS)
        return rvx__cuda_weight_scratch(&in[0], &out[0], params, 1);
    const rvx__cuda_gather gather = phase == RVX_BACKWARD_DATA
                                        ? rvx__cuda_gather_of(&out[0], &in[0], params, 0, 1)
                                        : rvx__cuda_gather_of(&in[0], &out[0], params, 1, 0);
    return rvx__cuda_correlate_bytes(&gather);
}

const rvx_op rvx__op_conv_transpose = {
    .name = "conv_transpose",
    .in_min = 2,
    .in_max = 3,
    .out_count = 1,
    .shape = conv_transpose_shape,
    .parameter_inputs = 1u << 1 | 1u << 2,
    .reads_parameters = RVX_READS_IN(0),
    .reads_data = RVX_READS_IN(1),
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDS | RVX_OP_BF16 | RVX_OP_I16,
    .cost = conv_transpose_cost,
    .scratch = conv_transpose_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS_AMX(rvx__conv_transpose_forward),
            [RVX_BACKWARD_PARAMETERS] = RVX_CELLS_AMX(rvx__conv_transpose_backward_parameters),
            [RVX_BACKWARD_DATA] = RVX_CELLS_AMX(rvx__conv_transpose_backward_data)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_PARAMETERS) |
            RVX_CUDA_HAS(RVX_BACKWARD_DATA),
    .cuda_scratch = conv_transpose_cuda_scratch,
};
