/* The policy auto: the fastest plan that fits the budget. Without a budget that is the one that
 * keeps everything. Else the two others are mixed with it, value by value: of what they would
 * rebuild, as much as fits is kept after all, what costs the most time per byte first; the count is
 * found by bisection. The faster of the two mixtures, by the cost model, is taken. */
#include "engine/plan/plan.h"

static rvx_status plan_with(rvx_plan **plan, const rvx_graph *graph, rvx_plan_options options,
                            rvx_policy policy, int32_t kept_count, rvx_error *error)
{
    options.policy = policy;
    options.kept_count = kept_count;
    options.budget_bytes = 0; /* judged here */
    return rvx__plan_create(plan, graph, &options, error);
}

/* The fastest mixture with one policy, or the smallest plan of that policy where none fits. */
static rvx_status mixture(rvx_plan **best, const rvx_graph *graph, const rvx_plan_options *options,
                          rvx_policy policy, rvx_error *error)
{
    rvx_status status = plan_with(best, graph, *options, policy, 0, error);
    if (status != RVX_OK || (*best)->arena_bytes > options->budget_bytes)
        return status;
    int32_t fits = 0, too_many = (*best)->dropped_count;
    while (too_many - fits > 1) {
        int32_t middle = fits + (too_many - fits) / 2;
        rvx_plan *tried;
        status = plan_with(&tried, graph, *options, policy, middle, error);
        if (status != RVX_OK)
            return status;
        if (tried->arena_bytes > options->budget_bytes) {
            too_many = middle;
            rvx__plan_free(tried);
        } else {
            fits = middle;
            rvx__plan_free(*best);
            *best = tried;
        }
    }
    return RVX_OK;
}

/* The one that fits; of two that do, the faster; of two that do not, the smaller. */
static rvx_plan *better(rvx_plan *a, rvx_plan *b, int64_t budget_bytes)
{
    bool a_fits = a->arena_bytes <= budget_bytes, b_fits = b->arena_bytes <= budget_bytes;
    bool take_b = a_fits != b_fits ? b_fits
                  : a_fits         ? rvx__plan_seconds(b) < rvx__plan_seconds(a)
                                   : b->arena_bytes < a->arena_bytes;
    rvx__plan_free(take_b ? a : b);
    return take_b ? b : a;
}

rvx_status rvx__plan_auto(rvx_plan **plan, const rvx_graph *graph, const rvx_plan_options *options,
                          rvx_error *error)
{
    static const rvx_policy others[] = {RVX_POLICY_REVERSIBLE, RVX_POLICY_CHECKPOINT};
    rvx_status status = plan_with(plan, graph, *options, RVX_POLICY_STORE, 0, error);
    if (status != RVX_OK || options->loss_count == 0 || options->budget_bytes == 0 ||
        (*plan)->arena_bytes <= options->budget_bytes)
        return status;
    for (int i = 0; i < 2; i++) {
        rvx_plan *other = NULL;
        status = mixture(&other, graph, options, others[i], error);
        if (status != RVX_OK) {
            rvx__plan_free(other);
            rvx__plan_free(*plan);
            *plan = NULL;
            return status;
        }
        *plan = better(*plan, other, options->budget_bytes);
    }
    return RVX_OK;
}
