/* Correlations on matrix tiles: forward and data gradient of both convolutions, on f32 or bf16
 * tensors. Sums are f32. */
#ifndef RVX_AMX_CORRELATE_H
#define RVX_AMX_CORRELATE_H

#include "kernels/conv_amx.h"

typedef struct rvx__amx_call {
    const rvx__amx_plan *plan;
    rvx_tensor source, target; /* f32, bf16 or i16 */
    rvx_tensor residual;       /* like the target, which may lie there; data NULL: absent */
    int subtract;              /* target = residual - sum instead of residual + sum */
    rvx_tensor weight;         /* f32 [kd][kh][kw][ci][co] */
    rvx_tensor bias, fold;     /* f32; data NULL: absent */
    int accumulate;            /* add to the target */
    void *scratch;             /* plan->scratch_bytes, 64-byte aligned */
    int threads;
} rvx__amx_call;

void rvx__amx_correlate(const rvx__amx_call *call);

/* One row (n, z, y) of `source`, plan->row_voxels from x on, plan->voxel_elements each, in bf16
 * parts; voxels outside the volume are zero. `fold` may be NULL. */
void rvx__amx_pack_row(uint16_t *to, const rvx__amx_plan *plan, const rvx_tensor *source,
                       const rvx_tensor *fold, int64_t n, int64_t z, int64_t y, int64_t x);

/* The weights of one tap row for one tile of target channels from `channel` on: `tiles` tiles, each
 * `tile_stride` elements after the last. Product k of the row is tap k / e along w, source channel
 * k % e, with e = plan->voxel_elements; a tile is [product pair][target channel][2]. */
void rvx__amx_pack_weights(uint16_t *to, const rvx__amx_plan *plan, const rvx_tensor *weight,
                           int64_t tap_d, int64_t tap_h, const rvx__correlation_axis *axis_w,
                           int64_t channel, int64_t tiles, int64_t tile_stride);

#endif
