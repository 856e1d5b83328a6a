/* space_to_depth and depth_to_space on the CPU (see kernels/space_to_depth.h). */
#include "kernels/space_to_depth.h"
#include "kernels/cpu/block_move.h"
#include "kernels/cpu/copy.h"

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

static void move(const movement *m)
{
    int64_t rows = movement_rows(m);
    int same = m->coarse->dtype == m->fine->dtype && !m->accumulate;
    if (m->coarse->data == m->fine->data) {
        int64_t lines = slab_lines(m);
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
