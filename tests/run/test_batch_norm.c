/* Batch norm in a graph: a training step moves the running statistics once, whatever the policy
 * and the number of threads, towards those of the batch, with the same bits; nothing else does; the
 * optimiser's part of the parameters ends before them; model files hold them; inference uses them
 * and leaves them. */
#include "engine/run/session.h"
#include "engine/run/weights.h"
#include "kernels/random.h"
#include "tap.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { CHANNELS = 4, SAMPLES = 3, EDGE = 6, VOXELS = SAMPLES * EDGE * EDGE };

static const float momentum = 0.25f;
static rvx_error error;

static rvx_value branch(rvx_graph *g, rvx_value x, const void *argument)
{
    (void)argument;
    x = rvx__batch_norm_act(g, x, 1e-3f, momentum, 0);
    return rvx__conv(g, x, (rvx_conv){.channels = CHANNELS / 2, .kernel = {1, 3, 3}});
}

typedef struct network {
    rvx_graph *graph;
    rvx_value first, logits, loss; /* first: stream before all couplings */
} network;

static network network_make(rvx_dtype streams)
{
    network net = {.graph = rvx__graph_create()};
    rvx_graph *g = net.graph;
    rvx__graph_set_streams(g, streams, 10);
    rvx_value x = rvx__input(g, "image", (rvx_shape){SAMPLES, 1, EDGE, EDGE, CHANNELS}, RVX_F32);
    x = net.first = rvx__round(g, x);
    for (int i = 0; i < 3; i++) {
        rvx__scope_push(g, "block%d", i);
        x = rvx__couple(g, x, branch, branch, NULL);
        rvx__scope_pop(g);
    }
    rvx__scope_push(g, "head");
    x = rvx__mean_pool(g, rvx__batch_norm_act(g, x, 1e-3f, momentum, 0));
    net.logits =
        rvx__conv(g, x, (rvx_conv){.channels = 3, .kernel = {1, 1, 1}, .f32_output = true});
    rvx__scope_pop(g);
    rvx_loss loss = {.ignore_label = -1, .weight = 1, .smooth = 1e-5f};
    rvx_value labels = rvx__input(g, "labels", (rvx_shape){SAMPLES, 1, 1, 1, 1}, RVX_U8);
    net.loss = rvx__segmentation_loss(g, net.logits, labels, loss, NULL);
    return net;
}

typedef struct run {
    rvx_plan *plan;
    rvx_session *session;
} run;

/* plain: nothing folded or fused, so that norms themselves run again. */
static bool run_make(run *r, const network *net, rvx_policy policy, int threads, bool training,
                     bool plain)
{
    rvx_plan_options options = {.policy = policy,
                                .isa = rvx__isa_detect(),
                                .threads = threads,
                                .plain = plain,
                                .losses = {net->loss},
                                .loss_count = training,
                                .optimizer_slots = training,
                                .outputs = {training ? net->loss : net->logits},
                                .output_count = 1};
    *r = (run){0};
    if (rvx__plan_create(&r->plan, net->graph, &options, &error) != RVX_OK ||
        rvx__session_create(&r->session, r->plan, &error) != RVX_OK)
        return false;
    rvx__session_initialise(r->session, 3);
    rvx_tensor image = rvx__session_tensor(r->session, rvx__graph_find(net->graph, "image"));
    rvx_random random = {.seed = 5};
    for (int64_t i = 0; i < rvx__shape_count(image.shape); i++)
        rvx__f32(&image)[i] = (float)(1 + i % CHANNELS) * rvx__random_normal(&random) + 2;
    rvx_tensor labels = rvx__session_tensor(r->session, rvx__graph_find(net->graph, "labels"));
    for (int i = 0; i < SAMPLES && labels.data; i++)
        ((uint8_t *)labels.data)[i] = (uint8_t)i;
    return true;
}

static void run_free(run *r)
{
    rvx__session_free(r->session);
    rvx__plan_free(r->plan);
    *r = (run){0};
}

static const float *parameter(const run *r, const char *name)
{
    rvx_tensor t = rvx__session_tensor(r->session, rvx__graph_find(r->plan->graph, name));
    return rvx__f32(&t);
}

static bool same_parameters(const run *a, const run *b)
{
    return memcmp(rvx__session_parameters(a->session), rvx__session_parameters(b->session),
                  (size_t)a->plan->parameter_bytes) == 0;
}

/* The first norm reads channels 2 and 3 of the image, rounded to the grid. */
static void check_values(const run *r, int steps)
{
    rvx_tensor image = rvx__session_tensor(r->session, rvx__graph_find(r->plan->graph, "image"));
    const float *mean = parameter(r, "block0/f/running_mean");
    const float *variance = parameter(r, "block0/f/running_var");
    double worst = 0, old = pow(1 - (double)momentum, steps);
    for (int c = 0; c < CHANNELS / 2; c++) {
        double sum = 0, squares = 0;
        for (int v = 0; v < VOXELS; v++)
            sum += rint(1024 * (double)rvx__f32(&image)[v * CHANNELS + 2 + c]) / 1024 / VOXELS;
        for (int v = 0; v < VOXELS; v++) {
            double x = rint(1024 * (double)rvx__f32(&image)[v * CHANNELS + 2 + c]) / 1024 - sum;
            squares += x * x / (VOXELS - 1);
        }
        worst = fmax(worst, fabs((1 - old) * sum - (double)mean[c]) / fabs(sum));
        worst = fmax(worst, fabs(old + (1 - old) * squares - (double)variance[c]) / squares);
    }
    tap_ok(worst < 1e-6, "after %d steps the running statistics are as they should (%.1e)", steps,
           worst);
}

static void check_policy(const network *net, const run *store, rvx_policy policy, int threads,
                         bool plain)
{
    run r;
    bool made = run_make(&r, net, policy, threads, true, plain);
    for (int step = 0; step < 2 && made; step++)
        made = rvx__session_run(r.session, NULL, NULL, &error) == RVX_OK;
    int rebuilt = 0, norms = 0;
    for (int32_t s = 0; made && s < r.plan->step_count; s++) {
        rebuilt += r.plan->steps[s].rebuild;
        norms += r.plan->steps[s].rebuild && r.plan->steps[s].op == &rvx__op_norm_act;
    }
    tap_ok(made && rebuilt > 0 && (norms > 0 || !plain) && same_parameters(&r, store) &&
               memcmp(rvx__session_gradients(r.session), rvx__session_gradients(store->session),
                      (size_t)rvx__session_parameter_floats(r.session) * sizeof(float)) == 0,
           "%s%s, %d threads, %d steps rebuild, %d of them norms: running statistics and gradients "
           "of store",
           rvx__policy_names[policy], plain ? ", plain" : "", threads, rebuilt, norms);
    run_free(&r);
}

/* Two steps that keep everything, and the same ones otherwise. */
static void check_policies(const network *net, bool plain)
{
    run store;
    bool made = run_make(&store, net, RVX_POLICY_STORE, 1, true, plain);
    for (int step = 0; step < 2 && made; step++)
        made = rvx__session_run(store.session, NULL, NULL, &error) == RVX_OK;
    tap_ok(made, "store%s", plain ? ", plain" : "");
    if (made)
        check_values(&store, 2);
    for (int threads = 1; threads <= 3 && made; threads++) {
        check_policy(net, &store, RVX_POLICY_CHECKPOINT, threads, plain);
        check_policy(net, &store, RVX_POLICY_REVERSIBLE, threads, plain);
    }
    run_free(&store);
}

/* Inference takes the statistics of a training run as they are. */
static void check_inference(const network *net, const run *trained)
{
    run a, b;
    bool made = run_make(&a, net, RVX_POLICY_STORE, 2, false, false) &&
                run_make(&b, net, RVX_POLICY_STORE, 2, false, false);
    const rvx_graph *graph = net->graph;
    for (int32_t v = 0; made && v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_tensor from = rvx__session_tensor(trained->session, (rvx_value){v});
        rvx_tensor to = rvx__session_tensor(a.session, (rvx_value){v});
        memcpy(to.data, from.data, (size_t)rvx__shape_count(to.shape) * sizeof(float));
    }
    float logits[2][3 * SAMPLES];
    for (int i = 0; i < 2 && made; i++) {
        made = rvx__session_forward(a.session, NULL, NULL, &error) == RVX_OK;
        memcpy(logits[i], rvx__session_tensor(a.session, net->logits).data, sizeof logits[i]);
    }
    tap_ok(made && memcmp(logits[0], logits[1], sizeof logits[0]) == 0 &&
               memcmp(parameter(&a, "block0/f/running_mean"),
                      parameter(trained, "block0/f/running_mean"), 2 * sizeof(float)) == 0,
           "inference leaves the running statistics");
    /* With running statistics a sample does not depend on the others of its batch, as long as these
     * fit the same grid of streams. */
    rvx_tensor image = rvx__session_tensor(a.session, rvx__graph_find(graph, "image"));
    for (int64_t i = EDGE * EDGE * CHANNELS; i < rvx__shape_count(image.shape); i++)
        rvx__f32(&image)[i] = 0.5f;
    made = made && rvx__session_forward(a.session, NULL, NULL, &error) == RVX_OK;
    const float *now = rvx__session_tensor(a.session, net->logits).data;
    tap_ok(made && memcmp(now, logits[0], 3 * sizeof(float)) == 0 &&
               memcmp(now + 3, logits[0] + 3, 3 * sizeof(float)) != 0,
           "inference takes each sample for itself");
    made = made && rvx__session_forward(b.session, NULL, NULL, &error) == RVX_OK;
    tap_ok(made && memcmp(rvx__session_tensor(b.session, net->logits).data, logits[0],
                          sizeof logits[0]) != 0,
           "inference depends on them");
    run_free(&a);
    run_free(&b);
}

/* To a file and back into a session of its own. */
static void check_file(const network *net, const run *trained)
{
    run r;
    rvx_weights weights = {0};
    rvx_safetensors *file = NULL;
    char path[] = "/tmp/rvx-batch-norm-XXXXXX";
    close(mkstemp(path));
    bool made =
        run_make(&r, net, RVX_POLICY_STORE, 1, true, false) &&
        rvx__weights_export(&weights, trained->session, 1, 0, &error) == RVX_OK &&
        rvx__safetensors_write(path, weights.tensors, weights.count, NULL, 0, &error) == RVX_OK &&
        rvx__safetensors_open(&file, path, &error) == RVX_OK &&
        rvx__weights_import(r.session, file, -1, false, &error) == RVX_OK &&
        rvx__weights_import(r.session, file, 0, false, &error) == RVX_OK;
    tap_ok(made && same_parameters(&r, trained), "a file holds the running statistics%s%s",
           made ? "" : ": ", made ? "" : error.message);
    tap_ok(made && rvx__safetensors_find(file, "block2/g/running_var") != NULL, "by name");
    rvx__safetensors_close(file);
    rvx__weights_free(&weights);
    unlink(path);
    run_free(&r);
}

int main(void)
{
    network net = network_make(RVX_I16);
    run store, once;
    if (rvx__graph_status(net.graph, &error) != RVX_OK ||
        !run_make(&store, &net, RVX_POLICY_STORE, 1, true, false) ||
        !run_make(&once, &net, RVX_POLICY_STORE, 1, true, false)) {
        tap_ok(0, "%s", error.message);
        return tap_done();
    }
    TAP_OK(rvx__session_run(once.session, NULL, NULL, &error) == RVX_OK);
    check_values(&once, 1);
    for (int step = 0; step < 2; step++)
        TAP_OK(rvx__session_run(store.session, NULL, NULL, &error) == RVX_OK);
    check_policies(&net, false);
    check_policies(&net, true);
    TAP_OK(store.plan->trained_bytes < (const char *)parameter(&store, "block0/f/running_mean") -
                                           (const char *)rvx__session_parameters(store.session) +
                                           1);
    /* 6 branches: gamma and beta of 2, 9 * 2 * 2 weights and 2 biases; head: norm of 4, 4 * 3 + 3
     */
    TAP_OK(rvx__graph_parameter_count(net.graph) == 6 * (4 + 36 + 2) + 8 + 15);
    check_inference(&net, &store);
    check_file(&net, &store);
    run_free(&once);
    run_free(&store);
    rvx__graph_free(net.graph);
    return tap_done();
}
