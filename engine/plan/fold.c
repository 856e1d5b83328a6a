/* Folding. A normalisation with its activation is a pure map of its input given a small
 * table (scale, shift, slope per channel). Where every consumer can apply that map while it loads,
 * the result is never stored: consumers get the raw input as `load` and the table as `fold`. A
 * concatenation passes this on: its raw inputs are concatenated, and so are their tables (identity
 * for plain inputs).
 *
 * Invariant: gradients stay those of the author's values; only where forward data lies changes. */
#include "engine/plan/plan.h"

#include <stdlib.h>
#include <string.h>

/* Calls for every (node, input) that reads `value`: true when all of them satisfy the test. */
static bool all_consumers_fold(const rvx_plan *plan, int32_t value, bool through_concat)
{
    bool any = false;
    const rvx_graph *graph = plan->graph;
    for (int32_t n = graph->values[value].node + 1; n < graph->node_count; n++)
        for (int i = 0; i < graph->nodes[n].in_count; i++) {
            const rvx_node *node = &graph->nodes[n];
            if (node->in[i] != value || !plan->needed[n])
                continue;
            any = true;
            if (node->op == &rvx__op_concat && through_concat) {
                if (rvx__plan_is_asked_for(plan, node->out[0]) ||
                    !all_consumers_fold(plan, node->out[0], false))
                    return false;
            } else if (i != 0 || !(node->op->flags & RVX_OP_FOLDS)) {
                return false;
            }
        }
    return any;
}

static int32_t identity_table(rvx_graph *graph, int64_t batch, int64_t channels)
{
    rvx_shape shape = {batch, 1, 1, 3, channels};
    for (int32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind == RVX_VALUE_CONSTANT &&
            memcmp(&graph->values[v].shape, &shape, sizeof shape) == 0)
            return v;
    rvx_value value = rvx__input(graph, "identity", shape, RVX_F32);
    if (value.index >= 0)
        graph->values[value.index].kind = RVX_VALUE_CONSTANT;
    return value.index;
}

typedef struct folding {
    rvx_graph *out;        /* the lowered graph under construction */
    int32_t *load, *table; /* per value: where its raw data and its table are; -1: not folded */
    int32_t *node_load, *node_fold;
    bool *logical, *skip;
} folding;

static int32_t append(folding *f, const rvx_node *node, int32_t load, int32_t table)
{
    int32_t index = f->out->node_count;
    f->out->nodes[index] = *node;
    f->out->node_count++;
    f->node_load[index] = load;
    f->node_fold[index] = table;
    return index;
}

/* Concatenates the raw inputs and their tables in two new nodes. */
static rvx_status fold_concat(folding *f, const rvx_node *concat)
{
    rvx_value raw[RVX_IN_MAX], tables[RVX_IN_MAX], out;
    rvx_graph *graph = f->out;
    for (int i = 0; i < concat->in_count; i++) {
        int32_t v = concat->in[i];
        rvx_shape shape = graph->values[v].shape;
        raw[i].index = f->load[v] >= 0 ? f->load[v] : v;
        tables[i].index = f->table[v] >= 0 ? f->table[v] : identity_table(graph, shape.n, shape.c);
    }
    int32_t first = graph->node_count;
    rvx__graph_apply(graph, &out, concat->op, raw, concat->in_count, &concat->params);
    f->load[concat->out[0]] = out.index;
    rvx__graph_apply(graph, &out, concat->op, tables, concat->in_count, &concat->params);
    f->table[concat->out[0]] = out.index;
    for (int32_t n = first; n < graph->node_count; n++) {
        f->node_load[n] = graph->nodes[n].in[0];
        f->node_fold[n] = -1;
        memcpy(graph->nodes[n].name, concat->name, sizeof concat->name);
    }
    return graph->error.status;
}

static rvx_status fold_nodes(rvx_plan *plan, folding *f, const bool *folds)
{
    const rvx_graph *graph = plan->graph;
    for (int32_t n = 0; n < graph->node_count; n++) {
        const rvx_node *node = &graph->nodes[n];
        bool any_folded = false;
        if (node->op == &rvx__op_concat)
            for (int i = 0; i < node->in_count; i++)
                any_folded |= f->table[node->in[i]] >= 0;
        if (any_folded && fold_concat(f, node) != RVX_OK)
            return f->out->error.status;
        int32_t source = node->in[0];
        bool loads_folded = !any_folded && f->table[source] >= 0;
        int32_t index = append(f, node, loads_folded ? f->load[source] : source,
                               loads_folded ? f->table[source] : -1);
        f->logical[index] = any_folded;
        f->skip[index] = folds[n];
        for (int i = 0; i < node->op->out_count; i++)
            f->out->values[node->out[i]].node = index;
        if (folds[n]) {
            f->load[node->out[0]] = node->in[0];
            f->table[node->out[0]] = node->out[2];
        }
    }
    return RVX_OK;
}

rvx_status rvx__plan_fold(rvx_plan *plan, rvx_error *error)
{
    rvx_graph *graph = plan->graph;
    int32_t nodes_max = 3 * graph->node_count + 1,
            values_max = graph->value_count + 3 * graph->node_count + 1;
    folding f = {.out = calloc(1, sizeof *f.out)};
    bool *folds = calloc((size_t)nodes_max, sizeof *folds);
    f.load = malloc((size_t)values_max * sizeof *f.load);
    f.table = malloc((size_t)values_max * sizeof *f.table);
    f.node_load = malloc((size_t)nodes_max * sizeof *f.node_load);
    f.node_fold = malloc((size_t)nodes_max * sizeof *f.node_fold);
    f.logical = calloc((size_t)nodes_max, sizeof *f.logical);
    f.skip = calloc((size_t)nodes_max, sizeof *f.skip);
    rvx_status status = RVX_OK;
    if (!f.out || !folds || !f.load || !f.table || !f.node_load || !f.node_fold || !f.logical ||
        !f.skip) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory while folding");
        goto cleanup;
    }
    for (int32_t v = 0; v < values_max; v++)
        f.load[v] = f.table[v] = -1;
    f.out->values = malloc((size_t)values_max * sizeof *f.out->values);
    f.out->nodes = malloc((size_t)nodes_max * sizeof *f.out->nodes);
    if (!f.out->values || !f.out->nodes) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "plan: out of memory while folding");
        goto cleanup;
    }
    memcpy(f.out->values, graph->values, (size_t)graph->value_count * sizeof *graph->values);
    f.out->value_count = graph->value_count;
    f.out->storage = graph->storage;
    f.out->value_capacity = values_max;
    f.out->node_capacity = nodes_max;
    for (int32_t n = 0; n < graph->node_count; n++) {
        const rvx_node *node = &graph->nodes[n];
        folds[n] = !plan->options.plain && plan->needed[n] && (node->op->flags & RVX_OP_FOLDABLE) &&
                   !rvx__plan_is_asked_for(plan, node->out[0]) &&
                   all_consumers_fold(plan, node->out[0], true);
    }
    if (fold_nodes(plan, &f, folds) != RVX_OK) {
        status = f.out->error.status;
        if (error)
            *error = f.out->error;
        goto cleanup;
    }
    rvx__graph_free(plan->graph);
    plan->graph = f.out;
    plan->load = f.node_load;
    plan->fold = f.node_fold;
    plan->logical = f.logical;
    plan->skip_output = f.skip;
    f.out = NULL;
    f.node_load = f.node_fold = NULL;
    f.logical = f.skip = NULL;
cleanup:
    rvx__graph_free(f.out);
    free(folds);
    free(f.load);
    free(f.table);
    free(f.node_load);
    free(f.node_fold);
    free(f.logical);
    free(f.skip);
    return status;
}
