/* Labels of a segmentation head on the CPU (see kernels/head_labels.c). Owns nothing but the loop:
 * logits are those of head_block.h, the choice that of loss_block.h. */
#include "kernels/cpu/head_block.h"
#include "kernels/cpu/loss_block.h"

#include <omp.h>

static void piece_labels(const rvx_call *call, rvx_piece p, rvx_vec *columns)
{
    const rvx_tensor *labels = &call->out[0];
    rvx_vec z[CLASSES_MAX];
    block b = {.z = z};
    for (int64_t v = 0; v < p.count; v += RVX_LANES) {
        int64_t count = p.count - v < RVX_LANES ? p.count - v : RVX_LANES;
        voxels_load(columns, NULL, call, p.n, p.first + v, count);
        logits_form(z, columns, call);
        block_predict(&b, call->in[1].shape.c);
        uint8_t *to = (uint8_t *)labels->data + (p.first + v) * labels->pitch;
        for (int64_t i = 0; i < count; i++)
            to[i * labels->pitch] = (uint8_t)b.prediction[i];
    }
}

void RVX_KERNEL(rvx__head_labels_forward)(const rvx_call *call)
{
    rvx_shape x = call->in[0].shape;
    int64_t voxels = x.d * x.h * x.w, pieces = rvx__head_pieces(x);
    rvx__head_scratch s = rvx__head_layout(RVX_FORWARD, x, 0, call->threads);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < pieces; i++) {
        char *own = (char *)call->scratch + s.threads + omp_get_thread_num() * s.thread_bytes;
        piece_labels(call, rvx__piece_of(i, voxels, x.c), (rvx_vec *)own);
    }
}
