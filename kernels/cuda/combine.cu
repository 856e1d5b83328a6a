/* Copies, sums and differences: see combine.h. */
#include "kernels/cuda/combine.h"
#include "kernels/cuda/view.h"

namespace
{
using namespace rvx;

/* y, a and b have the same voxels and channels. */
template <int N>
RVX_DEVICE void combine_one(const View &y, const View &a, const View &b, int64_t voxel, int32_t c,
                            Combine how)
{
    float v[N] = {}, w[N];
    const int64_t at = y.at(voxel, c);
    if (y.dtype == RVX_I16 && how != ZERO) {
        int32_t x[N], z[N] = {};
        integers(y, a, a.at(voxel, c), x, how != DIFFERENCE);
        if (how == SUM || how == DIFFERENCE)
            integers(y, b, b.at(voxel, c), z, how == SUM);
#pragma unroll
        for (int k = 0; k < N; k++)
            x[k] = how == DIFFERENCE ? x[k] - z[k] : x[k] + z[k];
        int lost = store_integers(y, at, x);
        if (how != DIFFERENCE)
            count_lost(y, lost);
        return;
    }
    if (how != ZERO)
        load(a, a.at(voxel, c), v);
    if (how == SUM || how == DIFFERENCE) {
        load(b, b.at(voxel, c), w);
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = how == SUM ? v[k] + w[k] : v[k] - w[k];
    }
    store(y, at, v);
}

template <int N>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) combine_kernel(View y, View a, View b, Combine how)
{
    const int32_t groups = y.c / N;
    for (int64_t i = first_item(); i < y.voxels * groups; i += item_step())
        combine_one<N>(y, a, b, i / groups, (int32_t)(i % groups) * N, how);
}

/* U8 (labels): bytes. */
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) copy_bytes_kernel(View y, View a, Combine how)
{
    for (int64_t i = first_item(); i < y.voxels * y.c; i += item_step()) {
        const int64_t voxel = i / y.c;
        const int32_t c = (int32_t)(i % y.c);
        y.data[y.at(voxel, c)] = how == ZERO ? (char)0 : a.data[a.at(voxel, c)];
    }
}
} // namespace

namespace rvx
{
void combine(const rvx_call *call, const rvx_tensor &y, const rvx_tensor &a, const rvx_tensor &b,
             Combine how)
{
    const rvx_tensor &from = how == ZERO ? y : a, &with = how == SUM || how == DIFFERENCE ? b : y;
    const bool eight = wide(y) && wide(from) && wide(with);
    const View to = view_of(y), first = view_of(from), second = view_of(with);
    if (y.dtype == RVX_U8)
        simt::launch(copy_bytes_kernel, pointwise_grid(to.voxels * to.c), POINTWISE_THREADS, 0,
                     queue_of(call), to, first, how);
    else if (eight)
        simt::launch(combine_kernel<8>, pointwise_grid(to.voxels * to.c / 8), POINTWISE_THREADS, 0,
                     queue_of(call), to, first, second, how);
    else
        simt::launch(combine_kernel<1>, pointwise_grid(to.voxels * to.c), POINTWISE_THREADS, 0,
                     queue_of(call), to, first, second, how);
}
} // namespace rvx
