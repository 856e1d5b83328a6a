/* haar and haar_up: what their two rows share. Each op's inverse is the other's forward. */
#ifndef RVX_HAAR_H
#define RVX_HAAR_H

#include "kernels/block.h"

RVX_DECLARE_KERNEL(rvx__haar_forward)
RVX_DECLARE_KERNEL(rvx__haar_backward)
RVX_DECLARE_KERNEL(rvx__haar_inverse)
RVX_DECLARE_KERNEL(rvx__haar_up_forward)
RVX_DECLARE_KERNEL(rvx__haar_up_backward)
RVX_DECLARE_KERNEL(rvx__haar_up_inverse)

static inline rvx_status rvx__haar_strides(const rvx_op_params *params, const char *name,
                                           rvx_error *error)
{
    for (int axis = 0; axis < 3; axis++)
        if (params->stride[axis] < 1 || params->stride[axis] > 2)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: stride %d along %c, expected 1 or 2",
                             name, params->stride[axis], "dhw"[axis]);
    return RVX_OK;
}

static inline rvx_cost rvx__haar_cost(rvx_shape in)
{
    double count = (double)rvx__shape_count(in);
    return (rvx_cost){6 * count, 8 * count};
}

#endif
