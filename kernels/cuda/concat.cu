/* Concatenation along channels on the GPU (see kernels/concat.c): copies where the planner could
 * not make the inputs slices of the output. */
#include "kernels/cuda/combine.h"

namespace
{
/* y = x, unless they are one. */
void move(const rvx_call *call, const rvx_tensor &y, const rvx_tensor &x)
{
    if (y.data && y.data != x.data)
        rvx::combine(call, y, x, x, rvx::COPY);
}
} // namespace

extern "C" void rvx__cuda_concat_forward(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && call->in[i].shape.c; i++) {
        const rvx_tensor &x = call->in[i];
        move(call, rvx::channels_of(call->out[0], first, x.shape.c), x);
        first += x.shape.c;
    }
}

/* The shapes of in[] say where each slice begins, also where their data is not read. */
extern "C" void rvx__cuda_concat_backward(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && call->in[i].shape.c; i++) {
        rvx_tensor dx = call->grad_in[i];
        dx.shape = call->in[i].shape;
        const rvx_tensor dy = rvx::channels_of(call->grad_out[0], first, dx.shape.c);
        first += dx.shape.c;
        if (dx.data && call->accumulate >> i & 1)
            rvx::combine(call, dx, dy, dx, rvx::SUM);
        else
            move(call, dx, dy);
    }
}

extern "C" void rvx__cuda_concat_inverse(const rvx_call *call)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && call->in[i].shape.c; i++) {
        const rvx_tensor &x = call->in[i];
        move(call, x, rvx::channels_of(call->out[0], first, x.shape.c));
        first += x.shape.c;
    }
}
