/* Copies, sums and differences of tensors of one shape, each with its own pitch and type: the
 * common part of add, concat and split. Owns nothing. */
#ifndef RVX_CUDA_COMBINE_H
#define RVX_CUDA_COMBINE_H

#include "kernels/op.h"

namespace rvx
{
/* Channels first .. first + count of a tensor. */
inline rvx_tensor channels_of(const rvx_tensor &t, int64_t first, int64_t count)
{
    rvx_tensor part = t;
    part.data = t.data ? static_cast<char *>(t.data) + first * rvx__dtype_bytes(t.dtype) : nullptr;
    part.shape.c = count;
    return part;
}

enum Combine {
    COPY,      /* y = a */
    ZERO,      /* y = 0 */
    SUM,       /* y = a + b */
    DIFFERENCE /* y = a - b */
};

/* Queues y = how(a, b) on the queue of `call`. y may be a or b; it overlaps neither otherwise.
 * Operands that `how` does not name are not read. */
void combine(const rvx_call *call, const rvx_tensor &y, const rvx_tensor &a, const rvx_tensor &b,
             Combine how);
} // namespace rvx

#endif
