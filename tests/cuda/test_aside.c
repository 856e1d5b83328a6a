/* The second queue: inputs of the next step that go up while a step works give the bits of inputs
 * that go up before it, on every policy and where the arena has no room; each wait that is left out
 * shows. Parameters go from one session to another on the device, not by way of the host. */
#include "engine/run/optimizer.h"
#include "engine/run/session_state.h"
#include "models/models.h"
#include "tests/cuda/session.h"

enum { STEPS = 5, TRIES = 5 };

typedef struct network {
    rvx_graph *graph;
    rvx_value image;
    rvx_supervision supervision;
    rvx_plan_options options;
} network;

static network network_make(const char *name, rvx_dtype streams, rvx_policy policy)
{
    network net = {.graph = rvx__graph_create()};
    const rvx_model *model = rvx__model_find(name);
    rvx_value logits[RVX_STAGES_MAX];
    rvx_model_config config = model->defaults;
    config.in_channels = 1;
    config.classes = 3;
    config.stage_count = 2;
    config.widths[0] = 8;
    config.widths[1] = 16;
    config.depth = 1;
    config.deep_supervision = false;
    if (model->set_widths)
        model->set_widths(&config);
    rvx__graph_set_streams(net.graph, streams, 10);
    net.image = rvx__input(net.graph, "image", (rvx_shape){1, 8, 8, 8, 1}, RVX_F32);
    int count = model->build(net.graph, net.image, &config, logits);
    net.supervision = rvx__supervise(net.graph, logits, count,
                                     (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    net.options = (rvx_plan_options){.policy = policy,
                                     .isa = RVX_ISA_CUDA,
                                     .threads = 1,
                                     .loss_count = 1,
                                     .output_count = 1,
                                     .optimizer_slots = 1};
    net.options.losses[0] = net.options.outputs[0] = net.supervision.losses[0];
    return net;
}

/* The inputs of a step, by its number. */
typedef struct source {
    const network *net;
    rvx_session *session;
    int step, asked;
} source;

static void fill(source *s)
{
    rvx_tensor image = rvx__session_tensor(s->session, s->net->image);
    rvx_tensor labels = rvx__session_tensor(s->session, s->net->supervision.labels[0]);
    rvx_random random = {.seed = 11, .stream = (uint64_t)s->step++};
    for (int64_t i = 0; i < rvx__shape_count(image.shape); i++) {
        rvx__f32(&image)[i] = rvx__random_normal(&random);
        ((uint8_t *)labels.data)[i] = (uint8_t)rvx__random_below(&random, 3);
    }
}

static bool fill_next(void *context)
{
    source *s = context;
    s->asked++;
    if (s->step >= STEPS)
        return false;
    fill(s);
    return true;
}

typedef struct result {
    float losses[STEPS];
    float *parameters;
    int64_t count;
    int asked; /* for inputs, by the session */
    rvx_status status;
    rvx_error error;
} result;

/* Steps of training; `ahead`: the session may ask for the next inputs. */
static result train(const network *net, const rvx_device *device, bool ahead)
{
    static const rvx_optimizer sgd = {
        .name = RVX_OPTIMIZER_SGD, .learning_rate = 0.05, .momentum = 0.9, .total_steps = STEPS};
    result r = {.status = RVX_OK};
    rvx_plan *plan = NULL;
    rvx_session *session = NULL;
    source s = {.net = net};
    double norm;
    r.status = rvx__plan_create(&plan, net->graph, &net->options, &r.error);
    if (r.status == RVX_OK)
        r.status = rvx__session_create_on(&session, plan, device, &r.error);
    if (r.status == RVX_OK) {
        rvx__session_initialise(session, 3);
        r.status = rvx__session_upload(session, &r.error);
        s.session = session;
        if (ahead)
            rvx__session_set_next(session, fill_next, &s);
    }
    for (int i = 0; i < STEPS && r.status == RVX_OK; i++) {
        if (!rvx__session_has_next(session))
            fill(&s);
        r.status = rvx__session_run(session, NULL, NULL, &r.error);
        if (r.status != RVX_OK)
            break;
        rvx_tensor loss = rvx__session_tensor(session, net->supervision.losses[0]);
        r.losses[i] = *rvx__f32(&loss);
        r.status = rvx__optimizer_step(&norm, &sgd, session, i, &r.error);
    }
    if (r.status == RVX_OK)
        r.status = rvx__session_download(session, &r.error);
    if (r.status == RVX_OK) {
        r.count = rvx__session_parameter_floats(session);
        r.parameters = malloc((size_t)r.count * sizeof(float));
        memcpy(r.parameters, rvx__session_parameters(session), (size_t)r.count * sizeof(float));
    }
    r.asked = s.asked;
    rvx__session_free(session);
    rvx__plan_free(plan);
    return r;
}

static bool same(const result *a, const result *b)
{
    return a->status == RVX_OK && b->status == RVX_OK && a->count == b->count && a->count > 0 &&
           memcmp(a->losses, b->losses, sizeof a->losses) == 0 &&
           memcmp(a->parameters, b->parameters, (size_t)a->count * sizeof(float)) == 0;
}

static void check_ahead(const char *name, rvx_dtype streams, rvx_policy policy)
{
    network net = network_make(name, streams, policy);
    result want = train(&net, session_device, false), got = train(&net, session_device, true);
    tap_ok(same(&got, &want) && want.asked == 0 && got.asked == STEPS,
           "%s, %s: inputs that go up during a step give the same bits (%d asked for, loss %g)%s",
           name, rvx__policy_names[policy], got.asked, (double)got.losses[STEPS - 1],
           got.error.message);
    free(want.parameters);
    free(got.parameters);
    rvx__graph_free(net.graph);
}

/* ---- waits that are left out ------------------------------------------------------------------
 */

static void no_wait(rvx_cuda_device *device) { (void)device; }
static rvx_status no_synchronize(rvx_cuda_device *device, rvx_error *error)
{
    (void)device, (void)error;
    return RVX_OK;
}

/* How often training with such a table differs. */
static int planted(const rvx_cuda *table, const network *net, const result *want)
{
    rvx_device device = *session_device;
    int caught = 0;
    device.cuda = table;
    for (int i = 0; i < TRIES; i++) {
        result got = train(net, &device, true);
        caught += !same(&got, want);
        free(got.parameters);
    }
    return caught;
}

static void check_waits(void)
{
    if (!session_device->cuda->emulated) {
        tap_skip("a GPU need not show a wait that is missing");
        return;
    }
    network net = network_make("unet3d", RVX_F32, RVX_POLICY_STORE);
    result want = train(&net, session_device, false);
    rvx_cuda table = *session_device->cuda;
    int caught = planted(&table, &net, &want);
    tap_ok(caught == 0, "with all waits: the same numbers, %d of %d times", TRIES - caught, TRIES);
    table.aside_waits = no_wait;
    caught = planted(&table, &net, &want);
    tap_ok(caught > 0, "no wait for the place of the next inputs: caught %d of %d times", caught,
           TRIES);
    table = *session_device->cuda;
    table.wait_aside = no_wait;
    caught = planted(&table, &net, &want);
    tap_ok(caught > 0, "no wait for the inputs: caught %d of %d times", caught, TRIES);
    table = *session_device->cuda;
    table.synchronize_aside = no_synchronize;
    caught = planted(&table, &net, &want);
    tap_ok(caught > 0, "the host does not wait before it writes new ones: caught %d of %d times",
           caught, TRIES);
    free(want.parameters);
    rvx__graph_free(net.graph);
}

/* ---- places -----------------------------------------------------------------------------------
 */

/* The place lies in the arena, behind what is kept, and no step that begins with next_step or later
 * has a tensor there. */
static void check_place(void)
{
    rvx_error error = {0};
    placed p;
    network net = network_make("revunet3d", RVX_I16, RVX_POLICY_REVERSIBLE);
    if (!placed_make(&p, net.graph, net.options, 3, &error)) {
        tap_ok(0, "a session: %s", error.message);
        return;
    }
    const rvx__on_device *on = p.session->on;
    const rvx_plan *plan = p.plan;
    const int64_t bytes = on->kept_bytes - plan->control_offset - plan->control_bytes;
    bool clear = true;
    for (int32_t i = 0; i < plan->instance_count; i++) {
        rvx_tensor t = rvx__plan_tensor(plan, i, NULL);
        if (plan->instances[i].buffer < 0 || plan->instances[i].last_step < on->next_step)
            continue;
        const int64_t at = (int64_t)(intptr_t)t.data;
        clear = clear && (at >= on->next_at + bytes ||
                          at + rvx__shape_voxels(t.shape) * t.pitch * rvx__dtype_bytes(t.dtype) <=
                              on->next_at);
    }
    tap_ok(on->next_at >= on->kept_bytes && on->next_at + bytes <= plan->arena_bytes && clear &&
               on->next_step >= plan->forward_step_count,
           "the next inputs wait in %lld bytes of the arena from step %d of %d on",
           (long long)bytes, on->next_step, plan->step_count);
    placed_free(&p);
    rvx__graph_free(net.graph);
}

static void check_copy(void)
{
    rvx_error error = {0};
    placed from, to;
    network net = network_make("unet3d", RVX_F32, RVX_POLICY_STORE);
    rvx_plan_options options = net.options;
    bool made = placed_make(&from, net.graph, options, 3, &error);
    options.loss_count = options.optimizer_slots = 0;
    made = made && placed_make(&to, net.graph, options, 3, &error);
    if (!tap_ok(made, "two sessions%s", error.message))
        return;
    const int64_t count = rvx__session_parameter_floats(from.session);
    float *want = malloc((size_t)count * sizeof *want);
    for (int64_t i = 0; i < count; i++)
        rvx__session_parameters(from.session)[i] = want[i] = (float)i;
    rvx__session_upload(from.session, &error);
    for (int64_t i = 0; i < count; i++) /* the host's copies now hold something else */
        rvx__session_parameters(from.session)[i] = rvx__session_parameters(to.session)[i] = -1;
    rvx_status status = rvx__session_copy_parameters(to.session, from.session, &error);
    bool untouched = true, arrived = true;
    for (int64_t i = 0; i < count; i++)
        untouched = untouched && rvx__session_parameters(from.session)[i] == -1 &&
                    rvx__session_parameters(to.session)[i] == -1;
    if (status == RVX_OK)
        status = rvx__session_download(to.session, &error);
    for (int32_t v = 0; v < net.graph->value_count; v++) {
        if (net.graph->values[v].kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_tensor t = rvx__session_tensor(to.session, (rvx_value){v});
        const int64_t at = from.plan->parameter_position[v] / (int64_t)sizeof(float);
        for (int64_t i = 0; i < rvx__shape_count(t.shape); i++)
            arrived = arrived && rvx__f32(&t)[i] == want[at + i];
    }
    tap_ok(status == RVX_OK && arrived, "parameters arrive in another session%s", error.message);
    tap_ok(untouched, "and do not pass through the host");
    free(want);
    placed_free(&from);
    placed_free(&to);
    rvx__graph_free(net.graph);
}

int main(void)
{
    if (!session_device_open())
        return tap_done();
    check_ahead("unet3d", RVX_F32, RVX_POLICY_STORE);
    check_ahead("unet3d", RVX_F32, RVX_POLICY_CHECKPOINT);
    check_ahead("revunet3d", RVX_I16, RVX_POLICY_REVERSIBLE);
    check_ahead("revnet3d-full", RVX_I16, RVX_POLICY_REVERSIBLE);
    check_place();
    check_waits();
    check_copy();
    rvx__device_close(session_device);
    return tap_done();
}
