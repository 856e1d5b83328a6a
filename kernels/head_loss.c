/* A pointwise convolution to classes and the segmentation loss of its result, as one op: logits
 * exist for a few voxels at a time, and backward forms them again. Owns: the row and shape rule.
 *
 *   logits = a weight + bias,   a = fold(x);   loss as kernels/segmentation_loss.c says
 *
 * in:  x [n][d][h][w][C], weight [1][1][1][C][K] f32, bias [K] f32 (absent: 0),
 *      labels [n][d][h][w][1] u8
 * out: loss, statistics [n][1][1][K][6], summary [1][1][1][1][4]: as those of segmentation_loss
 * Backward reads all inputs, statistics and summary. The gradients of weight and bias come from the
 * same pass as that of x, as what they need is made there. All arithmetic is f32 (sums over many
 * voxels: double), whatever x is stored as. */
#include "kernels/cuda/loss_layout.h"
#include "kernels/head.h"

RVX_DECLARE_KERNEL(rvx__head_loss_forward)
RVX_DECLARE_KERNEL(rvx__head_loss_backward)

static rvx_status head_loss_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                  const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    rvx_shape x = in[0], labels = in[3];
    rvx_status status = rvx__head_check("head_loss", x, in[1], in[2], error);
    if (status != RVX_OK)
        return status;
    if (params->classes != 0 && params->classes != in[1].c)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "head_loss: the weight gives %lld classes, expected %d",
                         (long long)in[1].c, params->classes);
    if (labels.n != x.n || labels.d != x.d || labels.h != x.h || labels.w != x.w || labels.c != 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "head_loss: labels are [%lld %lld %lld %lld %lld], expected "
                         "[%lld %lld %lld %lld 1] (n d h w c)",
                         (long long)labels.n, (long long)labels.d, (long long)labels.h,
                         (long long)labels.w, (long long)labels.c, (long long)x.n, (long long)x.d,
                         (long long)x.h, (long long)x.w);
    out[0] = (rvx_shape){1, 1, 1, 1, 1};
    out[1] = (rvx_shape){x.n, 1, 1, in[1].c, 6};
    out[2] = (rvx_shape){1, 1, 1, 1, 4};
    return RVX_OK;
}

/* The sums of convolution and loss; backward forms the logits again. */
static rvx_cost head_loss_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                               const rvx_op_params *params)
{
    (void)out, (void)params;
    double voxels = (double)rvx__shape_voxels(in[0]), c = (double)in[0].c, k = (double)in[1].c;
    if (phase == RVX_FORWARD)
        return (rvx_cost){voxels * k * (2 * c + 30), voxels * (4 * c + 1)};
    return (rvx_cost){voxels * k * (6 * c + 35), voxels * (8 * c + 1)};
}

static int64_t head_loss_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads)
{
    (void)out, (void)params;
    return rvx__head_layout(phase, in[0], in[1].c, threads).bytes;
}

static int64_t head_loss_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                      const rvx_op_params *params)
{
    (void)out, (void)params;
    return rvx__loss_layout_of(phase, in[0], in[0].c, in[1].c, 1).bytes;
}

const rvx_op rvx__op_head_loss = {
    .name = "head_loss",
    .in_min = 4,
    .in_max = 4,
    .out_count = 3,
    .shape = head_loss_shape,
    .no_gradient_inputs = 1u << 3,
    .reads_data = RVX_READS_IN(0) | RVX_READS_IN(1) | RVX_READS_IN(2) | RVX_READS_IN(3) |
                  RVX_READS_OUT(1) | RVX_READS_OUT(2),
    .flags = RVX_OP_FOLDS | RVX_OP_BF16 | RVX_OP_I16,
    .cost = head_loss_cost,
    .scratch = head_loss_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__head_loss_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__head_loss_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
    .cuda_scratch = head_loss_cuda_scratch,
};
