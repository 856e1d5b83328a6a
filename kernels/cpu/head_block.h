/* Logits of a segmentation head for blocks of RVX_LANES voxels (see kernels/head.h). Owns: how
 * voxels are loaded, folded and turned channel-major so that each lane is one voxel, and the order
 * of the sums of a logit. Invariant: a logit depends on the numbers of its voxel only, not on
 * pitch, storage type or place in a block. */
#ifndef RVX_CPU_HEAD_BLOCK_H
#define RVX_CPU_HEAD_BLOCK_H

#include "kernels/cpu/vec.h"
#include "kernels/head.h"

/* A loop of constant length, unrolled so that its variables live in registers. */
#define EACH(index, count) _Pragma("GCC unroll 16") for (int index = 0; index < (count); index++)

/* Channels for vectors of this instruction set. */
static inline int64_t channels_padded(int64_t c)
{
    return (c + RVX_LANES - 1) / RVX_LANES * RVX_LANES;
}

/* ---- turning -----------------------------------------------------------------------------------
 * r[i][j] becomes r[j][i], by exchanging off-diagonal blocks of edge RVX_LANES / 2, then of half
 * that, down to single numbers. */
#define TAKE_LOW(i, edge) ((i) & (edge) ? RVX_LANES + (i) - (edge) : (i))
#define TAKE_HIGH(i, edge) ((i) & (edge) ? RVX_LANES + (i) : (i) + (edge))
#define TAKE_4(f, i, edge) f((i), edge), f((i) + 1, edge), f((i) + 2, edge), f((i) + 3, edge)
#if RVX_LANES == 16
#define TAKE(f, edge)                                                                              \
    TAKE_4(f, 0, edge), TAKE_4(f, 4, edge), TAKE_4(f, 8, edge), TAKE_4(f, 12, edge)
#elif RVX_LANES == 8
#define TAKE(f, edge) TAKE_4(f, 0, edge), TAKE_4(f, 4, edge)
#else
#define TAKE(f, edge) TAKE_4(f, 0, edge)
#endif
#define EXCHANGE(r, edge)                                                                          \
    EACH(i, RVX_LANES)                                                                             \
    if (!(i & (edge))) {                                                                           \
        rvx_vec low = (r)[i], high = (r)[i + (edge)];                                              \
        (r)[i] = __builtin_shuffle(low, high, (rvx_vec_int){TAKE(TAKE_LOW, edge)});                \
        (r)[i + (edge)] = __builtin_shuffle(low, high, (rvx_vec_int){TAKE(TAKE_HIGH, edge)});      \
    }

RVX_INLINE void turn(rvx_vec r[RVX_LANES])
{
#if RVX_LANES == 16
    EXCHANGE(r, 8)
#endif
#if RVX_LANES >= 8
    EXCHANGE(r, 4)
#endif
    EXCHANGE(r, 2)
    EXCHANGE(r, 1)
}

/* ---- loading -----------------------------------------------------------------------------------
 * columns[c] = channel c of the folded voxels. rows, where wanted, holds the same unturned as
 * [vector of channels][voxel of the run][lane], so that one vector of channels is contiguous. Lanes
 * beyond `count` voxels and channels beyond the last are zero in both, but columns beyond the last
 * channel are not written. */
RVX_INLINE void turn_channels(rvx_vec *columns, float *rows, rvx_vec r[RVX_LANES], int64_t c,
                              int64_t channels)
{
    if (rows)
        EACH(v, RVX_LANES)
    rvx__store(rows + c * RVX__HEAD_RUN_VOXELS + v * RVX_LANES, r[v]);
    turn(r);
    EACH(i, RVX_LANES)
    if (i < channels)
        columns[c + i] = r[i];
}

RVX_INLINE void channels_load(rvx_vec *columns, float *rows, rvx_plane x, rvx_fold fold, int64_t c,
                              int64_t channels)
{
    rvx_vec r[RVX_LANES];
    EACH(v, RVX_LANES) r[v] = rvx__fold_load(x, v * x.pitch, &fold, c, channels);
    turn_channels(columns, rows, r, c, channels);
}

/* A whole block. */
RVX_INLINE void block_turn(rvx_vec *columns, float *rows, rvx_plane x, rvx_fold fold,
                           int64_t channels)
{
    int64_t c = 0;
    for (; c + RVX_LANES <= channels; c += RVX_LANES)
        channels_load(columns, rows, x, fold, c, RVX_LANES);
    if (c < channels)
        channels_load(columns, rows, x, fold, c, channels % RVX_LANES);
}

/* The same with types as constants. */
RVX_INLINE void block_turn_any(rvx_vec *columns, float *rows, rvx_plane x, rvx_fold fold,
                               int64_t channels)
{
    if (x.dtype == RVX_F32) {
        x.dtype = RVX_F32;
        block_turn(columns, rows, x, fold, channels);
    } else if (x.dtype == RVX_BF16) {
        x.dtype = RVX_BF16;
        block_turn(columns, rows, x, fold, channels);
    } else {
        x.dtype = RVX_I16;
        block_turn(columns, rows, x, fold, channels);
    }
}

/* The last block of a piece, `count` voxels. */
static void block_turn_part(rvx_vec *columns, float *rows, rvx_plane x, rvx_fold fold,
                            int64_t channels, int64_t count)
{
    for (int64_t c = 0; c < channels; c += RVX_LANES) {
        int64_t here = channels - c < RVX_LANES ? channels - c : RVX_LANES;
        rvx_vec r[RVX_LANES] = {{0}};
        for (int64_t v = 0; v < count; v++)
            r[v] = rvx__fold_load(x, v * x.pitch, &fold, c, here);
        turn_channels(columns, rows, r, c, here);
    }
}

/* `count` voxels of x from `first` on, which all belong to sample n. */
__attribute__((noinline)) static void voxels_load(rvx_vec *columns, float *rows,
                                                  const rvx_call *call, int64_t n, int64_t first,
                                                  int64_t count)
{
    const rvx_tensor *x = &call->in[0];
    rvx_plane p = rvx__plane_at(rvx__plane_of(x, 0), first * x->pitch);
    rvx_fold fold = rvx__fold_of(&call->fold, n);
    if (count < RVX_LANES)
        block_turn_part(columns, rows, p, fold, x->shape.c, count);
    else if (fold.scale)
        block_turn_any(columns, rows, p, fold, x->shape.c);
    else
        block_turn_any(columns, rows, p, (rvx_fold){0}, x->shape.c);
}

/* ---- logits ------------------------------------------------------------------------------------
 * Sums of `count` classes; where these are few, of `chains` parts each, so that additions need not
 * wait for one another. */
RVX_INLINE void logits_of_some(rvx_vec *z, const rvx_vec *columns, const float *weight,
                               const float *bias, int64_t channels, int64_t classes, int count,
                               int chains)
{
    rvx_vec sum[16];
    EACH(i, chains)
    EACH(k, count)
    sum[i * count + k] = i == 0 && bias ? rvx__splat(bias[k]) : (rvx_vec){0};
    int64_t c = 0;
    for (; c + chains <= channels; c += chains)
        EACH(i, chains)
    EACH(k, count)
    sum[i * count + k] =
        rvx__vec_fma(columns[c + i], rvx__splat(weight[(c + i) * classes + k]), sum[i * count + k]);
    for (; c < channels; c++)
        EACH(k, count)
    sum[k] = rvx__vec_fma(columns[c], rvx__splat(weight[c * classes + k]), sum[k]);
    EACH(i, chains)
    EACH(k, count) z[k] = i == 0 ? sum[k] : z[k] + sum[i * count + k];
}

/* z[k] of one block. weight [channels][classes], bias [classes] or NULL. */
__attribute__((noinline)) static void logits_form(rvx_vec *z, const rvx_vec *columns,
                                                  const rvx_call *call)
{
    int64_t channels = call->in[1].shape.w, classes = call->in[1].shape.c, k = 0;
    const float *weight = rvx__f32(&call->in[1]), *bias = rvx__f32(&call->in[2]);
#define LOGITS(count, chains)                                                                      \
    logits_of_some(z + k, columns, weight + k, bias ? bias + k : NULL, channels, classes, count,   \
                   chains)
    for (; k + 8 <= classes; k += 8)
        LOGITS(8, 1);
    switch (classes - k) {
    case 7:
        LOGITS(7, 1);
        break;
    case 6:
        LOGITS(6, 2);
        break;
    case 5:
        LOGITS(5, 2);
        break;
    case 4:
        LOGITS(4, 2);
        break;
    case 3:
        LOGITS(3, 4);
        break;
    case 2:
        LOGITS(2, 4);
        break;
    case 1:
        LOGITS(1, 4);
        break;
    default:
        break;
    }
#undef LOGITS
}

#endif
