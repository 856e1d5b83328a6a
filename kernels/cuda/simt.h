/* The words in which device code is written. Owns: every instruction that is not plain C++ (PTX
 * stands here, in simt_hopper.h for what sm_90a adds, and nowhere else) and their meaning on a
 * machine without a GPU: under nvcc they are the instructions of sm_80 and up, under g++ the
 * emulation of emulate.h, which runs the kernels' own source.
 *
 * Rules for kernels, which the emulation checks where it can:
 *   - blocks have a multiple of 32 threads; collectives are reached by all 32 lanes of a warp
 *   - dynamic shared memory only (RVX_SHARED), asked for at the launch
 *   - no block waits for another; results do not depend on the order of blocks
 *   - floats are never added by atomics: sums go through partial results in a fixed order */
#ifndef RVX_CUDA_SIMT_H
#define RVX_CUDA_SIMT_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define RVX_DEVICE __device__ __forceinline__
#define RVX_BOTH __host__ __device__ __forceinline__
#define RVX_GLOBAL static __global__
#define RVX_BOUNDS(...) __launch_bounds__(__VA_ARGS__)
#define RVX_SHARED(type, name)                                                                     \
    extern __shared__ __align__(128) unsigned char rvx__shared[];                                  \
    type *const name = reinterpret_cast<type *>(rvx__shared)

namespace simt
{
typedef cudaStream_t Stream;

/* ---- shared memory ----------------------------------------------------------------------------
 */

RVX_DEVICE uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

RVX_DEVICE void barrier() { __syncthreads(); }
RVX_DEVICE void warp_barrier() { __syncwarp(); }

/* 16 bytes from global to shared memory, later; zeros where !ok (then `from` is not read). They are
 * there for this thread after copy_wait, for the others after a barrier behind it. */
RVX_DEVICE void copy16_async(void *to, const void *from, bool ok)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(ok ? 16 : 0)
                 : "memory");
}
RVX_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* Until at most `left` of the groups committed last are under way. */
template <int left> RVX_DEVICE void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

/* ---- matrices of a warp -----------------------------------------------------------------------
 */

/* Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 and
 * gets, of each, elements 2 (l % 4) and + 1 of row l / 4. */
RVX_DEVICE void load_matrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
/* The same, each matrix transposed. */
RVX_DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* d (16 x 8, f32) += a (16 x 16, bf16) b (16 x 8, bf16), fragments as PTX ISA m16n8k16 has them. */
RVX_DEVICE void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* d (16 x 8, f32) += a (16 x 8, tf32) b (8 x 8, tf32), fragments as PTX ISA m16n8k8 has them. */
RVX_DEVICE void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* ---- lanes ------------------------------------------------------------------------------------
 */

RVX_DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(~0u, v, mask); }
RVX_DEVICE double shuffle_xor(double v, int mask) { return __shfl_xor_sync(~0u, v, mask); }
RVX_DEVICE int64_t shuffle_xor(int64_t v, int mask)
{
    return __shfl_xor_sync(~0u, (long long)v, mask);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

/* Two numbers rounded to bf16, to nearest even: `low` in the lower half. */
RVX_DEVICE uint32_t pack_bf16(float low, float high)
{
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
RVX_DEVICE uint32_t to_tf32(float v)
{
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
    return r;
}
RVX_DEVICE float as_float(uint32_t bits) { return __uint_as_float(bits); }
/* The same number, of which a compiler knows nothing: what follows from it is formed anew in each
 * round of a loop and takes no register elsewhere. */
RVX_DEVICE int opaque(int v)
{
    asm volatile("" : "+r"(v));
    return v;
}
RVX_DEVICE uint32_t as_bits(float v) { return __float_as_uint(v); }
/* Rounded at each step: never contracted into one multiply-add. */
RVX_DEVICE float multiply(float a, float b) { return __fmul_rn(a, b); }
RVX_DEVICE float add(float a, float b) { return __fadd_rn(a, b); }
RVX_DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
RVX_DEVICE double multiply(double a, double b) { return __dmul_rn(a, b); }
RVX_DEVICE double add(double a, double b) { return __dadd_rn(a, b); }
RVX_DEVICE double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
RVX_DEVICE int32_t round_even(float v) { return __float2int_rn(v); }
/* Integers alone: their sum does not depend on the order. */
RVX_DEVICE void count(int64_t *counter, int64_t n)
{
    atomicAdd(reinterpret_cast<unsigned long long *>(counter), (unsigned long long)n);
}

/* ---- launches ---------------------------------------------------------------------------------
 */

/* Failures show at rvx_cuda.synchronize. */
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes,
            Stream stream, Arguments... arguments)
{
    if (shared_bytes > 48 * 1024)
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)shared_bytes);
    kernel<<<grid, threads, shared_bytes, stream>>>(arguments...);
}
} // namespace simt

#else
#include "kernels/cuda/emulate.h"
#endif

#endif
