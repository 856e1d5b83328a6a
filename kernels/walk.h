/* Cuts of a sample into the blocks of a GPU, for passes over voxels that sum by channel. Owns: that
 * rule, which the C side (scratch sizes) and the kernels share. Invariant: the cut follows from the
 * shape alone, never from the GPU or from how voxels lie in memory, so partial sums combined in
 * order give the same bits everywhere.
 *
 * A block takes one piece of the voxels of a sample and one chunk of the channels. A thread of it
 * takes one lane, 8 channels, and every rows-th voxel. */
#ifndef RVX_WALK_H
#define RVX_WALK_H

#include <stdint.h>

enum {
    RVX_WALK_THREADS = 256,
    RVX_WALK_WIDTH = 8,        /* channels of a lane */
    RVX_WALK_LANES = 8,        /* of a chunk, at most */
    RVX_WALK_AHEAD = 4,        /* voxels that a thread loads at a time */
    RVX_WALK_ELEMENTS = 32768, /* of a block, where that leaves RVX_WALK_BLOCKS of them */
    RVX_WALK_BLOCKS = 1024,    /* these keep any GPU busy */
    RVX_WALK_PIECES_MAX = 8192 /* of a sample */
};

typedef struct rvx__walk {
    int64_t voxels, piece, pieces; /* of a sample, of a piece, pieces of a sample */
    int32_t lanes, rows, chunks;
} rvx__walk;

static inline int64_t rvx__walk_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline rvx__walk rvx__walk_of(int64_t voxels, int64_t c)
{
    rvx__walk w;
    const int64_t groups = rvx__walk_up(c, RVX_WALK_WIDTH);
    w.voxels = voxels;
    w.chunks = (int32_t)rvx__walk_up(groups, RVX_WALK_LANES);
    w.lanes = (int32_t)rvx__walk_up(groups, w.chunks);
    w.rows = RVX_WALK_THREADS / w.lanes;
    const int64_t least = RVX_WALK_AHEAD * w.rows, most = rvx__walk_up(voxels, RVX_WALK_PIECES_MAX);
    const int64_t usual = RVX_WALK_ELEMENTS / (RVX_WALK_WIDTH * w.lanes);
    const int64_t spread = voxels * w.chunks / RVX_WALK_BLOCKS;
    w.piece = usual < spread ? usual : spread;
    w.piece = w.piece > least ? w.piece : least;
    w.piece = w.piece > most ? w.piece : most;
    w.piece = rvx__walk_up(w.piece, w.rows) * w.rows;
    w.pieces = rvx__walk_up(voxels, w.piece);
    return w;
}

#endif
