/* Weighted sums of rows: what resampling along an axis is, whichever axis (engine/volume/resample.h
 * says which rows and weights). Owns nothing. Every element is the same sum in the same order
 * wherever it stands in its row, for any count; AVX2 and AVX-512 give the same bits. */
#ifndef RVX_RESAMPLE_KERNEL_H
#define RVX_RESAMPLE_KERNEL_H

#include "kernels/op.h"

/* out[r][i] = sum over k of weights[r][k] * in[first[r] + k][i], i < count. Input row n stands at
 * n % in_rows: the rows may be a ring. `first` never descends; strides are in elements. */
typedef struct rvx_row_sums {
    float *out;
    int64_t out_stride, out_rows;
    const float *in;
    int64_t in_stride, in_rows;
    const int64_t *first;
    const float *weights;
    int64_t taps;  /* at least 1 */
    int64_t count; /* elements of a row */
} rvx_row_sums;

typedef void (*rvx_row_sums_kernel)(const rvx_row_sums *sums);

rvx_row_sums_kernel rvx__row_sums_find(rvx_isa isa); /* of a CPU */

#endif
