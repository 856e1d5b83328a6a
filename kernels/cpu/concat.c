/* Concatenation along channels on the CPU (see kernels/concat.c). */
#include "kernels/cpu/copy.h"
#include "kernels/op.h"

void RVX_KERNEL(rvx__concat_forward)(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && call->in[i].shape.c; i++) {
        rvx_plane from = rvx__plane_of(&call->in[i], 0);
        rvx_plane to = rvx__plane_of(&call->out[0], first);
        rvx_shape x = call->in[i].shape;
        if (from.data != to.data)
            rvx__combine(to, from, from, rvx__shape_voxels(x), x.c, RVX_COMBINE_COPY,
                         call->threads);
        first += x.c;
    }
}

/* The shapes of in[] say where each slice begins, also where their data is not read. */
void RVX_KERNEL(rvx__concat_backward)(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && call->in[i].shape.c; i++) {
        rvx_plane from = rvx__plane_of(&call->grad_out[0], first);
        rvx_plane to = rvx__plane_of(&call->grad_in[i], 0);
        rvx_shape x = call->in[i].shape;
        first += x.c;
        if (!to.data)
            continue;
        if (call->accumulate & 1u << i)
            rvx__combine(to, from, to, rvx__shape_voxels(x), x.c, RVX_COMBINE_SUM, call->threads);
        else if (to.data != from.data)
            rvx__combine(to, from, from, rvx__shape_voxels(x), x.c, RVX_COMBINE_COPY,
                         call->threads);
    }
}

void RVX_KERNEL(rvx__concat_inverse)(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && call->in[i].shape.c; i++) {
        rvx_plane to = rvx__plane_of(&call->in[i], 0);
        rvx_plane from = rvx__plane_of(&call->out[0], first);
        rvx_shape x = call->in[i].shape;
        first += x.c;
        if (to.data && to.data != from.data)
            rvx__combine(to, from, from, rvx__shape_voxels(x), x.c, RVX_COMBINE_COPY,
                         call->threads);
    }
}
