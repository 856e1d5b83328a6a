/* Mean over all voxels of a sample (global average pooling). Owns: its row, shape rule and scratch
 * size.
 *
 *   y[n, c] = mean of a[n, .., c],   a = fold(x);   grad_x[n, .., c] = grad_y[n, c] / voxels
 *
 * in: x [n][d][h][w][c]; out: y [n][1][1][1][c]. Backward reads nothing. */
#include "kernels/op.h"
#include "kernels/pieces.h"
#include "kernels/walk.h"

RVX_DECLARE_KERNEL(rvx__mean_pool_forward)
RVX_DECLARE_KERNEL(rvx__mean_pool_backward)

static rvx_status mean_pool_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                  const rvx_op_params *params, rvx_error *error)
{
    (void)in_count, (void)params, (void)error;
    out[0] = (rvx_shape){in[0].n, 1, 1, 1, in[0].c};
    return RVX_OK;
}

static rvx_cost mean_pool_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                               const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    double count = (double)rvx__shape_count(in[0]);
    return (rvx_cost){count, 4 * count};
}

/* Forward: a double a channel and piece. */
static int64_t mean_pool_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads)
{
    (void)out, (void)params, (void)threads;
    rvx_shape x = in[0];
    int64_t pieces = x.n * rvx__piece_count(x.d * x.h * x.w, x.c);
    return phase == RVX_FORWARD ? pieces * x.c * (int64_t)sizeof(double) : 0;
}

/* Forward: a double a channel and piece of the GPU's cut, and one a channel. */
static int64_t mean_pool_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                      const rvx_op_params *params)
{
    (void)out, (void)params;
    rvx_shape x = in[0];
    int64_t pieces = rvx__walk_of(x.d * x.h * x.w, x.c).pieces;
    return phase == RVX_FORWARD ? x.n * x.c * (pieces + 1) * (int64_t)sizeof(double) : 0;
}

const rvx_op rvx__op_mean_pool = {
    .name = "mean_pool",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = mean_pool_shape,
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDS | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = mean_pool_cost,
    .scratch = mean_pool_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__mean_pool_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__mean_pool_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
    .cuda_scratch = mean_pool_cuda_scratch,
};
