/* See card.h. */
#include "bench/gpu/card.h"
#include "bench/gpu/cublas.h"
#include "bench/gpu/device.h"
#include "kernels/cuda/simt_hopper.h"

#include <algorithm>

namespace bench
{
Card card;

namespace
{
struct alignas(16) Words4 {
    uint32_t word[4];
};

RVX_GLOBAL void RVX_BOUNDS(THREADS) copy_kernel(Words4 *to, const Words4 *from, int64_t count)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS)
        to[i] = from[i];
}

/* Eight products under way in each warp. */
RVX_GLOBAL void RVX_BOUNDS(THREADS) multiply_kernel(float *sums, int repeats)
{
    float d[8][4] = {};
    uint32_t a[4];
    for (int i = 0; i < 4; i++)
        a[i] = simt::pack_bf16((float)threadIdx.x * 0.001f + (float)i, 1.0f - (float)i);
    for (int r = 0; r < repeats; r++)
#pragma unroll
        for (int k = 0; k < 8; k++)
            simt::multiply_bf16(d[k], a, a[k % 4], a[(k + 1) % 4]);
    float sum = 0;
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 4; i++)
            sum += d[k][i];
    sums[(int64_t)blockIdx.x * THREADS + threadIdx.x] = sum;
}

/* Products of four warps as correlate_stream.cu has them: groups of 8 channels lie in planes of
 * rows of 34 voxels, `shift` bytes beside addresses on 128. Two groups of four warps, each with
 * four sums; what is multiplied is zeros. */
enum {
    PRODUCT_ROW = 34 * 16,
    PRODUCT_PLANE = 18 * PRODUCT_ROW,
    PRODUCT_WEIGHT = 2 * PRODUCT_PLANE
};

template <int N>
RVX_GLOBAL void RVX_BOUNDS(THREADS, 1) product_kernel(float *sums, int repeats, int shift)
{
    RVX_SHARED(unsigned char, shared);
    for (int i = (int)threadIdx.x; i < (PRODUCT_WEIGHT + N * 32) / 16; i += THREADS)
        simt::store_shared(shared + 16 * i, {0, 0, 0, 0});
    simt::publish();
    simt::barrier();
    const uint32_t at = simt::shared_address(shared) + (uint32_t)shift;
    const uint64_t b = simt::matrix_at(at - (uint32_t)shift + PRODUCT_WEIGHT, 128, 256);
    float d[4][N / 2] = {};
    for (int r = 0; r < repeats; r++) {
        for (float(&sum)[N / 2] : d)
            simt::settle(sum);
        simt::products_begin();
#pragma unroll
        for (int k = 0; k < 16; k++)
            simt::multiply_tiles<N>(
                d[k % 4],
                simt::matrix_at(at + (uint32_t)(k / 4 * PRODUCT_ROW + k % 4 * 128), PRODUCT_PLANE,
                                PRODUCT_ROW),
                b);
        simt::products_commit();
        simt::products_wait<0>();
        for (float(&sum)[N / 2] : d)
            simt::settle(sum);
    }
    float sum = 0;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < N / 2; i++)
            sum += d[k][i];
    sums[(int64_t)blockIdx.x * THREADS + threadIdx.x] = sum;
}

template <int N> void measure_product(float *to, double (&rate)[2])
{
    enum { ROUNDS = 5 };
    const int repeats = (int)amount(2048, 1);
    double ms[ROUNDS];
    for (int shifted = 0; shifted < 2; shifted++) {
        for (double &m : ms)
            m = milliseconds(1, [&](int) {
                simt::launch(product_kernel<N>, dim3((unsigned)card.multiprocessors), THREADS,
                             PRODUCT_WEIGHT + N * 32, stream, to, repeats, 16 * shifted);
            });
        rate[shifted] = 2.0 * 64 * N * 16 * 16 * repeats * (THREADS / 128) * card.multiprocessors /
                        median(ms, ROUNDS) * 1e3;
    }
}
} // namespace

void measure_card()
{
    enum { ROUNDS = 9 };
    const int64_t bytes = amount((int64_t)1 << 30, 1 << 16);
    double ms[ROUNDS];
    device_describe(card.name, &card.multiprocessors, &card.l2_bytes);
    char *from = device_memory<char>(bytes), *to = device_memory<char>(bytes);
    randomise(from, bytes / 2, 1);
    for (double &m : ms)
        m = milliseconds(2, [&](int) {
            simt::launch(copy_kernel, dim3((unsigned)(card.multiprocessors * 32)), THREADS, 0,
                         stream, (Words4 *)to, (const Words4 *)from, bytes / 16);
        });
    card.copy_rate = 2.0 * (double)bytes / median(ms, ROUNDS) * 1e3;
    const int repeats = (int)amount(4096, 2), blocks = card.multiprocessors * 8;
    for (double &m : ms)
        m = milliseconds(1, [&](int) {
            simt::launch(multiply_kernel, dim3((unsigned)blocks), THREADS, 0, stream, (float *)to,
                         (int)repeats);
        });
    card.multiply_rate =
        2.0 * 16 * 8 * 16 * 8 * repeats * (THREADS / 32) * blocks / median(ms, ROUNDS) * 1e3;
    card.matrix_rate = card.multiply_rate;
    card.hopper = simt::hopper();
    if (card.hopper) {
        measure_product<24>((float *)to, card.product_rate[0]);
        measure_product<48>((float *)to, card.product_rate[1]);
        measure_product<72>((float *)to, card.product_rate[2]);
        measure_product<96>((float *)to, card.product_rate[3]);
    }
    const int64_t n = 8192; /* three matrices of 128 MiB */
    if (cublas_there()) {
        bool good = true;
        for (double &m : ms)
            m = milliseconds(2, [&](int) {
                good = cublas_product(to, from, from + n * n * 2, n, n, n) && good;
            });
        if (good)
            card.matrix_rate =
                std::max(card.matrix_rate, 2.0 * n * n * n / median(ms, ROUNDS) * 1e3);
    }
    device_free(from);
    device_free(to);
}
} // namespace bench
