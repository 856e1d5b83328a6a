/* 3D U-Net in nnU-Net's form, PlainConvUNet (Isensee et al. 2021): unit = conv 3^3 with bias,
 * instance norm, leaky ReLU 0.01. An encoder stage begins with a strided unit; a decoder stage
 * upsamples with a transposed conv (kernel = stride), concatenates (upsampled, skip) and runs as
 * many units. A 1^3 head on every decoder stage for deep supervision. 31.2 M parameters at 6
 * stages, 32 .. 320. */
#include "models/models.h"

static rvx_value unit(rvx_graph *g, rvx_value x, int index, int channels, const int kernel[3],
                      const int stride[3])
{
    rvx__scope_push(g, "unit%d", index);
    rvx__scope_push(g, "conv");
    x = rvx__conv(g, x,
                  (rvx_conv){.channels = channels,
                             .kernel = {kernel[0], kernel[1], kernel[2]},
                             .stride = {stride[0], stride[1], stride[2]}});
    rvx__scope_pop(g);
    rvx__scope_push(g, "norm");
    x = rvx__norm_act(g, x, 0, 1e-5f, 0.01f);
    rvx__scope_pop(g);
    rvx__scope_pop(g);
    return x;
}

/* `depth` units at the width and with the kernel of that level. */
static rvx_value stage(rvx_graph *g, rvx_value x, const rvx_model_config *config, int level,
                       int depth, const int stride[3])
{
    for (int i = 0; i < depth; i++)
        x = unit(g, x, i, config->widths[level], config->kernels[level],
                 i == 0 ? stride : (int[3]){1, 1, 1});
    return x;
}

static int build(rvx_graph *g, rvx_value x, const rvx_model_config *config,
                 rvx_value logits[RVX_STAGES_MAX])
{
    rvx_value skip[RVX_STAGES_MAX];
    int last = config->stage_count - 1;
    int decoder_depth = config->decoder_depth ? config->decoder_depth : config->depth;
    for (int level = 0; level <= last; level++) {
        rvx__scope_push(g, "enc%d", level);
        x = stage(g, x, config, level, config->depth, config->strides[level]);
        rvx__scope_pop(g);
        skip[level] = x;
    }
    for (int level = last - 1; level >= 0; level--) {
        rvx__scope_push(g, "dec%d", level);
        rvx__scope_push(g, "up");
        x = rvx__conv_transpose(g, x, config->widths[level], config->strides[level + 1]);
        rvx__scope_pop(g);
        x = rvx__concat(g, x, skip[level]);
        x = stage(g, x, config, level, decoder_depth, (int[3]){1, 1, 1});
        rvx__scope_pop(g);
        if (level == 0 || config->deep_supervision) {
            rvx__scope_push(g, "head%d", level);
            logits[level] = rvx__conv(
                g, x,
                (rvx_conv){.channels = config->classes, .kernel = {1, 1, 1}, .f32_output = true});
            rvx__scope_pop(g);
        }
    }
    return config->deep_supervision ? last : 1;
}

const rvx_model rvx__model_unet3d = {
    .name = "unet3d",
    .summary = "3D U-Net as nnU-Net builds it (PlainConvUNet)",
    .defaults = {.in_channels = 1,
                 .classes = 2,
                 .stage_count = 6,
                 .widths = {32, 64, 128, 256, 320, 320},
                 .strides = {{1, 1, 1}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}},
                 .depth = 2,
                 .deep_supervision = true},
    .build = build};
