/* The policies against one another. On random graphs of couplings, skips, slices and everything
 * else, with streams of 16-bit integers, a step that keeps everything, one that computes stages
 * again and one that inverts must give the same loss and the same gradient of every parameter, bit
 * for bit, for one and for three threads. */
#include "engine/run/session.h"
#include "kernels/random.h"
#include "tap.h"
#include "tests/plan/random_graph.h"

#include <string.h>

enum { GRAPHS = 60 };

typedef struct made {
    rvx_plan *plan;
    rvx_session *session;
} made;

static bool make(made *m, const rvx_graph *graph, rvx_plan_options options, rvx_error *error)
{
    if (rvx__plan_create(&m->plan, graph, &options, error) != RVX_OK ||
        rvx__session_create(&m->session, m->plan, error) != RVX_OK)
        return false;
    random_graph_fill(m->session);
    for (int run = 0; run < 2; run++) /* one run must not disturb the next */
        if (rvx__session_run(m->session, NULL, NULL, error) != RVX_OK)
            return false;
    return true;
}

static void made_free(made *m)
{
    rvx__session_free(m->session);
    rvx__plan_free(m->plan);
    *m = (made){0};
}

/* Parameters whose gradients differ in some bit, and their number. */
static int differences(const rvx_session *a, const rvx_session *b, const char **name)
{
    const rvx_graph *graph = rvx__session_plan(a)->graph;
    int count = 0;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_value other = rvx__graph_find(rvx__session_plan(b)->graph, graph->values[v].name);
        rvx_tensor ga = rvx__session_gradient(a, (rvx_value){v}),
                   gb = rvx__session_gradient(b, other);
        if (!ga.data && !gb.data)
            continue;
        if (!ga.data || !gb.data ||
            memcmp(ga.data, gb.data, (size_t)rvx__shape_count(ga.shape) * sizeof(float)) != 0) {
            *name = graph->values[v].name;
            count++;
        }
    }
    return count;
}

static void check(int seed, rvx_dtype storage)
{
    static const rvx_policy policies[] = {RVX_POLICY_STORE, RVX_POLICY_CHECKPOINT,
                                          RVX_POLICY_REVERSIBLE};
    rvx_error error = {0};
    rvx_value loss;
    rvx_graph *graph = random_graph(seed, storage, RVX_I16, &loss);
    rvx_plan_options options = {
        .isa = rvx__isa_detect(), .threads = 1, .loss_count = 1, .output_count = 1};
    options.losses[0] = options.outputs[0] = loss;
    made store = {0};
    if (!make(&store, graph, options, &error)) {
        tap_ok(0, "graph %d: %s", seed, error.message);
        made_free(&store);
        rvx__graph_free(graph);
        return;
    }
    rvx_tensor want = rvx__session_tensor(store.session, loss);
    for (int i = 0; i < 3; i++) {
        made m = {0};
        options.policy = policies[i];
        options.threads = i == 0 ? 2 : 3;
        const char *name = "";
        if (!make(&m, graph, options, &error)) {
            tap_ok(0, "graph %d, %s: %s", seed, rvx__policy_names[policies[i]], error.message);
        } else {
            rvx_tensor got = rvx__session_tensor(m.session, loss);
            int wrong = differences(store.session, m.session, &name);
            int rebuilt = 0;
            for (int32_t s = 0; s < m.plan->step_count; s++)
                rebuilt += m.plan->steps[s].rebuild;
            tap_ok(wrong == 0 && memcmp(got.data, want.data, sizeof(float)) == 0 && m.plan->exact,
                   "graph %d, %s: %d nodes, %d steps rebuild, arena %.2f of store, gradients == "
                   "(%d differ%s%s)",
                   seed, rvx__policy_names[policies[i]], graph->node_count, rebuilt,
                   (double)m.plan->arena_bytes / (double)store.plan->arena_bytes, wrong,
                   wrong ? ": " : "", name);
        }
        made_free(&m);
    }
    made_free(&store);
    rvx__graph_free(graph);
}

int main(void)
{
    for (int seed = 0; seed < GRAPHS; seed++)
        check(seed, RVX_F32);
    for (int seed = 0; seed < GRAPHS; seed++)
        check(seed, RVX_BF16);
    return tap_done();
}
