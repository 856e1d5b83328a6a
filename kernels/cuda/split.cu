/* Split into two ranges of channels on the GPU (see kernels/split.c): copies where the planner
 * could not make the outputs slices of the input. */
#include "kernels/cuda/combine.h"

extern "C" void rvx__cuda_split_forward(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const rvx_tensor &y = call->out[i];
        const rvx_tensor x = rvx::channels_of(call->in[0], first, y.shape.c);
        first += y.shape.c;
        if (y.data && y.data != x.data)
            rvx::combine(call, y, x, x, rvx::COPY);
    }
}

extern "C" void rvx__cuda_split_backward(const rvx_call *call)
{
    rvx_tensor whole = call->grad_in[0];
    if (!whole.data)
        return;
    whole.shape = call->in[0].shape;
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const int64_t count = call->params->channel_count;
        const rvx_tensor dx = rvx::channels_of(whole, first, i ? whole.shape.c - count : count);
        const rvx_tensor &dy = call->grad_out[i];
        first += dx.shape.c;
        if (call->accumulate & 1u) {
            if (dy.data)
                rvx::combine(call, dx, dy, dx, rvx::SUM);
        } else if (!dy.data) {
            rvx::combine(call, dx, dx, dx, rvx::ZERO);
        } else if (dx.data != dy.data) {
            rvx::combine(call, dx, dy, dy, rvx::COPY);
        }
    }
}

extern "C" void rvx__cuda_split_inverse(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const rvx_tensor &y = call->out[i];
        const rvx_tensor x = rvx::channels_of(call->in[0], first, y.shape.c);
        first += y.shape.c;
        if (x.data != y.data)
            rvx::combine(call, x, y, y, rvx::COPY);
    }
}
