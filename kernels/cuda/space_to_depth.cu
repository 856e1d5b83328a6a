/* space_to_depth and depth_to_space on the GPU (see kernels/space_to_depth.h): values moved
 * unchanged, converted or added. Owns: the movement of blocks of any size. Blocks of a power of two
 * of voxels go as vectors (block_move.h), others element by element. */
#include "kernels/cuda/block_move.h"

namespace
{
using namespace rvx;

/* Elements of one type on both sides keep their bits. */
struct Keep {
    enum { NUMBERS = 0 };
    template <int S, int N> RVX_DEVICE void apply(uint32_t (&)[S][N], int32_t, bool, int *) const {}
};
/* Others, and sums, are numbers. */
struct Convert : Keep {
    enum { NUMBERS = 1 };
};

/* ---- any block, element by element ------------------------------------------------------------
 */

struct Elements {
    View coarse, fine;
    int64_t origin;                  /* the element of the side read that stands at its data */
    int64_t first_voxel, items;      /* coarse voxels; items are elements */
    Divisor channels, width, height; /* coarse */
    int32_t stride[3];
    uint32_t voxels; /* of a block */
    int32_t order;
    bool squeeze, same, accumulate;
};

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) elements_kernel(Elements e)
{
    const View &to = e.squeeze ? e.coarse : e.fine, &from = e.squeeze ? e.fine : e.coarse;
    const uint32_t c_fine = (uint32_t)e.fine.c;
    for (int64_t i = first_item(); i < e.items; i += item_step()) {
        const int64_t at_item = divide(i, e.channels), voxel = e.first_voxel + at_item;
        const uint32_t channel = (uint32_t)(i - at_item * e.channels.by);
        const uint32_t sub = e.order == RVX_ORDER_BLOCK ? channel / c_fine : channel % e.voxels;
        const uint32_t c = e.order == RVX_ORDER_BLOCK ? channel % c_fine : channel / e.voxels;
        const uint32_t iw = sub % (uint32_t)e.stride[2], ih = sub / (uint32_t)e.stride[2];
        const int64_t line = divide(voxel, e.width), x = voxel - line * e.width.by;
        const int64_t slice = divide(line, e.height), y = line - slice * e.height.by;
        const int64_t z = slice * e.stride[0] + ih / (uint32_t)e.stride[1];
        const int64_t row = z * e.fine.h + y * e.stride[1] + ih % (uint32_t)e.stride[1];
        const int64_t at_fine = e.fine.at(row * e.fine.w + x * e.stride[2] + iw, (int32_t)c);
        const int64_t at_coarse = e.coarse.at(voxel, (int32_t)channel);
        const int64_t at = e.squeeze ? at_coarse : at_fine;
        const int64_t read = (e.squeeze ? at_fine : at_coarse) - e.origin;
        if (!e.same) {
            float v[1];
            load(from, read, v);
            put(to, at, v, e.accumulate);
        } else if (to.dtype == RVX_F32) {
            reinterpret_cast<uint32_t *>(to.data)[at] =
                reinterpret_cast<const uint32_t *>(from.data)[read];
        } else {
            reinterpret_cast<uint16_t *>(to.data)[at] =
                reinterpret_cast<const uint16_t *>(from.data)[read];
        }
    }
}

void elements_part(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine,
                   bool squeeze, bool same, const void *aside, int64_t first, int64_t lines)
{
    const rvx_shape &shape = coarse.shape;
    Elements e = {};
    e.coarse = view_of(coarse);
    e.fine = view_of(fine);
    if (aside) {
        (squeeze ? e.fine : e.coarse).data = static_cast<char *>(const_cast<void *>(aside));
        e.origin = first * shape.w * shape.c;
    }
    e.first_voxel = first * shape.w;
    e.items = lines * shape.w * shape.c;
    e.channels = divisor_of(shape.c);
    e.width = divisor_of(shape.w);
    e.height = divisor_of(shape.h);
    for (int axis = 0; axis < 3; axis++)
        e.stride[axis] = call->params->stride[axis];
    e.voxels = (uint32_t)rvx__block_voxels(call->params);
    e.order = call->params->order;
    e.squeeze = squeeze;
    e.same = same;
    e.accumulate = (call->accumulate & 1u) != 0;
    simt::launch(elements_kernel, pointwise_grid(e.items), POINTWISE_THREADS, 0, queue_of(call), e);
}

void move(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine, bool squeeze)
{
    const int64_t s = rvx__block_voxels(call->params);
    const bool same = coarse.dtype == fine.dtype && !(call->accumulate & 1u);
    char *room = static_cast<char *>(call->scratch);
    if ((s & (s - 1)) == 0 && s <= 8 && same)
        block_transform(call, coarse, fine, squeeze, Keep(), room);
    else if ((s & (s - 1)) == 0 && s <= 8)
        block_transform(call, coarse, fine, squeeze, Convert(), room);
    else
        block_slabs(call, coarse, fine, room, [&](const void *aside, int64_t first, int64_t lines) {
            elements_part(call, coarse, fine, squeeze, same, aside, first, lines);
        });
}

template <class Word>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) copy_kernel(Word *to, const Word *from, int64_t count)
{
    for (int64_t i = first_item(); i < count; i += item_step())
        to[i] = from[i];
}
} // namespace

namespace rvx
{
void block_copy(const rvx_call *call, void *to, const void *from, int64_t bytes)
{
    const uintptr_t all = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
    if ((all | (uintptr_t)bytes) % 16 == 0)
        simt::launch(copy_kernel<Words4>, pointwise_grid(bytes / 16), POINTWISE_THREADS, 0,
                     queue_of(call), static_cast<Words4 *>(to), static_cast<const Words4 *>(from),
                     bytes / 16);
    else
        simt::launch(copy_kernel<uint16_t>, pointwise_grid(bytes / 2), POINTWISE_THREADS, 0,
                     queue_of(call), static_cast<uint16_t *>(to),
                     static_cast<const uint16_t *>(from), bytes / 2);
}
} // namespace rvx

extern "C" void rvx__cuda_space_to_depth_forward(const rvx_call *call)
{
    move(call, call->out[0], call->in[0], true);
}

extern "C" void rvx__cuda_space_to_depth_backward(const rvx_call *call)
{
    move(call, call->grad_out[0], call->grad_in[0], false);
}

extern "C" void rvx__cuda_space_to_depth_inverse(const rvx_call *call)
{
    move(call, call->out[0], call->in[0], false);
}

extern "C" void rvx__cuda_depth_to_space_forward(const rvx_call *call)
{
    move(call, call->in[0], call->out[0], false);
}

extern "C" void rvx__cuda_depth_to_space_backward(const rvx_call *call)
{
    move(call, call->grad_in[0], call->grad_out[0], true);
}

extern "C" void rvx__cuda_depth_to_space_inverse(const rvx_call *call)
{
    move(call, call->in[0], call->out[0], true);
}
