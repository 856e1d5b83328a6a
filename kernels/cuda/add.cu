/* Sum of two tensors on the GPU (see kernels/add.c); also copies with a change of type or pitch,
 * the common part of concat and split. */
#include "kernels/cuda/combine.h"

extern "C" void rvx__cuda_add_forward(const rvx_call *call)
{
    rvx::combine(call, call->out[0], call->in[0], call->in[1], rvx::SUM);
}

extern "C" void rvx__cuda_add_backward(const rvx_call *call)
{
    const rvx_tensor &dy = call->grad_out[0];
    for (int i = 0; i < 2; i++) {
        const rvx_tensor &to = call->grad_in[i];
        if (!to.data)
            continue;
        if (call->accumulate >> i & 1)
            rvx::combine(call, to, dy, to, rvx::SUM);
        else if (to.data != dy.data)
            rvx::combine(call, to, dy, dy, rvx::COPY);
    }
}

/* a = y - b, or b = y - a */
extern "C" void rvx__cuda_add_inverse(const rvx_call *call)
{
    rvx::combine(call, call->in[call->rebuild], call->out[0], call->in[1 - call->rebuild],
                 rvx::DIFFERENCE);
}
