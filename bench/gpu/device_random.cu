/* What device.h has that is the same on a GPU and in the emulation. */
#include "bench/gpu/device.h"

#include <algorithm>
#include <chrono>

namespace bench
{
namespace
{
/* Each the sum of four uniform ones. */
RVX_GLOBAL void RVX_BOUNDS(THREADS) random_kernel(uint16_t *to, int64_t count, uint32_t seed)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS) {
        uint64_t z = ((uint64_t)seed << 40) + (uint64_t)i;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        float sum = -2;
        for (int k = 0; k < 4; k++)
            sum += (float)(z >> (16 * k) & 0xFFFF) * 0x1p-16f;
        to[i] = (uint16_t)simt::pack_bf16(sum * 1.7320508f, 0.0f);
    }
}
} // namespace

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

double median(double *values, int count)
{
    std::sort(values, values + count);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void randomise(void *to, int64_t count, uint32_t seed)
{
    simt::launch(random_kernel, dim3((unsigned)amount(2048, 2)), THREADS, 0, stream,
                 static_cast<uint16_t *>(to), count, seed);
}
} // namespace bench
