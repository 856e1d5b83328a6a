/* Heads fused with their loss: no logits in a training step's plan, which therefore does not grow
 * with the classes; logits stay where somebody asks for them; labels without logits are the largest
 * of those logits. That losses and gradients stay what they were: test_random_graphs.c, and
 * tests/models/test_trajectory.c. */
#include "engine/run/session.h"
#include "kernels/random.h"
#include "models/models.h"
#include "tap.h"

#include <string.h>

typedef struct step {
    rvx_graph *graph;
    rvx_value logits[RVX_STAGES_MAX];
    rvx_supervision supervision;
    int count;
} step;

static step step_make(const rvx_model *model, int classes, int64_t edge, bool deep)
{
    step s = {.graph = rvx__graph_create()};
    rvx_model_config config = model->defaults;
    config.stage_count = 4;
    config.classes = classes;
    config.deep_supervision = deep;
    rvx_value image = rvx__input(s.graph, "image", (rvx_shape){1, edge, edge, edge, 1}, RVX_F32);
    s.count = model->build(s.graph, image, &config, s.logits);
    s.supervision = rvx__supervise(s.graph, s.logits, s.count,
                                   (rvx_loss){.ignore_label = -1, .weight = 1, .smooth = 1e-5f});
    return s;
}

/* NULL after a failed test. extra: one more output. */
static rvx_plan *plan_make(const step *s, rvx_value extra)
{
    rvx_plan_options options = {.isa = rvx__isa_detect(),
                                .threads = 2,
                                .loss_count = s->supervision.count,
                                .output_count = s->supervision.count,
                                .optimizer_slots = 1};
    memcpy(options.losses, s->supervision.losses, sizeof s->supervision.losses);
    memcpy(options.outputs, s->supervision.losses, sizeof s->supervision.losses);
    if (extra.index >= 0)
        options.outputs[options.output_count++] = extra;
    rvx_plan *plan = NULL;
    rvx_error error = {0};
    if (rvx__plan_create(&plan, s->graph, &options, &error) != RVX_OK)
        tap_ok(0, "plan: %s", error.message);
    return plan;
}

static int count_instances(const rvx_plan *plan, rvx_value value)
{
    int count = 0;
    for (int32_t i = 0; i < plan->instance_count; i++)
        count += plan->instances[i].value == value.index;
    return count;
}

static int count_steps(const rvx_plan *plan, const rvx_op *op)
{
    int count = 0;
    for (int32_t i = 0; i < plan->step_count; i++)
        count += plan->steps[i].op == op;
    return count;
}

static void check_no_logits(void)
{
    step s = step_make(&rvx__model_unet3d, 5, 32, true);
    rvx_plan *plan = plan_make(&s, RVX_NO_VALUE);
    int heads = s.supervision.count, instances = 0;
    for (int i = 0; i < heads; i++)
        instances += count_instances(plan, s.logits[i]);
    tap_ok(heads > 1 && instances == 0 && count_steps(plan, &rvx__op_head_loss) == 2 * heads &&
               count_steps(plan, &rvx__op_segmentation_loss) == 0,
           "%d heads of a step, none with logits", heads);
    rvx__plan_free(plan);
    plan = plan_make(&s, s.logits[0]);
    tap_ok(count_instances(plan, s.logits[0]) == 2 &&
               count_steps(plan, &rvx__op_head_loss) == 2 * (heads - 1) &&
               count_steps(plan, &rvx__op_segmentation_loss) == 2,
           "logits that are asked for, and their gradient, exist");
    rvx__plan_free(plan);
    rvx__graph_free(s.graph);
}

/* Two losses of the same logits: the logits stay. */
static void check_two_readers(void)
{
    step s = step_make(&rvx__model_revunet3d, 3, 16, false);
    rvx_loss loss = {.ignore_label = -1, .weight = 1, .smooth = 1};
    s.supervision.losses[s.supervision.count++] =
        rvx__segmentation_loss(s.graph, s.logits[0], s.supervision.labels[0], loss, NULL);
    rvx_plan *plan = plan_make(&s, RVX_NO_VALUE);
    tap_ok(count_steps(plan, &rvx__op_head_loss) == 0 &&
               count_steps(plan, &rvx__op_segmentation_loss) == 4,
           "logits that two losses read stay");
    rvx__plan_free(plan);
    rvx__graph_free(s.graph);
}

static void check_peak(const rvx_model *model, bool deep)
{
    int64_t bytes[2];
    for (int i = 0; i < 2; i++) {
        step s = step_make(model, i ? 105 : 2, 96, deep);
        rvx_plan *plan = plan_make(&s, RVX_NO_VALUE);
        bytes[i] = plan ? plan->arena_bytes : 0;
        rvx__plan_free(plan);
        rvx__graph_free(s.graph);
    }
    double growth = (double)bytes[1] / (double)bytes[0] - 1;
    tap_ok(growth <= 0.01, "%s%s: %.1f MiB for 2 classes, %.2f %% more for 105", model->name,
           deep ? ", deep supervision" : "", (double)bytes[0] / 0x1p20, 100 * growth);
}

static rvx_session *forward(rvx_plan **plan, const rvx_graph *graph, rvx_value output)
{
    rvx_plan_options options = {
        .isa = rvx__isa_detect(), .threads = 2, .outputs = {output}, .output_count = 1};
    rvx_session *session = NULL;
    rvx_error error = {0};
    if (rvx__plan_create(plan, graph, &options, &error) != RVX_OK ||
        rvx__session_create(&session, *plan, &error) != RVX_OK) {
        tap_ok(0, "forward: %s", error.message);
        exit(tap_done());
    }
    rvx__session_initialise(session, 7);
    rvx_tensor x = rvx__session_tensor(session, rvx__graph_find(graph, "image"));
    rvx_random random = {.seed = 5};
    for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
        rvx__f32(&x)[i] = rvx__random_normal(&random);
    rvx__session_forward(session, NULL, NULL, &error);
    return session;
}

static void check_labels(void)
{
    step s = step_make(&rvx__model_unet3d, 105, 32, false);
    rvx_value labels = rvx__labels(s.graph, s.logits[0]);
    rvx_plan *plans[2];
    rvx_session *sessions[2] = {forward(&plans[0], s.graph, s.logits[0]),
                                forward(&plans[1], s.graph, labels)};
    rvx_tensor z = rvx__session_tensor(sessions[0], s.logits[0]);
    rvx_tensor got = rvx__session_tensor(sessions[1], labels);
    int64_t wrong = 0, classes = z.shape.c, voxels = rvx__shape_voxels(z.shape), others = 0;
    const uint8_t *label = got.data;
    for (int64_t v = 0; v < voxels; v++) {
        const float *row = rvx__f32(&z) + v * z.pitch;
        float largest = row[0], size = fabsf(row[0]);
        for (int64_t k = 1; k < classes; k++) {
            largest = row[k] > largest ? row[k] : largest;
            size = fabsf(row[k]) > size ? fabsf(row[k]) : size;
        }
        /* The two sum 33 terms in different orders: 33 roundings of 2^-24 each. */
        wrong += !(row[label[v]] >= largest - 66 * 0x1p-24f * size);
        others += label[v] != label[0];
    }
    tap_ok(got.dtype == RVX_U8 && got.shape.c == 1 && got.pitch == 1 && wrong == 0 && others > 0,
           "labels are the largest of %lld logits", (long long)classes);
    tap_ok(count_instances(plans[1], s.logits[0]) == 0 &&
               count_instances(plans[0], s.logits[0]) == 1,
           "labels without logits");
    for (int i = 0; i < 2; i++) {
        rvx__session_free(sessions[i]);
        rvx__plan_free(plans[i]);
    }
    rvx_error error = {0};
    rvx__labels(s.graph, rvx__graph_find(s.graph, "image"));
    tap_ok(rvx__graph_status(s.graph, &error) == RVX_ERROR_ARGUMENT &&
               strstr(error.message, "pointwise convolution"),
           "labels of anything else are refused: %s", error.message);
    rvx__graph_free(s.graph);
}

int main(void)
{
    check_no_logits();
    check_two_readers();
    check_peak(&rvx__model_unet3d, false);
    check_peak(&rvx__model_unet3d, true);
    check_peak(&rvx__model_revunet3d, false);
    check_labels();
    return tap_done();
}
