/* The convolution on the GPU (kernels/conv.h): the phases of its row, as gathers and weight
 * gradients. Owns: which products a call takes, and the pins of their kernels. The choice knows
 * device, shapes, types and parameters only, so that a rerun and an inverse form the sum of the
 * forward pass, bit for bit, wherever tensors lie. */
#include "kernels/conv.h"
#include "kernels/cuda/conv.h"
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
Correlation forward_of(const rvx_call *call, bool transposed)
{
    Correlation c = {};
    c.gather =
        rvx__cuda_gather_of(&call->in[0].shape, &call->out[0].shape, call->params, transposed, 0);
    c.source = call->in[0];
    c.target = call->out[0];
    c.weight = call->in[1];
    c.bias = call->in[2];
    c.fold = call->fold;
    c.bf16 = bf16_of(call, call->in[0], call->out[0]);
    c.tf32 = call->params->tf32_products != 0;
    c.scratch = call->scratch;
    return c;
}

/* The gradient with respect to a = fold(x): neither x nor the fold is read. */
Correlation data_of(const rvx_call *call, bool transposed)
{
    const rvx_tensor &dx = call->grad_in[0], &dy = call->grad_out[0];
    Correlation c = {};
    c.gather = rvx__cuda_gather_of(&dy.shape, &dx.shape, call->params, !transposed, 1);
    c.source = dy;
    c.target = dx;
    c.weight = call->in[1];
    c.accumulate = (call->accumulate & 1) != 0;
    c.bf16 = bf16_of(call, dx, dy);
    c.tf32 = call->params->tf32_products != 0;
    c.scratch = call->scratch;
    return c;
}

/* y = residual + conv(a), or residual = y - conv(a) with the products of the forward pass, whatever
 * the types say, or the gradient. */
Correlation gather_of(const rvx_call *call, rvx_phase phase)
{
    Correlation c = phase == RVX_BACKWARD_DATA ? data_of(call, false) : forward_of(call, false);
    if (phase == RVX_FORWARD) {
        c.residual = call->in[RVX_CONV_RESIDUAL];
        c.sign = 1;
    } else if (phase == RVX_INVERSE) {
        c.target = call->in[RVX_CONV_RESIDUAL];
        c.residual = call->out[0];
        c.sign = -1;
    }
    return c;
}
} // namespace

namespace rvx
{
const char *conv_kernel_name(Kernel kernel)
{
    static const char *const names[KERNELS] = {
        "conv",
#define RVX_CUDA_CONV_KERNEL(NAME, name) "conv." #name,
#include "kernels/cuda/conv_kernels.def"
#undef RVX_CUDA_CONV_KERNEL
    };
    return names[kernel];
}

int conv_kernels(Kernel (&list)[KERNELS], rvx_phase phase, const rvx_call *call)
{
    if (phase == RVX_BACKWARD_PARAMETERS)
        return weight_kernels(list, call, false, bf16_of(call, call->in[0], call->grad_out[0]));
    return correlate_kernels(list, gather_of(call, phase));
}

void conv_run(const rvx_call *call, rvx_phase phase, Kernel kernel)
{
    if (phase == RVX_BACKWARD_PARAMETERS)
        return weight_gradient(call, false, bf16_of(call, call->in[0], call->grad_out[0]), kernel);
    Correlation c = gather_of(call, phase);
    c.kernel = kernel;
    correlate(c, queue_of(call));
}
} // namespace rvx

/* Once for the kernel that is chosen, once for each that can be pinned. */
#define RVX__CONV_PHASE(function, phase, kernel)                                                   \
    extern "C" void rvx__cuda_##function(const rvx_call *call)                                     \
    {                                                                                              \
        rvx::conv_run(call, phase, rvx::kernel);                                                   \
    }
#define RVX__CONV_PHASES(name, kernel)                                                             \
    RVX__CONV_PHASE(name##_forward, RVX_FORWARD, kernel)                                           \
    RVX__CONV_PHASE(name##_inverse, RVX_INVERSE, kernel)                                           \
    RVX__CONV_PHASE(name##_backward_data, RVX_BACKWARD_DATA, kernel)                               \
    RVX__CONV_PHASE(name##_backward_parameters, RVX_BACKWARD_PARAMETERS, kernel)

RVX__CONV_PHASES(conv, CHOSEN)
#define RVX_CUDA_CONV_KERNEL(NAME, name) RVX__CONV_PHASES(conv_##name, NAME)
#include "kernels/cuda/conv_kernels.def"
#undef RVX_CUDA_CONV_KERNEL

extern "C" void rvx__cuda_conv_transpose_forward(const rvx_call *call)
{
    correlate(forward_of(call, true), queue_of(call));
}

extern "C" void rvx__cuda_conv_transpose_backward_data(const rvx_call *call)
{
    correlate(data_of(call, true), queue_of(call));
}

extern "C" void rvx__cuda_conv_transpose_backward_parameters(const rvx_call *call)
{
    rvx::weight_gradient(call, true, bf16_of(call, call->in[0], call->grad_out[0]), rvx::CHOSEN);
}
