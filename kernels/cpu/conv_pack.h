/* Packing for a correlation: source rows with the fold applied and the padding written out, and
 * weight panels in the order in which the register block reads them. */
#ifndef RVX_CONV_PACK_H
#define RVX_CONV_PACK_H

#include "kernels/conv_plan.h"
#include "kernels/simd.h"

/* Writes `count` voxels of row (n, z, y) from x on, x possibly outside the volume, channels
 * contiguous: to [count][c]. The source is f32 or bf16; `fold` may be NULL. */
void RVX_KERNEL(rvx__conv_pack_row)(float *to, const rvx_tensor *source, const rvx_tensor *fold,
                                    int64_t n, int64_t z, int64_t y, int64_t x, int64_t count);

/* One tap of a panel: `vectors` vectors of target channels from `first` on, zero beyond the last,
 * for every source channel; `pitch_to` floats from one source channel to the next. `weight` is
 * [kd][kh][kw][ci][co]; with `transposed` the target is ci. */
void RVX_KERNEL(rvx__conv_pack_tap)(float *to, int64_t pitch_to, const rvx_tensor *weight,
                                    int transposed, const int64_t tap[3], int64_t first,
                                    int64_t vectors);

#endif
