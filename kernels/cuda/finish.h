/* What happens to the sums of a convolution once they are complete. Owns: bias, residual or added
 * gradient, and the rounding of what is stored; the same for every kernel that forms sums. */
#ifndef RVX_CUDA_FINISH_H
#define RVX_CUDA_FINISH_H

#include "kernels/cuda/correlate.h"

namespace rvx
{
struct Finish {
    View target, residual;
    const float *bias;
    int32_t sign;
    bool accumulate, eight; /* `eight`: targets can be stored 8 channels at a time */
};

inline Finish finish_of(const Correlation &c)
{
    Finish f = {};
    f.target = view_of(c.target);
    f.residual = view_of(c.residual);
    f.bias = static_cast<const float *>(c.bias.data);
    f.sign = c.sign;
    f.accumulate = c.accumulate;
    f.eight = wide(c.target) && wide(c.residual);
    return f;
}

/* N = 1 or 8 sums without bias, of channels c on. */
template <int N> RVX_DEVICE void finish(const Finish &f, int64_t voxel, int32_t c, float (&sum)[N])
{
    const int64_t at = f.target.at(voxel, c);
    if (f.residual.data)
        store_sum(f.target, at, f.residual, f.residual.at(voxel, c), sum, f.sign);
    else
        put(f.target, at, sum, f.accumulate);
}
} // namespace rvx

#endif
