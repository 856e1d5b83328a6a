/* The backward of normalisation on the GPU over slabs of one sample, for gradients that exist slab
 * by slab only: what kernels/norm_slab.h is on the CPU; and what forward and backward share. Owns
 * nothing. */
#ifndef RVX_CUDA_NORM_ACT_H
#define RVX_CUDA_NORM_ACT_H

#include "kernels/op.h"

namespace rvx
{
/* Tables of a normalisation, as kernels get them. */
struct NormRows {
    float *pairs; /* mean and rstd [n][group] */
    float *fold;  /* scale, shift and slope [n][3][c] */
    int64_t pair_pitch, fold_pitch;
    const float *gamma;
    int32_t groups;
    float slope;
};

inline NormRows norm_rows(const rvx_call *call)
{
    const rvx_tensor &pairs = call->out[1], &fold = call->out[2];
    return {rvx__f32(&pairs),       rvx__f32(&fold),        pairs.pitch,        fold.pitch,
            rvx__f32(&call->in[1]), (int32_t)pairs.shape.w, call->params->slope};
}

/* Samples whose statistics are one. */
inline int64_t norm_samples(const rvx_call *call)
{
    return call->params->batch_statistics ? call->in[0].shape.n : 1;
}

struct NormSlab {
    double *partial;    /* of the largest slab: [c][piece][2] */
    double *totals;     /* [c][2] of this sample */
    float *corrections; /* [2][c] */
};

/* Calls as norm_act's backward gets them, for one sample: in[0] x, in[1] gamma, out[1] statistics,
 * out[2] fold table; in[0], grad_out[0] and grad_in[0] of add are those of the slab. */

/* grad_x (+)= a g over a slab; the sums of g and g (x - mean) grow, or begin with the first. */
void norm_slab_add(const rvx_call *call, const NormSlab &slab, bool first);
/* grad_x -= p + q (x - mean) over the sample: p and q need the sums of all slabs. */
void norm_slab_close(const rvx_call *call, const NormSlab &slab);
/* grad_in[1], grad_in[2]: gamma and beta, from the totals [n][c][2] of all samples. */
void norm_parameters(const rvx_call *call, const double *totals);
} // namespace rvx

#endif
