/* Shape rules of blocks (see kernels/block.h). */
#include "kernels/block.h"

static rvx_status strides_check(const rvx_op_params *params, const char *name, rvx_error *error)
{
    for (int axis = 0; axis < 3; axis++)
        if (params->stride[axis] < 1 || params->stride[axis] > RVX_BLOCK_STRIDE_MAX)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: stride %d along %c, expected 1 to %d",
                             name, params->stride[axis], "dhw"[axis], RVX_BLOCK_STRIDE_MAX);
    if (params->order != RVX_ORDER_CHANNEL && params->order != RVX_ORDER_BLOCK)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: order %d, expected 0 (channel-major) or 1 (block-major)", name,
                         params->order);
    return RVX_OK;
}

rvx_status rvx__block_coarse(rvx_shape *coarse, rvx_shape fine, const rvx_op_params *params,
                             const char *name, rvx_error *error)
{
    rvx_status status = strides_check(params, name, error);
    if (status != RVX_OK)
        return status;
    const int32_t *stride = params->stride;
    int64_t size[3] = {fine.d, fine.h, fine.w};
    for (int axis = 0; axis < 3; axis++)
        if (size[axis] % stride[axis] != 0 || size[axis] < 1)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: size %lld along %c is no multiple of stride %d", name,
                             (long long)size[axis], "dhw"[axis], stride[axis]);
    *coarse = (rvx_shape){fine.n, fine.d / stride[0], fine.h / stride[1], fine.w / stride[2],
                          fine.c * rvx__block_voxels(params)};
    return RVX_OK;
}

rvx_status rvx__block_fine(rvx_shape *fine, rvx_shape coarse, const rvx_op_params *params,
                           const char *name, rvx_error *error)
{
    rvx_status status = strides_check(params, name, error);
    if (status != RVX_OK)
        return status;
    const int32_t *stride = params->stride;
    int64_t s = rvx__block_voxels(params);
    if (coarse.c % s != 0 || coarse.c < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: %lld channels are no multiple of the %lld voxels of a block", name,
                         (long long)coarse.c, (long long)s);
    *fine = (rvx_shape){coarse.n, coarse.d * stride[0], coarse.h * stride[1], coarse.w * stride[2],
                        coarse.c / s};
    return RVX_OK;
}
