/* The networks: parameter counts and layouts as published; and for each reversible one, with
 * streams of 16-bit integers, the same loss and gradients, bit for bit, whether a step keeps
 * everything, computes stages again or inverts; up to 64 couplings a level. */
#include "engine/run/session.h"
#include "kernels/random.h"
#include "models/iunet.h"
#include "models/models.h"
#include "tap.h"

#include <string.h>

typedef struct variant {
    const char *name;
    rvx_shape image;
    int classes, stage_count, depth;
    int widths[RVX_STAGES_MAX]; /* none: the published ones */
    int blocks[RVX_STAGES_MAX];
} variant;

static rvx_error error;

/* ---- building ---------------------------------------------------------------------------------
 */

typedef struct network {
    rvx_graph *graph;
    rvx_value logits;
    rvx_supervision supervision;
} network;

static void network_free(network *net)
{
    rvx__graph_free(net->graph);
    *net = (network){0};
}

static bool network_make(network *net, const variant *v)
{
    const rvx_model *model = rvx__model_find(v->name);
    rvx_value logits[RVX_STAGES_MAX];
    if (!model)
        return false;
    rvx_model_config config = model->defaults;
    config.classes = v->classes ? v->classes : config.classes;
    config.depth = v->depth ? v->depth : config.depth;
    config.stage_count = v->stage_count ? v->stage_count : config.stage_count;
    for (int i = 0; i < v->stage_count; i++)
        config.widths[i] = v->widths[i];
    for (int i = 0; i < v->stage_count; i++)
        config.blocks[i] = v->blocks[i];
    config.in_channels = (int)v->image.c;
    net->graph = rvx__graph_create();
    rvx__graph_set_streams(net->graph, RVX_I16, 10);
    rvx_value image = rvx__input(net->graph, "image", v->image, RVX_F32);
    int count = model->build(net->graph, image, &config, logits);
    net->logits = logits[0];
    if (rvx__graph_status(net->graph, &error) != RVX_OK)
        return false;
    if (config.classes > 255) /* labels are bytes */
        return true;
    rvx_loss loss = {.ignore_label = -1, .weight = 1, .smooth = 1e-5f};
    net->supervision = rvx__supervise(net->graph, logits, count, loss);
    return rvx__graph_status(net->graph, &error) == RVX_OK;
}

static rvx_plan *plan_make(const network *net, rvx_policy policy, int threads)
{
    rvx_plan *plan = NULL;
    rvx_plan_options options = {
        .policy = policy, .isa = rvx__isa_detect(), .threads = threads, .output_count = 1};
    options.outputs[0] = net->supervision.losses[0];
    options.loss_count = net->supervision.count;
    memcpy(options.losses, net->supervision.losses,
           (size_t)net->supervision.count * sizeof *options.losses);
    return rvx__plan_create(&plan, net->graph, &options, &error) == RVX_OK ? plan : NULL;
}

/* ---- counts and layouts -----------------------------------------------------------------------
 */

static void check_count(const char *name, rvx_shape image, int classes, int depth, int64_t wanted)
{
    network net = {0};
    bool made = network_make(&net, &(variant){name, image, classes, 0, depth, {0}, {0}});
    long long count = made ? (long long)rvx__graph_parameter_count(net.graph) : 0;
    tap_ok(made && count == (long long)wanted, "%s, %d -> %d: %lld parameters, %lld expected%s%s",
           name, (int)image.c, classes, count, (long long)wanted, made ? "" : ": ",
           made ? "" : error.message);
    network_free(&net);
}

static void check_counts(void)
{
    const rvx_shape volume = {1, 32, 32, 32, 1}, modalities = {1, 32, 32, 32, 4},
                    slice = {1, 1, 32, 32, 1};
    check_count("unet3d", (rvx_shape){1, 128, 128, 128, 1}, 2, 2, 31195594);
    check_count("revunet3d", modalities, 3, 1, 12365283);
    check_count("iunet3d", volume, 5, 2, 303224);
    check_count("iunet2d", slice, 5, 2, 3921349);
    check_count("irevnet", (rvx_shape){1, 1, 64, 64, 3}, 1000, 0, 29201092);
    check_count("revnet38", (rvx_shape){1, 1, 32, 32, 3}, 10, 0, 573994);
    check_count("revnet110", (rvx_shape){1, 1, 32, 32, 3}, 10, 0, 1854890);
    check_count("revnet164", (rvx_shape){1, 1, 32, 32, 3}, 10, 0, 1983786);
}

static void check_layout(const int *wished, const int strides[][3], int count, const int *channels,
                         const int *skipped)
{
    rvx_iunet_layout layout;
    bool same = rvx__iunet_layout_of(&layout, wished, strides, count, &error) == RVX_OK;
    for (int i = 0; i < count && same; i++)
        same = layout.channels[i] == channels[i] &&
               (i + 1 == count || layout.skipped[i] == skipped[i]);
    tap_ok(same, "iUNet from %d, %d, ... to %d, %d, ..., %d", wished[0], wished[1],
           layout.channels[0], layout.channels[1], layout.channels[count - 1]);
}

static void check_layouts(void)
{
    check_layout((int[]){7, 15, 35, 91},
                 (const int[][3]){{1, 1, 1}, {2, 2, 2}, {2, 2, 2}, {1, 2, 2}}, 4,
                 (int[]){7, 16, 32, 92}, (int[]){5, 12, 9});
    check_layout((int[]){3, 25, 32, 55, 128},
                 (const int[][3]){{1, 1, 1}, {1, 2, 3}, {2, 2, 2}, {5, 1, 2}, {2, 2, 2}}, 5,
                 (int[]){3, 12, 32, 60, 128}, (int[]){1, 8, 26, 44});
    check_layout((int[]){3, 8, 16, 32, 64},
                 (const int[][3]){{1, 1, 1}, {1, 2, 2}, {1, 2, 2}, {1, 2, 2}, {1, 2, 2}}, 5,
                 (int[]){3, 8, 16, 32, 64}, (int[]){1, 4, 8, 16});
    rvx_iunet_layout layout;
    TAP_OK(rvx__iunet_layout_of(&layout, (int[]){1, 8}, (const int[][3]){{1, 1, 1}, {2, 2, 2}}, 2,
                                &error) == RVX_ERROR_ARGUMENT &&
           strstr(error.message, "widths[0]"));
}

/* A 2D network refuses strides across slices. */
static void check_slices(void)
{
    rvx_model_config config = rvx__model_iunet2d.defaults;
    rvx_value logits[RVX_STAGES_MAX];
    rvx_graph *graph = rvx__graph_create();
    config.strides[2][0] = 2;
    rvx_value image = rvx__input(graph, "image", (rvx_shape){1, 16, 16, 16, 1}, RVX_F32);
    rvx__model_iunet2d.build(graph, image, &config, logits);
    TAP_OK(rvx__graph_status(graph, &error) == RVX_ERROR_ARGUMENT &&
           strstr(error.message, "strides[2]"));
    rvx__graph_free(graph);
}

/* ---- policies ---------------------------------------------------------------------------------
 */

static void fill(rvx_session *session, int classes)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    rvx__session_initialise(session, 3);
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_INPUT)
            continue;
        rvx_tensor t = rvx__session_tensor(session, (rvx_value){v});
        rvx_random random = {.seed = 5};
        for (int64_t i = 0; t.data && i < rvx__shape_count(t.shape); i++)
            if (t.dtype == RVX_U8)
                ((uint8_t *)t.data)[i] = (uint8_t)rvx__random_below(&random, classes);
            else
                rvx__f32(&t)[i] = rvx__random_normal(&random);
    }
}

/* Runs twice, as one run must not disturb the next. */
static rvx_session *session_make(const rvx_plan *plan, int classes)
{
    rvx_session *session = NULL;
    if (!plan || rvx__session_create(&session, plan, &error) != RVX_OK)
        return NULL;
    fill(session, classes);
    for (int run = 0; run < 2; run++)
        if (rvx__session_run(session, NULL, NULL, &error) != RVX_OK) {
            rvx__session_free(session);
            return NULL;
        }
    return session;
}

static bool gradients_equal(const rvx_session *a, const rvx_session *b)
{
    return memcmp(rvx__session_gradients(a), rvx__session_gradients(b),
                  (size_t)rvx__session_parameter_floats(a) * sizeof(float)) == 0;
}

static double gradient_length(const rvx_session *s)
{
    double sum = 0;
    for (int64_t i = 0; i < rvx__session_parameter_floats(s); i++)
        sum += (double)rvx__session_gradients(s)[i] * (double)rvx__session_gradients(s)[i];
    return sum;
}

/* Steps that invert an op: learnable resampling is no exception. */
static int inverted(const rvx_plan *plan, const rvx_op *op)
{
    int count = 0;
    for (int32_t s = 0; s < plan->step_count; s++)
        count += plan->steps[s].phase == RVX_INVERSE && plan->steps[s].op == op;
    return count;
}

static void check_policy(const variant *v, const network *net, const rvx_session *store,
                         rvx_policy policy)
{
    rvx_plan *plan = plan_make(net, policy, 3);
    rvx_session *session = session_make(plan, v->classes);
    rvx_value loss = net->supervision.losses[0];
    bool same = false;
    float value = 0;
    if (session) {
        value = *rvx__f32(&(rvx_tensor){.data = rvx__session_tensor(session, loss).data});
        float want = *rvx__f32(&(rvx_tensor){.data = rvx__session_tensor(store, loss).data});
        same = memcmp(&value, &want, sizeof value) == 0 && gradients_equal(session, store);
    }
    double stored = (double)rvx__session_plan(store)->arena_bytes;
    tap_ok(same && plan->exact && gradient_length(store) > 0 && value > 0,
           "%s, depth %d, %s == store: loss %g, arena %.3f of store%s%s", v->name, v->depth,
           rvx__policy_names[policy], (double)value, plan ? (double)plan->arena_bytes / stored : 0,
           session ? "" : ": ", session ? "" : error.message);
    if (session && policy == RVX_POLICY_REVERSIBLE && strncmp(v->name, "iunet", 5) == 0)
        tap_ok(inverted(plan, &rvx__op_orthogonal_down) + inverted(plan, &rvx__op_orthogonal_up) ==
                   2 * (v->stage_count - 1),
               "%s: every resampling is inverted, %d down and %d up", v->name,
               inverted(plan, &rvx__op_orthogonal_down), inverted(plan, &rvx__op_orthogonal_up));
    rvx__session_free(session);
    rvx__plan_free(plan);
}

static void check_policies(const variant *v)
{
    network net = {0};
    rvx_plan *plan = network_make(&net, v) ? plan_make(&net, RVX_POLICY_STORE, 1) : NULL;
    rvx_session *store = session_make(plan, v->classes);
    if (store) {
        check_policy(v, &net, store, RVX_POLICY_CHECKPOINT);
        check_policy(v, &net, store, RVX_POLICY_REVERSIBLE);
    } else {
        tap_ok(0, "%s, depth %d: %s", v->name, v->depth, error.message);
    }
    rvx__session_free(store);
    rvx__plan_free(plan);
    network_free(&net);
}

/* ---- peak -------------------------------------------------------------------------------------
 */

/* Bytes beside parameters and their gradients, for planning only. */
static double peak_of(const char *name, rvx_shape image, int depth, rvx_policy policy)
{
    network net = {0};
    variant v = {.name = name, .image = image, .depth = depth};
    rvx_plan *plan = network_make(&net, &v) ? plan_make(&net, policy, 2) : NULL;
    double bytes = plan ? (double)(plan->arena_bytes - 2 * plan->parameter_bytes) : 0;
    rvx__plan_free(plan);
    network_free(&net);
    return bytes;
}

static void check_flat(const char *name, rvx_shape image)
{
    double one = peak_of(name, image, 1, RVX_POLICY_REVERSIBLE),
           sixteen = peak_of(name, image, 16, RVX_POLICY_REVERSIBLE),
           stored = peak_of(name, image, 16, RVX_POLICY_STORE);
    tap_ok(one > 0 && sixteen < 1.01 * one && stored > 4 * one,
           "%s: peak of 16 couplings a level is %.4f of that of one (%.1f MiB); store: %.1f", name,
           sixteen / one, one / 0x1p20, stored / one);
}

int main(void)
{
    static const variant variants[] = {
        {"revunet3d", {1, 8, 8, 8, 1}, 3, 2, 1, {8, 12}, {0}},
        {"revnet3d-full", {1, 8, 8, 8, 1}, 3, 3, 2, {8, 16, 32}, {0}},
        {"revnet3d-full", {1, 4, 8, 8, 1}, 3, 2, 64, {4, 8}, {0}},
        {"iunet3d", {2, 8, 8, 8, 2}, 3, 4, 2, {7, 15, 35, 91}, {0}},
        {"iunet3d", {1, 8, 8, 8, 1}, 3, 3, 3, {5, 9, 17}, {0}},
        {"iunet3d", {1, 4, 8, 8, 1}, 3, 2, 64, {3, 8}, {0}},
        {"iunet2d", {2, 3, 8, 16, 3}, 4, 3, 2, {6, 13, 20}, {0}},
        {"iunet2d", {1, 1, 16, 16, 1}, 2, 2, 64, {4, 7}, {0}},
        {"irevnet", {2, 1, 16, 16, 1}, 3, 3, 1, {2, 8, 32}, {0, 2, 3}},
        {"irevnet", {3, 1, 8, 8, 1}, 3, 2, 64, {2, 8}, {0, 64}},
        {"revnet38", {3, 1, 16, 16, 3}, 4, 4, 3, {8, 8, 12, 16}, {0}},
        {"revnet38", {2, 1, 8, 8, 1}, 3, 3, 64, {4, 4, 6}, {0}},
        {"revnet164", {2, 1, 16, 16, 3}, 4, 4, 3, {4, 4, 6, 8}, {0}},
    };
    check_counts();
    check_layouts();
    check_slices();
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        check_policies(&variants[i]);
    check_flat("revunet3d", (rvx_shape){1, 64, 64, 64, 1});
    check_flat("revnet3d-full", (rvx_shape){1, 64, 64, 64, 1});
    check_flat("iunet3d", (rvx_shape){1, 64, 64, 64, 1});
    check_flat("iunet2d", (rvx_shape){1, 1, 256, 256, 1});
    return tap_done();
}
