/* Maximum over non-overlapping windows on the GPU (see kernels/max_pool.c). Invariant: windows do
 * not overlap, so each input voxel is written by one thread only. */
#include "kernels/cuda/view.h"

namespace
{
using namespace rvx;

struct Pool {
    int32_t kernel[3];
    int32_t d, h, w; /* windows along each axis */
    int32_t n;
};

/* What a thread does: N channels of a window. */
struct Window {
    int64_t index, first; /* of the windows; its first voxel */
    int32_t n, c;
};

RVX_DEVICE Window window_of(const Pool &pool, const View &x, int64_t item, int32_t groups,
                            int32_t size)
{
    Window window;
    window.index = item / groups;
    window.c = (int32_t)(item % groups) * size;
    int64_t rest = window.index;
    const int32_t ow = (int32_t)(rest % pool.w);
    rest /= pool.w;
    const int32_t oh = (int32_t)(rest % pool.h);
    rest /= pool.h;
    const int32_t od = (int32_t)(rest % pool.d);
    window.n = (int32_t)(rest / pool.d);
    window.first = x.voxel(window.n, od * pool.kernel[0], oh * pool.kernel[1], ow * pool.kernel[2]);
    return window;
}

/* Calls visit(voxel, position) for all voxels of a window, in order. */
template <class Visit>
RVX_DEVICE void window_walk(const Pool &pool, const View &x, int64_t first, Visit visit)
{
    int32_t position = 0;
    for (int32_t i = 0; i < pool.kernel[0]; i++)
        for (int32_t j = 0; j < pool.kernel[1]; j++)
            for (int32_t k = 0; k < pool.kernel[2]; k++)
                visit(first + ((int64_t)i * x.h + j) * x.w + k, position++);
}

/* The largest number of a window and where it stands first. */
template <int N>
RVX_DEVICE void window_max(const Pool &pool, const View &x, const Fold &folds, const Window &window,
                           float (&best)[N], int32_t (&where)[N])
{
    window_walk(pool, x, window.first, [&](int64_t voxel, int32_t position) {
        float v[N];
        load(x, x.at(voxel, window.c), v);
        fold(folds, window.n, window.c, v);
#pragma unroll
        for (int k = 0; k < N; k++)
            if (position == 0 || v[k] > best[k]) {
                best[k] = v[k];
                where[k] = position;
            }
    });
}

template <int N>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) max_kernel(View y, View x, Fold folds, Pool pool)
{
    const int32_t groups = x.c / N;
    for (int64_t i = first_item(); i < y.voxels * groups; i += item_step()) {
        const Window window = window_of(pool, x, i, groups, N);
        float best[N] = {};
        int32_t where[N] = {};
        window_max(pool, x, folds, window, best, where);
        store(y, y.at(window.index, window.c), best);
    }
}

/* Sends each gradient to the first maximum of its window. */
template <int N>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    spread_kernel(View dx, View dy, View x, Fold folds, Pool pool, bool accumulate)
{
    const int32_t groups = x.c / N;
    for (int64_t i = first_item(); i < dy.voxels * groups; i += item_step()) {
        const Window window = window_of(pool, x, i, groups, N);
        float best[N] = {}, g[N];
        int32_t where[N] = {};
        window_max(pool, x, folds, window, best, where);
        load(dy, dy.at(window.index, window.c), g);
        window_walk(pool, x, window.first, [&](int64_t voxel, int32_t position) {
            float d[N];
#pragma unroll
            for (int k = 0; k < N; k++)
                d[k] = position == where[k] ? g[k] : 0.0f;
            put(dx, dx.at(voxel, window.c), d, accumulate);
        });
    }
}

/* Zeroes the voxels that lie in no window. */
template <int N> RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS) border_kernel(View dx, Pool pool)
{
    const int32_t groups = dx.c / N;
    for (int64_t i = first_item(); i < dx.voxels * groups; i += item_step()) {
        const int64_t voxel = i / groups;
        const int64_t row = voxel / dx.w, plane = row / dx.h;
        if (voxel % dx.w < pool.w * pool.kernel[2] && row % dx.h < pool.h * pool.kernel[1] &&
            plane % dx.d < pool.d * pool.kernel[0])
            continue;
        const float zero[N] = {};
        store(dx, dx.at(voxel, (int32_t)(i % groups) * N), zero);
    }
}

Pool pool_of(const rvx_call *call)
{
    const int32_t *kernel = call->params->kernel;
    const rvx_shape x = call->in[0].shape;
    return {{kernel[0], kernel[1], kernel[2]},
            (int32_t)x.d / kernel[0],
            (int32_t)x.h / kernel[1],
            (int32_t)x.w / kernel[2],
            (int32_t)x.n};
}

template <int N> void backward(const rvx_call *call)
{
    const rvx_tensor &dx = call->grad_in[0], &dy = call->grad_out[0];
    const rvx_shape in = call->in[0].shape;
    const Pool pool = pool_of(call);
    const bool accumulate = (call->accumulate & 1u) != 0;
    simt::launch(spread_kernel<N>, pointwise_grid(rvx__shape_count(dy.shape) / N),
                 POINTWISE_THREADS, 0, queue_of(call), view_of(dx), view_of(dy),
                 view_of(call->in[0]), fold_of(call->fold), pool, accumulate);
    const bool border = in.d % pool.kernel[0] || in.h % pool.kernel[1] || in.w % pool.kernel[2];
    if (border && !accumulate)
        simt::launch(border_kernel<N>, pointwise_grid(rvx__shape_count(in) / N), POINTWISE_THREADS,
                     0, queue_of(call), view_of(dx), pool);
}
} // namespace

extern "C" void rvx__cuda_max_pool_forward(const rvx_call *call)
{
    const rvx_tensor &x = call->in[0], &y = call->out[0];
    const bool eight = wide(x) && wide(y);
    simt::launch(eight ? max_kernel<8> : max_kernel<1>,
                 pointwise_grid(rvx__shape_count(y.shape) / (eight ? 8 : 1)), POINTWISE_THREADS, 0,
                 queue_of(call), view_of(y), view_of(x), fold_of(call->fold), pool_of(call));
}

extern "C" void rvx__cuda_max_pool_backward(const rvx_call *call)
{
    if (wide(call->in[0]) && wide(call->grad_in[0]) && wide(call->grad_out[0]))
        backward<8>(call);
    else
        backward<1>(call);
}
