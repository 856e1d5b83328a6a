/* From the steps of a plan to calls with pointers: see session_state.h. */
#include "engine/run/session_state.h"

static rvx_kernel kernel_of(const rvx_session *session, const rvx_step *step)
{
    return session->on ? rvx__session_device_kernel(session, step) : step->kernel;
}

static void *queue_of(const rvx_session *session)
{
    const rvx_device *device = session->on ? session->on->device : NULL;
    return device ? device->cuda->device_queue(device->handle) : NULL;
}

/* Where kernels count what a step loses: on the side where they run. */
static int64_t *counter_of(const rvx_session *session, int32_t node)
{
    rvx_plan_control *control = (void *)(session->arena + session->plan->control_offset);
    return session->on ? &control->overflow[node] : &session->pass[node];
}

static rvx_tensor tensor_of(const rvx_session *session, int32_t instance)
{
    rvx_tensor t = rvx__plan_tensor(session->plan, instance, session->arena);
    if (t.dtype == RVX_I16 && instance >= 0)
        t.grid_log2 -=
            (int32_t)session->coarser[session->group[session->plan->instances[instance].value]];
    return t;
}

static void bind(const rvx_session *session, rvx_tensor *tensors, const int32_t *instances,
                 int count)
{
    for (int i = 0; i < count; i++)
        tensors[i] = tensor_of(session, instances[i]);
}

static void add_call(rvx_session *session, rvx__bound_call bound)
{
    session->calls[session->call_count++] = bound;
    session->work[bound.backward] += bound.work;
}

/* Parts of a concatenation that could not be placed are copied, each into its channel slice. */
static void bind_gather(rvx_session *session, const rvx_step *step, bool backward)
{
    const rvx_plan *plan = session->plan;
    const rvx_node *node = &plan->graph->nodes[step->node];
    rvx_tensor whole = tensor_of(session, step->out[0]);
    int64_t channel = 0;
    int parts = step->phase == RVX_FORWARD ? node->in_count : node->op->out_count;
    for (int i = 0; i < parts; i++) {
        int32_t value = step->phase == RVX_FORWARD ? node->in[i] : node->out[i];
        int64_t count = plan->graph->values[value].shape.c;
        if (step->in[i] >= 0) {
            rvx__bound_call bound = {.kernel = kernel_of(session, step), .backward = backward};
            bound.call.params = &node->params;
            bound.call.threads = plan->options.threads;
            bound.call.queue = queue_of(session);
            bound.call.in[0] = tensor_of(session, step->in[i]);
            bound.call.out[0] = whole;
            bound.call.out[0].shape.c = count;
            bound.call.out[0].data = (char *)whole.data + channel * rvx__dtype_bytes(whole.dtype);
            bound.work = (double)rvx__shape_count(bound.call.out[0].shape);
            add_call(session, bound);
        }
        channel += count;
    }
}

/* A kernel may ask for the shape of an operand that it does not read. */
static void bind_shapes(const rvx_session *session, const rvx_step *step, rvx_call *call)
{
    const rvx_graph *graph = session->plan->graph;
    const rvx_node *node = &graph->nodes[step->node];
    if (step->op != node->op)
        return;
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] >= 0)
            call->in[i].shape = graph->values[node->in[i]].shape;
    for (int i = 0; i < node->op->out_count; i++)
        call->out[i].shape = graph->values[node->out[i]].shape;
}

static void bind_step(rvx_session *session, int32_t index)
{
    const rvx_plan *plan = session->plan;
    const rvx_step *step = &plan->steps[index];
    bool backward = index >= plan->forward_step_count;
    if (step->kind == RVX_STEP_GATHER) {
        bind_gather(session, step, backward);
        return;
    }
    rvx__bound_call bound = {.kernel = kernel_of(session, step), .backward = backward};
    rvx_call *call = &bound.call;
    bind(session, call->in, step->in, RVX_IN_MAX);
    bind(session, call->out, step->out, RVX_OUT_MAX);
    bind(session, call->grad_in, step->grad_in, RVX_IN_MAX);
    bind(session, call->grad_out, step->grad_out, RVX_OUT_MAX);
    bind(session, &call->fold, &step->fold, 1);
    bind_shapes(session, step, call);
    call->params = step->params;
    call->accumulate = step->accumulate;
    call->rebuild = step->inverse_input;
    if (!step->rebuild)
        for (int i = 0; i < RVX_OUT_MAX; i++)
            call->out[i].overflow = counter_of(session, step->node);
    call->mode = plan->options.loss_count == 0 ? RVX_MODE_INFERENCE
                 : step->rebuild               ? RVX_MODE_AGAIN
                                               : RVX_MODE_TRAINING;
    call->threads = plan->options.threads;
    call->queue = queue_of(session);
    if (session->on && session->on->prepared)
        call->implementation = session->on->prepared[index];
    call->scratch_bytes = step->scratch_bytes;
    if (step->scratch_buffer >= 0)
        call->scratch = session->arena + plan->buffers[step->scratch_buffer].offset;
    bound.work = step->cost.flops + step->cost.bytes; /* about one FLOP per byte on a CPU core */
    add_call(session, bound);
}

void rvx__session_bind(rvx_session *session)
{
    session->call_count = 0;
    session->work[0] = session->work[1] = 0;
    int32_t bound = 0;
    for (int32_t s = 0; s < session->plan->step_count; s++) {
        bind_step(session, s);
        for (; bound < session->call_count; bound++)
            session->calls[bound].step = s;
    }
    if (session->on)
        rvx__session_device_rebound(session);
}
