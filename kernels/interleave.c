/* Four tensors become the channels of one. Owns: the row of interleave and its shape rule.
 *
 *   y[.., p * c_x + c] = x_p[.., c],   p = 0 .. 3
 *
 * in: x_0 .. x_3 of one shape; out: y. As concat does, but y is dense in the memory of the parts
 * where these stand one after the other (see kernels/interleave.h). The inverse gives back all four
 * at once, exactly; backward reads nothing. */
#include "kernels/interleave.h"

static rvx_status interleave_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                   const rvx_op_params *params, rvx_error *error)
{
    (void)params;
    for (int i = 0; i < in_count; i++)
        if (!rvx__shape_equal(in[i], in[0]) || in[i].c < 1)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "interleave: input %d is [%lld %lld %lld %lld %lld], expected "
                             "[%lld %lld %lld %lld %lld] as input 0 (n d h w c)",
                             i, (long long)in[i].n, (long long)in[i].d, (long long)in[i].h,
                             (long long)in[i].w, (long long)in[i].c, (long long)in[0].n,
                             (long long)in[0].d, (long long)in[0].h, (long long)in[0].w,
                             (long long)in[0].c);
    out[0] = in[0];
    out[0].c = in[0].c * RVX_PARTS;
    return RVX_OK;
}

static rvx_cost interleave_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                const rvx_op_params *params)
{
    (void)phase, (void)in, (void)params;
    return rvx__interleave_cost(out[0]);
}

static int64_t interleave_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                  const rvx_op_params *params, int threads)
{
    (void)phase, (void)in, (void)params;
    return threads * rvx__interleave_thread_bytes(out[0]);
}

static int64_t interleave_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                       const rvx_op_params *params)
{
    (void)phase, (void)in, (void)params;
    return rvx__interleave_aside_bytes(out[0]);
}

const rvx_op rvx__op_interleave = {
    .name = "interleave",
    .in_min = RVX_PARTS,
    .in_max = RVX_PARTS,
    .out_count = 1,
    .shape = interleave_shape,
    .stored_outputs = 1,
    .inverse_inputs = (1u << RVX_PARTS) - 1,
    .flags = RVX_OP_PERMUTES | RVX_OP_PARTS | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = interleave_cost,
    .scratch = interleave_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__interleave_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__interleave_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__interleave_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = interleave_cuda_scratch,
};
