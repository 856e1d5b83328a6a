/* How the weight gradient of a convolution is cut up. Owns: tile sizes, the number of pieces and
 * the layout of the scratch block.
 *
 *     dW[kz][ky][kx][ci][co] = sum over n, z, y, x of  a(n, z s + kz - p, y s + ky - p,
 *                                                        x s + kx - p, ci) dy(n, z, y, x, co)
 *
 * and for the transposed convolution  sum over n, z, y, x of  a(n, z, y, x, ci)
 *     dy(n, z s + kz, y s + ky, x s + kx, co).
 * A tile is a box of whole input rows: every input row belongs to one tile, is folded once and then
 * meets all the rows of dy that it touches. Tiles are dealt to a fixed number of pieces.
 * Invariant: everything here follows from shapes alone, so the order of every sum is the same for
 * any number of threads. */
#ifndef RVX_CONV_WEIGHT_H
#define RVX_CONV_WEIGHT_H

#include "kernels/op.h"

#include <stdbool.h>

/* Panels of packed x and dy are padded to these channel counts, the widest of any instruction
 * set, so that one scratch size serves them all. */
enum { RVX__WEIGHT_CI_PAD = 8, RVX__WEIGHT_CO_PAD = 16 };

/* With so few input channels x may be packed as planes of one channel with a margin of zeros. */
enum { PLANE_CHANNELS = 4, PLANE_MARGIN = 2 };

typedef struct rvx__conv_weight_geometry {
    rvx_shape x, dy;
    int32_t kernel[3], stride[3], pad[3];
    bool transposed; /* kernel = stride, no padding: x meets dy at x * stride + k instead */
} rvx__conv_weight_geometry;

typedef struct rvx__conv_weight_plan {
    int64_t tile_d, tile_h;   /* input slices and rows of a tile */
    int64_t tiles_d, tiles_h; /* per batch element */
    int64_t tiles;            /* in all */
    int64_t pieces;           /* groups of tiles, each with its own partial dW; 1: no partials */
    int64_t box_d, box_h;     /* most slices and rows of dy that one tile touches */
    int64_t x_floats;         /* packed x of one tile */
    int64_t dy_floats;        /* packed dy of one tile */
    int64_t partial_floats;   /* dW and bias of one piece */
} rvx__conv_weight_plan;

rvx__conv_weight_geometry rvx__conv_weight_geometry_of(const rvx_shape *x, const rvx_shape *dy,
                                                       const rvx_op_params *params,
                                                       bool transposed);

void rvx__conv_weight_cut(rvx__conv_weight_plan *plan, const rvx__conv_weight_geometry *g);

/* Bytes of scratch for `threads` threads. Layout: partials, then packed tiles: one pair for each
 * thread if there are several pieces, else one pair that all threads share. */
int64_t rvx__conv_weight_bytes(const rvx__conv_weight_geometry *g, int threads);

#endif
