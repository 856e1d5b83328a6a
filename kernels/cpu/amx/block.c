/* Register blocks of matrix tiles: see block.h. */
#include "kernels/cpu/amx/block.h"
#include "kernels/cpu/amx/tile.h"

/* Sums stand in tiles 0 to 3, positions in 4 (and 5), weights in 6 and 7. */
#define TILE_PRODUCTS(positions, columns)                                                          \
    for (const rvx__amx_row *row = b->rows, *end = row + b->row_count; row < end; row++) {         \
        const uint16_t *from = row->source, *weight = row->weight;                                 \
        for (int64_t k = b->run_tiles; k > 0; k--) {                                               \
            PRODUCTS_##positions##_##columns from += RVX__AMX_DEPTH;                               \
            weight += columns * RVX__AMX_TILE_ELEMENTS;                                            \
        }                                                                                          \
    }

#define LOAD_SOURCE(tile, i) _tile_loadd(tile, from + b->offset[i], b->position_bytes);
#define LOAD_WEIGHT(tile, i) _tile_loadd(tile, weight + i * RVX__AMX_TILE_ELEMENTS, 64);
#define PRODUCTS_2_2                                                                               \
    LOAD_SOURCE(4, 0)                                                                              \
    LOAD_WEIGHT(6, 0)                                                                              \
    _tile_dpbf16ps(0, 4, 6);                                                                       \
    LOAD_WEIGHT(7, 1)                                                                              \
    _tile_dpbf16ps(1, 4, 7);                                                                       \
    LOAD_SOURCE(5, 1)                                                                              \
    _tile_dpbf16ps(2, 5, 6);                                                                       \
    _tile_dpbf16ps(3, 5, 7);
#define PRODUCTS_1_2                                                                               \
    LOAD_SOURCE(4, 0)                                                                              \
    LOAD_WEIGHT(6, 0)                                                                              \
    _tile_dpbf16ps(0, 4, 6);                                                                       \
    LOAD_WEIGHT(7, 1)                                                                              \
    _tile_dpbf16ps(1, 4, 7);
#define PRODUCTS_1_1                                                                               \
    LOAD_SOURCE(4, 0)                                                                              \
    LOAD_WEIGHT(6, 0)                                                                              \
    _tile_dpbf16ps(0, 4, 6);
#define PRODUCTS_2_1 PRODUCTS_1_1 LOAD_SOURCE(5, 1) _tile_dpbf16ps(1, 5, 6);
#define PRODUCTS_3_1 PRODUCTS_2_1 LOAD_SOURCE(7, 2) _tile_dpbf16ps(2, 7, 6);
#define PRODUCTS_4_1 PRODUCTS_3_1 LOAD_SOURCE(4, 3) _tile_dpbf16ps(3, 4, 6);

#define ZERO_1 _tile_zero(0);
#define ZERO_2 ZERO_1 _tile_zero(1);
#define ZERO_3 ZERO_2 _tile_zero(2);
#define ZERO_4 ZERO_3 _tile_zero(3);
#define STORE_1 _tile_stored(0, b->sum, 64);
#define STORE_2 STORE_1 _tile_stored(1, b->sum + RVX__AMX_TILE_FLOATS, 64);
#define STORE_3 STORE_2 _tile_stored(2, b->sum + 2 * RVX__AMX_TILE_FLOATS, 64);
#define STORE_4 STORE_3 _tile_stored(3, b->sum + 3 * RVX__AMX_TILE_FLOATS, 64);

#define BLOCK(positions, columns, tiles)                                                           \
    static void block_##positions##_##columns(rvx__amx_block *b)                                   \
    {                                                                                              \
        ZERO_##tiles TILE_PRODUCTS(positions, columns) STORE_##tiles                               \
    }
BLOCK(2, 2, 4)
BLOCK(1, 2, 2)
BLOCK(4, 1, 4)
BLOCK(3, 1, 3)
BLOCK(2, 1, 2)
BLOCK(1, 1, 1)

typedef void (*block_kernel)(rvx__amx_block *b);

/* By columns and positions. */
static const block_kernel block_kernels[RVX__AMX_PANEL + 1][RVX__AMX_BLOCK_TILES + 1] = {
    [1] = {[1] = block_1_1, [2] = block_2_1, [3] = block_3_1, [4] = block_4_1},
    [2] = {[1] = block_1_2, [2] = block_2_2}};

void rvx__amx_block_run(rvx__amx_block *block, int64_t positions, int64_t columns)
{
    block_kernels[columns][positions](block);
}
