/* Plans with blocks of voxels as channels and back: whatever memory the planner lets them share,
 * the loss and every gradient have the bits of a plan that shares none, and so do values that are
 * still needed after the op that might have taken their place. */
#include "engine/graph/network.h"
#include "engine/graph/reversible.h"
#include "engine/run/session.h"
#include "tap.h"

#include <string.h>

enum { GRADIENTS_MAX = 1 << 18, WAYS = 6 };

static const int two[3] = {2, 2, 2};
static const char *const names[WAYS] = {"space_to_depth", "block order", "haar",
                                        "cayley",         "exponential", "parts"};
static rvx_error error;

static rvx_value unit(rvx_graph *g, rvx_value x, const char *scope)
{
    rvx__scope_push(g, "%s", scope);
    rvx_value y = rvx__conv(g, rvx__norm_act(g, x, 0, 1e-5f, 0.01f),
                            (rvx_conv){.channels = (int)rvx__shape(g, x).c});
    rvx__scope_pop(g);
    return y;
}

/* Blocks as channels, of which each quarter becomes a tensor of its own for a while. */
static rvx_value in_parts(rvx_graph *g, rvx_value x)
{
    rvx_value part[4];
    rvx__deinterleave(g, part, rvx__space_to_depth(g, x, two, RVX_ORDER_CHANNEL));
    part[2] = rvx__add(g, part[2], unit(g, part[3], "first"));
    part[3] = rvx__add(g, part[3], unit(g, part[2], "second"));
    return rvx__interleave(g, part);
}

static rvx_value down(rvx_graph *g, rvx_value x, int way)
{
    return way == 5   ? in_parts(g, x)
           : way < 2  ? rvx__space_to_depth(g, x, two, way)
           : way == 2 ? rvx__haar(g, x, two, true)
                      : rvx__orthogonal_down(g, x, two, way == 4);
}

static rvx_value up(rvx_graph *g, rvx_value x, int way)
{
    return way < 2 || way == 5 ? rvx__depth_to_space(g, x, two, way % 5)
           : way == 2          ? rvx__haar_up(g, x, two, true)
                               : rvx__orthogonal_up(g, x, two, way == 4);
}

static rvx_value branch(rvx_graph *g, rvx_value x, const void *argument)
{
    (void)argument;
    return unit(g, x, "unit");
}

/* Down and up twice in a row, with couplings on each level, once with the fine values used again
 * afterwards. */
static rvx_value network(rvx_graph *g, rvx_value image, int way)
{
    rvx_value fine = rvx__round(g, rvx__conv(g, image, (rvx_conv){.channels = 4})), half[2];
    rvx__scope_push(g, "level0");
    rvx_value coarse = rvx__couple(g, down(g, fine, way), branch, branch, NULL);
    rvx__split(g, half, coarse, 8);
    rvx__scope_push(g, "level1");
    rvx_value deep = up(g, rvx__couple(g, down(g, half[0], way), branch, branch, NULL), way);
    rvx__scope_pop(g);
    rvx__scope_push(g, "up");
    rvx_value again = up(g, rvx__concat(g, deep, half[1]), way);
    rvx__scope_pop(g);
    rvx__scope_pop(g);
    rvx_value sum = rvx__add(g, again, fine);
    rvx__scope_push(g, "head");
    return rvx__conv(g, sum, (rvx_conv){.channels = 3, .f32_output = true});
}

typedef struct result {
    float loss, gradients[GRADIENTS_MAX];
    int64_t count, bytes;
    int inverted; /* steps that invert ops of blocks */
} result;

static void step(result *r, int way, rvx_dtype streams, rvx_policy policy, bool unshared)
{
    rvx_graph *graph = rvx__graph_create();
    rvx_plan *plan = NULL;
    rvx_session *session = NULL;
    rvx__graph_set_streams(graph, streams, 10);
    rvx_value image = rvx__input(graph, "image", (rvx_shape){1, 8, 12, 8, 2}, RVX_F32);
    rvx_value logits = network(graph, image, way);
    rvx_supervision s =
        rvx__supervise(graph, &logits, 1, (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1});
    rvx_plan_options options = {.isa = rvx__isa_detect(),
                                .threads = 2,
                                .losses = {s.losses[0]},
                                .loss_count = 1,
                                .outputs = {s.losses[0]},
                                .output_count = 1,
                                .policy = policy,
                                .unshared = unshared};
    memset(r, 0, sizeof *r);
    if (rvx__graph_status(graph, &error) != RVX_OK ||
        rvx__plan_create(&plan, graph, &options, &error) != RVX_OK ||
        rvx__session_create(&session, plan, &error) != RVX_OK) {
        tap_ok(0, "%s: %s", names[way], error.message);
    } else {
        rvx__session_initialise(session, 1);
        rvx_tensor x = rvx__session_tensor(session, image);
        rvx_tensor labels = rvx__session_tensor(session, s.labels[0]);
        for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
            rvx__f32(&x)[i] = (float)(i * 7919 % 1009) / 1009 - 0.5f;
        for (int64_t i = 0; i < rvx__shape_count(labels.shape); i++)
            ((uint8_t *)labels.data)[i] = (uint8_t)(i * 31 % 7 % 3);
        TAP_OK(rvx__session_run(session, NULL, NULL, &error) == RVX_OK);
        rvx_tensor loss = rvx__session_tensor(session, s.losses[0]);
        r->loss = *rvx__f32(&loss);
        r->bytes = plan->arena_bytes;
        for (int32_t i = 0; i < plan->step_count; i++)
            r->inverted += plan->steps[i].kind == RVX_STEP_KERNEL &&
                           plan->steps[i].phase == RVX_INVERSE &&
                           plan->steps[i].op != &rvx__op_add && plan->steps[i].op != &rvx__op_conv;
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
    return memcmp(&a->loss, &b->loss, sizeof b->loss) == 0 && a->count == b->count &&
           memcmp(a->gradients, b->gradients, (size_t)b->count * sizeof(float)) == 0;
}

int main(void)
{
    static result got, want;
    for (int way = 0; way < WAYS; way++) {
        for (int integers = 0; integers < 2; integers++) {
            rvx_dtype streams = integers ? RVX_I16 : RVX_F32;
            step(&got, way, streams, RVX_POLICY_STORE, false);
            step(&want, way, streams, RVX_POLICY_STORE, true);
            int64_t moving = 0;
            for (int64_t i = 0; i < got.count; i++)
                moving += got.gradients[i] != 0;
            tap_ok(got.loss > 0 && moving > got.count / 2, "%s: loss %g, %lld gradients",
                   names[way], (double)got.loss, (long long)moving);
            tap_ok(same(&got, &want), "%s, type %d: the same bits as where nothing is shared",
                   names[way], streams);
            tap_ok(got.bytes < want.bytes, "%s, type %d: arena %lld of %lld bytes", names[way],
                   streams, (long long)got.bytes, (long long)want.bytes);
        }
        want = got;
        step(&got, way, RVX_I16, RVX_POLICY_REVERSIBLE, false);
        tap_ok(same(&got, &want), "%s: inverted, the same bits as stored", names[way]);
        tap_ok(got.inverted > 0, "%s: %d steps invert, arena %lld of %lld bytes", names[way],
               got.inverted, (long long)got.bytes, (long long)want.bytes);
    }
    return tap_done();
}
