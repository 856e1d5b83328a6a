/* Depth: 64 couplings at one level. The step that inverts them all gives the bits of the one that
 * keeps everything, its memory does not grow with the depth, and it is planned in a moment. */
#include "engine/graph/network.h"
#include "engine/run/session.h"
#include "kernels/random.h"
#include "models/models.h"
#include "tap.h"

#include <string.h>
#include <time.h>

enum { EDGE = 16, EDGE_PLANNED = 96, DEEP = 64 };

typedef struct made {
    rvx_graph *graph;
    rvx_plan *plan;
    rvx_session *session;
    rvx_value loss;
    double seconds; /* to plan */
} made;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* others may use the machine too */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void make(made *m, const char *name, int64_t edge, int depth, rvx_policy policy, int threads)
{
    rvx_error error = {0};
    const rvx_model *model = rvx__model_find(name);
    rvx_model_config config = model->defaults;
    config.in_channels = 1;
    config.classes = 3;
    config.stage_count = 2;
    config.widths[0] = 8;
    config.widths[1] = 16;
    config.depth = depth;
    config.decoder_depth = 1;
    *m = (made){.graph = rvx__graph_create()};
    rvx__graph_set_streams(m->graph, RVX_I16, 8);
    rvx_value logits[RVX_STAGES_MAX] = {RVX_NO_VALUE};
    rvx_value image = rvx__input(m->graph, "image", (rvx_shape){1, edge, edge, edge, 1}, RVX_F32);
    int count = model->build(m->graph, image, &config, logits);
    rvx_supervision s = rvx__supervise(
        m->graph, logits, count, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    m->loss = s.losses[0];
    rvx_plan_options options = {.policy = policy,
                                .isa = rvx__isa_detect(),
                                .threads = threads,
                                .losses = {m->loss},
                                .loss_count = 1,
                                .outputs = {m->loss},
                                .output_count = 1};
    double start = seconds_now();
    rvx_status status = rvx__plan_create(&m->plan, m->graph, &options, &error);
    m->seconds = seconds_now() - start;
    if (status == RVX_OK && edge > EDGE)
        return; /* only planned */
    if (status != RVX_OK || rvx__session_create(&m->session, m->plan, &error) != RVX_OK) {
        printf("Bail out! %s, depth %d: %s\n", name, depth, error.message);
        exit(1);
    }
    rvx__session_initialise(m->session, 1);
    rvx_random random = {.seed = 7};
    rvx_tensor x = rvx__session_tensor(m->session, image);
    for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
        rvx__f32(&x)[i] = rvx__random_normal(&random);
    rvx_tensor labels = rvx__session_tensor(m->session, s.labels[0]);
    for (int64_t i = 0; i < rvx__shape_count(labels.shape); i++)
        ((uint8_t *)labels.data)[i] = (uint8_t)rvx__random_below(&random, 3);
    rvx__session_run(m->session, NULL, NULL, NULL);
}

static void made_free(made *m)
{
    rvx__session_free(m->session);
    rvx__plan_free(m->plan);
    rvx__graph_free(m->graph);
}

static bool same_bits(const made *a, const made *b)
{
    rvx_tensor x = rvx__session_tensor(a->session, a->loss),
               y = rvx__session_tensor(b->session, b->loss);
    return *rvx__f32(&x) == *rvx__f32(&y) && a->plan->trained_bytes == b->plan->trained_bytes &&
           memcmp(rvx__session_gradients(a->session), rvx__session_gradients(b->session),
                  (size_t)a->plan->trained_bytes) == 0;
}

/* Bytes that a step on a larger volume holds beside the parameters, by its plan. */
static double planned(const char *name, int depth, rvx_policy policy)
{
    made m;
    make(&m, name, EDGE_PLANNED, depth, policy, 2);
    double bytes = (double)(m.plan->arena_bytes - 2 * m.plan->parameter_bytes);
    made_free(&m);
    return bytes;
}

static void check_memory(const char *name)
{
    double one = planned(name, 1, RVX_POLICY_REVERSIBLE),
           sixteen = planned(name, 16, RVX_POLICY_REVERSIBLE),
           deep = planned(name, DEEP, RVX_POLICY_REVERSIBLE),
           store = planned(name, DEEP, RVX_POLICY_STORE);
    tap_ok(sixteen < 1.01 * one && deep < 1.04 * one,
           "%s: reversible takes %.1f MiB with one coupling a level, %.2f %% more with 16, %.2f %% "
           "more with %d",
           name, one / 0x1p20, 100 * (sixteen / one - 1), 100 * (deep / one - 1), DEEP);
    tap_ok(store > 8 * deep, "%s: store takes %.1f MiB with %d couplings, reversible %.1f", name,
           store / 0x1p20, DEEP, deep / 0x1p20);
}

static void check(const char *name)
{
    made store, reversible, checkpoint;
    make(&store, name, EDGE, DEEP, RVX_POLICY_STORE, 2);
    make(&reversible, name, EDGE, DEEP, RVX_POLICY_REVERSIBLE, 2);
    make(&checkpoint, name, EDGE, DEEP, RVX_POLICY_CHECKPOINT, 1);
    int inverses = 0;
    for (int32_t s = 0; s < reversible.plan->step_count; s++)
        inverses += reversible.plan->steps[s].phase == RVX_INVERSE;
    tap_ok(inverses >= 2 * DEEP, "%s, %d couplings: %d inverses", name, DEEP, inverses);
    tap_ok(reversible.plan->exact && same_bits(&store, &reversible),
           "%s, %d couplings: reversible == store, %lld bytes of gradients", name, DEEP,
           (long long)store.plan->trained_bytes);
    tap_ok(same_bits(&store, &checkpoint), "%s, %d couplings: checkpoint == store", name, DEEP);
    tap_ok(store.seconds < 2 && reversible.seconds < 2 && checkpoint.seconds < 2,
           "%s: %d steps planned in %.3f s (store %.3f, checkpoint %.3f)", name,
           reversible.plan->step_count, reversible.seconds, store.seconds, checkpoint.seconds);
    made_free(&store);
    made_free(&reversible);
    made_free(&checkpoint);
    check_memory(name);
}

int main(void)
{
    check("revnet3d-full");
    check("revunet3d");
    return tap_done();
}
