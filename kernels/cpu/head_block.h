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
 * columns[c] = channel c of the folded voxels; rows[v][channels_padded], where wanted, the same as
 * it stands. Lanes beyond `count` voxels and channels beyond the last are zero in both, but columns
 * beyond the last channel are not written. */
RVX_INLINE void turn_channels(rvx_vec *columns, float *rows, int64_t row_pitch, rvx_plane x,
                              const rvx_fold *fold, int64_t c, int64_t channels, int64_t count)
{
    rvx_vec r[RVX_LANES];
    if (count == RVX_LANES) {
        EACH(v, RVX_LANES) r[v] = rvx__fold_load(x, v * x.pitch, fold, c, channels);
    } else {
        EACH(v, RVX_LANES)
        r[v] = v < count ? rvx__fold_load(x, v * x.pitch, fold, c, channels) : (rvx_vec){0};
    }
    if (rows)
        EACH(v, RVX_LANES) rvx__store(rows + v * row_pitch + c, r[v]);
    turn(r);
    if (channels == RVX_LANES) {
        EACH(i, RVX_LANES) columns[c + i] = r[i];
    } else {
        EACH(i, RVX_LANES)
        if (i < channels)
            columns[c + i] = r[i];
    }
}

RVX_INLINE void voxels_turn(rvx_vec *columns, float *rows, rvx_plane x, const rvx_fold *fold,
                            int64_t channels, int64_t count)
{
    int64_t c = 0, row_pitch = channels_padded(channels);
    for (; c + RVX_LANES <= channels; c += RVX_LANES)
        turn_channels(columns, rows, row_pitch, x, fold, c, RVX_LANES, count);
    if (c < channels)
        turn_channels(columns, rows, row_pitch, x, fold, c, channels - c, count);
}

/* `count` voxels of x from `first` on, which all belong to sample n. */
static void voxels_load(rvx_vec *columns, float *rows, const rvx_call *call, int64_t n,
                        int64_t first, int64_t count)
{
    const rvx_tensor *x = &call->in[0];
    rvx_plane p = rvx__plane_at(rvx__plane_of(x, 0), first * x->pitch);
    rvx_fold fold = rvx__fold_of(&call->fold, n);
    RVX_PLANES_TYPED(p, p, p, voxels_turn(columns, rows, p, &fold, x->shape.c, count));
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
static void logits_form(rvx_vec *z, const rvx_vec *columns, const rvx_call *call)
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
