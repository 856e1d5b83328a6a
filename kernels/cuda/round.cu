/* A tensor stored in another type, on the GPU (see kernels/round.c). */
#include "kernels/cuda/combine.h"

extern "C" void rvx__cuda_round_forward(const rvx_call *call)
{
    rvx::combine(call, call->out[0], call->in[0], call->in[0], rvx::COPY);
}

extern "C" void rvx__cuda_round_backward(const rvx_call *call)
{
    const rvx_tensor &dx = call->grad_in[0], &dy = call->grad_out[0];
    if (!dx.data)
        return;
    if (call->accumulate & 1u)
        rvx::combine(call, dx, dy, dx, rvx::SUM);
    else if (dx.data != dy.data)
        rvx::combine(call, dx, dy, dy, rvx::COPY);
}
