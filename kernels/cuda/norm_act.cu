/* Normalisation and leaky ReLU on the GPU, forward (see kernels/norm_act.c). Owns: sums of values
 * and squares, in double for numbers and exact for streams, and the tables made of them. x is read
 * once for the sums and, where y is wanted, once more. */
#include "kernels/cuda/norm_act.h"
#include "kernels/cuda/reduce.h"
#include "kernels/norm_cuda.h"

namespace
{
using namespace rvx;

/* ---- sums -------------------------------------------------------------------------------------
 */

enum { SUMS = 2 * WALK_WIDTH }; /* of values, then of squares */

/* What is loaded, what a sum of it is held in, and what holds sums of channels and samples. */
template <bool INTEGERS> struct Sum {
    typedef float Value;
    typedef double Part, Whole;
};
template <> struct Sum<true> {
    typedef int32_t Value;
    typedef int64_t Part;
    typedef __int128 Whole;
};

template <bool WIDE>
RVX_DEVICE void sums_load(const View &x, int64_t i, int32_t count, float (&v)[WALK_WIDTH])
{
    load_some<WIDE>(x, i, count, v);
}

/* In units of the grid. */
template <bool WIDE>
RVX_DEVICE void sums_load(const View &x, int64_t i, int32_t count, int32_t (&v)[WALK_WIDTH])
{
    uint32_t half[WALK_WIDTH];
    if (WIDE)
        load_halves(x, i, half);
#pragma unroll
    for (int k = 0; k < WALK_WIDTH; k++) {
        uint32_t one[1] = {0};
        if (!WIDE && k < count)
            load_halves(x, i + k, one);
        v[k] = (int16_t)(WIDE ? half[k] : one[0]);
    }
}

RVX_DEVICE void sums_add(double *sum, double *squares, float v)
{
    *sum += (double)v;
    *squares = simt::fused((double)v, (double)v, *squares);
}
RVX_DEVICE void sums_add(int64_t *sum, int64_t *squares, int32_t v)
{
    *sum += v;
    *squares += (int64_t)v * v;
}

/* partial: [n][c][piece][2] */
template <bool WIDE, int X>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS, WIDE ? 3 : 2)
    sums_kernel(typename Sum<X == RVX_I16>::Part *partial, View whole, rvx__walk w)
{
    typedef typename Sum<X == RVX_I16>::Value Value;
    typedef typename Sum<X == RVX_I16>::Part A;
    RVX_SHARED(A, shared);
    const View x = typed<X>(whole);
    const Place p = place_of(w, x.c);
    A sum[SUMS] = {};
    int64_t v = p.voxel;
    const auto add = [&](const Value(&value)[WALK_WIDTH]) {
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++)
            sums_add(&sum[k], &sum[WALK_WIDTH + k], value[k]);
    };
    for (; v + (WALK_AHEAD - 1) * w.rows < p.end; v += WALK_AHEAD * w.rows) {
        Value value[WALK_AHEAD][WALK_WIDTH];
#pragma unroll
        for (int i = 0; i < WALK_AHEAD; i++)
            sums_load<WIDE>(x, x.at(v + i * w.rows, p.c), p.count, value[i]);
#pragma unroll
        for (int i = 0; i < WALK_AHEAD; i++)
            add(value[i]);
    }
    for (; v < p.end; v += w.rows) {
        Value value[WALK_WIDTH];
        sums_load<WIDE>(x, x.at(v, p.c), p.count, value);
        add(value);
    }
    sum_rows<SUMS>(w, shared, sum, [&](int lane, int k, A result) {
        const int32_t c = ((int32_t)blockIdx.y * w.lanes + lane) * WALK_WIDTH + k % WALK_WIDTH;
        if (c < x.c)
            partial[((p.n * x.c + c) * w.pieces + p.piece) * 2 + k / WALK_WIDTH] = result;
    });
}

template <bool INTEGERS> void sums_queue(const rvx_call *call, const rvx__norm_cuda &at)
{
    typedef typename Sum<INTEGERS>::Part A;
    const rvx_tensor &x = call->in[0];
    const View view = view_of(x);
    const rvx__walk w = rvx__walk_of((int64_t)view.d * view.h * view.w, view.c);
    A *const partial = static_cast<A *>(call->scratch);
    const auto queue = [&](auto kernel) {
        simt::launch(kernel, walk_grid(w, view.n), WALK_THREADS, rows_bytes<SUMS>(), queue_of(call),
                     partial, view, w);
    };
    const bool eight = wide(x);
    if constexpr (INTEGERS)
        queue(eight ? sums_kernel<true, RVX_I16> : sums_kernel<false, RVX_I16>);
    else if (x.dtype == RVX_BF16)
        queue(eight ? sums_kernel<true, RVX_BF16> : sums_kernel<false, RVX_BF16>);
    else
        queue(eight ? sums_kernel<true, RVX_F32> : sums_kernel<false, RVX_F32>);
    totals<2>(call, reinterpret_cast<A *>(static_cast<char *>(call->scratch) + at.totals),
              (const A *)partial, (int64_t)view.n * view.c, w.pieces, false);
}

/* ---- tables -----------------------------------------------------------------------------------
 */

struct Tables {
    NormRows rows; /* out[1] and out[2], gamma: written and read */
    const float *beta;
    float *running_mean, *running_variance;
    int64_t voxels;
    int32_t n, c, samples; /* samples: that share statistics */
    float epsilon, momentum;
    double unit;  /* of streams */
    bool running; /* the running statistics are used; or moved */
    bool moved;
};

/* Mean and biased variance from n values, their sum and that of their squares; as
 * kernels/norm_integers.c has it. */
RVX_DEVICE void moments(double *mean, double *variance, double n, double sum, double squares,
                        double)
{
    *mean = sum / n;
    const double rest = simt::fused(-sum, *mean, squares);
    *variance = rest > 0 ? rest / n : 0;
}
RVX_DEVICE void moments(double *mean, double *variance, double n, __int128 sum, __int128 squares,
                        double unit)
{
    *mean = simt::multiply(unit, (double)sum) / n;
    const double rest = (double)((__int128)n * squares - sum * sum);
    *variance = simt::multiply(simt::multiply(unit, unit), rest / n / n);
}

/* r += momentum (s - r) */
RVX_DEVICE void move(float *running, double s, float momentum)
{
    const double way = simt::add(s, -(double)*running);
    *running = simt::add(*running, (float)simt::multiply((double)momentum, way));
}

enum { LANES = 32 };

/* A warp for each group of each set of samples. */
template <bool INTEGERS>
RVX_GLOBAL void RVX_BOUNDS(LANES)
    tables_kernel(Tables t, const typename Sum<INTEGERS>::Part *totals)
{
    typedef typename Sum<INTEGERS>::Whole Whole;
    RVX_SHARED(Whole, shared); /* [lane][2], then mean and rstd */
    double *const result = reinterpret_cast<double *>(shared + 2 * LANES);
    const int32_t lane = (int32_t)threadIdx.x, size = t.c / t.rows.groups;
    const int32_t g = (int32_t)blockIdx.x % t.rows.groups;
    const int32_t n = (int32_t)blockIdx.x / t.rows.groups * t.samples;
    Whole sum = 0, squares = 0;
    for (int32_t i = t.running ? t.samples : 0; i < t.samples; i++)
        for (int32_t j = lane; j < size; j += LANES) {
            const int64_t at = ((int64_t)(n + i) * t.c + g * size + j) * 2;
            sum += totals[at];
            squares += totals[at + 1];
        }
    shared[2 * lane] = sum;
    shared[2 * lane + 1] = squares;
    simt::warp_barrier();
    if (lane == 0) {
#pragma unroll 1
        for (int i = 1; i < LANES; i++) {
            sum += shared[2 * i];
            squares += shared[2 * i + 1];
        }
        const double count = (double)(t.voxels * t.samples) * (double)size;
        double mean, variance;
        if (t.running) {
            mean = (double)t.running_mean[g];
            variance = (double)t.running_variance[g];
        } else {
            moments(&mean, &variance, count, sum, squares, t.unit);
        }
        if (t.moved && t.running_mean)
            move(t.running_mean + g, mean, t.momentum);
        if (t.moved && t.running_variance)
            move(t.running_variance + g, simt::multiply(variance, count / (count - 1)), t.momentum);
        result[0] = mean;
        result[1] = 1 / sqrt(simt::add(variance, (double)t.epsilon));
    }
    simt::warp_barrier();
    const double mean = result[0], rstd = result[1];
    for (int32_t i = n; i < n + t.samples; i++) {
        if (lane == 0) {
            float *const pair = t.rows.pairs + ((int64_t)i * t.rows.groups + g) * t.rows.pair_pitch;
            pair[0] = (float)mean;
            pair[1] = (float)rstd;
        }
        float *const row = t.rows.fold + (int64_t)i * 3 * t.rows.fold_pitch;
        for (int32_t j = g * size + lane; j < (g + 1) * size; j += LANES) {
            const double gamma = t.rows.gamma ? (double)t.rows.gamma[j] : 1;
            const double scale = simt::multiply(rstd, gamma);
            const double beta = t.beta ? (double)t.beta[j] : 0;
            row[j] = (float)scale;
            row[t.rows.fold_pitch + j] = (float)simt::add(beta, -simt::multiply(mean, scale));
            row[2 * t.rows.fold_pitch + j] = t.rows.slope;
        }
    }
}

/* ---- y ----------------------------------------------------------------------------------------
 */

/* y = leaky(x scale + shift), y may be x */
template <class T>
RVX_GLOBAL void RVX_BOUNDS(WALK_THREADS, T::FAST ? 4 : 2)
    apply_kernel(View to, View from, NormRows rows, rvx__walk w)
{
    const View x = typed<T::X>(from), y = typed<T::Y>(to);
    const Place p = place_of(w, x.c);
    float scale[WALK_WIDTH], shift[WALK_WIDTH];
    const float *row = rows.fold + p.n * 3 * rows.fold_pitch;
    load_row(row, p, scale);
    load_row(row + rows.fold_pitch, p, shift);
    const auto put = [&](int64_t voxel, float(&v)[WALK_WIDTH]) {
#pragma unroll
        for (int k = 0; k < WALK_WIDTH; k++)
            v[k] = leaky(simt::fused(v[k], scale[k], shift[k]), rows.slope);
        put_some<T::WIDE>(y, y.at(voxel, p.c), p.count, v, false);
    };
    int64_t v = p.voxel;
    for (; v + (WALK_AHEAD - 1) * w.rows < p.end; v += WALK_AHEAD * w.rows) {
        float value[WALK_AHEAD][WALK_WIDTH];
#pragma unroll
        for (int i = 0; i < WALK_AHEAD; i++)
            load_some<T::WIDE>(x, x.at(v + i * w.rows, p.c), p.count, value[i]);
#pragma unroll
        for (int i = 0; i < WALK_AHEAD; i++)
            put(v + i * w.rows, value[i]);
    }
    for (; v < p.end; v += w.rows) {
        float value[WALK_WIDTH];
        load_some<T::WIDE>(x, x.at(v, p.c), p.count, value);
        put(v, value);
    }
}

/* Batch norm in inference, which needs no sums. */
bool uses_running(const rvx_call *call)
{
    return call->params->batch_statistics && call->mode == RVX_MODE_INFERENCE && call->in[3].data &&
           call->in[4].data;
}

template <bool INTEGERS> void tables_queue(const rvx_call *call, const rvx__norm_cuda &at)
{
    typedef typename Sum<INTEGERS>::Part Part;
    typedef typename Sum<INTEGERS>::Whole Whole;
    const rvx_shape x = call->in[0].shape;
    Tables t = {};
    t.rows = norm_rows(call);
    t.beta = rvx__f32(&call->in[2]);
    t.running_mean = rvx__f32(&call->in[3]);
    t.running_variance = rvx__f32(&call->in[4]);
    t.voxels = x.d * x.h * x.w;
    t.n = (int32_t)x.n;
    t.c = (int32_t)x.c;
    t.samples = (int32_t)norm_samples(call);
    t.epsilon = call->params->epsilon;
    t.momentum = call->params->momentum;
    t.unit = INTEGERS ? ldexp(1.0, -call->in[0].grid_log2) : 1;
    t.running = uses_running(call);
    t.moved = call->params->batch_statistics && call->mode == RVX_MODE_TRAINING;
    if (!t.running)
        sums_queue<INTEGERS>(call, at);
    const Part *sums =
        reinterpret_cast<const Part *>(static_cast<const char *>(call->scratch) + at.totals);
    simt::launch(tables_kernel<INTEGERS>, dim3((unsigned)(t.n / t.samples * t.rows.groups)), LANES,
                 2 * LANES * sizeof(Whole) + 2 * sizeof(double), queue_of(call), t, sums);
}
} // namespace

extern "C" void rvx__cuda_norm_act_forward(const rvx_call *call)
{
    const rvx_tensor &x = call->in[0], &y = call->out[0];
    const rvx__norm_cuda at = rvx__norm_cuda_of(RVX_FORWARD, x.shape);
    if (x.dtype == RVX_I16)
        tables_queue<true>(call, at);
    else
        tables_queue<false>(call, at);
    if (!y.data)
        return;
    const rvx__walk w = rvx__walk_of(x.shape.d * x.shape.h * x.shape.w, x.shape.c);
    for_types(wide(x) && wide(y), x.dtype, y.dtype, y.dtype, [&](auto types) {
        simt::launch(apply_kernel<decltype(types)>, walk_grid(w, x.shape.n), WALK_THREADS, 0,
                     queue_of(call), view_of(y), view_of(x), norm_rows(call), w);
    });
}
