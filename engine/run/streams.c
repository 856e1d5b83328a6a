/* Groups of integer streams by union and find: see streams.h. */
#include "engine/run/streams.h"

#include <stdlib.h>

static int32_t root_of(int32_t *parent, int32_t value)
{
    while (parent[value] != value)
        value = parent[value] = parent[parent[value]];
    return value;
}

static void tie(int32_t *parent, int32_t a, int32_t b)
{
    int32_t x = root_of(parent, a), y = root_of(parent, b);
    if (x < y)
        parent[y] = x;
    else
        parent[x] = y;
}

/* Does the op store in[index] and its outputs on one grid? */
static bool shares_grid(const rvx_node *node, int index)
{
    uint32_t tied = node->op->residual_inputs | node->op->inverse_inputs;
    return node->op->flags & (RVX_OP_VIEW | RVX_OP_PERMUTES) || tied >> index & 1;
}

int32_t rvx__stream_groups(const rvx_graph *graph, int32_t *group)
{
    int32_t count = 0, *parent = malloc((size_t)(graph->value_count + 1) * sizeof *parent);
    if (!parent)
        return -1;
    for (int32_t v = 0; v < graph->value_count; v++)
        parent[v] = v;
    for (int32_t n = 0; n < graph->node_count; n++) {
        const rvx_node *node = &graph->nodes[n];
        for (int i = 0; i < node->in_count; i++)
            for (int j = 0; j < node->op->out_count; j++)
                if (node->in[i] >= 0 && node->out[j] >= 0 && shares_grid(node, i) &&
                    graph->values[node->in[i]].dtype == RVX_I16 &&
                    graph->values[node->out[j]].dtype == RVX_I16)
                    tie(parent, node->in[i], node->out[j]);
    }
    for (int32_t v = 0; v < graph->value_count; v++) {
        int32_t root = root_of(parent, v);
        group[v] = graph->values[v].dtype != RVX_I16 ? -1 : root == v ? count++ : group[root];
    }
    free(parent);
    return count;
}
