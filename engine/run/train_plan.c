/* Planning a training step: see train_plan.h. */
#include "engine/run/train_plan.h"
#include "engine/run/optimizer.h"

#include <stdio.h>
#include <string.h>

void rvx__train_plan_free(rvx_train_plan *plan)
{
    rvx__plan_free(plan->plan);
    rvx__graph_free(plan->graph);
    *plan = (rvx_train_plan){0};
}

/* Policies of the recipe in the planner's words. */
static rvx_policy policy_of(const rvx_recipe *recipe)
{
    static const rvx_policy policies[] = {RVX_POLICY_AUTO, RVX_POLICY_STORE, RVX_POLICY_CHECKPOINT,
                                          RVX_POLICY_REVERSIBLE};
    return policies[recipe->memory.policy];
}

/* `budget_bytes` for the step alone decides what the policy auto does. Where nothing fits it, the
 * smaller of the plans that keep little is made, for the caller to refuse. */
static rvx_status plan_step(rvx_train_plan *out, const rvx_train_job *job, int64_t batch,
                            const int64_t patch[3], int64_t budget_bytes, rvx_error *error)
{
    const rvx_recipe *recipe = job->recipe;
    rvx_value logits[RVX_STAGES_MAX] = {RVX_NO_VALUE};
    rvx_optimizer optimizer;
    *out = (rvx_train_plan){.graph = rvx__graph_create()};
    if (!out->graph)
        return rvx__fail(error, RVX_ERROR_MEMORY, "training: out of memory");
    rvx__graph_set_storage(out->graph, (rvx_dtype)recipe->memory.storage);
    rvx__graph_set_streams(out->graph, rvx__recipe_streams(recipe), (int)recipe->memory.grid_log2);
    rvx_shape shape = {batch, patch[0], patch[1], patch[2], recipe->network.in_channels};
    out->image = rvx__input(out->graph, "image", shape, (rvx_dtype)recipe->memory.storage);
    int count = job->model->build(out->graph, out->image, &job->config, logits);
    rvx_loss loss = {.ignore_label = (int)recipe->loss.ignore_label,
                     .include_background = recipe->loss.include_background,
                     .weight = 1,
                     .smooth = (float)recipe->loss.smooth};
    out->supervision = rvx__supervise(out->graph, logits, count, loss);
    rvx__train_optimizer(&optimizer, recipe);
    rvx_plan_options options = {.policy = policy_of(recipe),
                                .isa = job->isa,
                                .threads = job->threads,
                                .inexact = rvx__recipe_streams(recipe) != RVX_I16,
                                .loss_count = out->supervision.count,
                                .output_count = out->supervision.count,
                                .optimizer_slots = rvx__optimizer_slots(&optimizer)};
    memcpy(options.losses, out->supervision.losses, sizeof out->supervision.losses);
    memcpy(options.outputs, out->supervision.losses, sizeof out->supervision.losses);
    if (options.policy == RVX_POLICY_AUTO)
        options.budget_bytes = budget_bytes;
    rvx_status status = rvx__plan_create(&out->plan, out->graph, &options, error);
    if (status == RVX_ERROR_MEMORY && options.budget_bytes > 0) {
        options.policy = RVX_POLICY_REVERSIBLE;
        options.budget_bytes = 0;
        status = rvx__plan_create(&out->plan, out->graph, &options, error);
    }
    if (status != RVX_OK)
        rvx__train_plan_free(out);
    return status;
}

/* ---- what would fit ----------------------------------------------------------------------------
 */

static double mebibytes(int64_t bytes) { return (double)bytes / 0x1p20; }

/* What remains for the step; 0 where there is no budget. */
static int64_t step_budget(const rvx_train_job *job, int64_t held_bytes)
{
    int64_t budget = job->recipe->memory.budget_bytes;
    return budget == 0 ? 0 : budget > held_bytes ? budget - held_bytes : 1;
}

/* What remains for the step, negative where what is held is too much already. */
static bool fits(int64_t *needed_bytes, const rvx_train_job *job, int64_t batch,
                 const int64_t patch[3], int64_t held_bytes)
{
    rvx_train_plan plan;
    int64_t budget = step_budget(job, held_bytes);
    if (plan_step(&plan, job, batch, patch, budget, NULL) != RVX_OK)
        return false;
    *needed_bytes = plan.plan->arena_bytes + held_bytes;
    rvx__train_plan_free(&plan);
    return *needed_bytes <= job->recipe->memory.budget_bytes;
}

/* Axis edges times eighths / 8, rounded down to what the network divides. False where the last
 * stage would be left with one voxel, or nothing changes. */
static bool shrink(int64_t out[3], const rvx_recipe *recipe, const int64_t patch[3], int eighths)
{
    int64_t coarsest = 1, changed = 0;
    for (int a = 0; a < 3; a++) {
        int64_t factor = 1;
        for (int64_t s = 0; s < recipe->network.stages; s++)
            factor *= recipe->network.strides[s][2 - a];
        out[a] = patch[a] * eighths / 8 / factor * factor;
        out[a] = out[a] < factor ? factor : out[a];
        coarsest *= out[a] / factor;
        changed += patch[a] - out[a];
    }
    return coarsest > 1 && changed > 0;
}

/* One sentence: the least change to the plan that fits. */
static void advise(char *text, size_t text_bytes, const rvx_train_job *job, const int64_t patch[3],
                   int64_t held_bytes)
{
    const rvx_recipe *recipe = job->recipe;
    int64_t needed, smaller[3];
    if (recipe->patch.batch > 1 && fits(&needed, job, 1, patch, held_bytes)) {
        snprintf(text, text_bytes, "patch.batch 1 would fit: %.1f MiB", mebibytes(needed));
        return;
    }
    for (int eighths = 7; eighths > 0; eighths--)
        for (int64_t batch = recipe->patch.batch; batch > 0; batch = batch > 1 ? 1 : 0) {
            if (!shrink(smaller, recipe, patch, eighths) ||
                !fits(&needed, job, batch, smaller, held_bytes))
                continue;
            snprintf(text, text_bytes,
                     "patch.size [%lld, %lld, %lld] with patch.batch %lld would fit: %.1f MiB",
                     (long long)smaller[2], (long long)smaller[1], (long long)smaller[0],
                     (long long)batch, mebibytes(needed));
            return;
        }
    snprintf(text, text_bytes,
             "no smaller patch would fit, as the cases and the parameters alone take too much: "
             "narrower network.widths or a larger budget would fit");
}

rvx_status rvx__train_plan_create(rvx_train_plan *out, const rvx_train_job *job,
                                  const int64_t patch[3], int64_t held_bytes, rvx_error *error)
{
    char tensors[512], advice[256];
    *out = (rvx_train_plan){0};
    int64_t budget = job->recipe->memory.budget_bytes;
    rvx_status status =
        plan_step(out, job, job->recipe->patch.batch, patch, step_budget(job, held_bytes), error);
    if (status != RVX_OK || budget == 0 || out->plan->arena_bytes + held_bytes <= budget)
        return status;
    rvx__plan_describe_peak(out->plan, tensors, sizeof tensors, 4);
    advise(advice, sizeof advice, job, patch, held_bytes);
    status =
        rvx__fail(error, RVX_ERROR_MEMORY,
                  "training needs %.1f MiB (%.1f for a step, %.1f for cases and validation), "
                  "memory.budget_bytes is %.1f MiB; %s; largest in a step:\n%s",
                  mebibytes(out->plan->arena_bytes + held_bytes), mebibytes(out->plan->arena_bytes),
                  mebibytes(held_bytes), mebibytes(budget), advice, tensors);
    rvx__train_plan_free(out);
    return status;
}
