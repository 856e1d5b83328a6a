/* Sessions: see session.h. */
#include "engine/run/session_state.h"
#include "engine/run/streams.h"
#include "kernels/orthogonal.h"
#include "kernels/random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void fill_constants(rvx_session *session)
{
    const rvx_graph *graph = session->plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_CONSTANT)
            continue;
        rvx_tensor table = rvx__session_tensor(session, (rvx_value){v});
        float *data = rvx__f32(&table);
        for (int64_t n = 0; n < table.shape.n; n++)
            for (int64_t row = 0; row < 3; row++)
                for (int64_t c = 0; c < table.shape.c; c++)
                    data[(n * 3 + row) * table.pitch + c] = row == 1 ? 0.0f : 1.0f;
    }
}

/* On the CPU. */
static rvx_status open_memory(rvx_session *session, rvx_error *error)
{
    const rvx_plan *plan = session->plan;
    void *arena = mmap(NULL, (size_t)plan->arena_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    session->untrained = malloc((size_t)(plan->parameter_bytes - plan->trained_bytes) + 1);
    if (arena != MAP_FAILED)
        session->arena = arena;
    if (!session->arena || !session->untrained)
        return rvx__fail(error, RVX_ERROR_MEMORY, "session: cannot allocate the arena of %.2f GiB",
                         (double)plan->arena_bytes / 0x1p30);
    madvise(arena, (size_t)plan->arena_bytes, MADV_HUGEPAGE); /* advice: may be refused */
    return RVX_OK;
}

rvx_status rvx__session_create_on(rvx_session **session, const rvx_plan *plan,
                                  const rvx_device *device, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *session = NULL;
    if ((plan->options.isa == RVX_ISA_CUDA) != (device != NULL))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "session: the plan is for %s",
                         device ? "the CPU" : "a GPU, and none is given");
    rvx_session *made = calloc(1, sizeof *made);
    if (!made)
        return rvx__fail(error, RVX_ERROR_MEMORY, "session: out of memory");
    made->plan = plan;
    made->arena_bytes = plan->arena_bytes;
    int32_t calls = 0;
    for (int32_t s = 0; s < plan->step_count; s++)
        calls += plan->steps[s].kind == RVX_STEP_GATHER ? RVX_IN_MAX : 1;
    made->calls = calloc((size_t)calls + 1, sizeof *made->calls);
    made->overflow = calloc((size_t)plan->graph->node_count + 1, sizeof *made->overflow);
    made->pass = calloc((size_t)plan->graph->node_count + 1, sizeof *made->pass);
    made->group = calloc((size_t)plan->graph->value_count + 1, sizeof *made->group);
    made->group_count = made->group ? rvx__stream_groups(plan->graph, made->group) : -1;
    made->coarser = calloc((size_t)made->group_count + 2, sizeof *made->coarser);
    made->base = calloc((size_t)made->group_count + 2, sizeof *made->base);
    if (!made->calls || !made->overflow || !made->pass || made->group_count < 0 || !made->coarser ||
        !made->base)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "session: out of memory"));
    RVX_TRY(device ? rvx__session_device_open(made, device, error) : open_memory(made, error));
    rvx__session_bind(made);
    if (device && device->choices)
        RVX_TRY(rvx__session_choose(made, error));
    fill_constants(made);
    *session = made;
    made = NULL;
cleanup:
    rvx__session_free(made);
    return status;
}

rvx_status rvx__session_create(rvx_session **session, const rvx_plan *plan, rvx_error *error)
{
    return rvx__session_create_on(session, plan, NULL, error);
}

void rvx__session_free(rvx_session *session)
{
    if (!session)
        return;
    if (session->on)
        rvx__session_device_close(session);
    else if (session->arena)
        munmap(session->arena, (size_t)session->arena_bytes);
    free(session->calls);
    free(session->overflow);
    free(session->pass);
    free(session->group);
    free(session->coarser);
    free(session->base);
    free(session->untrained);
    free(session);
}

/* What the host sees of the arena's beginning. */
static char *host_arena(const rvx_session *session)
{
    return session->on ? session->on->staging : session->arena;
}

rvx_tensor rvx__session_tensor(const rvx_session *session, rvx_value value)
{
    if (session->on)
        return rvx__session_device_tensor(session, value);
    return rvx__plan_tensor(session->plan,
                            value.index < 0 ? -1 : session->plan->value_instance[value.index],
                            session->arena);
}

rvx_tensor rvx__session_gradient(const rvx_session *session, rvx_value parameter)
{
    return rvx__plan_tensor(session->plan, session->plan->gradient_instance[parameter.index],
                            host_arena(session));
}

float *rvx__session_parameters(const rvx_session *session) { return (float *)host_arena(session); }

float *rvx__session_gradients(const rvx_session *session)
{
    return (float *)(host_arena(session) + session->plan->gradient_offset);
}

float *rvx__session_slot(const rvx_session *session, int slot)
{
    return (float *)(host_arena(session) + session->plan->slot_offset +
                     slot * session->plan->parameter_bytes);
}

int64_t rvx__session_parameter_floats(const rvx_session *session)
{
    return session->plan->trained_bytes / (int64_t)sizeof(float);
}

int64_t rvx__session_kept_bytes(const rvx_plan *plan)
{
    int blocks = plan->options.loss_count > 0 ? 2 + plan->options.optimizer_slots : 1;
    int64_t used = blocks * plan->parameter_bytes + plan->control_bytes, channel;
    for (int32_t i = 0; i < plan->instance_count; i++) {
        const rvx_instance *instance = &plan->instances[i];
        bool kept =
            instance->persistent ||
            (plan->graph->values[instance->value].kind != RVX_VALUE_RESULT && !instance->gradient);
        if (!kept || instance->buffer < 0)
            continue;
        int32_t root = rvx__plan_root(plan, instance->buffer, &channel);
        const rvx_buffer *buffer = &plan->buffers[rvx__plan_memory(plan, root)];
        if (buffer->offset + buffer->bytes > used)
            used = buffer->offset + buffer->bytes;
    }
    return (used + 63) / 64 * 64;
}

void *rvx__session_idle(const rvx_session *session, int64_t *bytes)
{
    int64_t used = rvx__session_kept_bytes(session->plan);
    *bytes = !session->on && used < session->arena_bytes ? session->arena_bytes - used : 0;
    return *bytes ? session->arena + used : NULL;
}

int32_t rvx__session_stream_groups(const rvx_session *session) { return session->group_count; }

const int64_t *rvx__session_coarser(const rvx_session *session) { return session->coarser; }

int64_t rvx__session_halvings(const rvx_session *session)
{
    int64_t sum = 0;
    for (int32_t g = 0; g < session->group_count; g++)
        sum += session->coarser[g];
    return sum;
}

void rvx__session_set_coarser(rvx_session *session, const int64_t *coarser)
{
    for (int32_t g = 0; g < session->group_count; g++)
        session->base[g] = coarser ? coarser[g] : 0;
    rvx__session_restore_coarser(session);
}

void rvx__session_restore_coarser(rvx_session *session)
{
    size_t bytes = (size_t)session->group_count * sizeof *session->base;
    if (memcmp(session->coarser, session->base, bytes) == 0)
        return;
    memcpy(session->coarser, session->base, bytes);
    rvx__session_bind(session);
}

int64_t rvx__session_overflow(const rvx_session *session, const char **name)
{
    const rvx_graph *graph = session->plan->graph;
    int64_t sum = 0, most = 0;
    for (int32_t n = 0; n < graph->node_count; n++) {
        sum += session->overflow[n];
        if (session->overflow[n] > most && name) {
            most = session->overflow[n];
            *name = graph->nodes[n].name;
        }
    }
    return sum;
}

int64_t rvx__session_bytes(const rvx_session *session) { return session->arena_bytes; }

void rvx__session_observe(rvx_session *session, rvx_observer observer, void *context)
{
    session->observer = observer;
    session->observer_context = context;
}

rvx_tensor rvx__session_instance(const rvx_session *session, int32_t instance)
{
    return session->on ? rvx__session_device_instance(session, instance)
                       : rvx__plan_tensor(session->plan, instance, session->arena);
}

const rvx_plan *rvx__session_plan(const rvx_session *session) { return session->plan; }

static void clear(const rvx_tensor *t)
{
    int64_t voxels = rvx__shape_voxels(t->shape), element = rvx__dtype_bytes(t->dtype);
    for (int64_t v = 0; v < voxels; v++)
        memset((char *)t->data + v * t->pitch * element, 0, (size_t)(t->shape.c * element));
}

bool rvx__session_coarsen(rvx_session *session)
{
    const rvx_graph *graph = session->plan->graph;
    bool hope = false;
    for (int32_t g = 0; g < session->group_count; g++) {
        int64_t lost = 0, grid = 0;
        for (int32_t v = 0; v < graph->value_count; v++)
            if (session->group[v] == g && graph->values[v].node >= 0) {
                lost += session->pass[graph->values[v].node];
                grid = graph->values[v].grid_log2;
            }
        if (lost == 0 || session->coarser[g] >= grid)
            continue;
        session->coarser[g]++;
        hope = true;
    }
    for (int32_t n = 0; n < graph->node_count; n++) {
        session->overflow[n] += hope ? 0 : session->pass[n];
        session->pass[n] = 0;
    }
    if (hope)
        rvx__session_bind(session);
    return hope;
}

/* A forward pass in which streams overflowed is repeated on a coarser grid before anything is made
 * of its results. */
static rvx_status walk(rvx_session *session, bool with_backward, rvx_poll poll, void *context,
                       rvx_error *error)
{
    double total = session->work[0] + (with_backward ? session->work[1] : 0), done = 0;
    bool checked = session->group_count == 0;
    char *updated = session->arena + session->plan->trained_bytes;
    size_t updated_bytes = (size_t)(session->plan->parameter_bytes - session->plan->trained_bytes);
    if (!checked)
        memcpy(session->untrained, updated, updated_bytes);
    for (int32_t i = 0; i <= session->call_count; i++) {
        const rvx__bound_call *bound = &session->calls[i];
        bool forward_over = i == session->call_count || bound->backward;
        if (forward_over && !checked) {
            if (rvx__session_coarsen(session)) {
                memcpy(updated, session->untrained, updated_bytes);
                i = -1;
                done = 0;
                continue;
            }
            checked = true;
        }
        if (i == session->call_count || (bound->backward && !with_backward))
            break;
        if (poll && poll(context, done, total))
            return rvx__fail(error, RVX_CANCELLED, "cancelled");
        if (bound->kernel)
            bound->kernel(&bound->call);
        else
            clear(&bound->call.out[0]);
        bool ended = i + 1 == session->call_count || session->calls[i + 1].step != bound->step;
        if (session->observer && ended)
            session->observer(session->observer_context, session, bound->step);
        done += bound->work;
    }
    return RVX_OK;
}

rvx_status rvx__session_forward(rvx_session *session, rvx_poll poll, void *context,
                                rvx_error *error)
{
    return session->on ? rvx__session_device_run(session, false, poll, context, error)
                       : walk(session, false, poll, context, error);
}

rvx_status rvx__session_run(rvx_session *session, rvx_poll poll, void *context, rvx_error *error)
{
    return session->on ? rvx__session_device_run(session, true, poll, context, error)
                       : walk(session, true, poll, context, error);
}

static uint64_t name_hash(const char *name)
{
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001B3u;
    return hash;
}

/* He et al. 2015: standard deviation sqrt(2 / ((1 + a^2) fan_in)). Fan-in counts as PyTorch does:
 * the second axis of the weight, which for a transposed convolution is its output. */
static float he_deviation(const rvx_value_info *info)
{
    rvx_shape s = info->shape;
    int64_t channels = info->role == RVX_ROLE_CONV_TRANSPOSE_WEIGHT ? s.c : s.w;
    return sqrtf(2.0f / ((1.0f + 0.01f * 0.01f) * (float)(channels * s.n * s.d * s.h)));
}

/* The same matrix for every channel: [column][row][channel]. */
static void orthogonal_fill(float *data, const rvx_value_info *info)
{
    double w[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX];
    int64_t n = info->shape.h, channels = info->shape.c;
    rvx__orthogonal_haar(w, (int)n, info->role == RVX_ROLE_EXPONENTIAL);
    for (int64_t i = 0; i < rvx__shape_count(info->shape); i++)
        data[i] = (float)w[i / channels % n * n + i / channels / n];
}

void rvx__session_initialise(rvx_session *session, uint64_t seed)
{
    const rvx_graph *graph = session->plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++) {
        const rvx_value_info *info = &graph->values[v];
        if (info->kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_tensor t = rvx__session_tensor(session, (rvx_value){v});
        float *data = rvx__f32(&t);
        bool weight =
            info->role == RVX_ROLE_CONV_WEIGHT || info->role == RVX_ROLE_CONV_TRANSPOSE_WEIGHT;
        bool one = info->role == RVX_ROLE_GAMMA || info->role == RVX_ROLE_RUNNING_VARIANCE;
        float deviation = weight ? he_deviation(info) : 0.0f;
        if (info->role == RVX_ROLE_CAYLEY || info->role == RVX_ROLE_EXPONENTIAL) {
            orthogonal_fill(data, info);
            continue;
        }
        rvx_random random = {.seed = seed, .stream = name_hash(info->name)};
        for (int64_t i = 0; i < rvx__shape_count(info->shape); i++)
            data[i] = weight ? deviation * rvx__random_normal(&random) : (one ? 1.0f : 0.0f);
    }
}
