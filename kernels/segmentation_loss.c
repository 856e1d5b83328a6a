/* Cross entropy plus soft Dice for segmentation. Owns: its row, shape rule and scratch size.
 *
 *   loss = weight (CE + Dice)
 *   CE   = mean over valid voxels of -ln p[label],   p = softmax of the logits over channels
 *   Dice = - mean over (sample, class) of (2 I + s) / max(P + G + s, 1e-8)
 *   I = sum of p[k] where label = k,   P = sum of p[k],   G = count of label k
 *
 * as in nnU-Net's DC_and_CE_loss (Isensee 2021): per-sample Dice, class 0 left out of Dice unless
 * include_background, s = params.smooth. A voxel is valid unless its label is params.ignore_label
 * or is not below the number of classes (the loader refuses such labels; a kernel cannot fail and
 * treats them as ignored). Without any valid voxel CE is 0, not NaN.
 *
 * in:  logits [n][d][h][w][K] f32, labels [n][d][h][w][1] u8
 * out: loss, scalar
 *      statistics [n][1][1][K][6]: I, P, G, true positives, false positives, false negatives of
 *      the hard prediction (largest logit, the first of equals). Counts are the nearest f32.
 *      summary [1][1][1][1][4]: CE, Dice, and the number of valid voxels of the batch as
 *      high * 2^24 + low, exact to 2^48
 * Backward reads logits, labels, statistics and summary; an absent grad of the loss counts as 1.
 * Gradients of statistics and summary are not formed. */
#include "kernels/cuda/loss_layout.h"
#include "kernels/op.h"
#include "kernels/pieces.h"

RVX_DECLARE_KERNEL(rvx__segmentation_loss_forward)
RVX_DECLARE_KERNEL(rvx__segmentation_loss_backward)

static rvx_status loss_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                             const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    rvx_shape x = in[0], labels = in[1];
    if (x.c < 2 || x.c > 256)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "segmentation_loss: logits have %lld channels, expected 2 to 256",
                         (long long)x.c);
    if (params->classes != 0 && params->classes != x.c)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "segmentation_loss: logits have %lld channels, expected %d classes",
                         (long long)x.c, params->classes);
    if (labels.n != x.n || labels.d != x.d || labels.h != x.h || labels.w != x.w || labels.c != 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "segmentation_loss: labels are [%lld %lld %lld %lld %lld], expected "
                         "[%lld %lld %lld %lld 1] (n d h w c)",
                         (long long)labels.n, (long long)labels.d, (long long)labels.h,
                         (long long)labels.w, (long long)labels.c, (long long)x.n, (long long)x.d,
                         (long long)x.h, (long long)x.w);
    out[0] = (rvx_shape){1, 1, 1, 1, 1};
    out[1] = (rvx_shape){x.n, 1, 1, x.c, 6};
    out[2] = (rvx_shape){1, 1, 1, 1, 4};
    return RVX_OK;
}

static rvx_cost loss_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                          const rvx_op_params *params)
{
    (void)out, (void)params;
    double voxels = (double)rvx__shape_voxels(in[0]), count = voxels * (double)in[0].c;
    if (phase == RVX_FORWARD)
        return (rvx_cost){30 * count, 4 * count + voxels};
    return (rvx_cost){35 * count, 8 * count + voxels};
}

/* Forward, per piece: 1 + 5 K doubles (see kernels/cpu/segmentation_loss.c). Backward: two f32
 * coefficients a sample and class. */
static int64_t loss_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                            const rvx_op_params *params, int threads)
{
    (void)out, (void)params, (void)threads;
    rvx_shape x = in[0];
    if (phase != RVX_FORWARD)
        return x.n * x.c * 2 * (int64_t)sizeof(float);
    int64_t pieces = x.n * rvx__piece_count(x.d * x.h * x.w, x.c);
    return pieces * (1 + 5 * x.c) * (int64_t)sizeof(double);
}

static int64_t loss_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params)
{
    (void)out, (void)params;
    return rvx__loss_layout_of(phase, in[0], 0, in[0].c, 1).bytes;
}

const rvx_op rvx__op_segmentation_loss = {
    .name = "segmentation_loss",
    .in_min = 2,
    .in_max = 2,
    .out_count = 3,
    .shape = loss_shape,
    .no_gradient_inputs = 1u << 1,
    .reads_data = RVX_READS_IN(0) | RVX_READS_IN(1) | RVX_READS_OUT(1) | RVX_READS_OUT(2),
    .cost = loss_cost,
    .scratch = loss_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__segmentation_loss_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__segmentation_loss_backward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA),
    .cuda_scratch = loss_cuda_scratch,
};
