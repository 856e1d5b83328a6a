/* Sessions: see session.h. */
#include "engine/run/session.h"
#include "engine/run/streams.h"
#include "kernels/orthogonal.h"
#include "kernels/random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct bound_call {
    rvx_kernel kernel; /* NULL: clear out[0] */
    rvx_call call;
    double work;
    bool backward;
    int32_t step;
} bound_call;

struct rvx_session {
    const rvx_plan *plan;
    char *arena;
    int64_t arena_bytes;
    bound_call *calls;
    int32_t call_count, call_capacity;
    int64_t *overflow; /* per node: values that did not fit a stream, in the runs that counted */
    int64_t *pass;     /* the same, in the forward pass at hand */
    int32_t *group;    /* per value: of streams on one grid; -1 */
    int64_t *coarser;  /* per group: halvings of the grid that the graph names */
    int64_t *base;     /* per group: those that were set, not found */
    int32_t group_count;
    char *untrained; /* parameters that a forward pass updates, as they were before it */
    double work[2];  /* forward, backward */
    rvx_observer observer;
    void *observer_context;
};

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

static void add_call(rvx_session *session, bound_call bound)
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
            bound_call bound = {.kernel = step->kernel, .backward = backward};
            bound.call.params = &node->params;
            bound.call.threads = plan->options.threads;
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
    bound_call bound = {.kernel = step->kernel, .backward = backward};
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
            call->out[i].overflow = &session->pass[step->node];
    call->mode = plan->options.loss_count == 0 ? RVX_MODE_INFERENCE
                 : step->rebuild               ? RVX_MODE_AGAIN
                                               : RVX_MODE_TRAINING;
    call->threads = plan->options.threads;
    call->scratch_bytes = step->scratch_bytes;
    if (step->scratch_buffer >= 0)
        call->scratch = session->arena + plan->buffers[step->scratch_buffer].offset;
    bound.work = step->cost.flops + step->cost.bytes; /* about one FLOP per byte on a CPU core */
    add_call(session, bound);
}

static void bind_all(rvx_session *session)
{
    session->call_count = 0;
    session->work[0] = session->work[1] = 0;
    int32_t bound = 0;
    for (int32_t s = 0; s < session->plan->step_count; s++) {
        bind_step(session, s);
        for (; bound < session->call_count; bound++)
            session->calls[bound].step = s;
    }
}

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

rvx_status rvx__session_create(rvx_session **session, const rvx_plan *plan, rvx_error *error)
{
    *session = NULL;
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
    made->untrained = malloc((size_t)(plan->parameter_bytes - plan->trained_bytes) + 1);
    made->arena = mmap(NULL, (size_t)plan->arena_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!made->calls || !made->overflow || !made->pass || made->group_count < 0 || !made->coarser ||
        !made->base || !made->untrained || made->arena == MAP_FAILED) {
        made->arena = made->arena == MAP_FAILED ? NULL : made->arena;
        rvx__session_free(made);
        return rvx__fail(error, RVX_ERROR_MEMORY, "session: cannot allocate the arena of %.2f GiB",
                         (double)plan->arena_bytes / 0x1p30);
    }
    madvise(made->arena, (size_t)plan->arena_bytes, MADV_HUGEPAGE); /* advice: may be refused */
    bind_all(made);
    fill_constants(made);
    *session = made;
    return RVX_OK;
}

void rvx__session_free(rvx_session *session)
{
    if (!session)
        return;
    if (session->arena)
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

rvx_tensor rvx__session_tensor(const rvx_session *session, rvx_value value)
{
    return rvx__plan_tensor(session->plan,
                            value.index < 0 ? -1 : session->plan->value_instance[value.index],
                            session->arena);
}

rvx_tensor rvx__session_gradient(const rvx_session *session, rvx_value parameter)
{
    return rvx__plan_tensor(session->plan, session->plan->gradient_instance[parameter.index],
                            session->arena);
}

float *rvx__session_parameters(const rvx_session *session) { return (float *)session->arena; }

float *rvx__session_gradients(const rvx_session *session)
{
    return (float *)(session->arena + session->plan->gradient_offset);
}

float *rvx__session_slot(const rvx_session *session, int slot)
{
    return (float *)(session->arena + session->plan->slot_offset +
                     slot * session->plan->parameter_bytes);
}

int64_t rvx__session_parameter_floats(const rvx_session *session)
{
    return session->plan->trained_bytes / (int64_t)sizeof(float);
}

void *rvx__session_idle(const rvx_session *session, int64_t *bytes)
{
    const rvx_plan *plan = session->plan;
    int blocks = plan->options.loss_count > 0 ? 2 + plan->options.optimizer_slots : 1;
    int64_t used = blocks * plan->parameter_bytes, channel;
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
    used = (used + 63) / 64 * 64;
    *bytes = used < session->arena_bytes ? session->arena_bytes - used : 0;
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
    bind_all(session);
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
    return rvx__plan_tensor(session->plan, instance, session->arena);
}

const rvx_plan *rvx__session_plan(const rvx_session *session) { return session->plan; }

static void clear(const rvx_tensor *t)
{
    int64_t voxels = rvx__shape_voxels(t->shape), element = rvx__dtype_bytes(t->dtype);
    for (int64_t v = 0; v < voxels; v++)
        memset((char *)t->data + v * t->pitch * element, 0, (size_t)(t->shape.c * element));
}

/* Halves the grid of the groups in which values did not fit, as far as there is room: true where
 * that gives hope. What remains is lost, and counted. */
static bool coarsen(rvx_session *session)
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
        bind_all(session);
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
        const bound_call *bound = &session->calls[i];
        bool forward_over = i == session->call_count || bound->backward;
        if (forward_over && !checked) {
            if (coarsen(session)) {
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
    return walk(session, false, poll, context, error);
}

rvx_status rvx__session_run(rvx_session *session, rvx_poll poll, void *context, rvx_error *error)
{
    return walk(session, true, poll, context, error);
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
