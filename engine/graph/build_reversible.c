/* Builders of reversible networks (see engine/graph/reversible.h). */
#include "engine/graph/reversible.h"

static rvx_value block_apply(rvx_graph *graph, const rvx_op *op, rvx_value x, const int stride[3],
                             rvx_op_params params)
{
    for (int axis = 0; axis < 3; axis++)
        params.stride[axis] = stride[axis] ? stride[axis] : 1;
    rvx_value out;
    rvx__graph_apply(graph, &out, op, &x, 1, &params);
    return out;
}

rvx_value rvx__space_to_depth(rvx_graph *graph, rvx_value x, const int stride[3], int order)
{
    return block_apply(graph, &rvx__op_space_to_depth, x, stride, (rvx_op_params){.order = order});
}

rvx_value rvx__depth_to_space(rvx_graph *graph, rvx_value x, const int stride[3], int order)
{
    return block_apply(graph, &rvx__op_depth_to_space, x, stride, (rvx_op_params){.order = order});
}

void rvx__deinterleave(rvx_graph *graph, rvx_value parts[4], rvx_value x)
{
    static const rvx_op_params none = {0};
    rvx__graph_apply(graph, parts, &rvx__op_deinterleave, &x, 1, &none);
}

rvx_value rvx__interleave(rvx_graph *graph, const rvx_value parts[4])
{
    static const rvx_op_params none = {0};
    rvx_value out;
    rvx__graph_apply(graph, &out, &rvx__op_interleave, parts, 4, &none);
    return out;
}

rvx_value rvx__haar(rvx_graph *graph, rvx_value x, const int stride[3], bool orthonormal)
{
    return block_apply(graph, &rvx__op_haar, x, stride,
                       (rvx_op_params){.orthonormal = orthonormal});
}

rvx_value rvx__haar_up(rvx_graph *graph, rvx_value x, const int stride[3], bool orthonormal)
{
    return block_apply(graph, &rvx__op_haar_up, x, stride,
                       (rvx_op_params){.orthonormal = orthonormal});
}

static rvx_value orthogonal(rvx_graph *graph, const rvx_op *op, rvx_value x, const int stride[3],
                            bool exponential, bool up)
{
    rvx_op_params params = {.exponential = exponential};
    int64_t s = 1, c = rvx__shape(graph, x).c;
    for (int axis = 0; axis < 3; axis++) {
        params.stride[axis] = stride[axis] ? stride[axis] : 1;
        s *= params.stride[axis];
    }
    rvx_shape weight = {1, 1, s, s, up ? c / s : c};
    rvx_value in[2] = {x, rvx__parameter(graph, "weight", weight,
                                         exponential ? RVX_ROLE_EXPONENTIAL : RVX_ROLE_CAYLEY)};
    rvx_value out;
    rvx__graph_apply(graph, &out, op, in, 2, &params);
    return out;
}

rvx_value rvx__orthogonal_down(rvx_graph *graph, rvx_value x, const int stride[3], bool exponential)
{
    return orthogonal(graph, &rvx__op_orthogonal_down, x, stride, exponential, false);
}

rvx_value rvx__orthogonal_up(rvx_graph *graph, rvx_value x, const int stride[3], bool exponential)
{
    return orthogonal(graph, &rvx__op_orthogonal_up, x, stride, exponential, true);
}

/* FNV-1a of the scope. */
static uint32_t scope_hash(const char *scope)
{
    uint32_t hash = 0x811C9DC5u;
    for (; *scope; scope++)
        hash = (hash ^ (uint8_t)*scope) * 0x01000193u;
    return hash;
}

rvx_value rvx__dropout(rvx_graph *graph, rvx_value x, float rate)
{
    rvx_value key = rvx__graph_find(graph, RVX_DROPOUT_KEY), out;
    if (key.index < 0)
        key = rvx__input(graph, RVX_DROPOUT_KEY, (rvx_shape){1, 1, 1, 1, 1}, RVX_F32);
    rvx_op_params params = {.rate = rate, .layer = (int32_t)scope_hash(graph->scope)};
    rvx__graph_apply(graph, &out, &rvx__op_dropout, (rvx_value[]){x, key}, 2, &params);
    return out;
}
