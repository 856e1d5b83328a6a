/* The weights of a gather of 3 x 3 taps in a plane, stride 1, as kernels pack them. Owns: which
 * weight a tap multiplies; a scattering gather has its taps the other way round. */
#ifndef RVX_CUDA_TAP_WEIGHT_H
#define RVX_CUDA_TAP_WEIGHT_H

#include "kernels/cuda/conv_sizes.h"
#include "kernels/cuda/simt.h"

namespace rvx
{
/* Of tap (z, y, x) from source channel `channel` to target channel `column`; 0 beyond the channels.
 */
RVX_DEVICE float tap_weight(const rvx__cuda_gather &g, const float *weight, int32_t z, int32_t y,
                            int32_t x, int32_t channel, int32_t column)
{
    if (channel >= g.source_c || column >= g.target_c)
        return 0.0f;
    if (g.scatter) {
        z = g.kernel[0] - 1 - z;
        y = 2 - y;
        x = 2 - x;
    }
    const int64_t tap = ((int64_t)z * 3 + y) * 3 + x;
    return g.turned ? weight[(tap * g.target_c + column) * g.source_c + channel]
                    : weight[(tap * g.source_c + channel) * g.target_c + column];
}
} // namespace rvx

#endif
