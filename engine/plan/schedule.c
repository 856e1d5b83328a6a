/* Pass 2: the order of work. Forward steps in graph order, then backward steps in reverse order.
 * When a backward step reads a value that was not kept, the value is rebuilt first. Every step
 * names instances; where these lie is decided later.
 *
 * Gradients of views move no data: the gradient of a concatenation's input is a channel slice of
 * the gradient of its output; the gradient of a split's input is gathered from its outputs'
 * gradients. */
#include "engine/plan/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct schedule {
    rvx_plan *plan;
    int32_t *current;  /* per value: its instance now; -1 */
    int32_t *gradient; /* per value: the instance that collects its gradient; -1 */
    bool *needs_gradient;
    rvx_error *error;
    rvx_status status; /* sticky */
} schedule;

static int32_t add_instance(schedule *s, rvx_instance instance)
{
    rvx_plan *plan = s->plan;
    if (plan->instance_count == plan->instance_capacity) {
        int32_t wanted = plan->instance_capacity ? 2 * plan->instance_capacity : 256;
        void *larger = realloc(plan->instances, (size_t)wanted * sizeof *plan->instances);
        if (!larger) {
            s->status = rvx__fail(s->error, RVX_ERROR_MEMORY, "plan: out of memory");
            return -1;
        }
        plan->instances = larger;
        plan->instance_capacity = wanted;
    }
    instance.buffer = -1;
    instance.first_step = instance.last_step = plan->step_count;
    if (instance.persistent) {
        instance.first_step = -1;
        instance.last_step = INT_MAX;
    }
    plan->instances[plan->instance_count] = instance;
    return plan->instance_count++;
}

static int32_t new_instance(schedule *s, int32_t value, bool gradient)
{
    const rvx_value_info *info = &s->plan->graph->values[value];
    return add_instance(s, (rvx_instance){.value = value,
                                          .gradient = gradient,
                                          .dtype = info->dtype,
                                          .persistent = info->kind != RVX_VALUE_RESULT,
                                          .view_of = -1});
}

/* The instance is read or written by the step that is added next. */
static int32_t use(schedule *s, int32_t instance)
{
    if (instance >= 0 && s->plan->instances[instance].last_step < s->plan->step_count)
        s->plan->instances[instance].last_step = s->plan->step_count;
    return instance;
}

static int32_t view_instance(schedule *s, int32_t value, bool gradient, int32_t of, int64_t first)
{
    if (use(s, of) < 0) /* unchanged until the slice takes over */
        return -1;
    return add_instance(s, (rvx_instance){.value = value,
                                          .gradient = gradient,
                                          .dtype = s->plan->instances[of].dtype,
                                          .view_of = of,
                                          .channel_first = first});
}

static rvx_step blank_step(rvx_step_kind kind, rvx_phase phase, int32_t node)
{
    rvx_step step = {.kind = kind, .phase = phase, .node = node, .fold = -1, .scratch_buffer = -1};
    memset(step.in, -1, sizeof step.in);
    memset(step.out, -1, sizeof step.out);
    memset(step.grad_in, -1, sizeof step.grad_in);
    memset(step.grad_out, -1, sizeof step.grad_out);
    return step;
}

static void add_step(schedule *s, rvx_step step)
{
    rvx_plan *plan = s->plan;
    if (plan->step_count == plan->step_capacity) {
        int32_t wanted = plan->step_capacity ? 2 * plan->step_capacity : 256;
        void *larger = realloc(plan->steps, (size_t)wanted * sizeof *plan->steps);
        if (!larger) {
            s->status = rvx__fail(s->error, RVX_ERROR_MEMORY, "plan: out of memory");
            return;
        }
        plan->steps = larger;
        plan->step_capacity = wanted;
    }
    for (int i = 0; i < RVX_IN_MAX; i++) {
        use(s, step.in[i]);
        use(s, step.grad_in[i]);
    }
    for (int i = 0; i < RVX_OUT_MAX; i++) {
        use(s, step.out[i]);
        use(s, step.grad_out[i]);
    }
    use(s, step.fold);
    plan->steps[plan->step_count++] = step;
}

/* ---- forward ------------------------------------------------------------------------------------
 */

static int32_t instance_of(schedule *s, int32_t value)
{
    if (value < 0)
        return -1;
    if (s->current[value] < 0 && s->plan->graph->values[value].kind != RVX_VALUE_RESULT)
        s->current[value] = new_instance(s, value, false);
    return s->current[value];
}

static void add_forward(schedule *s, int32_t n, bool rebuild)
{
    rvx_plan *plan = s->plan;
    const rvx_node *node = &plan->graph->nodes[n];
    if (node->op == &rvx__op_split) {
        int64_t first = 0;
        for (int i = 0; i < node->op->out_count; i++) {
            int32_t source = instance_of(s, node->in[0]);
            s->current[node->out[i]] = view_instance(s, node->out[i], false, source, first);
            first += plan->graph->values[node->out[i]].shape.c;
        }
        return;
    }
    rvx_step step = blank_step(RVX_STEP_KERNEL, RVX_FORWARD, n);
    step.op = node->op;
    step.params = &node->params;
    step.rebuild = rebuild;
    for (int i = 0; i < node->in_count; i++)
        step.in[i] = instance_of(s, i == 0 ? plan->load[n] : node->in[i]);
    step.fold = instance_of(s, plan->fold[n]);
    for (int i = 0; i < node->op->out_count; i++)
        if (!(i == 0 && plan->skip_output[n]))
            s->current[node->out[i]] = step.out[i] = new_instance(s, node->out[i], false);
    if (node->op == &rvx__op_concat)
        step.kind = RVX_STEP_GATHER;
    add_step(s, step);
}

/* Makes sure that `value` has an instance: stored, or rebuilt by running its producer again. */
static int32_t materialise(schedule *s, int32_t value)
{
    if (value < 0 || s->status != RVX_OK)
        return -1;
    int32_t known = instance_of(s, value);
    if (known >= 0)
        return known;
    int32_t n = s->plan->graph->values[value].node;
    const rvx_node *node = &s->plan->graph->nodes[n];
    materialise(s, s->plan->load[n]);
    materialise(s, s->plan->fold[n]);
    for (int i = 1; i < node->in_count; i++)
        materialise(s, node->in[i]);
    add_forward(s, n, true);
    return s->current[value];
}

/* ---- gradients ----------------------------------------------------------------------------------
 */

/* out (+)= source, channel for channel: the backward of an addition. */
static void add_copy(schedule *s, int32_t node, int32_t target, int32_t source, bool accumulate)
{
    rvx_step step = blank_step(RVX_STEP_KERNEL, RVX_BACKWARD_DATA, node);
    static const rvx_op_params none = {0};
    step.op = &rvx__op_add;
    step.params = &none;
    step.grad_out[0] = source;
    step.grad_in[0] = target;
    step.accumulate = accumulate;
    add_step(s, step);
}

/* The gradient of `value` gets `source` (channels from `first`) added; the first one becomes it,
 * unmoved unless it is stored in another type. */
static void contribute_view(schedule *s, int32_t node, int32_t value, int32_t source, int64_t first)
{
    if (!s->needs_gradient[value])
        return;
    int32_t view = view_instance(s, value, true, source, first);
    bool added = s->gradient[value] >= 0;
    if (!added && view >= 0 &&
        s->plan->instances[view].dtype == s->plan->graph->values[value].dtype) {
        s->gradient[value] = view;
        return;
    }
    if (!added)
        s->gradient[value] = new_instance(s, value, true);
    add_copy(s, node, s->gradient[value], view, added);
}

/* May both summands of `add` share the gradient of the sum? Yes if the gradient of b is used up
 * before anything is added to that of a: b has no other consumer, and the ops that made a or read a
 * come earlier. */
static bool may_share(const schedule *s, int32_t add, int32_t a, int32_t b)
{
    const rvx_graph *graph = s->plan->graph;
    int32_t producer = graph->values[b].node;
    if (a == b || producer < 0 || graph->values[a].node >= producer ||
        (graph->nodes[producer].op->flags & RVX_OP_VIEW) ||
        graph->nodes[producer].op == &rvx__op_add)
        return false;
    for (int32_t n = 0; n < graph->node_count; n++)
        for (int i = 0; i < graph->nodes[n].in_count; i++) {
            int32_t in = graph->nodes[n].in[i];
            if (n != add && s->plan->needed[n] && (in == b || (in == a && n >= producer)))
                return false;
        }
    return true;
}

static void backward_add(schedule *s, int32_t n, int32_t grad_out)
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
            s->gradient[b] = new_instance(s, b, true);
            add_copy(s, n, s->gradient[b], grad_out, false);
            contribute_view(s, n, a, grad_out, 0);
            return;
        }
    }
    contribute_view(s, n, b, grad_out, 0);
    contribute_view(s, n, a, grad_out, 0);
}

static void backward_split(schedule *s, int32_t n)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    if (!s->needs_gradient[node->in[0]])
        return;
    rvx_step step = blank_step(RVX_STEP_GATHER, RVX_BACKWARD_DATA, n);
    for (int i = 0; i < node->op->out_count; i++) {
        if (s->gradient[node->out[i]] < 0) { /* nobody read this half */
            rvx_step zero = blank_step(RVX_STEP_ZERO, RVX_BACKWARD_DATA, n);
            zero.out[0] = s->gradient[node->out[i]] = new_instance(s, node->out[i], true);
            add_step(s, zero);
        }
        step.in[i] = s->gradient[node->out[i]];
    }
    int32_t value = node->in[0], gathered = new_instance(s, value, true);
    step.out[0] = gathered;
    add_step(s, step);
    if (s->gradient[value] < 0)
        s->gradient[value] = gathered;
    else
        add_copy(s, n, s->gradient[value], gathered, true);
}

/* The instance that collects the gradient of `value`, and whether this is its first contribution.
 */
static int32_t gradient_of(schedule *s, int32_t value, bool *first)
{
    *first = s->gradient[value] < 0;
    if (*first) {
        s->gradient[value] = new_instance(s, value, true);
        if (s->plan->graph->values[value].kind == RVX_VALUE_PARAMETER)
            s->plan->gradient_instance[value] = s->gradient[value];
    }
    return s->gradient[value];
}

/* One backward phase of an op with kernels: binds what it reads and what it writes. */
static void backward_kernel(schedule *s, int32_t n, rvx_phase phase)
{
    rvx_plan *plan = s->plan;
    const rvx_node *node = &plan->graph->nodes[n];
    const rvx_op *op = node->op;
    uint32_t reads = phase == RVX_BACKWARD_PARAMETERS ? op->reads_parameters : op->reads_data;
    uint32_t wanted = 0;
    for (int i = 0; i < node->in_count; i++) {
        bool in_phase =
            ((op->parameter_inputs >> i & 1) != 0) == (phase == RVX_BACKWARD_PARAMETERS);
        if (node->in[i] >= 0 && in_phase && !(op->no_gradient_inputs >> i & 1) &&
            s->needs_gradient[node->in[i]])
            wanted |= 1u << i;
    }
    if (!wanted)
        return;
    rvx_step step = blank_step(RVX_STEP_KERNEL, phase, n);
    step.op = op;
    step.params = &node->params;
    for (int i = 0; i < node->in_count; i++)
        if (reads & RVX_READS_IN(i))
            step.in[i] = materialise(s, i == 0 ? plan->load[n] : node->in[i]);
    if (reads & RVX_READS_IN(0))
        step.fold = materialise(s, plan->fold[n]);
    for (int i = 0; i < op->out_count; i++) {
        if (reads & RVX_READS_OUT(i))
            step.out[i] = materialise(s, node->out[i]);
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
    add_step(s, step);
}

static void add_backward(schedule *s, int32_t n)
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
    } else {
        backward_kernel(s, n, RVX_BACKWARD_PARAMETERS);
        backward_kernel(s, n, RVX_BACKWARD_DATA);
    }
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static void mark_gradients(schedule *s)
{
    const rvx_graph *graph = s->plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++)
        s->needs_gradient[v] = graph->values[v].kind == RVX_VALUE_PARAMETER;
    for (int32_t n = 0; n < graph->node_count; n++) {
        const rvx_node *node = &graph->nodes[n];
        bool any = false;
        for (int i = 0; i < node->in_count; i++)
            any |= node->in[i] >= 0 && s->needs_gradient[node->in[i]];
        for (int i = 0; i < node->op->out_count; i++)
            s->needs_gradient[node->out[i]] = any;
    }
}

/* Inputs and parameters exist throughout, whether a step of this plan reads them or not. */
static void add_persistent(schedule *s)
{
    const rvx_graph *graph = s->plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind != RVX_VALUE_RESULT)
            instance_of(s, v);
}

static void schedule_all(schedule *s)
{
    rvx_plan *plan = s->plan;
    const rvx_graph *graph = plan->graph;
    add_persistent(s);
    for (int32_t n = 0; n < graph->node_count; n++)
        if (plan->needed[n] && !plan->logical[n])
            add_forward(s, n, false);
    plan->forward_step_count = plan->step_count;
    for (int i = 0; i < plan->options.output_count && s->status == RVX_OK; i++) {
        int32_t instance = s->current[plan->options.outputs[i].index];
        plan->value_instance[plan->options.outputs[i].index] = instance;
        plan->instances[instance].last_step = INT_MAX;
    }
    if (plan->options.loss_count)
        for (int32_t n = graph->node_count - 1; n >= 0 && s->status == RVX_OK; n--)
            add_backward(s, n);
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind != RVX_VALUE_RESULT)
            plan->value_instance[v] = s->current[v];
}

rvx_status rvx__plan_schedule(rvx_plan *plan, rvx_error *error)
{
    size_t count = (size_t)plan->graph->value_count;
    schedule s = {.plan = plan, .error = error};
    s.current = malloc(count * sizeof *s.current);
    s.gradient = malloc(count * sizeof *s.gradient);
    s.needs_gradient = calloc(count, sizeof *s.needs_gradient);
    plan->value_instance = malloc(count * sizeof *plan->value_instance);
    plan->gradient_instance = malloc(count * sizeof *plan->gradient_instance);
    if (!s.current || !s.gradient || !s.needs_gradient || !plan->value_instance ||
        !plan->gradient_instance) {
        s.status = rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    } else {
        for (size_t v = 0; v < count; v++)
            s.current[v] = s.gradient[v] = plan->value_instance[v] = plan->gradient_instance[v] =
                -1;
        mark_gradients(&s);
        schedule_all(&s);
    }
    free(s.current);
    free(s.gradient);
    free(s.needs_gradient);
    return s.status;
}
