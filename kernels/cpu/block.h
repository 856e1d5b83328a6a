/* Moves one line of blocks between its two layouts: fine, `stride_d * stride_h` lines of voxels,
 * and coarse, one line of voxels that hold a block each (kernels/block.h). Owns nothing. Elements
 * are words of 2 or 4 bytes, whatever they mean; the two sides do not overlap.
 *
 * Channel-major order transposes s rows of channels. With s a power of two and vectors of L words
 * that is a rotation of index bits: the s vectors (sub, c) are to be read as (c, sub). One round of
 * interleaving the first half of the vectors with the second rotates by one bit, so log2 s rounds
 * squeeze and log2 L rounds spread. */
#ifndef RVX_CPU_BLOCK_H
#define RVX_CPU_BLOCK_H

#include "kernels/block.h"
#include "kernels/cpu/vec.h"

/* Distances in elements. */
typedef struct rvx_block_line {
    char *coarse, *fine;
    int64_t coarse_pitch, fine_pitch; /* between voxels */
    int64_t fine_row, fine_slice;     /* between lines of a block along h, along d */
    int64_t voxels, c;                /* coarse voxels; channels of a fine voxel */
    int32_t stride[3], order;
} rvx_block_line;

typedef uint16_t rvx_words_16x8 __attribute__((vector_size(16)));
typedef uint32_t rvx_words_32x4 __attribute__((vector_size(16)));
typedef uint16_t rvx_words_16x4 __attribute__((vector_size(8)));
typedef uint32_t rvx_words_32x2 __attribute__((vector_size(8)));

/* Distance of each voxel of a block from its first. */
RVX_INLINE int rvx__block_offsets(int64_t offset[RVX_BLOCK_MAX], const rvx_block_line *l)
{
    int s = 0;
    for (int64_t id = 0; id < l->stride[0]; id++)
        for (int64_t ih = 0; ih < l->stride[1]; ih++)
            for (int64_t iw = 0; iw < l->stride[2]; iw++)
                offset[s++] = id * l->fine_slice + ih * l->fine_row + iw * l->fine_pitch;
    return s;
}

/* `bytes` is even. Chunks overlap at the end, where that spares a loop of words. */
RVX_INLINE void rvx__copy_run(char *to, const char *from, int64_t bytes)
{
    if (bytes >= 16) {
        for (int64_t i = 0; i + 16 <= bytes; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + bytes - 16, from + bytes - 16, 16);
    } else if (bytes >= 8) {
        memcpy(to, from, 8);
        memcpy(to + bytes - 8, from + bytes - 8, 8);
    } else if (bytes >= 4) {
        memcpy(to, from, 4);
        memcpy(to + bytes - 4, from + bytes - 4, 4);
    } else {
        memcpy(to, from, 2);
    }
}

/* Block-major order: runs of the channels of one voxel, or of neighbours that are dense. */
RVX_INLINE void rvx__block_runs(const rvx_block_line *l, int64_t size, int squeeze)
{
    int64_t offset[RVX_BLOCK_MAX], together = l->fine_pitch == l->c ? l->stride[2] : 1;
    int count = rvx__block_offsets(offset, l);
    int64_t run = l->c * together * size;
    for (int64_t v = 0; v < l->voxels; v++) {
        char *coarse = l->coarse + v * l->coarse_pitch * size;
        char *fine = l->fine + v * l->stride[2] * l->fine_pitch * size;
        for (int64_t sub = 0; sub < count; sub += together, coarse += run) {
            char *at = fine + offset[sub] * size;
            rvx__copy_run(squeeze ? coarse : at, squeeze ? at : coarse, run);
        }
    }
}

/* Channel-major order, word by word: blocks of three, few channels. */
RVX_INLINE void rvx__block_words(const rvx_block_line *l, int64_t size, int squeeze)
{
    int64_t offset[RVX_BLOCK_MAX];
    int s = rvx__block_offsets(offset, l);
    for (int64_t v = 0; v < l->voxels; v++) {
        char *coarse = l->coarse + v * l->coarse_pitch * size;
        char *fine = l->fine + v * l->stride[2] * l->fine_pitch * size;
        for (int64_t c = 0; c < l->c; c++)
            for (int64_t sub = 0; sub < s; sub++, coarse += size) {
                char *at = fine + (offset[sub] + c) * size;
                memcpy(squeeze ? coarse : at, squeeze ? at : coarse, (size_t)size);
            }
    }
}

/* Channel-major order, `lanes` channels of a block at a time; the last ones overlap the ones
 * before. s is a power of two, c >= lanes. `interleave` is the pair of shuffles that interleaves
 * two vectors. */
#define RVX_BLOCK_TRANSPOSE(name, vec, lanes, lanes_log2, ...)                                     \
    RVX_INLINE void name##_chunk(char *coarse, char *fine, const int64_t *offset, int s, int log2, \
                                 int squeeze)                                                      \
    {                                                                                              \
        const vec low = RVX_FIRST_HALF(__VA_ARGS__), high = low + (lanes) / 2;                     \
        vec v[RVX_BLOCK_MAX], w[RVX_BLOCK_MAX];                                                    \
        int64_t size = (int64_t)sizeof(vec) / (lanes);                                             \
        for (int i = 0; i < s; i++)                                                                \
            memcpy(&v[i], squeeze ? fine + offset[i] * size : coarse + i * (int64_t)sizeof(vec),   \
                   sizeof(vec));                                                                   \
        for (int round = 0; round < (squeeze ? log2 : (lanes_log2)); round++) {                    \
            for (int i = 0; i < s / 2; i++) {                                                      \
                w[2 * i] = __builtin_shuffle(v[i], v[i + s / 2], low);                             \
                w[2 * i + 1] = __builtin_shuffle(v[i], v[i + s / 2], high);                        \
            }                                                                                      \
            for (int i = 0; i < s; i++)                                                            \
                v[i] = w[i];                                                                       \
        }                                                                                          \
        for (int i = 0; i < s; i++)                                                                \
            memcpy(squeeze ? coarse + i *(int64_t)sizeof(vec) : fine + offset[i] * size, &v[i],    \
                   sizeof(vec));                                                                   \
    }                                                                                              \
    RVX_INLINE void name##_line(const rvx_block_line *l, const int64_t *offset, int s, int log2,   \
                                int squeeze)                                                       \
    {                                                                                              \
        int64_t size = (int64_t)sizeof(vec) / (lanes);                                             \
        for (int64_t i = 0; i < l->voxels; i++) {                                                  \
            char *coarse = l->coarse + i * l->coarse_pitch * size;                                 \
            char *fine = l->fine + i * l->stride[2] * l->fine_pitch * size;                        \
            for (int64_t first = 0; first < l->c; first += (lanes)) {                              \
                int64_t c = first + (lanes) <= l->c ? first : l->c - (lanes);                      \
                name##_chunk(coarse + c * s * size, fine + c * size, offset, s, log2, squeeze);    \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    RVX_INLINE void name(const rvx_block_line *l, int squeeze)                                     \
    {                                                                                              \
        int64_t offset[RVX_BLOCK_MAX];                                                             \
        int s = rvx__block_offsets(offset, l);                                                     \
        if (s == 8)                                                                                \
            name##_line(l, offset, 8, 3, squeeze);                                                 \
        else if (s == 4)                                                                           \
            name##_line(l, offset, 4, 2, squeeze);                                                 \
        else if (s == 2)                                                                           \
            name##_line(l, offset, 2, 1, squeeze);                                                 \
        else                                                                                       \
            name##_line(l, offset, s, __builtin_ctz((unsigned)s), squeeze);                        \
    }
/* Lanes of a and b (numbered after a's) that interleave their first halves. */
#define RVX_FIRST_HALF(...)                                                                        \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
RVX_BLOCK_TRANSPOSE(rvx__block_16x8, rvx_words_16x8, 8, 3, 0, 8, 1, 9, 2, 10, 3, 11)
RVX_BLOCK_TRANSPOSE(rvx__block_16x4, rvx_words_16x4, 4, 2, 0, 4, 1, 5)
RVX_BLOCK_TRANSPOSE(rvx__block_32x4, rvx_words_32x4, 4, 2, 0, 4, 1, 5)
RVX_BLOCK_TRANSPOSE(rvx__block_32x2, rvx_words_32x2, 2, 1, 0, 2)

RVX_INLINE void rvx__block_move(const rvx_block_line *l, int64_t size, int squeeze)
{
    int s = l->stride[0] * l->stride[1] * l->stride[2];
    int power = (s & (s - 1)) == 0;
    if (l->order == RVX_ORDER_BLOCK || s == 1 || l->c == 1)
        rvx__block_runs(l, size, squeeze);
    else if (power && size == 2 && l->c >= 8)
        rvx__block_16x8(l, squeeze);
    else if (power && size == 2 && l->c >= 4)
        rvx__block_16x4(l, squeeze);
    else if (power && size == 4 && l->c >= 4)
        rvx__block_32x4(l, squeeze);
    else if (power && size == 4 && l->c >= 2)
        rvx__block_32x2(l, squeeze);
    else
        rvx__block_words(l, size, squeeze);
}

#endif
