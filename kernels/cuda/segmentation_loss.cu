/* Cross entropy plus soft Dice on the GPU (see kernels/segmentation_loss.c). Owns: the passes over
 * given logits, and what the head's loss shares with them: the outputs from the sums of all blocks,
 * and the coefficients of backward. */
#include "kernels/cuda/loss_tile.h"

namespace
{
using namespace rvx;

/* ---- outputs ----------------------------------------------------------------------------------
 */

/* total[n][column] = the sum of the pieces of sample n: a block has 32 columns of a sample. */
RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS)
    total_kernel(double *total, const double *partial, int64_t pieces, int64_t width)
{
    RVX_SHARED(double, shared);
    const uint32_t groups = (uint32_t)(width + 31) / 32, n = blockIdx.x / groups;
    const int64_t column = blockIdx.x % groups * 32 + threadIdx.x % 32;
    const double sum = column_sum(partial + n * pieces * width, pieces, width, column, shared);
    if (threadIdx.x < 32 && column < width)
        total[n * width + column] = sum;
}

struct Outputs {
    const double *total;
    float *loss, *statistics, *summary;
    int64_t pitch; /* of statistics */
    uint32_t samples, classes;
    uint32_t first_class; /* of Dice */
    float weight, smooth;
};

/* Sum over the block of one number a thread, in a fixed order: thread 0 has it. */
RVX_DEVICE double block_sum(double v, double *shared)
{
    for (int mask = 1; mask < 32; mask *= 2)
        v += simt::shuffle_xor(v, mask);
    simt::barrier();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    simt::barrier();
    double sum = 0;
    if (threadIdx.x == 0)
        for (int w = 0; w < TILE_WARPS; w++)
            sum += shared[w];
    return sum;
}

/* One block: statistics, and the few numbers that are left. */
RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS) outputs_kernel(Outputs o)
{
    RVX_SHARED(double, shared);
    const int64_t width = 1 + RVX__LOSS_SUMS * o.classes;
    double cross_entropy = 0, valid = 0, dice = 0;
    for (uint32_t i = threadIdx.x; i < o.samples * o.classes; i += TILE_THREADS) {
        const uint32_t n = i / o.classes, k = i % o.classes;
        const double *sum = o.total + n * width + 1 + k * RVX__LOSS_SUMS;
        float *row = o.statistics + i * o.pitch;
        row[0] = (float)sum[SUM_I];
        row[1] = (float)sum[SUM_P];
        row[2] = (float)sum[SUM_G];
        row[3] = (float)sum[SUM_TP];
        row[4] = (float)(sum[SUM_PREDICTED] - sum[SUM_TP]);
        row[5] = (float)(sum[SUM_G] - sum[SUM_TP]);
        valid += sum[SUM_G];
        if (k == 0)
            cross_entropy += o.total[n * width];
        if (k >= o.first_class)
            dice -= (2 * sum[SUM_I] + (double)o.smooth) /
                    fmax(sum[SUM_P] + sum[SUM_G] + (double)o.smooth, 1e-8);
    }
    cross_entropy = block_sum(cross_entropy, shared);
    valid = block_sum(valid, shared);
    dice = block_sum(dice, shared);
    if (threadIdx.x != 0)
        return;
    cross_entropy = valid > 0 ? cross_entropy / valid : 0;
    dice /= (double)(o.samples * (o.classes - o.first_class));
    const double high = floor(valid / 16777216.0);
    o.loss[0] = (float)((double)o.weight * (cross_entropy + dice));
    o.summary[0] = (float)cross_entropy;
    o.summary[1] = (float)dice;
    o.summary[2] = (float)high;
    o.summary[3] = (float)(valid - high * 16777216.0);
}

/* ---- coefficients -----------------------------------------------------------------------------
 */

struct Coefficients {
    float *table; /* [n][2][padded] */
    const float *statistics, *grad_loss;
    int64_t pitch;
    uint32_t samples, classes, padded, first_class;
    float weight, smooth;
};

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) coefficients_kernel(Coefficients o)
{
    const double factor = (double)o.weight * (o.grad_loss ? (double)o.grad_loss[0] : 1.0);
    const double each = factor / (double)(o.samples * (o.classes - o.first_class));
    for (uint32_t i = (uint32_t)first_item(); i < o.samples * o.padded;
         i += (uint32_t)item_step()) {
        const uint32_t n = i / o.padded, k = i % o.padded;
        float *a = o.table + (int64_t)n * 2 * o.padded + k, *b = a + o.padded;
        *a = *b = 0.0f;
        if (k >= o.classes || k < o.first_class)
            continue;
        const float *row = o.statistics + ((int64_t)n * o.classes + k) * o.pitch;
        const double size = (double)row[1] + (double)row[2] + (double)o.smooth;
        const double bound = fmax(size, 1e-8), twice = 2 * (double)row[0] + (double)o.smooth;
        *a = size >= 1e-8 ? (float)(each * twice / (bound * bound)) : 0.0f;
        *b = (float)(2 * each / bound);
    }
}

/* ---- given logits -----------------------------------------------------------------------------
 */

struct Given {
    Tile tile;
    View x, labels, dx;
    Cut cut;
    int ignored;
    bool accumulate;
    double *partial;
    int64_t width;
    const float *table, *summary, *grad_loss;
    float weight;
};

RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS) forward_kernel(Given g)
{
    RVX_SHARED(float, shared);
    const Tile &t = g.tile;
    const Piece p = my_piece(g.cut);
    QuadSums sums = {};
    double cross_entropy = 0;
    for (int64_t at = 0; at < p.count; at += t.voxels) {
        const int count = (int)(p.count - at < t.voxels ? p.count - at : t.voxels);
        logits_load(shared, t, g.x, p.first + at, count);
        const int label = my_voxel(t) < count
                              ? label_of(g.labels, p.first + at + my_voxel(t), t.classes, g.ignored)
                              : -1;
        simt::barrier();
        cross_entropy += (double)tile_softmax(shared, t, label);
        simt::barrier();
        tile_statistics(sums, shared, t);
        simt::barrier();
    }
    statistics_write(g.partial + blockIdx.x * g.width, reinterpret_cast<double *>(shared), t, sums,
                     cross_entropy);
}

RVX_GLOBAL void RVX_BOUNDS(TILE_THREADS) backward_kernel(Given g)
{
    RVX_SHARED(float, shared);
    const Tile &t = g.tile;
    const Piece p = my_piece(g.cut);
    const float *table = g.table + (int64_t)p.n * 2 * 4 * t.quads;
    const float ce_factor = ce_factor_of(g.summary, g.grad_loss, g.weight);
    for (int64_t at = 0; at < p.count; at += t.voxels) {
        const int count = (int)(p.count - at < t.voxels ? p.count - at : t.voxels);
        logits_load(shared, t, g.x, p.first + at, count);
        const int label = my_voxel(t) < count
                              ? label_of(g.labels, p.first + at + my_voxel(t), t.classes, g.ignored)
                              : -1;
        simt::barrier();
        tile_gradient(shared, t, table, ce_factor, label);
        simt::barrier();
        for (int i = (int)threadIdx.x; i < count * t.classes; i += TILE_THREADS) {
            const int v = i / t.classes, k = i % t.classes;
            float dz[1] = {shared[t.rows + v * t.pitch + k]};
            put(g.dx, g.dx.at(p.first + at + v, k), dz, g.accumulate);
        }
        simt::barrier();
    }
}

/* What both passes need; `layout` says where scratch blocks are. */
Given given_of(const rvx_call *call, const rvx__loss_layout &layout)
{
    const rvx_shape x = call->in[0].shape;
    char *scratch = static_cast<char *>(call->scratch);
    Given g = {};
    g.tile = tile_of(x.c, 0);
    g.x = view_of(call->in[0]);
    g.labels = view_of(call->in[1]);
    g.cut = cut_of(layout, x);
    g.ignored = call->params->ignore_label;
    g.partial = reinterpret_cast<double *>(scratch + layout.partial);
    g.width = layout.width;
    g.table = reinterpret_cast<float *>(scratch + layout.table);
    g.summary = static_cast<const float *>(call->out[2].data);
    g.grad_loss = static_cast<const float *>(call->grad_out[0].data);
    g.weight = call->params->weight;
    return g;
}
} // namespace

namespace rvx
{
void loss_outputs(const rvx_call *call, const rvx__loss_layout &layout)
{
    const rvx_tensor &statistics = call->out[1];
    char *scratch = static_cast<char *>(call->scratch);
    double *total = reinterpret_cast<double *>(scratch + layout.total);
    Outputs o = {};
    o.total = total;
    o.loss = static_cast<float *>(call->out[0].data);
    o.statistics = static_cast<float *>(statistics.data);
    o.summary = static_cast<float *>(call->out[2].data);
    o.pitch = statistics.pitch;
    o.samples = (uint32_t)statistics.shape.n;
    o.classes = (uint32_t)statistics.shape.w;
    o.first_class = call->params->include_background ? 0 : 1;
    o.weight = call->params->weight;
    o.smooth = call->params->smooth;
    const int64_t blocks = statistics.shape.n * ((layout.width + 31) / 32);
    simt::launch(total_kernel, dim3((unsigned)blocks), TILE_THREADS, TILE_THREADS * sizeof(double),
                 queue_of(call), total, reinterpret_cast<const double *>(scratch + layout.partial),
                 layout.pieces, layout.width);
    simt::launch(outputs_kernel, dim3(1), TILE_THREADS, TILE_WARPS * sizeof(double), queue_of(call),
                 o);
}

void loss_coefficients(const rvx_call *call, const rvx__loss_layout &layout)
{
    const rvx_tensor &statistics = call->out[1];
    Coefficients o = {};
    o.table = reinterpret_cast<float *>(static_cast<char *>(call->scratch) + layout.table);
    o.statistics = static_cast<const float *>(statistics.data);
    o.grad_loss = static_cast<const float *>(call->grad_out[0].data);
    o.pitch = statistics.pitch;
    o.samples = (uint32_t)statistics.shape.n;
    o.classes = (uint32_t)statistics.shape.w;
    o.padded = (uint32_t)rvx__loss_up(o.classes, 4);
    o.first_class = call->params->include_background ? 0 : 1;
    o.weight = call->params->weight;
    o.smooth = call->params->smooth;
    simt::launch(coefficients_kernel, pointwise_grid((int64_t)o.samples * o.padded),
                 POINTWISE_THREADS, 0, queue_of(call), o);
}
} // namespace rvx

/* Shared memory: a tile, which the sums of a block reuse at its end. */
static size_t tile_bytes(const Tile &tile)
{
    size_t words = (size_t)tile.end * sizeof(float), sums = 4 * TILE_THREADS * sizeof(double);
    return words > sums ? words : sums;
}

extern "C" void rvx__cuda_segmentation_loss_forward(const rvx_call *call)
{
    const rvx_shape x = call->in[0].shape;
    const rvx__loss_layout layout = rvx__loss_layout_of(RVX_FORWARD, x, 0, x.c, 1);
    const Given g = given_of(call, layout);
    simt::launch(forward_kernel, dim3((unsigned)(x.n * layout.pieces)), TILE_THREADS,
                 tile_bytes(g.tile), queue_of(call), g);
    loss_outputs(call, layout);
}

extern "C" void rvx__cuda_segmentation_loss_backward(const rvx_call *call)
{
    const rvx_shape x = call->in[0].shape;
    if (!call->grad_in[0].data)
        return;
    const rvx__loss_layout layout = rvx__loss_layout_of(RVX_BACKWARD_DATA, x, 0, x.c, 1);
    Given g = given_of(call, layout);
    g.dx = view_of(call->grad_in[0]);
    g.accumulate = (call->accumulate & 1u) != 0;
    loss_coefficients(call, layout);
    simt::launch(backward_kernel, dim3((unsigned)(x.n * layout.pieces)), TILE_THREADS,
                 tile_bytes(g.tile), queue_of(call), g);
}
