/* iUNet in 2D and 3D (Etmann, Ke, Schoenlieb 2020): fully invertible between stem and head, no
 * pooling. Couplings exchange the halves: y1 = x2, y2 = x1 + F(x2), with F = [3^d convolution
 * without bias, instance norm, leaky ReLU 0.01] twice. An odd number of channels is halved rounding
 * down; as halves change places, couplings then take turns. Between levels some channels are sliced
 * off and ARE the skip connection; the others go through an orthogonal matrix per channel, learnt
 * by its Cayley transform, that makes channels of blocks of voxels. The decoder is the mirror
 * image, with matrices of its own that start as the encoder's.
 *
 * For segmentation the authors put ordinary convolutions around it: here a 3^d stem, and a 1^d head
 * (theirs is 3^d; a pointwise one needs no logits in memory). F is that of the paper, not of the
 * released code (one convolution, leaky ReLU before a norm over all channels), and starts like any
 * other convolution, not as zero. */
#include "models/iunet.h"
#include "engine/graph/reversible.h"
#include "models/models.h"

#include <math.h>

rvx_status rvx__iunet_layout_of(rvx_iunet_layout *layout, const int *wished, const int strides[][3],
                                int stage_count, rvx_error *error)
{
    *layout = (rvx_iunet_layout){.channels = {wished[0]}};
    for (int level = 0; level < stage_count; level++) {
        int channels = layout->channels[level];
        if (channels < 2)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "iunet: widths[%d] gives a level of %d channel, expected at least 2",
                             level, channels);
        if (level + 1 == stage_count)
            break;
        const int *stride = strides[level + 1];
        int block = stride[0] * stride[1] * stride[2];
        int skipped = (int)lrint(channels - (double)wished[level + 1] / block);
        skipped = skipped < 1 ? 1 : skipped > channels - 1 ? channels - 1 : skipped;
        layout->skipped[level] = skipped;
        layout->channels[level + 1] = (channels - skipped) * block;
    }
    return RVX_OK;
}

/* One network: its layout and how many dimensions it has. */
typedef struct iunet {
    const rvx_model_config *config;
    rvx_iunet_layout layout;
    int dimensions;
} iunet;

static rvx_conv conv_of(const iunet *net, int level, int channels)
{
    rvx_conv conv = {.channels = channels, .no_bias = true};
    for (int axis = 0; axis < 3; axis++)
        conv.kernel[axis] = axis < 3 - net->dimensions ? 1 : net->config->kernels[level][axis];
    return conv;
}

static rvx_value unit(rvx_graph *g, rvx_value x, const char *scope, rvx_conv conv)
{
    rvx__scope_push(g, "%s", scope);
    x = rvx__conv(g, x, conv);
    x = rvx__norm_act(g, x, 0, 1e-5f, 0.01f);
    rvx__scope_pop(g);
    return x;
}

/* (x1, x2) -> (x2, x1 + F(x2)) */
static void couple(rvx_graph *g, const iunet *net, rvx_value x[2], int level)
{
    int to = (int)rvx__shape(g, x[0]).c, from = (int)rvx__shape(g, x[1]).c;
    rvx_value f = unit(g, x[1], "unit0", conv_of(net, level, to > from ? to : from));
    f = unit(g, f, "unit1", conv_of(net, level, to));
    rvx_value sum = rvx__add(g, x[0], f);
    x[0] = x[1];
    x[1] = sum;
}

static rvx_value sequence(rvx_graph *g, const iunet *net, rvx_value x, int level, int depth)
{
    rvx_value half[2];
    rvx__split(g, half, x, net->layout.channels[level] / 2);
    for (int i = 0; i < depth; i++) {
        rvx__scope_push(g, "block%d", i);
        couple(g, net, half, level);
        rvx__scope_pop(g);
    }
    return rvx__concat(g, half[0], half[1]);
}

/* From level to level + 1, and back. */
static void descend(rvx_graph *g, const iunet *net, rvx_value *skip, rvx_value *x, int level)
{
    rvx_value part[2];
    rvx__split(g, part, *x, net->layout.skipped[level]);
    rvx__scope_push(g, "down");
    *skip = part[0];
    *x = rvx__orthogonal_down(g, part[1], net->config->strides[level + 1], false);
    rvx__scope_pop(g);
}

static rvx_value ascend(rvx_graph *g, const iunet *net, rvx_value skip, rvx_value x, int level)
{
    rvx__scope_push(g, "up");
    x = rvx__orthogonal_up(g, x, net->config->strides[level + 1], false);
    rvx__scope_pop(g);
    return rvx__concat(g, skip, x);
}

static rvx_value body(rvx_graph *g, const iunet *net, rvx_value x)
{
    const rvx_model_config *config = net->config;
    rvx_value skip[RVX_STAGES_MAX];
    int last = config->stage_count - 1;
    for (int level = 0; level < last; level++) {
        rvx__scope_push(g, "enc%d", level);
        x = sequence(g, net, x, level, config->depth);
        descend(g, net, &skip[level], &x, level);
        rvx__scope_pop(g);
    }
    rvx__scope_push(g, "bottom");
    x = sequence(g, net, x, last, config->depth);
    rvx__scope_pop(g);
    for (int level = last - 1; level >= 0; level--) {
        rvx__scope_push(g, "dec%d", level);
        x = ascend(g, net, skip[level], x, level);
        x = sequence(g, net, x, level,
                     config->decoder_depth ? config->decoder_depth : config->depth);
        rvx__scope_pop(g);
    }
    return x;
}

/* A network of 2 dimensions takes every slice for itself. */
static bool strides_fit(rvx_graph *g, const rvx_model_config *config, int dimensions)
{
    for (int level = 1; level < config->stage_count && dimensions == 2; level++)
        if (config->strides[level][0] != 1) {
            rvx__fail(
                &g->error, RVX_ERROR_ARGUMENT,
                "iunet2d: strides[%d] is %d across slices, expected 1; iunet3d takes volumes, "
                "and a patch of one slice gives such strides",
                level, config->strides[level][0]);
            return false;
        }
    return true;
}

static int build(rvx_graph *g, rvx_value x, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX], int dimensions)
{
    iunet net = {.config = config, .dimensions = dimensions};
    logits[0] = RVX_NO_VALUE;
    if (!strides_fit(g, config, dimensions) ||
        rvx__iunet_layout_of(&net.layout, config->widths, config->strides, config->stage_count,
                             &g->error) != RVX_OK)
        return 1;
    rvx_conv stem = conv_of(&net, 0, config->widths[0]);
    stem.no_bias = false;
    rvx__scope_push(g, "stem");
    x = rvx__round(g, rvx__conv(g, x, stem));
    rvx__scope_pop(g);
    x = body(g, &net, x);
    rvx__scope_push(g, "head0");
    logits[0] = rvx__conv(
        g, x, (rvx_conv){.channels = config->classes, .kernel = {1, 1, 1}, .f32_output = true});
    rvx__scope_pop(g);
    return 1;
}

static int build_2d(rvx_graph *g, rvx_value image, const rvx_model_config *config,
                    rvx_value logits[RVX_STAGES_MAX])
{
    return build(g, image, config, logits, 2);
}

static int build_3d(rvx_graph *g, rvx_value image, const rvx_model_config *config,
                    rvx_value logits[RVX_STAGES_MAX])
{
    return build(g, image, config, logits, 3);
}

const rvx_model rvx__model_iunet2d = {
    .name = "iunet2d",
    .summary = "fully invertible 2D U-Net, learnable orthogonal resampling (Etmann et al. 2020)",
    .defaults = {.in_channels = 1,
                 .classes = 5,
                 .stage_count = 4,
                 .widths = {64, 128, 256, 512},
                 .strides = {{1, 1, 1}, {1, 2, 2}, {1, 2, 2}, {1, 2, 2}},
                 .depth = 2,
                 .groups = 1},
    .build = build_2d};

const rvx_model rvx__model_iunet3d = {
    .name = "iunet3d",
    .summary = "fully invertible 3D U-Net, learnable orthogonal resampling (Etmann et al. 2020)",
    .defaults = {.in_channels = 1,
                 .classes = 5,
                 .stage_count = 4,
                 .widths = {7, 16, 32, 92},
                 .strides = {{1, 1, 1}, {2, 2, 2}, {2, 2, 2}, {1, 2, 2}},
                 .depth = 2,
                 .groups = 1},
    .build = build_3d};
