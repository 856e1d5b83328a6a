/* Split into two ranges of channels on the CPU (see kernels/split.c). */
#include "kernels/cpu/copy.h"
#include "kernels/op.h"

void RVX_KERNEL(rvx__split_forward)(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        rvx_shape y = call->out[i].shape;
        rvx_plane to = rvx__plane_of(&call->out[i], 0);
        rvx_plane from = rvx__plane_of(&call->in[0], first);
        first += y.c;
        if (to.data && to.data != from.data)
            rvx__combine(to, from, from, rvx__shape_voxels(y), y.c, RVX_COMBINE_COPY,
                         call->threads);
    }
}

void RVX_KERNEL(rvx__split_backward)(const rvx_call *call)
{
    const rvx_tensor *dx = &call->grad_in[0];
    rvx_shape x = call->in[0].shape;
    int64_t rows = rvx__shape_voxels(x), first = 0;
    if (!dx->data)
        return;
    for (int i = 0; i < 2; i++) {
        int64_t c = i ? x.c - call->params->channel_count : call->params->channel_count;
        rvx_plane from = rvx__plane_of(&call->grad_out[i], 0), to = rvx__plane_of(dx, first);
        first += c;
        if (call->accumulate & 1u) {
            if (from.data)
                rvx__combine(to, from, to, rows, c, RVX_COMBINE_SUM, call->threads);
        } else if (!from.data) {
            rvx__combine(to, to, to, rows, c, RVX_COMBINE_ZERO, call->threads);
        } else if (to.data != from.data) {
            rvx__combine(to, from, from, rows, c, RVX_COMBINE_COPY, call->threads);
        }
    }
}

void RVX_KERNEL(rvx__split_inverse)(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        rvx_shape y = call->out[i].shape;
        rvx_plane from = rvx__plane_of(&call->out[i], 0);
        rvx_plane to = rvx__plane_of(&call->in[0], first);
        first += y.c;
        if (to.data != from.data)
            rvx__combine(to, from, from, rvx__shape_voxels(y), y.c, RVX_COMBINE_COPY,
                         call->threads);
    }
}
