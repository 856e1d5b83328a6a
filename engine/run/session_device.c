/* Sessions on a GPU: see session_state.h. All work of a run is queued, and once it has run twice it
 * is recorded and played back; the host waits where it must know something: at the end of a run,
 * and after the forward pass of a network with integer streams. */
#include "engine/run/session_state.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 256, RANGE_BYTES = 160 };

static const rvx_cuda *cuda_of(const rvx_session *session) { return session->on->device->cuda; }

static rvx_cuda_device *handle_of(const rvx_session *session)
{
    return session->on->device->handle;
}

/* Bytes from a tensor's first element to behind its last. */
static int64_t span(const rvx_tensor *t)
{
    int64_t voxels = rvx__shape_voxels(t->shape);
    return voxels ? ((voxels - 1) * t->pitch + t->shape.c) * rvx__dtype_bytes(t->dtype) : 0;
}

static rvx_tensor output_of(const rvx_session *session, int index)
{
    const rvx_plan *plan = session->plan;
    return rvx__plan_tensor(plan, plan->value_instance[plan->options.outputs[index].index],
                            session->arena);
}

/* ---- opening -----------------------------------------------------------------------------------
 */

rvx_kernel rvx__session_device_kernel(const rvx_session *session, const rvx_step *step)
{
    const rvx_cuda *cuda = cuda_of(session);
    if (step->kind == RVX_STEP_ZERO)
        return NULL;
    if (session->on->prepared && session->on->prepared[step - session->plan->steps])
        return cuda->run_prepared;
    if (step->kind == RVX_STEP_GATHER)
        return cuda->kernel(rvx__op_concat.name, RVX_FORWARD);
    return cuda->kernel(step->op->name, step->phase);
}

static rvx_status check_kernels(const rvx_session *session, rvx_error *error)
{
    const rvx_plan *plan = session->plan;
    for (int32_t s = 0; s < plan->step_count; s++) {
        const rvx_step *step = &plan->steps[s];
        if (step->kind != RVX_STEP_ZERO && !rvx__session_device_kernel(session, step))
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s: the CUDA library has no kernel for op '%s', phase %d: build it "
                             "from the same version",
                             session->on->device->name, step->op ? step->op->name : "concat",
                             (int)step->phase);
    }
    return RVX_OK;
}

static rvx_status check_room(const rvx_session *session, rvx_error *error)
{
    rvx_cuda_info now;
    const rvx_device *device = session->on->device;
    rvx_status status = device->cuda->device_info(&now, device->handle, error);
    if (status == RVX_OK && session->arena_bytes > now.free_bytes)
        status = rvx__fail(error, RVX_ERROR_MEMORY,
                           "%s (%s): the network needs %.1f MiB, and %.1f of its %.1f MiB are free",
                           device->name, now.name, (double)session->arena_bytes / 0x1p20,
                           (double)now.free_bytes / 0x1p20, (double)now.memory_bytes / 0x1p20);
    return status;
}

/* Where everything stands in staging; returns its size. */
static int64_t lay_staging(rvx_session *session)
{
    const rvx_plan *plan = session->plan;
    rvx__on_device *on = session->on;
    int64_t next = on->kept_bytes = rvx__session_kept_bytes(plan);
    for (int i = 0; i < plan->options.output_count; i++) {
        const rvx_tensor t = output_of(session, i);
        on->output_at[i] = next = (next + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        next += span(&t);
    }
    on->untrained_at = (next + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return on->untrained_at + plan->parameter_bytes - plan->trained_bytes;
}

rvx_status rvx__session_device_open(rvx_session *session, const rvx_device *device,
                                    rvx_error *error)
{
    rvx_status status;
    void *memory = NULL;
    rvx__on_device *on = session->on = calloc(1, sizeof *on);
    if (!on)
        return rvx__fail(error, RVX_ERROR_MEMORY, "session: out of memory");
    on->device = device;
    RVX_TRY(check_kernels(session, error));
    RVX_TRY(check_room(session, error));
    RVX_TRY(device->cuda->allocate(&memory, device->handle, session->arena_bytes, error));
    session->arena = memory;
    int64_t bytes = lay_staging(session);
    RVX_TRY(device->cuda->allocate_host(&memory, device->handle, bytes, error));
    on->staging = memory;
    memset(on->staging, 0, (size_t)bytes);
    rvx__session_aside_open(session);
    device->cuda->fill(device->handle, session->arena, 0, on->kept_bytes);
    status = device->cuda->synchronize(device->handle, error);
cleanup:
    return status;
}

static void forget_recordings(rvx_session *session)
{
    for (int part = 0; part < RVX__PART_COUNT; part++) {
        if (session->on->recordings[part])
            cuda_of(session)->record_free(handle_of(session), session->on->recordings[part]);
        session->on->recordings[part] = NULL;
        session->on->runs[part] = 0;
    }
}

void rvx__session_device_close(rvx_session *session)
{
    rvx__on_device *on = session->on;
    cuda_of(session)->synchronize(handle_of(session), NULL);
    cuda_of(session)->synchronize_aside(handle_of(session), NULL);
    forget_recordings(session);
    rvx__session_forget_choices(session);
    if (session->arena)
        cuda_of(session)->release(handle_of(session), session->arena);
    if (on->staging)
        cuda_of(session)->release_host(handle_of(session), on->staging);
    if (on->observed)
        cuda_of(session)->release_host(handle_of(session), on->observed);
    free(on);
}

void rvx__session_device_rebound(rvx_session *session)
{
    rvx__on_device *on = session->on;
    const rvx__bound_call *calls = session->calls;
    int32_t i = 0;
    while (i < session->call_count && !calls[i].backward)
        i++;
    on->part_ends[RVX__PART_FORWARD] = i;
    while (i < session->call_count && (on->next_at < 0 || calls[i].step < on->next_step))
        i++;
    on->part_ends[RVX__PART_BACKWARD] = i;
    on->part_ends[RVX__PART_REST] = session->call_count;
    forget_recordings(session);
}

/* ---- between host and device -------------------------------------------------------------------
 */

const rvx_device *rvx__session_device(const rvx_session *session)
{
    return session->on ? session->on->device : NULL;
}

static rvx_status move(const rvx_session *session, bool up, rvx_error *error)
{
    if (!session->on)
        return RVX_OK;
    const rvx_cuda *cuda = cuda_of(session);
    int64_t bytes = session->plan->control_offset; /* behind the optimiser */
    if (up)
        cuda->upload(handle_of(session), session->arena, session->on->staging, bytes);
    else
        cuda->download(handle_of(session), session->on->staging, session->arena, bytes);
    return cuda->synchronize(handle_of(session), error);
}

rvx_status rvx__session_upload(rvx_session *session, rvx_error *error)
{
    return move(session, true, error);
}

rvx_status rvx__session_download(const rvx_session *session, rvx_error *error)
{
    return move(session, false, error);
}

rvx_tensor rvx__session_device_tensor(const rvx_session *session, rvx_value value)
{
    const rvx_plan *plan = session->plan;
    if (value.index < 0)
        return (rvx_tensor){0};
    rvx_tensor t = rvx__plan_tensor(plan, plan->value_instance[value.index], session->on->staging);
    if (!t.data || plan->graph->values[value.index].kind != RVX_VALUE_RESULT)
        return t;
    t.data = NULL;
    for (int i = 0; i < plan->options.output_count; i++)
        if (plan->options.outputs[i].index == value.index)
            t.data = session->on->staging + session->on->output_at[i];
    return t;
}

rvx_tensor rvx__session_device_instance(const rvx_session *session, int32_t instance)
{
    const rvx_cuda *cuda = cuda_of(session);
    rvx__on_device *on = session->on;
    rvx_tensor t = rvx__plan_tensor(session->plan, instance, session->arena);
    void *memory = NULL;
    if (!t.data)
        return t;
    if (span(&t) > on->observed_bytes) {
        if (on->observed)
            cuda->release_host(handle_of(session), on->observed);
        on->observed = NULL;
        on->observed_bytes = 0;
        if (cuda->allocate_host(&memory, handle_of(session), span(&t), NULL) != RVX_OK)
            return (rvx_tensor){0};
        on->observed = memory;
        on->observed_bytes = span(&t);
    }
    cuda->download(handle_of(session), on->observed, t.data, span(&t));
    bool there = cuda->synchronize(handle_of(session), NULL) == RVX_OK;
    t.data = there ? on->observed : NULL;
    return t;
}

/* Inputs and constants stand behind what the engine keeps. */
static void upload_inputs(const rvx_session *session)
{
    const rvx_plan *plan = session->plan;
    int64_t first = plan->control_offset + plan->control_bytes;
    if (session->on->kept_bytes > first)
        cuda_of(session)->upload(handle_of(session), session->arena + first,
                                 session->on->staging + first, session->on->kept_bytes - first);
}

static void download_outputs(const rvx_session *session)
{
    for (int i = 0; i < session->plan->options.output_count; i++) {
        const rvx_tensor t = output_of(session, i);
        if (t.data)
            cuda_of(session)->download(handle_of(session),
                                       session->on->staging + session->on->output_at[i], t.data,
                                       span(&t));
    }
}

/* ---- work --------------------------------------------------------------------------------------
 */

/* A run on its way. */
typedef struct walk {
    rvx_session *session;
    rvx_poll poll;
    void *context;
    double done, total;
} walk;

static rvx_status ask(const walk *w, rvx_error *error)
{
    if (w->poll && w->poll(w->context, w->done, w->total))
        return rvx__fail(error, RVX_CANCELLED, "cancelled");
    return RVX_OK;
}

/* Queues a call within a range of the timeline: "forward enc0/unit1/conv conv". */
static void queue_call(const rvx_session *session, const rvx__bound_call *bound)
{
    static const char *const kinds[] = {"", "gather", "clear"};
    const rvx_cuda *cuda = cuda_of(session);
    const rvx_step *step = &session->plan->steps[bound->step];
    char range[RANGE_BYTES];
    snprintf(range, sizeof range, "%s %s %s",
             step->rebuild     ? "rebuild"
             : bound->backward ? "backward"
                               : "forward",
             session->plan->graph->nodes[step->node].name,
             step->kind == RVX_STEP_KERNEL ? step->op->name : kinds[step->kind]);
    cuda->range_push(range);
    if (bound->kernel)
        bound->kernel(&bound->call);
    else
        cuda->clear(handle_of(session), &bound->call.out[0]);
    cuda->range_pop();
}

static int32_t part_begin(const rvx_session *session, rvx__part part)
{
    return part == RVX__PART_FORWARD ? 0 : session->on->part_ends[part - 1];
}

/* One call after the other; an observer sees the result of each step. */
static rvx_status queue_part(walk *w, rvx__part part, rvx_error *error)
{
    rvx_session *session = w->session;
    for (int32_t i = part_begin(session, part); i < session->on->part_ends[part]; i++) {
        const rvx__bound_call *bound = &session->calls[i];
        rvx_status status = ask(w, error);
        if (status != RVX_OK)
            return status;
        queue_call(session, bound);
        w->done += bound->work;
        bool ended = i + 1 == session->call_count || session->calls[i + 1].step != bound->step;
        if (!session->observer || !ended)
            continue;
        status = cuda_of(session)->synchronize(handle_of(session), error);
        if (status != RVX_OK)
            return status;
        session->observer(session->observer_context, session, bound->step);
    }
    return RVX_OK;
}

/* Where a device makes no recordings, calls are queued in every run. */
static void record_part(rvx_session *session, rvx__part part)
{
    const rvx_cuda *cuda = cuda_of(session);
    rvx__on_device *on = session->on;
    on->unrecordable = cuda->record_begin(handle_of(session), &on->unrecorded) != RVX_OK;
    if (on->unrecordable)
        return;
    for (int32_t i = part_begin(session, part); i < on->part_ends[part]; i++)
        queue_call(session, &session->calls[i]);
    on->unrecordable =
        cuda->record_end(&on->recordings[part], handle_of(session), &on->unrecorded) != RVX_OK;
}

/* The first run of new calls is not recorded: a driver may load kernels when they first run, and
 * many sessions run but once. */
static rvx_status run_part(walk *w, rvx__part part, rvx_error *error)
{
    static const char *const names[] = {"forward", "backward", "rest of backward"};
    rvx_session *session = w->session;
    rvx__on_device *on = session->on;
    if (part_begin(session, part) == on->part_ends[part])
        return RVX_OK;
    bool recorded = !session->observer && !on->unrecordable && on->runs[part]++ > 0;
    if (recorded && !on->recordings[part])
        record_part(session, part);
    if (!recorded || !on->recordings[part])
        return queue_part(w, part, error);
    rvx_status status = ask(w, error);
    if (status != RVX_OK)
        return status;
    cuda_of(session)->range_push(names[part]);
    cuda_of(session)->record_play(handle_of(session), on->recordings[part]);
    cuda_of(session)->range_pop();
    for (int32_t i = part_begin(session, part); i < on->part_ends[part]; i++)
        w->done += session->calls[i].work;
    return RVX_OK;
}

/* The forward pass of a network with streams, on the grids on which they fit. */
static rvx_status run_streams(walk *w, rvx_error *error)
{
    rvx_session *session = w->session;
    const rvx_plan *plan = session->plan;
    const rvx_cuda *cuda = cuda_of(session);
    rvx_cuda_device *handle = handle_of(session);
    const int64_t at = plan->control_offset + (int64_t)offsetof(rvx_plan_control, overflow);
    const int64_t bytes = plan->graph->node_count * (int64_t)sizeof(int64_t);
    const int64_t updated_bytes = plan->parameter_bytes - plan->trained_bytes;
    char *updated = session->arena + plan->trained_bytes;
    char *before = session->on->staging + session->on->untrained_at;
    cuda->download(handle, before, updated, updated_bytes);
    for (;;) {
        cuda->fill(handle, session->arena + at, 0, bytes);
        rvx_status status = run_part(w, RVX__PART_FORWARD, error);
        if (status != RVX_OK)
            return status;
        cuda->download(handle, session->on->staging + at, session->arena + at, bytes);
        status = cuda->synchronize(handle, error);
        if (status != RVX_OK)
            return status;
        memcpy(session->pass, session->on->staging + at, (size_t)bytes);
        if (!rvx__session_coarsen(session))
            return RVX_OK;
        cuda->upload(handle, updated, before, updated_bytes);
        w->done = 0;
    }
}

rvx_status rvx__session_device_run(rvx_session *session, bool with_backward, rvx_poll poll,
                                   void *context, rvx_error *error)
{
    rvx_status status;
    walk w = {.session = session, .poll = poll, .context = context};
    w.total = session->work[0] + (with_backward ? session->work[1] : 0);
    if (!rvx__session_aside_take(session))
        upload_inputs(session);
    RVX_TRY(session->group_count > 0 ? run_streams(&w, error)
                                     : run_part(&w, RVX__PART_FORWARD, error));
    if (with_backward) {
        RVX_TRY(run_part(&w, RVX__PART_BACKWARD, error));
        rvx__session_aside_free(session);
        RVX_TRY(run_part(&w, RVX__PART_REST, error));
    }
    download_outputs(session);
    if (with_backward)
        RVX_TRY(rvx__session_aside_ask(session, error));
cleanup:; /* nothing may be under way in memory that the caller uses next */
    rvx_status ended =
        cuda_of(session)->synchronize(handle_of(session), status == RVX_OK ? error : NULL);
    return status == RVX_OK ? ended : status;
}

/* ---- the optimiser -----------------------------------------------------------------------------
 */

rvx_status rvx__session_device_norm(double *norm, const rvx_session *session, rvx_error *error)
{
    const rvx_plan *plan = session->plan;
    const rvx_cuda *cuda = cuda_of(session);
    rvx_plan_control *control = (void *)(session->arena + plan->control_offset);
    double *sum = (void *)(session->on->staging + plan->control_offset);
    cuda->square_sum(handle_of(session), &control->square_sum,
                     (const float *)(session->arena + plan->gradient_offset),
                     rvx__session_parameter_floats(session), control->partial_sums);
    cuda->download(handle_of(session), sum, &control->square_sum, sizeof *sum);
    rvx_status status = cuda->synchronize(handle_of(session), error);
    *norm = sqrt(*sum);
    return status;
}

void rvx__session_device_update(const rvx_session *session, rvx_cuda_update update)
{
    const rvx_plan *plan = session->plan;
    char *slots = session->arena + plan->slot_offset;
    update.device_parameters = (float *)session->arena;
    update.device_gradients = (const float *)(session->arena + plan->gradient_offset);
    update.device_first = (float *)slots;
    update.device_second = update.adamw ? (float *)(slots + plan->parameter_bytes) : NULL;
    update.count = rvx__session_parameter_floats(session);
    cuda_of(session)->range_push("optimiser");
    cuda_of(session)->update(handle_of(session), &update);
    cuda_of(session)->range_pop();
}
