/* What happens to operands before and after a library's convolution, in kernels of ours. Owns
 * nothing. */
#ifndef RVX_CUDA_LIBRARY_PASSES_H
#define RVX_CUDA_LIBRARY_PASSES_H

#include "kernels/op.h"

namespace rvx
{
/* Weights as libraries have them are [channel of y][k][channel of x]; ours are [k][x][y], those of
 * a transposed convolution, whose x is the library's y, [k][y][x]. */
struct LibraryWeights {
    int64_t x, y, taps;
    bool transposed;
};

/* to = fold(from), whatever types and pitches are; nothing where both are one tensor. */
void library_bring(const rvx_call *call, const rvx_tensor &to, const rvx_tensor &from,
                   const rvx_tensor &fold);
/* Every voxel of y becomes the bias. */
void library_spread_bias(const rvx_call *call, const rvx_tensor &y, const rvx_tensor &bias);
/* target = residual + or - sum with the arithmetic of our own kernels; without a residual, target =
 * sum. Nothing where target and sum are one tensor. */
void library_finish(const rvx_call *call, const rvx_tensor &target, const rvx_tensor &sum,
                    const rvx_tensor &residual, int sign);
void library_pack(const rvx_call *call, void *to, rvx_dtype type, const float *from,
                  const LibraryWeights &weights);
void library_unpack(const rvx_call *call, float *to, const float *from,
                    const LibraryWeights &weights, bool add);
/* to[c] = sum of dy over its voxels, in a fixed order. `sums`: library_sum_bytes. */
int64_t library_sum_bytes(const rvx_shape &dy);
void library_sum_bias(const rvx_call *call, float *to, const rvx_tensor &dy, double *sums,
                      bool add);
} // namespace rvx

#endif
