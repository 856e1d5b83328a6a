/* Dropout on the GPU (see kernels/dropout.h): a thread makes one random block, whose 8 halves
 * belong to 8 elements that lie 16 apart; half a warp has the 128 elements of a chunk. Where
 * elements are moved by eights, the 16 threads exchange what they know, so that each gets 8 that
 * lie side by side. */
#include "kernels/cuda/reduce.h"
#include "kernels/dropout.h"

namespace
{
using namespace rvx;

enum {
    THREADS = 256,
    ELEMENTS = 8, /* of a thread */
    BLOCKS = RVX_DROPOUT_BLOCKS,
    CHUNK = RVX_DROPOUT_CHUNK
};

struct Dropping {
    const float *key;
    uint32_t layer;
    int32_t threshold;
    float scale;
    bool accumulate;
};

/* Bit j: half j of a random block lets its element live. */
RVX_DEVICE uint32_t kept(const Dropping &d, float key, int64_t block)
{
    const rvx_random_block random = rvx__philox(simt::as_bits(key), d.layer, (uint64_t)block);
    uint32_t mask = 0;
#pragma unroll
    for (int j = 0; j < ELEMENTS; j++) {
        const uint32_t half = random.word[j / 2] >> (16 * (j % 2)) & 0xFFFF;
        mask |= (half >= (uint32_t)d.threshold ? 1u : 0u) << j;
    }
    return mask;
}

/* y = keep a scale, N elements from e on; bit k of mask: element k is kept */
template <int N>
RVX_DEVICE void drop(const View &y, const View &x, const Fold &folds, int64_t e, uint32_t mask,
                     float scale, bool accumulate)
{
    const int64_t voxel = e / y.c;
    const int32_t c = (int32_t)(e % y.c);
    float v[N];
    load(x, x.at(voxel, c), v);
    if (folds.data)
        fold(folds, (int32_t)(voxel / ((int64_t)y.d * y.h * y.w)), c, v);
#pragma unroll
    for (int k = 0; k < N; k++)
        v[k] = mask >> k & 1 ? simt::multiply(v[k], scale) : 0.0f;
    put(y, y.at(voxel, c), v, accumulate);
}

template <class T>
RVX_GLOBAL void RVX_BOUNDS(THREADS) drop_kernel(View y_, View x_, Fold folds, Dropping d)
{
    RVX_SHARED(unsigned char, masks);
    const View x = typed<T::X>(x_), y = typed<T::Y>(y_);
    const float key = *d.key;
    const bool dropping = key > 0;
    if (!dropping && x.data == y.data && !folds.data && !d.accumulate)
        return;
    const int thread = (int)threadIdx.x, own = thread % BLOCKS;
    const int64_t chunk = ((int64_t)blockIdx.x * THREADS + thread) / BLOCKS;
    const int64_t first = chunk * CHUNK, count = y.voxels * y.c;
    const float scale = dropping ? d.scale : 1.0f;
    uint32_t mask = dropping ? kept(d, key, chunk * BLOCKS + own) : 0xFF;
    if (!T::WIDE) {
        for (int j = 0; j < ELEMENTS; j++)
            if (first + own + j * BLOCKS < count)
                drop<1>(y, x, folds, first + own + j * BLOCKS, mask >> j & 1, scale, d.accumulate);
        return;
    }
    masks[thread] = (unsigned char)mask;
    simt::warp_barrier();
    /* Elements 8 own .. + 8 of the chunk: bit own / 2 of blocks 8 (own % 2) .. + 8. */
    const unsigned char *from = masks + thread / BLOCKS * BLOCKS + own % 2 * ELEMENTS;
    const uint64_t bytes = *reinterpret_cast<const uint64_t *>(from);
    mask = 0;
#pragma unroll
    for (int k = 0; k < ELEMENTS; k++)
        mask |= (uint32_t)(bytes >> (8 * k + own / 2) & 1) << k;
    if (first + own * ELEMENTS < count)
        drop<ELEMENTS>(y, x, folds, first + own * ELEMENTS, mask, scale, d.accumulate);
}

void queue(const rvx_call *call, const rvx_tensor &y, const rvx_tensor &x, const rvx_tensor &folds,
           bool accumulate)
{
    static_assert(ELEMENTS * BLOCKS == CHUNK, "all bits of a random block are used");
    Dropping d;
    d.key = rvx__f32(&call->in[1]);
    d.layer = (uint32_t)call->params->layer;
    d.threshold = rvx__dropout_threshold(call->params->rate);
    d.scale = 65536.0f / (float)(65536 - d.threshold);
    d.accumulate = accumulate;
    const int64_t count = rvx__shape_count(y.shape), size = THREADS * ELEMENTS;
    for_types(wide(x) && wide(y), x.dtype, y.dtype, y.dtype, [&](auto types) {
        simt::launch(drop_kernel<decltype(types)>, dim3((unsigned)((count + size - 1) / size)),
                     THREADS, THREADS, queue_of(call), view_of(y), view_of(x), fold_of(folds), d);
    });
}
} // namespace

extern "C" void rvx__cuda_dropout_forward(const rvx_call *call)
{
    queue(call, call->out[0], call->in[0], call->fold, false);
}

extern "C" void rvx__cuda_dropout_backward(const rvx_call *call)
{
    queue(call, call->grad_in[0], call->grad_out[0], rvx_tensor{}, (call->accumulate & 1u) != 0);
}
