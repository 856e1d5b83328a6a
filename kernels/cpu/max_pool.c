/* Maximum over non-overlapping windows on the CPU (see kernels/max_pool.c). Invariant: windows do
 * not overlap, so each input voxel is written by one output row only. */
#include "kernels/cpu/vec.h"
#include "kernels/op.h"

typedef struct pool {
    rvx_shape in, out;
    int64_t kernel[3];
} pool;

static pool pool_of(const rvx_call *call)
{
    const int32_t *kernel = call->params->kernel;
    rvx_shape in = call->in[0].shape;
    rvx_shape out = {in.n, in.d / kernel[0], in.h / kernel[1], in.w / kernel[2], in.c};
    return (pool){in, out, {kernel[0], kernel[1], kernel[2]}};
}

/* First input voxel of the windows of output row `row`. */
static int64_t row_first(const pool *p, int64_t row)
{
    int64_t y = row % p->out.h, z = row / p->out.h % p->out.d, n = row / p->out.h / p->out.d;
    return ((n * p->in.d + z * p->kernel[0]) * p->in.h + y * p->kernel[1]) * p->in.w;
}

RVX_INLINE rvx_vec window_max(rvx_plane x, const pool *p, const rvx_fold *fold, int64_t c,
                              int64_t count)
{
    rvx_vec best = rvx__fold_load(x, 0, fold, c, count);
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++)
            for (int64_t k = 0; k < p->kernel[2]; k++) {
                int64_t at = ((i * p->in.h + j) * p->in.w + k) * x.pitch;
                rvx_vec v = rvx__fold_load(x, at, fold, c, count);
                best = rvx__vec_greater(v, best, v, best);
            }
    return best;
}

/* One row of windows: x at the first voxel of the first. */
RVX_INLINE void row_pool(rvx_plane y, rvx_plane x, const pool *p, const rvx_fold *fold)
{
    for (int64_t w = 0; w < p->out.w; w++) {
        int64_t c = 0;
        for (; c + RVX_LANES <= p->in.c; c += RVX_LANES)
            rvx__plane_store(y, c, window_max(x, p, fold, c, RVX_LANES), RVX_LANES);
        if (c < p->in.c)
            rvx__plane_store(y, c, window_max(x, p, fold, c, p->in.c - c), p->in.c - c);
        y = rvx__plane_at(y, y.pitch);
        x = rvx__plane_at(x, p->kernel[2] * x.pitch);
    }
}

void RVX_KERNEL(rvx__max_pool_forward)(const rvx_call *call)
{
    pool p = pool_of(call);
    int64_t rows = p.out.n * p.out.d * p.out.h;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        rvx_fold fold = rvx__fold_of(&call->fold, row / (p.out.d * p.out.h));
        rvx_plane x = rvx__plane_of(&call->in[0], row_first(&p, row) * call->in[0].pitch);
        rvx_plane y = rvx__plane_of(&call->out[0], row * p.out.w * call->out[0].pitch);
        RVX_PLANES_TYPED(y, x, x, row_pool(y, x, &p, &fold));
    }
}

/* Sends g to the first maximum of the window. Window positions are counted in f32 (exact). */
RVX_INLINE void window_spread(rvx_plane dx, rvx_vec g, rvx_plane x, const pool *p,
                              const rvx_fold *fold, int64_t c, int64_t count, int accumulate)
{
    rvx_vec best = rvx__fold_load(x, 0, fold, c, count), where = {0}, position = {0};
    const rvx_vec one = rvx__splat(1.0f);
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++)
            for (int64_t k = 0; k < p->kernel[2]; k++, position += one) {
                int64_t at = ((i * p->in.h + j) * p->in.w + k) * x.pitch;
                rvx_vec v = rvx__fold_load(x, at, fold, c, count);
                where = rvx__vec_greater(v, best, position, where);
                best = rvx__vec_greater(v, best, v, best);
            }
    position = (rvx_vec){0};
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++)
            for (int64_t k = 0; k < p->kernel[2]; k++, position += one) {
                int64_t at = ((i * p->in.h + j) * p->in.w + k) * dx.pitch + c;
                rvx_vec d = rvx__vec_equal(position, where, g, (rvx_vec){0});
                rvx__plane_put(dx, at, d, count, accumulate);
            }
}

RVX_INLINE void row_spread(rvx_plane dx, rvx_plane dy, rvx_plane x, const pool *p,
                           const rvx_fold *fold, int accumulate)
{
    for (int64_t w = 0; w < p->out.w; w++) {
        int64_t c = 0;
        for (; c + RVX_LANES <= p->in.c; c += RVX_LANES)
            window_spread(dx, rvx__plane_load(dy, c, RVX_LANES), x, p, fold, c, RVX_LANES,
                          accumulate);
        if (c < p->in.c)
            window_spread(dx, rvx__plane_load(dy, c, p->in.c - c), x, p, fold, c, p->in.c - c,
                          accumulate);
        dx = rvx__plane_at(dx, p->kernel[2] * dx.pitch);
        dy = rvx__plane_at(dy, dy.pitch);
        x = rvx__plane_at(x, p->kernel[2] * x.pitch);
    }
}

static void zero_voxels(const rvx_tensor *t, int64_t first, int64_t count)
{
    for (int64_t v = first; v < first + count; v++)
        memset(rvx__plane_of(t, v * t->pitch).data, 0,
               (size_t)(t->shape.c * rvx__dtype_bytes(t->dtype)));
}

/* Zeroes the voxels of input row `row` that lie in no window. */
static void border_clear(const rvx_tensor *dx, const pool *p, int64_t row)
{
    int64_t y = row % p->in.h, z = row / p->in.h % p->in.d;
    int covered = z < p->out.d * p->kernel[0] && y < p->out.h * p->kernel[1];
    int64_t from = covered ? p->out.w * p->kernel[2] : 0;
    zero_voxels(dx, row * p->in.w + from, p->in.w - from);
}

void RVX_KERNEL(rvx__max_pool_backward)(const rvx_call *call)
{
    pool p = pool_of(call);
    const rvx_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0];
    int accumulate = (call->accumulate & 1u) != 0;
    int64_t rows = p.out.n * p.out.d * p.out.h;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        rvx_fold fold = rvx__fold_of(&call->fold, row / (p.out.d * p.out.h));
        int64_t first = row_first(&p, row);
        rvx_plane x = rvx__plane_of(&call->in[0], first * call->in[0].pitch);
        rvx_plane to = rvx__plane_of(dx, first * dx->pitch);
        rvx_plane g = rvx__plane_of(dy, row * p.out.w * dy->pitch);
        RVX_PLANES_TYPED(to, g, x, row_spread(to, g, x, &p, &fold, accumulate));
    }
    if (accumulate)
        return;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < p.in.n * p.in.d * p.in.h; row++)
        border_clear(dx, &p, row);
}
