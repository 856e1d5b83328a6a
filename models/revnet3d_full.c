/* Fully reversible 3D segmenter: no pooling, no strided convolution, nothing stored for backward
 * but the streams. Level l has w_l channels in two halves a and b. Its couplings are a += F(b), b
 * += G(a) with F = G = instance norm, leaky ReLU 0.01, convolution without bias, of the stage's
 * kernel (3^3 unless it is flat). Then b goes through space-to-depth; of the result the first half
 * is parked, the second is level l + 1. Its quarters are tensors of their own, so that each goes
 * down in its own memory. So three quarters of the channels (a, and what is parked) skip to the
 * decoder and one quarter goes down: w_(l+1) = w_l / 4 * voxels of a block, twice w_l for blocks of
 * 2^3, and every level keeps w_0 values per voxel of the image, skips included. The decoder is the
 * mirror image. The head reads half a of level 0, whose last update has seen the other half.
 *
 * With 16-bit streams and gradients the streams take 4 w_0 bytes a voxel at their peak, whatever
 * the depth and the number of levels. Channel-split skips: Etmann, Ke, Schoenlieb 2020 (iUNet);
 * additive couplings: Gomez et al. 2017; pre-activation: He et al. 2016. The network is our own. */
#include "engine/graph/reversible.h"
#include "models/models.h"

static rvx_value branch(rvx_graph *g, rvx_value x, const void *argument)
{
    const int *kernel = argument;
    int channels = (int)rvx__shape(g, x).c;
    rvx__scope_push(g, "norm");
    x = rvx__norm_act(g, x, 0, 1e-5f, 0.01f);
    rvx__scope_pop(g);
    rvx__scope_push(g, "conv");
    x = rvx__conv(g, x,
                  (rvx_conv){.channels = channels,
                             .kernel = {kernel[0], kernel[1], kernel[2]},
                             .no_bias = true});
    rvx__scope_pop(g);
    return x;
}

static void sequence(rvx_graph *g, rvx_value x[2], const int kernel[3], int depth, bool last)
{
    for (int i = 0; i < depth; i++) {
        rvx__scope_push(g, "block%d", i);
        rvx__couple_halves(g, x, branch, last && i == depth - 1 ? NULL : branch, kernel);
        rvx__scope_pop(g);
    }
}

static rvx_value stem(rvx_graph *g, rvx_value image, const char *scope, int channels)
{
    rvx__scope_push(g, "stem");
    rvx__scope_push(g, "%s", scope);
    rvx_value x = rvx__conv(g, image, (rvx_conv){.channels = channels, .no_bias = true});
    rvx__scope_pop(g);
    rvx__scope_pop(g);
    return rvx__round(g, x);
}

static int64_t block_voxels(const int strides[3])
{
    return (int64_t)strides[0] * strides[1] * strides[2];
}

static int width_after(const rvx_model_config *config, int level)
{
    return (int)(config->widths[level - 1] / 4 * block_voxels(config->strides[level]));
}

static void set_widths(rvx_model_config *config)
{
    config->widths[0] = (config->widths[0] + 3) / 4 * 4;
    for (int level = 1; level < config->stage_count; level++)
        config->widths[level] = width_after(config, level);
}

/* The widths follow from the first one: says so where others are asked for. */
static bool widths_fit(rvx_graph *g, const rvx_model_config *config)
{
    for (int level = 0; level < config->stage_count; level++) {
        int64_t width = config->widths[level], wanted = width;
        if (level > 0)
            wanted = width_after(config, level);
        if (width == wanted && width % 4 == 0)
            continue;
        rvx__fail(&g->error, RVX_ERROR_ARGUMENT,
                  "revnet3d-full: widths[%d] is %lld, expected %lld (a quarter of the "
                  "channels above, times the voxels of a block; a multiple of 4)",
                  level, (long long)width,
                  (long long)(width == wanted ? (width + 3) / 4 * 4 : wanted));
        return false;
    }
    return true;
}

static int build(rvx_graph *g, rvx_value image, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX])
{
    rvx_value x[2], skip[RVX_STAGES_MAX], part[RVX_STAGES_MAX][4];
    int last = config->stage_count - 1;
    int decoder_depth = config->decoder_depth ? config->decoder_depth : config->depth;
    logits[0] = RVX_NO_VALUE;
    if (!widths_fit(g, config))
        return 1;
    x[0] = stem(g, image, "a", config->widths[0] / 2);
    x[1] = stem(g, image, "b", config->widths[0] / 2);
    for (int level = 0; level < last; level++) {
        rvx__scope_push(g, "enc%d", level);
        sequence(g, x, config->kernels[level], config->depth, false);
        rvx__scope_pop(g);
        skip[level] = x[0];
        rvx_value deep =
            rvx__space_to_depth(g, x[1], config->strides[level + 1], RVX_ORDER_CHANNEL);
        rvx__deinterleave(g, part[level], deep);
        x[0] = part[level][2];
        x[1] = part[level][3];
    }
    rvx__scope_push(g, "bottom");
    sequence(g, x, config->kernels[last], config->depth, last == 0);
    rvx__scope_pop(g);
    for (int level = last - 1; level >= 0; level--) {
        part[level][2] = x[0];
        part[level][3] = x[1];
        rvx_value deep = rvx__interleave(g, part[level]);
        x[1] = rvx__depth_to_space(g, deep, config->strides[level + 1], RVX_ORDER_CHANNEL);
        x[0] = skip[level];
        rvx__scope_push(g, "dec%d", level);
        sequence(g, x, config->kernels[level], decoder_depth, level == 0);
        rvx__scope_pop(g);
    }
    rvx__scope_push(g, "head0");
    logits[0] = rvx__conv(
        g, x[0], (rvx_conv){.channels = config->classes, .kernel = {1, 1, 1}, .f32_output = true});
    rvx__scope_pop(g);
    return 1;
}

const rvx_model rvx__model_revnet3d_full = {
    .name = "revnet3d-full",
    .summary = "fully reversible, pooling-free 3D segmenter with channel-split skips",
    .defaults = {.in_channels = 1,
                 .classes = 5,
                 .stage_count = 4,
                 .widths = {16, 32, 64, 128},
                 .strides = {{1, 1, 1}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}},
                 .depth = 2,
                 .groups = 1},
    .set_widths = set_widths,
    .build = build};
