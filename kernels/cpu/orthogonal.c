/* Orthogonal resampling on the CPU (see kernels/orthogonal.h): a table of all channels' matrices,
 * or of their liftings, then line by line the transform of blocks (kernels/cpu/block_transform.h),
 * over vectors of channels. */
#include "kernels/orthogonal.h"
#include "kernels/cpu/block_transform.h"

/* Channel i of row r stands at table[r * c + i]. */
typedef struct transform {
    int n, integer;
    int back;   /* integer: undo the lifting */
    int undoes; /* an inverse: what does not fit was counted when it was made */
    const float *matrix;
    const int32_t *lifting;
} transform;

static void weight_of(double *w, const rvx_tensor *weight, int n, int64_t c)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            w[i * n + j] = (double)rvx__f32(weight)[(j * n + i) * weight->pitch + c];
}

/* Q, or Q^T where `flipped`, as numbers or as lifting. */
static void table_fill(void *table, const rvx_call *call, int64_t c_count, int integer, int flipped)
{
    int n = (int)rvx__block_voxels(call->params);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t c = 0; c < c_count; c++) {
        double w[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX],
            q[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX];
        int32_t steps[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX];
        weight_of(w, &call->in[1], n, c);
        rvx__orthogonal_of(q, w, n, call->params->exponential);
        if (integer)
            rvx__orthogonal_lifting(steps, q, n);
        for (int i = 0; i < n * n; i++)
            if (integer)
                ((int32_t *)table)[i * c_count + c] = steps[i];
            else
                ((float *)table)[i * c_count + c] = (float)q[flipped ? i % n * n + i / n : i];
    }
}

RVX_INLINE void number_chunk(const rvx_block_job *job, const transform *t, int64_t voxel, int64_t c,
                             int64_t count, int n)
{
    const rvx_block_side *to = &job->to, *from = &job->from;
    rvx_vec x[RVX_ORTHOGONAL_MAX];
    for (int j = 0; j < n; j++)
        x[j] = rvx__plane_load(from->plane, from->offset[j] + voxel * from->step + c, count);
    for (int i = 0; i < n; i++) {
        rvx_vec sum = {0};
        for (int j = 0; j < n; j++)
            sum = rvx__vec_fma(rvx__load_count(t->matrix + (i * n + j) * job->c + c, count), x[j],
                               sum);
        rvx__plane_put(to->plane, to->offset[i] + voxel * to->step + c, sum, count,
                       job->accumulate);
    }
}

RVX_INLINE rvx_vec_int table_load(const transform *t, int64_t i, int64_t count)
{
    return (rvx_vec_int)rvx__load_count((const float *)(const void *)(t->lifting + i), count);
}

RVX_INLINE rvx_vec_int times(rvx_vec_int v, rvx_vec_int factor)
{
    return (v * factor + 16384) >> 15;
}

RVX_INLINE void integer_chunk(const rvx_block_job *job, const transform *t, int64_t voxel,
                              int64_t c, int64_t count, int n, int back)
{
    const rvx_block_side *to = &job->to, *from = &job->from;
    rvx_vec_int v[RVX_ORTHOGONAL_MAX], lost = {0};
    int64_t row = job->c, at = c + (back ? n * (n - 1) * row : 0), signs = c + n * (n - 1) * row;
    for (int i = 0; i < n; i++) {
        v[i] = rvx__load_i16(
            (const int16_t *)from->plane.data + from->offset[i] + voxel * from->step + c, count);
        if (!back)
            v[i] = rvx__lift(v[i] * table_load(t, signs + i * row, count), &lost);
    }
    if (back) {
        RVX_ORTHOGONAL_STEPS_BACK(a, b, n)
        {
            at -= 2 * row;
            rvx_vec_int tangent = table_load(t, at, count), sine = table_load(t, at + row, count);
            v[a] = rvx__lift(v[a] + times(v[b], tangent), &lost);
            v[b] = rvx__lift(v[b] - times(v[a], sine), &lost);
            v[a] = rvx__lift(v[a] + times(v[b], tangent), &lost);
        }
    } else {
        RVX_ORTHOGONAL_STEPS(a, b, n)
        {
            rvx_vec_int tangent = table_load(t, at, count), sine = table_load(t, at + row, count);
            v[a] = rvx__lift(v[a] - times(v[b], tangent), &lost);
            v[b] = rvx__lift(v[b] + times(v[a], sine), &lost);
            v[a] = rvx__lift(v[a] - times(v[b], tangent), &lost);
            at += 2 * row;
        }
    }
    for (int i = 0; i < n; i++) {
        if (back)
            v[i] = rvx__lift(v[i] * table_load(t, signs + i * row, count), &lost);
        rvx__store_i16((int16_t *)to->plane.data + to->offset[i] + voxel * to->step + c, v[i],
                       count, NULL);
    }
    rvx__lift_count(lost, t->undoes ? NULL : to->plane.overflow);
}

RVX_INLINE void line_with(const rvx_block_job *job, const transform *t, int n, int integer,
                          int back)
{
    for (int64_t v = 0; v < job->voxels; v++)
        for (int64_t c = 0; c < job->c; c += RVX_LANES) {
            int64_t count = c + RVX_LANES <= job->c ? RVX_LANES : job->c - c;
            if (integer)
                integer_chunk(job, t, v, c, count, n, back);
            else
                number_chunk(job, t, v, c, count, n);
        }
}

RVX_INLINE void line_size(const rvx_block_job *job, const transform *t, int n)
{
    if (t->integer && t->back)
        line_with(job, t, n, 1, 1);
    else if (t->integer)
        line_with(job, t, n, 1, 0);
    else
        line_with(job, t, n, 0, 0);
}

static void orthogonal_line(const rvx_block_job *job)
{
    const transform *t = (const transform *)job->context;
    if (t->n == 8)
        line_size(job, t, 8);
    else if (t->n == 4)
        line_size(job, t, 4);
    else if (t->n == 2)
        line_size(job, t, 2);
    else
        line_size(job, t, 1);
}

/* squeeze: coarse = Q fine; otherwise fine = Q^T coarse. */
static void orthogonal_run(const rvx_call *call, const rvx_tensor *coarse, const rvx_tensor *fine,
                           int squeeze, int undoes)
{
    movement m = movement_of(call, coarse, fine, squeeze, (call->accumulate & 1u) != 0);
    int integer =
        coarse->dtype == RVX_I16 && fine->dtype == RVX_I16 && coarse->grid_log2 == fine->grid_log2;
    table_fill(call->scratch, call, fine->shape.c, integer, !squeeze);
    m.scratch += rvx__orthogonal_table_bytes(fine->shape, call->params);
    transform t = {.n = (int)rvx__block_voxels(call->params),
                   .integer = integer,
                   .back = !squeeze,
                   .undoes = undoes,
                   .matrix = (const float *)call->scratch,
                   .lifting = (const int32_t *)call->scratch};
    rvx__blocks_transform(&m, orthogonal_line, &t);
}

/* ---- the gradient of W -----------------------------------------------------------------------
 * dL/dQ_c[i][j] = sum over blocks of coarse[i] fine[j], in f32 along a line and in double beyond;
 * lines go into pieces by shape alone. */

/* sums[(i n + j) c + channel] += ... for the rows i and i + 1 of a chunk of channels. */
RVX_INLINE void products_chunk(double *sums, const rvx_block_job *job, int i, int64_t c,
                               int64_t count, int n)
{
    const rvx_block_side *coarse = &job->to, *fine = &job->from;
    const int two = n > 1 ? 2 : 1;
    rvx_vec sum[2][RVX_ORTHOGONAL_MAX] = {{{0}}};
    for (int64_t v = 0; v < job->voxels; v++) {
        rvx_vec y[2];
        for (int k = 0; k < two; k++)
            y[k] =
                rvx__plane_load(coarse->plane, coarse->offset[i + k] + v * coarse->step + c, count);
        for (int j = 0; j < n; j++) {
            rvx_vec x = rvx__plane_load(fine->plane, fine->offset[j] + v * fine->step + c, count);
            for (int k = 0; k < two; k++)
                sum[k][j] = rvx__vec_fma(y[k], x, sum[k][j]);
        }
    }
    for (int k = 0; k < two; k++)
        for (int j = 0; j < n; j++)
            rvx__promote(sums + ((i + k) * n + j) * job->c + c, sum[k][j], count);
}

RVX_INLINE void products_line(double *sums, const rvx_block_job *job, int n)
{
    for (int64_t c = 0; c < job->c; c += RVX_LANES)
        for (int i = 0; i < n; i += 2)
            products_chunk(sums, job, i, c, c + RVX_LANES <= job->c ? RVX_LANES : job->c - c, n);
}

/* The products of coarse line `row`; the movement spreads. */
static void products_row(double *sums, const movement *m, int64_t row)
{
    rvx_block_line l = line_of(m, row);
    int n = (int)rvx__block_voxels(m->params);
    int through = m->params->order == RVX_ORDER_CHANNEL && l.c > 1;
    char *rows = through ? scratch_own(m) : l.coarse;
    if (through)
        rows_reorder(m, &l, rows);
    rvx_block_job job = {.to =
                             side_rows(m, rows, through ? m->coarse->shape.c : l.coarse_pitch, l.c),
                         .from = side_fine(m, &l),
                         .voxels = l.voxels,
                         .c = l.c};
    if (n == 8)
        products_line(sums, &job, 8);
    else if (n == 4)
        products_line(sums, &job, 4);
    else if (n == 2)
        products_line(sums, &job, 2);
    else
        products_line(sums, &job, 1);
}

/* Pieces in order, then the algebra, channel by channel. */
static void gradient_finish(const rvx_call *call, const double *sums, int64_t pieces,
                            int64_t c_count)
{
    int n = (int)rvx__block_voxels(call->params);
    const rvx_tensor *dw = &call->grad_in[1];
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t c = 0; c < c_count; c++) {
        double g[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX] = {0};
        double w[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX],
            d[RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX];
        for (int64_t piece = 0; piece < pieces; piece++)
            for (int i = 0; i < n * n; i++)
                g[i] += sums[(piece * n * n + i) * c_count + c];
        weight_of(w, &call->in[1], n, c);
        rvx__orthogonal_gradient(d, g, w, n, call->params->exponential);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                float *to = &rvx__f32(dw)[(j * n + i) * dw->pitch + c];
                float value = (float)d[i * n + j];
                *to = call->accumulate & 2u ? *to + value : value;
            }
    }
}

static void gradient_run(const rvx_call *call, const rvx_tensor *coarse, const rvx_tensor *fine)
{
    movement m = movement_of(call, coarse, fine, 0, 0);
    int64_t table = rvx__orthogonal_table_bytes(fine->shape, call->params);
    int64_t n = rvx__block_voxels(call->params), each = n * n * fine->shape.c;
    int64_t rows = movement_rows(&m),
            lines = (rows + RVX_ORTHOGONAL_PIECES - 1) / RVX_ORTHOGONAL_PIECES;
    int64_t pieces = (rows + lines - 1) / lines;
    double *sums = (double *)call->scratch;
    m.scratch += table + 2 * RVX_ORTHOGONAL_PIECES * table;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t end = (piece + 1) * lines < rows ? (piece + 1) * lines : rows;
        memset(sums + piece * each, 0, (size_t)each * sizeof *sums);
        for (int64_t row = piece * lines; row < end; row++)
            products_row(sums + piece * each, &m, row);
    }
    gradient_finish(call, sums, pieces, fine->shape.c);
}

/* ---- kernels ------------------------------------------------------------------------------- */

void RVX_KERNEL(rvx__orthogonal_down_forward)(const rvx_call *call)
{
    orthogonal_run(call, &call->out[0], &call->in[0], 1, 0);
}

void RVX_KERNEL(rvx__orthogonal_down_backward_data)(const rvx_call *call)
{
    orthogonal_run(call, &call->grad_out[0], &call->grad_in[0], 0, 0);
}

void RVX_KERNEL(rvx__orthogonal_down_backward_parameters)(const rvx_call *call)
{
    gradient_run(call, &call->grad_out[0], &call->in[0]);
}

void RVX_KERNEL(rvx__orthogonal_down_inverse)(const rvx_call *call)
{
    orthogonal_run(call, &call->out[0], &call->in[0], 0, 1);
}

void RVX_KERNEL(rvx__orthogonal_up_forward)(const rvx_call *call)
{
    orthogonal_run(call, &call->in[0], &call->out[0], 0, 0);
}

void RVX_KERNEL(rvx__orthogonal_up_backward_data)(const rvx_call *call)
{
    orthogonal_run(call, &call->grad_in[0], &call->grad_out[0], 1, 0);
}

void RVX_KERNEL(rvx__orthogonal_up_backward_parameters)(const rvx_call *call)
{
    gradient_run(call, &call->in[0], &call->grad_out[0]);
}

void RVX_KERNEL(rvx__orthogonal_up_inverse)(const rvx_call *call)
{
    orthogonal_run(call, &call->in[0], &call->out[0], 1, 1);
}
