/* Implementations of a session's convolutions: see session_state.h. Measured in the session's own
 * arena, with random numbers in it, before it holds anything; nothing is allocated on the device.
 * What does a forward pass does its reruns and its inverse too: others would round otherwise, and
 * an inverse would not give back what was added. */
#include "engine/run/choice.h"
#include "engine/run/session_state.h"
#include "kernels/conv.h"
#include "kernels/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_BYTES = 1 << 16, HOPELESS = 2 };

typedef char choice_name[RVX_CUDA_CHOICE_BYTES];

/* Names and times of one call; what runs where nobody chooses stands first. */
typedef struct candidates {
    choice_name names[RVX_CHOICE_NAMES_MAX];
    const char *list[RVX_CHOICE_NAMES_MAX];
    double seconds[RVX_CHOICE_NAMES_MAX];
    int count;
    choice_name *forward; /* per node: what does its forward pass; "": not chosen yet */
} candidates;

static const char *const phase_names[RVX_PHASE_COUNT] = {"forward", "weights", "data", "inverse"};
static const char *const type_names[] = {
    [RVX_F32] = "f32", [RVX_U8] = "u8", [RVX_BF16] = "bf16", [RVX_I16] = "i16"};

/* "bf16", "i16 to f32", and what the products are of where the types do not say. */
static void type_text(char *text, size_t size, rvx_dtype x, rvx_dtype y, const rvx_op_params *p)
{
    const bool same = x == y, bf16 = x == RVX_BF16 || y == RVX_BF16;
    snprintf(text, size, "%s%s%s%s", type_names[x], same ? "" : " to ", same ? "" : type_names[y],
             bf16               ? ""
             : p->bf16_products ? " (bf16)"
             : p->tf32_products ? " (tf32)"
                                : "");
}

static void make_key(char key[RVX_CHOICE_KEY_BYTES], const rvx_step *step, const rvx_call *call)
{
    const rvx_op_params *p = call->params;
    const bool forward = step->phase == RVX_FORWARD || step->phase == RVX_INVERSE;
    const rvx_tensor *x = step->phase == RVX_BACKWARD_DATA ? &call->grad_in[0] : &call->in[0];
    const rvx_tensor *y = forward ? &call->out[0] : &call->grad_out[0];
    const bool bias = call->in[2].data || call->grad_in[2].data;
    const bool residual = forward && call->in[RVX_CONV_RESIDUAL].data;
    char types[48];
    type_text(types, sizeof types, x->dtype, y->dtype, p);
    snprintf(key, RVX_CHOICE_KEY_BYTES,
             "%s %s %s %lldx%lldx%lldx%lldx%lld -> %lld kernel %dx%dx%d stride %dx%dx%d pad "
             "%dx%dx%d%s%s%s%s workspace %lld",
             step->op->name, phase_names[step->phase], types, (long long)x->shape.n,
             (long long)x->shape.d, (long long)x->shape.h, (long long)x->shape.w,
             (long long)x->shape.c, (long long)y->shape.c, p->kernel[0], p->kernel[1], p->kernel[2],
             p->stride[0], p->stride[1], p->stride[2], p->pad[0], p->pad[1], p->pad[2],
             bias ? " bias" : "",
             call->fold.data && step->phase != RVX_BACKWARD_DATA ? " folded" : "",
             residual ? " residual" : "", call->accumulate & 1 ? " added" : "",
             (long long)call->scratch_bytes);
}

/* Zeros would be kinder to a GPU's clock than what a network has. */
static rvx_status fill_arena(const rvx_session *session, rvx_error *error)
{
    const rvx_device *device = session->on->device;
    const rvx_cuda *cuda = device->cuda;
    int64_t done = session->arena_bytes < RUN_BYTES ? session->arena_bytes : RUN_BYTES;
    uint16_t *numbers = malloc(RUN_BYTES);
    rvx_random random = {.seed = 1};
    if (!numbers)
        return rvx__fail(error, RVX_ERROR_MEMORY, "session: out of memory");
    for (int64_t i = 0; i < RUN_BYTES / 2; i++)
        numbers[i] = rvx__bf16_of(rvx__random_normal(&random));
    cuda->upload(device->handle, session->arena, numbers, done);
    for (int64_t part; done < session->arena_bytes; done += part) {
        part = session->arena_bytes - done < done ? session->arena_bytes - done : done;
        cuda->copy(device->handle, session->arena + done, session->arena, part);
    }
    rvx_status status = cuda->synchronize(device->handle, error);
    free(numbers);
    return status;
}

/* One that takes more than `enough` is not looked at closely. */
static rvx_status measure_one(double *seconds, const rvx_session *session, const rvx_step *step,
                              rvx_call call, const char *name, double enough, rvx_error *error)
{
    const rvx_device *device = session->on->device;
    const rvx_cuda *cuda = device->cuda;
    if (strcmp(name, RVX_CHOICE_OWN) == 0)
        return cuda->measure(seconds, device->handle, cuda->kernel(step->op->name, step->phase),
                             &call, enough, error);
    rvx_status status = cuda->prepare(&call.implementation, device->handle, step->op->name,
                                      step->phase, &call, name, error);
    if (status == RVX_OK)
        status = cuda->measure(seconds, device->handle, cuda->run_prepared, &call, enough, error);
    cuda->unprepare(device->handle, call.implementation);
    return status;
}

/* A library's algorithm that cannot do what it is listed for is told and left out: ours come first,
 * so that a device in trouble is not taken for that. */
static rvx_status measure_all(candidates *c, const rvx_session *session, const rvx_step *step,
                              const rvx_call *call, const char *key, rvx_error *error)
{
    double least = INFINITY;
    int kept = 0;
    for (int i = 0; i < c->count; i++) {
        rvx_error why = {0};
        rvx_status status = measure_one(&c->seconds[kept], session, step, *call, c->names[i],
                                        HOPELESS * least, &why);
        if (status != RVX_OK && (kept == 0 || !strchr(c->names[i], ':')))
            return rvx__fail(error, status, "%s", why.message);
        if (status != RVX_OK) {
            rvx__choices_failed(session->on->device->choices, key, c->names[i], why.message);
            continue;
        }
        least = c->seconds[kept] < least ? c->seconds[kept] : least;
        c->list[kept++] = c->names[i];
    }
    c->count = kept;
    return RVX_OK;
}

/* The name for a call, measured if need be. Who may do it is asked only then: libraries take their
 * time to say. NULL where it is no convolution. */
static rvx_status choose(const char **name, candidates *c, const rvx_session *session,
                         const rvx_step *step, const rvx_call *call, bool *measured,
                         rvx_error *error)
{
    const rvx_device *device = session->on->device;
    const rvx_cuda *cuda = device->cuda;
    rvx_choices *choices = device->choices;
    char key[RVX_CHOICE_KEY_BYTES];
    rvx_status status = RVX_OK;
    *name = NULL;
    if (cuda->choices(c->names, 1, device->handle, step->op->name, step->phase, call) == 0)
        return RVX_OK;
    make_key(key, step, call);
    *name = rvx__choices_find(choices, key);
    if (*name)
        return RVX_OK;
    c->count = cuda->choices(c->names, RVX_CHOICE_NAMES_MAX, device->handle, step->op->name,
                             step->phase, call);
    if (c->count == 1) {
        *name = RVX_CHOICE_OWN;
        return RVX_OK;
    }
    if (!rvx__choices_measures(choices))
        return rvx__fail(
            error, RVX_ERROR_ARGUMENT, "%s: field 'calls' has no \"%s\", which '%s' asks for",
            rvx__choices_path(choices), key, session->plan->graph->nodes[step->node].name);
    if (!*measured)
        status = fill_arena(session, error);
    *measured = true;
    if (status == RVX_OK)
        status = measure_all(c, session, step, call, key, error);
    if (status == RVX_OK)
        status = rvx__choices_add(choices, key, c->list, c->seconds, c->count, error);
    *name = rvx__choices_find(choices, key);
    return status;
}

static rvx_status choose_call(rvx_session *session, candidates *c, const rvx__bound_call *bound,
                              bool *measured, rvx_error *error)
{
    const rvx_device *device = session->on->device;
    const rvx_step *step = &session->plan->steps[bound->step];
    const bool forward = step->phase == RVX_FORWARD || step->phase == RVX_INVERSE;
    if (step->kind != RVX_STEP_KERNEL)
        return RVX_OK;
    const char *name = forward ? c->forward[step->node] : "";
    rvx_status status = RVX_OK;
    if (!name[0])
        status = choose(&name, c, session, step, &bound->call, measured, error);
    if (status != RVX_OK || !name)
        return status;
    if (forward && name != c->forward[step->node])
        snprintf(c->forward[step->node], RVX_CUDA_CHOICE_BYTES, "%s", name);
    if (strcmp(name, RVX_CHOICE_OWN) == 0)
        return RVX_OK;
    return device->cuda->prepare(&session->on->prepared[bound->step], device->handle,
                                 step->op->name, step->phase, &bound->call, name, error);
}

static void candidates_free(candidates *c)
{
    if (c)
        free(c->forward);
    free(c);
}

static candidates *candidates_create(const rvx_session *session)
{
    candidates *c = calloc(1, sizeof *c);
    if (c)
        c->forward = calloc((size_t)session->plan->graph->node_count + 1, sizeof *c->forward);
    if (!c || !c->forward) {
        candidates_free(c);
        return NULL;
    }
    return c;
}

rvx_status rvx__session_choose(rvx_session *session, rvx_error *error)
{
    rvx__on_device *on = session->on;
    const rvx_device *device = on->device;
    bool measured = false;
    rvx_status status = RVX_OK;
    candidates *c = candidates_create(session);
    on->prepared = calloc((size_t)session->plan->step_count + 1, sizeof *on->prepared);
    if (!c || !on->prepared) {
        candidates_free(c);
        return rvx__fail(error, RVX_ERROR_MEMORY, "session: out of memory");
    }
    for (int32_t i = 0; i < session->call_count && status == RVX_OK; i++)
        status = choose_call(session, c, &session->calls[i], &measured, error);
    candidates_free(c);
    if (measured) {
        device->cuda->fill(device->handle, session->arena, 0, on->kept_bytes);
        if (status == RVX_OK)
            status = device->cuda->synchronize(device->handle, error);
        rvx__choices_save(device->choices);
    }
    if (status != RVX_OK)
        return status;
    rvx__choices_report(device->choices);
    rvx__session_bind(session);
    return RVX_OK;
}

void rvx__session_forget_choices(rvx_session *session)
{
    rvx__on_device *on = session->on;
    for (int32_t s = 0; on->prepared && s < session->plan->step_count; s++)
        on->device->cuda->unprepare(on->device->handle, on->prepared[s]);
    free(on->prepared);
    on->prepared = NULL;
}
