/* Exact sums over integer streams: see norm_integers.h. Invariant: 32-bit sums run over at most RUN
 * voxels before they are added to 64 bits: |x| <= 2^15, and the two halves of x^2 <= 2^30, summed
 * apart, stay below 2^16 and 2^15. */
#include "kernels/cpu/norm_integers.h"

enum { RUN = 4096 };

RVX_INLINE void sums_run(int64_t *sums, const int16_t *x, int64_t pitch, int64_t run, int64_t count)
{
    rvx_vec_int sum = {0}, low = {0}, high = {0};
    for (int64_t v = 0; v < run; v++) {
        rvx_vec_int value = rvx__load_i16(x + v * pitch, count), square = value * value;
        sum += value;
        low += square & 0xFFFF;
        high += square >> 16;
    }
    for (int64_t i = 0; i < count; i++) {
        sums[2 * i] += sum[i];
        sums[2 * i + 1] += (int64_t)high[i] * 65536 + low[i];
    }
}

void RVX_KERNEL(rvx__integer_sums)(int64_t *sums, rvx_plane x, int64_t voxels, int64_t channels)
{
    const int16_t *data = (const int16_t *)(const void *)x.data;
    memset(sums, 0, (size_t)(2 * channels) * sizeof *sums);
    for (int64_t v = 0; v < voxels; v += RUN) {
        int64_t run = voxels - v < RUN ? voxels - v : RUN, c = 0;
        const int16_t *from = data + v * x.pitch;
        for (; c + RVX_LANES <= channels; c += RVX_LANES)
            sums_run(sums + 2 * c, from + c, x.pitch, run, RVX_LANES);
        if (c < channels)
            sums_run(sums + 2 * c, from + c, x.pitch, run, channels - c);
    }
}
