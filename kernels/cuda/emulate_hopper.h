/* The words of simt_hopper.h on a CPU. Owns: their meaning under g++. As strict as emulate.h, and
 * built to find what a GPU may let pass for a while:
 *   - a bulk copy poisons where it goes and lands only when somebody waits at its gate and no
 * thread can go on without it; copies overtake each other
 *   - products see only what store_shared and publish, or a copy that has landed, put in shared
 *     memory: all else stops them. They read it twice, when issued and when waited for, and what
 * has changed between the two stops them
 *   - from issue to wait d holds NaN; a d that was touched in between, or changed since
 *     products_begin, is an error, as is a product without products_begin
 *   - gates: initialised once, made ready, reached as often as they say, never overwritten; a
 * parity that is waited for too late is missed, as on a GPU
 *   - a thread that ends with products under way or stores that it never published, a block that
 * ends with copies under way, four warps of a group whose products differ: a message and abort() */
#ifndef RVX_CUDA_EMULATE_HOPPER_H
#define RVX_CUDA_EMULATE_HOPPER_H

#include "kernels/cuda/emulate.h"

#define RVX_CONSTANT

namespace simt
{
/* Counted from the first byte of a block's shared memory, which stands on 128. */
inline uint32_t shared_address(const void *p)
{
    return (uint32_t)(static_cast<const unsigned char *>(p) - block.shared);
}

struct TensorMap {
    const char *base;
    uint64_t length[5], pitch[5];
    uint32_t box[5];
    int element_bytes;
    Swizzle swizzle;
};

void gate_init(Gate *gate, uint32_t count);
void gates_ready();
void gate_arrive(Gate *gate);
void gate_arrive_expecting(Gate *gate, uint32_t bytes);
void gate_wait(Gate *gate, uint32_t parity);
void bulk_copy(void *to, const void *from, uint32_t bytes, Gate *gate);
void tensor_copy(void *to, const TensorMap *map, const int32_t (&at)[5], Gate *gate);
void store_shared(void *to, const uint32_t (&words)[4]);
void publish();
int uniform(int v, RVX_LINE);
void products_begin(RVX_LINE);
void products_commit(RVX_LINE);
void products_wait_until(size_t left, int line);
void multiply_columns(float *d, int columns, uint64_t a, uint64_t b, int line);

/* Uses of d pass a compiler by as they stand: d is memory here. */
template <int count> inline void settle(float (&)[count]) {}

template <int left> inline void products_wait(RVX_LINE) { products_wait_until(left, line); }
template <int N> inline void multiply_tiles(float (&d)[N / 2], uint64_t a, uint64_t b, RVX_LINE)
{
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "columns of a product");
    multiply_columns(d, N, a, b, line);
}

/* The emulated device is one of sm_80, or of sm_90a where RVX_EMULATE_CAPABILITY is 9. */
bool hopper();
bool tensor_map(TensorMap *map, const void *base, int element_bytes, const uint64_t (&length)[5],
                const uint64_t (&pitch)[4], const uint32_t (&box)[5], Swizzle swizzle);
} // namespace simt

#endif
