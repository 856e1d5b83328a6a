/* Dropout in a plan, trained and predicted: the same key gives the same bits, loss and gradients,
 * with everything the planner can do and plain; another key others; key 0 is the network without
 * dropout. */
#include "engine/graph/network.h"
#include "engine/run/dropout.h"
#include "tap.h"

#include <string.h>

static rvx_error error;

enum { GRADIENTS_MAX = 8192 };

typedef struct result {
    float loss, gradients[GRADIENTS_MAX];
    int64_t count;
} result;

/* Its head is no pointwise convolution: that would be fused with its loss, which rounds otherwise.
 */
static rvx_value network(rvx_graph *graph, rvx_value image, float rate)
{
    rvx_value x = rvx__conv(graph, image, (rvx_conv){.channels = 8});
    for (int i = 0; i < 2; i++) {
        rvx__scope_push(graph, "unit%d", i);
        x = rvx__norm_act(graph, x, 0, 1e-5f, 0.01f);
        if (rate > 0)
            x = rvx__dropout(graph, x, rate);
        x = rvx__conv(graph, x, (rvx_conv){.channels = 8});
        rvx__scope_pop(graph);
    }
    rvx__scope_push(graph, "head");
    return rvx__conv(graph, x, (rvx_conv){.channels = 3, .f32_output = true});
}

/* One step of training from the same start. */
static void step(result *r, float rate, float key, bool plain)
{
    rvx_graph *graph = rvx__graph_create();
    rvx_plan *plan = NULL;
    rvx_session *session = NULL;
    rvx_value image = rvx__input(graph, "image", (rvx_shape){1, 6, 7, 8, 2}, RVX_F32);
    rvx_value logits = network(graph, image, rate);
    rvx_supervision s =
        rvx__supervise(graph, &logits, 1, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1});
    rvx_plan_options options = {.isa = rvx__isa_detect(),
                                .threads = 2,
                                .losses = {s.losses[0]},
                                .loss_count = 1,
                                .outputs = {s.losses[0]},
                                .output_count = 1,
                                .plain = plain};
    memset(r, 0, sizeof *r);
    if (rvx__graph_status(graph, &error) != RVX_OK ||
        rvx__plan_create(&plan, graph, &options, &error) != RVX_OK ||
        rvx__session_create(&session, plan, &error) != RVX_OK) {
        tap_ok(0, "%s", error.message);
    } else {
        rvx__session_initialise(session, 1);
        rvx_tensor x = rvx__session_tensor(session, image);
        rvx_tensor labels = rvx__session_tensor(session, s.labels[0]);
        for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
            rvx__f32(&x)[i] = (float)(i * 7919 % 1009) / 1009 - 0.5f;
        for (int64_t i = 0; i < rvx__shape_count(labels.shape); i++)
            ((uint8_t *)labels.data)[i] = (uint8_t)(i * 31 % 7 % 3);
        rvx__dropout_fill(session, key);
        TAP_OK(rvx__session_run(session, NULL, NULL, &error) == RVX_OK);
        rvx_tensor loss = rvx__session_tensor(session, s.losses[0]);
        r->loss = *rvx__f32(&loss);
        r->count = rvx__session_parameter_floats(session);
        if (TAP_OK(r->count <= GRADIENTS_MAX))
            memcpy(r->gradients, rvx__session_gradients(session), (size_t)r->count * sizeof(float));
    }
    rvx__session_free(session);
    rvx__plan_free(plan);
    rvx__graph_free(graph);
}

static bool same(const result *a, const result *b)
{
    return a->count == b->count && memcmp(&a->loss, &b->loss, sizeof a->loss) == 0 &&
           memcmp(a->gradients, b->gradients, (size_t)a->count * sizeof(float)) == 0;
}

int main(void)
{
    static result first, again, plain, later, off, without;
    step(&first, 0.2f, rvx__dropout_key(1, 5), false);
    step(&again, 0.2f, rvx__dropout_key(1, 5), false);
    step(&plain, 0.2f, rvx__dropout_key(1, 5), true);
    step(&later, 0.2f, rvx__dropout_key(1, 6), false);
    step(&off, 0.2f, 0, false);
    step(&without, 0, 0, false);
    TAP_OK(first.loss > 0 && first.count > 0);
    tap_ok(same(&first, &again), "a step has its mask");
    tap_ok(same(&first, &plain), "however it is planned");
    tap_ok(!same(&first, &later), "another step has another");
    tap_ok(same(&off, &without), "key 0 is the network without dropout");
    tap_ok(!same(&first, &off), "and training is not");
    return tap_done();
}
