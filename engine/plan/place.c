/* Pass 3: which instances share memory. A buffer is made for each instance that needs one; channel
 * slices lie inside the buffer of what they are slices of; a gathered value (concatenation) adopts
 * the buffers of its parts, so that these were written in place from the start; an in-place op
 * takes over the memory of its input when nobody reads that any more.
 *
 * Invariant, checked at the end: no step writes memory that an instance still to be read occupies.
 */
#include "engine/plan/plan.h"

#include <stdlib.h>
#include <string.h>

int32_t rvx__plan_buffer_add(rvx_plan *plan, rvx_buffer buffer)
{
    if (plan->buffer_count == plan->buffer_capacity) {
        int32_t wanted = plan->buffer_capacity ? 2 * plan->buffer_capacity : 256;
        void *larger = realloc(plan->buffers, (size_t)wanted * sizeof *plan->buffers);
        if (!larger)
            return -1;
        plan->buffers = larger;
        plan->buffer_capacity = wanted;
    }
    plan->buffers[plan->buffer_count] = buffer;
    return plan->buffer_count++;
}

int32_t rvx__plan_root(const rvx_plan *plan, int32_t buffer, int64_t *channel_offset)
{
    while (plan->buffers[buffer].parent >= 0) {
        *channel_offset += plan->buffers[buffer].channel_offset;
        buffer = plan->buffers[buffer].parent;
    }
    return buffer;
}

/* Root buffer and first channel of a placed instance. */
static int32_t locate(const rvx_plan *plan, int32_t instance, int64_t *first)
{
    *first = plan->instances[instance].channel_offset;
    return rvx__plan_root(plan, plan->instances[instance].buffer, first);
}

static const rvx_value_info *info_of(const rvx_plan *plan, int32_t instance)
{
    return &plan->graph->values[plan->instances[instance].value];
}

/* Puts an instance at (buffer, channel), and at once every slice of it, so that the memory of
 * slices that are read much later counts as taken. */
static void put(rvx_plan *plan, int32_t instance, int32_t buffer, int64_t channel)
{
    plan->instances[instance].buffer = buffer;
    plan->instances[instance].channel_offset = channel;
    for (int32_t i = instance + 1; i < plan->instance_count; i++)
        if (plan->instances[i].view_of == instance)
            put(plan, i, buffer, channel + plan->instances[i].channel_first);
}

static bool put_in_new_buffer(rvx_plan *plan, int32_t instance)
{
    const rvx_value_info *info = info_of(plan, instance);
    rvx_buffer buffer = {.parent = -1,
                         .shape = info->shape,
                         .dtype = plan->instances[instance].dtype,
                         .persistent = plan->instances[instance].persistent};
    int32_t index = rvx__plan_buffer_add(plan, buffer);
    if (index >= 0)
        put(plan, instance, index, 0);
    return index >= 0;
}

/* Is some instance that is read after `step` in channels [first, first + count) of that root? */
static bool is_taken(const rvx_plan *plan, int32_t root, int64_t first, int64_t count, int32_t step,
                     int32_t except)
{
    for (int32_t i = 0; i < plan->instance_count; i++) {
        if (i == except || plan->instances[i].buffer < 0 || plan->instances[i].last_step <= step)
            continue;
        int64_t other;
        if (locate(plan, i, &other) == root && other < first + count &&
            first < other + info_of(plan, i)->shape.c)
            return true;
    }
    return false;
}

/* Lets `target` take over the memory of `source`, if that dies with this step. */
static bool put_in_place(rvx_plan *plan, int32_t target, int32_t source, int32_t step)
{
    if (plan->options.plain || source < 0 || plan->instances[source].last_step > step)
        return false;
    const rvx_value_info *t = info_of(plan, target), *o = info_of(plan, source);
    if (memcmp(&t->shape, &o->shape, sizeof t->shape) != 0 ||
        plan->instances[target].dtype != plan->instances[source].dtype)
        return false;
    int64_t first;
    int32_t root = locate(plan, source, &first);
    if (plan->buffers[root].persistent || is_taken(plan, root, first, o->shape.c, step, source))
        return false;
    put(plan, target, plan->instances[source].buffer, plan->instances[source].channel_offset);
    return true;
}

/* Do the parts lie side by side in one buffer already? Then the gathered value lies there too. */
static bool gather_in_place(rvx_plan *plan, const rvx_step *step)
{
    int64_t first, next;
    int32_t root = locate(plan, step->in[0], &first);
    next = first;
    for (int i = 0; i < RVX_IN_MAX && step->in[i] >= 0; i++) {
        int64_t channel;
        if (locate(plan, step->in[i], &channel) != root || channel != next)
            return false;
        next += info_of(plan, step->in[i])->shape.c;
    }
    put(plan, step->out[0], root, first);
    return true;
}

/* A new buffer adopts the buffers of the parts; parts that cannot move (inputs, slices of something
 * wider) stay in the step and are copied. */
static bool place_gather(rvx_plan *plan, rvx_step *step)
{
    if (!plan->options.plain && gather_in_place(plan, step)) {
        memset(step->in, -1, sizeof step->in);
        return true;
    }
    if (!put_in_new_buffer(plan, step->out[0]))
        return false;
    int32_t whole = plan->instances[step->out[0]].buffer;
    int64_t channel = 0;
    for (int i = 0; i < RVX_IN_MAX && step->in[i] >= 0; i++) {
        int64_t first, count = info_of(plan, step->in[i])->shape.c;
        int32_t root = locate(plan, step->in[i], &first);
        rvx_buffer *buffer = &plan->buffers[root];
        if (!plan->options.plain && root != whole && !buffer->persistent && first == 0 &&
            buffer->shape.c == count && buffer->dtype == plan->buffers[whole].dtype) {
            buffer->parent = whole;
            buffer->channel_offset = channel;
        }
        channel += count;
    }
    return true;
}

/* After all merging: gathers keep only the parts that really have to be copied. */
static void strip_gather(rvx_plan *plan, rvx_step *step)
{
    int64_t first, channel = 0;
    int32_t root = locate(plan, step->out[0], &first);
    for (int i = 0; i < RVX_IN_MAX && step->in[i] >= 0; i++) {
        int64_t at, count = info_of(plan, step->in[i])->shape.c;
        bool there = locate(plan, step->in[i], &at) == root && at == first + channel;
        channel += count;
        if (there)
            step->in[i] = -2; /* already in place */
    }
    for (int i = 0; i < RVX_IN_MAX; i++)
        if (step->in[i] == -2)
            step->in[i] = -1;
}

static bool place_step(rvx_plan *plan, int32_t index)
{
    rvx_step *step = &plan->steps[index];
    if (step->kind == RVX_STEP_GATHER)
        return place_gather(plan, step);
    for (int i = 0; i < RVX_OUT_MAX; i++) {
        int32_t out = step->out[i];
        if (out < 0 || plan->instances[out].buffer >= 0)
            continue;
        bool in_place = i == 0 && step->kind == RVX_STEP_KERNEL && step->phase == RVX_FORWARD &&
                        (step->op->flags & RVX_OP_FORWARD_IN_PLACE) && step->fold < 0;
        if (!(in_place && put_in_place(plan, out, step->in[0], index)) &&
            !put_in_new_buffer(plan, out))
            return false;
    }
    for (int i = 0; i < RVX_IN_MAX; i++) {
        int32_t target = step->grad_in[i];
        if (target < 0 || plan->instances[target].buffer >= 0)
            continue;
        bool in_place = i == 0 && (step->op->flags & RVX_OP_BACKWARD_IN_PLACE);
        if (!(in_place && put_in_place(plan, target, step->grad_out[0], index)) &&
            !put_in_new_buffer(plan, target))
            return false;
    }
    return true;
}

static rvx_status check_write(const rvx_plan *plan, int32_t index, int32_t written,
                              rvx_error *error)
{
    int64_t first, other;
    if (written < 0)
        return RVX_OK;
    int32_t root = locate(plan, written, &first);
    for (int32_t i = 0; i < plan->instance_count; i++) {
        if (i == written || plan->instances[i].buffer < 0 ||
            plan->instances[i].last_step <= index || plan->instances[i].first_step > index)
            continue;
        if (locate(plan, i, &other) == root && other < first + info_of(plan, written)->shape.c &&
            first < other + info_of(plan, i)->shape.c)
            return rvx__fail(
                error, RVX_ERROR_UNSUPPORTED,
                "plan: step %d (%s) would overwrite %s of '%s', which is read until step %d", index,
                plan->steps[index].op ? plan->steps[index].op->name : "zero",
                plan->instances[i].gradient ? "the gradient" : "the value", info_of(plan, i)->name,
                plan->instances[i].last_step);
    }
    return RVX_OK;
}

rvx_status rvx__plan_place(rvx_plan *plan, rvx_error *error)
{
    for (int32_t i = 0; i < plan->instance_count; i++)
        if (plan->instances[i].persistent && !put_in_new_buffer(plan, i))
            return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    for (int32_t s = 0; s < plan->step_count; s++)
        if (!place_step(plan, s))
            return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    rvx_status status = RVX_OK;
    for (int32_t s = 0; s < plan->step_count && status == RVX_OK; s++) {
        rvx_step *step = &plan->steps[s];
        if (step->kind == RVX_STEP_GATHER) {
            strip_gather(plan, step);
            continue;
        }
        bool forward = step->kind == RVX_STEP_ZERO || step->phase == RVX_FORWARD;
        for (int i = 0; i < RVX_OUT_MAX && forward && status == RVX_OK; i++)
            status = check_write(plan, s, step->out[i], error);
        for (int i = 0; i < RVX_IN_MAX && status == RVX_OK; i++)
            status = check_write(plan, s, step->grad_in[i], error);
    }
    return status;
}
