/* Sessions on a device beside the CPU: small networks and random graphs, forward and backward. The
 * arena is the plan to the byte; loss and gradients equal the CPU's to rounding, and are the same
 * bits whatever the policy and however often it runs; an optimiser's steps; labels; what a
 * cancelled run leaves behind; what is refused. */
#include "engine/run/optimizer.h"
#include "engine/run/session_state.h"
#include "models/models.h"
#include "tests/cuda/session.h"
#include "tests/plan/random_graph.h"

enum { GRAPHS = 6 };

static const rvx_policy policies[] = {RVX_POLICY_STORE, RVX_POLICY_CHECKPOINT,
                                      RVX_POLICY_REVERSIBLE};

/* Every part that has calls is played back by now: a device that records nothing queues them in
 * every run, which is right, slow, and told nowhere else. */
static bool recorded(const rvx_session *session)
{
    const rvx__on_device *on = session->on;
    for (int part = 0, first = 0; part < RVX__PART_COUNT; first = on->part_ends[part++])
        if (first < on->part_ends[part] && !on->recordings[part])
            return false;
    return !on->unrecordable;
}

/* One graph: the CPU, then every policy on the device. */
static void compare(const char *name, const rvx_graph *graph, rvx_plan_options options, int classes,
                    double tolerance)
{
    rvx_error error = {0};
    placed cpu = {0}, device[3] = {{0}};
    options.isa = rvx__isa_detect();
    if (!placed_make(&cpu, graph, options, classes, &error) || !placed_run(&cpu, &error)) {
        tap_ok(0, "%s on the CPU: %s", name, error.message);
        placed_free(&cpu);
        return;
    }
    options.isa = RVX_ISA_CUDA;
    for (int i = 0; i < 3; i++) {
        placed *p = &device[i];
        const char *policy = rvx__policy_names[policies[i]];
        options.policy = policies[i];
        if (!placed_make(p, graph, options, classes, &error) || !placed_run(p, &error)) {
            tap_ok(0, "%s, %s: %s", name, policy, error.message);
            break;
        }
        tap_ok(rvx__session_bytes(p->session) == p->plan->arena_bytes,
               "%s, %s: the arena is the plan to the byte", name, policy);
        tap_ok(recorded(p->session), "%s, %s: the third run plays recordings%s", name, policy,
               p->session->on->unrecorded.message);
        float loss = first_of(p, options.losses[0]), want = first_of(&cpu, options.losses[0]);
        comparison c = compare_gradients(p, i == 0 ? &cpu : &device[0]);
        if (i == 0)
            tap_ok(fabsf(loss - want) <= (float)tolerance * (1 + fabsf(want)) && c.count > 0 &&
                       c.farthest <= tolerance,
                   "%s: equals the CPU (loss %g, %g; %d gradients, farthest %.1e in %s)", name,
                   (double)loss, (double)want, c.count, c.farthest, c.name);
        else
            tap_ok(c.different == 0 && c.count > 0 && loss == first_of(device, options.losses[0]),
                   "%s, %s: %d gradients == those of store (%d differ)", name, policy, c.count,
                   c.different);
        tap_ok(rvx__session_halvings(p->session) == rvx__session_halvings(cpu.session),
               "%s, %s: streams are as coarse as on the CPU (%d halvings)", name, policy,
               (int)rvx__session_halvings(cpu.session));
    }
    for (int i = 0; i < 3; i++)
        placed_free(&device[i]);
    placed_free(&cpu);
}

static void check_random(int seed, rvx_dtype storage)
{
    char name[64];
    rvx_value loss;
    rvx_graph *graph = random_graph(seed, storage, RVX_I16, &loss);
    rvx_plan_options options = {.threads = 1, .loss_count = 1, .output_count = 1};
    options.losses[0] = options.outputs[0] = loss;
    snprintf(name, sizeof name, "graph %d, %s", seed, storage == RVX_BF16 ? "bf16" : "f32");
    compare(name, graph, options, 3, storage == RVX_BF16 ? 0.02 : 0.001);
    rvx__graph_free(graph);
}

/* ---- networks ---------------------------------------------------------------------------------
 */

typedef struct network {
    rvx_graph *graph;
    rvx_value image, logits, labels; /* labels: of prediction */
    rvx_plan_options options;        /* of a training step */
} network;

static network network_make(const char *name, rvx_dtype storage, rvx_dtype streams, bool training)
{
    network net = {.graph = rvx__graph_create()};
    const rvx_model *model = rvx__model_find(name);
    rvx_value logits[RVX_STAGES_MAX];
    rvx_model_config config = model->defaults;
    rvx_shape shape = {1, 4, 8, 8, 1};
    if (config.classifies) /* as published, but for smaller images */
        shape = (rvx_shape){2, 1, 8, 8, 3};
    config.in_channels = (int)shape.c;
    if (!config.classifies) {
        config.classes = 3;
        config.stage_count = 2;
        config.widths[0] = 8;
        config.widths[1] = 16;
        config.depth = 1;
        config.deep_supervision = false;
    }
    if (model->set_widths)
        model->set_widths(&config);
    rvx__graph_set_storage(net.graph, storage);
    rvx__graph_set_streams(net.graph, streams, 10);
    net.image = rvx__input(net.graph, "image", shape, storage);
    int count = model->build(net.graph, net.image, &config, logits);
    net.logits = logits[0];
    net.options = (rvx_plan_options){.threads = 1, .output_count = 1, .optimizer_slots = 2};
    if (!training)
        return net;
    rvx_supervision s = rvx__supervise(
        net.graph, logits, count, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    net.options.outputs[0] = net.options.losses[0] = s.losses[0];
    net.options.loss_count = 1;
    return net;
}

static void check_network(const char *name, rvx_dtype storage)
{
    char words[64];
    network net = network_make(name, storage, RVX_I16, true);
    snprintf(words, sizeof words, "%s, %s", name, storage == RVX_BF16 ? "bf16" : "f32");
    compare(words, net.graph, net.options, 3, storage == RVX_BF16 ? 0.02 : 0.001);
    rvx__graph_free(net.graph);
}

/* ---- the optimiser ----------------------------------------------------------------------------
 */

static void check_optimizer(rvx_optimizer_name rule, const char *name)
{
    rvx_error error = {0};
    network net = network_make("unet3d", RVX_F32, RVX_F32, true);
    const rvx_optimizer o = {.name = rule,
                             .learning_rate = 0.01,
                             .weight_decay = 1e-3,
                             .momentum = 0.9,
                             .nesterov = true,
                             .beta1 = 0.9,
                             .beta2 = 0.999,
                             .epsilon = 1e-8,
                             .gradient_clip = 0.5,
                             .total_steps = 10};
    placed p[2] = {{0}};
    double norm[2] = {0, 0};
    bool made = true;
    for (int i = 0; i < 2; i++) {
        net.options.isa = i ? RVX_ISA_CUDA : rvx__isa_detect();
        made = made && placed_make(&p[i], net.graph, net.options, 3, &error) &&
               placed_run(&p[i], &error);
        int64_t count = made ? p[i].plan->gradient_offset / (int64_t)sizeof(float) : 0;
        for (int step = 0; step < 2 && made; step++) { /* equal gradients, up to rounding */
            for (int64_t v = 0; v < count; v++)
                rvx__session_gradients(p[i].session)[v] = rvx__session_gradients(p[0].session)[v];
            made = rvx__session_upload(p[i].session, &error) == RVX_OK &&
                   rvx__optimizer_step(&norm[i], &o, p[i].session, step, &error) == RVX_OK &&
                   rvx__session_download(p[i].session, &error) == RVX_OK;
        }
    }
    double farthest = 0;
    int64_t count = made ? rvx__session_parameter_floats(p[0].session) : 0;
    for (int64_t v = 0; v < count; v++)
        for (int slot = -1; slot < rvx__optimizer_slots(&o); slot++) {
            const float *a = slot < 0 ? rvx__session_parameters(p[0].session)
                                      : rvx__session_slot(p[0].session, slot);
            const float *b = slot < 0 ? rvx__session_parameters(p[1].session)
                                      : rvx__session_slot(p[1].session, slot);
            farthest =
                fmax(farthest, fabs((double)a[v] - (double)b[v]) / (1e-3 + fabs((double)a[v])));
        }
    tap_ok(made && count > 0 && farthest < 1e-5 && fabs(norm[0] - norm[1]) < 1e-9 * norm[0],
           "%s: two steps equal the CPU's (farthest %.1e, norms %.9g, %.9g)%s", name, farthest,
           norm[0], norm[1], error.message);
    placed_free(&p[0]);
    placed_free(&p[1]);
    rvx__graph_free(net.graph);
}

/* ---- prediction -------------------------------------------------------------------------------
 */

static void check_labels(rvx_dtype storage)
{
    rvx_error error = {0};
    placed p[2] = {{0}};
    bool made = true;
    for (int labels = 0; labels < 2; labels++) {
        network net = network_make("revunet3d", storage, RVX_I16, false);
        net.options.outputs[0] = labels ? rvx__labels(net.graph, net.logits) : net.logits;
        net.labels = net.options.outputs[0];
        net.options.isa = RVX_ISA_CUDA;
        net.options.optimizer_slots = 0;
        made = made && placed_make(&p[labels], net.graph, net.options, 3, &error) &&
               rvx__session_forward(p[labels].session, NULL, NULL, &error) == RVX_OK;
        rvx__graph_free(net.graph);
    }
    int64_t wrong = 0, voxels = 0, seen[3] = {0};
    if (made) {
        rvx_tensor z = rvx__session_tensor(p[0].session, p[0].plan->options.outputs[0]);
        rvx_tensor l = rvx__session_tensor(p[1].session, p[1].plan->options.outputs[0]);
        voxels = rvx__shape_voxels(l.shape);
        for (int64_t v = 0; v < voxels; v++) {
            const float *row = rvx__f32(&z) + v * z.pitch;
            int best = row[1] > row[0] ? 1 : 0;
            best = row[2] > row[best] ? 2 : best;
            wrong += ((const uint8_t *)l.data)[v * l.pitch] != best;
            seen[best]++;
        }
    }
    tap_ok(made && voxels == 256 && wrong == 0,
           "labels of %s are the largest logits (%d, %d, %d)%s",
           storage == RVX_BF16 ? "bf16" : "f32", (int)seen[0], (int)seen[1], (int)seen[2],
           error.message);
    placed_free(&p[0]);
    placed_free(&p[1]);
}

/* ---- cancelled and refused --------------------------------------------------------------------
 */

static int stop_late(void *context, double done, double total)
{
    (void)context;
    return done > 0.6 * total;
}

static void check_cancelled(void)
{
    rvx_error error = {0};
    network net = network_make("revnet3d-full", RVX_F32, RVX_I16, true);
    placed p[2] = {{0}};
    bool made = true;
    net.options.isa = RVX_ISA_CUDA;
    for (int i = 0; i < 2; i++)
        made = made && placed_make(&p[i], net.graph, net.options, 3, &error);
    if (made)
        tap_ok(rvx__session_run(p[0].session, stop_late, NULL, &error) == RVX_CANCELLED,
               "a run is cancelled");
    made = made && placed_run(&p[0], &error) && placed_run(&p[1], &error);
    tap_ok(made && compare_gradients(&p[0], &p[1]).different == 0,
           "and leaves nothing behind: the next one is the same");
    placed_free(&p[0]);
    placed_free(&p[1]);
    rvx__graph_free(net.graph);
}

static void refused(rvx_status status, rvx_status expected, const rvx_error *error,
                    const char *word)
{
    tap_ok(status == expected && strstr(error->message, word), "refused with '%s': %s", word,
           error->message);
}

static void check_refused(void)
{
    rvx_error error = {0};
    rvx_session *session = NULL;
    rvx_plan *plan = NULL;
    rvx_device *device = NULL;
    network net = network_make("unet3d", RVX_F32, RVX_F32, true);
    net.options.isa = RVX_ISA_CUDA;
    rvx__plan_create(&plan, net.graph, &net.options, &error);
    if (plan) {
        refused(rvx__session_create(&session, plan, &error), RVX_ERROR_ARGUMENT, &error, "GPU");
        if (session_device->cuda->emulated) {
            setenv("RVX_EMULATE_MEMORY", "1000", 1);
            refused(rvx__session_create_on(&session, plan, session_device, &error),
                    RVX_ERROR_MEMORY, &error, "are free");
            unsetenv("RVX_EMULATE_MEMORY");
        }
    }
    TAP_OK(session == NULL);
    if (!tap_ok(plan != NULL, "a plan for a GPU needs none: %s", error.message))
        return;
    /* A row that promises nothing is refused when the plan is made. */
    rvx_op lacking = *plan->steps[0].op;
    lacking.cuda = 0;
    for (int32_t n = 0; n < net.graph->node_count; n++)
        if (net.graph->nodes[n].op == plan->steps[0].op)
            net.graph->nodes[n].op = &lacking;
    rvx__plan_free(plan);
    refused(rvx__plan_create(&plan, net.graph, &net.options, &error), RVX_ERROR_UNSUPPORTED, &error,
            "no CUDA kernel");
    const char *library = session_library();
    refused(rvx__device_open(&device, "gpu", library, &error), RVX_ERROR_ARGUMENT, &error,
            "\"gpu\"");
    refused(rvx__device_open(&device, "cuda:", library, &error), RVX_ERROR_ARGUMENT, &error,
            "\"cuda:\"");
    refused(rvx__device_open(&device, "cuda:1000", library, &error), RVX_ERROR_UNSUPPORTED, &error,
            "cuda:1000");
    refused(rvx__device_open(&device, "cuda", "no/such.so", &error), RVX_ERROR_UNSUPPORTED, &error,
            "no/such.so");
    refused(rvx__device_open(&device, "cuda", "README.md", &error), RVX_ERROR_UNSUPPORTED, &error,
            "README.md");
    TAP_OK(rvx__device_open(&device, "cpu", "no/such.so", &error) == RVX_OK && device == NULL);
    rvx__graph_free(net.graph);
}

int main(void)
{
    if (!session_device_open())
        return tap_done();
    check_refused();
    check_network("unet3d", RVX_F32);
    check_network("unet3d", RVX_BF16);
    check_network("revunet3d", RVX_F32);
    check_network("revnet3d-full", RVX_F32);
    check_network("revnet3d-full", RVX_BF16);
    check_network("iunet3d", RVX_F32);
    check_network("revnet38", RVX_BF16);
    for (int seed = 0; seed < GRAPHS; seed++)
        check_random(seed, seed % 2 ? RVX_BF16 : RVX_F32);
    check_optimizer(RVX_OPTIMIZER_SGD, "SGD");
    check_optimizer(RVX_OPTIMIZER_ADAMW, "AdamW");
    check_labels(RVX_F32);
    check_labels(RVX_BF16);
    check_cancelled();
    rvx__device_close(session_device);
    return tap_done();
}
