/* Mean over all voxels on the CPU (see kernels/mean_pool.c). Invariant: f32 sums run over at most
 * 64 voxels before they are added to a double, and pieces are combined in order. */
#include "kernels/cpu/vec.h"
#include "kernels/op.h"
#include "kernels/pieces.h"

enum { RUN = 64 };

/* sums[c] += sum of a over `voxels` voxels, for `count` channels from c on. */
RVX_INLINE void block_sum(double *sums, rvx_plane x, int64_t voxels, const rvx_fold *fold,
                          int64_t c, int64_t count)
{
    for (int64_t v = 0; v < voxels; v += RUN) {
        int64_t end = voxels - v < RUN ? voxels : v + RUN;
        rvx_vec sum = {0};
        for (int64_t i = v; i < end; i++)
            sum += rvx__fold_load(x, i * x.pitch, fold, c, count);
        rvx__promote(sums + c, sum, count);
    }
}

RVX_INLINE void piece_sum(double *sums, rvx_plane x, int64_t voxels, int64_t channels,
                          const rvx_fold *fold)
{
    int64_t c = 0;
    memset(sums, 0, (size_t)channels * sizeof *sums);
    for (; c + RVX_LANES <= channels; c += RVX_LANES)
        block_sum(sums, x, voxels, fold, c, RVX_LANES);
    if (c < channels)
        block_sum(sums, x, voxels, fold, c, channels - c);
}

/* y of sample n from the sums of its pieces, which are lost. */
static void sample_mean(const rvx_tensor *y, double *sums, int64_t n, int64_t pieces,
                        int64_t voxels)
{
    int64_t channels = y->shape.c;
    rvx_plane to = rvx__plane_of(y, n * y->pitch);
    for (int64_t i = 1; i < pieces; i++)
        for (int64_t c = 0; c < channels; c++)
            sums[c] += sums[i * channels + c];
    for (int64_t c = 0; c < channels; c++)
        rvx__plane_store(to, c, rvx__splat((float)(sums[c] / (double)voxels)), 1);
}

void RVX_KERNEL(rvx__mean_pool_forward)(const rvx_call *call)
{
    const rvx_tensor *x = &call->in[0];
    int64_t channels = x->shape.c, voxels = x->shape.d * x->shape.h * x->shape.w;
    int64_t pieces = rvx__piece_count(voxels, channels);
    double *sums = (double *)call->scratch;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < x->shape.n * pieces; i++) {
        rvx_piece p = rvx__piece_of(i, voxels, channels);
        rvx_fold fold = rvx__fold_of(&call->fold, p.n);
        rvx_plane from = rvx__plane_of(x, p.first * x->pitch);
        double *to = sums + i * channels;
        RVX_PLANES_TYPED(from, from, from, piece_sum(to, from, p.count, channels, &fold));
    }
    for (int64_t n = 0; n < x->shape.n; n++)
        sample_mean(&call->out[0], sums + n * pieces * channels, n, pieces, voxels);
}

RVX_INLINE void piece_spread(rvx_plane dx, rvx_plane dy, int64_t voxels, int64_t channels,
                             float share, int accumulate)
{
    for (int64_t v = 0; v < voxels; v++) {
        int64_t c = 0;
        for (; c + RVX_LANES <= channels; c += RVX_LANES)
            rvx__plane_put(dx, v * dx.pitch + c,
                           rvx__plane_load(dy, c, RVX_LANES) * rvx__splat(share), RVX_LANES,
                           accumulate);
        if (c < channels)
            rvx__plane_put(dx, v * dx.pitch + c,
                           rvx__plane_load(dy, c, channels - c) * rvx__splat(share), channels - c,
                           accumulate);
    }
}

void RVX_KERNEL(rvx__mean_pool_backward)(const rvx_call *call)
{
    const rvx_tensor *dx = &call->grad_in[0], *dy = &call->grad_out[0];
    int64_t channels = dx->shape.c, voxels = dx->shape.d * dx->shape.h * dx->shape.w;
    int accumulate = (call->accumulate & 1u) != 0;
    float share = (float)(1 / (double)voxels);
    int64_t pieces = dx->shape.n * rvx__piece_count(voxels, channels);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        rvx_piece p = rvx__piece_of(i, voxels, channels);
        rvx_plane to = rvx__plane_of(dx, p.first * dx->pitch);
        rvx_plane g = rvx__plane_of(dy, p.n * dy->pitch);
        RVX_PLANES_TYPED(to, g, g, piece_spread(to, g, p.count, channels, share, accumulate));
    }
}
