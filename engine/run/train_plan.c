/* Planning a training step: see train_plan.h. */
#include "engine/run/train_plan.h"
#include "engine/base/machine.h"
#include "engine/run/loader.h"
#include "engine/run/optimizer.h"

#include <stdio.h>
#include <string.h>

void rvx__train_plan_free(rvx_train_plan *plan)
{
    rvx__plan_free(plan->plan);
    rvx__graph_free(plan->graph);
    *plan = (rvx_train_plan){0};
}

rvx_inference_options rvx__train_inference(const rvx_train_job *job, const int64_t patch[3])
{
    const rvx_recipe *recipe = job->recipe;
    return (rvx_inference_options){.patch = {patch[0], patch[1], patch[2]},
                                   .tile_step = recipe->inference.tile_step,
                                   .gaussian = recipe->inference.gaussian,
                                   .threads = job->threads,
                                   .isa = job->isa,
                                   .device = job->device,
                                   .workspace_bytes = job->workspace_bytes,
                                   .tf32 = job->tf32,
                                   .storage = (rvx_dtype)recipe->memory.storage,
                                   .streams = rvx__recipe_streams(recipe),
                                   .grid_log2 = (int)recipe->memory.grid_log2};
}

rvx_policy rvx__train_plan_policy(const rvx_recipe *recipe)
{
    static const rvx_policy policies[] = {RVX_POLICY_AUTO, RVX_POLICY_STORE, RVX_POLICY_CHECKPOINT,
                                          RVX_POLICY_REVERSIBLE};
    return policies[recipe->memory.policy];
}

/* Of the policies that keep little, the plan that takes least. */
static rvx_status smallest(rvx_plan **plan, const rvx_graph *graph, rvx_plan_options options,
                           rvx_error *error)
{
    rvx_plan *other = NULL;
    options.budget_bytes = 0;
    options.policy = RVX_POLICY_REVERSIBLE;
    rvx_status status = rvx__plan_create(plan, graph, &options, error);
    options.policy = RVX_POLICY_CHECKPOINT;
    if (status == RVX_OK)
        status = rvx__plan_create(&other, graph, &options, error);
    bool take = status == RVX_OK && other->arena_bytes < (*plan)->arena_bytes;
    rvx__plan_free(take ? *plan : other);
    if (take)
        *plan = other;
    return status;
}

rvx_status rvx__train_plan_step(rvx_train_plan *out, const rvx_train_job *job, rvx_policy policy,
                                int64_t batch, const int64_t patch[3], int64_t budget_bytes,
                                rvx_error *error)
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
    rvx__optimizer_make(&optimizer, recipe);
    rvx_plan_options options = {.policy = policy,
                                .isa = job->isa,
                                .threads = job->threads,
                                .workspace_bytes = job->workspace_bytes,
                                .tf32 = job->tf32,
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
        status = smallest(&out->plan, out->graph, options, error);
    }
    if (status != RVX_OK)
        rvx__train_plan_free(out);
    return status;
}

/* ---- what would fit ----------------------------------------------------------------------------
 */

static double mebibytes(int64_t bytes) { return (double)bytes / 0x1p20; }

/* What a run may take: what the plan says, and never more than a GPU has that is there; without
 * either what the machine has. 0: not known here, as the step is done elsewhere. */
static int64_t run_budget(const rvx_train_job *job)
{
    int64_t budget = job->recipe->memory.budget_bytes;
    int64_t room = job->device ? rvx__device_room(job->device) : 0;
    if (room > 0 && (budget == 0 || room < budget))
        return room;
    return budget || job->isa == RVX_ISA_CUDA ? budget : rvx__machine_memory();
}

/* What remains for the step; 0 where there is no budget. */
static int64_t step_budget(const rvx_train_job *job, int64_t held_bytes)
{
    int64_t budget = run_budget(job);
    return budget == 0 ? 0 : budget > held_bytes ? budget - held_bytes : 1;
}

/* With the samples that the loader draws ahead, which are no load on a GPU. */
static int64_t beside_step(const rvx_train_job *job, const int64_t patch[3], int64_t held_bytes)
{
    if (job->isa == RVX_ISA_CUDA)
        return held_bytes;
    return held_bytes +
           rvx__loader_bytes_ahead(job->recipe, patch, (rvx_dtype)job->recipe->memory.storage);
}

/* A change to the plan that is tried. */
typedef struct trial {
    rvx_policy policy;
    int64_t batch, patch[3];
    int64_t needed_bytes; /* by the whole run */
    rvx_policy taken;     /* what auto chose */
} trial;

static bool fits(trial *t, const rvx_train_job *job, int64_t held_bytes)
{
    rvx_train_plan plan;
    int64_t beside = beside_step(job, t->patch, held_bytes);
    if (rvx__train_plan_step(&plan, job, t->policy, t->batch, t->patch, step_budget(job, beside),
                             NULL) != RVX_OK)
        return false;
    t->needed_bytes = plan.plan->arena_bytes + beside;
    t->taken = plan.plan->options.policy;
    rvx__train_plan_free(&plan);
    return t->needed_bytes <= run_budget(job);
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

/* One sentence: the least change to the plan that fits. Another policy first: the result stays the
 * same. */
static void advise(char *text, size_t text_bytes, const rvx_train_job *job, const int64_t patch[3],
                   int64_t held_bytes)
{
    const rvx_recipe *recipe = job->recipe;
    trial t = {.policy = RVX_POLICY_AUTO,
               .batch = recipe->patch.batch,
               .patch = {patch[0], patch[1], patch[2]}};
    if (rvx__train_plan_policy(recipe) != RVX_POLICY_AUTO && fits(&t, job, held_bytes)) {
        snprintf(text, text_bytes, "memory.policy \"%s\" (--memory %s) would fit: %.1f MiB",
                 rvx__policy_names[t.taken], rvx__policy_names[t.taken], mebibytes(t.needed_bytes));
        return;
    }
    t.batch = 1;
    if (recipe->patch.batch > 1 && fits(&t, job, held_bytes)) {
        snprintf(text, text_bytes, "patch.batch 1 with memory.policy \"%s\" would fit: %.1f MiB",
                 rvx__policy_names[t.taken], mebibytes(t.needed_bytes));
        return;
    }
    for (int eighths = 7; eighths > 0; eighths--)
        for (t.batch = recipe->patch.batch; t.batch > 0; t.batch = t.batch > 1 ? 1 : 0) {
            if (!shrink(t.patch, recipe, patch, eighths) || !fits(&t, job, held_bytes))
                continue;
            snprintf(text, text_bytes,
                     "patch.size [%lld, %lld, %lld] with patch.batch %lld and memory.policy "
                     "\"%s\" would fit: %.1f MiB",
                     (long long)t.patch[2], (long long)t.patch[1], (long long)t.patch[0],
                     (long long)t.batch, rvx__policy_names[t.taken], mebibytes(t.needed_bytes));
            return;
        }
    snprintf(text, text_bytes,
             "no smaller patch would fit, as the cases and the parameters alone take too much: "
             "narrower network.widths or a larger budget would fit");
}

bool rvx__train_plan_fits(const rvx_train_plan *plan, const rvx_train_job *job,
                          const int64_t patch[3], int64_t held_bytes)
{
    int64_t budget = run_budget(job);
    return budget == 0 || plan->plan->arena_bytes + beside_step(job, patch, held_bytes) <= budget;
}

rvx_status rvx__train_plan_create(rvx_train_plan *out, const rvx_train_job *job,
                                  const int64_t patch[3], int64_t held_bytes, rvx_error *error)
{
    char tensors[512], advice[256], limit[64] = "memory.budget_bytes is";
    *out = (rvx_train_plan){0};
    int64_t budget = run_budget(job), beside = beside_step(job, patch, held_bytes);
    rvx_status status =
        rvx__train_plan_step(out, job, rvx__train_plan_policy(job->recipe),
                             job->recipe->patch.batch, patch, step_budget(job, beside), error);
    if (status != RVX_OK || rvx__train_plan_fits(out, job, patch, held_bytes))
        return status;
    rvx__plan_describe_peak(out->plan, tensors, sizeof tensors, 4);
    advise(advice, sizeof advice, job, patch, held_bytes);
    if (job->device && budget != job->recipe->memory.budget_bytes)
        snprintf(limit, sizeof limit, "%s has room for", job->device->name);
    else if (!job->recipe->memory.budget_bytes)
        snprintf(limit, sizeof limit, "this machine has");
    status =
        rvx__fail(error, RVX_ERROR_MEMORY,
                  "training needs %.1f MiB (%.1f for a step, %.1f for %svalidation), "
                  "%s %.1f MiB; %s; largest in a step:\n%s",
                  mebibytes(out->plan->arena_bytes + beside), mebibytes(out->plan->arena_bytes),
                  mebibytes(beside), job->device ? "" : "cases, samples and ", limit,
                  mebibytes(budget), advice, tensors);
    rvx__train_plan_free(out);
    return status;
}
