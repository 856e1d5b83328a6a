/* Graph storage, scopes and the one function that adds a node: see graph.h. */
#include "engine/graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rvx_graph *rvx__graph_create(void) { return calloc(1, sizeof(rvx_graph)); }

void rvx__graph_free(rvx_graph *graph)
{
    if (!graph)
        return;
    free(graph->values);
    free(graph->nodes);
    free(graph);
}

rvx_status rvx__graph_status(const rvx_graph *graph, rvx_error *error)
{
    if (graph->error.status != RVX_OK && error)
        *error = graph->error;
    return graph->error.status;
}

void rvx__graph_set_storage(rvx_graph *graph, rvx_dtype storage)
{
    if (graph->error.status != RVX_OK)
        return;
    if ((storage != RVX_F32 && storage != RVX_BF16) || graph->node_count > 0)
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT,
                  "graph: activations are stored as f32 or bf16, chosen before the first node");
    else
        graph->storage = graph->streams = storage;
}

void rvx__graph_set_streams(rvx_graph *graph, rvx_dtype streams, int grid_log2)
{
    if (graph->error.status != RVX_OK)
        return;
    if (streams == RVX_U8 || grid_log2 < 0 || grid_log2 > 15) {
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT,
                  "graph: streams of type %d on a grid of 2^-%d; expected f32, bf16 or i16 and a "
                  "grid from 2^0 to 2^-15",
                  (int)streams, grid_log2);
        return;
    }
    graph->streams = streams;
    graph->grid_log2 = grid_log2;
}

/* Makes room for one more element; on failure the sticky error is set. */
static bool grow(rvx_graph *graph, void **items, int32_t count, int32_t *capacity,
                 size_t item_bytes)
{
    if (count < *capacity)
        return true;
    int32_t wanted = *capacity ? 2 * *capacity : 64;
    void *larger = realloc(*items, (size_t)wanted * item_bytes);
    if (!larger) {
        rvx__fail(&graph->error, RVX_ERROR_MEMORY, "graph: out of memory at %d items", wanted);
        return false;
    }
    *items = larger;
    *capacity = wanted;
    return true;
}

static rvx_value add_value(rvx_graph *graph, rvx_value_info info)
{
    if (!grow(graph, (void **)&graph->values, graph->value_count, &graph->value_capacity,
              sizeof *graph->values))
        return RVX_NO_VALUE;
    graph->values[graph->value_count] = info;
    return (rvx_value){graph->value_count++};
}

static void scoped_name(char *out, size_t out_bytes, const rvx_graph *graph, const char *name)
{
    /* Cut to fit; the sticky error of scope_push then stands already. */
    size_t length = strnlen(name, out_bytes - 2), used = strlen(graph->scope);
    bool slash = used && length;
    if (used > out_bytes - 2 - length)
        used = out_bytes - 2 - length;
    memcpy(out, graph->scope, used);
    if (slash)
        out[used++] = '/';
    memcpy(out + used, name, length);
    out[used + length] = 0;
}

void rvx__scope_push(rvx_graph *graph, const char *format, ...)
{
    char part[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(part, sizeof part, format, arguments);
    va_end(arguments);
    size_t used = strlen(graph->scope), room = sizeof graph->scope - 24 - used;
    if (strlen(part) + 1 >= room) {
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT, "graph: scope '%s/%s' is too long",
                  graph->scope, part);
        return;
    }
    snprintf(graph->scope + used, room, "%s%s", used ? "/" : "", part);
}

void rvx__scope_pop(rvx_graph *graph)
{
    char *slash = strrchr(graph->scope, '/');
    if (slash)
        *slash = 0;
    else
        graph->scope[0] = 0;
}

rvx_value rvx__input(rvx_graph *graph, const char *name, rvx_shape shape, rvx_dtype dtype)
{
    rvx_value_info info = {.kind = RVX_VALUE_INPUT, .shape = shape, .dtype = dtype, .node = -1};
    snprintf(info.name, sizeof info.name, "%s", name);
    if (graph->error.status != RVX_OK)
        return RVX_NO_VALUE;
    if (shape.n < 1 || shape.d < 1 || shape.h < 1 || shape.w < 1 || shape.c < 1) {
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT,
                  "input '%s': every extent must be at least 1, found n %lld, d %lld, h %lld, w "
                  "%lld, c %lld",
                  name, (long long)shape.n, (long long)shape.d, (long long)shape.h,
                  (long long)shape.w, (long long)shape.c);
        return RVX_NO_VALUE;
    }
    return add_value(graph, info);
}

rvx_value rvx__parameter(rvx_graph *graph, const char *name, rvx_shape shape,
                         rvx_parameter_role role)
{
    if (graph->error.status != RVX_OK)
        return RVX_NO_VALUE;
    rvx_value_info info = {
        .kind = RVX_VALUE_PARAMETER, .shape = shape, .dtype = RVX_F32, .node = -1, .role = role};
    scoped_name(info.name, sizeof info.name, graph, name);
    rvx_value known = rvx__graph_find(graph, info.name);
    if (known.index < 0)
        return add_value(graph, info);
    rvx_shape s = graph->values[known.index].shape;
    if (graph->values[known.index].kind != RVX_VALUE_PARAMETER ||
        memcmp(&s, &shape, sizeof s) != 0) {
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT,
                  "parameter '%s' exists already with another shape", info.name);
        return RVX_NO_VALUE;
    }
    return known; /* the same name in the same scope is the same parameter: shared weights */
}

rvx_shape rvx__shape(const rvx_graph *graph, rvx_value value)
{
    return value.index < 0 ? (rvx_shape){0} : graph->values[value.index].shape;
}

rvx_value rvx__graph_find(const rvx_graph *graph, const char *name)
{
    for (int32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].kind != RVX_VALUE_RESULT && strcmp(graph->values[i].name, name) == 0)
            return (rvx_value){i};
    return RVX_NO_VALUE;
}

int64_t rvx__graph_parameter_count(const rvx_graph *graph)
{
    int64_t count = 0;
    for (int32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].kind == RVX_VALUE_PARAMETER &&
            graph->values[i].role != RVX_ROLE_RUNNING_MEAN &&
            graph->values[i].role != RVX_ROLE_RUNNING_VARIANCE)
            count += rvx__shape_count(graph->values[i].shape);
    return count;
}

/* How an output is stored: views and permutations as their inputs are (as the graph's activations
 * where these differ), sums as the finest summand, new streams as the graph says. */
static void output_storage(const rvx_graph *graph, const rvx_node *node, int index,
                           rvx_value_info *info)
{
    const rvx_value_info *first = &graph->values[node->in[0]];
    info->dtype = node->op->stored_outputs >> index & 1 && !node->params.f32_output ? graph->storage
                                                                                    : RVX_F32;
    if (node->op == &rvx__op_round) {
        info->dtype = graph->streams;
        info->grid_log2 = graph->grid_log2;
    } else if (node->op == &rvx__op_add) {
        for (int i = 0; i < node->in_count; i++) {
            const rvx_value_info *in = &graph->values[node->in[i]];
            if (in->dtype == RVX_I16 || (in->dtype == RVX_F32 && info->dtype != RVX_I16)) {
                info->dtype = in->dtype;
                info->grid_log2 = in->grid_log2;
            }
        }
    } else if (node->op->inverse_inputs & 1u) { /* what has an inverse carries a stream on */
        info->dtype = first->dtype;
        info->grid_log2 = first->grid_log2;
    } else if (node->op->flags & (RVX_OP_VIEW | RVX_OP_PERMUTES)) {
        info->dtype = first->dtype;
        info->grid_log2 = first->grid_log2;
        for (int i = 1; i < node->in_count; i++)
            if (graph->values[node->in[i]].dtype != first->dtype ||
                graph->values[node->in[i]].grid_log2 != first->grid_log2)
                info->dtype = graph->storage;
    }
}

void rvx__graph_apply(rvx_graph *graph, rvx_value *out, const rvx_op *op, const rvx_value *in,
                      int in_count, const rvx_op_params *params)
{
    for (int i = 0; i < op->out_count; i++)
        out[i] = RVX_NO_VALUE;
    if (graph->error.status != RVX_OK)
        return;
    rvx_node node = {.op = op, .params = *params, .in_count = in_count};
    scoped_name(node.name, sizeof node.name, graph, "");
    rvx_shape in_shapes[RVX_IN_MAX] = {{0}}, out_shapes[RVX_OUT_MAX] = {{0}};
    if (in_count < op->in_min || in_count > op->in_max) {
        rvx__fail(&graph->error, RVX_ERROR_ARGUMENT, "%s '%s': takes %d to %d inputs, got %d",
                  op->name, node.name, op->in_min, op->in_max, in_count);
        return;
    }
    for (int i = 0; i < RVX_IN_MAX; i++) {
        node.in[i] = i < in_count ? in[i].index : -1;
        if (node.in[i] >= 0)
            in_shapes[i] = graph->values[node.in[i]].shape;
    }
    if (op->shape(out_shapes, in_shapes, in_count, params, &graph->error) != RVX_OK) {
        rvx__fail_context(&graph->error, "%s '%s'", op->name, node.name);
        return;
    }
    if (!grow(graph, (void **)&graph->nodes, graph->node_count, &graph->node_capacity,
              sizeof *graph->nodes))
        return;
    for (int i = 0; i < RVX_OUT_MAX; i++) {
        node.out[i] = -1;
        if (i >= op->out_count)
            continue;
        rvx_value_info info = {.kind = RVX_VALUE_RESULT,
                               .shape = out_shapes[i],
                               .node = graph->node_count,
                               .output = i};
        output_storage(graph, &node, i, &info);
        memcpy(info.name, node.name, sizeof info.name);
        out[i] = add_value(graph, info);
        node.out[i] = out[i].index;
    }
    graph->nodes[graph->node_count++] = node;
}
