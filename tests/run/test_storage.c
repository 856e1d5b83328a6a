/* Which values a graph stores as bf16, what the planner makes of it, and what it refuses. */
#include "engine/run/session.h"
#include "engine/run/train.h"
#include "models/models.h"
#include "tap.h"

#include <math.h>
#include <string.h>

static rvx_error error;

/* Activations are bf16; what is read by people or summed up is not. */
static void check_types(const rvx_model *model)
{
    rvx_model_config config = model->defaults;
    rvx_value logits[RVX_STAGES_MAX];
    rvx_graph *graph = rvx__graph_create();
    rvx__graph_set_storage(graph, RVX_BF16);
    rvx_value image =
        rvx__input(graph, "image", (rvx_shape){1, 64, 64, 64, config.in_channels}, RVX_F32);
    int count = model->build(graph, image, &config, logits);
    rvx_supervision s = rvx__supervise(graph, logits, count, (rvx_loss){.weight = 1, .smooth = 1});
    TAP_OK(rvx__graph_status(graph, &error) == RVX_OK);
    int wrong = 0, stored = 0;
    for (int32_t v = 0; v < graph->value_count; v++) {
        const rvx_value_info *info = &graph->values[v];
        bool activation = info->kind == RVX_VALUE_RESULT && info->shape.d > 1 && info->output == 0;
        if (info->kind == RVX_VALUE_RESULT && graph->nodes[info->node].op == &rvx__op_split)
            activation = true;
        for (int i = 0; i < count; i++)
            activation = activation && v != logits[i].index;
        rvx_dtype want = activation ? RVX_BF16 : RVX_F32;
        for (int i = 0; i < s.count; i++)
            if (v == s.labels[i].index)
                want = RVX_U8;
        wrong += info->dtype != want;
        stored += activation;
    }
    tap_ok(wrong == 0 && stored > 20, "%s: %d activations are bf16, nothing else is (%d wrong)",
           model->name, stored, wrong);
    rvx__graph_set_storage(graph, RVX_F32);
    TAP_OK(rvx__graph_status(graph, &error) == RVX_ERROR_ARGUMENT);
    rvx__graph_free(graph);
}

/* Every op but convolutions; in the end bf16 is concatenated with the f32 image. */
static rvx_value little(rvx_graph *graph, rvx_value image)
{
    static const int two[3] = {2, 2, 2};
    rvx_value half[2],
        pooled = rvx__max_pool(graph, rvx__norm_act(graph, image, 0, 1e-5f, 0.01f), two);
    rvx_value small = rvx__max_pool(graph, pooled, two);
    rvx__split(graph, half, rvx__upsample(graph, small, two), 3);
    rvx_value sum = rvx__add(graph, half[0], half[1]);
    return rvx__concat(graph, rvx__upsample(graph, sum, two), image);
}

/* Largest difference from f32 storage, in units of the largest value. */
static void check_run(rvx_isa isa)
{
    enum { COUNT = 8 * 8 * 8 * 9 };
    static float result[2][COUNT];
    int64_t bytes[2] = {0};
    for (int storage = 0; storage < 2; storage++) {
        rvx_graph *graph = rvx__graph_create();
        rvx_plan *plan = NULL;
        rvx_session *session = NULL;
        rvx__graph_set_storage(graph, storage ? RVX_BF16 : RVX_F32);
        rvx_value image = rvx__input(graph, "image", (rvx_shape){1, 8, 8, 8, 6}, RVX_F32);
        rvx_value y = little(graph, image);
        rvx_plan_options options = {.isa = isa, .threads = 2, .outputs = {y}, .output_count = 1};
        if (rvx__plan_create(&plan, graph, &options, &error) != RVX_OK ||
            rvx__session_create(&session, plan, &error) != RVX_OK) {
            tap_ok(0, "isa %d: %s", isa, error.message);
        } else {
            rvx__session_initialise(session, 1);
            rvx_tensor x = rvx__session_tensor(session, image);
            for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
                rvx__f32(&x)[i] = (float)(i * 7919 % 1009) / 1009 - 0.5f;
            rvx__session_forward(session, NULL, NULL, &error);
            rvx_tensor out = rvx__session_tensor(session, y);
            TAP_OK(out.dtype == (storage ? RVX_BF16 : RVX_F32));
            for (int64_t i = 0; i < COUNT; i++)
                result[storage][i] =
                    storage ? rvx__f32_of(((const uint16_t *)out.data)[i]) : rvx__f32(&out)[i];
            bytes[storage] = plan->arena_bytes;
        }
        rvx__session_free(session);
        rvx__plan_free(plan);
        rvx__graph_free(graph);
    }
    double largest = 0, off = 0;
    for (int i = 0; i < COUNT; i++) {
        largest = fmax(largest, fabs((double)result[0][i]));
        off = fmax(off, fabs((double)result[0][i] - (double)result[1][i]));
    }
    /* Half an ulp (at most 2^-8) for each of the six values stored between image and result. */
    tap_ok(off > 0 && off <= 6 * 0x1p-8 * largest, "isa %d: bf16 within %.4f of f32", isa,
           off / largest);
    tap_ok(bytes[1] < bytes[0], "isa %d: arena %lld instead of %lld bytes", isa,
           (long long)bytes[1], (long long)bytes[0]);
}

/* The loss takes f32 logits only: refused when planning, not when running. */
static void check_refused(void)
{
    rvx_graph *graph = rvx__graph_create();
    rvx_plan *plan = NULL;
    rvx__graph_set_storage(graph, RVX_BF16);
    rvx_value image = rvx__input(graph, "image", (rvx_shape){1, 8, 8, 8, 6}, RVX_F32);
    rvx_value logits = little(graph, image);
    rvx_supervision s = rvx__supervise(graph, &logits, 1, (rvx_loss){.weight = 1, .smooth = 1});
    rvx_plan_options options = {.threads = 1, .losses = {s.losses[0]}, .loss_count = 1};
    TAP_OK(rvx__plan_create(&plan, graph, &options, &error) == RVX_ERROR_UNSUPPORTED && !plan);
    TAP_OK(strstr(error.message, "segmentation_loss") && strstr(error.message, "bf16"));
    rvx__graph_free(graph);
    graph = rvx__graph_create();
    rvx__graph_set_storage(graph, RVX_U8);
    TAP_OK(rvx__graph_status(graph, &error) == RVX_ERROR_ARGUMENT);
    rvx__graph_free(graph);
}

int main(void)
{
    check_types(rvx__model_find("unet3d"));
    check_types(rvx__model_find("revunet3d"));
    for (int isa = 0; isa <= (int)rvx__isa_detect(); isa++)
        check_run((rvx_isa)isa);
    check_refused();
    return tap_done();
}
