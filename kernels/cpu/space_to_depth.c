/* space_to_depth and depth_to_space on the CPU (see kernels/space_to_depth.c): lines of blocks,
 * each by itself, moved by kernels/cpu/block.h.
 *
 * In place. A slab of blocks (stride_d fine slices, one coarse slice) is the same memory on both
 * sides, and so is nothing smaller: in it, fine lines stand [id][y][ih], coarse ones [y], each of
 * which takes the lines [id][ih] of its blocks. So the slab's runs of stride_h lines are first
 * transposed from [id][y] to [y][id], along the cycles of that permutation with room for one run;
 * then each line of blocks is squeezed through scratch. Spreading goes the other way round. */
#include "kernels/space_to_depth.h"
#include "kernels/cpu/block.h"
#include "kernels/cpu/copy.h"

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

static movement movement_of(const rvx_call *call, const rvx_tensor *coarse, const rvx_tensor *fine,
                            int squeeze, int accumulate)
{
    int64_t line = rvx__block_line_bytes(coarse->shape);
    return (movement){coarse,       fine,
                      call->params, squeeze,
                      accumulate,   (char *)call->scratch,
                      line,         line + rvx__block_mark_bytes(coarse->shape, call->params),
                      call->threads};
}

static char *scratch_own(const movement *m)
{
    return m->scratch + omp_get_thread_num() * m->each_bytes;
}

/* Coarse line `row` of the batch and its blocks. */
static rvx_block_line line_of(const movement *m, int64_t row)
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

static void line_move(const rvx_block_line *l, rvx_dtype dtype, int squeeze)
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
static rvx_block_line line_gather(rvx_block_line l, char *fine)
{
    l.fine = fine;
    l.fine_pitch = l.c;
    l.fine_row = l.voxels * l.stride[2] * l.c;
    l.fine_slice = l.fine_row * l.stride[1];
    return l;
}

/* Types that differ, or sums: moved to scratch first, then converted or added line by line. */
static void line_convert(const movement *m, int64_t row)
{
    const rvx_tensor *to = m->squeeze ? m->coarse : m->fine;
    rvx_dtype from = m->squeeze ? m->fine->dtype : m->coarse->dtype;
    rvx_block_line l = line_of(m, row), aside = l;
    char *scratch = scratch_own(m);
    if (m->squeeze) {
        aside.coarse = scratch;
        aside.coarse_pitch = m->coarse->shape.c;
    } else {
        aside = line_gather(l, scratch);
    }
    line_move(&aside, from, m->squeeze);
    rvx_plane a = {scratch, to->shape.c, from, 1, 1, NULL}, y = rvx__plane_of(to, 0);
    int64_t lines = m->squeeze ? 1 : l.stride[0] * l.stride[1], voxels = to->shape.w;
    for (int64_t i = 0; i < lines; i++) {
        y.data = m->squeeze
                     ? l.coarse
                     : l.fine + (i / l.stride[1] * l.fine_slice + i % l.stride[1] * l.fine_row) *
                                    rvx__dtype_bytes(to->dtype);
        if (m->accumulate)
            rvx__combine_lines(y, a, y, voxels, to->shape.c, RVX_COMBINE_SUM);
        else
            rvx__combine_lines(y, a, a, voxels, to->shape.c, RVX_COMBINE_COPY);
        a = rvx__plane_at(a, voxels * a.pitch);
    }
}

/* Units of a matrix [rows][columns] in place to [columns][rows]. */
static void units_transpose(char *data, int64_t rows, int64_t columns, int64_t bytes, char *spare,
                            char *marks)
{
    int64_t count = rows * columns;
    if (rows == 1 || columns == 1)
        return;
    memset(marks, 0, (size_t)count);
    for (int64_t first = 0; first < count; first++) {
        if (marks[first])
            continue;
        int64_t to = first, from = to % rows * columns + to / rows;
        marks[first] = 1;
        if (from == first)
            continue;
        memcpy(spare, data + first * bytes, (size_t)bytes);
        for (; from != first; to = from, from = to % rows * columns + to / rows) {
            memcpy(data + to * bytes, data + from * bytes, (size_t)bytes);
            marks[from] = 1;
        }
        memcpy(data + to * bytes, spare, (size_t)bytes);
    }
}

/* Lines of one slab where both sides are the same memory. */
static void slab_in_place(const movement *m, int64_t slab, int64_t lines)
{
    const int32_t *stride = m->params->stride;
    int64_t size = rvx__dtype_bytes(m->coarse->dtype);
    int64_t bytes = m->coarse->shape.w * m->coarse->shape.c * size, unit = bytes / stride[0];
    char *spare = scratch_own(m), *marks = spare + m->line_bytes;
    char *data = (char *)m->coarse->data + slab * lines * bytes;
    if (m->squeeze)
        units_transpose(data, stride[0], lines, unit, spare, marks);
    for (int64_t i = 0; i < lines; i++) {
        rvx_block_line l = line_of(m, slab * lines + i);
        char *at = data + i * bytes;
        l.coarse = m->squeeze ? spare : at;
        l = line_gather(l, m->squeeze ? at : spare);
        line_move(&l, m->coarse->dtype, m->squeeze);
        memcpy(at, spare, (size_t)bytes);
    }
    if (!m->squeeze)
        units_transpose(data, lines, stride[0], unit, spare, marks);
}

static void move(const movement *m)
{
    const rvx_shape *y = &m->coarse->shape;
    int64_t rows = y->n * y->d * y->h;
    int same = m->coarse->dtype == m->fine->dtype && !m->accumulate;
    if (m->coarse->data == m->fine->data) {
        int64_t lines = m->params->stride[0] == 1 ? 1 : y->h;
#pragma omp parallel for num_threads(m->threads) schedule(static)
        for (int64_t slab = 0; slab < rows / lines; slab++)
            slab_in_place(m, slab, lines);
        return;
    }
#pragma omp parallel for num_threads(m->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        if (!same) {
            line_convert(m, row);
            continue;
        }
        rvx_block_line l = line_of(m, row);
        line_move(&l, m->coarse->dtype, m->squeeze);
    }
}

void RVX_KERNEL(rvx__space_to_depth_forward)(const rvx_call *call)
{
    movement m = movement_of(call, &call->out[0], &call->in[0], 1, 0);
    move(&m);
}

void RVX_KERNEL(rvx__space_to_depth_backward)(const rvx_call *call)
{
    movement m =
        movement_of(call, &call->grad_out[0], &call->grad_in[0], 0, (call->accumulate & 1u) != 0);
    move(&m);
}

void RVX_KERNEL(rvx__space_to_depth_inverse)(const rvx_call *call)
{
    movement m = movement_of(call, &call->out[0], &call->in[0], 0, 0);
    move(&m);
}

void RVX_KERNEL(rvx__depth_to_space_forward)(const rvx_call *call)
{
    movement m = movement_of(call, &call->in[0], &call->out[0], 0, 0);
    move(&m);
}

void RVX_KERNEL(rvx__depth_to_space_backward)(const rvx_call *call)
{
    movement m =
        movement_of(call, &call->grad_in[0], &call->grad_out[0], 1, (call->accumulate & 1u) != 0);
    move(&m);
}

void RVX_KERNEL(rvx__depth_to_space_inverse)(const rvx_call *call)
{
    movement m = movement_of(call, &call->in[0], &call->out[0], 1, 0);
    move(&m);
}
