/* Random graphs with every way of sharing memory: slices, concatenations, couplings, skips, sums of
 * shared values. For the tests of the planner. */
#ifndef RVX_TEST_RANDOM_GRAPH_H
#define RVX_TEST_RANDOM_GRAPH_H

#include "engine/graph/reversible.h"
#include "engine/run/session.h"
#include "kernels/random.h"

enum { VALUES_MAX = 24, OPS = 14 };

typedef struct pool {
    rvx_graph *graph;
    rvx_random random;
    rvx_value values[VALUES_MAX];
    int count;
} pool;

static inline int draw(pool *p, int count) { return (int)rvx__random_below(&p->random, count); }

/* A value drawn with a bias to new ones, so that graphs grow deep as well as wide. */
static inline rvx_value pick(pool *p)
{
    int a = draw(p, p->count), b = draw(p, p->count);
    return p->values[a > b ? a : b];
}

static inline void keep(pool *p, rvx_value value)
{
    if (p->count < VALUES_MAX)
        p->values[p->count++] = value;
    else
        p->values[draw(p, VALUES_MAX)] = value;
}

static inline bool same_space(const pool *p, rvx_value a, rvx_value b)
{
    rvx_shape s = rvx__shape(p->graph, a), t = rvx__shape(p->graph, b);
    return s.d == t.d && s.h == t.h && s.w == t.w;
}

static inline rvx_value branch(rvx_graph *g, rvx_value x, const void *argument)
{
    (void)argument;
    int channels = (int)rvx__shape(g, x).c;
    return rvx__conv(g, rvx__norm_act(g, x, 0, 1e-5f, 0.01f), (rvx_conv){.channels = channels});
}

/* Quarters of the channels, worked on in their places, and together again. */
static inline void add_parts(pool *p, rvx_value x)
{
    rvx_graph *g = p->graph;
    rvx_value part[4];
    rvx__deinterleave(g, part, x);
    part[2] = rvx__add(g, part[2], branch(g, part[3], NULL));
    if (draw(p, 2))
        keep(p, part[draw(p, 4)]); /* read again later: nothing may take its place */
    keep(p, rvx__interleave(g, part));
}

static inline void add_random_op(pool *p, int index)
{
    rvx_graph *g = p->graph;
    rvx_value x = pick(p), y = pick(p), half[2];
    rvx_shape s = rvx__shape(g, x);
    rvx__scope_push(g, "stage%d", index / 4);
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
        if (s.c % 4 == 0 && draw(p, 2))
            add_parts(p, x);
        else if (s.c % 2 == 0)
            keep(p, rvx__couple(g, x, branch, branch, NULL));
        break;
    default:
        if (s.d >= 4 && s.d % 2 == 0 && draw(p, 2))
            keep(p, rvx__upsample(g, rvx__max_pool(g, x, (int[3]){2, 2, 2}), (int[3]){2, 2, 2}));
        else
            keep(p, rvx__conv_transpose(g, x, 1 + draw(p, 4), (int[3]){1, 1, 1}));
    }
    rvx__scope_pop(g);
    rvx__scope_pop(g);
}

/* Loss on a head over the concatenation of the newest values, so that few nodes are dead. */
static inline rvx_value finish(pool *p)
{
    rvx_graph *g = p->graph;
    rvx_value x = p->values[p->count - 1];
    for (int i = p->count - 2; i >= 0 && i > p->count - 5; i--)
        if (same_space(p, x, p->values[i]))
            x = rvx__concat(g, x, p->values[i]);
    rvx__scope_push(g, "head");
    x = rvx__conv(g, x, (rvx_conv){.channels = 3, .kernel = {1, 1, 1}, .f32_output = true});
    rvx__scope_pop(g);
    rvx_shape labels = rvx__shape(g, x);
    labels.c = 1;
    rvx_loss loss = {.ignore_label = -1, .weight = 1, .smooth = 1e-5f};
    return rvx__segmentation_loss(g, x, rvx__input(g, "labels", labels, RVX_U8), loss, NULL);
}

/* A graph of its own for each seed; the caller frees it. */
static inline rvx_graph *random_graph(int seed, rvx_dtype storage, rvx_dtype streams,
                                      rvx_value *loss)
{
    pool p = {.graph = rvx__graph_create(), .random = {.seed = (uint64_t)seed, .stream = 17}};
    rvx__graph_set_storage(p.graph, storage);
    rvx__graph_set_streams(p.graph, streams, seed % 2 ? 10 : 15); /* 15: too fine, made coarser */
    int64_t edge = 4 + 2 * draw(&p, 2);
    rvx_shape shape = {1 + draw(&p, 2), 4, edge, edge, 1 + draw(&p, 4)};
    keep(&p, rvx__input(p.graph, "image", shape, RVX_F32));
    rvx__scope_push(p.graph, "stem");
    keep(&p, rvx__conv(p.graph, p.values[0], (rvx_conv){.channels = 4}));
    rvx__scope_pop(p.graph);
    for (int i = 0; i < OPS; i++)
        add_random_op(&p, i);
    *loss = finish(&p);
    return p.graph;
}

static inline void random_graph_fill(rvx_session *session)
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

#endif
