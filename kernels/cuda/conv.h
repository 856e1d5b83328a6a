/* The convolution by a kernel of ours that is named. Owns nothing. */
#ifndef RVX_CUDA_CONV_H
#define RVX_CUDA_CONV_H

#include "kernels/cuda/correlate.h"

namespace rvx
{
/* "conv.halo" */
const char *conv_kernel_name(Kernel kernel);
/* Those that take a call of the op conv; first the one that runs where none is named. Returns how
 * many: one at least. Follows from device, shapes, types and parameters; the scratch of the op's
 * row is enough for each. */
int conv_kernels(Kernel (&list)[KERNELS], rvx_phase phase, const rvx_call *call);
/* CHOSEN: the first of them. */
void conv_run(const rvx_call *call, rvx_phase phase, Kernel kernel);
} // namespace rvx

#endif
