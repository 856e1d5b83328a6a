/* Builders: the words in which models are written. Each creates its parameters in the current scope
 * and adds one node (couple: the nodes of its two branches). */
#include "engine/graph/graph.h"

static void triple(int32_t out[3], const int in[3], int fallback)
{
    for (int axis = 0; axis < 3; axis++)
        out[axis] = in[axis] ? in[axis] : fallback;
}

rvx_value rvx__conv(rvx_graph *graph, rvx_value x, rvx_conv conv)
{
    rvx_op_params params = {.channels_out = conv.channels,
                            .bf16_products = graph->storage == RVX_BF16,
                            .f32_output = conv.f32_output};
    triple(params.kernel, conv.kernel, 3);
    triple(params.stride, conv.stride, 1);
    for (int axis = 0; axis < 3; axis++)
        params.pad[axis] = (params.kernel[axis] - 1) / 2;
    rvx_shape weight = {params.kernel[0], params.kernel[1], params.kernel[2],
                        rvx__shape(graph, x).c, conv.channels};
    rvx_value in[3] = {x, rvx__parameter(graph, "weight", weight, RVX_ROLE_CONV_WEIGHT),
                       RVX_NO_VALUE};
    if (!conv.no_bias)
        in[2] =
            rvx__parameter(graph, "bias", (rvx_shape){1, 1, 1, 1, conv.channels}, RVX_ROLE_BIAS);
    rvx_value out;
    rvx__graph_apply(graph, &out, &rvx__op_conv, in, 3, &params);
    return out;
}

rvx_value rvx__conv_transpose(rvx_graph *graph, rvx_value x, int channels, const int stride[3])
{
    rvx_op_params params = {.channels_out = channels};
    triple(params.kernel, stride, 1);
    triple(params.stride, stride, 1);
    rvx_shape weight = {params.kernel[0], params.kernel[1], params.kernel[2],
                        rvx__shape(graph, x).c, channels};
    rvx_value in[3] = {
        x, rvx__parameter(graph, "weight", weight, RVX_ROLE_CONV_TRANSPOSE_WEIGHT),
        rvx__parameter(graph, "bias", (rvx_shape){1, 1, 1, 1, channels}, RVX_ROLE_BIAS)};
    rvx_value out;
    rvx__graph_apply(graph, &out, &rvx__op_conv_transpose, in, 3, &params);
    return out;
}

rvx_value rvx__norm_act(rvx_graph *graph, rvx_value x, int groups, float epsilon, float slope)
{
    rvx_op_params params = {.groups = groups, .epsilon = epsilon, .slope = slope};
    rvx_shape affine = {1, 1, 1, 1, rvx__shape(graph, x).c};
    rvx_value in[3] = {x, rvx__parameter(graph, "gamma", affine, RVX_ROLE_GAMMA),
                       rvx__parameter(graph, "beta", affine, RVX_ROLE_BETA)};
    rvx_value out[RVX_OUT_MAX];
    rvx__graph_apply(graph, out, &rvx__op_norm_act, in, 3, &params);
    return out[0];
}

rvx_value rvx__batch_norm_act(rvx_graph *graph, rvx_value x, float epsilon, float momentum,
                              float slope)
{
    rvx_op_params params = {
        .epsilon = epsilon, .slope = slope, .batch_statistics = 1, .momentum = momentum};
    rvx_shape s = {1, 1, 1, 1, rvx__shape(graph, x).c};
    rvx_value in[5] = {x, rvx__parameter(graph, "gamma", s, RVX_ROLE_GAMMA),
                       rvx__parameter(graph, "beta", s, RVX_ROLE_BETA),
                       rvx__parameter(graph, "running_mean", s, RVX_ROLE_RUNNING_MEAN),
                       rvx__parameter(graph, "running_var", s, RVX_ROLE_RUNNING_VARIANCE)};
    rvx_value out[RVX_OUT_MAX];
    rvx__graph_apply(graph, out, &rvx__op_norm_act, in, 5, &params);
    return out[0];
}

static rvx_value resample(rvx_graph *graph, const rvx_op *op, rvx_value x, const int factor[3])
{
    rvx_op_params params = {0};
    triple(params.kernel, factor, 1);
    triple(params.stride, factor, 1);
    rvx_value out;
    rvx__graph_apply(graph, &out, op, &x, 1, &params);
    return out;
}

rvx_value rvx__max_pool(rvx_graph *graph, rvx_value x, const int factor[3])
{
    return resample(graph, &rvx__op_max_pool, x, factor);
}

rvx_value rvx__mean_pool(rvx_graph *graph, rvx_value x)
{
    rvx_value out;
    rvx__graph_apply(graph, &out, &rvx__op_mean_pool, &x, 1, &(rvx_op_params){0});
    return out;
}

rvx_value rvx__upsample(rvx_graph *graph, rvx_value x, const int factor[3])
{
    return resample(graph, &rvx__op_upsample, x, factor);
}

rvx_value rvx__add(rvx_graph *graph, rvx_value a, rvx_value b)
{
    rvx_value in[2] = {a, b}, out;
    rvx__graph_apply(graph, &out, &rvx__op_add, in, 2, &(rvx_op_params){0});
    return out;
}

rvx_value rvx__concat(rvx_graph *graph, rvx_value a, rvx_value b)
{
    rvx_value in[2] = {a, b}, out;
    rvx__graph_apply(graph, &out, &rvx__op_concat, in, 2, &(rvx_op_params){0});
    return out;
}

rvx_value rvx__round(rvx_graph *graph, rvx_value x)
{
    if (x.index < 0 || graph->values[x.index].dtype == RVX_I16 ||
        graph->values[x.index].dtype == graph->streams)
        return x;
    rvx_value out;
    rvx__graph_apply(graph, &out, &rvx__op_round, &x, 1, &(rvx_op_params){0});
    return out;
}

void rvx__split(rvx_graph *graph, rvx_value out[2], rvx_value x, int64_t channels)
{
    const rvx_node *from = x.index >= 0 && graph->values[x.index].node >= 0
                               ? &graph->nodes[graph->values[x.index].node]
                               : NULL;
    if (from && from->op == &rvx__op_concat && from->in_count == 2 &&
        graph->values[from->in[0]].shape.c == channels &&
        graph->values[from->in[0]].dtype == graph->values[from->in[1]].dtype) {
        out[0].index = from->in[0];
        out[1].index = from->in[1];
        return;
    }
    rvx_op_params params = {.channel_count = (int32_t)channels};
    rvx__graph_apply(graph, out, &rvx__op_split, &x, 1, &params);
}

void rvx__couple_halves(rvx_graph *graph, rvx_value x[2], rvx_branch f, rvx_branch g,
                        const void *argument)
{
    rvx__scope_push(graph, "f");
    x[0] = rvx__add(graph, x[0], f(graph, x[1], argument));
    rvx__scope_pop(graph);
    if (!g)
        return;
    rvx__scope_push(graph, "g");
    x[1] = rvx__add(graph, x[1], g(graph, x[0], argument));
    rvx__scope_pop(graph);
}

rvx_value rvx__couple(rvx_graph *graph, rvx_value x, rvx_branch f, rvx_branch g,
                      const void *argument)
{
    rvx_value half[2];
    x = rvx__round(graph, x);
    rvx__split(graph, half, x, rvx__shape(graph, x).c / 2);
    rvx__couple_halves(graph, half, f, g, argument);
    return rvx__concat(graph, half[0], half[1]);
}

rvx_value rvx__segmentation_loss(rvx_graph *graph, rvx_value logits, rvx_value labels,
                                 rvx_loss loss, rvx_value *statistics)
{
    rvx_op_params params = {.classes = (int32_t)rvx__shape(graph, logits).c,
                            .ignore_label = loss.ignore_label,
                            .include_background = loss.include_background,
                            .weight = loss.weight,
                            .smooth = loss.smooth};
    rvx_value in[2] = {logits, labels}, out[RVX_OUT_MAX];
    rvx__graph_apply(graph, out, &rvx__op_segmentation_loss, in, 2, &params);
    if (statistics)
        *statistics = out[1];
    return out[0];
}

rvx_value rvx__labels(rvx_graph *graph, rvx_value logits)
{
    if (logits.index < 0)
        return RVX_NO_VALUE;
    const rvx_value_info *info = &graph->values[logits.index];
    const rvx_node *conv = info->node >= 0 ? &graph->nodes[info->node] : NULL;
    bool pointwise = conv && conv->op == &rvx__op_conv;
    for (int a = 0; a < 3 && pointwise; a++)
        pointwise = conv->params.kernel[a] == 1 && conv->params.stride[a] == 1;
    if (!pointwise) {
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT,
                  "labels of '%s': expected logits straight from a pointwise convolution",
                  info->name);
        return RVX_NO_VALUE;
    }
    rvx_value in[3], out;
    for (int i = 0; i < 3; i++)
        in[i].index = i < conv->in_count ? conv->in[i] : -1;
    rvx__graph_apply(graph, &out, &rvx__op_head_labels, in, 3, &(rvx_op_params){0});
    if (out.index >= 0)
        graph->values[out.index].dtype = RVX_U8;
    return out;
}
