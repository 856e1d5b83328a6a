/* Weight and bias gradients of both convolutions on the GPU: see conv_sizes.h. Owns nothing. */
#ifndef RVX_CUDA_WEIGHT_GRADIENT_H
#define RVX_CUDA_WEIGHT_GRADIENT_H

#include "kernels/cuda/correlate.h"

namespace rvx
{
/* A call as backward_parameters of conv and conv_transpose gets it, by the kernel that is named,
 * which must take it, or CHOSEN by shapes and parameters. */
void weight_gradient(const rvx_call *call, bool transposed, bool bf16, Kernel kernel);
/* The kernels that take it, the one that is chosen first; how many. */
int weight_kernels(Kernel (&list)[KERNELS], const rvx_call *call, bool transposed, bool bf16);

/* Partial sums of a convolution, for what rvx__cuda_weight_halo_fits says, with bf16 products:
 * [piece][rows][columns] and, where `sums` is not NULL, [piece][sums]. */
void weight_partial_halo(const rvx_call *call, const rvx__cuda_weight_plan &plan, float *partial,
                         float *sums);
} // namespace rvx

#endif
