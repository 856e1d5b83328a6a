/* The order of work. Forward steps in graph order, then backward steps in reverse order.
 * When a backward step reads a value that was not kept, the value is rebuilt first, as policy.c
 * decided. Every step names instances; where these lie is decided later. */
#include "engine/plan/schedule.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

rvx_dtype rvx__gradient_dtype(const rvx_graph *graph, int32_t value)
{
    rvx_dtype dtype = graph->values[value].dtype;
    return dtype == RVX_I16 ? graph->storage : dtype;
}

static int32_t add_instance(rvx__schedule *s, rvx_instance instance)
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

int32_t rvx__schedule_instance(rvx__schedule *s, int32_t value, bool gradient)
{
    const rvx_value_info *info = &s->plan->graph->values[value];
    return add_instance(
        s,
        (rvx_instance){.value = value,
                       .gradient = gradient,
                       .dtype = gradient ? rvx__gradient_dtype(s->plan->graph, value) : info->dtype,
                       .persistent = info->kind != RVX_VALUE_RESULT,
                       .view_of = -1});
}

/* The instance is read or written by the step that is added next. */
static int32_t use(rvx__schedule *s, int32_t instance)
{
    if (instance >= 0 && s->plan->instances[instance].last_step < s->plan->step_count)
        s->plan->instances[instance].last_step = s->plan->step_count;
    return instance;
}

int32_t rvx__schedule_view(rvx__schedule *s, int32_t value, bool gradient, int32_t of,
                           int64_t first)
{
    if (use(s, of) < 0) /* unchanged until the slice takes over */
        return -1;
    return add_instance(s, (rvx_instance){.value = value,
                                          .gradient = gradient,
                                          .dtype = s->plan->instances[of].dtype,
                                          .view_of = of,
                                          .channel_first = first});
}

rvx_step rvx__step_blank(rvx_step_kind kind, rvx_phase phase, int32_t node)
{
    rvx_step step = {.kind = kind, .phase = phase, .node = node, .fold = -1, .scratch_buffer = -1};
    memset(step.in, -1, sizeof step.in);
    memset(step.out, -1, sizeof step.out);
    memset(step.grad_in, -1, sizeof step.grad_in);
    memset(step.grad_out, -1, sizeof step.grad_out);
    return step;
}

void rvx__schedule_step(rvx__schedule *s, rvx_step step)
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

static int32_t instance_of(rvx__schedule *s, int32_t value)
{
    if (value < 0)
        return -1;
    if (s->current[value] < 0 && s->plan->graph->values[value].kind != RVX_VALUE_RESULT)
        s->current[value] = rvx__schedule_instance(s, value, false);
    return s->current[value];
}

static void add_forward(rvx__schedule *s, int32_t n, bool rebuild)
{
    rvx_plan *plan = s->plan;
    const rvx_node *node = &plan->graph->nodes[n];
    if (node->op == &rvx__op_split) {
        int64_t first = 0;
        for (int i = 0; i < node->op->out_count; i++) {
            int32_t source = instance_of(s, node->in[0]);
            s->current[node->out[i]] = rvx__schedule_view(s, node->out[i], false, source, first);
            first += plan->graph->values[node->out[i]].shape.c;
        }
        return;
    }
    rvx_step step = rvx__step_blank(RVX_STEP_KERNEL, RVX_FORWARD, n);
    step.op = node->op;
    step.params = &node->params;
    step.rebuild = rebuild;
    for (int i = 0; i < node->in_count; i++)
        step.in[i] = instance_of(s, i == 0 ? plan->load[n] : node->in[i]);
    step.fold = instance_of(s, plan->fold[n]);
    for (int i = 0; i < node->op->out_count; i++)
        if (!(i == 0 && plan->skip_output[n]))
            s->current[node->out[i]] = step.out[i] = rvx__schedule_instance(s, node->out[i], false);
    if (node->op == &rvx__op_concat)
        step.kind = RVX_STEP_GATHER;
    rvx__schedule_step(s, step);
}

/* ---- rebuilding ---------------------------------------------------------------------------------
 */

static void add_rerun(rvx__schedule *s, int32_t n)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    rvx__schedule_value(s, s->plan->load[n]);
    rvx__schedule_value(s, s->plan->fold[n]);
    for (int i = 1; i < node->in_count; i++)
        rvx__schedule_value(s, node->in[i]);
    if (s->status == RVX_OK)
        add_forward(s, n, true);
}

/* Rebuilds all inputs of node n at once; those that were kept once more, for they would be
 * overwritten where that is done in place. */
static void add_parts_inverse(rvx__schedule *s, int32_t n)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    rvx_step step = rvx__step_blank(RVX_STEP_KERNEL, RVX_INVERSE, n);
    step.op = node->op;
    step.params = &node->params;
    step.rebuild = true;
    for (int i = 0; i < node->op->out_count; i++)
        step.out[i] = rvx__schedule_value(s, node->out[i]);
    for (int i = 0; i < node->in_count && s->status == RVX_OK; i++) {
        step.in[i] = rvx__schedule_instance(s, node->in[i], false);
        if (s->current[node->in[i]] < 0)
            s->current[node->in[i]] = step.in[i];
    }
    rvx__schedule_step(s, step);
}

/* Rebuilds in[index] of node n from the node's outputs and its other inputs. For a concatenation
 * that is a slice, for a split the parts side by side. */
static void add_inverse(rvx__schedule *s, int32_t n, int index)
{
    rvx_plan *plan = s->plan;
    const rvx_node *node = &plan->graph->nodes[n];
    int32_t value = node->in[index];
    if (node->op == &rvx__op_concat) {
        int64_t first = 0;
        for (int i = 0; i < index; i++)
            first += plan->graph->values[node->in[i]].shape.c;
        int32_t whole = rvx__schedule_value(s, node->out[0]);
        s->current[value] = rvx__schedule_view(s, value, false, whole, first);
        return;
    }
    if (node->op->flags & RVX_OP_PARTS) {
        add_parts_inverse(s, n);
        return;
    }
    bool gathers = node->op == &rvx__op_split;
    rvx_step step = rvx__step_blank(gathers ? RVX_STEP_GATHER : RVX_STEP_KERNEL, RVX_INVERSE, n);
    step.op = node->op;
    step.params = &node->params;
    step.rebuild = true;
    step.inverse_input = index;
    for (int i = 0; i < node->op->out_count; i++)
        step.out[i] = rvx__schedule_value(s, node->out[i]);
    for (int i = 0; i < node->in_count; i++)
        if (i != index)
            step.in[i] = rvx__schedule_value(s, i == 0 ? plan->load[n] : node->in[i]);
    if (index != 0)
        step.fold = rvx__schedule_value(s, plan->fold[n]);
    int32_t rebuilt = rvx__schedule_instance(s, value, false);
    if (gathers) {
        memcpy(step.in, step.out, sizeof step.out);
        memset(step.out, -1, sizeof step.out);
        step.out[0] = rebuilt;
    } else {
        step.in[index] = rebuilt;
    }
    s->current[value] = rebuilt;
    rvx__schedule_step(s, step);
}

int32_t rvx__schedule_value(rvx__schedule *s, int32_t value)
{
    if (value < 0 || s->status != RVX_OK)
        return -1;
    int32_t known = instance_of(s, value);
    if (known >= 0)
        return known;
    const rvx_recovery *recovery = &s->plan->recovery[value];
    s->rebuilt[value] = true;
    if (recovery->method == RVX_RECOVER_INVERT)
        add_inverse(s, recovery->node, recovery->input);
    else
        add_rerun(s, s->plan->graph->values[value].node);
    return s->current[value];
}

/* Once the backward of a node is done, nothing reads its outputs any more but its inverse: run now,
 * it takes their place; run when its result is first read, it would keep all that it reads alive
 * until then. */
void rvx__schedule_inverse(rvx__schedule *s, int32_t n)
{
    const rvx_node *node = &s->plan->graph->nodes[n];
    for (int i = 0; i < node->in_count && s->eager; i++) {
        const rvx_recovery *recovery = node->in[i] < 0 ? NULL : &s->plan->recovery[node->in[i]];
        if (recovery && recovery->method == RVX_RECOVER_INVERT && recovery->node == n &&
            recovery->input == i && s->rebuilt[node->in[i]])
            rvx__schedule_value(s, node->in[i]);
    }
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static void mark_gradients(rvx__schedule *s)
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
static void add_persistent(rvx__schedule *s)
{
    const rvx_graph *graph = s->plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind != RVX_VALUE_RESULT)
            instance_of(s, v);
}

static void schedule_all(rvx__schedule *s)
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
    for (int32_t v = 0; v < graph->value_count; v++)
        if (plan->recovery[v].method != RVX_RECOVER_KEEP)
            s->current[v] = -1;
    if (plan->options.loss_count)
        for (int32_t n = graph->node_count - 1; n >= 0 && s->status == RVX_OK; n--) {
            rvx__schedule_backward(s, n);
            rvx__schedule_inverse(s, n);
        }
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind != RVX_VALUE_RESULT)
            plan->value_instance[v] = s->current[v];
}

/* Twice where values are inverted: first to learn which, then in the order that needs least. */
static void schedule_passes(rvx__schedule *s)
{
    rvx_plan *plan = s->plan;
    int32_t count = plan->graph->value_count;
    bool inverts = false;
    for (int32_t v = 0; v < count; v++)
        inverts |= plan->recovery[v].method == RVX_RECOVER_INVERT;
    for (int pass = 0; pass < (inverts ? 2 : 1) && s->status == RVX_OK; pass++) {
        s->eager = pass > 0;
        plan->step_count = plan->instance_count = 0;
        for (int32_t v = 0; v < count; v++)
            s->current[v] = s->gradient[v] = plan->value_instance[v] = plan->gradient_instance[v] =
                -1;
        schedule_all(s);
    }
}

rvx_status rvx__plan_schedule(rvx_plan *plan, rvx_error *error)
{
    size_t count = (size_t)plan->graph->value_count;
    rvx__schedule s = {.plan = plan, .error = error};
    s.current = malloc(count * sizeof *s.current);
    s.gradient = malloc(count * sizeof *s.gradient);
    s.needs_gradient = calloc(count, sizeof *s.needs_gradient);
    s.rebuilt = calloc(count, sizeof *s.rebuilt);
    plan->value_instance = malloc(count * sizeof *plan->value_instance);
    plan->gradient_instance = malloc(count * sizeof *plan->gradient_instance);
    if (!s.current || !s.gradient || !s.needs_gradient || !s.rebuilt || !plan->value_instance ||
        !plan->gradient_instance) {
        s.status = rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    } else {
        mark_gradients(&s);
        schedule_passes(&s);
    }
    free(s.current);
    free(s.gradient);
    free(s.needs_gradient);
    free(s.rebuilt);
    return s.status;
}
