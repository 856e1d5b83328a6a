/* Normalisation and leaky ReLU on the GPU, backward (see kernels/norm_act.c; the formulas stand in
 * kernels/cpu/norm_act_backward.c). Owns: the sums of the gradient over voxels. Invariant: f32 sums
 * run over AHEAD values at most before they are added to a double. */
#include "kernels/cuda/norm_act.h"
#include "kernels/cuda/reduce.h"
#include "kernels/norm_cuda.h"

namespace
{
using namespace rvx;

enum {
    SUMS = 2 * WALK_WIDTH, /* of g, then of g (x - mean) */
    AHEAD = 2              /* voxels loaded at a time: each of two tensors */
};

/* The rows of a thread's channels. */
struct Columns {
    float scale[WALK_WIDTH], shift[WALK_WIDTH], mean[WALK_WIDTH], a[WALK_WIDTH];
};

RVX_DEVICE Columns columns_of(const NormRows &rows, const Place &p, int32_t channels)
{
    Columns columns;
    const float *fold = rows.fold + p.n * 3 * rows.fold_pitch;
    const int32_t size = channels / rows.groups;
    load_row(fold, p, columns.scale);
    load_row(fold + rows.fold_pitch, p, columns.shift);
#pragma unroll
    for (int k = 0; k < WALK_WIDTH; k++) {
        const int32_t c = p.c + (k < p.count ? k : 0);
        const float *pair = rows.pairs + (p.n * rows.groups + c / size) * rows.pair_pitch;
        const bool there = k < p.count;
        columns.mean[k] = there ? pair[0] : 0.0f;
        columns.a[k] = there ? simt::multiply(pair[1], rows.gamma ? rows.gamma[c] : 1.0f) : 0.0f;
    }
    return columns;
}

/* g from grad_y */
RVX_DEVICE float gated(float g, float x, const Columns &columns, int k, float slope)
{
    const float t = simt::fused(x, columns.scale[k], columns.shift[k]);
    return t > 0.0f ? g : simt::multiply(slope, g);
}

/* ---- sums -------------------------------------------------------------------------------------
 */

/* partial [n][c][piece][2]; where APPLY also grad_x (+)= a g. T: of x, grad_y, grad_x. */
template <class T, bool APPLY>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS, T::FAST ? 2 : 1)
    products_kernel(double *partial, View x_, View dy_, View dx_, NormRows rows, rvx__walk w,
                    bool accumulate)
{
    RVX_SHARED(double, shared);
    const View x = typed<T::X>(x_), dy = typed<T::Y>(dy_), dx = typed<T::Z>(dx_);
    const Place p = place_of(w, x.c);
    const Columns columns = columns_of(rows, p, x.c);
    double sum[SUMS] = {};
    /* N voxels from v on. */
    const auto add = [&](int64_t v, auto &t, auto &g) {
        constexpr int N = sizeof t / sizeof t[0];
#pragma unroll
        for (int i = 0; i < N; i++) {
            load_some<T::WIDE>(x, x.at(v + i * w.rows, p.c), p.count, t[i]);
            load_some<T::WIDE>(dy, dy.at(v + i * w.rows, p.c), p.count, g[i]);
        }
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++) {
            float gradient = 0, product = 0;
#pragma unroll
            for (int i = 0; i < N; i++) {
                g[i][k] = gated(g[i][k], t[i][k], columns, k, rows.slope);
                gradient = simt::add(gradient, g[i][k]);
                product = simt::fused(g[i][k], simt::add(t[i][k], -columns.mean[k]), product);
            }
            sum[k] += (double)gradient;
            sum[WALK_WIDTH + k] += (double)product;
        }
        if (!APPLY)
            return;
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int k = 0; k < WALK_WIDTH; k++)
                g[i][k] = simt::multiply(columns.a[k], g[i][k]);
            put_some<T::WIDE>(dx, dx.at(v + i * w.rows, p.c), p.count, g[i], accumulate);
        }
    };
    int64_t v = p.voxel;
    for (; v + (AHEAD - 1) * w.rows < p.end; v += AHEAD * w.rows) {
        float t[AHEAD][WALK_WIDTH], g[AHEAD][WALK_WIDTH];
        add(v, t, g);
    }
    for (; v < p.end; v += w.rows) {
        float t[1][WALK_WIDTH], g[1][WALK_WIDTH];
        add(v, t, g);
    }
    sum_rows<SUMS>(w, shared, sum, [&](int lane, int k, double result) {
        const int32_t c = ((int32_t)blockIdx.y * w.lanes + lane) * WALK_WIDTH + k % WALK_WIDTH;
        if (c < x.c)
            partial[((p.n * x.c + c) * w.pieces + p.piece) * 2 + k / WALK_WIDTH] = result;
    });
}

/* Partial sums over x and grad_y of the call, and with APPLY grad_x (+)= a g. */
template <bool APPLY> void products_queue(const rvx_call *call, double *partial)
{
    const rvx_tensor &x = call->in[0], &dy = call->grad_out[0];
    const rvx_tensor &dx = APPLY ? call->grad_in[0] : dy;
    const rvx__walk w = rvx__walk_of(x.shape.d * x.shape.h * x.shape.w, x.shape.c);
    for_types(wide(x) && wide(dy) && wide(dx), x.dtype, dy.dtype, dx.dtype, [&](auto types) {
        simt::launch(products_kernel<decltype(types), APPLY>, walk_grid(w, x.shape.n), WALK_THREADS,
                     rows_bytes<SUMS>(), queue_of(call), partial, view_of(x), view_of(dy),
                     view_of(dx), norm_rows(call), w, (call->accumulate & 1u) != 0);
    });
}

/* ---- coefficients and parameters ----------------------------------------------------------------
 */

enum { THREADS = 128 };

dim3 channels_grid(int64_t channels)
{
    return dim3((unsigned)((channels + THREADS - 1) / THREADS));
}

/* p = rstd A, q = rstd^2 B, A and B the means over the group of gamma g and gamma g xhat. One
 * thread for each channel of each sample; where `samples` share statistics the means are theirs. */
RVX_GLOBAL void RVX_BOUNDS(THREADS)
    corrections_kernel(float *corrections, const double *totals, NormRows rows, int32_t n_count,
                       int32_t channels, int32_t samples, double count)
{
    const int64_t thread = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (thread >= (int64_t)n_count * channels)
        return;
    const int64_t n = thread / channels;
    const int32_t c = (int32_t)(thread % channels), size = channels / rows.groups, g = c / size;
    const double rstd = (double)rows.pairs[(n * rows.groups + g) * rows.pair_pitch + 1];
    double mean_a = 0, mean_b = 0;
    for (int64_t i = n / samples * samples; i < (n / samples + 1) * samples; i++)
        for (int32_t j = g * size; j < (g + 1) * size; j++) {
            const double gamma = rows.gamma ? (double)rows.gamma[j] : 1;
            mean_a += gamma * totals[(i * channels + j) * 2];
            mean_b += gamma * totals[(i * channels + j) * 2 + 1] * rstd;
        }
    corrections[n * 2 * channels + c] = (float)(rstd * mean_a / count);
    corrections[(n * 2 + 1) * channels + c] = (float)(rstd * rstd * mean_b / count);
}

/* The gradients of gamma and beta, each where it is wanted. One thread a channel. */
RVX_GLOBAL void RVX_BOUNDS(THREADS)
    parameters_kernel(float *dgamma, float *dbeta, const double *totals, NormRows rows,
                      int32_t n_count, int32_t channels, bool add_gamma, bool add_beta)
{
    const int32_t c = (int32_t)(blockIdx.x * THREADS + threadIdx.x);
    if (c >= channels)
        return;
    const int32_t g = c / (channels / rows.groups);
    double sum = 0, product = 0;
    for (int64_t n = 0; n < n_count; n++) {
        const float rstd = rows.pairs[(n * rows.groups + g) * rows.pair_pitch + 1];
        sum += totals[(n * channels + c) * 2];
        product += totals[(n * channels + c) * 2 + 1] * (double)rstd;
    }
    if (dgamma)
        dgamma[c] = (float)(product + (add_gamma ? (double)dgamma[c] : 0));
    if (dbeta)
        dbeta[c] = (float)(sum + (add_beta ? (double)dbeta[c] : 0));
}

void corrections_queue(const rvx_call *call, float *corrections, const double *totals)
{
    const rvx_shape x = call->in[0].shape;
    const int64_t samples = norm_samples(call), size = x.c / call->out[1].shape.w;
    simt::launch(corrections_kernel, channels_grid(x.n * x.c), THREADS, 0, queue_of(call),
                 corrections, totals, norm_rows(call), (int32_t)x.n, (int32_t)x.c, (int32_t)samples,
                 (double)(samples * x.d * x.h * x.w) * (double)size);
}

/* ---- grad_x -------------------------------------------------------------------------------------
 */

/* grad_x = a g - (p + q (x - mean)), which may be grad_y; where !GATED grad_x -= p + q (x - mean).
 * T: of x, grad_y, grad_x. */
template <class T, bool GATED>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS, T::FAST ? 2 : 1)
    gradient_kernel(View x_, View dy_, View dx_, NormRows rows, const float *corrections,
                    rvx__walk w, bool accumulate)
{
    const View x = typed<T::X>(x_), dy = typed<T::Y>(dy_), dx = typed<T::Z>(dx_);
    const Place p = place_of(w, x.c);
    const Columns columns = columns_of(rows, p, x.c);
    float before[WALK_WIDTH], slope[WALK_WIDTH];
    load_row(corrections + p.n * 2 * x.c, p, before);
    load_row(corrections + (p.n * 2 + 1) * x.c, p, slope);
    const auto put = [&](int64_t v, auto &t, auto &g) {
        constexpr int N = sizeof t / sizeof t[0];
#pragma unroll
        for (int i = 0; i < N; i++) {
            load_some<T::WIDE>(x, x.at(v + i * w.rows, p.c), p.count, t[i]);
            load_some<T::WIDE>(dy, dy.at(v + i * w.rows, p.c), p.count, g[i]);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int k = 0; k < WALK_WIDTH; k++) {
                const float away = simt::add(t[i][k], -columns.mean[k]);
                const float less = -simt::fused(slope[k], away, before[k]);
                const float own = GATED ? gated(g[i][k], t[i][k], columns, k, rows.slope) : g[i][k];
                g[i][k] = GATED ? simt::fused(columns.a[k], own, less) : simt::add(own, less);
            }
            put_some<T::WIDE>(dx, dx.at(v + i * w.rows, p.c), p.count, g[i], accumulate);
        }
    };
    int64_t v = p.voxel;
    for (; v + (AHEAD - 1) * w.rows < p.end; v += AHEAD * w.rows) {
        float t[AHEAD][WALK_WIDTH], g[AHEAD][WALK_WIDTH];
        put(v, t, g);
    }
    for (; v < p.end; v += w.rows) {
        float t[1][WALK_WIDTH], g[1][WALK_WIDTH];
        put(v, t, g);
    }
}

template <bool GATED>
void gradient_queue(const rvx_call *call, const rvx_tensor &dy, const float *corrections,
                    bool accumulate)
{
    const rvx_tensor &x = call->in[0], &dx = call->grad_in[0];
    const rvx__walk w = rvx__walk_of(x.shape.d * x.shape.h * x.shape.w, x.shape.c);
    for_types(wide(x) && wide(dy) && wide(dx), x.dtype, dy.dtype, dx.dtype, [&](auto types) {
        simt::launch(gradient_kernel<decltype(types), GATED>, walk_grid(w, x.shape.n), WALK_THREADS,
                     0, queue_of(call), view_of(x), view_of(dy), view_of(dx), norm_rows(call),
                     corrections, w, accumulate);
    });
}
} // namespace

namespace rvx
{
void norm_parameters(const rvx_call *call, const double *totals)
{
    const rvx_shape x = call->in[0].shape;
    if (!call->grad_in[1].data && !call->grad_in[2].data)
        return;
    simt::launch(parameters_kernel, channels_grid(x.c), THREADS, 0, queue_of(call),
                 rvx__f32(&call->grad_in[1]), rvx__f32(&call->grad_in[2]), totals, norm_rows(call),
                 (int32_t)x.n, (int32_t)x.c, (call->accumulate & 2u) != 0,
                 (call->accumulate & 4u) != 0);
}

void norm_slab_add(const rvx_call *call, const NormSlab &slab, bool first)
{
    const rvx_shape x = call->in[0].shape;
    if (call->grad_in[0].data)
        products_queue<true>(call, slab.partial);
    else
        products_queue<false>(call, slab.partial);
    totals<2>(call, slab.totals, (const double *)slab.partial, x.c,
              rvx__walk_of(x.d * x.h * x.w, x.c).pieces, !first);
}

void norm_slab_close(const rvx_call *call, const NormSlab &slab)
{
    if (!call->grad_in[0].data)
        return;
    corrections_queue(call, slab.corrections, slab.totals);
    gradient_queue<false>(call, call->grad_in[0], slab.corrections, false);
}
} // namespace rvx

extern "C" void rvx__cuda_norm_act_backward(const rvx_call *call)
{
    const rvx_shape x = call->in[0].shape;
    const rvx__norm_cuda at = rvx__norm_cuda_of(RVX_BACKWARD_DATA, x);
    char *const scratch = static_cast<char *>(call->scratch);
    double *const partial = reinterpret_cast<double *>(scratch);
    double *const sums = reinterpret_cast<double *>(scratch + at.totals);
    float *const corrections = reinterpret_cast<float *>(scratch + at.corrections);
    products_queue<false>(call, partial);
    totals<2>(call, sums, (const double *)partial, x.n * x.c,
              rvx__walk_of(x.d * x.h * x.w, x.c).pieces, false);
    norm_parameters(call, sums);
    if (!call->grad_in[0].data)
        return;
    corrections_queue(call, corrections, sums);
    gradient_queue<true>(call, call->grad_out[0], corrections, (call->accumulate & 1u) != 0);
}
