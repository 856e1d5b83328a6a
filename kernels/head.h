/* The segmentation head: a pointwise convolution to classes of which no logit is stored, for the
 * loss (head_loss) and for labels (head_labels). Owns: the shape rule of its operands and the order
 * of the scratch blocks, which rows and kernels share. Invariant: all of it follows from shapes and
 * the thread count, and no result from the thread count. */
#ifndef RVX_HEAD_H
#define RVX_HEAD_H

#include "kernels/op.h"
#include "kernels/pieces.h"

enum {
    RVX__HEAD_ALIGN = 16,           /* channels of rows and columns, rounded up: one vector */
    RVX__HEAD_RUN_VOXELS = 256,     /* weight gradients: summed in f32 so far, in double beyond */
    RVX__HEAD_GROUPS_LEAST = 8,     /* sums of weight gradients that are kept apart ... */
    RVX__HEAD_GROUP_BYTES = 1 << 20 /* ... or more, while all take no more than this */
};

static inline int64_t rvx__head_channels(int64_t c)
{
    return (c + RVX__HEAD_ALIGN - 1) / RVX__HEAD_ALIGN * RVX__HEAD_ALIGN;
}

/* Pieces of all samples, cut as rvx__piece_of(i, voxels of a sample, channels of x) says. */
static inline int64_t rvx__head_pieces(rvx_shape x)
{
    return x.n * rvx__piece_count(x.d * x.h * x.w, x.c);
}

/* Runs of pieces whose weight gradients share one sum in double; group g has the pieces
 * g * pieces / groups .. (g + 1) * pieces / groups. */
static inline int64_t rvx__head_groups(rvx_shape x, int64_t classes)
{
    int64_t each = classes * (rvx__head_channels(x.c) + 1) * (int64_t)sizeof(double);
    int64_t groups = RVX__HEAD_GROUP_BYTES / each, pieces = rvx__head_pieces(x);
    groups = groups > RVX__HEAD_GROUPS_LEAST ? groups : RVX__HEAD_GROUPS_LEAST;
    groups = groups < RVX_PIECES_MAX ? groups : RVX_PIECES_MAX;
    return groups < pieces ? groups : pieces;
}

/* Byte offsets. Columns: [channels][lanes] f32 of one block. */
typedef struct rvx__head_scratch {
    int64_t partial;      /* forward: 1 + 5 classes doubles a piece. Backward: the groups' sums,
                             classes * channels and then classes doubles each */
    int64_t table;        /* backward: two f32 a sample and class */
    int64_t weight;       /* backward: the weight as [class][channels] */
    int64_t threads;      /* columns; backward: also folded x, [channels][RUN_VOXELS], and
                             gradients of logits [block][class][lanes] */
    int64_t rows, logits; /* within a thread's part */
    int64_t thread_bytes, bytes;
} rvx__head_scratch;

static inline int64_t rvx__head_take(int64_t *end, int64_t bytes)
{
    int64_t first = *end;
    *end += (bytes + 63) / 64 * 64;
    return first;
}

static inline rvx__head_scratch rvx__head_layout(rvx_phase phase, rvx_shape x, int64_t classes,
                                                 int threads)
{
    rvx__head_scratch s = {0};
    const int64_t f32 = sizeof(float), f64 = sizeof(double);
    int64_t channels = rvx__head_channels(x.c);
    rvx__head_take(&s.thread_bytes, channels * RVX__HEAD_ALIGN * f32);
    if (phase == RVX_FORWARD) {
        s.partial = rvx__head_take(&s.bytes, rvx__head_pieces(x) * (1 + 5 * classes) * f64);
    } else {
        s.partial =
            rvx__head_take(&s.bytes, rvx__head_groups(x, classes) * classes * (channels + 1) * f64);
        s.table = rvx__head_take(&s.bytes, x.n * classes * 2 * f32);
        s.weight = rvx__head_take(&s.bytes, classes * channels * f32);
        s.rows = rvx__head_take(&s.thread_bytes, RVX__HEAD_RUN_VOXELS * channels * f32);
        s.logits = rvx__head_take(&s.thread_bytes, RVX__HEAD_RUN_VOXELS * classes * f32);
    }
    s.threads = rvx__head_take(&s.bytes, threads * s.thread_bytes);
    return s;
}

/* Checks weight [1][1][1][C][K] and bias [K] (c == 0: absent) against x; `op` for messages. */
static inline rvx_status rvx__head_check(const char *op, rvx_shape x, rvx_shape weight,
                                         rvx_shape bias, rvx_error *error)
{
    if (weight.n != 1 || weight.d != 1 || weight.h != 1 || weight.w != x.c)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: the weight is [%lld %lld %lld %lld %lld], expected [1 1 1 %lld K], "
                         "as the input has %lld channels",
                         op, (long long)weight.n, (long long)weight.d, (long long)weight.h,
                         (long long)weight.w, (long long)weight.c, (long long)x.c, (long long)x.c);
    if (weight.c < 2 || weight.c > 256)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: the weight gives %lld classes, expected 2 to 256", op,
                         (long long)weight.c);
    if (bias.c != 0 && (bias.c != weight.c || rvx__shape_voxels(bias) != 1))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: the bias has %lld values, expected %lld, one a class", op,
                         (long long)rvx__shape_count(bias), (long long)weight.c);
    return RVX_OK;
}

#endif
