/* The SIMT model on a CPU, for the kernels' own source: one fiber for each thread of a block, one
 * block at a time. Owns: the meaning of simt.h under g++. Test equipment: strict, and as unhelpful
 * as a GPU may be:
 *   - shared memory begins as NaN or as numbers far off, lies between pages that cannot be touched,
 *     and what is left of those pages is checked after each block
 *   - copy16_async poisons its destination and copies only when it is waited for
 *   - the order of blocks, of warps and of the lanes of a warp is pseudo-random; some blocks change
 *     warps at every chance, others run one as far as it goes
 *   - a collective or barrier that not all reach, lanes at different collectives, threads at
 *     different barriers, a thread that ends while its warp waits for it or with copies under way,
 * a matrix row outside shared memory or not on 16 bytes: a message and abort() RVX_EMULATE_SEED
 * chooses the order and what shared memory begins with. tests/cuda/test_simt.cu plants such bugs.
 * What no order of warps and blocks brings to light is not seen. */
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
typedef void *Stream; /* queue_emulated.h; null: everything runs at once */

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

/* What the lanes of a warp bring to a collective, and take from it; where its lanes are, a bit for
 * each, none for the one that runs. d[h] holds rows 8 h .. 8 h + 7 of 8 columns. */
struct Warp {
    uint32_t a[4][32], b[2][32];
    float d[2][64];
    uint64_t value[32], shuffled[32];
    const void *row[32];
    int kind, line;
    uint32_t ready, at_collective, at_barrier, done;
};

struct Fiber {
    void *stack_pointer; /* null: not begun */
    dim3 thread;
    int index, lane;
    Warp *warp;
    std::vector<Copy> copies; /* oldest first; done ones are dropped when all are */
    std::vector<size_t> ends; /* of committed groups, in `copies` */
    size_t copies_done, groups_done;
};

struct Block {
    dim3 index, threads, grid;
    unsigned char *shared;
    size_t shared_bytes;
};

/* Counted since the program began. */
struct Statistics {
    int64_t matrix_phases, matrix_wavefronts; /* equal where no two rows of a phase share a bank */
    int64_t blocks, switches;
};
extern Statistics statistics;

extern Block block; /* the one that runs */
extern Fiber *running;
inline Fiber &self() { return *running; }
inline Warp &warp() { return *running->warp; }
inline unsigned char *shared() { return block.shared; }

/* Where in the source a collective or barrier stands: copies of it that a compiler makes count as
 * one. */
#define RVX_LINE int line = __builtin_LINE()

[[noreturn]] void fail(const char *message);
void barrier(RVX_LINE);
/* The last of 32 lanes to arrive does the work for all. */
void collective(Collective kind, void (*work)(Warp &), int line);
void run(dim3 grid, int threads, size_t shared_bytes, void (*body)(void *), void *data);
void enqueue(Stream stream, std::function<void()> work);
void check_row(const void *row);
void work_load_matrix(Warp &warp);
void work_load_matrix_transposed(Warp &warp);
void work_multiply_bf16(Warp &warp);
void work_multiply_tf32(Warp &warp);
void work_shuffle(Warp &warp);
void work_nothing(Warp &warp);

inline void warp_barrier(RVX_LINE) { collective(WARP_BARRIER, work_nothing, line); }

void copy16_async(void *to, const void *from, bool ok);
void copy_commit();
void copy_wait_until(size_t left);
template <int left> inline void copy_wait() { copy_wait_until(left); }

inline void load_matrix_x4(uint32_t (&r)[4], const void *row, RVX_LINE)
{
    check_row(row);
    Warp &w = warp();
    int lane = self().lane;
    w.row[lane] = row;
    collective(LOAD_MATRIX, work_load_matrix, line);
    for (int i = 0; i < 4; i++)
        r[i] = w.a[i][lane];
}

inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row, RVX_LINE)
{
    check_row(row);
    Warp &w = warp();
    int lane = self().lane;
    w.row[lane] = row;
    collective(LOAD_MATRIX_TRANSPOSED, work_load_matrix_transposed, line);
    for (int i = 0; i < 4; i++)
        r[i] = w.a[i][lane];
}

inline void multiply_fragments(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                               Collective kind, void (*work)(Warp &), int line)
{
    Warp &w = warp();
    int lane = self().lane;
    for (int i = 0; i < 4; i++) {
        w.a[i][lane] = a[i];
        w.d[i / 2][2 * lane + i % 2] = d[i];
    }
    w.b[0][lane] = b0;
    w.b[1][lane] = b1;
    collective(kind, work, line);
    for (int i = 0; i < 4; i++)
        d[i] = w.d[i / 2][2 * lane + i % 2];
}

inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, RVX_LINE)
{
    multiply_fragments(d, a, b0, b1, MULTIPLY_BF16, work_multiply_bf16, line);
}

inline void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, RVX_LINE)
{
    multiply_fragments(d, a, b0, b1, MULTIPLY_TF32, work_multiply_tf32, line);
}

template <class T> inline T shuffle_xor(T v, int mask, RVX_LINE)
{
    static_assert(sizeof(T) <= 8, "a lane's value");
    Warp &w = warp();
    int lane = self().lane;
    memcpy(&w.value[lane], &v, sizeof v);
    collective(SHUFFLE, work_shuffle, line);
    memcpy(&v, &w.shuffled[lane ^ mask], sizeof v);
    return v;
}

inline int opaque(int v) { return v; }

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
inline double multiply(double a, double b) { return a * b; }
inline double add(double a, double b) { return a + b; }
inline double fused(double a, double b, double c) { return std::fma(a, b, c); }
inline int32_t round_even(float v)
{
    if (v != v)
        return 0;
    return v >= 2147483648.0f ? INT32_MAX : v < -2147483648.0f ? INT32_MIN : (int32_t)lrintf(v);
}
inline void count(int64_t *counter, int64_t n) { *counter += n; }

template <class F> void call_body(void *body) { (*static_cast<F *>(body))(); }

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes,
            Stream stream, Arguments... arguments)
{
    enqueue(stream, [=] {
        auto body = [&] { kernel(arguments...); };
        run(grid, threads, shared_bytes, call_body<decltype(body)>, &body);
    });
}
} // namespace simt

#define threadIdx (simt::running->thread)
#define blockIdx (simt::block.index)
#define blockDim (simt::block.threads)
#define gridDim (simt::block.grid)

#endif
