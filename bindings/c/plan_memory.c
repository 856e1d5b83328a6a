/* rvx_plan_memory: what one training step takes under each policy. Owns: the table and the search
 * for the largest size that fits. Every figure is read from the very plan that would run; plans
 * hold no tensors, so a machine without the memory can ask. */
#include "bindings/c/memory_table.h"

#include <stdlib.h>
#include <string.h>

enum { EDGE_LARGEST = 1 << 16 };

/* ---- One policy -------------------------------------------------------------------------------
 */

static rvx_status row_make(rvx_memory_row *row, const rvx_subject *subject, rvx_policy policy,
                           const int64_t size[3], int64_t budget_bytes, rvx_error *error)
{
    rvx_train_plan step;
    rvx_status status = rvx__subject_plan(&step, subject, policy, size, budget_bytes, error);
    if (status != RVX_OK)
        return status;
    const rvx_plan *plan = step.plan;
    *row = (rvx_memory_row){.policy = policy,
                            .taken = plan->options.policy,
                            .kept = plan->options.kept_count,
                            .dropped = plan->dropped_count,
                            .peak_bytes = plan->arena_bytes,
                            .parameters_bytes =
                                (2 + plan->options.optimizer_slots) * plan->parameter_bytes,
                            .flops = rvx__plan_cost(plan, false).flops,
                            .recompute_flops = rvx__plan_cost(plan, true).flops,
                            .seconds = rvx__plan_seconds(plan),
                            .exact = plan->exact};
    status = rvx__plan_live(&row->live, &row->live_count, plan, error);
    rvx__train_plan_free(&step);
    return status;
}

/* ---- The largest size in a budget -------------------------------------------------------------
 */

/* The k-th size of a family: k times the divisor along the longest axis, the others in proportion,
 * rounded to what the network divides. Proportions of 0 stand for a cube. */
static void size_at(int64_t out[3], const int64_t proportion[3], const int64_t divisor[3],
                    int64_t unit, int64_t k)
{
    int longest = 0;
    for (int axis = 1; axis < 3; axis++)
        if (proportion[axis] > proportion[longest])
            longest = axis;
    for (int axis = 0; axis < 3; axis++) {
        double exact = (double)(unit * k);
        if (proportion[longest])
            exact *= (double)proportion[axis] / (double)proportion[longest];
        int64_t pieces = (int64_t)(exact / (double)divisor[axis] + 0.5);
        out[axis] = (pieces > 1 ? pieces : 1) * divisor[axis];
    }
}

typedef struct search {
    const rvx_subject *subject;
    rvx_policy policy;
    int64_t budget_bytes, proportion[3], divisor[3], unit;
} search;

/* Does the k-th size fit? Sizes that the network refuses are too small to count: they fit. */
static rvx_status search_fits(bool *fits, const search *s, int64_t k, rvx_error *error)
{
    int64_t size[3];
    rvx_train_plan step;
    size_at(size, s->proportion, s->divisor, s->unit, k);
    *fits = true;
    if (rvx__facade_size_check(size, &s->subject->job.config, NULL) != RVX_OK)
        return RVX_OK;
    rvx_status status = rvx__subject_plan(&step, s->subject, s->policy, size, 0, error);
    if (status == RVX_OK) {
        *fits = step.plan->arena_bytes <= s->budget_bytes;
        rvx__train_plan_free(&step);
    }
    return status;
}

/* Doubles, then bisects; 0 x 0 x 0 where not even the least size fits. */
static rvx_status search_largest(int64_t out[3], const search *s, rvx_error *error)
{
    int64_t low = 0, high = 1;
    bool fits;
    rvx_status status;
    memset(out, 0, 3 * sizeof *out);
    for (;; low = high, high *= 2) {
        RVX_TRY(search_fits(&fits, s, high, error));
        if (!fits || high * s->unit >= EDGE_LARGEST)
            break;
    }
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        RVX_TRY(search_fits(&fits, s, middle, error));
        if (fits)
            low = middle;
        else
            high = middle;
    }
    if (low > 0)
        size_at(out, s->proportion, s->divisor, s->unit, low);
    if (low > 0 && rvx__facade_size_check(out, &s->subject->job.config, NULL) != RVX_OK)
        memset(out, 0, 3 * sizeof *out);
cleanup:
    return status;
}

static int64_t voxels(const int64_t size[3]) { return size[0] * size[1] * size[2]; }

/* What remains for the step: 0 without a budget, 1 where nothing does. */
static int64_t step_budget(const rvx_memory_table *table)
{
    int64_t rest = table->budget_bytes - table->held_bytes;
    return table->budget_bytes == 0 ? 0 : rest > 1 ? rest : 1;
}

/* Per policy, into table->largest; that of auto, which falls back on any of the others, is the
 * largest of these. */
static rvx_status find_largest(rvx_memory_table *table, const rvx_subject *subject,
                               rvx_error *error)
{
    search s = {.subject = subject, .budget_bytes = step_budget(table)};
    rvx__subject_divisors(s.divisor, subject);
    memcpy(s.proportion, subject->size, sizeof s.proportion);
    for (int axis = 0; axis < 3; axis++) /* a cube needs an edge that every axis divides */
        s.unit = s.divisor[axis] > s.unit ? s.divisor[axis] : s.unit;
    for (int axis = 0; axis < 3 && !s.proportion[0]; axis++)
        while (s.unit % s.divisor[axis])
            s.unit *= 2;
    int64_t *best = table->largest[RVX_POLICY_AUTO];
    for (int p = 0; p < RVX_POLICY_AUTO; p++) {
        s.policy = (rvx_policy)p;
        rvx_status status = search_largest(table->largest[p], &s, error);
        if (status != RVX_OK)
            return status;
        if (voxels(table->largest[p]) > voxels(best))
            memcpy(best, table->largest[p], sizeof table->largest[p]);
    }
    return RVX_OK;
}

/* ---- The table --------------------------------------------------------------------------------
 */

static rvx_status choose_size(rvx_memory_table *table, const rvx_subject *subject, rvx_error *error)
{
    rvx_status status = RVX_OK;
    if (table->budget_bytes)
        RVX_TRY(find_largest(table, subject, error));
    if (subject->size[0]) {
        memcpy(table->size, subject->size, sizeof table->size);
        return RVX_OK;
    }
    if (!table->budget_bytes)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         subject->by_name
                             ? "size or budget_bytes is needed: a network by name has no size"
                             : "the plan trains on whole volumes: size or dataset is needed");
    memcpy(table->size, table->largest[RVX_POLICY_AUTO], sizeof table->size);
    if (!table->size[0])
        return rvx__fail(error, RVX_ERROR_MEMORY,
                         "not even the smallest input of %s fits %.1f MiB under any policy: "
                         "narrower widths or a larger budget would fit",
                         subject->job.model->name, (double)table->budget_bytes / 0x1p20);
cleanup:
    return status;
}

static rvx_status fill(rvx_memory_table *table, const rvx_subject *subject, rvx_error *error)
{
    rvx_status status;
    int64_t budget = step_budget(table);
    RVX_TRY(choose_size(table, subject, error));
    for (int p = 0; p < (budget ? RVX_POLICY_COUNT : RVX_POLICY_AUTO); p++) {
        rvx_memory_row *row = &table->rows[table->row_count++];
        RVX_TRY(row_make(row, subject, (rvx_policy)p, table->size,
                         p == RVX_POLICY_AUTO ? budget : 0, error));
        row->fits = !budget || row->peak_bytes <= budget;
    }
cleanup:
    return status;
}

rvx_status rvx_plan_memory(char **text, const rvx_memory_options *given, rvx_error *error)
{
    rvx_memory_options options;
    rvx_memory_table *table = NULL;
    rvx_subject *subject = NULL;
    rvx_text out = {0};
    rvx_status status;
    if (!text)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "text is NULL");
    *text = NULL;
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_memory_options", error));
    if (!options.network == !options.plan)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT, "one of network and plan is needed"));
    table = calloc(1, sizeof *table);
    subject = calloc(1, sizeof *subject);
    if (!table || !subject)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a table"));
    rvx_subject_options wanted = {.network = options.network,
                                  .plan = options.plan,
                                  .in_channels = options.in_channels,
                                  .classes = options.classes,
                                  .depth = options.depth,
                                  .batch = options.batch,
                                  .widths = options.widths,
                                  .width_count = options.width_count,
                                  .memory = {.storage = options.storage,
                                             .streams = options.streams,
                                             .grid_log2 = options.grid_log2,
                                             .budget_bytes = options.budget_bytes},
                                  .threads = options.threads,
                                  .device = options.device};
    memcpy(wanted.size, options.size, sizeof wanted.size);
    RVX_TRY(rvx__subject_open(subject, &wanted, error));
    RVX_TRY(rvx__facade_workspace(&subject->job.workspace_bytes, options.implementation, error));
    if (options.dataset)
        RVX_TRY(rvx__memory_held(&table->held_bytes, subject, options.dataset, error));
    table->budget_bytes = subject->recipe.memory.budget_bytes;
    RVX_TRY(fill(table, subject, error));
    rvx__memory_print(&out, table, subject, options.json != 0);
cleanup:
    for (int i = 0; table && i < table->row_count; i++)
        free(table->rows[i].live);
    free(table);
    if (subject)
        rvx__subject_close(subject);
    free(subject);
    return rvx__facade_text(text, &out, status, error);
}
