/* Channels dealt out to four tensors. Owns: the row of deinterleave and its shape rule.
 *
 *   y_p[.., c] = x[.., p * C / 4 + c],   p = 0 .. 3
 *
 * in: x, its C channels a multiple of 4; out: y_0 .. y_3. As split does, but the parts are dense
 * tensors, in the memory of x where nothing else needs it, so that each can be resampled in its
 * place. Values move unchanged, whatever their type: the inverse is exact; backward reads nothing;
 * a part that no gradient reaches counts as zero. */
#include "kernels/interleave.h"

static rvx_status deinterleave_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                     const rvx_op_params *params, rvx_error *error)
{
    (void)in_count, (void)params;
    if (in[0].c % RVX_PARTS != 0 || in[0].c < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "deinterleave: %lld channels, expected a multiple of %d",
                         (long long)in[0].c, RVX_PARTS);
    for (int p = 0; p < RVX_PARTS; p++) {
        out[p] = in[0];
        out[p].c = in[0].c / RVX_PARTS;
    }
    return RVX_OK;
}

static rvx_cost deinterleave_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                  const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return rvx__interleave_cost(in[0]);
}

static int64_t deinterleave_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                    const rvx_op_params *params, int threads)
{
    (void)phase, (void)out, (void)params;
    return threads * rvx__interleave_thread_bytes(in[0]);
}

static int64_t deinterleave_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                         const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return rvx__interleave_aside_bytes(in[0]);
}

const rvx_op rvx__op_deinterleave = {
    .name = "deinterleave",
    .in_min = 1,
    .in_max = 1,
    .out_count = RVX_PARTS,
    .shape = deinterleave_shape,
    .stored_outputs = (1u << RVX_PARTS) - 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_PERMUTES | RVX_OP_PARTS | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = deinterleave_cost,
    .scratch = deinterleave_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__deinterleave_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__deinterleave_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__deinterleave_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = deinterleave_cuda_scratch,
};
