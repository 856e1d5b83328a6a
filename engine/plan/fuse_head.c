/* Heads. A pointwise convolution to classes of which only a segmentation loss reads the
 * result becomes one op with that loss, so that no logit is ever stored. The loss node takes the
 * convolution's operands; values and nodes keep their indices, and the convolution is left as a
 * node that nobody needs.
 *
 * Invariant: losses, statistics and gradients stay those of the author's graph. */
#include "engine/plan/plan.h"

static bool is_pointwise(const rvx_op_params *params)
{
    for (int a = 0; a < 3; a++)
        if (params->kernel[a] != 1 || params->stride[a] != 1 || params->pad[a] != 0)
            return false;
    return true;
}

void rvx__plan_fuse_heads(rvx_plan *plan)
{
    rvx_graph *graph = plan->graph;
    for (int32_t n = 0; n < graph->node_count; n++) {
        rvx_node *loss = &graph->nodes[n];
        if (!plan->needed[n] || loss->op != &rvx__op_segmentation_loss)
            continue;
        int32_t logits = loss->in[0], labels = loss->in[1];
        const rvx_value_info *info = &graph->values[logits];
        if (info->node < 0 || info->dtype != RVX_F32 || rvx__plan_only_reader(plan, logits) != n)
            continue;
        const rvx_node *conv = &graph->nodes[info->node];
        if (conv->op != &rvx__op_conv || !is_pointwise(&conv->params))
            continue;
        loss->op = &rvx__op_head_loss;
        for (int i = 0; i < 3; i++)
            loss->in[i] = i < conv->in_count ? conv->in[i] : -1;
        loss->in[3] = labels;
        loss->in_count = 4;
    }
}
