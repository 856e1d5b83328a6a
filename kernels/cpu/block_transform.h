/* Transforms of the voxels of each block into one another, channel by channel: haar and
 * orthogonal_down / _up on the CPU. Owns: how such a transform is combined with the movement
 * between the fine and the coarse tensor. A transform is a function that runs along one line of
 * blocks; this file gives it the two sides it reads and writes as rows of channels, and brings the
 * coarse side to and from its channel-major order through scratch. In place, it transforms the
 * blocks where they stand and then moves them. */
#ifndef RVX_CPU_BLOCK_TRANSFORM_H
#define RVX_CPU_BLOCK_TRANSFORM_H

#include "kernels/cpu/block_move.h"

/* One side of a line of blocks: voxel `sub` of block v begins at element offset[sub] + v * step. */
typedef struct rvx_block_side {
    rvx_plane plane;
    int64_t offset[RVX_BLOCK_MAX], step;
} rvx_block_side;

/* to = transform(from), or to += where accumulate is set; to may be from. */
typedef struct rvx_block_job {
    rvx_block_side to, from;
    int64_t voxels, c;
    int accumulate;
    const void *context;
} rvx_block_job;

/* One step of lifting: wraps v to 16 bits and counts, in negative numbers, the lanes that did not
 * fit. */
RVX_INLINE rvx_vec_int rvx__lift(rvx_vec_int v, rvx_vec_int *lost)
{
    rvx_vec_int low = rvx__wrap_i16(v);
    *lost += low != v;
    return low;
}

/* The sum of such counts. NULL: not wanted. */
RVX_INLINE void rvx__lift_count(rvx_vec_int lost, int64_t *overflow)
{
    int64_t sum = 0;
    for (int i = 0; i < RVX_LANES; i++)
        sum -= lost[i];
    if (sum && overflow)
        __atomic_fetch_add(overflow, sum, __ATOMIC_RELAXED);
}

typedef void (*rvx_block_transform)(const rvx_block_job *job);

static inline rvx_block_side side_fine(const movement *m, const rvx_block_line *l)
{
    rvx_block_side side = {.plane = rvx__plane_of(m->fine, 0),
                           .step = l->stride[2] * l->fine_pitch};
    side.plane.data = l->fine;
    rvx__block_offsets(side.offset, l);
    return side;
}

/* Blocks one after another in block-major order, at `data`. */
static inline rvx_block_side side_rows(const movement *m, char *data, int64_t pitch, int64_t c)
{
    rvx_block_side side = {.plane = rvx__plane_of(m->coarse, 0), .step = pitch};
    side.plane.data = data;
    for (int64_t i = 0; i < rvx__block_voxels(m->params); i++)
        side.offset[i] = i * c;
    return side;
}

/* Rows in block-major order <-> the coarse line in channel-major order. */
static inline void rows_reorder(const movement *m, const rvx_block_line *l, char *rows)
{
    rvx_block_line aside = *l;
    int32_t s = (int32_t)rvx__block_voxels(m->params);
    aside.fine = rows;
    aside.fine_pitch = l->c;
    aside.stride[0] = aside.stride[1] = 1;
    aside.stride[2] = s;
    line_move(&aside, m->coarse->dtype, m->squeeze);
}

static inline void line_transform(const movement *m, int64_t row, rvx_block_transform transform,
                                  const void *context)
{
    rvx_block_line l = line_of(m, row);
    int through = m->params->order == RVX_ORDER_CHANNEL && l.c > 1;
    char *rows = through ? scratch_own(m) : l.coarse;
    rvx_block_side fine = side_fine(m, &l);
    rvx_block_side coarse = side_rows(m, rows, through ? m->coarse->shape.c : l.coarse_pitch, l.c);
    if (m->squeeze) {
        /* sums are formed in the rows: what is there must be fetched first */
        movement fetch = *m;
        fetch.squeeze = 0;
        if (through && m->accumulate)
            rows_reorder(&fetch, &l, rows);
        transform(&(rvx_block_job){coarse, fine, l.voxels, l.c, m->accumulate, context});
        if (through)
            rows_reorder(m, &l, rows);
    } else {
        if (through)
            rows_reorder(m, &l, rows);
        transform(&(rvx_block_job){fine, coarse, l.voxels, l.c, m->accumulate, context});
    }
}

/* The blocks of a slab where they stand on the fine side. */
static inline void slab_transform(const movement *m, int64_t slab, int64_t lines,
                                  rvx_block_transform transform, const void *context)
{
    for (int64_t i = 0; i < lines; i++) {
        rvx_block_line l = line_of(m, slab * lines + i);
        rvx_block_side from = side_fine(m, &l), to = from;
        to.plane.overflow = (m->squeeze ? m->coarse : m->fine)->overflow;
        transform(&(rvx_block_job){to, from, l.voxels, l.c, 0, context});
    }
}

static inline void rvx__blocks_transform(const movement *m, rvx_block_transform transform,
                                         const void *context)
{
    int64_t rows = movement_rows(m);
    if (m->coarse->data == m->fine->data) {
        int64_t lines = slab_lines(m);
#pragma omp parallel for num_threads(m->threads) schedule(static)
        for (int64_t slab = 0; slab < rows / lines; slab++) {
            if (m->squeeze)
                slab_transform(m, slab, lines, transform, context);
            slab_in_place(m, slab, lines);
            if (!m->squeeze)
                slab_transform(m, slab, lines, transform, context);
        }
        return;
    }
#pragma omp parallel for num_threads(m->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        line_transform(m, row, transform, context);
}

#endif
