/* Backward steps of the schedule. Gradients of views move no data: the gradient of a
 * concatenation's input is a channel slice of the gradient of its output; the gradient of a split's
 * input is gathered from its outputs' gradients; summands and residuals share the gradient of the
 * sum. */
#include "engine/plan/schedule.h"

/* out (+)= source, channel for channel: the backward of an addition. */
static void add_copy(rvx__schedule *s, int32_t node, int32_t target, int32_t source,
                     bool accumulate)
{
    rvx_step step = rvx__step_blank(RVX_STEP_KERNEL, RVX_BACKWARD_DATA, node);
    static const rvx_op_params none = {0};
    step.op = &rvx__op_add;
    step.params = &none;
    step.grad_out[0] = source;
    step.grad_in[0] = target;
    step.accumulate = accumulate;
    rvx__schedule_step(s, step);
}

/* The gradient of `value` gets `source` (channels from `first`) added; the first one becomes it,
 * unmoved unless it is stored in another type. */
static void contribute_view(rvx__schedule *s, int32_t node, int32_t value, int32_t source,
                            int64_t first)
{
    if (!s->needs_gradient[value])
        return;
    int32_t view = rvx__schedule_view(s, value, true, source, first);
    bool added = s->gradient[value] >= 0;
    if (!added && view >= 0 &&
        s->plan->instances[view].dtype == rvx__gradient_dtype(s->plan->graph, value)) {
        s->gradient[value] = view;
        return;
    }
    if (!added)
        s->gradient[value] = rvx__schedule_instance(s, value, true);
    add_copy(s, node, s->gradient[value], view, added);
}

/* May both summands of `add` share the gradient of the sum? Yes if the gradient of b is used up
 * before anything is added to that of a: b has no other consumer, and the ops that made a or read a
 * come earlier. */
static bool may_share(const rvx__schedule *s, int32_t add, int32_t a, int32_t b)
{
    const rvx_graph *graph = s->plan->graph;
    int32_t producer = graph->values[b].node;
    if (a == b || producer < 0 || graph->values[a].node >= producer ||
        (graph->nodes[producer].op->flags & RVX_OP_VIEW) ||
        graph->nodes[producer].op == &rvx__op_add || graph->nodes[producer].op == &rvx__op_round ||
        graph->nodes[producer].op->residual_inputs)
        return false;
    for (int32_t n = 0; n < graph->node_count; n++)
        for (int i = 0; i < graph->nodes[n].in_count; i++) {
            int32_t in = graph->nodes[n].in[i];
            if (n != add && s->plan->needed[n] && (in == b || (in == a && n >= producer)))
                return false;
        }
    return true;
}

static void backward_add(rvx__schedule *s, int32_t n, int32_t grad_out)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    int32_t a = node->in[0], b = node->in[1];
    if (s->gradient[a] < 0 && s->gradient[b] < 0 && s->needs_gradient[a] && s->needs_gradient[b] &&
        !may_share(s, n, a, b)) {
        if (may_share(s, n, b, a)) {
            int32_t swap = a;
            a = b;
            b = swap;
        } else {
            s->gradient[b] = rvx__schedule_instance(s, b, true);
            add_copy(s, n, s->gradient[b], grad_out, false);
            contribute_view(s, n, a, grad_out, 0);
            return;
        }
    }
    contribute_view(s, n, b, grad_out, 0);
    contribute_view(s, n, a, grad_out, 0);
}

static void backward_split(rvx__schedule *s, int32_t n)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    if (!s->needs_gradient[node->in[0]])
        return;
    rvx_step step = rvx__step_blank(RVX_STEP_GATHER, RVX_BACKWARD_DATA, n);
    for (int i = 0; i < node->op->out_count; i++) {
        if (s->gradient[node->out[i]] < 0) { /* nobody read this half */
            rvx_step zero = rvx__step_blank(RVX_STEP_ZERO, RVX_BACKWARD_DATA, n);
            zero.out[0] = s->gradient[node->out[i]] = rvx__schedule_instance(s, node->out[i], true);
            rvx__schedule_step(s, zero);
        }
        step.in[i] = s->gradient[node->out[i]];
    }
    int32_t value = node->in[0], gathered = rvx__schedule_instance(s, value, true);
    step.out[0] = gathered;
    rvx__schedule_step(s, step);
    if (s->gradient[value] < 0)
        s->gradient[value] = gathered;
    else
        add_copy(s, n, s->gradient[value], gathered, true);
}

/* The instance that collects the gradient of `value`, and whether this is its first contribution.
 */
static int32_t gradient_of(rvx__schedule *s, int32_t value, bool *first)
{
    *first = s->gradient[value] < 0;
    if (*first) {
        s->gradient[value] = rvx__schedule_instance(s, value, true);
        if (s->plan->graph->values[value].kind == RVX_VALUE_PARAMETER)
            s->plan->gradient_instance[value] = s->gradient[value];
    }
    return s->gradient[value];
}

/* One backward phase of an op with kernels: binds what it reads and what it writes. */
static void backward_kernel(rvx__schedule *s, int32_t n, rvx_phase phase)
{
    rvx_plan *plan = s->plan;
    const rvx_node *node = &plan->graph->nodes[n];
    const rvx_op *op = node->op;
    uint32_t reads = phase == RVX_BACKWARD_PARAMETERS ? op->reads_parameters : op->reads_data;
    uint32_t wanted = 0;
    for (int i = 0; i < node->in_count; i++) {
        bool in_phase =
            ((op->parameter_inputs >> i & 1) != 0) == (phase == RVX_BACKWARD_PARAMETERS);
        if (node->in[i] >= 0 && in_phase &&
            !((op->no_gradient_inputs | op->residual_inputs) >> i & 1) &&
            s->needs_gradient[node->in[i]])
            wanted |= 1u << i;
    }
    if (!wanted)
        return;
    rvx_step step = rvx__step_blank(RVX_STEP_KERNEL, phase, n);
    step.op = op;
    step.params = &node->params;
    for (int i = 0; i < node->in_count; i++)
        if (reads & RVX_READS_IN(i))
            step.in[i] = rvx__schedule_value(s, i == 0 ? plan->load[n] : node->in[i]);
    if (reads & RVX_READS_IN(0))
        step.fold = rvx__schedule_value(s, plan->fold[n]);
    for (int i = 0; i < op->out_count; i++) {
        if (reads & RVX_READS_OUT(i))
            step.out[i] = rvx__schedule_value(s, node->out[i]);
        step.grad_out[i] = s->gradient[node->out[i]];
    }
    for (int i = 0; i < node->in_count; i++) {
        if (!(wanted >> i & 1))
            continue;
        bool first;
        step.grad_in[i] = gradient_of(s, node->in[i], &first);
        if (!first)
            step.accumulate |= 1u << i;
    }
    rvx__schedule_step(s, step);
}

void rvx__schedule_backward(rvx__schedule *s, int32_t n)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    bool is_loss = false, arrives = false;
    for (int i = 0; i < s->plan->options.loss_count; i++)
        is_loss |= s->plan->options.losses[i].index == node->out[0];
    for (int i = 0; i < node->op->out_count; i++)
        arrives |= s->gradient[node->out[i]] >= 0;
    if (!s->plan->needed[n] || !(is_loss || arrives))
        return;
    if (node->op == &rvx__op_concat) {
        int64_t first = 0;
        for (int i = 0; i < node->in_count; i++) {
            contribute_view(s, n, node->in[i], s->gradient[node->out[0]], first);
            first += s->plan->graph->values[node->in[i]].shape.c;
        }
    } else if (node->op == &rvx__op_split) {
        backward_split(s, n);
    } else if (node->op == &rvx__op_add) {
        backward_add(s, n, s->gradient[node->out[0]]);
    } else if (node->op == &rvx__op_round) {
        contribute_view(s, n, node->in[0], s->gradient[node->out[0]], 0);
    } else {
        backward_kernel(s, n, RVX_BACKWARD_PARAMETERS);
        backward_kernel(s, n, RVX_BACKWARD_DATA);
        for (int i = 0; i < node->in_count; i++)
            if (node->op->residual_inputs >> i & 1 && node->in[i] >= 0)
                contribute_view(s, n, node->in[i], s->gradient[node->out[0]], 0);
    }
}
