/* Sum of two tensors on the CPU (see kernels/add.c). */
#include "kernels/cpu/copy.h"
#include "kernels/op.h"

void RVX_KERNEL(rvx__add_forward)(const rvx_call *call)
{
    const rvx_tensor *y = &call->out[0];
    rvx__combine(rvx__plane_of(y, 0), rvx__plane_of(&call->in[0], 0),
                 rvx__plane_of(&call->in[1], 0), rvx__shape_voxels(y->shape), y->shape.c,
                 RVX_COMBINE_SUM, call->threads);
}

void RVX_KERNEL(rvx__add_backward)(const rvx_call *call)
{
    const rvx_tensor *dy = &call->grad_out[0];
    int64_t rows = rvx__shape_voxels(dy->shape), c = dy->shape.c;
    rvx_plane from = rvx__plane_of(dy, 0);
    for (int i = 0; i < 2; i++) {
        rvx_plane to = rvx__plane_of(&call->grad_in[i], 0);
        if (!to.data)
            continue;
        if (call->accumulate & 1u << i)
            rvx__combine(to, from, to, rows, c, RVX_COMBINE_SUM, call->threads);
        else if (to.data != from.data)
            rvx__combine(to, from, from, rows, c, RVX_COMBINE_COPY, call->threads);
    }
}

/* a = y - b, or b = y - a */
void RVX_KERNEL(rvx__add_inverse)(const rvx_call *call)
{
    const rvx_tensor *y = &call->out[0];
    rvx__combine(rvx__plane_of(&call->in[call->rebuild], 0), rvx__plane_of(y, 0),
                 rvx__plane_of(&call->in[1 - call->rebuild], 0), rvx__shape_voxels(y->shape),
                 y->shape.c, RVX_COMBINE_DIFFERENCE, call->threads);
}
