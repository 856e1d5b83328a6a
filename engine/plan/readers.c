/* Who reads a value, who asked for it, and what that costs: questions that several passes put to a
 * graph. Owns nothing. */
#include "engine/plan/plan.h"

bool rvx__plan_is_asked_for(const rvx_plan *plan, int32_t value)
{
    for (int i = 0; i < plan->options.output_count; i++)
        if (plan->options.outputs[i].index == value)
            return true;
    for (int i = 0; i < plan->options.loss_count; i++)
        if (plan->options.losses[i].index == value)
            return true;
    return false;
}

int32_t rvx__plan_only_reader(const rvx_plan *plan, int32_t value)
{
    int32_t found = -1;
    if (rvx__plan_is_asked_for(plan, value))
        return -1;
    for (int32_t n = plan->graph->values[value].node + 1; n < plan->graph->node_count; n++)
        for (int i = 0; i < plan->graph->nodes[n].in_count; i++) {
            if (plan->graph->nodes[n].in[i] != value || !plan->needed[n])
                continue;
            if (found >= 0)
                return -1;
            found = n;
        }
    return found;
}

int rvx__residual_index(const rvx_op *op)
{
    for (int i = 0; i < RVX_IN_MAX; i++)
        if (op->residual_inputs >> i & 1)
            return i;
    return -1;
}

void rvx__node_shapes(const rvx_graph *graph, const rvx_node *node, rvx_shape in[RVX_IN_MAX],
                      rvx_shape out[RVX_OUT_MAX])
{
    for (int i = 0; i < RVX_IN_MAX; i++)
        in[i] = i < node->in_count && node->in[i] >= 0 ? graph->values[node->in[i]].shape
                                                       : (rvx_shape){0};
    for (int i = 0; i < RVX_OUT_MAX; i++)
        out[i] = i < node->op->out_count ? graph->values[node->out[i]].shape : (rvx_shape){0};
}

/* The last is a GPU's, and a prediction: half the rate that an H100's matrix units are known to
 * reach in bf16, and the rate at which its memory copies. No kernel of ours has run on one yet. */
const double rvx__flops_per_second[RVX_ISA_COUNT + 1] = {4e9, 40e9, 90e9, 90e9, 4e14};
static const double bytes_per_second[RVX_ISA_COUNT + 1] = {6e9, 6e9, 6e9, 6e9, 3e12};

double rvx__cost_seconds(rvx_cost cost, rvx_isa isa)
{
    double work = cost.flops / rvx__flops_per_second[isa];
    double traffic = cost.bytes / bytes_per_second[isa];
    return work > traffic ? work : traffic;
}
