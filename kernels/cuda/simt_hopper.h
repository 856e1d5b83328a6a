/* The words of simt.h that sm_90a adds: gates (mbarrier), bulk and tensor copies (TMA), products of
 * 64 rows by a group of four warps (wgmma). Owns: their PTX, and their meaning without a GPU
 * (emulate_hopper.h). On other architectures they stop the kernel: hopper() says on the host
 * whether the current device has them.
 *
 * Two ways lead to shared memory. Loads, stores and copy16_async take one; tensor and bulk copies
 * and products the other. What a thread writes the first way, products read only after that
 * thread's store_shared and publish(), and a gate or barrier behind it. What bulk copies bring, all
 * may read once its gate has opened. */
#ifndef RVX_CUDA_SIMT_HOPPER_H
#define RVX_CUDA_SIMT_HOPPER_H

#include "kernels/cuda/simt.h"

namespace simt
{
/* A gate in shared memory. It opens when it has been reached as often as gate_init said and when
 * all bytes that were announced have come; then it counts anew. The first opening ends phase 0,
 * the next one phase 1, and so on. */
typedef uint64_t Gate;

enum Swizzle : int { SWIZZLE_NONE, SWIZZLE_128, SWIZZLE_64, SWIZZLE_32 }; /* as wgmma counts them */

/* What a product reads in shared memory: `rows` of 16 products each, as 8 x 8 matrices of which
 * row r lies at 16 r bytes. `across`: bytes from the matrix of products 0 .. 7 to that of 8 .. 15;
 * `down`: from the matrix of one group of 8 rows to the next. All are multiples of 16. Swizzled:
 * rows lie 32, 64 or 128 bytes apart in a pattern of 8 rows that begins on 256, 512 or 1024 bytes,
 * and `across` has no meaning. */
RVX_BOTH uint64_t matrix_at(uint32_t shared_at, uint32_t across, uint32_t down,
                            Swizzle swizzle = SWIZZLE_NONE)
{
    return (uint64_t)((shared_at & 0x3FFFF) >> 4) | (uint64_t)(across >> 4) << 16 |
           (uint64_t)(down >> 4) << 32 | (uint64_t)swizzle << 62;
}
} // namespace simt

#ifdef __CUDACC__

#include <cuda.h>

/* Parameters that hold a TensorMap: `const RVX_CONSTANT Parameters p`. */
#define RVX_CONSTANT __grid_constant__

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define RVX__SM90A(...) asm volatile(__VA_ARGS__)
#else
#define RVX__SM90A(...) __trap()
#endif

namespace simt
{
/* ---- gates ------------------------------------------------------------------------------------
 */

RVX_DEVICE void gate_init(Gate *gate, uint32_t count)
{
    RVX__SM90A("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(gate)), "r"(count)
               : "memory");
}
/* After the last gate_init, by the thread that made them, before a barrier of all who use them. */
RVX_DEVICE void gates_ready() { RVX__SM90A("fence.mbarrier_init.release.cluster;" ::: "memory"); }
RVX_DEVICE void gate_arrive(Gate *gate)
{
    RVX__SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(gate)) : "memory");
}
/* The same, announcing bytes that copies are to bring before it opens. */
RVX_DEVICE void gate_arrive_expecting(Gate *gate, uint32_t bytes)
{
    RVX__SM90A("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(gate)),
               "r"(bytes)
               : "memory");
}
/* Until the phase that is under way has another parity: phase 0 and parity 0 wait for the first
 * opening, and parity 1 goes on at once. */
RVX_DEVICE void gate_wait(Gate *gate, uint32_t parity)
{
    uint32_t open = 1;
    do
        RVX__SM90A("{\n .reg .pred p;\n"
                   " mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                   " selp.u32 %0, 1, 0, p;\n}"
                   : "=r"(open)
                   : "r"(shared_address(gate)), "r"(parity)
                   : "memory");
    while (!open);
}

/* ---- copies -----------------------------------------------------------------------------------
 */

/* `bytes` (a multiple of 16) to shared memory, later; both sides on 16 bytes. */
RVX_DEVICE void bulk_copy(void *to, const void *from, uint32_t bytes, Gate *gate)
{
    RVX__SM90A("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
               "[%3];" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(gate))
               : "memory");
}

/* A tensor of five dimensions in global memory and the size of a box of it. */
typedef CUtensorMap TensorMap;

/* The box whose first element has these coordinates, later, to a multiple of 128 bytes, its
 * elements without gaps; zeros for elements outside the tensor. It always brings all bytes of a
 * box. */
RVX_DEVICE void tensor_copy(void *to, const TensorMap *map, const int32_t (&at)[5], Gate *gate)
{
    RVX__SM90A("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(shared_address(to)),
               "l"(map), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]),
               "r"(shared_address(gate))
               : "memory");
}

/* 16 bytes that products are to read. */
RVX_DEVICE void store_shared(void *to, const uint32_t (&words)[4])
{
    *reinterpret_cast<uint4 *>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}
/* What this thread has stored so is there for products of all who wait for it. */
RVX_DEVICE void publish() { RVX__SM90A("fence.proxy.async.shared::cta;" ::: "memory"); }

/* ---- numbers ----------------------------------------------------------------------------------
 */

/* What all lanes of a warp bring alike, in a register of the warp: descriptions of operands that
 * follow from it need no other. */
RVX_DEVICE int uniform(int v) { return __shfl_sync(~0u, v, 0); }

/* ---- products of a group of four warps --------------------------------------------------------
 * products_begin() comes before the first product and after other uses of d; from a product on, d
 * may be neither read nor written, nor what it reads be written, until products_wait. */

/* Uses of d stay on their side of this: before products_begin and behind products_wait. */
template <int count> RVX_DEVICE void settle(float (&d)[count])
{
#pragma unroll
    for (int i = 0; i < count; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

RVX_DEVICE void products_begin() { RVX__SM90A("wgmma.fence.sync.aligned;" ::: "memory"); }
RVX_DEVICE void products_commit() { RVX__SM90A("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/* Until at most `left` of the groups committed last are under way. */
template <int left> RVX_DEVICE void products_wait()
{
    RVX__SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}

#define RVX__D(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define RVX__D12(i) RVX__D(i), RVX__D((i) + 4), RVX__D((i) + 8)
#define RVX__PRODUCT "{\n .reg .pred p;\n setp.ne.b32 p, 1, 0;\n wgmma.mma_async.sync.aligned.m64n"
#define RVX__TYPES "k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11"
#define RVX__N48 ", %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23"
#define RVX__N72 RVX__N48 ", %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35"
#define RVX__N96 RVX__N72 ", %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"

/* d (64 x N, f32) += a (64 x 16, bf16) times b (N x 16, bf16) transposed. A thread has of each
 * group of 8 columns d[4 n ..]: columns 2 (lane % 4) and + 1 of row 16 (warp % 4) + lane / 4, then
 * the same 8 rows below. */
template <int N> RVX_DEVICE void multiply_tiles(float (&d)[N / 2], uint64_t a, uint64_t b)
{
    static_assert(N == 24 || N == 48 || N == 72 || N == 96, "columns of a product");
    if constexpr (N == 24)
        RVX__SM90A(RVX__PRODUCT "24" RVX__TYPES "}, %12, %13, p, 1, 1, 0, 0;\n}"
                   : RVX__D12(0)
                   : "l"(a), "l"(b));
    else if constexpr (N == 48)
        RVX__SM90A(RVX__PRODUCT "48" RVX__TYPES RVX__N48 "}, %24, %25, p, 1, 1, 0, 0;\n}"
                   : RVX__D12(0), RVX__D12(12)
                   : "l"(a), "l"(b));
    else if constexpr (N == 72)
        RVX__SM90A(RVX__PRODUCT "72" RVX__TYPES RVX__N72 "}, %36, %37, p, 1, 1, 0, 0;\n}"
                   : RVX__D12(0), RVX__D12(12), RVX__D12(24)
                   : "l"(a), "l"(b));
    else
        RVX__SM90A(RVX__PRODUCT "96" RVX__TYPES RVX__N96 "}, %48, %49, p, 1, 1, 0, 0;\n}"
                   : RVX__D12(0), RVX__D12(12), RVX__D12(24), RVX__D12(36)
                   : "l"(a), "l"(b));
}

/* ---- host -------------------------------------------------------------------------------------
 */

/* Whether the current device runs machine code of sm_90a. */
inline bool hopper()
{
    int device, major = 0, minor = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) ==
               cudaSuccess &&
           major == 9 && minor == 0;
}

/* Elements of 2, 4 or 8 bytes; `pitch`: bytes between elements that follow each other along
 * dimensions 1 .. 4, multiples of 16, as `base` is. A box has at most 256 elements along a
 * dimension, and rows of a multiple of 16 bytes. False where the driver does not take it. */
inline bool tensor_map(TensorMap *map, const void *base, int element_bytes,
                       const uint64_t (&length)[5], const uint64_t (&pitch)[4],
                       const uint32_t (&box)[5], Swizzle swizzle)
{
    static const CUtensorMapSwizzle swizzles[4] = {
        CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_SWIZZLE_64B,
        CU_TENSOR_MAP_SWIZZLE_32B};
    const cuuint64_t lengths[5] = {length[0], length[1], length[2], length[3], length[4]};
    const cuuint64_t pitches[4] = {pitch[0], pitch[1], pitch[2], pitch[3]};
    const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    void *encode = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                         cudaEnableDefault, &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
        return false;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(encode)(
               map,
               element_bytes == 2   ? CU_TENSOR_MAP_DATA_TYPE_UINT16
               : element_bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_UINT32
                                    : CU_TENSOR_MAP_DATA_TYPE_UINT64,
               5, const_cast<void *>(base), lengths, pitches, box, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, swizzles[swizzle], CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}
} // namespace simt

#else
#include "kernels/cuda/emulate_hopper.h"
#endif

#endif
