/* Cross entropy plus soft Dice on the CPU (see kernels/segmentation_loss.c). Owns: how logits are
 * loaded and their gradients stored; the arithmetic is in loss_block.h. */
#include "kernels/cpu/loss_block.h"
#include "kernels/pieces.h"

/* Loads `count` voxels from `first` on; missing lanes get logits 0 and no valid label. */
static void block_load(block *b, const rvx_call *call, int64_t first, int64_t count)
{
    const rvx_tensor *x = &call->in[0];
    int64_t classes = x->shape.c;
    const float *from = rvx__f32(x) + first * x->pitch;
    float *to = (float *)b->z;
    if (count < RVX_LANES)
        memset(to, 0, (size_t)classes * sizeof(rvx_vec));
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < classes; k++)
            to[k * RVX_LANES + v] = from[v * x->pitch + k];
    block_labels(b, &call->in[1], first, count, classes, call->params->ignore_label);
}

/* partial[0] = cross entropy, then PART_COUNT sums a class, over voxels first .. first + count. */
static void piece_sums(double *partial, const rvx_call *call, int64_t first, int64_t count)
{
    int64_t classes = call->in[0].shape.c;
    memset(partial, 0, (size_t)(1 + PART_COUNT * classes) * sizeof *partial);
    run_sums r;
    rvx_vec z[CLASSES_MAX];
    block b = {.z = z};
    for (int64_t begin = 0; begin < count; begin += RUN_VOXELS) {
        int64_t end = begin + RUN_VOXELS < count ? begin + RUN_VOXELS : count;
        run_clear(&r, classes);
        for (int64_t v = begin; v < end; v += RVX_LANES) {
            block_load(&b, call, first + v, end - v < RVX_LANES ? end - v : RVX_LANES);
            block_add(&r, &b, classes);
        }
        run_promote(partial, &r, classes);
    }
}

void RVX_KERNEL(rvx__segmentation_loss_forward)(const rvx_call *call)
{
    rvx_shape x = call->in[0].shape;
    int64_t voxels = x.d * x.h * x.w, width = 1 + PART_COUNT * x.c;
    int64_t pieces = rvx__piece_count(voxels, x.c);
    double *partial = (double *)call->scratch;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < x.n * pieces; i++) {
        rvx_piece p = rvx__piece_of(i, voxels, x.c);
        piece_sums(partial + i * width, call, p.first, p.count);
    }
    outputs_write(call, partial, pieces);
}

static void block_store(const block *b, const rvx_tensor *dx, int64_t first, int64_t count,
                        int accumulate)
{
    float *to = rvx__f32(dx) + first * dx->pitch;
    const float *from = (const float *)b->z;
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < dx->shape.c; k++)
            to[v * dx->pitch + k] =
                (accumulate ? to[v * dx->pitch + k] : 0) + from[k * RVX_LANES + v];
}

void RVX_KERNEL(rvx__segmentation_loss_backward)(const rvx_call *call)
{
    const rvx_tensor *dx = &call->grad_in[0];
    rvx_shape x = call->in[0].shape;
    if (!dx->data)
        return;
    int64_t voxels = x.d * x.h * x.w;
    int64_t pieces = x.n * rvx__piece_count(voxels, x.c);
    float ce_factor = cross_entropy_factor(call), *table = (float *)call->scratch;
    coefficients_write(call, table);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        rvx_piece p = rvx__piece_of(i, voxels, x.c);
        rvx_vec z[CLASSES_MAX];
        block b = {.z = z};
        for (int64_t v = 0; v < p.count; v += RVX_LANES) {
            int64_t count = p.count - v < RVX_LANES ? p.count - v : RVX_LANES;
            block_load(&b, call, p.first + v, count);
            block_gradient(&b, table + p.n * x.c * 2, x.c, ce_factor);
            block_store(&b, dx, p.first + v, count, (call->accumulate & 1u) != 0);
        }
    }
}
