/* The next inputs of a session on a GPU: see session.h. They go up on the second queue while the
 * step works, into a place of the arena that its last steps leave alone, and from there into the
 * inputs' own place when the next run begins. No byte is added to the plan. */
#include "engine/run/session_state.h"

enum { ALIGNMENT = 256 };

static int64_t inputs_first(const rvx_plan *plan)
{
    return plan->control_offset + plan->control_bytes;
}

/* The first step from which on nothing lives in bytes [at, at + bytes). */
static int32_t free_from(const rvx_plan *plan, int64_t at, int64_t bytes)
{
    int32_t step = plan->forward_step_count; /* a forward pass may be repeated */
    for (int32_t b = 0; b < plan->buffer_count; b++) {
        const rvx_buffer *buffer = &plan->buffers[b];
        if (buffer->bytes > 0 && buffer->offset < at + bytes &&
            at < buffer->offset + buffer->bytes && buffer->last_step >= step)
            step = buffer->last_step < plan->step_count ? buffer->last_step + 1 : plan->step_count;
    }
    return step;
}

/* The place that is free first. Best places begin where a buffer ends. */
void rvx__session_aside_open(rvx_session *session)
{
    const rvx_plan *plan = session->plan;
    rvx__on_device *on = session->on;
    const int64_t bytes = on->kept_bytes - inputs_first(plan);
    on->next_at = -1;
    on->next_step = plan->step_count;
    if (plan->options.loss_count == 0 || bytes <= 0)
        return;
    for (int32_t b = -1; b < plan->buffer_count; b++) {
        int64_t at = b < 0 ? on->kept_bytes : plan->buffers[b].offset + plan->buffers[b].bytes;
        at = (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        if (at < on->kept_bytes || at + bytes > plan->arena_bytes)
            continue;
        const int32_t step = free_from(plan, at, bytes);
        if (step < on->next_step) {
            on->next_step = step;
            on->next_at = at;
        }
    }
}

void rvx__session_set_next(rvx_session *session, rvx_next_inputs next, void *context)
{
    if (!session->on)
        return;
    session->on->next = next;
    session->on->next_context = context;
}

bool rvx__session_has_next(const rvx_session *session)
{
    return session->on && session->on->has_next;
}

bool rvx__session_aside_take(rvx_session *session)
{
    const int64_t first = inputs_first(session->plan);
    rvx__on_device *on = session->on;
    const rvx_device *device = on->device;
    on->came_aside = on->has_next;
    on->has_next = false;
    if (!on->came_aside)
        return false;
    device->cuda->wait_aside(device->handle);
    device->cuda->copy(device->handle, session->arena + first, session->arena + on->next_at,
                       on->kept_bytes - first);
    return true;
}

static bool wanted(const rvx_session *session)
{
    return session->on->next && session->on->next_at >= 0;
}

void rvx__session_aside_free(const rvx_session *session)
{
    const rvx_device *device = session->on->device;
    if (wanted(session))
        device->cuda->aside_waits(device->handle);
}

/* The host's copy of the inputs is free for the next ones once it is on the device: those of this
 * run came aside, or, in a first run, with the rest of its work. */
rvx_status rvx__session_aside_ask(rvx_session *session, rvx_error *error)
{
    const int64_t first = inputs_first(session->plan);
    rvx__on_device *on = session->on;
    const rvx_device *device = on->device;
    if (!wanted(session))
        return RVX_OK;
    rvx_status status = device->cuda->synchronize_aside(device->handle, error);
    if (status == RVX_OK && !on->came_aside)
        status = device->cuda->synchronize(device->handle, error);
    if (status != RVX_OK || !on->next(on->next_context))
        return status;
    device->cuda->upload_aside(device->handle, session->arena + on->next_at, on->staging + first,
                               on->kept_bytes - first);
    on->has_next = true;
    return RVX_OK;
}
