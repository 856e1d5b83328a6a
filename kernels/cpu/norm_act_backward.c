/* Normalisation and leaky ReLU on the CPU, backward (see kernels/norm_act.c). Owns: the sums of the
 * gradient over voxels. Invariant: as in the forward, f32 sums run over at most 64 values before
 * they are added to a double, and pieces are combined in order. */
#include "kernels/cpu/norm_act.h"
#include "kernels/norm_slab.h"

#include <math.h>
#include <stdbool.h>

/* With g = grad_y times the slope where x scale + shift <= 0, xhat = (x - mean) rstd:
 *
 *   grad_beta  = sum g            grad_gamma = sum g xhat
 *   grad_x     = gamma rstd g - rstd (A + xhat B),
 *                A = mean over the group of gamma g, B = mean over the group of gamma g xhat
 *              = a g - (p + q (x - mean)),  a = gamma rstd, p = rstd A, q = rstd^2 B */
enum { ROW_MEAN, ROW_A, ROW_P, ROW_Q, ROW_COUNT };

typedef struct rows {
    const float *scale, *shift, *row[ROW_COUNT];
} rows;

/* One vector of g. */
RVX_INLINE rvx_vec gated(rvx_vec g, rvx_vec x, rvx_vec scale, rvx_vec shift, rvx_vec slope)
{
    return rvx__vec_greater(rvx__vec_fma(x, scale, shift), (rvx_vec){0}, g, slope * g);
}

/* sums += sum of g, products += sum of g (x - mean) */
RVX_INLINE void products_run(double *sums, double *products, rvx_plane x, rvx_plane dy, int64_t run,
                             const rows *r, int64_t c, rvx_vec slope, int64_t count)
{
    rvx_vec scale = rvx__load_count(r->scale + c, count);
    rvx_vec shift = rvx__load_count(r->shift + c, count);
    rvx_vec mean = rvx__load_count(r->row[ROW_MEAN] + c, count);
    rvx_vec sum[2] = {{0}}, product[2] = {{0}};
    for (int64_t v = 0; v + 1 < run; v += 2)
        for (int k = 0; k < 2; k++) {
            rvx_vec t = rvx__plane_load(x, (v + k) * x.pitch + c, count);
            rvx_vec g = rvx__plane_load(dy, (v + k) * dy.pitch + c, count);
            g = gated(g, t, scale, shift, slope);
            sum[k] += g;
            product[k] = rvx__vec_fma(g, t - mean, product[k]);
        }
    if (run % 2) {
        rvx_vec t = rvx__plane_load(x, (run - 1) * x.pitch + c, count);
        rvx_vec g = rvx__plane_load(dy, (run - 1) * dy.pitch + c, count);
        g = gated(g, t, scale, shift, slope);
        sum[0] += g;
        product[0] = rvx__vec_fma(g, t - mean, product[0]);
    }
    rvx__promote(sums + c, sum[0] + sum[1], count);
    rvx__promote(products + c, product[0] + product[1], count);
}

RVX_INLINE void products(double *sums, double *product_sums, rvx_plane x, rvx_plane dy,
                         int64_t voxels, int64_t width, const rows *r, float slope)
{
    int64_t step = run_voxels(width);
    for (int64_t v = 0; v < voxels; v += step) {
        int64_t run = voxels - v < step ? voxels - v : step, c = 0;
        rvx_plane from = rvx__plane_at(x, v * x.pitch), g = rvx__plane_at(dy, v * dy.pitch);
        for (; c + RVX_LANES <= width; c += RVX_LANES)
            products_run(sums, product_sums, from, g, run, r, c, rvx__splat(slope), RVX_LANES);
        if (c < width)
            products_run(sums, product_sums, from, g, run, r, c, rvx__splat(slope), width - c);
    }
}

static void products_any(double *sums, double *product_sums, rvx_plane x, rvx_plane dy,
                         int64_t voxels, int64_t width, const rows *r, float slope)
{
    RVX_PLANES_TYPED(x, dy, dy, products(sums, product_sums, x, dy, voxels, width, r, slope));
}

/* grad_x = a g - (p + q (x - mean)) */
RVX_INLINE void gradient_run(rvx_plane dx, rvx_plane x, rvx_plane dy, int64_t run, const rows *r,
                             int64_t c, rvx_vec slope, int accumulate, int64_t count)
{
    rvx_vec scale = rvx__load_count(r->scale + c, count);
    rvx_vec shift = rvx__load_count(r->shift + c, count);
    rvx_vec mean = rvx__load_count(r->row[ROW_MEAN] + c, count);
    rvx_vec a = rvx__load_count(r->row[ROW_A] + c, count);
    rvx_vec p = rvx__load_count(r->row[ROW_P] + c, count);
    rvx_vec q = rvx__load_count(r->row[ROW_Q] + c, count);
    for (int64_t v = 0; v < run; v++) {
        rvx_vec t = rvx__plane_load(x, v * x.pitch + c, count);
        rvx_vec g = rvx__plane_load(dy, v * dy.pitch + c, count);
        g = gated(g, t, scale, shift, slope);
        rvx_vec d = a * g - rvx__vec_fma(q, t - mean, p);
        rvx__plane_put(dx, v * dx.pitch + c, d, count, accumulate);
    }
}

RVX_INLINE void gradient(rvx_plane dx, rvx_plane x, rvx_plane dy, int64_t voxels, int64_t width,
                         const rows *r, float slope, int accumulate)
{
    int64_t step = run_voxels(width);
    for (int64_t v = 0; v < voxels; v += step) {
        int64_t run = voxels - v < step ? voxels - v : step, c = 0;
        rvx_plane to = rvx__plane_at(dx, v * dx.pitch);
        rvx_plane from = rvx__plane_at(x, v * x.pitch), g = rvx__plane_at(dy, v * dy.pitch);
        for (; c + RVX_LANES <= width; c += RVX_LANES)
            gradient_run(to, from, g, run, r, c, rvx__splat(slope), accumulate, RVX_LANES);
        if (c < width)
            gradient_run(to, from, g, run, r, c, rvx__splat(slope), accumulate, width - c);
    }
}

static void gradient_any(rvx_plane dx, rvx_plane x, rvx_plane dy, int64_t voxels, int64_t width,
                         const rows *r, float slope, int accumulate)
{
    RVX_PLANES_TYPED(x, dx, dy, gradient(dx, x, dy, voxels, width, r, slope, accumulate));
}

/* The rows of sample n for channels first .. first + c, repeated into `store`. */
static rows rows_make(float store[ROWS_MAX][WIDTH_MAX], const rvx_call *call, const float *table,
                      int64_t n, int64_t first, span s, int row_count)
{
    const rvx_tensor *fold = &call->out[2];
    const float *folds = rvx__f32(fold) + n * 3 * fold->pitch + first;
    int64_t channels = call->in[0].shape.c;
    rows r = {.scale = store[0], .shift = store[1]};
    row_repeat(store[0], folds, s);
    row_repeat(store[1], folds + fold->pitch, s);
    for (int i = 0; i < row_count; i++) {
        row_repeat(store[2 + i], table + (n * ROW_COUNT + i) * channels + first, s);
        r.row[i] = store[2 + i];
    }
    return r;
}

/* partial[2 j] = sum of g, partial[2 j + 1] = sum of g (x - mean) over one piece. */
static void piece_products(double *partial, const rvx_call *call, const float *table, rvx_piece p)
{
    const rvx_tensor *x = &call->in[0], *dy = &call->grad_out[0];
    for (int64_t first = 0; first < x->shape.c; first += CHUNK_CHANNELS) {
        int64_t left = x->shape.c - first, c = left < CHUNK_CHANNELS ? left : CHUNK_CHANNELS;
        span s = span_of(c);
        float store[ROWS_MAX][WIDTH_MAX], run[2][RUN_FLOATS];
        double sums[WIDTH_MAX], product_sums[WIDTH_MAX];
        sums_clear(sums, s);
        sums_clear(product_sums, s);
        rows r = rows_make(store, call, table, p.n, first, s, ROW_MEAN + 1);
        rvx_plane from = rvx__plane_of(x, p.first * x->pitch + first);
        rvx_plane g = rvx__plane_of(dy, p.first * dy->pitch + first);
        int64_t wide = p.count / s.repeat, done = wide * s.repeat;
        int64_t step = wide_step(x->pitch == c ? g : from, wide, s);
        for (int64_t v = 0; v < wide; v += step) {
            int64_t count = wide - v < step ? wide - v : step;
            products_any(sums, product_sums, plane_wide(from, v, count, s, run[0]),
                         plane_wide(g, v, count, s, run[1]), count, s.width, &r,
                         call->params->slope);
        }
        products_any(sums, product_sums, rvx__plane_at(from, done * from.pitch),
                     rvx__plane_at(g, done * g.pitch), p.count - done, c, &r, call->params->slope);
        for (int64_t j = c; j < s.width; j++) {
            sums[j % c] += sums[j];
            product_sums[j % c] += product_sums[j];
        }
        for (int64_t j = 0; j < c; j++) {
            partial[2 * (first + j)] = sums[j];
            partial[2 * (first + j) + 1] = product_sums[j];
        }
    }
}

static void piece_gradient(const rvx_call *call, const float *table, rvx_piece p)
{
    const rvx_tensor *x = &call->in[0], *dy = &call->grad_out[0], *dx = &call->grad_in[0];
    int accumulate = (call->accumulate & 1u) != 0;
    for (int64_t first = 0; first < x->shape.c; first += CHUNK_CHANNELS) {
        int64_t left = x->shape.c - first, c = left < CHUNK_CHANNELS ? left : CHUNK_CHANNELS;
        bool dense = x->pitch == c && dy->pitch == c && dx->pitch == c;
        span s = dense ? span_of(c) : (span){c, c, 1};
        float store[ROWS_MAX][WIDTH_MAX];
        rows r = rows_make(store, call, table, p.n, first, s, ROW_COUNT);
        rvx_plane from = rvx__plane_of(x, p.first * x->pitch + first);
        rvx_plane g = rvx__plane_of(dy, p.first * dy->pitch + first);
        rvx_plane to = rvx__plane_of(dx, p.first * dx->pitch + first);
        int64_t wide = p.count / s.repeat, done = wide * s.repeat;
        gradient_any(plane_wide(to, 0, wide, s, NULL), plane_wide(from, 0, wide, s, NULL),
                     plane_wide(g, 0, wide, s, NULL), wide, s.width, &r, call->params->slope,
                     accumulate);
        gradient_any(rvx__plane_at(to, done * to.pitch), rvx__plane_at(from, done * from.pitch),
                     rvx__plane_at(g, done * g.pitch), p.count - done, c, &r, call->params->slope,
                     accumulate);
    }
}

static void means_spread(const rvx_call *call, float *table)
{
    const rvx_tensor *statistics = &call->out[1];
    int64_t c = call->in[0].shape.c, groups = statistics->shape.w, size = c / groups;
    for (int64_t n = 0; n < call->in[0].shape.n; n++)
        for (int64_t j = 0; j < c; j++)
            table[(n * ROW_COUNT + ROW_MEAN) * c + j] =
                rvx__f32(statistics)[(n * groups + j / size) * statistics->pitch];
}

/* Sums pieces in order: the first pieces' slots of each sample then hold the totals. */
static void pieces_combine(double *partial, int64_t samples, int64_t pieces, int64_t c)
{
    for (int64_t n = 0; n < samples; n++)
        for (int64_t i = 1; i < pieces; i++)
            for (int64_t j = 0; j < 2 * c; j++)
                partial[n * pieces * 2 * c + j] += partial[(n * pieces + i) * 2 * c + j];
}

/* Samples whose statistics are one. */
static int64_t samples_shared(const rvx_call *call)
{
    return call->params->batch_statistics ? call->in[0].shape.n : 1;
}

/* Rows a, p, q of the table from the totals, `stride` apart. Where samples share statistics the
 * totals are theirs together. */
static void coefficients_write(const rvx_call *call, float *table, const double *totals,
                               int64_t stride)
{
    const rvx_tensor *statistics = &call->out[1];
    const float *gamma = rvx__f32(&call->in[1]);
    rvx_shape x = call->in[0].shape;
    int64_t c = x.c, groups = statistics->shape.w, size = c / groups;
    double count = (double)(samples_shared(call) * x.d * x.h * x.w) * (double)size;
    for (int64_t n = 0; n < x.n; n++)
        for (int64_t g = 0; g < groups; g++) {
            double rstd = (double)rvx__f32(statistics)[(n * groups + g) * statistics->pitch + 1];
            double mean_a = 0, mean_b = 0;
            int64_t set = n / samples_shared(call);
            for (int64_t j = g * size; j < (g + 1) * size; j++) {
                double factor = gamma ? (double)gamma[j] : 1;
                mean_a += factor * totals[set * stride + 2 * j];
                mean_b += factor * totals[set * stride + 2 * j + 1] * rstd;
            }
            for (int64_t j = g * size; j < (g + 1) * size; j++) {
                float *column = table + n * ROW_COUNT * c + j;
                column[ROW_A * c] = (float)(rstd * (gamma ? (double)gamma[j] : 1));
                column[ROW_P * c] = (float)(rstd * mean_a / count);
                column[ROW_Q * c] = (float)(rstd * rstd * mean_b / count);
            }
        }
}

/* grad_gamma and grad_beta from the totals. */
static void parameters_write(const rvx_call *call, const double *totals, int64_t stride)
{
    const rvx_tensor *statistics = &call->out[1];
    rvx_shape x = call->in[0].shape;
    int64_t groups = statistics->shape.w, size = x.c / groups;
    float *dgamma = rvx__f32(&call->grad_in[1]), *dbeta = rvx__f32(&call->grad_in[2]);
    for (int64_t j = 0; j < x.c; j++) {
        double sum = 0, product = 0;
        for (int64_t n = 0; n < x.n / samples_shared(call); n++) {
            const float *pair = rvx__f32(statistics) + (n * groups + j / size) * statistics->pitch;
            sum += totals[n * stride + 2 * j];
            product += totals[n * stride + 2 * j + 1] * (double)pair[1];
        }
        if (dgamma)
            dgamma[j] = (float)(product + (call->accumulate & 2u ? (double)dgamma[j] : 0));
        if (dbeta)
            dbeta[j] = (float)(sum + (call->accumulate & 4u ? (double)dbeta[j] : 0));
    }
}

void RVX_KERNEL(rvx__norm_act_backward)(const rvx_call *call)
{
    rvx_shape x = call->in[0].shape;
    int64_t c = x.c, voxels = x.d * x.h * x.w;
    int64_t pieces = rvx__piece_count(voxels, c);
    double *partial = (double *)call->scratch;
    float *table = (float *)(partial + x.n * pieces * c * 2);
    means_spread(call, table);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < x.n * pieces; i++)
        piece_products(partial + i * c * 2, call, table, rvx__piece_of(i, voxels, c));
    int64_t samples = samples_shared(call), stride = samples * pieces * c * 2;
    pieces_combine(partial, x.n / samples, samples * pieces, c);
    parameters_write(call, partial, stride);
    if (!call->grad_in[0].data)
        return;
    coefficients_write(call, table, partial, stride);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < x.n * pieces; i++)
        piece_gradient(call, table, rvx__piece_of(i, voxels, c));
}

/* ---- by slabs: see norm_slab.h ------------------------------------------------------------------
 */

_Static_assert((int)ROW_COUNT == (int)RVX_NORM_SLAB_ROWS, "rows of the table");

/* dx -= p + q (x - mean) */
RVX_INLINE void correct(rvx_plane dx, rvx_plane x, int64_t voxels, const rows *r, int64_t c,
                        int64_t count)
{
    rvx_vec mean = rvx__load_count(r->row[ROW_MEAN] + c, count);
    rvx_vec p = rvx__load_count(r->row[ROW_P] + c, count);
    rvx_vec q = rvx__load_count(r->row[ROW_Q] + c, count);
    for (int64_t v = 0; v < voxels; v++) {
        rvx_vec t = rvx__plane_load(x, v * x.pitch + c, count);
        rvx_vec d = rvx__plane_load(dx, v * dx.pitch + c, count);
        rvx__plane_store(dx, v * dx.pitch + c, d - rvx__vec_fma(q, t - mean, p), count);
    }
}

RVX_INLINE void correct_all(rvx_plane dx, rvx_plane x, int64_t voxels, const rows *r,
                            int64_t channels)
{
    int64_t c = 0;
    for (; c + RVX_LANES <= channels; c += RVX_LANES)
        correct(dx, x, voxels, r, c, RVX_LANES);
    if (c < channels)
        correct(dx, x, voxels, r, c, channels - c);
}

static void piece_correct(const rvx_call *call, const float *table, rvx_piece p)
{
    const rvx_tensor *x = &call->in[0], *dx = &call->grad_in[0];
    rows r = {0};
    for (int i = 0; i < ROW_COUNT; i++)
        r.row[i] = table + i * x->shape.c;
    rvx_plane from = rvx__plane_of(x, p.first * x->pitch);
    rvx_plane to = rvx__plane_of(dx, p.first * dx->pitch);
    RVX_PLANES_TYPED(from, to, to, correct_all(to, from, p.count, &r, x->shape.c));
}

void RVX_KERNEL(rvx__norm_slab_open)(const rvx_call *call, const rvx__norm_slab *slab)
{
    memset(slab->totals, 0, (size_t)(2 * call->in[0].shape.c) * sizeof *slab->totals);
    means_spread(call, slab->table);
    coefficients_write(call, slab->table, slab->totals, 0); /* p = q = 0 */
}

void RVX_KERNEL(rvx__norm_slab_add)(const rvx_call *call, const rvx__norm_slab *slab)
{
    rvx_shape x = call->in[0].shape;
    int64_t c = x.c, voxels = x.d * x.h * x.w, pieces = rvx__piece_count(voxels, c);
    double *partial = (double *)call->scratch;
#pragma omp parallel num_threads(call->threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < pieces; i++)
            piece_products(partial + i * c * 2, call, slab->table, rvx__piece_of(i, voxels, c));
#pragma omp for schedule(static)
        for (int64_t i = 0; i < (call->grad_in[0].data ? pieces : 0); i++)
            piece_gradient(call, slab->table, rvx__piece_of(i, voxels, c));
    }
    pieces_combine(partial, 1, pieces, c);
    for (int64_t j = 0; j < 2 * c; j++)
        slab->totals[j] += partial[j];
}

void RVX_KERNEL(rvx__norm_slab_close)(const rvx_call *call, const rvx__norm_slab *slab)
{
    rvx_shape x = call->in[0].shape;
    int64_t voxels = x.d * x.h * x.w, pieces = rvx__piece_count(voxels, x.c);
    if (!call->grad_in[0].data)
        return;
    coefficients_write(call, slab->table, slab->totals, 0);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        piece_correct(call, slab->table, rvx__piece_of(i, voxels, x.c));
}

/* grad_in[1], grad_in[2]: gamma and beta, from the totals of all samples. */
void RVX_KERNEL(rvx__norm_slab_parameters)(const rvx_call *call, const double *totals)
{
    parameters_write(call, totals, 2 * call->in[0].shape.c);
}
