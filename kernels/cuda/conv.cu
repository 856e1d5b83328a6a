/* The convolution on the GPU (kernels/conv.h): the phases of its row, as gathers and weight
 * gradients. Owns: which products a call takes, and the pins of their kernels. The choice knows
 * device, shapes, types and parameters only, so that a rerun and an inverse form the sum of the
 * forward pass, bit for bit, wherever tensors lie. */
#include "kernels/conv.h"
#include "kernels/cuda/correlate.h"
#include "kernels/cuda/weight_gradient.h"

namespace
{
using namespace rvx;

/* As kernels/cpu/amx/conv.c has it: bf16 tensors are bf16 numbers; streams are what the graph says.
 */
bool bf16_of(const rvx_call *call, const rvx_tensor &a, const rvx_tensor &b)
{
    return a.dtype == RVX_BF16 || b.dtype == RVX_BF16 || call->params->bf16_products;
}

/* `transposed` swaps what is gathered with what is scattered, in both directions. */
void forward(const rvx_call *call, bool transposed, const rvx_tensor &target,
             const rvx_tensor &residual, int sign, Kernel kernel = CHOSEN)
{
    Correlation c = {};
    c.gather =
        rvx__cuda_gather_of(&call->in[0].shape, &call->out[0].shape, call->params, transposed, 0);
    c.source = call->in[0];
    c.target = target;
    c.weight = call->in[1];
    c.bias = call->in[2];
    c.fold = call->fold;
    c.residual = residual;
    c.sign = sign;
    c.kernel = kernel;
    c.bf16 = bf16_of(call, call->in[0], call->out[0]);
    c.tf32 = call->params->tf32_products != 0;
    c.scratch = call->scratch;
    correlate(c, queue_of(call));
}

/* The gradient with respect to a = fold(x): neither x nor the fold is read. */
void backward_data(const rvx_call *call, bool transposed, Kernel kernel = CHOSEN)
{
    const rvx_tensor &dx = call->grad_in[0], &dy = call->grad_out[0];
    Correlation c = {};
    c.gather = rvx__cuda_gather_of(&dy.shape, &dx.shape, call->params, !transposed, 1);
    c.source = dy;
    c.target = dx;
    c.weight = call->in[1];
    c.accumulate = (call->accumulate & 1) != 0;
    c.kernel = kernel;
    c.bf16 = bf16_of(call, dx, dy);
    c.tf32 = call->params->tf32_products != 0;
    c.scratch = call->scratch;
    correlate(c, queue_of(call));
}
} // namespace

/* The inverse: residual = y - conv(a), with the products of the forward pass, whatever the types
 * say. Once for the kernel that is chosen, once for each that can be pinned. */
#define RVX__CONV_KERNELS(name, kernel)                                                            \
    extern "C" void rvx__cuda_##name##_forward(const rvx_call *call)                               \
    {                                                                                              \
        forward(call, false, call->out[0], call->in[RVX_CONV_RESIDUAL], 1, kernel);                \
    }                                                                                              \
    extern "C" void rvx__cuda_##name##_inverse(const rvx_call *call)                               \
    {                                                                                              \
        forward(call, false, call->in[RVX_CONV_RESIDUAL], call->out[0], -1, kernel);               \
    }                                                                                              \
    extern "C" void rvx__cuda_##name##_backward_data(const rvx_call *call)                         \
    {                                                                                              \
        backward_data(call, false, kernel);                                                        \
    }

RVX__CONV_KERNELS(conv, CHOSEN)
RVX__CONV_KERNELS(conv_any, ANY)
RVX__CONV_KERNELS(conv_halo, HALO)
RVX__CONV_KERNELS(conv_stream, STREAM)

extern "C" void rvx__cuda_conv_backward_parameters(const rvx_call *call)
{
    weight_gradient(call, false, bf16_of(call, call->in[0], call->grad_out[0]));
}

extern "C" void rvx__cuda_conv_transpose_forward(const rvx_call *call)
{
    forward(call, true, call->out[0], {}, 0);
}

extern "C" void rvx__cuda_conv_transpose_backward_data(const rvx_call *call)
{
    backward_data(call, true);
}

extern "C" void rvx__cuda_conv_transpose_backward_parameters(const rvx_call *call)
{
    weight_gradient(call, true, bf16_of(call, call->in[0], call->grad_out[0]));
}
