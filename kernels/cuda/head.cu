/* Segmentation heads on the GPU: head_loss and head_labels (see kernels/head.h). No logit is
 * stored: a block forms those of a tile of voxels in shared memory, and backward forms them again.
 * Owns: the passes over features and the gradients of features, weight and bias. */
#include "kernels/cuda/loss_tile.h"

namespace
{
using namespace rvx;

/* ---- the weight, packed -----------------------------------------------------------------------
 */

struct Pack {
    const float *weight, *bias;          /* [channels][classes]; NULL: 0 */
    float *quads, *padded_bias, *turned; /* as loss_layout.h has them; turned NULL: not wanted */
    uint32_t channels, classes;
};

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) pack_kernel(Pack p)
{
    const uint32_t four = (p.channels + 3) / 4 * 4, eight = (p.channels + 7) / 8 * 8;
    const uint32_t padded = (p.classes + 3) / 4 * 4, begin = (uint32_t)first_item();
    const uint32_t step = (uint32_t)item_step();
    for (uint32_t i = begin; i < padded * four; i += step) {
        const uint32_t k = i % 4 + i / 4 / four * 4, c = i / 4 % four;
        const bool there = k < p.classes && c < p.channels;
        p.quads[i] = there ? p.weight[(int64_t)c * p.classes + k] : 0.0f;
    }
    for (uint32_t k = begin; k < padded; k += step)
        p.padded_bias[k] = k >= p.classes ? -INFINITY : p.bias ? p.bias[k] : 0.0f;
    if (!p.turned)
        return;
    for (uint32_t i = begin; i < p.classes * eight; i += step) {
        const uint32_t k = i / eight, c = i % eight;
        p.turned[i] = c < p.channels ? p.weight[(int64_t)c * p.classes + k] : 0.0f;
    }
}

/* ---- passes -----------------------------------------------------------------------------------
 */

struct Pass {
    Tile tile;
    Head head;
    View labels, dx; /* dx absent: not wanted */
    Cut cut;
    int ignored;
    bool accumulate;
    bool sums; /* backward: the gradients of weight and bias are wanted */
    double *partial;
    int64_t width;
    const float *turned, *table, *summary, *grad_loss;
    float weight;
};

template <int N> RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS, 3) labels_kernel(Pass g)
{
    RVX_SHARED(float, shared);
    const Tile &t = g.tile;
    const Piece p = my_piece(g.cut);
    for (int64_t at = 0; at < p.count; at += t.voxels) {
        const int count = (int)(p.count - at < t.voxels ? p.count - at : t.voxels);
        logits_form<N>(shared, t, g.head, p.n, p.first + at, count);
        const Best best = best_of(shared, t);
        if (my_voxel(t) < count && my_lane(t) == 0)
            g.labels.data[g.labels.at(p.first + at + my_voxel(t), 0)] = (char)best.first;
        simt::barrier();
    }
}

template <int N> RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS, 2) forward_kernel(Pass g)
{
    RVX_SHARED(float, shared);
    const Tile &t = g.tile;
    const Piece p = my_piece(g.cut);
    QuadSums sums = {};
    double cross_entropy = 0;
    for (int64_t at = 0; at < p.count; at += t.voxels) {
        const int count = (int)(p.count - at < t.voxels ? p.count - at : t.voxels);
        const int label = my_voxel(t) < count
                              ? label_of(g.labels, p.first + at + my_voxel(t), t.classes, g.ignored)
                              : -1;
        /* its barriers stand between the statistics of the tile before and this tile's rows */
        logits_form<N>(shared, t, g.head, p.n, p.first + at, count);
        cross_entropy += (double)tile_softmax(shared, t, label);
        simt::barrier();
        tile_statistics(sums, shared, t);
    }
    simt::barrier();
    statistics_write(g.partial + blockIdx.x * g.width, reinterpret_cast<double *>(shared), t, sums,
                     cross_entropy);
}

/* ---- backward ---------------------------------------------------------------------------------
 * With dz the gradient of the logits: da[c] = sum over k of dz[k] w[c][k],
 * dw[c][k] = sum over voxels of a[c] dz[k], db[k] = sum over voxels of dz[k]. */

/* da of a tile; threads are dealt to (voxel, N channels). */
template <int N>
RVX_DEVICE void features_gradient(const float *shared, const Pass &g, int64_t first, int count)
{
    const Tile &t = g.tile;
    const int groups = t.channels / N, eight = (t.channels + 7) / 8 * 8;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < count * groups; i += TILE_THREADS) {
        const int v = i / groups, c = i % groups * N;
        const float *dz = shared + t.rows + v * t.pitch, *w = g.turned + c;
        float sum[N] = {};
        for (int k = 0; k < t.classes; k++, w += eight) {
            if (N == 1) {
                sum[0] = simt::fused(dz[k], w[0], sum[0]);
                continue;
            }
#pragma unroll
            for (int j = 0; j < N; j += 4) {
                const Float4 four = *reinterpret_cast<const Float4 *>(w + j);
#pragma unroll
                for (int m = 0; m < 4; m++)
                    sum[(j + m) % N] = simt::fused(dz[k], four.v[m], sum[(j + m) % N]);
            }
        }
        put(g.dx, g.dx.at(first + v, c), sum, g.accumulate);
    }
}

/* How warps and lanes are dealt to the sums of weight gradients: a warp has one of `lanes` pairs of
 * quads of classes and one of the parts of the tile, 32 voxels; its lanes have channels, or where
 * these are few each a channel and a share of the voxels. */
struct Deal {
    int span; /* channels of lanes: a power of two */
    int unit; /* this warp's pair of quads, beside others of the same pass */
    int part; /* of the tile */
    int parts;
    int channel, share;
};

RVX_DEVICE Deal deal_of(const Tile &t)
{
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    Deal d;
    d.span = 1;
    while (d.span < t.channels && d.span < TILE_CHANNELS)
        d.span *= 2;
    d.unit = warp % t.lanes;
    d.part = warp / t.lanes;
    d.parts = TILE_WARPS / t.lanes;
    d.channel = lane % d.span;
    d.share = lane / d.span;
    return d;
}

/* sum[4 i + k] += over this thread's voxels of a[channel] dz[quad + i][k] */
template <int Q>
RVX_DEVICE void weight_products(double (&total)[8], const float *shared, const Tile &t,
                                const Deal &d, int quad, int width)
{
    const int channel = d.channel < width ? d.channel : width - 1, shares = 32 / d.span;
    const float *a = shared + t.a + channel, *dz = shared + t.rows + 4 * quad;
    float sum[4 * Q] = {};
#pragma unroll 4
    for (int v = d.part * 32 + d.share; v < d.part * 32 + 32; v += shares) {
        const float x = a[v * t.a_pitch];
#pragma unroll
        for (int i = 0; i < Q; i++) {
            const Float4 four = *reinterpret_cast<const Float4 *>(dz + v * t.pitch + 4 * i);
#pragma unroll
            for (int k = 0; k < 4; k++)
                sum[4 * i + k] = simt::fused(x, four.v[k], sum[4 * i + k]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4 * Q; i++)
        total[i] += (double)sum[i];
}

/* Sums `total` over shares and parts and brings it to this block's row of partial sums, for the
 * chunk of channels from `from` on and units first .. first + lanes of classes. To be reached by
 * the whole block; `red`: eight doubles a thread. */
RVX_DEVICE void weight_combine(double *row, double *red, const Tile &t, const Deal &d,
                               double (&total)[8], int from, int first, bool add)
{
    const int width = chunk_channels(t, from);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        for (int mask = d.span; mask < 32; mask *= 2)
            total[i] += simt::shuffle_xor(total[i], mask);
        if (d.share == 0)
            red[((d.part * t.lanes + d.unit) * TILE_CHANNELS + d.channel) * 8 + i] = total[i];
        total[i] = 0;
    }
    simt::barrier();
    for (int i = (int)threadIdx.x; i < t.lanes * width * 8; i += TILE_THREADS) {
        const int k = ((first + i / (8 * width)) * 8) + i % 8, c = i / 8 % width;
        const int from_word = (i / (8 * width) * TILE_CHANNELS + c) * 8 + i % 8;
        double sum = 0;
        for (int part = 0; part < d.parts; part++)
            sum += red[part * t.lanes * TILE_CHANNELS * 8 + from_word];
        if (k < t.classes) {
            double *to = row + (int64_t)(from + c) * t.classes + k;
            *to = add ? *to + sum : sum;
        }
    }
    simt::barrier();
}

/* The bias gradient's sums over one tile: as tile_statistics. */
RVX_DEVICE void bias_sums(double (&bias)[4], const float *shared, const Tile &t)
{
    const int parts = quad_parts(t), quad = (int)threadIdx.x % t.quads;
    float sum[4] = {};
    if ((int)threadIdx.x >= parts * t.quads)
        return;
    for (int v = (int)threadIdx.x / t.quads; v < t.voxels; v += parts) {
        const Float4 dz =
            *reinterpret_cast<const Float4 *>(shared + t.rows + v * t.pitch + 4 * quad);
#pragma unroll
        for (int k = 0; k < 4; k++)
            sum[k] = simt::add(sum[k], dz.v[k]);
    }
#pragma unroll
    for (int k = 0; k < 4; k++)
        bias[k] += (double)sum[k];
}

/* One chunk of channels and one pair of quads a warp: sums stay in registers until the end. */
RVX_BOTH bool sums_stay(const Tile &t)
{
    return t.channels <= TILE_CHANNELS && (t.quads + 1) / 2 <= t.lanes;
}

/* The weight gradient's sums over one tile. */
template <int N>
RVX_DEVICE void weight_sums(double (&total)[8], double *row, double *red, float *shared,
                            const Pass &g, const Deal &d, const Piece &p, int64_t at, int count)
{
    const Tile &t = g.tile;
    const int units = (t.quads + 1) / 2;
    for (int from = 0; from < t.channels; from += TILE_CHANNELS) {
        if (t.channels > TILE_CHANNELS) { /* the last chunk is what stands in shared memory */
            simt::barrier();
            features_load<N>(shared, t, g.head, p.n, p.first + at, count, from);
            simt::barrier();
        }
        for (int first = 0; first < units; first += t.lanes) {
            const int quad = 2 * (first + d.unit);
            if (quad + 1 < t.quads)
                weight_products<2>(total, shared, t, d, quad, chunk_channels(t, from));
            else if (quad < t.quads)
                weight_products<1>(total, shared, t, d, quad, chunk_channels(t, from));
            if (!sums_stay(t))
                weight_combine(row, red, t, d, total, from, first, at > 0);
        }
    }
}

template <int N> RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS, 2) backward_kernel(Pass g, int red_words)
{
    RVX_SHARED(float, shared);
    const Tile &t = g.tile;
    const Deal d = deal_of(t);
    const Piece p = my_piece(g.cut);
    const float *table = g.table + (int64_t)p.n * 2 * 4 * t.quads;
    const float ce_factor = ce_factor_of(g.summary, g.grad_loss, g.weight);
    double *row = g.partial + blockIdx.x * g.width;
    double *red = reinterpret_cast<double *>(shared + red_words);
    double total[8] = {}, bias[4] = {};
    for (int64_t at = 0; at < p.count; at += t.voxels) {
        const int count = (int)(p.count - at < t.voxels ? p.count - at : t.voxels);
        const int label = my_voxel(t) < count
                              ? label_of(g.labels, p.first + at + my_voxel(t), t.classes, g.ignored)
                              : -1;
        logits_form<N>(shared, t, g.head, p.n, p.first + at, count);
        tile_gradient(shared, t, table, ce_factor, label);
        simt::barrier();
        if (g.dx.data)
            features_gradient<N>(shared, g, p.first + at, count);
        if (g.sums) {
            bias_sums(bias, shared, t);
            weight_sums<N>(total, row, red, shared, g, d, p, at, count);
        }
        simt::barrier();
    }
    if (!g.sums)
        return;
    if (sums_stay(t))
        weight_combine(row, red, t, d, total, 0, 0, false);
    sum_over_parts(red, t, bias);
#pragma unroll
    for (int k = 0; k < 4; k++)
        if ((int)threadIdx.x < t.quads && 4 * (int)threadIdx.x + k < t.classes)
            row[(int64_t)t.channels * t.classes + 4 * (int)threadIdx.x + k] = bias[k];
}

/* Sums blocks in order and writes the gradients of weight and bias. */
struct Parameters {
    float *weight, *bias; /* NULL: not wanted */
    const double *partial;
    int64_t blocks, width, weights;
    bool add_weight, add_bias;
};

RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS) parameters_kernel(Parameters o)
{
    RVX_SHARED(double, shared);
    const int64_t column = (int64_t)blockIdx.x * 32 + threadIdx.x % 32;
    const double sum = column_sum(o.partial, o.blocks, o.width, column, shared);
    if (threadIdx.x >= 32 || column >= o.width)
        return;
    float *to = column < o.weights ? o.weight : o.bias;
    const int64_t i = column < o.weights ? column : column - o.weights;
    const bool add = column < o.weights ? o.add_weight : o.add_bias;
    if (to)
        to[i] = (float)((add ? (double)to[i] : 0.0) + sum);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

Pass pass_of(const rvx_call *call, const rvx__loss_layout &layout)
{
    const rvx_shape x = call->in[0].shape;
    char *scratch = static_cast<char *>(call->scratch);
    Pass g = {};
    g.tile = tile_of(call->in[1].shape.c, x.c);
    g.head.x = view_of(call->in[0]);
    g.head.fold = fold_of(call->fold);
    g.head.weight = reinterpret_cast<float *>(scratch + layout.weight);
    g.head.bias = reinterpret_cast<float *>(scratch + layout.bias);
    g.cut = cut_of(layout, x);
    g.ignored = call->params->ignore_label;
    g.partial = reinterpret_cast<double *>(scratch + layout.partial);
    g.width = layout.width;
    return g;
}

void pack(const rvx_call *call, const rvx__loss_layout &layout, bool turned)
{
    char *scratch = static_cast<char *>(call->scratch);
    Pack p = {};
    p.weight = static_cast<const float *>(call->in[1].data);
    p.bias = static_cast<const float *>(call->in[2].data);
    p.quads = reinterpret_cast<float *>(scratch + layout.weight);
    p.padded_bias = reinterpret_cast<float *>(scratch + layout.bias);
    p.turned = turned ? reinterpret_cast<float *>(scratch + layout.turned) : nullptr;
    p.channels = (uint32_t)call->in[0].shape.c;
    p.classes = (uint32_t)call->in[1].shape.c;
    simt::launch(pack_kernel, pointwise_grid((int64_t)p.channels * p.classes), POINTWISE_THREADS, 0,
                 queue_of(call), p);
}

dim3 blocks_of(const rvx_call *call, const rvx__loss_layout &layout)
{
    return dim3((unsigned)(call->in[0].shape.n * layout.pieces));
}

size_t larger(size_t a, size_t b) { return a > b ? a : b; }
} // namespace

extern "C" void rvx__cuda_head_labels_forward(const rvx_call *call)
{
    const rvx_shape x = call->in[0].shape;
    const rvx__loss_layout layout =
        rvx__loss_layout_of(RVX_FORWARD, x, x.c, call->in[1].shape.c, 0);
    Pass g = pass_of(call, layout);
    g.labels = view_of(call->out[0]);
    pack(call, layout, false);
    simt::launch(wide(call->in[0]) ? labels_kernel<8> : labels_kernel<1>, blocks_of(call, layout),
                 TILE_THREADS, (size_t)g.tile.end * sizeof(float), queue_of(call), g);
}

extern "C" void rvx__cuda_head_loss_forward(const rvx_call *call)
{
    const rvx_shape x = call->in[0].shape;
    const rvx__loss_layout layout =
        rvx__loss_layout_of(RVX_FORWARD, x, x.c, call->in[1].shape.c, 1);
    Pass g = pass_of(call, layout);
    g.labels = view_of(call->in[3]);
    pack(call, layout, false);
    /* what a block has summed goes where its tiles were */
    const size_t bytes =
        larger((size_t)g.tile.end * sizeof(float), 4 * TILE_THREADS * sizeof(double));
    simt::launch(wide(call->in[0]) ? forward_kernel<8> : forward_kernel<1>, blocks_of(call, layout),
                 TILE_THREADS, bytes, queue_of(call), g);
    loss_outputs(call, layout);
}

extern "C" void rvx__cuda_head_loss_backward(const rvx_call *call)
{
    const rvx_shape x = call->in[0].shape;
    const int64_t classes = call->in[1].shape.c;
    const rvx__loss_layout layout = rvx__loss_layout_of(RVX_BACKWARD_DATA, x, x.c, classes, 1);
    char *scratch = static_cast<char *>(call->scratch);
    Pass g = pass_of(call, layout);
    g.labels = view_of(call->in[3]);
    g.dx = view_of(call->grad_in[0]);
    g.accumulate = (call->accumulate & 1u) != 0;
    g.sums = call->grad_in[1].data || call->grad_in[2].data;
    g.turned = reinterpret_cast<float *>(scratch + layout.turned);
    g.table = reinterpret_cast<float *>(scratch + layout.table);
    g.summary = static_cast<const float *>(call->out[2].data);
    g.grad_loss = static_cast<const float *>(call->grad_out[0].data);
    g.weight = call->params->weight;
    pack(call, layout, true);
    loss_coefficients(call, layout);
    /* sums that stay in registers are combined where the tiles were, others beside them */
    const int red_words = sums_stay(g.tile) ? 0 : (g.tile.end + 1) / 2 * 2;
    const size_t red = (size_t)red_words * sizeof(float) + 8 * TILE_THREADS * sizeof(double);
    const bool eight = wide(call->in[0]) && wide(call->grad_in[0]);
    simt::launch(eight ? backward_kernel<8> : backward_kernel<1>, blocks_of(call, layout),
                 TILE_THREADS, larger((size_t)g.tile.end * sizeof(float), g.sums ? red : 0),
                 queue_of(call), g, red_words);
    if (!g.sums)
        return;
    Parameters o = {};
    o.weight = static_cast<float *>(call->grad_in[1].data);
    o.bias = static_cast<float *>(call->grad_in[2].data);
    o.partial = g.partial;
    o.blocks = x.n * layout.pieces;
    o.width = layout.width;
    o.weights = x.c * classes;
    o.add_weight = (call->accumulate & 2u) != 0;
    o.add_bias = (call->accumulate & 4u) != 0;
    simt::launch(parameters_kernel, dim3((unsigned)((o.width + 31) / 32)), TILE_THREADS,
                 TILE_THREADS * sizeof(double), queue_of(call), o);
}
