/* The gradient of norm_conv's data, whose convolutions are made slab by slab (kernels/norm_conv.h),
 * by whoever is given. Owns nothing. */
#ifndef RVX_CUDA_NORM_CONV_H
#define RVX_CUDA_NORM_CONV_H

#include "kernels/norm_conv.h"

namespace rvx
{
/* Slabs of as many kinds at most: the first, those between, those that reach the end, the last. */
enum { SLAB_KINDS = 6 };

/* The convolution of the first slab of a kind. */
struct SlabKind {
    rvx__slab_range range;
    rvx_call conv; /* backward_data of conv; its params are those of the range */
};

/* Makes the convolution of a slab: a call of backward_data of the op conv. */
typedef void (*SlabConv)(const rvx_call *conv, const void *context);

/* All kinds of slabs that the call has; returns how many. */
int norm_conv_slabs(SlabKind (&kinds)[SLAB_KINDS], const rvx_call *call);
void norm_conv_backward_data(const rvx_call *call, SlabConv make, const void *context);
} // namespace rvx

#endif
