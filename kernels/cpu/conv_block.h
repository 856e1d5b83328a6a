/* The register block of a correlation: up to 28 accumulators of target voxels x channel vectors,
 * kept in registers over the whole sum. Invariant: each target value is one chain of
 * multiply-adds in the order of rows, taps and channels, whatever the block's shape, so how a
 * tensor is cut never shows in the result. */
#ifndef RVX_CONV_BLOCK_H
#define RVX_CONV_BLOCK_H

#include "kernels/conv_plan.h"
#include "kernels/simd.h"

enum { RVX_BLOCK_GROUPS = 3, RVX_BLOCK_VECTORS = 2 };

/* Accumulators that leave room for one product's operands. */
#if RVX_LANES == 16
enum { RVX_BLOCK_SIZE = 28, RVX_WINDOW_SIZE = 26, RVX_WINDOW_VECTORS = 2 };
#else
enum { RVX_BLOCK_SIZE = 12, RVX_WINDOW_SIZE = 11, RVX_WINDOW_VECTORS = 1 };
#endif

/* One row of taps: source voxels that lie side by side, for each group of target voxels. */
typedef struct rvx__conv_row {
    const float *source[RVX_BLOCK_GROUPS];
    const float *weight; /* [run][vectors * RVX_LANES]; window: [run][3][vectors * RVX_LANES] */
    const float *ahead;  /* ahead_lines cache lines from ahead + ahead_offset on are asked for */
} rvx__conv_row;

typedef struct rvx__conv_block {
    const rvx__conv_row *rows;
    int64_t row_count;
    int64_t run;             /* products per row: taps along w times channels; window: channels */
    int64_t source_offset;   /* added to every source pointer */
    int64_t source_position; /* between neighbouring voxels of a group */
    /* Window: the first or last source voxel lies outside the volume and reads these zeros. */
    const float *first_outside, *last_outside;
    int64_t ahead_offset, ahead_lines;
    float *target[RVX_BLOCK_GROUPS];
    int64_t target_position;
    const float *bias; /* may be NULL */
    int64_t lanes;     /* channels in the last vector */
    int stream;        /* store past the caches: whole vectors at aligned addresses */
    int load;          /* start from the target's values: overrides bias */
} rvx__conv_block;

typedef void (*rvx__conv_block_kernel)(const rvx__conv_block *block);

/* The kernel for `groups` rows of `positions` target voxels and `vectors` channel vectors;
 * groups * positions * vectors <= RVX_BLOCK_SIZE. */
rvx__conv_block_kernel RVX_KERNEL(rvx__conv_block_find)(int64_t groups, int64_t positions,
                                                        int64_t vectors);

/* The kernel that slides along w: one group, positions <= rvx__window_most. With
 * RVX_WINDOW_SPREAD the first target voxel is an even one. */
rvx__conv_block_kernel RVX_KERNEL(rvx__conv_window_find)(rvx__window window, int64_t positions,
                                                         int64_t vectors);

/* Source rows to be packed later are fetched while these products run, a few lines per row of
 * taps, so that neither waits for the other. */
static inline void rvx__row_fetch_ahead(const rvx__conv_row *row, const rvx__conv_block *block)
{
    for (int64_t i = 0; i < block->ahead_lines; i++)
        __builtin_prefetch(row->ahead + block->ahead_offset + 16 * i, 0, 2);
}

/* Source voxels that a window of `positions` target voxels reads. */
static inline int64_t rvx__window_sources(rvx__window window, int64_t positions)
{
    return window == RVX_WINDOW_STRIDE_1   ? positions + 2
           : window == RVX_WINDOW_STRIDE_2 ? 2 * positions + 1
                                           : positions / 2 + 1;
}

static inline int64_t rvx__window_most(rvx__window window, int64_t vectors)
{
#if RVX_LANES == 16
    /* Measured: with stride 2 more voxels mean more addresses than there are registers. */
    return vectors == 2 ? 12 : window == RVX_WINDOW_STRIDE_2 ? 14 : RVX_WINDOW_SIZE;
#else
    (void)window, (void)vectors;
    return RVX_WINDOW_SIZE;
#endif
}

#endif
