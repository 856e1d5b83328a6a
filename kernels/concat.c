/* Concatenation along channels. Owns: its row and shape rule.
 *
 *   y[.., first_i + c] = x_i[.., c],   first_i = channels of the inputs before x_i
 *
 * in: 1 to 8 tensors that agree in all but c; out: y. The planner makes the inputs channel slices
 * of the output where it can (RVX_OP_VIEW); the kernels are the copies where it cannot, and skip
 * an input that already stands in its place. Backward reads nothing. Inverse: every input that has
 * memory, exact. */
#include "kernels/op.h"

RVX_DECLARE_KERNEL(rvx__concat_forward)
RVX_DECLARE_KERNEL(rvx__concat_backward)
RVX_DECLARE_KERNEL(rvx__concat_inverse)

static rvx_status concat_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                               const rvx_op_params *params, rvx_error *error)
{
    (void)params;
    rvx_shape y = in[0];
    y.c = 0;
    for (int i = 0; i < in_count; i++) {
        rvx_shape x = in[i];
        if (x.c < 1)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "concat: input %d is absent", i);
        if (x.n != y.n || x.d != y.d || x.h != y.h || x.w != y.w)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "concat: input %d is [%lld %lld %lld %lld], expected "
                             "[%lld %lld %lld %lld] as input 0 (n d h w)",
                             i, (long long)x.n, (long long)x.d, (long long)x.h, (long long)x.w,
                             (long long)y.n, (long long)y.d, (long long)y.h, (long long)y.w);
        y.c += x.c;
    }
    out[0] = y;
    return RVX_OK;
}

static rvx_cost concat_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                            const rvx_op_params *params)
{
    (void)phase, (void)in, (void)params;
    return (rvx_cost){0, 8 * (double)rvx__shape_count(out[0])};
}

const rvx_op rvx__op_concat = {
    .name = "concat",
    .in_min = 1,
    .in_max = RVX_IN_MAX,
    .out_count = 1,
    .shape = concat_shape,
    .flags = RVX_OP_VIEW | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = concat_cost,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__concat_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__concat_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__concat_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
};
