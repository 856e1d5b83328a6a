/* Words for reversible networks, beside those of graph.h: resampling that loses nothing, and
 * dropout whose mask can be made again. Owns: no state; each word adds one node. */
#ifndef RVX_GRAPH_REVERSIBLE_H
#define RVX_GRAPH_REVERSIBLE_H

#include "engine/graph/graph.h"
#include "kernels/block.h"

/* Blocks of stride voxels (d, h, w; 0 means 1) become channels, and back; order: RVX_ORDER_CHANNEL
 * or, as i-RevNet has it, RVX_ORDER_BLOCK. See kernels/block.h. */
rvx_value rvx__space_to_depth(rvx_graph *graph, rvx_value x, const int stride[3], int order);
rvx_value rvx__depth_to_space(rvx_graph *graph, rvx_value x, const int stride[3], int order);

/* Four equal ranges of channels as tensors of their own, and together again. Unlike those of
 * rvx__split they are dense, in the memory of x where that is free: each can go down in its place.
 */
void rvx__deinterleave(rvx_graph *graph, rvx_value parts[4], rvx_value x);
rvx_value rvx__interleave(rvx_graph *graph, const rvx_value parts[4]);

/* Haar wavelet of blocks of stride 1 or 2 along each axis, and its inverse: exact for integer
 * streams. orthonormal: preserves norms; otherwise means and differences. See kernels/haar.c. */
rvx_value rvx__haar(rvx_graph *graph, rvx_value x, const int stride[3], bool orthonormal);
rvx_value rvx__haar_up(rvx_graph *graph, rvx_value x, const int stride[3], bool orthonormal);

/* Learnable orthogonal resampling by blocks of stride 1 or 2 along each axis (iUNet), with
 * parameter weight in the current scope, which starts as Haar's: exponential: Q = exp A, otherwise
 * Cayley's. See kernels/orthogonal.h. */
rvx_value rvx__orthogonal_down(rvx_graph *graph, rvx_value x, const int stride[3],
                               bool exponential);
rvx_value rvx__orthogonal_up(rvx_graph *graph, rvx_value x, const int stride[3], bool exponential);

/* The scalar input that all dropouts of a graph share: 0 drops nothing, see kernels/dropout.c. */
#define RVX_DROPOUT_KEY "dropout_key"

/* Drops this share of the values in training. Scopes tell the masks of a step apart: two dropouts
 * in one scope drop the same places. */
rvx_value rvx__dropout(rvx_graph *graph, rvx_value x, float rate);

#endif
