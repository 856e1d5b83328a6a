/* How a weight gradient is cut for matrix tiles. Owns: the geometry, the number of pieces and the
 * order of the scratch block; knows shapes only.
 *
 *     dW[k][m][n] = sum over positions o of  many[o s + k - pad][m] * few[o][n]
 *
 * Convolution: many = folded x, few = dy, m = ci, n = co. Transposed convolution: many = dy, few =
 * folded x, m = co, n = ci. The sum over positions is the depth of the tiles: planes of `many` are
 * packed channel by channel [m][y][x], split by remainders modulo the stride so that every tap is
 * one shift of the whole plane; planes of `few` are packed in pairs of positions, with zeros where
 * the packed rows of `many` are longer.
 * Invariant: pieces and the order within them follow from shapes, so every sum has one order. */
#ifndef RVX_CONV_AMX_WEIGHT_H
#define RVX_CONV_AMX_WEIGHT_H

#include "kernels/conv_amx.h"

#include <stdbool.h>

typedef struct rvx__amx_weight_plan {
    rvx_shape many, few;
    int32_t kernel[3], stride[3], pad[3];
    int turned; /* dW stands as [k][n][m] */
    int64_t parts;
    int64_t classes_h, classes_w; /* remainders that taps reach */
    int64_t m_tiles, n_tiles;
    int64_t block_h, blocks_h;     /* rows of `few` in a box */
    int64_t chunk_d, chunks_d;     /* planes of `few` in a box */
    int64_t boxes, pieces;         /* pieces are runs of boxes, each with its own partial dW */
    int64_t groups;                /* tasks that share a piece and take panels of n each */
    int64_t step_d, ring_d;        /* planes of `few` in a sweep; planes of `many` kept */
    int64_t width;                 /* packed row of either */
    int64_t depth;                 /* packed plane of `few`, positions */
    int64_t row;                   /* packed plane of `many`, elements of one channel and class */
    int64_t many_plane, few_plane; /* elements, one part */
    int64_t many_part, few_part;   /* elements, one part of all planes kept */
    int64_t partial_floats;        /* tiles of dW, then the bias */
    int64_t few_offset, rows_offset, thread_bytes;
    int64_t scratch_bytes; /* partials, then threads */
} rvx__amx_weight_plan;

void rvx__amx_weight_plan_make(rvx__amx_weight_plan *plan, int transposed, const rvx_shape *in,
                               const rvx_shape *out, const rvx_op_params *params, int64_t parts,
                               int threads);

/* Whether six products of bf16 parts are faster than one of f32: 1.35 to 1.8 times with these
 * channels and 3^3 taps when measured, and the tiles are faster since. With fewer products or
 * voxels, cutting numbers into parts costs more than it gains. */
static inline bool rvx__amx_parts_pay(const rvx_op_params *params, rvx_shape source,
                                      rvx_shape target)
{
    enum { TAPS_MIN = 27, CHANNELS_MIN = 24, VOXELS_MIN = 4096 };
    const int32_t *k = params->kernel, *s = params->stride;
    return (int64_t)k[0] * k[1] * k[2] >= TAPS_MIN && s[0] * s[1] * s[2] == 1 &&
           source.c >= CHANNELS_MIN && target.c >= CHANNELS_MIN &&
           rvx__shape_voxels(target) >= VOXELS_MIN;
}

/* The same for weight gradients: measured to gain with up to 64 channels and to lose with 120. */
static inline bool rvx__amx_weight_parts_pay(const rvx_op_params *params, rvx_shape x, rvx_shape dy)
{
    return rvx__amx_parts_pay(params, x, dy) && x.c * dy.c <= 64 * 64;
}

/* The larger scratch of one part and, where they pay, of three: storage is not known here. */
int64_t rvx__amx_weight_scratch(int transposed, const rvx_shape *in, const rvx_shape *out,
                                const rvx_op_params *params, int threads);

#endif
