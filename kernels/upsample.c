/* Trilinear enlargement by whole factors. Owns: its row, shape rule and scratch size.
 *
 *   y[o] = (1 - t) a[i] + t a[min(i + 1, size - 1)]   along each axis, a = fold(x),
 *   s = max((o + 1/2) / factor - 1/2, 0),  i = floor s,  t = s - i
 *
 * which is PyTorch's interpolate(mode='trilinear', align_corners=False).
 * in: x [n][d][h][w][c]; out: y with each axis times params.kernel. Backward is the exact adjoint,
 * gathered by input voxel in a fixed order; it reads nothing. */
#include "kernels/op.h"

RVX_DECLARE_KERNEL(rvx__upsample_forward)
RVX_DECLARE_KERNEL(rvx__upsample_backward)

static rvx_status upsample_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                 const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    const int32_t *factor = params->kernel;
    for (int axis = 0; axis < 3; axis++)
        if (factor[axis] < 1 || factor[axis] > 64)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "upsample: factor %d along %c, expected 1 to 64", factor[axis],
                             "dhw"[axis]);
    out[0] = (rvx_shape){in[0].n, in[0].d * factor[0], in[0].h * factor[1], in[0].w * factor[2],
                         in[0].c};
    return RVX_OK;
}

static rvx_cost upsample_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                              const rvx_op_params *params)
{
    (void)phase, (void)params;
    double x = (double)rvx__shape_count(in[0]), y = (double)rvx__shape_count(out[0]);
    return (rvx_cost){8 * y, 4 * (x + y)};
}

/* One blended line per thread: of the input width forward, of the output width backward. */
static int64_t upsample_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                const rvx_op_params *params, int threads)
{
    (void)params;
    rvx_shape s = phase == RVX_FORWARD ? in[0] : out[0];
    return threads * ((s.w * s.c * (int64_t)sizeof(float) + 63) / 64 * 64);
}

const rvx_op rvx__op_upsample = {
    .name = "upsample",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = upsample_shape,
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDS | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = upsample_cost,
    .scratch = upsample_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__upsample_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__upsample_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
};
