/* i-RevNet (b) for images, bijective up to the mean over the image (Jacobsen, Smeulders, Oyallon
 * 2018). Two streams; a block is (x1, x2) -> (S x2, S x1 + F(x2)), where S makes channels of blocks
 * of 2x2 pixels on entering a stage and is nothing elsewhere. Channel order of S as published:
 * pixel of the block first, then channel. F: batch norm, ReLU, 1x1 (strided where S is); batch
 * norm, ReLU, 3x3; batch norm, ReLU, 1x1; a quarter of the stream's channels inside; the very first
 * F begins with its convolution. At the end batch norm, ReLU, mean and a linear map of both
 * streams.
 *
 * 29,201,092 parameters with 3 inputs, 1000 classes and 6, 16, 72, 6 blocks: the paper's
 * bottleneck; the released code has three 3x3 (125,120,356). Batch norm: epsilon 1e-5, momentum
 * 0.1. widths: channels of a stream, which follow from the inputs; stage 0 is the first squeeze and
 * has no blocks. Depth is a batch of slices.
 */
#include "engine/graph/reversible.h"
#include "models/models.h"

static const float epsilon = 1e-5f, momentum = 0.1f;

static rvx_value norm_relu(rvx_graph *g, rvx_value x, int index)
{
    rvx__scope_push(g, "norm%d", index);
    x = rvx__batch_norm_act(g, x, epsilon, momentum, 0);
    rvx__scope_pop(g);
    return x;
}

static rvx_value conv(rvx_graph *g, rvx_value x, int index, rvx_conv c)
{
    c.no_bias = true;
    rvx__scope_push(g, "conv%d", index);
    x = rvx__conv(g, x, c);
    rvx__scope_pop(g);
    return x;
}

static rvx_value branch(rvx_graph *g, rvx_value x, int channels, const int stride[3], bool first)
{
    int inner = channels / 4;
    if (!first)
        x = norm_relu(g, x, 0);
    x = conv(g, x, 0,
             (rvx_conv){.channels = inner,
                        .kernel = {1, 1, 1},
                        .stride = {stride[0], stride[1], stride[2]}});
    x = conv(g, norm_relu(g, x, 1), 1, (rvx_conv){.channels = inner, .kernel = {1, 3, 3}});
    return conv(g, norm_relu(g, x, 2), 2, (rvx_conv){.channels = channels, .kernel = {1, 1, 1}});
}

/* (x1, x2) -> (S x2, S x1 + F(x2)) */
static void block(rvx_graph *g, rvx_value x[2], int channels, const int stride[3], bool first)
{
    rvx_value f = branch(g, x[1], channels, stride, first);
    bool squeeze = stride[0] * stride[1] * stride[2] != 1;
    for (int i = 0; i < 2 && squeeze; i++)
        x[i] = rvx__space_to_depth(g, x[i], stride, RVX_ORDER_BLOCK);
    rvx_value sum = rvx__add(g, x[0], f);
    x[0] = x[1];
    x[1] = sum;
}

static void set_widths(rvx_model_config *config)
{
    int channels = config->in_channels;
    for (int i = 0; i < config->stage_count; i++) {
        const int *stride = config->strides[i];
        channels *= stride[0] * stride[1] * stride[2];
        config->widths[i] = channels / 2;
    }
}

static bool fits(rvx_graph *g, const rvx_model_config *config)
{
    rvx_model_config wanted = *config;
    set_widths(&wanted);
    for (int i = 0; i < config->stage_count; i++)
        if (config->widths[i] != wanted.widths[i] || config->strides[i][0] != 1 ||
            (i > 0 && config->widths[i] % 4)) {
            rvx__fail(&g->error, RVX_ERROR_ARGUMENT,
                      "irevnet: stage %d has streams of %d channels and stride %d across slices, "
                      "expected %d (the inputs times the pixels of all squeezes, halved; a "
                      "multiple of 4) and 1",
                      i, config->widths[i], config->strides[i][0], wanted.widths[i]);
            return false;
        }
    return true;
}

static int block_count(const rvx_model_config *config, int index)
{
    for (int i = 0; i < config->stage_count; i++)
        if (config->blocks[i])
            return config->blocks[index];
    return index ? config->depth : 0;
}

static int build(rvx_graph *g, rvx_value image, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX])
{
    static const int one[3] = {1, 1, 1};
    rvx_value x[2];
    bool first = true;
    logits[0] = RVX_NO_VALUE;
    if (!fits(g, config))
        return 1;
    rvx_value squeezed =
        rvx__space_to_depth(g, rvx__round(g, image), config->strides[0], RVX_ORDER_BLOCK);
    rvx__split(g, x, squeezed, config->widths[0]);
    for (int i = 1; i < config->stage_count; i++) {
        rvx__scope_push(g, "stage%d", i);
        for (int b = 0; b < block_count(config, i); b++, first = false) {
            rvx__scope_push(g, "block%d", b);
            block(g, x, config->widths[i], b ? one : config->strides[i], first);
            rvx__scope_pop(g);
        }
        rvx__scope_pop(g);
    }
    rvx__scope_push(g, "head0");
    rvx_value both = rvx__mean_pool(g, norm_relu(g, rvx__concat(g, x[0], x[1]), 0));
    logits[0] = rvx__conv(
        g, both, (rvx_conv){.channels = config->classes, .kernel = {1, 1, 1}, .f32_output = true});
    rvx__scope_pop(g);
    return 1;
}

const rvx_model rvx__model_irevnet = {
    .name = "irevnet",
    .summary = "bijective residual network for images, i-RevNet (b) (Jacobsen et al. 2018)",
    .defaults = {.in_channels = 3,
                 .classes = 1000,
                 .stage_count = 5,
                 .widths = {6, 24, 96, 384, 1536},
                 .strides = {{1, 2, 2}, {1, 2, 2}, {1, 2, 2}, {1, 2, 2}, {1, 2, 2}},
                 .depth = 1,
                 .blocks = {0, 6, 16, 72, 6},
                 .groups = 1,
                 .classifies = true},
    .set_widths = set_widths,
    .build = build};
