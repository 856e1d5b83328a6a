/* Copies, sums and differences of two-dimensional arrays [rows][c] with a pitch, the common part
 * of add, concat and split. Owns nothing. Rows are voxels; dense arrays are taken as one row. */
#ifndef RVX_CPU_COPY_H
#define RVX_CPU_COPY_H

#include "kernels/cpu/vec.h"

#include <stddef.h>

typedef enum rvx_combine {
    RVX_COMBINE_COPY,      /* y = a */
    RVX_COMBINE_ZERO,      /* y = 0 */
    RVX_COMBINE_SUM,       /* y = a + b */
    RVX_COMBINE_DIFFERENCE /* y = a - b */
} rvx_combine;

RVX_INLINE rvx_vec rvx__combine_one(rvx_plane a, rvx_plane b, int64_t i, rvx_combine how,
                                    int64_t count)
{
    rvx_vec v = {0};
    if (how != RVX_COMBINE_ZERO)
        v = rvx__plane_load(a, i, count);
    if (how == RVX_COMBINE_SUM)
        v += rvx__plane_load(b, i, count);
    if (how == RVX_COMBINE_DIFFERENCE)
        v -= rvx__plane_load(b, i, count);
    return v;
}

/* Elements as integers of y's grid, wrapped. */
RVX_INLINE rvx_vec_int rvx__integers(rvx_plane y, rvx_plane x, int64_t i, int64_t count)
{
    if (x.dtype == RVX_I16 && x.unit == y.unit)
        return rvx__load_i16((const int16_t *)rvx__plane_address(x, i), count);
    rvx_vec_int v = rvx__grid_round(rvx__plane_load(x, i, count), y.steps);
    rvx__count_lost(v, count, y.overflow);
    return rvx__wrap_i16(v);
}

/* Sums and differences of a stream are those of integers. Where one of them undoes another nothing
 * is counted as lost. */
RVX_INLINE void rvx__combine_integers(rvx_plane y, rvx_plane a, rvx_plane b, int64_t i,
                                      rvx_combine how, int64_t count)
{
    if (how == RVX_COMBINE_DIFFERENCE)
        y.overflow = NULL;
    rvx_vec_int v = rvx__integers(y, a, i, count), w = rvx__integers(y, b, i, count);
    rvx__store_i16((int16_t *)rvx__plane_address(y, i), how == RVX_COMBINE_SUM ? v + w : v - w,
                   count, y.overflow);
}

/* y = a + v or a - v for v in registers: what a residual adds to. */
RVX_INLINE void rvx__combine_sum(rvx_plane y, rvx_plane a, rvx_vec v, rvx_combine how,
                                 int64_t count)
{
    if (y.dtype != RVX_I16) {
        rvx_vec x = rvx__plane_load(a, 0, count);
        rvx__plane_store(y, 0, how == RVX_COMBINE_SUM ? x + v : x - v, count);
        return;
    }
    if (how == RVX_COMBINE_DIFFERENCE)
        y.overflow = NULL;
    rvx_vec_int w = rvx__grid_round(v, y.steps);
    rvx__count_lost(w, count, y.overflow);
    w = rvx__wrap_i16(w);
    rvx_vec_int x = rvx__integers(y, a, 0, count);
    rvx__store_i16((int16_t *)y.data, how == RVX_COMBINE_SUM ? x + w : x - w, count, y.overflow);
}

RVX_INLINE void rvx__combine_at(rvx_plane y, rvx_plane a, rvx_plane b, int64_t i, rvx_combine how,
                                int64_t count)
{
    if (y.dtype == RVX_I16 && (how == RVX_COMBINE_SUM || how == RVX_COMBINE_DIFFERENCE))
        rvx__combine_integers(y, a, b, i, how, count);
    else
        rvx__plane_store(y, i, rvx__combine_one(a, b, i, how, count), count);
}

RVX_INLINE void rvx__combine_lines(rvx_plane y, rvx_plane a, rvx_plane b, int64_t lines,
                                   int64_t count, rvx_combine how)
{
    for (int64_t r = 0; r < lines; r++) {
        int64_t i = 0;
        for (; i + RVX_LANES <= count; i += RVX_LANES)
            rvx__combine_at(y, a, b, i, how, RVX_LANES);
        if (i < count)
            rvx__combine_at(y, a, b, i, how, count - i);
        y = rvx__plane_at(y, y.pitch);
        a = rvx__plane_at(a, a.pitch);
        b = rvx__plane_at(b, b.pitch);
    }
}

/* y = how(a, b) for `rows` rows of c values. y may be a or b; it overlaps neither otherwise.
 * Unused operands: any plane, it is not read. Inline, so that `how` is a constant. */
RVX_INLINE void rvx__combine(rvx_plane y, rvx_plane a, rvx_plane b, int64_t rows, int64_t c,
                             rvx_combine how, int threads)
{
    if (how == RVX_COMBINE_ZERO || how == RVX_COMBINE_COPY)
        b = y;
    if (how == RVX_COMBINE_ZERO)
        a = y;
    int dense = y.pitch == c && a.pitch == c && b.pitch == c;
    int64_t step = 16384 / c + 1, pieces = (rows + step - 1) / step;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        int64_t begin = i * step, end = begin + step < rows ? begin + step : rows;
        int64_t lines = dense ? 1 : end - begin, count = dense ? (end - begin) * c : c;
        rvx_plane to = rvx__plane_at(y, begin * y.pitch), from = rvx__plane_at(a, begin * a.pitch),
                  with = rvx__plane_at(b, begin * b.pitch);
        RVX_PLANES_TYPED(to, from, with, rvx__combine_lines(to, from, with, lines, count, how));
    }
}

#endif
