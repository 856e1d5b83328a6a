/* Weight and bias gradients of both convolutions on the GPU: see conv_sizes.h. Owns nothing. */
#ifndef RVX_CUDA_WEIGHT_GRADIENT_H
#define RVX_CUDA_WEIGHT_GRADIENT_H

#include "kernels/cuda/conv_sizes.h"
#include "kernels/cuda/view.h"

namespace rvx
{
/* For any shape; a call as backward_parameters of conv and conv_transpose gets it. */
void weight_gradient(const rvx_call *call, bool transposed, bool bf16);
} // namespace rvx

#endif
