/* The planner against itself: random graphs with every way of sharing memory (slices,
 * concatenations, couplings, skips, sums of shared values), planned once with everything the
 * planner can do and once plain: nothing folded, nothing in place, concatenations copied. Losses
 * and all gradients must be the same bits; the arena must not be larger; one run must not disturb
 * the next. */
#include "engine/run/session.h"
#include "kernels/random.h"
#include "tap.h"

#include <string.h>

enum { GRAPHS = 120, VALUES_MAX = 24, OPS = 14 };

typedef struct pool {
    rvx_graph *graph;
    rvx_random random;
    rvx_value values[VALUES_MAX];
    int count;
} pool;

static int draw(pool *p, int count) { return (int)rvx__random_below(&p->random, count); }

/* A value drawn with a bias to new ones, so that graphs grow deep as well as wide. */
static rvx_value pick(pool *p)
{
    int a = draw(p, p->count), b = draw(p, p->count);
    return p->values[a > b ? a : b];
}

static void keep(pool *p, rvx_value value)
{
    if (p->count < VALUES_MAX)
        p->values[p->count++] = value;
    else
        p->values[draw(p, VALUES_MAX)] = value;
}

static bool same_space(const pool *p, rvx_value a, rvx_value b)
{
    rvx_shape s = rvx__shape(p->graph, a), t = rvx__shape(p->graph, b);
    return s.d == t.d && s.h == t.h && s.w == t.w;
}

static rvx_value branch(rvx_graph *g, rvx_value x, const void *argument)
{
    (void)argument;
    int channels = (int)rvx__shape(g, x).c;
    return rvx__conv(g, rvx__norm_act(g, x, 0, 1e-5f, 0.01f), (rvx_conv){.channels = channels});
}

static void add_random_op(pool *p, int index)
{
    rvx_graph *g = p->graph;
    rvx_value x = pick(p), y = pick(p), half[2];
    rvx_shape s = rvx__shape(g, x);
    rvx__scope_push(g, "op%d", index);
    switch (draw(p, 9)) {
    case 0:
    case 1: {
        int kernel = draw(p, 2) ? 3 : 1;
        keep(p,
             rvx__conv(g, x,
                       (rvx_conv){.channels = 1 + draw(p, 5), .kernel = {kernel, kernel, kernel}}));
        break;
    }
    case 2:
    case 3:
        keep(p, rvx__norm_act(g, x, 0, 1e-5f, draw(p, 2) ? 0.01f : 1.0f));
        break;
    case 4:
        if (same_space(p, x, y) && s.c == rvx__shape(g, y).c)
            keep(p, rvx__add(g, x, y));
        break;
    case 5:
        if (same_space(p, x, y) && s.c + rvx__shape(g, y).c <= 12)
            keep(p, rvx__concat(g, x, y));
        break;
    case 6:
        if (s.c >= 2) {
            rvx__split(g, half, x, 1 + draw(p, (int)s.c - 1));
            keep(p, half[0]);
            keep(p, half[1]);
        }
        break;
    case 7:
        if (s.c % 2 == 0)
            keep(p, rvx__couple(g, x, branch, branch, NULL));
        break;
    default:
        if (s.d >= 4 && s.d % 2 == 0 && draw(p, 2))
            keep(p, rvx__upsample(g, rvx__max_pool(g, x, (int[3]){2, 2, 2}), (int[3]){2, 2, 2}));
        else
            keep(p, rvx__conv_transpose(g, x, 1 + draw(p, 4), (int[3]){1, 1, 1}));
    }
    rvx__scope_pop(g);
}

/* Loss on a head over the concatenation of the newest values, so that few nodes are dead. */
static rvx_value finish(pool *p)
{
    rvx_graph *g = p->graph;
    rvx_value x = p->values[p->count - 1];
    for (int i = p->count - 2; i >= 0 && i > p->count - 5; i--)
        if (same_space(p, x, p->values[i]))
            x = rvx__concat(g, x, p->values[i]);
    rvx__scope_push(g, "head");
    x = rvx__conv(g, x, (rvx_conv){.channels = 3, .kernel = {1, 1, 1}});
    rvx__scope_pop(g);
    rvx_shape labels = rvx__shape(g, x);
    labels.c = 1;
    rvx_loss loss = {.ignore_label = -1, .weight = 1, .smooth = 1e-5f};
    return rvx__segmentation_loss(g, x, rvx__input(g, "labels", labels, RVX_U8), loss, NULL);
}

static void fill(rvx_session *session)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    rvx__session_initialise(session, 3);
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_INPUT)
            continue;
        rvx_tensor t = rvx__session_tensor(session, (rvx_value){v});
        rvx_random random = {.seed = 5};
        for (int64_t i = 0; i < rvx__shape_count(t.shape); i++)
            if (t.dtype == RVX_U8)
                ((uint8_t *)t.data)[i] = (uint8_t)rvx__random_below(&random, 3);
            else
                rvx__f32(&t)[i] = rvx__random_normal(&random);
    }
}

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
    pool p = {.graph = rvx__graph_create(), .random = {.seed = (uint64_t)seed, .stream = 17}};
    int64_t edge = 4 + 2 * draw(&p, 2);
    rvx_shape shape = {1 + draw(&p, 2), 4, edge, edge, 1 + draw(&p, 4)};
    keep(&p, rvx__input(p.graph, "image", shape, RVX_F32));
    rvx__scope_push(p.graph, "stem");
    keep(&p, rvx__conv(p.graph, p.values[0], (rvx_conv){.channels = 4}));
    rvx__scope_pop(p.graph);
    for (int i = 0; i < OPS; i++)
        add_random_op(&p, i);
    rvx_value loss = finish(&p);
    rvx_plan_options options = {
        .isa = rvx__isa_detect(), .threads = 2, .loss_count = 1, .output_count = 1};
    options.losses[0] = options.outputs[0] = loss;
    rvx_plan *plans[2] = {NULL, NULL};
    rvx_session *sessions[2] = {NULL, NULL};
    bool made = true;
    for (int i = 0; i < 2 && made; i++) {
        options.plain = i == 1;
        made = rvx__plan_create(&plans[i], p.graph, &options, &error) == RVX_OK &&
               rvx__session_create(&sessions[i], plans[i], &error) == RVX_OK;
    }
    if (!made) {
        tap_ok(0, "graph %d: %s", seed, error.message);
    } else {
        for (int i = 0; i < 2; i++)
            fill(sessions[i]);
        for (int run = 0; run < 2; run++)
            for (int i = 0; i < 2; i++)
                rvx__session_run(sessions[i], NULL, NULL, &error);
        /* One rounding a node, and one for each way that sums are cut where pitches differ. */
        double bound = 0x1p-22 * p.graph->node_count;
        double loss_gap = loss_difference(sessions[0], sessions[1], loss);
        double gradient_gap = gradient_difference(sessions[0], sessions[1]);
        tap_ok(loss_gap <= bound && gradient_gap <= bound,
               "graph %d: %d nodes, loss differs by %.1e, gradients by %.1e", seed,
               p.graph->node_count, loss_gap, gradient_gap);
    }
    for (int i = 0; i < 2; i++) {
        rvx__session_free(sessions[i]);
        rvx__plan_free(plans[i]);
    }
    rvx__graph_free(p.graph);
}

int main(void)
{
    for (int seed = 0; seed < GRAPHS; seed++)
        check(seed);
    return tap_done();
}
