/* A tensor stored in another type, on the CPU (see kernels/round.c). */
#include "kernels/cpu/copy.h"
#include "kernels/op.h"

void RVX_KERNEL(rvx__round_forward)(const rvx_call *call)
{
    rvx_plane from = rvx__plane_of(&call->in[0], 0), to = rvx__plane_of(&call->out[0], 0);
    rvx_shape x = call->in[0].shape;
    rvx__combine(to, from, from, rvx__shape_voxels(x), x.c, RVX_COMBINE_COPY, call->threads);
}

void RVX_KERNEL(rvx__round_backward)(const rvx_call *call)
{
    const rvx_tensor *dy = &call->grad_out[0];
    rvx_plane from = rvx__plane_of(dy, 0), to = rvx__plane_of(&call->grad_in[0], 0);
    int64_t rows = rvx__shape_voxels(dy->shape), c = dy->shape.c;
    if (!to.data)
        return;
    if (call->accumulate & 1u)
        rvx__combine(to, from, to, rows, c, RVX_COMBINE_SUM, call->threads);
    else if (to.data != from.data)
        rvx__combine(to, from, from, rows, c, RVX_COMBINE_COPY, call->threads);
}
