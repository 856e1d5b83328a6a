/* What the forward and the backward of norm_act share: how channels become vectors. Where voxels
 * are dense and the channels do not fill vectors, `period / c` voxels are taken as one voxel of
 * `period` = lcm(c, lanes) channels, with the per-channel rows repeated. */
#ifndef RVX_NORM_ACT_CPU_H
#define RVX_NORM_ACT_CPU_H

#include "kernels/cpu/vec.h"
#include "kernels/op.h"
#include "kernels/pieces.h"

enum { WIDTH_MAX = 1024, CHUNK_CHANNELS = 512, ROWS_MAX = 6 };

/* Per-channel rows for one chunk, repeated over the period. */
typedef struct span {
    int64_t c, width, repeat; /* channels, channels of a wide voxel, voxels in it */
} span;

static inline span span_of(int64_t c, int dense)
{
    if (!dense || c % RVX_LANES == 0 || c >= WIDTH_MAX / RVX_LANES)
        return (span){c, c, 1};
    int64_t repeat = RVX_LANES, shared = c;
    for (; repeat > 1 && shared % 2 == 0; shared /= 2)
        repeat /= 2;
    return (span){c, c * repeat, repeat};
}

static inline void row_repeat(float *row, const float *source, span s)
{
    for (int64_t i = 0; i < s.width; i += s.c)
        memmove(row + i, source, (size_t)s.c * sizeof(float));
}

/* f32 sums run over this many wide voxels; the run stays in the first-level cache. */
static inline int64_t run_voxels(int64_t width)
{
    int64_t run = 8192 / width;
    return run < 8 ? 8 : run > 64 ? 64 : run;
}

/* Voxels from `first` on, `repeat` of them taken as one. */
static inline rvx_plane plane_repeat(rvx_plane p, int64_t first, int64_t repeat)
{
    p = rvx__plane_at(p, first * p.pitch);
    p.pitch *= repeat;
    return p;
}

static inline void sums_clear(double *sums, span s)
{
    memset(sums, 0, (size_t)s.width * sizeof *sums);
}

#endif
