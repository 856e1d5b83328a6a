/* Which values are kept for backward, and how the others come back. Owns: plan->recovery.
 *
 * Invariant: the values that are not kept, each pointing at what it is rebuilt from, form no cycle,
 * so that whatever backward asks for can be rebuilt, in any order. Tables of normalisations are
 * always kept: a rebuilt value is then made from the same statistics. */
#include "engine/plan/plan.h"

#include <stdlib.h>
#include <string.h>

const char *const rvx__policy_names[RVX_POLICY_COUNT + 1] = {"store", "checkpoint", "reversible",
                                                             "auto", NULL};

typedef struct deciding {
    rvx_plan *plan;
    rvx_graph *graph;
    uint8_t *visited; /* per value, for the search of cycles */
    uint8_t *crosses; /* per value: read in another stage than it was made in */
} deciding;

/* Results that are worth rebuilding: activations, not statistics or tables. */
static bool may_drop(const deciding *d, int32_t value)
{
    const rvx_value_info *info = value < 0 ? NULL : &d->graph->values[value];
    if (!info || info->kind != RVX_VALUE_RESULT || rvx__plan_is_asked_for(d->plan, value) ||
        d->plan->recovery[value].method != RVX_RECOVER_KEEP)
        return false;
    const rvx_op *op = d->graph->nodes[info->node].op;
    bool table = info->shape.d == 1 && info->shape.h == 1 && info->shape.w == 3 &&
                 (op->flags & RVX_OP_VIEW) && info->dtype == RVX_F32;
    return !table && ((op->flags & RVX_OP_VIEW) || op->stored_outputs >> info->output & 1) &&
           d->plan->needed[info->node] && !d->plan->logical[info->node];
}

/* Slices and gathered parts need nothing else to be rebuilt. */
static bool needs_outputs_only(const rvx_op *op)
{
    return (op->flags & (RVX_OP_VIEW | RVX_OP_PARTS)) != 0;
}

static bool reaches(deciding *d, int32_t from, int32_t target);

static bool reaches_inputs(deciding *d, int32_t n, int except, int32_t target)
{
    const rvx_node *node = &d->graph->nodes[n];
    if (except != 0 && reaches(d, d->plan->load[n], target))
        return true;
    if (except != 0 && reaches(d, d->plan->fold[n], target))
        return true;
    for (int i = 1; i < node->in_count; i++)
        if (i != except && reaches(d, node->in[i], target))
            return true;
    return false;
}

/* Is `target` among the values that rebuilding `from` would ask for? */
static bool reaches(deciding *d, int32_t from, int32_t target)
{
    if (from < 0 || d->visited[from])
        return false;
    if (from == target)
        return true;
    d->visited[from] = 1;
    const rvx_recovery *r = &d->plan->recovery[from];
    if (r->method == RVX_RECOVER_KEEP)
        return false;
    if (r->method == RVX_RECOVER_RERUN)
        return reaches_inputs(d, d->graph->values[from].node, -1, target);
    const rvx_node *node = &d->graph->nodes[r->node];
    for (int i = 0; i < node->op->out_count; i++)
        if (reaches(d, node->out[i], target))
            return true;
    return !needs_outputs_only(node->op) && reaches_inputs(d, r->node, r->input, target);
}

/* Drops the value unless that closes a cycle. */
static bool drop(deciding *d, int32_t value, rvx_recovery recovery)
{
    d->plan->recovery[value] = recovery;
    memset(d->visited, 0, (size_t)d->graph->value_count);
    bool cycle = false;
    if (recovery.method == RVX_RECOVER_RERUN) {
        cycle = reaches_inputs(d, d->graph->values[value].node, -1, value);
    } else {
        const rvx_node *node = &d->graph->nodes[recovery.node];
        for (int i = 0; i < node->op->out_count && !cycle; i++)
            cycle = reaches(d, node->out[i], value);
        if (!cycle && !needs_outputs_only(node->op))
            cycle = reaches_inputs(d, recovery.node, recovery.input, value);
    }
    if (cycle)
        d->plan->recovery[value] = (rvx_recovery){.method = RVX_RECOVER_KEEP};
    return !cycle;
}

/* ---- reversible ---------------------------------------------------------------------------------
 */

/* Values of a stream: what comes out of an op with an inverse, or enters one as the part that the
 * inverse gives back. The rest are values of branches. */
static bool is_stream(const deciding *d, int32_t value)
{
    const rvx_value_info *info = &d->graph->values[value];
    if (info->dtype == RVX_I16 || info->kind != RVX_VALUE_RESULT)
        return true;
    const rvx_node *node = &d->graph->nodes[info->node];
    if (node->op->flags & (RVX_OP_VIEW | RVX_OP_PERMUTES))
        return is_stream(d, node->in[0]);
    int residual = rvx__residual_index(node->op);
    if (residual >= 0)
        return node->in_count > residual && node->in[residual] >= 0;
    return node->op->inverse_inputs != 0;
}

static bool inverse_is_exact(const deciding *d, int32_t n, int index)
{
    const rvx_node *node = &d->graph->nodes[n];
    const rvx_value_info *in = &d->graph->values[node->in[index]],
                         *out = &d->graph->values[node->out[0]];
    if (node->op->flags & (RVX_OP_VIEW | RVX_OP_PERMUTES))
        return in->dtype == out->dtype && in->grid_log2 == out->grid_log2;
    return in->dtype == RVX_I16 && out->dtype == RVX_I16 && in->grid_log2 == out->grid_log2;
}

/* Branch values that an inverse asks for are computed again anyway: they need not be kept. */
static void drop_branch(deciding *d, int32_t value)
{
    if (value < 0 || !may_drop(d, value) || is_stream(d, value) ||
        !drop(d, value, (rvx_recovery){.method = RVX_RECOVER_RERUN}))
        return;
    int32_t n = d->graph->values[value].node;
    drop_branch(d, d->plan->load[n]);
    for (int i = 1; i < d->graph->nodes[n].in_count; i++)
        drop_branch(d, d->graph->nodes[n].in[i]);
}

static void drop_inverted(deciding *d, int32_t n)
{
    const rvx_node *node = &d->graph->nodes[n];
    bool view = (node->op->flags & RVX_OP_VIEW) != 0;
    for (int i = 0; i < node->in_count; i++) {
        bool given_back = view || node->op->inverse_inputs >> i & 1;
        if (!given_back || node->in[i] < 0 || !may_drop(d, node->in[i]) ||
            !is_stream(d, node->in[i]))
            continue;
        bool exact = inverse_is_exact(d, n, i);
        if (!exact && (view || !d->plan->options.inexact))
            continue;
        if (!drop(d, node->in[i], (rvx_recovery){RVX_RECOVER_INVERT, n, i}))
            continue;
        d->plan->exact &= exact;
        for (int j = 0; j < node->in_count && !needs_outputs_only(node->op); j++)
            if (j != i)
                drop_branch(d, j == 0 ? d->plan->load[n] : node->in[j]);
    }
}

static void decide_reversible(deciding *d)
{
    for (int32_t n = 0; n < d->graph->node_count; n++)
        if (d->plan->needed[n] && !d->plan->logical[n])
            drop_inverted(d, n);
    for (int32_t n = 0; n < d->graph->node_count; n++) {
        const rvx_node *node = &d->graph->nodes[n];
        bool sums = node->op->inverse_inputs || (node->op->flags & RVX_OP_VIEW);
        if (d->plan->needed[n] && (node->op->flags & RVX_OP_CHEAP) && !sums &&
            may_drop(d, node->out[0]))
            drop(d, node->out[0], (rvx_recovery){.method = RVX_RECOVER_RERUN});
    }
}

/* ---- checkpoint ---------------------------------------------------------------------------------
 */

/* Do two nodes belong to the same stage: is the first part of their scope the same? */
static bool same_stage(const rvx_node *a, const rvx_node *b)
{
    size_t length = strcspn(a->name, "/");
    return length == strcspn(b->name, "/") && strncmp(a->name, b->name, length) == 0;
}

static void decide_checkpoint(deciding *d)
{
    for (int32_t n = 0; n < d->graph->node_count; n++) {
        const rvx_node *node = &d->graph->nodes[n];
        for (int i = 0; i < node->in_count && d->plan->needed[n]; i++) {
            int32_t value = i == 0 ? d->plan->load[n] : node->in[i];
            int32_t from = value < 0 ? -1 : d->graph->values[value].node;
            if (from >= 0 && !same_stage(node, &d->graph->nodes[from]))
                d->crosses[value] = 1;
        }
    }
    for (int32_t v = 0; v < d->graph->value_count; v++)
        if (!d->crosses[v] && may_drop(d, v))
            drop(d, v, (rvx_recovery){.method = RVX_RECOVER_RERUN});
}

/* ---- keeping some after all ---------------------------------------------------------------------
 */

typedef struct ranked {
    double seconds_per_byte;
    int32_t value;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->seconds_per_byte != y->seconds_per_byte)
        return x->seconds_per_byte < y->seconds_per_byte ? 1 : -1;
    return x->value - y->value;
}

/* Time to rebuild a value from values that are there, by its bytes. */
static double rank(const deciding *d, int32_t value)
{
    const rvx_recovery *r = &d->plan->recovery[value];
    bool inverts = r->method == RVX_RECOVER_INVERT;
    const rvx_node *node = &d->graph->nodes[inverts ? r->node : d->graph->values[value].node];
    rvx_cost cost = rvx__node_cost(d->graph, node, inverts ? RVX_INVERSE : RVX_FORWARD);
    double bytes = (double)(rvx__shape_count(d->graph->values[value].shape) *
                            rvx__dtype_bytes(d->graph->values[value].dtype));
    return rvx__cost_seconds(cost, d->plan->options.isa) / bytes;
}

static rvx_status keep_some(deciding *d, rvx_error *error)
{
    rvx_plan *plan = d->plan;
    for (int32_t v = 0; v < d->graph->value_count; v++)
        plan->dropped_count += plan->recovery[v].method != RVX_RECOVER_KEEP;
    if (plan->options.kept_count == 0 || plan->dropped_count == 0)
        return RVX_OK;
    ranked *list = malloc((size_t)plan->dropped_count * sizeof *list);
    if (!list)
        return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    int32_t count = 0;
    for (int32_t v = 0; v < d->graph->value_count; v++)
        if (plan->recovery[v].method != RVX_RECOVER_KEEP)
            list[count++] = (ranked){rank(d, v), v};
    qsort(list, (size_t)count, sizeof *list, compare_ranked);
    for (int32_t i = 0; i < count && i < plan->options.kept_count; i++)
        plan->recovery[list[i].value] = (rvx_recovery){.method = RVX_RECOVER_KEEP};
    free(list);
    return RVX_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

rvx_status rvx__plan_policy(rvx_plan *plan, rvx_error *error)
{
    deciding d = {.plan = plan, .graph = plan->graph};
    size_t count = (size_t)plan->graph->value_count;
    plan->recovery = calloc(count + 1, sizeof *plan->recovery);
    d.visited = malloc(count + 1);
    d.crosses = calloc(count + 1, 1);
    plan->exact = true;
    if (!plan->recovery || !d.visited || !d.crosses) {
        free(d.visited);
        free(d.crosses);
        return rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory");
    }
    if (plan->options.loss_count > 0 && plan->options.policy == RVX_POLICY_REVERSIBLE)
        decide_reversible(&d);
    if (plan->options.loss_count > 0 && plan->options.policy == RVX_POLICY_CHECKPOINT)
        decide_checkpoint(&d);
    free(d.visited);
    free(d.crosses);
    return keep_some(&d, error);
}
