/* Register blocks of matrix tiles: see block.h. Sums stand in tiles 0 to 3, positions in 4 (and 5),
 * weights in 6 (and 7); with one column 7 holds positions too. */
#include "kernels/cpu/amx/block.h"
#include "kernels/cpu/amx/tile.h"

#define LOAD_SOURCE(tile, i, part)                                                                 \
    _tile_loadd(tile, from + b->offset[i] + (part)*b->source_part, b->position_bytes);
#define LOAD_WEIGHT(tile, i, part)                                                                 \
    _tile_loadd(tile, weight + (part)*b->weight_part + (i)*RVX__AMX_TILE_ELEMENTS, 64);

/* Of a shape, positions by columns: one part of its positions, of its weights, and their
 * products. Four tiles of positions do not fit beside their sums: products load the last. */
#define SOURCES_1_1(part) LOAD_SOURCE(4, 0, part)
#define SOURCES_2_1(part) SOURCES_1_1(part) LOAD_SOURCE(5, 1, part)
#define SOURCES_3_1(part) SOURCES_2_1(part) LOAD_SOURCE(7, 2, part)
#define SOURCES_4_1(part) LOAD_SOURCE(5, 1, part) LOAD_SOURCE(7, 2, part)
#define SOURCES_1_2(part) SOURCES_1_1(part)
#define SOURCES_2_2(part) SOURCES_2_1(part)
#define WEIGHTS_1(part) LOAD_WEIGHT(6, 0, part)
#define WEIGHTS_2(part) LOAD_WEIGHT(6, 0, part) LOAD_WEIGHT(7, 1, part)
#define PRODUCTS_1_1(part) _tile_dpbf16ps(0, 4, 6);
#define PRODUCTS_2_1(part) PRODUCTS_1_1(part) _tile_dpbf16ps(1, 5, 6);
#define PRODUCTS_3_1(part) PRODUCTS_2_1(part) _tile_dpbf16ps(2, 7, 6);
#define PRODUCTS_4_1(part)                                                                         \
    SOURCES_1_1(part) PRODUCTS_3_1(part) LOAD_SOURCE(4, 3, part) _tile_dpbf16ps(3, 4, 6);
#define PRODUCTS_1_2(part)                                                                         \
    _tile_dpbf16ps(0, 4, 6);                                                                       \
    _tile_dpbf16ps(1, 4, 7);
#define PRODUCTS_2_2(part)                                                                         \
    PRODUCTS_1_2(part) _tile_dpbf16ps(2, 5, 6);                                                    \
    _tile_dpbf16ps(3, 5, 7);

#define OVER_ROWS(columns, products)                                                               \
    for (const rvx__amx_row *row = b->rows, *end = row + b->row_count; row < end; row++) {         \
        const uint16_t *from = row->source, *weight = row->weight;                                 \
        for (int64_t k = b->run_tiles; k > 0; k--) {                                               \
            products from += RVX__AMX_DEPTH;                                                       \
            weight += columns * RVX__AMX_TILE_ELEMENTS;                                            \
        }                                                                                          \
    }

#define LARGEST(shape, columns) SOURCES_##shape(0) WEIGHTS_##columns(0) PRODUCTS_##shape(0)
/* In an order that loads one operand for each product. */
#define SMALLER(shape, columns)                                                                    \
    SOURCES_##shape(2) WEIGHTS_##columns(0) PRODUCTS_##shape(2) SOURCES_##shape(1)                 \
        PRODUCTS_##shape(1) WEIGHTS_##columns(1) PRODUCTS_##shape(1) SOURCES_##shape(0)            \
            PRODUCTS_##shape(0) WEIGHTS_##columns(2) PRODUCTS_##shape(0)

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
        ZERO_##tiles if (b->parts == 3)                                                            \
            OVER_ROWS(columns, SMALLER(positions##_##columns, columns))                            \
                OVER_ROWS(columns, LARGEST(positions##_##columns, columns)) STORE_##tiles          \
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
