/* Orthogonal resampling on the GPU (see kernels/orthogonal.h): a table of all channels' matrices,
 * or of their liftings, by one block a channel, then the transform of blocks on the way between the
 * fine and the coarse tensor. Owns: the passes over voxels; the algebra is in orthogonal_algebra.h.
 * Forward and inverse make the same table, and integers do the rest: they undo one another. */
#include "kernels/cuda/block_move.h"
#include "kernels/cuda/orthogonal_algebra.h"
#include "kernels/cuda/orthogonal_layout.h"

namespace
{
using namespace rvx;

/* ---- the table --------------------------------------------------------------------------------
 */

struct Weight {
    const float *data; /* [column][row][channel] */
    int64_t pitch;
    int32_t channels, n;
    bool exponential;
};

RVX_DEVICE void weight_load(double *w, const Weight &weight, int64_t channel)
{
    const int n = weight.n;
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
        w[e] = (double)weight.data[(e % n * n + e / n) * weight.pitch + channel];
    simt::barrier();
}

/* Q, or Q^T where `flipped`, as numbers; or as lifting. Entry i of channel c at [i * channels + c].
 */
RVX_GLOBAL void RVX_BOUNDS(ALGEBRA_THREADS)
    table_kernel(void *table, Weight weight, bool integer, bool flipped)
{
    RVX_SHARED(double, shared);
    const int n = weight.n;
    const int64_t channel = blockIdx.x, stride = weight.channels;
    double *w = shared, *q = shared + ALGEBRA_ENTRIES, *room = q + ALGEBRA_ENTRIES;
    weight_load(w, weight, channel);
    orthogonal_of(q, w, n, weight.exponential, room);
    if (integer) {
        orthogonal_lifting(static_cast<int32_t *>(table) + channel, stride, q, n);
        return;
    }
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
        static_cast<float *>(table)[e * stride + channel] =
            (float)q[flipped ? e % n * n + e / n : e];
}

/* ---- transforms -------------------------------------------------------------------------------
 */

/* N words of row `row` of the table. */
template <int N>
RVX_DEVICE void table_load(uint32_t (&v)[N], const uint32_t *table, int64_t row, int32_t channels,
                           int32_t c)
{
    const uint32_t *from = table + row * channels + c;
    if (N == 1) {
        v[0] = *from;
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k += 4) {
        const Words4 words = *reinterpret_cast<const Words4 *>(from + k);
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[(k + j) % N] = words.word[j];
    }
}

/* y = M x for the matrix in the table. */
struct Numbers {
    enum { NUMBERS = 1 };
    const uint32_t *table;
    int32_t channels;

    template <int S, int N> RVX_DEVICE void apply(uint32_t (&v)[S][N], int32_t c, bool, int *) const
    {
        float sum[S][N] = {};
#pragma unroll
        for (int i = 0; i < S; i++)
#pragma unroll
            for (int j = 0; j < S; j++) {
                uint32_t factor[N];
                table_load(factor, table, i * S + j, channels, c);
#pragma unroll
                for (int k = 0; k < N; k++)
                    sum[i][k] =
                        simt::fused(simt::as_float(factor[k]), simt::as_float(v[j][k]), sum[i][k]);
            }
#pragma unroll
        for (int f = 0; f < S * N; f++)
            v[f / N][f % N] = simt::as_bits(sum[f / N][f % N]);
    }
};

RVX_DEVICE int32_t lift(int32_t v, int *lost)
{
    const int32_t low = wrap(v);
    *lost += low != v;
    return low;
}

RVX_DEVICE int32_t times(int32_t v, int32_t factor) { return (v * factor + 16384) >> 15; }

/* Signs and shears of the table, or, spreading, their inverses in the opposite order. */
struct Shears {
    enum { NUMBERS = 0 };
    const uint32_t *table;
    int32_t channels;
    bool undoes; /* an inverse: what does not fit was counted when it was made */

    template <int S, int N>
    RVX_DEVICE void apply(uint32_t (&v)[S][N], int32_t c, bool squeeze, int *lost) const
    {
        int own = 0;
#pragma unroll
        for (int f = 0; f < S * N; f++)
            v[f / N][f % N] = (uint32_t)wrap((int32_t)v[f / N][f % N]);
        if (squeeze) {
            signs(v, c, &own);
            int row = 0;
#pragma unroll
            for (int a = S - 2; a >= 0; a--)
#pragma unroll
                for (int b = S - 1; b > a; b--, row += 2)
                    shear<N>(v[a], v[b], row, c, 1, &own);
        } else {
            int row = S * (S - 1);
#pragma unroll
            for (int a = 0; a <= S - 2; a++)
#pragma unroll
                for (int b = a + 1; b < S; b++) {
                    row -= 2;
                    shear<N>(v[a], v[b], row, c, -1, &own);
                }
            signs(v, c, &own);
        }
        if (!undoes)
            *lost += own;
    }

  private:
    template <int S, int N> RVX_DEVICE void signs(uint32_t (&v)[S][N], int32_t c, int *lost) const
    {
#pragma unroll
        for (int i = 0; i < S; i++) {
            uint32_t sign[N];
            table_load(sign, table, S * (S - 1) + i, channels, c);
#pragma unroll
            for (int k = 0; k < N; k++)
                v[i][k] = (uint32_t)lift((int32_t)v[i][k] * (int32_t)sign[k], lost);
        }
    }
    template <int N>
    RVX_DEVICE void shear(uint32_t (&x)[N], uint32_t (&y)[N], int row, int32_t c, int way,
                          int *lost) const
    {
        uint32_t tangent[N], sine[N];
        table_load(tangent, table, row, channels, c);
        table_load(sine, table, row + 1, channels, c);
#pragma unroll
        for (int k = 0; k < N; k++) {
            int32_t a = (int32_t)x[k], b = (int32_t)y[k];
            const int32_t t = (int32_t)tangent[k], s = (int32_t)sine[k];
            a = lift(a - way * times(b, t), lost);
            b = lift(b + way * times(a, s), lost);
            a = lift(a - way * times(b, t), lost);
            x[k] = (uint32_t)a;
            y[k] = (uint32_t)b;
        }
    }
};

Weight weight_of(const rvx_call *call, int64_t channels)
{
    const rvx_tensor &w = call->in[1];
    return {static_cast<const float *>(w.data), w.pitch, (int32_t)channels,
            (int32_t)rvx__block_voxels(call->params), call->params->exponential != 0};
}

enum { TABLE_BYTES = ALGEBRA_MATRICES * ALGEBRA_ENTRIES * (int)sizeof(double) };

/* squeeze: coarse = Q fine; else fine = Q^T coarse. */
void transform(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine, bool squeeze,
               bool undoes)
{
    const bool integer =
        coarse.dtype == RVX_I16 && fine.dtype == RVX_I16 && coarse.grid_log2 == fine.grid_log2;
    const rvx__orthogonal_layout layout =
        rvx__orthogonal_layout_of(RVX_FORWARD, fine.shape, coarse.shape, call->params);
    char *scratch = static_cast<char *>(call->scratch), *room = scratch + layout.room;
    const Weight weight = weight_of(call, fine.shape.c);
    const uint32_t *table = reinterpret_cast<uint32_t *>(scratch + layout.table);
    simt::launch(table_kernel, dim3((unsigned)weight.channels), ALGEBRA_THREADS, TABLE_BYTES,
                 queue_of(call), static_cast<void *>(scratch + layout.table), weight, integer,
                 !squeeze);
    if (integer)
        block_transform(call, coarse, fine, squeeze, Shears{table, weight.channels, undoes}, room);
    else
        block_transform(call, coarse, fine, squeeze, Numbers{table, weight.channels}, room);
}

/* ---- the gradient of W ------------------------------------------------------------------------
 * dL/dQ_c[i][j] = sum over blocks of coarse[i] fine[j]. Threads are dealt to (strand, channel); a
 * strand sums its voxels in f32 for one run, and the strands of a block are summed in double. */

enum { PRODUCT_THREADS = 256, PRODUCT_RUN = 64 };

struct Products {
    BlockSide coarse, fine;
    double *partial; /* [piece][s * s][channels] */
    int64_t voxels, piece_voxels;
    Divisor width, height;  /* coarse */
    uint32_t chunks;        /* of channels */
    int32_t channels, span; /* channels of a chunk: a power of two, at most 32 */
    int32_t stride[3], channel_step;
    int64_t fine_h, fine_w;
};

/* Products of one coarse voxel. */
template <int S>
RVX_DEVICE void products_add(float (&sum)[S * S], const Products &p, int64_t voxel, int32_t c)
{
    const int64_t line = divide(voxel, p.width), x = voxel - line * p.width.by;
    const int64_t slice = divide(line, p.height), y = line - slice * p.height.by;
    const int64_t row = slice * p.stride[0] * p.fine_h + y * p.stride[1];
    uint32_t a[S][1], b[S][1];
    block_load(a, p.coarse, p.coarse.view.at(voxel, c * p.channel_step));
    block_load(b, p.fine, p.fine.view.at(row * p.fine_w + x * p.stride[2], c));
    to_numbers(a, p.coarse.view);
    to_numbers(b, p.fine.view);
#pragma unroll
    for (int i = 0; i < S; i++)
#pragma unroll
        for (int j = 0; j < S; j++)
            sum[i * S + j] =
                simt::fused(simt::as_float(a[i][0]), simt::as_float(b[j][0]), sum[i * S + j]);
}

template <int S> RVX_GLOBAL void RVX_BOUNDS(PRODUCT_THREADS, 2) products_kernel(Products p)
{
    RVX_SHARED(float, shared); /* [s * s][thread] */
    const int strands = PRODUCT_THREADS / p.span;
    const int strand = (int)threadIdx.x / p.span;
    const uint32_t piece = blockIdx.x / p.chunks;
    const int32_t from = (int32_t)(blockIdx.x % p.chunks) * p.span;
    const int32_t c = from + (int32_t)threadIdx.x % p.span;
    const int64_t begin = (int64_t)piece * p.piece_voxels, left = p.voxels - begin;
    const int64_t end = begin + (left < p.piece_voxels ? left : p.piece_voxels);
    for (int64_t first = begin; first < end; first += (int64_t)strands * PRODUCT_RUN) {
        float sum[S * S] = {};
        if (c < p.channels)
#pragma unroll 1
            for (int v = 0; v < PRODUCT_RUN; v++) {
                const int64_t voxel = first + (int64_t)v * strands + strand;
                if (voxel >= end)
                    break;
                products_add<S>(sum, p, voxel, c);
            }
#pragma unroll
        for (int i = 0; i < S * S; i++)
            shared[i * PRODUCT_THREADS + (int)threadIdx.x] = sum[i];
        simt::barrier();
        /* sums so far stand in this block's part of memory: registers are full */
#pragma unroll 1
        for (int at = (int)threadIdx.x; at < S * S * p.span; at += PRODUCT_THREADS) {
            const int i = at / p.span, channel = at % p.span;
            if (from + channel >= p.channels)
                continue;
            double *to = p.partial + ((int64_t)piece * S * S + i) * p.channels + from + channel;
            double total = first > begin ? *to : 0;
            for (int s = 0; s < strands; s++)
                total += (double)shared[i * PRODUCT_THREADS + s * p.span + channel];
            *to = total;
        }
        simt::barrier();
    }
}

/* Pieces in order, then the algebra, channel by channel. */
RVX_GLOBAL void RVX_BOUNDS(ALGEBRA_THREADS)
    gradient_kernel(View dw, const double *partial, int64_t pieces, Weight weight, bool accumulate)
{
    RVX_SHARED(double, shared);
    const int n = weight.n;
    const int64_t channel = blockIdx.x;
    double *w = shared, *g = w + ALGEBRA_ENTRIES, *room = g + ALGEBRA_ENTRIES;
    double *d = w; /* w is done with when dw is written */
    weight_load(w, weight, channel);
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS) {
        double sum = 0;
        for (int64_t piece = 0; piece < pieces; piece++)
            sum += partial[(piece * n * n + e) * weight.channels + channel];
        g[e] = sum;
    }
    simt::barrier();
    orthogonal_gradient(d, g, w, n, weight.exponential, room);
    float *to = reinterpret_cast<float *>(dw.data);
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS) {
        const int64_t at = dw.at(e % n * n + e / n, (int32_t)channel);
        to[at] = accumulate ? to[at] + (float)d[e] : (float)d[e];
    }
}

void gradient(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine)
{
    const rvx_op_params *params = call->params;
    const rvx__orthogonal_layout layout =
        rvx__orthogonal_layout_of(RVX_BACKWARD_PARAMETERS, fine.shape, coarse.shape, params);
    const Weight weight = weight_of(call, fine.shape.c);
    Products p = {};
    p.coarse = block_side(coarse, fine, false, params, 1);
    p.fine = block_side(fine, fine, true, params, 1);
    p.partial = reinterpret_cast<double *>(static_cast<char *>(call->scratch) + layout.partial);
    p.voxels = rvx__shape_voxels(coarse.shape);
    p.piece_voxels = layout.piece_voxels;
    p.width = divisor_of(coarse.shape.w);
    p.height = divisor_of(coarse.shape.h);
    p.channels = weight.channels;
    for (p.span = 1; p.span < p.channels && p.span < 32;)
        p.span *= 2;
    p.chunks = (uint32_t)((p.channels + p.span - 1) / p.span);
    for (int axis = 0; axis < 3; axis++)
        p.stride[axis] = params->stride[axis];
    p.channel_step = params->order == RVX_ORDER_BLOCK ? 1 : weight.n;
    p.fine_h = fine.shape.h;
    p.fine_w = fine.shape.w;
    const dim3 grid((unsigned)(layout.pieces * p.chunks));
    simt::launch(weight.n == 8   ? products_kernel<8>
                 : weight.n == 4 ? products_kernel<4>
                 : weight.n == 2 ? products_kernel<2>
                                 : products_kernel<1>,
                 grid, PRODUCT_THREADS,
                 (size_t)weight.n * weight.n * PRODUCT_THREADS * sizeof(float), queue_of(call), p);
    simt::launch(gradient_kernel, dim3((unsigned)weight.channels), ALGEBRA_THREADS, TABLE_BYTES,
                 queue_of(call), view_of(call->grad_in[1]), (const double *)p.partial,
                 layout.pieces, weight, (call->accumulate & 2u) != 0);
}
} // namespace

extern "C" void rvx__cuda_orthogonal_down_forward(const rvx_call *call)
{
    transform(call, call->out[0], call->in[0], true, false);
}

extern "C" void rvx__cuda_orthogonal_down_backward_data(const rvx_call *call)
{
    transform(call, call->grad_out[0], call->grad_in[0], false, false);
}

extern "C" void rvx__cuda_orthogonal_down_backward_parameters(const rvx_call *call)
{
    gradient(call, call->grad_out[0], call->in[0]);
}

extern "C" void rvx__cuda_orthogonal_down_inverse(const rvx_call *call)
{
    transform(call, call->out[0], call->in[0], false, true);
}

extern "C" void rvx__cuda_orthogonal_up_forward(const rvx_call *call)
{
    transform(call, call->in[0], call->out[0], false, false);
}

extern "C" void rvx__cuda_orthogonal_up_backward_data(const rvx_call *call)
{
    transform(call, call->grad_in[0], call->grad_out[0], true, false);
}

extern "C" void rvx__cuda_orthogonal_up_backward_parameters(const rvx_call *call)
{
    gradient(call, call->in[0], call->grad_out[0]);
}

extern "C" void rvx__cuda_orthogonal_up_inverse(const rvx_call *call)
{
    transform(call, call->in[0], call->out[0], true, true);
}
