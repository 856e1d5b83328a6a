/* Weight gradients on matrix tiles: both convolutions, on f32 or bf16 tensors. Sums are f32. */
#ifndef RVX_AMX_WEIGHT_H
#define RVX_AMX_WEIGHT_H

#include "kernels/conv_amx_weight.h"

/* grad_in[1] and grad_in[2] of `call`, where wanted; `parts` as in the plan. */
void rvx__amx_weight_gradient(const rvx_call *call, int transposed, int64_t parts);

/* Positions of one packed row: `count` of them, x + i * step for position i along w of row
 * (n, z, y); zero outside the volume and for i >= `valid`. */
typedef struct rvx__amx_line {
    const rvx_tensor *tensor, *fold; /* fold NULL: none */
    int64_t n, z, y, x, step, count, valid;
} rvx__amx_line;

/* to[channel][position], channels `row` elements apart, all tiles of channels. count is even. */
void rvx__amx_pack_many(uint16_t *to, const rvx__amx_weight_plan *plan, const rvx__amx_line *line);

/* Pairs of positions from position `first` of the plane on: panels of [depth / 32][column tile][16
 * pairs][16 channels][2], tiles of channels `tile` to `tile` + `tiles`. */
void rvx__amx_pack_few(uint16_t *to, const rvx__amx_weight_plan *plan, const rvx__amx_line *line,
                       int64_t first, int64_t tile, int64_t tiles);

#endif
