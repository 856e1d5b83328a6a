/* RevNet 38, 110 and 164 for images (Gomez, Ren, Urtasun, Grosse 2017), as MemCNN builds them for
 * CIFAR: 573,994, 1,854,890 and 1,983,786 parameters with 3 inputs and 10 classes (the authors' own
 * TensorFlow networks are narrower). Stem 3x3; three stages of couplings y1 = x1 + F(x2), y2 = x2 +
 * G(y1); F and G are pre-activation units of two 3x3 convolutions (basic) or of 1x1, 3x3, 1x1
 * (bottleneck: the stage is four times as wide). The first block of a stage that changes width or
 * size is an ordinary residual one, x -> norm(1x1 x) + unit(x), and not reversible: its input is
 * stored. At the end batch norm, ReLU, the mean over the image, and a linear map.
 *
 * Batch norm with epsilon 1e-3; the 0.99 that MemCNN takes over as momentum is TensorFlow's share
 * of the old statistics: 0.01 here. widths: stem, then stages; strides likewise; depth: blocks per
 * stage, the first one included. Depth is the batch of slices: kernels and strides are 1 along it.
 */
#include "models/models.h"

enum { BOTTLENECK_EXPANSION = 4 };

static const float epsilon = 1e-3f, momentum = 0.01f;

/* One unit: channels of its inner convolutions; whether input goes through norm and ReLU first. */
typedef struct unit {
    bool bottleneck, plain;
    int width;
    int stride[3];
} unit;

static rvx_value norm(rvx_graph *g, rvx_value x, int index, float slope)
{
    rvx__scope_push(g, "norm%d", index);
    x = rvx__batch_norm_act(g, x, epsilon, momentum, slope);
    rvx__scope_pop(g);
    return x;
}

/* A convolution of 1x1 or 3x3 without bias; stride NULL: 1. */
static rvx_value conv(rvx_graph *g, rvx_value x, const char *name, int channels, int size,
                      const int *stride)
{
    rvx_conv c = {.channels = channels, .kernel = {1, size, size}, .no_bias = true};
    for (int axis = 0; axis < 3 && stride; axis++)
        c.stride[axis] = stride[axis];
    rvx__scope_push(g, "%s", name);
    x = rvx__conv(g, x, c);
    rvx__scope_pop(g);
    return x;
}

static rvx_value unit_build(rvx_graph *g, rvx_value x, const void *argument)
{
    const unit *u = argument;
    if (!u->plain)
        x = norm(g, x, 0, 0);
    x = u->bottleneck ? conv(g, x, "conv0", u->width, 1, NULL)
                      : conv(g, x, "conv0", u->width, 3, u->stride);
    x = norm(g, x, 1, 0);
    if (!u->bottleneck)
        return conv(g, x, "conv1", u->width, 3, NULL);
    x = conv(g, x, "conv1", u->width, 3, u->stride);
    x = norm(g, x, 2, 0);
    return conv(g, x, "conv2", u->width * BOTTLENECK_EXPANSION, 1, NULL);
}

/* x -> norm(1x1 x) + unit(x) */
static rvx_value entry(rvx_graph *g, rvx_value x, const unit *u, int channels)
{
    rvx__scope_push(g, "shortcut");
    rvx_value shortcut = norm(g, conv(g, x, "conv", channels, 1, u->stride), 0, 1);
    rvx__scope_pop(g);
    rvx__scope_push(g, "unit");
    rvx_value sum = rvx__add(g, shortcut, unit_build(g, x, u));
    rvx__scope_pop(g);
    return sum;
}

static rvx_value stage(rvx_graph *g, rvx_value x, const rvx_model_config *config, int index,
                       bool bottleneck)
{
    const int *stride = config->strides[index];
    int channels = config->widths[index] * (bottleneck ? BOTTLENECK_EXPANSION : 1);
    bool changes = stride[0] * stride[1] * stride[2] != 1 || rvx__shape(g, x).c != channels;
    for (int block = 0; block < config->depth; block++) {
        unit u = {.bottleneck = bottleneck,
                  .plain = index == 1 && block == 0, /* the stem ends in norm and ReLU */
                  .width = config->widths[index],
                  .stride = {1, 1, 1}};
        rvx__scope_push(g, "block%d", block);
        if (block == 0 && changes) {
            for (int axis = 0; axis < 3; axis++)
                u.stride[axis] = stride[axis];
            x = entry(g, x, &u, channels);
        } else {
            u.width /= 2;
            x = rvx__couple(g, x, unit_build, unit_build, &u);
        }
        rvx__scope_pop(g);
    }
    return x;
}

static bool fits(rvx_graph *g, const rvx_model_config *config)
{
    for (int i = 0; i < config->stage_count; i++)
        if (config->widths[i] % 2 || config->strides[i][0] != 1) {
            rvx__fail(&g->error, RVX_ERROR_ARGUMENT,
                      "revnet: stage %d has width %d and stride %d across slices, expected an even "
                      "width and 1",
                      i, config->widths[i], config->strides[i][0]);
            return false;
        }
    return true;
}

static int build(rvx_graph *g, rvx_value x, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX], bool bottleneck)
{
    logits[0] = RVX_NO_VALUE;
    if (!fits(g, config))
        return 1;
    rvx__scope_push(g, "stem");
    x = norm(g, conv(g, x, "conv", config->widths[0], 3, config->strides[0]), 0, 0);
    rvx__scope_pop(g);
    for (int i = 1; i < config->stage_count; i++) {
        rvx__scope_push(g, "stage%d", i);
        x = stage(g, x, config, i, bottleneck);
        rvx__scope_pop(g);
    }
    rvx__scope_push(g, "head0");
    x = rvx__mean_pool(g, norm(g, x, 0, 0));
    logits[0] = rvx__conv(
        g, x, (rvx_conv){.channels = config->classes, .kernel = {1, 1, 1}, .f32_output = true});
    rvx__scope_pop(g);
    return 1;
}

static int build_basic(rvx_graph *g, rvx_value image, const rvx_model_config *config,
                       rvx_value logits[RVX_STAGES_MAX])
{
    return build(g, image, config, logits, false);
}

static int build_bottleneck(rvx_graph *g, rvx_value image, const rvx_model_config *config,
                            rvx_value logits[RVX_STAGES_MAX])
{
    return build(g, image, config, logits, true);
}

const rvx_model rvx__model_revnet38 = {
    .name = "revnet38",
    .summary = "reversible residual network for images, basic units (Gomez et al. 2017)",
    .defaults = {.in_channels = 3,
                 .classes = 10,
                 .stage_count = 4,
                 .widths = {32, 32, 64, 112},
                 .strides = {{1, 1, 1}, {1, 1, 1}, {1, 2, 2}, {1, 2, 2}},
                 .depth = 3,
                 .groups = 1,
                 .classifies = true},
    .build = build_basic};

const rvx_model rvx__model_revnet110 = {
    .name = "revnet110",
    .summary = "the same, nine blocks a stage",
    .defaults = {.in_channels = 3,
                 .classes = 10,
                 .stage_count = 4,
                 .widths = {32, 32, 64, 128},
                 .strides = {{1, 1, 1}, {1, 1, 1}, {1, 2, 2}, {1, 2, 2}},
                 .depth = 9,
                 .groups = 1,
                 .classifies = true},
    .build = build_basic};

const rvx_model rvx__model_revnet164 = {
    .name = "revnet164",
    .summary = "the same, nine blocks a stage, bottleneck units",
    .defaults = {.in_channels = 3,
                 .classes = 10,
                 .stage_count = 4,
                 .widths = {32, 32, 64, 128},
                 .strides = {{1, 1, 1}, {1, 1, 1}, {1, 2, 2}, {1, 2, 2}},
                 .depth = 9,
                 .groups = 1,
                 .classifies = true},
    .build = build_bottleneck};
