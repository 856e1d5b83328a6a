/* The SIMT model on a CPU, for the kernels' own source: one fiber for each thread of a block, one
 * block at a time. Owns: the meaning of simt.h under g++. Test equipment: slow, strict, and as
 * unhelpful as a GPU may be:
 *   - shared memory begins as NaN, and ends at a page that cannot be touched
 *   - copy16_async poisons its destination and copies only when it is waited for
 *   - warps and blocks run in a pseudo-random order (RVX_EMULATE_SEED)
 *   - a collective that not all lanes reach, lanes at different collectives, a deadlock, a matrix
 *     row outside shared memory or not on 16 bytes: a message and abort()
 * It does not see races between plain loads and stores that no order of warps brings to light. */
#ifndef RVX_CUDA_EMULATE_H
#define RVX_CUDA_EMULATE_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#define RVX_DEVICE inline
#define RVX_BOTH inline
#define RVX_GLOBAL static
#define RVX_BOUNDS(...)
#define RVX_SHARED(type, name) type *const name = reinterpret_cast<type *>(simt::shared())
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace simt
{
typedef void *Stream;

enum State : uint8_t { READY, AT_COLLECTIVE, AT_BARRIER, DONE };
enum Collective : int {
    WARP_BARRIER,
    LOAD_MATRIX,
    LOAD_MATRIX_TRANSPOSED,
    MULTIPLY_BF16,
    MULTIPLY_TF32,
    SHUFFLE
};

struct Copy {
    void *to;
    const void *from;
    bool ok;
};

struct Fiber {
    void *stack_pointer;
    dim3 thread;
    int warp, lane;
    State state;
    std::vector<Copy> open;                   /* not committed yet */
    std::vector<std::vector<Copy>> committed; /* oldest first */
};

/* What the lanes of a warp bring to a collective, and take from it. */
struct Warp {
    uint32_t a[4][32], b[2][32];
    float d[4][32];
    uint64_t value[32], shuffled[32];
    const void *row[32];
    int arrived, kind;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    dim3 index, threads, grid;
    unsigned char *shared;
    size_t shared_bytes;
    int alive, at_barrier, current;
    void *host_stack_pointer;
    const std::function<void()> *body;
    uint64_t random;
};

/* Counted since the program began. */
struct Statistics {
    int64_t matrix_phases, matrix_wavefronts; /* equal where no two rows of a phase share a bank */
    int64_t blocks;
};
extern Statistics statistics;

extern Block *block; /* the one that runs */
inline Fiber &self() { return block->fibers[(size_t)block->current]; }
inline Warp &warp() { return block->warps[(size_t)self().warp]; }
inline unsigned char *shared() { return block->shared; }

[[noreturn]] void fail(const char *message);
void barrier();
/* The last of 32 lanes to arrive does the work for all. */
void collective(Collective kind, void (*work)(Warp &));
void run(dim3 grid, int threads, size_t shared_bytes, const std::function<void()> &body);
void check_row(const void *row);
void work_load_matrix(Warp &warp);
void work_load_matrix_transposed(Warp &warp);
void work_multiply_bf16(Warp &warp);
void work_multiply_tf32(Warp &warp);
void work_shuffle(Warp &warp);
void work_nothing(Warp &warp);

inline void warp_barrier() { collective(WARP_BARRIER, work_nothing); }

void copy16_async(void *to, const void *from, bool ok);
void copy_commit();
void copy_wait_until(size_t left);
template <int left> inline void copy_wait() { copy_wait_until(left); }

inline void load_matrix_x4(uint32_t (&r)[4], const void *row)
{
    check_row(row);
    Warp &w = warp();
    int lane = self().lane;
    w.row[lane] = row;
    collective(LOAD_MATRIX, work_load_matrix);
    for (int i = 0; i < 4; i++)
        r[i] = w.a[i][lane];
}

inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row)
{
    check_row(row);
    Warp &w = warp();
    int lane = self().lane;
    w.row[lane] = row;
    collective(LOAD_MATRIX_TRANSPOSED, work_load_matrix_transposed);
    for (int i = 0; i < 4; i++)
        r[i] = w.a[i][lane];
}

inline void multiply_fragments(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                               Collective kind, void (*work)(Warp &))
{
    Warp &w = warp();
    int lane = self().lane;
    for (int i = 0; i < 4; i++) {
        w.a[i][lane] = a[i];
        w.d[i][lane] = d[i];
    }
    w.b[0][lane] = b0;
    w.b[1][lane] = b1;
    collective(kind, work);
    for (int i = 0; i < 4; i++)
        d[i] = w.d[i][lane];
}

inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    multiply_fragments(d, a, b0, b1, MULTIPLY_BF16, work_multiply_bf16);
}

inline void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    multiply_fragments(d, a, b0, b1, MULTIPLY_TF32, work_multiply_tf32);
}

template <class T> inline T shuffle_xor(T v, int mask)
{
    static_assert(sizeof(T) <= 8, "a lane's value");
    Warp &w = warp();
    int lane = self().lane;
    memcpy(&w.value[lane], &v, sizeof v);
    collective(SHUFFLE, work_shuffle);
    memcpy(&v, &w.shuffled[lane ^ mask], sizeof v);
    return v;
}

inline float as_float(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

inline uint32_t as_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

inline uint32_t round_bf16(float v)
{
    uint32_t bits = as_bits(v);
    if (v != v)
        return 0x7FFF; /* what the instruction gives */
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

inline uint32_t pack_bf16(float low, float high)
{
    return round_bf16(low) | round_bf16(high) << 16;
}

/* To nearest, ties away from zero: 10 bits of mantissa stay. */
inline uint32_t to_tf32(float v)
{
    uint32_t bits = as_bits(v);
    return v != v ? 0x7FFFFFFFu : (bits + 0x1000u) & ~0x1FFFu;
}

/* The file is compiled without contraction, see the Makefile. */
inline float multiply(float a, float b) { return a * b; }
inline float add(float a, float b) { return a + b; }
inline float fused(float a, float b, float c) { return std::fmaf(a, b, c); }
inline int32_t round_even(float v)
{
    if (v != v)
        return 0;
    return v >= 2147483648.0f ? INT32_MAX : v < -2147483648.0f ? INT32_MIN : (int32_t)lrintf(v);
}
inline void count(int64_t *counter, int64_t n) { *counter += n; }

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, Stream,
            Arguments... arguments)
{
    run(grid, threads, shared_bytes, [&] { kernel(arguments...); });
}
} // namespace simt

#define threadIdx (simt::self().thread)
#define blockIdx (simt::block->index)
#define blockDim (simt::block->threads)
#define gridDim (simt::block->grid)

#endif
