/* Fusion. What follows a convolution and reads nothing else of it is done while it stores:
 *
 *   y = x + conv(a)             a coupling's half: x becomes the convolution's residual input
 *   y = round(conv(a))          the start of a stream: the convolution stores to the grid
 *   y = x + conv(norm_act(z))   a pre-activation branch: one op (kernels/norm_conv.c)
 *
 * So no temporary of the convolution's size exists, nor in the backward of a branch one of the
 * normalisation's, and the inverse x = y - conv(a) is one pass too. Only ops whose row names a
 * residual input take part, and of a sum the second operand, which is the branch of a coupling.
 * What was rounded before is a stream and stays one. */
#include "engine/plan/plan.h"

/* The convolution takes the place of its consumer, which is not needed any more. */
static void fuse(rvx_plan *plan, int32_t producer, int32_t consumer, int32_t residual)
{
    rvx_node *nodes = plan->graph->nodes, merged = nodes[producer];
    int index = rvx__residual_index(merged.op);
    for (int i = merged.in_count; i < index; i++)
        merged.in[i] = -1;
    if (residual >= 0) {
        merged.in[index] = residual;
        merged.in_count = index + 1;
    }
    merged.out[0] = nodes[consumer].out[0];
    nodes[consumer] = merged;
    plan->needed[producer] = false;
}

/* Does `node` compute a plain sum of products that may yet be rounded or added to something? */
static bool is_open(const rvx_plan *plan, const rvx_node *node)
{
    int index = rvx__residual_index(node->op);
    return index >= 0 && node->in_count <= index && !node->params.f32_output &&
           plan->graph->values[node->out[0]].dtype == plan->graph->storage;
}

enum { NORM_CONV_GAMMA = 4, NORM_CONV_BETA = 5 };

/* A convolution with a residual takes in the normalisation that it alone reads. */
static void fuse_norm(rvx_plan *plan, int32_t n)
{
    rvx_node *node = &plan->graph->nodes[n];
    int32_t index = rvx__residual_index(node->op);
    const rvx_value_info *info = &plan->graph->values[node->in[0]];
    if (node->op != &rvx__op_conv || node->in_count <= index || info->node < 0)
        return;
    const rvx_node *norm = &plan->graph->nodes[info->node];
    const rvx_op_params *p = &node->params;
    bool slabs = p->stride[0] == 1 && 2 * p->pad[0] == p->kernel[0] - 1;
    if (norm->op != &rvx__op_norm_act || norm->params.batch_statistics || !slabs ||
        rvx__plan_only_reader(plan, node->in[0]) != n)
        return;
    rvx_node merged = *node;
    merged.op = &rvx__op_norm_conv;
    merged.params.groups = norm->params.groups;
    merged.params.epsilon = norm->params.epsilon;
    merged.params.slope = norm->params.slope;
    merged.in[0] = norm->in[0];
    merged.in[NORM_CONV_GAMMA] = norm->in_count > 1 ? norm->in[1] : -1;
    merged.in[NORM_CONV_BETA] = norm->in_count > 2 ? norm->in[2] : -1;
    merged.in_count = NORM_CONV_BETA + 1;
    for (int i = 1; i < 3; i++) {
        merged.out[i] = norm->out[i];
        plan->graph->values[norm->out[i]].node = n;
    }
    plan->needed[info->node] = false;
    *node = merged;
}

rvx_status rvx__plan_fuse(rvx_plan *plan, rvx_error *error)
{
    (void)error;
    const rvx_graph *graph = plan->graph;
    for (int32_t n = 0; n < graph->node_count; n++) {
        const rvx_node *node = &graph->nodes[n];
        if (!plan->needed[n] || !is_open(plan, node))
            continue;
        int32_t consumer = rvx__plan_only_reader(plan, node->out[0]);
        if (consumer < 0)
            continue;
        const rvx_node *next = &graph->nodes[consumer];
        if (next->op == &rvx__op_round)
            fuse(plan, n, consumer, -1);
        else if (next->op == &rvx__op_add && next->in[1] == node->out[0] &&
                 next->in[0] != next->in[1])
            fuse(plan, n, consumer, next->in[0]);
    }
    for (int32_t n = 0; n < graph->node_count; n++)
        if (plan->needed[n])
            fuse_norm(plan, n);
    return RVX_OK;
}
