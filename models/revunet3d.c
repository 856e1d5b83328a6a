/* Partially reversible 3D U-Net (Bruegger, Baumgartner, Konukoglu 2019). Stem 3^3 conv without
 * bias. Encoder: max-pool, 1^3 conv, reversible sequence; decoder: reversible sequence, 1^3 conv,
 * trilinear upsampling, skip ADDED. F = G = group norm on half the channels, leaky ReLU 0.01, 3^3
 * conv without bias. 12,365,283 parameters with 4 inputs, 3 classes, widths 60 .. 480, depth 1;
 * 18,248,403 with encoder depth 2 ("fat"). The paper ends in a sigmoid per overlapping region; here
 * the logits are those of exclusive classes.
 */
#include "models/models.h"

/* The most groups up to `groups_max` that divide the channels: 30 for the published widths. */
static int group_count(int64_t channels, int groups_max)
{
    int groups = channels < groups_max ? (int)channels : groups_max;
    while (channels % groups != 0)
        groups--;
    return groups;
}

static rvx_value branch(rvx_graph *g, rvx_value x, const void *argument)
{
    const rvx_model_config *config = argument;
    int channels = (int)rvx__shape(g, x).c;
    rvx__scope_push(g, "norm");
    x = rvx__norm_act(g, x, channels ? group_count(channels, config->groups) : 0, 1e-5f, 0.01f);
    rvx__scope_pop(g);
    rvx__scope_push(g, "conv");
    x = rvx__conv(g, x, (rvx_conv){.channels = channels, .no_bias = true});
    rvx__scope_pop(g);
    return x;
}

static rvx_value sequence(rvx_graph *g, rvx_value x, const rvx_model_config *config, int depth)
{
    for (int i = 0; i < depth; i++) {
        rvx__scope_push(g, "block%d", i);
        x = rvx__couple(g, x, branch, branch, config);
        rvx__scope_pop(g);
    }
    return x;
}

static rvx_value pointwise(rvx_graph *g, rvx_value x, const char *scope, rvx_conv conv)
{
    rvx__scope_push(g, "%s", scope);
    conv.kernel[0] = conv.kernel[1] = conv.kernel[2] = 1;
    x = rvx__conv(g, x, conv);
    rvx__scope_pop(g);
    return x;
}

static int build(rvx_graph *g, rvx_value x, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX])
{
    rvx_value skip[RVX_STAGES_MAX];
    int last = config->stage_count - 1;
    int decoder_depth = config->decoder_depth ? config->decoder_depth : config->depth;
    rvx__scope_push(g, "stem");
    x = rvx__conv(g, x, (rvx_conv){.channels = config->widths[0], .no_bias = true});
    rvx__scope_pop(g);
    for (int level = 0; level <= last; level++) {
        rvx__scope_push(g, "enc%d", level);
        if (level > 0) {
            x = rvx__max_pool(g, x, config->strides[level]);
            x = pointwise(g, x, "expand", (rvx_conv){.channels = config->widths[level]});
        }
        x = sequence(g, x, config, config->depth);
        rvx__scope_pop(g);
        skip[level] = x;
    }
    for (int level = last; level >= 0; level--) {
        rvx__scope_push(g, "dec%d", level);
        x = sequence(g, x, config, decoder_depth);
        if (level > 0) {
            x = pointwise(g, x, "reduce", (rvx_conv){.channels = config->widths[level - 1]});
            x = rvx__upsample(g, x, config->strides[level]);
            x = rvx__add(g, x, skip[level - 1]);
        }
        rvx__scope_pop(g);
    }
    logits[0] =
        pointwise(g, x, "head0", (rvx_conv){.channels = config->classes, .f32_output = true});
    return 1;
}

const rvx_model rvx__model_revunet3d = {
    .name = "revunet3d",
    .summary = "partially reversible 3D U-Net (Bruegger et al. 2019)",
    .defaults = {.in_channels = 4,
                 .classes = 3,
                 .stage_count = 5,
                 .widths = {60, 120, 240, 360, 480},
                 .strides = {{1, 1, 1}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}},
                 .depth = 1,
                 .groups = 30},
    .build = build};
