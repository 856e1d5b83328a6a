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

/* Rows count four bytes an element: scaled by what the tensors take that an op works on. */
static rvx_cost stored(rvx_cost cost, double bytes, double elements)
{
    if (elements > 0)
        cost.bytes *= bytes / (4 * elements);
    return cost;
}

rvx_cost rvx__node_cost(const rvx_graph *graph, const rvx_node *node, rvx_phase phase)
{
    rvx_shape in[RVX_IN_MAX], out[RVX_OUT_MAX];
    double bytes = 0, elements = 0;
    if (!node->op->cost || node->op->flags & RVX_OP_VIEW)
        return (rvx_cost){0, 0};
    rvx__node_shapes(graph, node, in, out);
    for (int i = 0; i < node->in_count + node->op->out_count; i++) {
        int32_t v = i < node->in_count ? node->in[i] : node->out[i - node->in_count];
        if (v < 0)
            continue;
        double count = (double)rvx__shape_count(graph->values[v].shape);
        elements += count;
        bytes += count * (double)rvx__dtype_bytes(graph->values[v].dtype);
    }
    return stored(node->op->cost(phase, in, out, &node->params), bytes, elements);
}

rvx_cost rvx__step_cost(const rvx_plan *plan, const rvx_step *step, const rvx_shape *in,
                        const rvx_shape *out)
{
    const int32_t *const lists[] = {step->in, step->out, step->grad_in, step->grad_out};
    static const int counts[] = {RVX_IN_MAX, RVX_OUT_MAX, RVX_IN_MAX, RVX_OUT_MAX};
    double bytes = 0, elements = 0;
    if (!step->op->cost)
        return (rvx_cost){0, 0};
    for (int list = 0; list < 4; list++)
        for (int i = 0; i < counts[list]; i++) {
            if (lists[list][i] < 0)
                continue;
            const rvx_instance *instance = &plan->instances[lists[list][i]];
            double count = (double)rvx__shape_count(plan->graph->values[instance->value].shape);
            elements += count;
            bytes += count * (double)rvx__dtype_bytes(instance->dtype);
        }
    return stored(step->op->cost(step->phase, in, out, step->params), bytes, elements);
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
