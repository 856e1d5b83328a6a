/* Register blocks of matrix tiles: sums of one to four tiles, by one or two tiles of columns. */
#ifndef RVX_AMX_BLOCK_H
#define RVX_AMX_BLOCK_H

#include "kernels/conv_amx.h"

enum { RVX__AMX_TILE_FLOATS = RVX__AMX_ROWS * RVX__AMX_COLUMNS, RVX__AMX_BLOCK_TILES = 4 };

/* sum[i][j] = sum over rows and their run_tiles tiles of source[i] * weight[j]. Sixteen rows of a
 * source tile begin position_bytes apart, the first at row->source + offset[i]; weight tiles stand
 * one after another, those of the columns side by side. With three parts, part p of a number lies
 * p times source_part or weight_part elements behind part 0, and the six products of parts that
 * matter are summed: first those of smaller parts, row by row, then those of the largest. */
typedef struct rvx__amx_block {
    const rvx__amx_row *rows;
    int64_t row_count, run_tiles;
    int64_t position_bytes;
    int64_t parts; /* 1 or 3 */
    int64_t source_part, weight_part;
    int64_t offset[RVX__AMX_BLOCK_TILES]; /* elements */
    float sum[RVX__AMX_BLOCK_TILES * RVX__AMX_TILE_FLOATS] __attribute__((aligned(64)));
} rvx__amx_block;

/* positions * columns <= RVX__AMX_BLOCK_TILES, columns <= RVX__AMX_PANEL; sum [i][j][16][16]. */
void rvx__amx_block_run(rvx__amx_block *block, int64_t positions, int64_t columns);

#endif
