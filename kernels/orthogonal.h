/* orthogonal_down and orthogonal_up: learnable orthogonal resampling, after iUNet (Etmann, Ke,
 * Schoenlieb 2020). Owns: what the two rows share and the algebra of their small matrices, in
 * double, compiled once, so that all instruction sets see the same numbers.
 *
 * Each channel has a free s x s matrix W, s the voxels of a block, and from it A = W - W^T and an
 * orthogonal Q with determinant 1,
 *     Cayley             Q = (I + A)^-1 (I - A)
 *     exponential map    Q = exp A                        (params.exponential)
 * down: the voxels x of a block become y = Q x; up: voxels y become x = Q^T y.
 *
 * W is a parameter [1][1][s][s][c] whose h axis is the column of W and whose w axis its row. */
#ifndef RVX_ORTHOGONAL_H
#define RVX_ORTHOGONAL_H

#include "kernels/block.h"

RVX_DECLARE_KERNEL(rvx__orthogonal_down_forward)
RVX_DECLARE_KERNEL(rvx__orthogonal_down_backward_data)
RVX_DECLARE_KERNEL(rvx__orthogonal_down_backward_parameters)
RVX_DECLARE_KERNEL(rvx__orthogonal_down_inverse)
RVX_DECLARE_KERNEL(rvx__orthogonal_up_forward)
RVX_DECLARE_KERNEL(rvx__orthogonal_up_backward_data)
RVX_DECLARE_KERNEL(rvx__orthogonal_up_backward_parameters)
RVX_DECLARE_KERNEL(rvx__orthogonal_up_inverse)

enum { RVX_ORTHOGONAL_MAX = 8, RVX_ORTHOGONAL_PIECES = 64 };

/* Matrices are n x n, n <= RVX_ORTHOGONAL_MAX, row by row. */
void rvx__orthogonal_of(double *q, const double *w, int n, int exponential);

/* dw = the gradient with respect to W, from g, that with respect to Q. */
void rvx__orthogonal_gradient(double *dw, const double *g, const double *w, int n, int exponential);

/* W whose Q is the Haar matrix of a block of n = 1, 2, 4 or 8 voxels, its rows of an odd number of
 * differences negated so that it is a rotation (of eigenvalues other than -1). */
void rvx__orthogonal_haar(double *w, int n, int exponential);

/* Q as integer lifting: y = Q x is, one after another,
 *     v = sign[i] x_i for every i, then for each step, of the pair (a, b):
 *     a -= T b,   b += S a,   a -= T b
 * where products are rounded and T, S are in units of 2^-15, at most one in size; the inverse
 * undoes them in the opposite order. `table` holds n * n integers: T and S of each of the
 * n (n - 1) / 2 steps, in the order of rvx__orthogonal_step, then the signs. */
void rvx__orthogonal_lifting(int32_t *table, const double *q, int n);

/* The pairs, in the order in which they are made: (n - 2, n - 1) first, (0, 1) last. */
#define RVX_ORTHOGONAL_STEPS(a, b, n)                                                              \
    for (int a = (n)-2; a >= 0; a--)                                                               \
        for (int b = (n)-1; b > a; b--)
#define RVX_ORTHOGONAL_STEPS_BACK(a, b, n)                                                         \
    for (int a = 0; a <= (n)-2; a++)                                                               \
        for (int b = a + 1; b < (n); b++)

/* ---- rows ---------------------------------------------------------------------------------- */

rvx_status rvx__orthogonal_check(const rvx_shape *in, rvx_shape fine, const rvx_op_params *params,
                                 const char *name, rvx_error *error);
rvx_status rvx__orthogonal_strides(const rvx_op_params *params, const char *name, rvx_error *error);
rvx_cost rvx__orthogonal_cost(rvx_shape in, const rvx_op_params *params);

/* The table of all channels, f32 or int32; sums of the parameter gradient by piece; what moving
 * takes. */
static inline int64_t rvx__orthogonal_table_bytes(rvx_shape fine, const rvx_op_params *params)
{
    int64_t s = rvx__block_voxels(params);
    return (s * s * fine.c * 4 + 63) / 64 * 64;
}

int64_t rvx__orthogonal_scratch(rvx_phase phase, rvx_shape fine, rvx_shape coarse,
                                const rvx_op_params *params, int threads);

#endif
