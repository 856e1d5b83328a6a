/* Cuts of a sample into pieces. Owns: the only rule by which reductions are split. Invariant: the
 * cut follows from the shape alone, never from the thread count, so partial sums combined in
 * piece order give the same bits on any number of threads. */
#ifndef RVX_PIECES_H
#define RVX_PIECES_H

#include <stdint.h>

enum { RVX_PIECES_MAX = 256, RVX_PIECE_ALIGN = 64, RVX_PIECE_ELEMENTS = 16384 };

/* Voxels of a piece: a multiple of 64; near 64 KiB of f32, more where that makes too many. */
static inline int64_t rvx__piece_voxels(int64_t voxels, int64_t c)
{
    int64_t wanted = RVX_PIECE_ELEMENTS / c;
    int64_t least = (voxels + RVX_PIECES_MAX - 1) / RVX_PIECES_MAX;
    int64_t count = wanted > least ? wanted : least;
    if (count < 1)
        count = 1;
    return (count + RVX_PIECE_ALIGN - 1) / RVX_PIECE_ALIGN * RVX_PIECE_ALIGN;
}

static inline int64_t rvx__piece_count(int64_t voxels, int64_t c)
{
    int64_t piece = rvx__piece_voxels(voxels, c);
    return (voxels + piece - 1) / piece;
}

/* Piece i of all samples: sample n, voxels first .. first + count of the whole batch. */
typedef struct rvx_piece {
    int64_t n, first, count;
} rvx_piece;

static inline rvx_piece rvx__piece_of(int64_t i, int64_t voxels, int64_t c)
{
    int64_t size = rvx__piece_voxels(voxels, c), pieces = rvx__piece_count(voxels, c);
    int64_t begin = i % pieces * size, left = voxels - begin;
    return (rvx_piece){i / pieces, i / pieces * voxels + begin, left < size ? left : size};
}

#endif
