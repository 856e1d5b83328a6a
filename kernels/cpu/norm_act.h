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

/* Follows from the channels alone, so that sums do not depend on how voxels lie in memory. */
static inline span span_of(int64_t c)
{
    if (c % RVX_LANES == 0 || c >= WIDTH_MAX / RVX_LANES)
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

enum { RUN_FLOATS = 8192 + WIDTH_MAX };

/* Voxels from `first` on, s.repeat of them taken as one. Where these do not lie side by side they
 * are copied to `store` first, `count` wide voxels. */
static inline rvx_plane plane_wide(rvx_plane p, int64_t first, int64_t count, span s, float *store)
{
    p = rvx__plane_at(p, first * s.repeat * p.pitch);
    if (s.repeat == 1 || p.pitch == s.c) {
        p.pitch *= s.repeat;
        return p;
    }
    for (int64_t v = 0; v < count * s.repeat; v++)
        for (int64_t c = 0; c < s.c; c += RVX_LANES) {
            int64_t lanes = s.c - c < RVX_LANES ? s.c - c : RVX_LANES;
            rvx__store_count(store + v * s.c + c, rvx__plane_load(p, v * p.pitch + c, lanes),
                             lanes);
        }
    return (rvx_plane){.data = (char *)store, .pitch = s.width, .dtype = RVX_F32};
}

/* Wide voxels that plane_wide can take at a time: all, or a run where they must be copied. */
static inline int64_t wide_step(rvx_plane p, int64_t count, span s)
{
    return s.repeat == 1 || p.pitch == s.c || count < run_voxels(s.width) ? count
                                                                          : run_voxels(s.width);
}

static inline void sums_clear(double *sums, span s)
{
    memset(sums, 0, (size_t)s.width * sizeof *sums);
}

#endif
