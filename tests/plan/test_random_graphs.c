/* The planner against itself: random graphs with every way of sharing memory (slices,
 * concatenations, couplings, skips, sums of shared values), planned once with everything the
 * planner can do and once plain: nothing folded, nothing in place, concatenations copied. Losses
 * and all gradients must be the same bits; the arena must not be larger; one run must not disturb
 * the next. */
#include "engine/run/session.h"
#include "tap.h"
#include "tests/plan/random_graph.h"

#include <string.h>

enum { GRAPHS = 120 };

/* |gradients of a - gradients of b| / |gradients of b|, over all parameters together (a bias before
 * a normalisation has gradient zero but for rounding: alone it has no relative error). Parameters
 * are found by name, since plans order them differently. Infinite when one has a gradient that the
 * other lacks. */
static double gradient_difference(const rvx_session *a, const rvx_session *b)
{
    const rvx_graph *graph = rvx__session_plan(a)->graph;
    double difference = 0, norm = 0;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_value other = rvx__graph_find(rvx__session_plan(b)->graph, graph->values[v].name);
        rvx_tensor ga = rvx__session_gradient(a, (rvx_value){v}),
                   gb = rvx__session_gradient(b, other);
        if (!ga.data != !gb.data)
            return (double)INFINITY;
        for (int64_t i = 0; ga.data && i < rvx__shape_count(ga.shape); i++) {
            double x = (double)rvx__f32(&ga)[i], y = (double)rvx__f32(&gb)[i];
            difference += (x - y) * (x - y);
            norm += y * y;
        }
    }
    return sqrt(difference / norm);
}

static double loss_difference(const rvx_session *a, const rvx_session *b, rvx_value loss)
{
    rvx_tensor la = rvx__session_tensor(a, loss), lb = rvx__session_tensor(b, loss);
    return fabs((double)*rvx__f32(&la) - (double)*rvx__f32(&lb)) / fabs((double)*rvx__f32(&lb));
}

static void check(int seed)
{
    rvx_error error = {0};
    rvx_value loss;
    rvx_graph *graph = random_graph(seed, RVX_F32, RVX_F32, &loss);
    rvx_plan_options options = {
        .isa = rvx__isa_detect(), .threads = 2, .loss_count = 1, .output_count = 1};
    options.losses[0] = options.outputs[0] = loss;
    rvx_plan *plans[2] = {NULL, NULL};
    rvx_session *sessions[2] = {NULL, NULL};
    bool made = true;
    for (int i = 0; i < 2 && made; i++) {
        options.plain = options.unshared = i == 1;
        made = rvx__plan_create(&plans[i], graph, &options, &error) == RVX_OK &&
               rvx__session_create(&sessions[i], plans[i], &error) == RVX_OK;
    }
    if (!made) {
        tap_ok(0, "graph %d: %s", seed, error.message);
    } else {
        for (int i = 0; i < 2; i++)
            random_graph_fill(sessions[i]);
        for (int run = 0; run < 2; run++)
            for (int i = 0; i < 2; i++)
                rvx__session_run(sessions[i], NULL, NULL, &error);
        /* One rounding a node, and one for each way that sums are cut where pitches differ. */
        double bound = 0x1p-22 * graph->node_count;
        double loss_gap = loss_difference(sessions[0], sessions[1], loss);
        double gradient_gap = gradient_difference(sessions[0], sessions[1]);
        tap_ok(loss_gap <= bound && gradient_gap <= bound,
               "graph %d: %d nodes, loss differs by %.1e, gradients by %.1e", seed,
               graph->node_count, loss_gap, gradient_gap);
    }
    for (int i = 0; i < 2; i++) {
        rvx__session_free(sessions[i]);
        rvx__plan_free(plans[i]);
    }
    rvx__graph_free(graph);
}

int main(void)
{
    for (int seed = 0; seed < GRAPHS; seed++)
        check(seed);
    return tap_done();
}
