/* Haar wavelet of blocks. Owns: the row of haar and its shape rule.
 *
 * Along each axis whose params.stride is 2 (w first, then h, then d), of a pair a, b:
 *
 *   params.orthonormal 0    high = a - b          low = b + floor(high / 2)      (S-transform)
 *   params.orthonormal 1    high = (a - b) / sqrt 2    low = (a + b) / sqrt 2
 *
 * The results take the places of a (low) and b (high) in the block, whose voxels then become
 * channels as in space_to_depth (params.stride, params.order). So channel 0 of a block is its mean
 * or, orthonormal, its sum over sqrt s.
 *
 * in: x, each axis a multiple of its stride; out: y. For f32 and bf16 the floor is left out and the
 * inverse is not exact, only as good as the rounding of its type. Streams (RVX_I16, both on one
 * grid) are transformed as integers modulo 2^16: each step adds to one number a function of the
 * other, so the inverse subtracts it again and is exact, overflow (which is counted) or not. For
 * the orthonormal form these steps are those of a rotation by 45 degrees, a += t b,   b -= r a,   a
 * += t b,   high = -b     t = tan(pi / 8), r = sqrt(1 / 2), with t b and r a rounded.
 *
 * Backward is the transpose of the linear transform, rounding having derivative one. It reads
 * nothing. All of it also in place, where both sides are dense and of one type. */
#include "kernels/haar.h"
#include "kernels/cuda/block_layout.h"

static rvx_status haar_shape(rvx_shape *out, const rvx_shape *in, int in_count,
                             const rvx_op_params *params, rvx_error *error)
{
    (void)in_count;
    rvx_status status = rvx__haar_strides(params, "haar", error);
    return status == RVX_OK ? rvx__block_coarse(&out[0], in[0], params, "haar", error) : status;
}

static rvx_cost haar_cost(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                          const rvx_op_params *params)
{
    (void)phase, (void)out, (void)params;
    return rvx__haar_cost(in[0]);
}

static int64_t haar_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                            const rvx_op_params *params, int threads)
{
    (void)phase, (void)in, (void)out;
    return rvx__block_move_scratch(out[0], params, threads);
}

static int64_t haar_cuda_scratch(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params)
{
    (void)phase, (void)in;
    return rvx__block_aside_bytes(out[0], params);
}

const rvx_op rvx__op_haar = {
    .name = "haar",
    .in_min = 1,
    .in_max = 1,
    .out_count = 1,
    .shape = haar_shape,
    .stored_outputs = 1,
    .inverse_inputs = 1,
    .flags = RVX_OP_FORWARD_IN_PLACE | RVX_OP_BACKWARD_IN_PLACE | RVX_OP_INVERSE_IN_PLACE |
             RVX_OP_CHEAP | RVX_OP_BF16 | RVX_OP_I16,
    .cost = haar_cost,
    .scratch = haar_scratch,
    .cpu = {[RVX_FORWARD] = RVX_CELLS(rvx__haar_forward),
            [RVX_BACKWARD_DATA] = RVX_CELLS(rvx__haar_backward),
            [RVX_INVERSE] = RVX_CELLS(rvx__haar_inverse)},
    .cuda = RVX_CUDA_HAS(RVX_FORWARD) | RVX_CUDA_HAS(RVX_BACKWARD_DATA) | RVX_CUDA_HAS(RVX_INVERSE),
    .cuda_scratch = haar_cuda_scratch,
};
