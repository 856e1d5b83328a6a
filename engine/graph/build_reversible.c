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
