/* Haar wavelet of blocks on the GPU (see kernels/haar.c): butterflies on the voxels of a block in
 * registers, on the way between the fine and the coarse tensor. Owns: the arithmetic, which for
 * integers is that of kernels/cpu/haar.c bit for bit. */
#include "kernels/cuda/block_move.h"

namespace
{
using namespace rvx;

/* Rotation by 45 degrees in units of 2^-15: tan(pi / 8) and sqrt(1 / 2). */
enum { TANGENT = 13573, SINE = 23170 };

/* squeeze: a, b -> low (a + b), high (a - b); else a, b -> low a + high b, low a - high b */
struct HaarNumbers {
    enum { NUMBERS = 1 };
    float low, high;

    template <int S, int N>
    RVX_DEVICE void apply(uint32_t (&v)[S][N], int32_t, bool squeeze, int *) const
    {
#pragma unroll
        for (int level = 1; level < S; level *= 2)
#pragma unroll
            for (int i = 0; i < S; i++) {
                /* up from 1 or down from S / 2 */
                const int up = i & level, down_apart = S / 2 / level, down = i & down_apart;
                if (squeeze && !up)
                    meet(v[i], v[(i + level) % S]);
                if (!squeeze && !down)
                    part(v[i], v[(i + down_apart) % S]);
            }
    }

  private:
    template <int N> RVX_DEVICE void meet(uint32_t (&a)[N], uint32_t (&b)[N]) const
    {
#pragma unroll
        for (int k = 0; k < N; k++) {
            const float p = simt::as_float(a[k]), q = simt::as_float(b[k]);
            a[k] = simt::as_bits(simt::multiply(low, simt::add(p, q)));
            b[k] = simt::as_bits(simt::multiply(high, simt::add(p, -q)));
        }
    }
    template <int N> RVX_DEVICE void part(uint32_t (&a)[N], uint32_t (&b)[N]) const
    {
#pragma unroll
        for (int k = 0; k < N; k++) {
            const float p = simt::multiply(low, simt::as_float(a[k])), q = simt::as_float(b[k]);
            a[k] = simt::as_bits(simt::fused(high, q, p));
            b[k] = simt::as_bits(simt::fused(-high, q, p));
        }
    }
};

/* One step of lifting: wraps to 16 bits and counts what did not fit. */
RVX_DEVICE int32_t lift(int32_t v, int *lost)
{
    const int32_t low = wrap(v);
    *lost += low != v;
    return low;
}

RVX_DEVICE int32_t times(int32_t v, int32_t factor) { return (v * factor + 16384) >> 15; }

template <bool orthonormal> struct HaarIntegers {
    enum { NUMBERS = 0 };
    bool undoes; /* an inverse: what does not fit was counted when it was made */

    template <int S, int N>
    RVX_DEVICE void apply(uint32_t (&v)[S][N], int32_t, bool squeeze, int *lost) const
    {
        int own = 0;
        extend(v);
#pragma unroll
        for (int level = 1; level < S; level *= 2)
#pragma unroll
            for (int i = 0; i < S; i++) {
                const int up = i & level, down_apart = S / 2 / level, down = i & down_apart;
                if (squeeze && !up)
                    meet(v[i], v[(i + level) % S], &own);
                if (!squeeze && !down)
                    part(v[i], v[(i + down_apart) % S], &own);
            }
        if (!undoes)
            *lost += own;
    }

  private:
    template <int S, int N> static RVX_DEVICE void extend(uint32_t (&v)[S][N])
    {
#pragma unroll
        for (int f = 0; f < S * N; f++)
            v[f / N][f % N] = (uint32_t)wrap((int32_t)v[f / N][f % N]);
    }
    template <int N> static RVX_DEVICE void meet(uint32_t (&x)[N], uint32_t (&y)[N], int *lost)
    {
#pragma unroll
        for (int k = 0; k < N; k++) {
            int32_t a = (int32_t)x[k], b = (int32_t)y[k];
            if (orthonormal) {
                a = lift(a + times(b, TANGENT), lost);
                b = lift(b - times(a, SINE), lost);
                a = lift(a + times(b, TANGENT), lost);
                b = lift(-b, lost);
            } else {
                const int32_t high = lift(a - b, lost);
                a = lift(b + (high >> 1), lost);
                b = high;
            }
            x[k] = (uint32_t)a;
            y[k] = (uint32_t)b;
        }
    }
    template <int N> static RVX_DEVICE void part(uint32_t (&x)[N], uint32_t (&y)[N], int *lost)
    {
#pragma unroll
        for (int k = 0; k < N; k++) {
            int32_t a = (int32_t)x[k], b = (int32_t)y[k];
            if (orthonormal) {
                b = lift(-b, lost);
                a = lift(a - times(b, TANGENT), lost);
                b = lift(b + times(a, SINE), lost);
                a = lift(a - times(b, TANGENT), lost);
            } else {
                const int32_t second = lift(a - (b >> 1), lost); /* b, in a's place */
                a = lift(second + b, lost);
                b = second;
            }
            x[k] = (uint32_t)a;
            y[k] = (uint32_t)b;
        }
    }
};

/* low, high: the weights for pairs that are not orthonormal. */
void haar(const rvx_call *call, const rvx_tensor &coarse, const rvx_tensor &fine, bool squeeze,
          bool undoes, float low, float high)
{
    const float half_root = 0.70710678f;
    const bool orthonormal = call->params->orthonormal != 0;
    char *room = static_cast<char *>(call->scratch);
    if (coarse.dtype == RVX_I16 && fine.dtype == RVX_I16 && coarse.grid_log2 == fine.grid_log2) {
        if (orthonormal)
            block_transform(call, coarse, fine, squeeze, HaarIntegers<true>{undoes}, room);
        else
            block_transform(call, coarse, fine, squeeze, HaarIntegers<false>{undoes}, room);
        return;
    }
    const HaarNumbers numbers = {orthonormal ? half_root : low, orthonormal ? half_root : high};
    block_transform(call, coarse, fine, squeeze, numbers, room);
}
} // namespace

extern "C" void rvx__cuda_haar_forward(const rvx_call *call)
{
    haar(call, call->out[0], call->in[0], true, false, 0.5f, 1);
}

extern "C" void rvx__cuda_haar_backward(const rvx_call *call)
{
    haar(call, call->grad_out[0], call->grad_in[0], false, false, 0.5f, 1);
}

extern "C" void rvx__cuda_haar_inverse(const rvx_call *call)
{
    haar(call, call->out[0], call->in[0], false, true, 1, 0.5f);
}

extern "C" void rvx__cuda_haar_up_forward(const rvx_call *call)
{
    haar(call, call->in[0], call->out[0], false, false, 1, 0.5f);
}

extern "C" void rvx__cuda_haar_up_backward(const rvx_call *call)
{
    haar(call, call->grad_in[0], call->grad_out[0], true, false, 1, 0.5f);
}

extern "C" void rvx__cuda_haar_up_inverse(const rvx_call *call)
{
    haar(call, call->in[0], call->out[0], true, true, 0.5f, 1);
}
