/* Maximum over non-overlapping windows on the CPU (see kernels/max_pool.c). Invariant: windows do
 * not overlap, so each input voxel is written by one output row only. */
#include "kernels/cpu/vec.h"
#include "kernels/op.h"

typedef struct pool {
    rvx_shape in, out;
    int64_t kernel[3];
    int64_t pitch; /* of in */
} pool;

static pool pool_of(const rvx_call *call)
{
    const int32_t *kernel = call->params->kernel;
    rvx_shape in = call->in[0].shape;
    rvx_shape out = {in.n, in.d / kernel[0], in.h / kernel[1], in.w / kernel[2], in.c};
    return (pool){in, out, {kernel[0], kernel[1], kernel[2]}, call->in[0].pitch};
}

/* First input voxel of the windows of output row `row`. */
static int64_t row_first(const pool *p, int64_t row)
{
    int64_t y = row % p->out.h, z = row / p->out.h % p->out.d, n = row / p->out.h / p->out.d;
    return ((n * p->in.d + z * p->kernel[0]) * p->in.h + y * p->kernel[1]) * p->in.w;
}

RVX_INLINE rvx_vec window_max(const float *x, const pool *p, const rvx_fold *fold, int64_t c,
                              int64_t count)
{
    rvx_vec best = rvx__fold_load(x, fold, c, count);
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++)
            for (int64_t k = 0; k < p->kernel[2]; k++) {
                const float *at = x + ((i * p->in.h + j) * p->in.w + k) * p->pitch;
                rvx_vec v = rvx__fold_load(at, fold, c, count);
                best = rvx__vec_greater(v, best, v, best);
            }
    return best;
}

void RVX_KERNEL(rvx__max_pool_forward)(const rvx_call *call)
{
    pool p = pool_of(call);
    const rvx_tensor *y = &call->out[0];
    int64_t rows = p.out.n * p.out.d * p.out.h, channels = p.in.c;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        rvx_fold fold = rvx__fold_of(&call->fold, row / (p.out.d * p.out.h));
        const float *x = rvx__f32(&call->in[0]) + row_first(&p, row) * p.pitch;
        float *to = rvx__f32(y) + row * p.out.w * y->pitch;
        for (int64_t w = 0; w < p.out.w; w++, to += y->pitch, x += p.kernel[2] * p.pitch) {
            int64_t c = 0;
            for (; c + RVX_LANES <= channels; c += RVX_LANES)
                rvx__store(to + c, window_max(x, &p, &fold, c, RVX_LANES));
            if (c < channels)
                rvx__store_count(to + c, window_max(x, &p, &fold, c, channels - c), channels - c);
        }
    }
}

/* Sends g to the first maximum of the window. Window positions are counted in f32 (exact). */
RVX_INLINE void window_spread(float *dx, int64_t dx_pitch, rvx_vec g, const float *x, const pool *p,
                              const rvx_fold *fold, int64_t c, int64_t count, int accumulate)
{
    rvx_vec best = rvx__fold_load(x, fold, c, count), where = {0}, position = {0};
    const rvx_vec one = rvx__splat(1.0f);
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++)
            for (int64_t k = 0; k < p->kernel[2]; k++, position += one) {
                const float *at = x + ((i * p->in.h + j) * p->in.w + k) * p->pitch;
                rvx_vec v = rvx__fold_load(at, fold, c, count);
                where = rvx__vec_greater(v, best, position, where);
                best = rvx__vec_greater(v, best, v, best);
            }
    position = (rvx_vec){0};
    for (int64_t i = 0; i < p->kernel[0]; i++)
        for (int64_t j = 0; j < p->kernel[1]; j++)
            for (int64_t k = 0; k < p->kernel[2]; k++, position += one) {
                float *at = dx + ((i * p->in.h + j) * p->in.w + k) * dx_pitch + c;
                rvx_vec d = rvx__vec_equal(position, where, g, (rvx_vec){0});
                rvx__put_count(at, d, count, accumulate);
            }
}

static void zero_voxels(const rvx_tensor *t, int64_t first, int64_t count)
{
    for (int64_t v = first; v < first + count; v++)
        memset(rvx__f32(t) + v * t->pitch, 0, (size_t)t->shape.c * sizeof(float));
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
    int64_t rows = p.out.n * p.out.d * p.out.h, channels = p.in.c;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        rvx_fold fold = rvx__fold_of(&call->fold, row / (p.out.d * p.out.h));
        int64_t first = row_first(&p, row);
        const float *g = rvx__f32(dy) + row * p.out.w * dy->pitch;
        for (int64_t w = 0; w < p.out.w; w++, g += dy->pitch) {
            const float *x = rvx__f32(&call->in[0]) + (first + w * p.kernel[2]) * p.pitch;
            float *to = rvx__f32(dx) + (first + w * p.kernel[2]) * dx->pitch;
            int64_t c = 0;
            for (; c + RVX_LANES <= channels; c += RVX_LANES)
                window_spread(to, dx->pitch, rvx__load(g + c), x, &p, &fold, c, RVX_LANES,
                              accumulate);
            if (c < channels)
                window_spread(to, dx->pitch, rvx__load_count(g + c, channels - c), x, &p, &fold, c,
                              channels - c, accumulate);
        }
    }
    if (accumulate)
        return;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < p.in.n * p.in.d * p.in.h; row++)
        border_clear(dx, &p, row);
}
