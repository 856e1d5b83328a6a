/* Movements between a fine and a coarse tensor, line of blocks by line of blocks, for
 * space_to_depth and for the transforms that go with it (kernels/cpu/block_transform.h). Owns: no
 * memory; the way in which a movement is done in place.
 *
 * In place. A slab of blocks (stride_d fine slices, one coarse slice) is the same memory on both
 * sides, and so is nothing smaller: in it, fine lines stand [id][y][ih], coarse ones [y], each of
 * which takes the lines [id][ih] of its blocks. So the slab's runs of stride_h lines are first
 * transposed from [id][y] to [y][id], along the cycles of that permutation with room for one run;
 * then each line of blocks is squeezed through scratch. Spreading goes the other way round. */
#ifndef RVX_CPU_BLOCK_MOVE_H
#define RVX_CPU_BLOCK_MOVE_H

#include "kernels/cpu/block.h"
#include "kernels/cpu/units.h"
#include "kernels/op.h"

#include <omp.h>

/* One movement: coarse and fine are the two sides, whichever is written. */
typedef struct movement {
    const rvx_tensor *coarse, *fine;
    const rvx_op_params *params;
    int squeeze, accumulate;
    char *scratch;
    int64_t line_bytes, each_bytes; /* scratch of a thread: a line of blocks, and marks */
    int threads;
} movement;

static inline movement movement_of(const rvx_call *call, const rvx_tensor *coarse,
                                   const rvx_tensor *fine, int squeeze, int accumulate)
{
    int64_t line = rvx__block_line_bytes(coarse->shape);
    return (movement){coarse,       fine,
                      call->params, squeeze,
                      accumulate,   (char *)call->scratch,
                      line,         line + rvx__block_mark_bytes(coarse->shape, call->params),
                      call->threads};
}

static inline char *scratch_own(const movement *m)
{
    return m->scratch + omp_get_thread_num() * m->each_bytes;
}

/* Coarse line `row` of the batch and its blocks. */
static inline rvx_block_line line_of(const movement *m, int64_t row)
{
    const rvx_shape *y = &m->coarse->shape, *x = &m->fine->shape;
    const int32_t *stride = m->params->stride;
    int64_t slice = row / y->h, line = row % y->h; /* slices of the batch follow one another */
    int64_t first = (slice * stride[0] * x->h + line * stride[1]) * x->w;
    return (rvx_block_line){
        .coarse = (char *)m->coarse->data +
                  row * y->w * m->coarse->pitch * rvx__dtype_bytes(m->coarse->dtype),
        .fine = (char *)m->fine->data + first * m->fine->pitch * rvx__dtype_bytes(m->fine->dtype),
        .coarse_pitch = m->coarse->pitch,
        .fine_pitch = m->fine->pitch,
        .fine_row = x->w * m->fine->pitch,
        .fine_slice = x->h * x->w * m->fine->pitch,
        .voxels = y->w,
        .c = x->c,
        .stride = {stride[0], stride[1], stride[2]},
        .order = m->params->order};
}

static inline void line_move(const rvx_block_line *l, rvx_dtype dtype, int squeeze)
{
    if (rvx__dtype_bytes(dtype) == 2 && squeeze)
        rvx__block_move(l, 2, 1);
    else if (rvx__dtype_bytes(dtype) == 2)
        rvx__block_move(l, 2, 0);
    else if (squeeze)
        rvx__block_move(l, 4, 1);
    else
        rvx__block_move(l, 4, 0);
}

/* The fine side of a line of blocks as dense lines [id][ih]. */
static inline rvx_block_line line_gather(rvx_block_line l, char *fine)
{
    l.fine = fine;
    l.fine_pitch = l.c;
    l.fine_row = l.voxels * l.stride[2] * l.c;
    l.fine_slice = l.fine_row * l.stride[1];
    return l;
}

/* Lines of one slab where both sides are the same memory. */
static inline void slab_in_place(const movement *m, int64_t slab, int64_t lines)
{
    const int32_t *stride = m->params->stride;
    int64_t size = rvx__dtype_bytes(m->coarse->dtype);
    int64_t bytes = m->coarse->shape.w * m->coarse->shape.c * size, unit = bytes / stride[0];
    char *spare = scratch_own(m), *marks = spare + m->line_bytes;
    char *data = (char *)m->coarse->data + slab * lines * bytes;
    if (m->squeeze)
        rvx__units_turn(data, (rvx_units){stride[0], lines, unit, unit}, spare, marks);
    for (int64_t i = 0; i < lines; i++) {
        rvx_block_line l = line_of(m, slab * lines + i);
        char *at = data + i * bytes;
        l.coarse = m->squeeze ? spare : at;
        l = line_gather(l, m->squeeze ? at : spare);
        line_move(&l, m->coarse->dtype, m->squeeze);
        memcpy(at, spare, (size_t)bytes);
    }
    if (!m->squeeze)
        rvx__units_turn(data, (rvx_units){lines, stride[0], unit, unit}, spare, marks);
}

/* Slabs of a movement in place, and the lines of each. Lines that stay in their slice need no
 * others. */
static inline int64_t slab_lines(const movement *m)
{
    return m->params->stride[0] == 1 ? 1 : m->coarse->shape.h;
}

static inline int64_t movement_rows(const movement *m)
{
    return m->coarse->shape.n * m->coarse->shape.d * m->coarse->shape.h;
}

#endif
