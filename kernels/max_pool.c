/* Maximum over non-overlapping windows. Owns: its row and shape rule.
 *
 *   y[z, y, x, c] = max of a over the window kernel[3] at (z, y, x) * kernel,   a = fold(x)
 *
 * in: x [n][d][h][w][c]; out: y with each axis divided by its kernel, rounded down; voxels beyond
 * the last whole window take no part. Backward reads x only (with the same fold) and sends each
 * gradient to the first maximum of its window in d, h, w order, as PyTorch does. */
#include "kernels/op.h"

RVX_DECLARE_KERNEL(rvx__max_pool_forward)
RVX_DECLARE_KERNEL(rvx__max_pool_backward)

static rvx_status max_pool_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                 const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    const int32_t *kernel = params->kernel;
    int64_t size[3] = {in[0].d, in[0].h, in[0].w};
    for (int axis = 0; axis < 3; axis++) {
        if (kernel[axis] < 1 || kernel[axis] > size[axis])
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "max_pool: kernel %d along %c, expected 1 to the size %lld",
                             kernel[axis], "dhw"[axis], (long long)size[axis]);
        size[axis] /= kernel[axis];
    }
    if ((int64_t)kernel[0] * kernel[1] * kernel[2] > 1 << 20)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "max_pool: window above 2^20 voxels");
    out[0] = (rvx_shape){in[0].n, size[0], size[1], size[2], in[0].c};
    return RVX_OK;
}

static rvx_cost max_pool_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                              const rvx_op_params *params)
{
    (void)params;
    double read = (double)rvx__shape_count(in[0]), written = (double)rvx__shape_count(out[0]);
    if (phase == RVX_FORWARD)
        return (rvx_cost){read, 4 * (read + written)};
    return (rvx_cost){2 * read, 4 * (2 * read + written)};
}

const rvx_op rvx__op_max_pool = {
    .name = "max_pool",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = max_pool_shape,
    .reads_data = RVX_READS_IN(0),
    .stored_outputs = 1,
    .flags = RVX_OP_FOLDS | RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = max_pool_cost,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__max_pool_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__max_pool_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
};
