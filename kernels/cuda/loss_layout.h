/* How the CUDA kernels of the losses (segmentation_loss, head_loss, head_labels) cut a batch and
 * where their scratch blocks lie. Owns: both, for rows and kernels alike. Plain C. Invariant: all
 * follows from shapes, nothing from the GPU. */
#ifndef RVX_CUDA_LOSS_LAYOUT_H
#define RVX_CUDA_LOSS_LAYOUT_H

#include "kernels/op.h"

enum {
    RVX__LOSS_BLOCKS_MOST = 2048,       /* pieces of all samples ... */
    RVX__LOSS_BLOCKS_LEAST = 64,        /* ... fewer, down to this, where partial sums of all */
    RVX__LOSS_PARTIAL_BYTES = 16 << 20, /* would take more than this */
    RVX__LOSS_PIECE_VOXELS = 1024,      /* no piece need be smaller */
    RVX__LOSS_SUMS = 5                  /* sums of a class: I, P, G, true positives, predicted */
};

/* Byte offsets. Classes are padded to quads, channels to quads (`weight`) or eights (`turned`). */
typedef struct rvx__loss_layout {
    int64_t pieces; /* of a sample, each of this many voxels but for the last */
    int64_t piece_voxels;
    int64_t width;   /* doubles that a block sums */
    int64_t partial; /* [n * pieces][width] */
    int64_t total;   /* [n][width] */
    int64_t table;   /* backward: [n][2][classes] f32, the coefficients of Dice */
    int64_t weight;  /* head: [quad of classes][channel][4] f32 */
    int64_t bias;    /* head: [classes] f32; minus infinity beyond the last */
    int64_t turned;  /* head, backward: [class][channels] f32 */
    int64_t bytes;
} rvx__loss_layout;

static inline int64_t rvx__loss_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline int64_t rvx__loss_take(int64_t *end, int64_t bytes)
{
    int64_t first = *end;
    *end += rvx__loss_up(bytes, 64);
    return first;
}

/* `channels` of the head's input, 0 where logits are given; `sums`: something is summed. */
static inline rvx__loss_layout rvx__loss_layout_of(rvx_phase phase, rvx_shape x, int64_t channels,
                                                   int64_t classes, int sums)
{
    rvx__loss_layout s = {0};
    const int64_t f32 = 4, f64 = 8, voxels = x.d * x.h * x.w;
    const int64_t padded = rvx__loss_up(classes, 4), four = rvx__loss_up(channels, 4);
    int forward = phase == RVX_FORWARD;
    if (sums)
        s.width = forward        ? 1 + RVX__LOSS_SUMS * classes
                  : channels > 0 ? (channels + 1) * classes
                                 : 0;
    const int64_t upper = RVX__LOSS_BLOCKS_MOST, lower = RVX__LOSS_BLOCKS_LEAST;
    int64_t most = s.width > 0 ? RVX__LOSS_PARTIAL_BYTES / (s.width * f64) : upper;
    most = most < upper ? most : upper;
    most = (most > lower ? most : lower) / x.n;
    s.pieces = (voxels + RVX__LOSS_PIECE_VOXELS - 1) / RVX__LOSS_PIECE_VOXELS;
    s.pieces = s.pieces < most ? s.pieces : most;
    s.pieces = s.pieces > 1 ? s.pieces : 1;
    s.piece_voxels = (voxels + s.pieces - 1) / s.pieces;
    s.pieces = (voxels + s.piece_voxels - 1) / s.piece_voxels;
    s.partial = rvx__loss_take(&s.bytes, x.n * s.pieces * s.width * f64);
    s.total = rvx__loss_take(&s.bytes, forward ? x.n * s.width * f64 : 0);
    s.table = rvx__loss_take(&s.bytes, forward ? 0 : x.n * 2 * padded * f32);
    s.weight = rvx__loss_take(&s.bytes, padded * four * f32);
    s.bias = rvx__loss_take(&s.bytes, channels > 0 ? padded * f32 : 0);
    s.turned = rvx__loss_take(&s.bytes, forward ? 0 : classes * rvx__loss_up(channels, 8) * f32);
    return s;
}

#endif
