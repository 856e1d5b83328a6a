/* Labels of a segmentation head, without its logits: class with the largest logit, the first of
 * equals. Owns: the row and shape rule.
 *
 *   labels = argmax over k of (a weight + bias)[k],   a = fold(x)
 *
 * in:  x [n][d][h][w][C], weight [1][1][1][C][K] f32, bias [K] f32 (absent: 0)
 * out: labels [n][d][h][w][1], u8
 * There is no backward. The logits have the bits of those of head_loss. */
#include "kernels/cuda/loss_layout.h"
#include "kernels/head.h"

RVX_DECLARE_KERNEL(rvx__head_labels_forward)

static rvx_status head_labels_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                                    const rvx_op_params *params, rvx_error *error)
{
    (void)params;
    rvx_status status =
        rvx__head_check("head_labels", in[0], in[1], in_count > 2 ? in[2] : (rvx_shape){0}, error);
    out[0] = (rvx_shape){in[0].n, in[0].d, in[0].h, in[0].w, 1};
    return status;
}

static rvx_cost head_labels_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    double voxels = (double)rvx__shape_voxels(in[0]), c = (double)in[0].c, k = (double)in[1].c;
    return (rvx_cost){voxels * k * (2 * c + 2), voxels * (4 * c + 1)};
}

static int64_t head_labels_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                   const rvx_op_params *params, int threads)
{
    (void)out, (void)params;
    return rvx__head_layout(phase, in[0], 0, threads).bytes;
}

static int64_t head_labels_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                        const rvx_op_params *params)
{
    (void)out, (void)params;
    return rvx__loss_layout_of(phase, in[0], in[0].c, in[1].c, 0).bytes;
}

const rvx_op rvx__op_head_labels = {
    .name = "head_labels",
    .in_min = 2,
    .in_max = 3,
    .out_count = 1,
    .shape = head_labels_shape,
    .flags = RVX_OP_FOLDS | RVX_OP_BF16 | RVX_OP_I16,
    .cost = head_labels_cost,
    .scratch = head_labels_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__head_labels_forward)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD),
    .cuda_scratch = head_labels_cuda_scratch,
};
