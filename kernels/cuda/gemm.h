/* Matrix products of a tile in shared memory, as the general convolution kernels have them. Owns:
 * the register blocks of a block of THREADS threads for 128 rows and COLUMNS columns, on tensor
 * cores (bf16, tf32) or as f32 multiply-adds, and how operands are rounded.
 *
 * A block of `Number` says for one type of operand: Element, STEP (products of a stage) and two
 * orders of the operands in shared memory,
 *   by groups: [product / 8][row][product % 8]    (ROW_PITCH rows: 16-byte stores share no bank)
 *   by products: [product][row]                   (COLUMN_PAD more elements: nor do matrix loads)
 * Sums run over products in their order, whatever the columns of a tile. */
#ifndef RVX_CUDA_GEMM_H
#define RVX_CUDA_GEMM_H

#include "kernels/cuda/conv_sizes.h"
#include "kernels/cuda/view.h"

namespace rvx
{
enum { THREADS = 256, ROWS = RVX__CUDA_CONV_ROWS, GROUP = RVX__CUDA_CONV_GROUP };
enum { ROW_PITCH = ROWS + 2, PAD = 8 };

/* How operands reach shared memory: one element at a time, 8 at a time, or copied as they are. */
enum Access : int32_t { ONE, EIGHT, DIRECT };

RVX_DEVICE int lane() { return (int)threadIdx.x % 32; }
RVX_DEVICE int warp() { return (int)threadIdx.x / 32; }

/* Sums on tensor cores: warps stand in WARP_ROWS x WARP_COLUMNS; a warp has M x N products of
 * 16 x 8. */
template <int COLUMNS> struct TensorCores {
    enum { WARP_COLUMNS = COLUMNS >= 64 ? 2 : 1, WARP_ROWS = 8 / WARP_COLUMNS };
    enum { M = ROWS / WARP_ROWS / 16, N = COLUMNS / WARP_COLUMNS / 8 };
    float sum[M][N][4];

    RVX_DEVICE static int row() { return warp() / WARP_COLUMNS * M * 16; }
    RVX_DEVICE static int column() { return warp() % WARP_COLUMNS * N * 8; }
    RVX_DEVICE void clear()
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[m][n][i] = 0.0f;
    }

    /* Calls to(row, column, sum) for every sum of this thread. */
    template <class To> RVX_DEVICE void each(const To &to) const
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    to(row() + m * 16 + lane() / 4 + i / 2 * 8,
                       column() + n * 8 + lane() % 4 * 2 + i % 2, sum[m][n][i]);
    }
};

/* bf16 */
template <int COLUMNS> struct Bf16 : TensorCores<COLUMNS> {
    typedef uint16_t Element;
    typedef TensorCores<COLUMNS> Cores;
    enum { CORES = 1, STEP = 32, M = Cores::M, N = Cores::N };
    using Cores::column;
    using Cores::row;
    using Cores::sum;

    RVX_DEVICE void products(const uint32_t (&a)[M][4], const uint32_t (&b)[N / 2][4])
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
                simt::multiply_bf16(sum[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
    }

    RVX_DEVICE void add_groups(const Element *a_tile, const Element *b_tile)
    {
        const int matrix = lane() / 8, r = lane() % 8;
#pragma unroll
        for (int k = 0; k < STEP / GROUP; k += 2) {
            uint32_t a[M][4], b[N / 2][4];
#pragma unroll
            for (int m = 0; m < M; m++)
                simt::load_matrix_x4(a[m], a_tile + ((k + matrix / 2) * ROW_PITCH + row() + m * 16 +
                                                     matrix % 2 * 8 + r) *
                                                        GROUP);
#pragma unroll
            for (int n = 0; n < N / 2; n++)
                simt::load_matrix_x4(b[n], b_tile + ((k + matrix % 2) * COLUMNS + column() +
                                                     n * 16 + matrix / 2 * 8 + r) *
                                                        GROUP);
            products(a, b);
        }
    }

    RVX_DEVICE void add_products(const Element *a_tile, const Element *b_tile)
    {
        const int matrix = lane() / 8, r = lane() % 8;
#pragma unroll
        for (int k = 0; k < STEP; k += 16) {
            uint32_t a[M][4], b[N / 2][4];
#pragma unroll
            for (int m = 0; m < M; m++)
                simt::load_matrix_x4_transposed(a[m], a_tile +
                                                          (k + matrix / 2 * 8 + r) * (ROWS + PAD) +
                                                          row() + m * 16 + matrix % 2 * 8);
#pragma unroll
            for (int n = 0; n < N / 2; n++)
                simt::load_matrix_x4_transposed(
                    b[n], b_tile + (k + matrix % 2 * 8 + r) * (COLUMNS + PAD) + column() + n * 16 +
                              matrix / 2 * 8);
            products(a, b);
        }
    }
};

/* f32 numbers rounded to tf32 as they are multiplied; operands stand as for F32. */
template <int COLUMNS> struct Tf32 : TensorCores<COLUMNS> {
    typedef float Element;
    typedef TensorCores<COLUMNS> Cores;
    enum { CORES = 1, STEP = 16, M = Cores::M, N = Cores::N };
    using Cores::column;
    using Cores::row;
    using Cores::sum;

    /* a(row, product), b(product, column): 8 products. */
    template <class A, class B> RVX_DEVICE void add(const A &a, const B &b)
    {
        const int member = lane() % 4, group = lane() / 4;
        uint32_t right[N][2];
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 2; i++)
                right[n][i] = simt::to_tf32(b(member + i * 4, column() + n * 8 + group));
#pragma unroll
        for (int m = 0; m < M; m++) {
            uint32_t left[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                left[i] = simt::to_tf32(a(row() + m * 16 + group + i % 2 * 8, member + i / 2 * 4));
#pragma unroll
            for (int n = 0; n < N; n++)
                simt::multiply_tf32(sum[m][n], left, right[n][0], right[n][1]);
        }
    }

    RVX_DEVICE void add_groups(const Element *a_tile, const Element *b_tile)
    {
#pragma unroll
        for (int k = 0; k < STEP / GROUP; k++)
            add([&](int r, int p) { return a_tile[(k * ROW_PITCH + r) * GROUP + p]; },
                [&](int p, int c) { return b_tile[(k * COLUMNS + c) * GROUP + p]; });
    }

    RVX_DEVICE void add_products(const Element *a_tile, const Element *b_tile)
    {
#pragma unroll
        for (int k = 0; k < STEP; k += GROUP)
            add([&](int r, int p) { return a_tile[(k + p) * (ROWS + PAD) + r]; },
                [&](int p, int c) { return b_tile[(k + p) * (COLUMNS + PAD) + c]; });
    }
};

/* f32: a thread has 8 rows and COLUMNS / 16 columns, 16 apart. */
template <int COLUMNS> struct F32 {
    typedef float Element;
    enum { CORES = 0, STEP = 16, M = 8, N = COLUMNS / 16 };
    float sum[M][N];

    RVX_DEVICE static int row() { return (int)threadIdx.x / 16 * M; }
    RVX_DEVICE static int column() { return (int)threadIdx.x % 16; }
    RVX_DEVICE void clear()
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
                sum[m][n] = 0.0f;
    }

    RVX_DEVICE void add_groups(const Element *a_tile, const Element *b_tile)
    {
#pragma unroll
        for (int k = 0; k < STEP; k += 4) {
            Words4 a[M], b[N];
#pragma unroll
            for (int m = 0; m < M; m++)
                a[m] = *reinterpret_cast<const Words4 *>(
                    a_tile + (k / GROUP * ROW_PITCH + row() + m) * GROUP + k % GROUP);
#pragma unroll
            for (int n = 0; n < N; n++)
                b[n] = *reinterpret_cast<const Words4 *>(
                    b_tile + (k / GROUP * COLUMNS + column() + 16 * n) * GROUP + k % GROUP);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int n = 0; n < N; n++)
                        sum[m][n] = simt::fused(simt::as_float(a[m].word[i]),
                                                simt::as_float(b[n].word[i]), sum[m][n]);
        }
    }

    RVX_DEVICE void add_products(const Element *a_tile, const Element *b_tile)
    {
#pragma unroll 4
        for (int k = 0; k < STEP; k++) {
            float a[M], b[N];
#pragma unroll
            for (int m = 0; m < M; m++)
                a[m] = a_tile[k * (ROWS + PAD) + row() + m];
#pragma unroll
            for (int n = 0; n < N; n++)
                b[n] = b_tile[k * (COLUMNS + PAD) + column() + 16 * n];
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < N; n++)
                    sum[m][n] = simt::fused(a[m], b[n], sum[m][n]);
        }
    }

    template <class To> RVX_DEVICE void each(const To &to) const
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
                to(row() + m, column() + 16 * n, sum[m][n]);
    }
};

/* ---- operands in shared memory ----------------------------------------------------------------
 */

RVX_DEVICE void put_element(uint16_t *to, float v) { *to = (uint16_t)simt::pack_bf16(v, v); }
RVX_DEVICE void put_element(float *to, float v) { *to = v; }
RVX_DEVICE void put_group(uint16_t *to, const float (&v)[GROUP])
{
    Words4 words;
#pragma unroll
    for (int i = 0; i < 4; i++)
        words.word[i] = simt::pack_bf16(v[2 * i], v[2 * i + 1]);
    *reinterpret_cast<Words4 *>(to) = words;
}
RVX_DEVICE void put_group(float *to, const float (&v)[GROUP])
{
#pragma unroll
    for (int i = 0; i < GROUP; i += 4) {
        Words4 words;
#pragma unroll
        for (int j = 0; j < 4; j++)
            words.word[j] = simt::as_bits(v[i + j]);
        *reinterpret_cast<Words4 *>(to + i) = words;
    }
}
RVX_DEVICE float element_of(uint16_t v) { return bf16_to_float(v); }
RVX_DEVICE float element_of(float v) { return v; }

/* Copies 8 elements, later; zeros where !ok. */
template <class Element> RVX_DEVICE void copy_group(Element *to, const Element *from, bool ok)
{
#pragma unroll
    for (int i = 0; i < GROUP * (int)sizeof(Element) / 16; i++)
        simt::copy16_async(to + i * 16 / (int)sizeof(Element),
                           from + (ok ? i * 16 / (int)sizeof(Element) : 0), ok);
}

/* Elements of `t` from i on, folded, rounded, into shared memory; zeros where !ok. */
template <class Element>
RVX_DEVICE void bring_group(Element *to, const View &t, int64_t i, const Fold &f, int32_t n,
                            int32_t c, bool ok, Access access)
{
    if (access == DIRECT) {
        const Element *from = reinterpret_cast<const Element *>(t.data);
        copy_group(to, ok ? from + i : from, ok);
        return;
    }
    float v[GROUP] = {};
    if (ok) {
        load(t, i, v);
        fold(f, n, c, v);
    }
    put_group(to, v);
}
template <class Element>
RVX_DEVICE void bring_element(Element *to, const View &t, int64_t i, const Fold &f, int32_t n,
                              int32_t c, bool ok)
{
    float v[1] = {0.0f};
    if (ok) {
        load(t, i, v);
        fold(f, n, c, v);
    }
    put_element(to, v[0]);
}

/* The fastest access: the bits are the same with all. */
inline Access access_of(const rvx_tensor &t, const rvx_tensor &folded_by, bool bf16)
{
    if (!wide(t))
        return ONE;
    return t.dtype == (bf16 ? RVX_BF16 : RVX_F32) && !folded_by.data ? DIRECT : EIGHT;
}
} // namespace rvx

#endif
