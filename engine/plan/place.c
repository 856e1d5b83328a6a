/* Which instances share memory. A buffer is made for each instance that needs one; channel
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

int32_t rvx__plan_memory(const rvx_plan *plan, int32_t root)
{
    return plan->buffers[root].memory >= 0 ? plan->buffers[root].memory : root;
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
                         .memory = -1,
                         .shape = info->shape,
                         .dtype = plan->instances[instance].dtype,
                         .persistent = plan->instances[instance].persistent};
    int32_t index = rvx__plan_buffer_add(plan, buffer);
    if (index >= 0)
        put(plan, instance, index, 0);
    return index >= 0;
}

static int64_t root_bytes(const rvx_buffer *root)
{
    return rvx__shape_count(root->shape) * rvx__dtype_bytes(root->dtype);
}

/* Do two roots use a byte in common? */
static bool roots_meet(const rvx_plan *plan, int32_t a, int32_t b)
{
    const rvx_buffer *x = &plan->buffers[a], *y = &plan->buffers[b];
    return rvx__plan_memory(plan, a) == rvx__plan_memory(plan, b) &&
           x->memory_offset < y->memory_offset + root_bytes(y) &&
           y->memory_offset < x->memory_offset + root_bytes(x);
}

/* Do two placed instances share a byte? */
static bool overlaps(const rvx_plan *plan, int32_t a, int32_t b)
{
    int64_t first_a, first_b;
    int32_t root_a = locate(plan, a, &first_a), root_b = locate(plan, b, &first_b);
    if (root_a != root_b)
        return roots_meet(plan, root_a, root_b);
    return first_a < first_b + info_of(plan, b)->shape.c &&
           first_b < first_a + info_of(plan, a)->shape.c;
}

/* Is the memory of `source` also that of another instance that is read after `step`? */
static bool is_taken(const rvx_plan *plan, int32_t source, int32_t step)
{
    for (int32_t i = 0; i < plan->instance_count; i++)
        if (i != source && plan->instances[i].buffer >= 0 && plan->instances[i].last_step > step &&
            overlaps(plan, i, source))
            return true;
    return false;
}

/* The root that an instance fills alone, from end to end; -1: it is a slice of something wider. */
static int32_t dense_root(const rvx_plan *plan, int32_t instance)
{
    int64_t first;
    int32_t root = locate(plan, instance, &first);
    bool fills =
        rvx__shape_equal(plan->buffers[root].shape, info_of(plan, instance)->shape) && first == 0;
    return fills ? root : -1;
}

/* Makes `target` a root of its own in the memory of the root `source`, so many bytes in. */
static bool put_in_memory_of(rvx_plan *plan, int32_t target, int32_t source, int64_t bytes)
{
    rvx_buffer buffer = {.parent = -1,
                         .memory = rvx__plan_memory(plan, source),
                         .memory_offset = plan->buffers[source].memory_offset + bytes,
                         .shape = info_of(plan, target)->shape,
                         .dtype = plan->instances[target].dtype};
    int32_t index = rvx__plan_buffer_add(plan, buffer);
    if (index < 0)
        return false;
    plan->buffers[buffer.memory].lent = true;
    put(plan, target, index, 0);
    return true;
}

/* Values in another order and shape, in the memory of the old ones. */
static bool reshape_in_place(rvx_plan *plan, int32_t target, int32_t source)
{
    int32_t root = dense_root(plan, source);
    if (root < 0 || rvx__shape_count(info_of(plan, target)->shape) !=
                        rvx__shape_count(info_of(plan, source)->shape))
        return false;
    return put_in_memory_of(plan, target, root, 0);
}

/* Does nobody but `target` need the memory of `source` after this step? */
static bool is_left(const rvx_plan *plan, int32_t target, int32_t source, int32_t step)
{
    int64_t first;
    return !plan->options.unshared && source >= 0 && plan->instances[source].buffer >= 0 &&
           plan->instances[source].last_step <= step &&
           !plan->buffers[locate(plan, source, &first)].persistent &&
           !is_taken(plan, source, step) &&
           plan->instances[target].dtype == plan->instances[source].dtype;
}

/* Lets `target` take over the memory of `source`, if that dies with this step. */
static bool put_in_place(rvx_plan *plan, int32_t target, int32_t source, int32_t step)
{
    if (!is_left(plan, target, source, step))
        return false;
    if (!rvx__shape_equal(info_of(plan, target)->shape, info_of(plan, source)->shape))
        return reshape_in_place(plan, target, source);
    put(plan, target, plan->instances[source].buffer, plan->instances[source].channel_offset);
    return true;
}

/* Could all instances of `root` lie in `host` from that channel on: does nothing else live there
 * while one of them does? */
static bool is_free_for(const rvx_plan *plan, int32_t host, int64_t channel, int32_t root)
{
    int64_t count = plan->buffers[root].shape.c, first, other;
    for (int32_t i = 0; i < plan->instance_count; i++) {
        if (plan->instances[i].buffer < 0 || locate(plan, i, &first) != root)
            continue;
        for (int32_t j = 0; j < plan->instance_count; j++) {
            if (plan->instances[j].buffer < 0 ||
                plan->instances[j].last_step < plan->instances[i].first_step ||
                plan->instances[i].last_step < plan->instances[j].first_step)
                continue;
            int32_t at = locate(plan, j, &other);
            bool meets = at == host && other < channel + count &&
                         channel < other + info_of(plan, j)->shape.c;
            bool other_shape = at != host && roots_meet(plan, at, host);
            if (meets || (other_shape && at != root))
                return false;
        }
    }
    return true;
}

/* Makes the whole buffer of a part a slice of `host`, where it can be moved there. */
static bool move_into(rvx_plan *plan, int32_t part, int32_t host, int64_t channel)
{
    int64_t first;
    int32_t root = locate(plan, part, &first);
    rvx_buffer *buffer = &plan->buffers[root], *whole = &plan->buffers[host];
    rvx_shape a = buffer->shape, b = whole->shape;
    bool fits = a.n == b.n && a.d == b.d && a.h == b.h && a.w == b.w && channel + a.c <= b.c;
    if (root == host || buffer->persistent || buffer->lent || whole->persistent || !fits ||
        first != 0 || a.c != info_of(plan, part)->shape.c || buffer->dtype != whole->dtype ||
        !is_free_for(plan, host, channel, root))
        return false;
    buffer->parent = host;
    buffer->channel_offset = channel;
    buffer->memory = -1;
    buffer->memory_offset = 0;
    return true;
}

/* Do the parts lie side by side in one buffer already, or can those that do not be moved there?
 * Then the gathered value lies there too. The buffer that holds the first part it finds in a wider
 * one is the host: a place that another slice has left is taken again. */
static bool gather_in_place(rvx_plan *plan, const rvx_step *step)
{
    int32_t host = -1;
    int64_t base = 0, offset = 0;
    for (int i = 0; i < RVX_IN_MAX && step->in[i] >= 0; i++) {
        int64_t channel;
        int32_t root = locate(plan, step->in[i], &channel);
        if (host < 0 && channel >= offset &&
            plan->buffers[root].shape.c > info_of(plan, step->in[i])->shape.c) {
            host = root;
            base = channel - offset;
        }
        offset += info_of(plan, step->in[i])->shape.c;
    }
    if (host < 0 || base + offset > plan->buffers[host].shape.c)
        return false;
    offset = base;
    for (int i = 0; i < RVX_IN_MAX && step->in[i] >= 0; i++) {
        int64_t channel;
        if ((locate(plan, step->in[i], &channel) != host || channel != offset) &&
            !move_into(plan, step->in[i], host, offset))
            return false;
        offset += info_of(plan, step->in[i])->shape.c;
    }
    put(plan, step->out[0], host, base);
    return true;
}

/* A new buffer adopts the buffers of the parts; parts that cannot move (inputs, slices of something
 * wider) stay in the step and are copied. */
static bool place_gather(rvx_plan *plan, rvx_step *step)
{
    if (!plan->options.unshared && gather_in_place(plan, step))
        return true; /* nothing to copy: see strip_gather */
    if (!put_in_new_buffer(plan, step->out[0]))
        return false;
    int32_t whole = plan->instances[step->out[0]].buffer;
    int64_t channel = 0;
    for (int i = 0; i < RVX_IN_MAX && step->in[i] >= 0; i++) {
        int64_t first, count = info_of(plan, step->in[i])->shape.c;
        int32_t root = locate(plan, step->in[i], &first);
        rvx_buffer *buffer = &plan->buffers[root];
        if (!plan->options.unshared && root != whole && !buffer->persistent && !buffer->lent &&
            buffer->memory < 0 && first == 0 && buffer->shape.c == count &&
            buffer->dtype == plan->buffers[whole].dtype) {
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

/* out[0] in the memory of an input that the row allows: in[0], or a summand. */
static void put_forward_in_place(rvx_plan *plan, const rvx_step *step, int32_t index)
{
    bool in_place = (step->op->flags & RVX_OP_FORWARD_IN_PLACE) != 0;
    uint32_t inputs = step->op->residual_inputs | (in_place ? step->op->inverse_inputs | 1u : 0);
    for (int i = 0; i < RVX_IN_MAX && step->out[0] >= 0; i++)
        if (inputs >> i & 1 && !(i == 0 && step->fold >= 0) &&
            plan->instances[step->out[0]].buffer < 0)
            put_in_place(plan, step->out[0], step->in[i], index);
}

static bool put_somewhere(rvx_plan *plan, int32_t target, int32_t in_place_of, int32_t step)
{
    return target < 0 || plan->instances[target].buffer >= 0 ||
           put_in_place(plan, target, in_place_of, step) || put_in_new_buffer(plan, target);
}

/* ---- parts (RVX_OP_PARTS) -----------------------------------------------------------------------
 */

enum { PART_ALIGNMENT = 64 }; /* of bytes: kernels move vectors */

/* The parts take over the memory of the whole, one after the other. */
static bool apart_in_place(rvx_plan *plan, const int32_t *parts, int count, int32_t whole,
                           int32_t step)
{
    int64_t bytes = 0;
    for (int i = 0; i < count; i++)
        if (parts[i] < 0 || plan->instances[parts[i]].buffer >= 0 ||
            !is_left(plan, parts[i], whole, step))
            return false;
    int32_t root = dense_root(plan, whole);
    if (root < 0 || root_bytes(&plan->buffers[root]) / count % PART_ALIGNMENT != 0)
        return false;
    for (int i = 0; i < count; i++) {
        if (!put_in_memory_of(plan, parts[i], root, bytes))
            return false;
        bytes += root_bytes(&plan->buffers[root]) / count;
    }
    return true;
}

/* The whole takes over the memory of the parts, where they stand one after the other. */
static bool together_in_place(rvx_plan *plan, int32_t whole, const int32_t *parts, int count,
                              int32_t step)
{
    int32_t first = -1;
    for (int i = 0; i < count; i++) {
        int32_t root = is_left(plan, whole, parts[i], step) ? dense_root(plan, parts[i]) : -1;
        if (i == 0)
            first = root;
        if (root < 0 || rvx__plan_memory(plan, root) != rvx__plan_memory(plan, first) ||
            plan->buffers[root].memory_offset !=
                plan->buffers[first].memory_offset + i * root_bytes(&plan->buffers[first]))
            return false;
    }
    return put_in_memory_of(plan, whole, first, 0);
}

static bool all_placed(rvx_plan *plan, const int32_t *instances, int count)
{
    for (int i = 0; i < count; i++)
        if (instances[i] >= 0 && plan->instances[instances[i]].buffer < 0 &&
            !put_in_new_buffer(plan, instances[i]))
            return false;
    return true;
}

static bool place_parts(rvx_plan *plan, const rvx_step *step, int32_t index)
{
    bool apart = step->op->out_count > 1; /* forward */
    int count = apart ? step->op->out_count : step->op->in_max;
    bool data = step->phase != RVX_BACKWARD_DATA;
    const int32_t *parts =
        apart ? (data ? step->out : step->grad_out) : (data ? step->in : step->grad_in);
    const int32_t *whole =
        apart ? (data ? step->in : step->grad_in) : (data ? step->out : step->grad_out);
    if ((step->phase == RVX_FORWARD) == apart)
        return apart_in_place(plan, parts, count, *whole, index) || all_placed(plan, parts, count);
    return plan->instances[*whole].buffer >= 0 ||
           together_in_place(plan, *whole, parts, count, index) || all_placed(plan, whole, 1);
}

static bool place_step(rvx_plan *plan, int32_t index)
{
    rvx_step *step = &plan->steps[index];
    if (step->kind == RVX_STEP_GATHER)
        return place_gather(plan, step);
    bool kernel = step->kind == RVX_STEP_KERNEL, ok = true;
    if (kernel && (step->op->flags & RVX_OP_PARTS))
        return place_parts(plan, step, index);
    if (kernel && step->phase == RVX_INVERSE) {
        bool in_place = (step->op->flags & RVX_OP_INVERSE_IN_PLACE) != 0;
        return put_somewhere(plan, step->in[step->inverse_input], in_place ? step->out[0] : -1,
                             index);
    }
    if (kernel && step->phase == RVX_FORWARD)
        put_forward_in_place(plan, step, index);
    for (int i = 0; i < RVX_OUT_MAX && ok; i++)
        ok = put_somewhere(plan, step->out[i], -1, index);
    for (int i = 0; i < RVX_IN_MAX && ok; i++) {
        bool in_place = i == 0 && kernel && (step->op->flags & RVX_OP_BACKWARD_IN_PLACE);
        ok = put_somewhere(plan, step->grad_in[i], in_place ? step->grad_out[0] : -1, index);
    }
    return ok;
}

static rvx_status check_write(const rvx_plan *plan, int32_t index, int32_t written,
                              rvx_error *error)
{
    if (written < 0)
        return RVX_OK;
    for (int32_t i = 0; i < plan->instance_count; i++) {
        if (i == written || plan->instances[i].buffer < 0 ||
            plan->instances[i].last_step <= index || plan->instances[i].first_step > index)
            continue;
        if (overlaps(plan, i, written))
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
        for (int i = 0; i < RVX_IN_MAX && status == RVX_OK; i++)
            if (step->kind == RVX_STEP_KERNEL && step->phase == RVX_INVERSE &&
                (i == step->inverse_input || (step->op->flags & RVX_OP_PARTS)))
                status = check_write(plan, s, step->in[i], error);
        for (int i = 0; i < RVX_OUT_MAX && forward && status == RVX_OK; i++)
            status = check_write(plan, s, step->out[i], error);
        for (int i = 0; i < RVX_IN_MAX && status == RVX_OK; i++)
            status = check_write(plan, s, step->grad_in[i], error);
    }
    return status;
}
