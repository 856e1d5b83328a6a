/* Parameters from one session to another: see session.h. On one device nothing passes through the
 * host. */
#include "engine/run/session_state.h"

static rvx_status copy_one(rvx_session *to, int32_t value, const rvx_session *from, bool on_device,
                           rvx_error *error)
{
    const rvx_plan *plan = to->plan, *source = from->plan;
    const rvx_value_info *info = &plan->graph->values[value];
    rvx_value other = rvx__graph_find(source->graph, info->name);
    if (other.index < 0 || !rvx__shape_equal(info->shape, rvx__shape(source->graph, other)))
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "inference: parameter '%s' is missing",
                         info->name);
    const int64_t bytes = rvx__shape_count(info->shape) * (int64_t)sizeof(float);
    if (on_device) {
        const rvx_device *device = to->on->device;
        device->cuda->copy(device->handle, to->arena + plan->parameter_position[value],
                           from->arena + source->parameter_position[other.index], bytes);
        return RVX_OK;
    }
    memcpy(rvx__session_tensor(to, (rvx_value){value}).data, rvx__session_tensor(from, other).data,
           (size_t)bytes);
    return RVX_OK;
}

rvx_status rvx__session_copy_parameters(rvx_session *to, const rvx_session *from, rvx_error *error)
{
    const rvx_graph *graph = to->plan->graph;
    const bool on_device = to->on && from->on && to->on->device == from->on->device;
    rvx_status status = on_device ? RVX_OK : rvx__session_download(from, error);
    for (int32_t v = 0; v < graph->value_count && status == RVX_OK; v++)
        if (graph->values[v].kind == RVX_VALUE_PARAMETER)
            status = copy_one(to, v, from, on_device, error);
    if (status != RVX_OK)
        return status;
    if (from->group_count != to->group_count)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "inference: the streams are those of another network");
    rvx__session_set_coarser(to, from->coarser);
    if (on_device)
        return to->on->device->cuda->synchronize(to->on->device->handle, error);
    return rvx__session_upload(to, error);
}
