/* Weighted sums of rows: see kernels/resample.h. Neighbouring output rows read nearly the same
 * input rows, so GROUP of them are summed together: an input vector is loaded once for all that
 * want it. Columns go in strips; the rows that a group reads then stay in the first cache for the
 * next. */
#include "kernels/resample.h"
#include "kernels/cpu/vec.h"
#include "kernels/op.h"

enum { GROUP = 4, WIDE = RVX_LANES == 16 ? 4 : 2 };

/* Where the input row stands that is read now. */
typedef struct ring_place {
    const float *row, *start, *end; /* end: behind the last row of the ring */
    int64_t stride;
} ring_place;

RVX_INLINE ring_place ring_at(const rvx_row_sums *s, int64_t row, int64_t column)
{
    const float *start = s->in + column;
    return (ring_place){start + row % s->in_rows * s->in_stride, start,
                        start + s->in_rows * s->in_stride, s->in_stride};
}

RVX_INLINE void ring_next(ring_place *at)
{
    at->row += at->stride;
    at->row = at->row == at->end ? at->start : at->row;
}

/* One input row of `vectors` vectors into the sums of output rows low .. high - 1 of a group. */
RVX_INLINE void row_add(rvx_vec (*sum)[WIDE], const ring_place *at, const float *const *weights,
                        int low, int high, int vectors, int64_t count)
{
    rvx_vec in[WIDE];
    for (int v = 0; v < vectors; v++)
        in[v] = rvx__load_count(at->row + v * RVX_LANES, count);
    for (int j = low; j < high; j++)
        for (int v = 0; v < vectors; v++)
            sum[j][v] = rvx__vec_fma(rvx__splat(*weights[j]), in[v], sum[j][v]);
}

/* `rows` output rows (a constant) from `r` on, `vectors` vectors each, of `count` lanes. */
RVX_INLINE void group_make(const rvx_row_sums *s, int64_t r, int64_t column, int rows, int vectors,
                           int64_t count)
{
    rvx_vec sum[GROUP][WIDE];
    const float *weights[GROUP];
    ring_place at = ring_at(s, s->first[r], column);
    int64_t row = s->first[r];
    const int64_t all = s->first[r + rows - 1], end = row + s->taps;
    for (int j = 0; j < rows; j++) {
        weights[j] = s->weights + (r + j) * s->taps;
        for (int v = 0; v < vectors; v++)
            sum[j][v] = (rvx_vec){0};
    }
    /* First the rows that not all of the group read, then those that all do, then the rest. */
    for (; row < all; row++, ring_next(&at))
        for (int j = 0; j < rows; j++)
            if (row >= s->first[r + j] && row < s->first[r + j] + s->taps) {
                row_add(sum, &at, weights, j, j + 1, vectors, count);
                weights[j]++;
            }
    for (; row < end; row++, ring_next(&at)) {
        row_add(sum, &at, weights, 0, rows, vectors, count);
        for (int j = 0; j < rows; j++)
            weights[j]++;
    }
    for (; row < all + s->taps; row++, ring_next(&at))
        for (int j = 0; j < rows; j++)
            if (row < s->first[r + j] + s->taps) {
                row_add(sum, &at, weights, j, j + 1, vectors, count);
                weights[j]++;
            }
    for (int j = 0; j < rows; j++)
        for (int v = 0; v < vectors; v++)
            rvx__store_count(s->out + (r + j) * s->out_stride + column + v * RVX_LANES, sum[j][v],
                             count);
}

RVX_INLINE void strip_make(const rvx_row_sums *s, int64_t column, int vectors, int64_t count)
{
    int64_t r = 0;
    for (; r + GROUP <= s->out_rows; r += GROUP)
        group_make(s, r, column, GROUP, vectors, count);
    for (; r < s->out_rows; r++)
        group_make(s, r, column, 1, vectors, count);
}

void RVX_KERNEL(rvx__row_sums)(const rvx_row_sums *s)
{
    int64_t column = 0;
    for (; column + WIDE * RVX_LANES <= s->count; column += WIDE * RVX_LANES)
        strip_make(s, column, WIDE, RVX_LANES);
    for (; column + RVX_LANES <= s->count; column += RVX_LANES)
        strip_make(s, column, 1, RVX_LANES);
    if (column < s->count)
        strip_make(s, column, 1, s->count - column);
}
