/* Offsets. Persistent buffers stand first: parameters, their gradients and the optimiser's
 * slots as three equal blocks, then inputs and constants. The others are laid out by size, largest
 * first, each at the lowest offset that is free throughout its life; ties go to the earlier one, so
 * that a plan is a pure function of its graph and options. */
#include "engine/plan/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 256, VECTOR_SLACK = 64 };

static int64_t align(int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; }

/* Kernels may read one vector past the last voxel: every buffer is a little longer than its tensor.
 */
static int64_t buffer_bytes(const rvx_buffer *buffer)
{
    return align(rvx__shape_count(buffer->shape) * rvx__dtype_bytes(buffer->dtype) + VECTOR_SLACK,
                 ALIGNMENT);
}

static void measure_lifetimes(rvx_plan *plan)
{
    for (int32_t b = 0; b < plan->buffer_count; b++) {
        rvx_buffer *buffer = &plan->buffers[b];
        buffer->bytes = buffer->parent < 0 && buffer->memory < 0 ? buffer_bytes(buffer) : 0;
        buffer->first_step = INT_MAX;
        buffer->last_step = -1;
    }
    for (int32_t i = 0; i < plan->instance_count; i++) {
        int64_t channel = 0;
        if (plan->instances[i].buffer < 0)
            continue;
        int32_t own = rvx__plan_root(plan, plan->instances[i].buffer, &channel);
        rvx_buffer *root = &plan->buffers[rvx__plan_memory(plan, own)];
        if (plan->instances[i].first_step < root->first_step)
            root->first_step = plan->instances[i].first_step;
        if (plan->instances[i].last_step > root->last_step)
            root->last_step = plan->instances[i].last_step;
    }
}

/* Scratch is a buffer that lives for one step. */
static bool add_scratch(rvx_plan *plan)
{
    for (int32_t s = 0; s < plan->step_count; s++) {
        rvx_step *step = &plan->steps[s];
        if (step->scratch_bytes <= 0)
            continue;
        rvx_buffer buffer = {.parent = -1,
                             .memory = -1,
                             .shape = {1, 1, 1, 1, step->scratch_bytes},
                             .dtype = RVX_U8,
                             .first_step = s,
                             .last_step = s};
        buffer.bytes = buffer_bytes(&buffer);
        step->scratch_buffer = rvx__plan_buffer_add(plan, buffer);
        if (step->scratch_buffer < 0)
            return false;
    }
    return true;
}

/* Parameters in one block, trained ones first, gradients and optimiser slots in blocks of the same
 * shape after it, then what the engine keeps on a device. */
static int64_t lay_persistent(rvx_plan *plan)
{
    const rvx_graph *graph = plan->graph;
    for (int untrained = 0; untrained < 2; untrained++) {
        for (int32_t v = 0; v < graph->value_count; v++) {
            if (graph->values[v].kind != RVX_VALUE_PARAMETER ||
                (plan->gradient_instance[v] < 0) != untrained)
                continue;
            plan->parameter_position[v] = plan->parameter_bytes;
            plan->parameter_bytes += align(rvx__shape_count(graph->values[v].shape) * 4, 64);
        }
        if (!untrained)
            plan->trained_bytes = plan->parameter_bytes;
    }
    plan->parameter_bytes = align(plan->parameter_bytes + VECTOR_SLACK, ALIGNMENT);
    bool training = plan->options.loss_count > 0;
    plan->gradient_offset = plan->parameter_bytes;
    plan->slot_offset = 2 * plan->parameter_bytes;
    int64_t next = training ? (2 + plan->options.optimizer_slots) * plan->parameter_bytes
                            : plan->parameter_bytes;
    plan->control_offset = next;
    if (plan->options.isa == RVX_ISA_CUDA)
        plan->control_bytes =
            align((int64_t)sizeof(rvx_plan_control) + graph->node_count * (int64_t)sizeof(int64_t),
                  ALIGNMENT);
    next += plan->control_bytes;
    for (int32_t i = 0; i < plan->instance_count; i++) {
        const rvx_instance *instance = &plan->instances[i];
        if (!instance->persistent)
            continue;
        rvx_buffer *buffer = &plan->buffers[instance->buffer];
        if (graph->values[instance->value].kind == RVX_VALUE_PARAMETER) {
            buffer->offset = plan->parameter_position[instance->value] +
                             (instance->gradient ? plan->gradient_offset : 0);
        } else {
            buffer->offset = next;
            next += buffer->bytes;
        }
    }
    return next;
}

typedef struct slot {
    int64_t bytes;
    int32_t buffer;
} slot;

static int compare_slots(const void *a, const void *b)
{
    const slot *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->buffer < y->buffer ? -1 : x->buffer > y->buffer;
}

/* The lowest offset from `base` at which the buffer meets none of the `count` already laid ones. */
static int64_t lowest_fit(const rvx_plan *plan, const slot *laid, int32_t count,
                          const rvx_buffer *buffer, int64_t base)
{
    int64_t offset = base;
    for (bool moved = true; moved;) {
        moved = false;
        for (int32_t i = 0; i < count; i++) {
            const rvx_buffer *other = &plan->buffers[laid[i].buffer];
            if (other->first_step <= buffer->last_step && buffer->first_step <= other->last_step &&
                offset < other->offset + other->bytes && other->offset < offset + buffer->bytes) {
                offset = other->offset + other->bytes;
                moved = true;
            }
        }
    }
    return offset;
}

static void find_peak(rvx_plan *plan, int64_t base)
{
    for (int32_t s = 0; s < plan->step_count; s++) {
        int64_t live = base;
        for (int32_t b = 0; b < plan->buffer_count; b++) {
            const rvx_buffer *buffer = &plan->buffers[b];
            if (buffer->parent < 0 && !buffer->persistent && buffer->first_step <= s &&
                s <= buffer->last_step)
                live += buffer->bytes;
        }
        if (live > plan->peak_live_bytes) {
            plan->peak_live_bytes = live;
            plan->peak_step = s;
        }
    }
}

rvx_status rvx__plan_arena(rvx_plan *plan, rvx_error *error)
{
    measure_lifetimes(plan);
    slot *slots = NULL;
    plan->parameter_position =
        calloc((size_t)plan->graph->value_count, sizeof *plan->parameter_position);
    if (!plan->parameter_position || !add_scratch(plan) ||
        !(slots = malloc((size_t)(plan->buffer_count + 1) * sizeof *slots)))
        return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    int64_t base = lay_persistent(plan);
    int32_t count = 0;
    for (int32_t b = 0; b < plan->buffer_count; b++)
        if (plan->buffers[b].parent < 0 && !plan->buffers[b].persistent &&
            plan->buffers[b].last_step >= 0)
            slots[count++] = (slot){plan->buffers[b].bytes, b};
    qsort(slots, (size_t)count, sizeof *slots, compare_slots);
    plan->arena_bytes = base;
    for (int32_t i = 0; i < count; i++) {
        rvx_buffer *buffer = &plan->buffers[slots[i].buffer];
        buffer->offset = lowest_fit(plan, slots, i, buffer, base);
        if (buffer->offset + buffer->bytes > plan->arena_bytes)
            plan->arena_bytes = buffer->offset + buffer->bytes;
    }
    free(slots);
    find_peak(plan, base);
    return RVX_OK;
}
