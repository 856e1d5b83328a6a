/* Normalisation and leaky ReLU on the CPU, forward (see kernels/norm_act.c). Owns: the reductions
 * over voxels. Invariant: f32 sums never run over more than 64 values before they are added to a
 * double, and pieces are combined in order. */
#include "kernels/cpu/norm_act.h"
#include "kernels/cpu/norm_integers.h"

#include <math.h>
#include <stdbool.h>

/* sums[j] += sum of (x - shift), squares[j] += sum of (x - shift)^2, over `run` voxels. */
RVX_INLINE void moments_run(double *sums, double *squares, rvx_plane x, int64_t run,
                            const float *shift, int64_t count)
{
    rvx_vec sum[2] = {{0}}, square[2] = {{0}};
    rvx_vec m = rvx__load_count(shift, count);
    for (int64_t v = 0; v + 1 < run; v += 2)
        for (int k = 0; k < 2; k++) {
            rvx_vec d = rvx__plane_load(x, (v + k) * x.pitch, count) - m;
            sum[k] += d;
            square[k] = rvx__vec_fma(d, d, square[k]);
        }
    if (run % 2) {
        rvx_vec d = rvx__plane_load(x, (run - 1) * x.pitch, count) - m;
        sum[0] += d;
        square[0] = rvx__vec_fma(d, d, square[0]);
    }
    rvx__promote(sums, sum[0] + sum[1], count);
    rvx__promote(squares, square[0] + square[1], count);
}

RVX_INLINE void moments(double *sums, double *squares, rvx_plane x, int64_t voxels, int64_t width,
                        const float *shift)
{
    int64_t step = run_voxels(width);
    for (int64_t v = 0; v < voxels; v += step) {
        int64_t run = voxels - v < step ? voxels - v : step, c = 0;
        rvx_plane p = rvx__plane_at(x, v * x.pitch);
        for (; c + RVX_LANES <= width; c += RVX_LANES)
            moments_run(sums + c, squares + c, rvx__plane_at(p, c), run, shift + c, RVX_LANES);
        if (c < width)
            moments_run(sums + c, squares + c, rvx__plane_at(p, c), run, shift + c, width - c);
    }
}

static void moments_any(double *sums, double *squares, rvx_plane x, int64_t voxels, int64_t width,
                        const float *shift)
{
    RVX_PLANES_TYPED(x, x, x, moments(sums, squares, x, voxels, width, shift));
}

/* Means of the first eighth of a piece. `sums`: room for c doubles. */
static void shift_estimate(float *shift, double *sums, rvx_plane x, int64_t voxels, int64_t c)
{
    int64_t part = (voxels + 7) / 8;
    memset(sums, 0, (size_t)c * sizeof *sums);
    for (int64_t v = 0; v < part; v++)
        for (int64_t j = 0; j < c; j++)
            sums[j] += (double)rvx__plane_value(x, v * x.pitch + j);
    for (int64_t j = 0; j < c; j++)
        shift[j] = (float)(sums[j] / (double)part);
}

/* Mean and sum of squared deviations of one piece: partial[2 j], partial[2 j + 1].
 *
 * Deviations are taken from the mean m of the first eighth of the piece. For any part of p of the
 * values, (m - mean)^2 <= variance (1 - p) / p, so the sum of squares about m is at most 8 times
 * the one about the mean: at most three bits are lost, however far from zero the data lies. */
static void piece_moments(double *partial, rvx_plane x, int64_t voxels, int64_t channels)
{
    for (int64_t first = 0; first < channels; first += CHUNK_CHANNELS) {
        int64_t c = channels - first < CHUNK_CHANNELS ? channels - first : CHUNK_CHANNELS;
        span s = span_of(c);
        float shift[WIDTH_MAX], store[RUN_FLOATS];
        double sums[WIDTH_MAX], squares[WIDTH_MAX];
        rvx_plane p = rvx__plane_at(x, first);
        shift_estimate(shift, sums, p, voxels, c);
        row_repeat(shift, shift, s);
        sums_clear(sums, s);
        sums_clear(squares, s);
        int64_t wide = voxels / s.repeat, step = wide_step(p, wide, s);
        for (int64_t v = 0; v < wide; v += step) {
            int64_t count = wide - v < step ? wide - v : step;
            moments_any(sums, squares, plane_wide(p, v, count, s, store), count, s.width, shift);
        }
        int64_t done = wide * s.repeat;
        moments_any(sums, squares, rvx__plane_at(p, done * p.pitch), voxels - done, c, shift);
        for (int64_t j = c; j < s.width; j++) {
            sums[j % c] += sums[j];
            squares[j % c] += squares[j];
        }
        for (int64_t j = 0; j < c; j++) {
            double offset = sums[j] / (double)voxels;
            partial[2 * (first + j)] = (double)shift[j] + offset;
            partial[2 * (first + j) + 1] = squares[j] - sums[j] * offset;
        }
    }
}

/* Statistics of a group of channels of `samples` samples from the partial moments of pieces:
 * variance = sum of (M2_i + count_i (mean_i - mean)^2) / count. */
static void group_statistics(double *mean_out, double *variance_out, const double *partial,
                             int64_t voxels, int64_t samples, int64_t c, int64_t first,
                             int64_t count)
{
    int64_t pieces = samples * rvx__piece_count(voxels, c);
    double total = (double)(voxels * samples) * (double)count, mean = 0, deviation = 0;
    for (int64_t i = 0; i < pieces; i++) {
        int64_t here = rvx__piece_of(i, voxels, c).count;
        for (int64_t j = first; j < first + count; j++)
            mean += partial[(i * c + j) * 2] * (double)here;
    }
    mean /= total;
    for (int64_t i = 0; i < pieces; i++) {
        int64_t here = rvx__piece_of(i, voxels, c).count;
        for (int64_t j = first; j < first + count; j++) {
            const double *p = partial + (i * c + j) * 2;
            deviation += p[1] + (double)here * (p[0] - mean) * (p[0] - mean);
        }
    }
    *mean_out = mean;
    *variance_out = fmax(deviation, 0) / total;
}

/* Mean and variance of group g over `samples` samples from n on. */
static void statistics_of(double *mean, double *variance, const rvx_call *call,
                          const double *partial, int64_t n, int64_t samples, int64_t g)
{
    const rvx_tensor *x = &call->in[0];
    int64_t c = x->shape.c, voxels = x->shape.d * x->shape.h * x->shape.w;
    int64_t size = c / call->out[1].shape.w;
    partial += n * rvx__piece_count(voxels, c) * c * 2;
    if (x->dtype == RVX_I16)
        rvx__integer_statistics(mean, variance, (const int64_t *)partial, voxels, samples, c,
                                g * size, size, x->grid_log2);
    else
        group_statistics(mean, variance, partial, voxels, samples, c, g * size, size);
}

/* The columns of group g of sample n in out[1] and out[2]. */
static void columns_write(const rvx_call *call, int64_t n, int64_t g, double mean, double variance)
{
    const rvx_tensor *statistics = &call->out[1], *fold = &call->out[2];
    int64_t groups = statistics->shape.w, size = fold->shape.c / groups;
    const float *gamma = rvx__f32(&call->in[1]), *beta = rvx__f32(&call->in[2]);
    double rstd = 1 / sqrt(variance + (double)call->params->epsilon);
    float *pair = rvx__f32(statistics) + (n * groups + g) * statistics->pitch;
    float *row = rvx__f32(fold) + n * 3 * fold->pitch;
    pair[0] = (float)mean;
    pair[1] = (float)rstd;
    for (int64_t j = g * size; j < (g + 1) * size; j++) {
        double scale = rstd * (gamma ? (double)gamma[j] : 1);
        row[j] = (float)scale;
        row[fold->pitch + j] = (float)((beta ? (double)beta[j] : 0) - mean * scale);
        row[2 * fold->pitch + j] = call->params->slope;
    }
}

/* r += momentum (s - r) of one channel; count: the values behind s. */
static void running_move(const rvx_call *call, int64_t channel, double mean, double variance,
                         double count)
{
    float *means = rvx__f32(&call->in[3]), *variances = rvx__f32(&call->in[4]);
    double momentum = (double)call->params->momentum, unbiased = variance * (count / (count - 1));
    if (means)
        means[channel] += (float)(momentum * (mean - (double)means[channel]));
    if (variances)
        variances[channel] += (float)(momentum * (unbiased - (double)variances[channel]));
}

/* Batch norm in inference, which needs no sums. */
static bool uses_running(const rvx_call *call)
{
    return call->params->batch_statistics && call->mode == RVX_MODE_INFERENCE && call->in[3].data &&
           call->in[4].data;
}

/* Writes out[1] and out[2]. */
static void tables_write(const rvx_call *call, const double *partial)
{
    rvx_shape x = call->in[0].shape;
    int64_t groups = call->out[1].shape.w, samples = call->params->batch_statistics ? x.n : 1;
    const float *means = rvx__f32(&call->in[3]), *variances = rvx__f32(&call->in[4]);
    for (int64_t n = 0; n < x.n; n += samples)
        for (int64_t g = 0; g < groups; g++) {
            double mean, variance;
            if (uses_running(call)) {
                mean = (double)means[g];
                variance = (double)variances[g];
            } else {
                statistics_of(&mean, &variance, call, partial, n, samples, g);
            }
            for (int64_t i = n; i < n + samples; i++)
                columns_write(call, i, g, mean, variance);
            if (call->params->batch_statistics && call->mode == RVX_MODE_TRAINING)
                running_move(call, g, mean, variance, (double)(x.n * x.d * x.h * x.w));
        }
}

/* y = leaky(x scale + shift) */
RVX_INLINE void apply_run(rvx_plane y, rvx_plane x, int64_t run, const float *scale,
                          const float *shift, rvx_vec slope, int64_t count)
{
    rvx_vec a = rvx__load_count(scale, count), b = rvx__load_count(shift, count);
    for (int64_t v = 0; v < run; v++) {
        rvx_vec t = rvx__vec_fma(rvx__plane_load(x, v * x.pitch, count), a, b);
        rvx__plane_store(y, v * y.pitch, rvx__vec_leaky(t, slope), count);
    }
}

RVX_INLINE void apply(rvx_plane y, rvx_plane x, int64_t voxels, int64_t width, const float *scale,
                      const float *shift, float slope)
{
    int64_t step = run_voxels(width);
    for (int64_t v = 0; v < voxels; v += step) {
        int64_t run = voxels - v < step ? voxels - v : step, c = 0;
        rvx_plane to = rvx__plane_at(y, v * y.pitch), from = rvx__plane_at(x, v * x.pitch);
        for (; c + RVX_LANES <= width; c += RVX_LANES)
            apply_run(rvx__plane_at(to, c), rvx__plane_at(from, c), run, scale + c, shift + c,
                      rvx__splat(slope), RVX_LANES);
        if (c < width)
            apply_run(rvx__plane_at(to, c), rvx__plane_at(from, c), run, scale + c, shift + c,
                      rvx__splat(slope), width - c);
    }
}

static void apply_any(rvx_plane y, rvx_plane x, int64_t voxels, int64_t width, const float *scale,
                      const float *shift, float slope)
{
    RVX_PLANES_TYPED(y, x, x, apply(y, x, voxels, width, scale, shift, slope));
}

static void piece_apply(const rvx_call *call, rvx_piece p)
{
    const rvx_tensor *x = &call->in[0], *y = &call->out[0], *fold = &call->out[2];
    int64_t channels = x->shape.c;
    const float *row = rvx__f32(fold) + p.n * 3 * fold->pitch;
    for (int64_t first = 0; first < channels; first += CHUNK_CHANNELS) {
        int64_t c = channels - first < CHUNK_CHANNELS ? channels - first : CHUNK_CHANNELS;
        span s = x->pitch == c && y->pitch == c ? span_of(c) : (span){c, c, 1};
        float scale[WIDTH_MAX], shift[WIDTH_MAX];
        row_repeat(scale, row + first, s);
        row_repeat(shift, row + fold->pitch + first, s);
        rvx_plane from = rvx__plane_of(x, p.first * x->pitch + first);
        rvx_plane to = rvx__plane_of(y, p.first * y->pitch + first);
        int64_t wide = p.count / s.repeat, done = wide * s.repeat;
        apply_any(plane_wide(to, 0, wide, s, NULL), plane_wide(from, 0, wide, s, NULL), wide,
                  s.width, scale, shift, call->params->slope);
        apply_any(rvx__plane_at(to, done * to.pitch), rvx__plane_at(from, done * from.pitch),
                  p.count - done, c, scale, shift, call->params->slope);
    }
}

void RVX_KERNEL(rvx__norm_act_forward)(const rvx_call *call)
{
    const rvx_tensor *x = &call->in[0];
    int64_t c = x->shape.c, voxels = x->shape.d * x->shape.h * x->shape.w;
    int64_t pieces = x->shape.n * rvx__piece_count(voxels, c);
    double *partial = (double *)call->scratch;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < (uses_running(call) ? 0 : pieces); i++) {
        rvx_piece p = rvx__piece_of(i, voxels, c);
        rvx_plane from = rvx__plane_of(x, p.first * x->pitch);
        if (x->dtype == RVX_I16)
            RVX_KERNEL(rvx__integer_sums)((int64_t *)partial + i * c * 2, from, p.count, c);
        else
            piece_moments(partial + i * c * 2, from, p.count, c);
    }
    tables_write(call, partial);
    if (!call->out[0].data)
        return;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        piece_apply(call, rvx__piece_of(i, voxels, c));
}
