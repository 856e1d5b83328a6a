/* The emulation of kernels/cuda/emulate.h finds what it promises to find. A small fused convolution
 * (halo tile, asynchronous copies, matrices, sums through shuffles and shared memory) is right
 * under every seed; the same with one planted bug is stopped or wrong, each in a process of its
 * own. The words for matrices equal plain products. */
#include "kernels/cuda/simt.h"
#include "tests/cuda/apart.h"
#include "tests/cuda/operands.h"

namespace
{
enum Bug {
    NONE,
    NO_BARRIER_AFTER_COPY,
    NO_BARRIER_BEFORE_REUSE,
    NO_BARRIER_BEFORE_TOTAL,
    NO_WARP_BARRIER,
    NO_WAIT,
    LATE_WAIT,
    WAIT_FOR_TOO_FEW,
    NO_COMMIT,
    NO_WAIT_AT_END,
    DIVERGENT_BARRIER,
    OTHER_BARRIER,
    OTHER_COLLECTIVE,
    OTHER_SHUFFLE,
    SKIPPED_LANE,
    ENDED_LANE,
    WRONG_OFFSET,
    OUTSIDE,
    FAR_OUTSIDE,
    WRITTEN_BESIDE,
    MISALIGNED_ROW,
    MISALIGNED_COPY,
    MISALIGNED_LOAD,
    WIDE_SHIFT,
    NOT_INITIALISED,
    NO_SWIZZLE
};

/* ---- the subject ------------------------------------------------------------------------------
 * 3 x 3 x 3, 16 to 16 channels, bf16, stride 1, zero padding; sums of what is stored for each
 * channel and block. A block has TZ x TY x TX voxels, a warp one z of it. */

enum {
    C = 16,
    TZ = 2,
    TY = 2,
    TX = 16,
    HZ = TZ + 2,
    HY = TY + 2,
    HX = TX + 2,
    THREADS = TZ * 32,
    VOXEL_BYTES = 2 * C,
    HALO_BYTES = HZ * HY * HX * VOXEL_BYTES,
    WEIGHT_BYTES = 27 * C * VOXEL_BYTES, /* [tap][out][in] */
    SHARED_BYTES = HALO_BYTES + WEIGHT_BYTES + 8
};

struct Conv {
    const uint16_t *x, *weight;
    uint16_t *y;
    float *sums; /* [block][C] */
    int d, h, w;
};

/* The two halves of a row of 32 bytes change places in every other group of four rows, so that
 * eight rows that follow each other share no bank. */
template <Bug bug> RVX_DEVICE int row_at(int row, int half)
{
    return row * VOXEL_BYTES + ((half ^ (bug == NO_SWIZZLE ? 0 : row >> 2 & 1)) << 4);
}

template <Bug bug> RVX_DEVICE void load_tile(const Conv &p, unsigned char *tile)
{
    const int x0 = (int)blockIdx.x * TX - 1, y0 = (int)blockIdx.y * TY - 1,
              z0 = (int)blockIdx.z * TZ - 1;
    for (int i = (int)threadIdx.x; i < HZ * HY * HX * 2; i += THREADS) {
        const int v = i / 2, half = i % 2;
        const int x = x0 + v % HX, y = y0 + v / HX % HY, z = z0 + v / (HX * HY);
        const bool ok = x >= 0 && x < p.w && y >= 0 && y < p.h && z >= 0 && z < p.d;
        const int64_t from = ok ? (((int64_t)z * p.h + y) * p.w + x) * C + half * 8 : 0;
        unsigned char *to = tile + row_at<bug>(v, half);
        if (bug == FAR_OUTSIDE)
            to += 1 << 14;
        simt::copy16_async(to + (bug == MISALIGNED_COPY ? 2 : 0), p.x + from, ok);
    }
    simt::copy_commit();
    for (int i = (int)threadIdx.x; i < WEIGHT_BYTES / 16; i += THREADS)
        simt::copy16_async(tile + HALO_BYTES + row_at<bug>(i / 2, i % 2), p.weight + i * 8, true);
    if (bug != NO_COMMIT)
        simt::copy_commit();
}

template <Bug bug>
RVX_DEVICE void multiply_tile(const unsigned char *tile, int warp, int lane, float (&sum)[TY][2][4])
{
    for (int tap = 0; tap < 27; tap++) {
        const int dz = tap / 9, dy = tap / 3 % 3, dx = tap % 3;
        uint32_t a[4], b[4];
        const int row = tap * C + lane % 8 + lane / 16 * 8;
        simt::load_matrix_x4(b, tile + HALO_BYTES + row_at<bug>(row, lane >> 3 & 1));
        for (int y = 0; y < TY; y++) {
            int v = ((warp + dz) * HY + y + dy) * HX + dx + lane % 16;
            if (bug == WRONG_OFFSET && tap == 26)
                v -= HX;
            if (bug == OUTSIDE && tap == 26)
                v += (HALO_BYTES + WEIGHT_BYTES) / VOXEL_BYTES;
            const unsigned char *from = tile + row_at<bug>(v, lane / 16);
            if (bug == OTHER_COLLECTIVE && tap == 13 && lane == 9)
                sum[0][0][0] += simt::shuffle_xor(0.0f, 1);
            simt::load_matrix_x4(a, from + (bug == MISALIGNED_ROW && tap == 5 ? 8 : 0));
            simt::multiply_bf16(sum[y][0], a, b[0], b[1]);
            simt::multiply_bf16(sum[y][1], a, b[2], b[3]);
        }
    }
}

/* Stores the lane's results and adds up what it stored: total[n][e] is of channel 8 n + 2 (lane %
 * 4)
 * + e. */
RVX_DEVICE void store_tile(const Conv &p, int warp, int lane, const float (&sum)[TY][2][4],
                           float (&total)[2][2])
{
    for (int y = 0; y < TY; y++)
        for (int n = 0; n < 2; n++)
            for (int half = 0; half < 2; half++) {
                const int x = (int)blockIdx.x * TX + lane / 4 + 8 * half;
                const int gy = (int)blockIdx.y * TY + y, z = (int)blockIdx.z * TZ + warp;
                if (x >= p.w || gy >= p.h || z >= p.d)
                    continue;
                const uint32_t pair = simt::pack_bf16(sum[y][n][2 * half], sum[y][n][2 * half + 1]);
                const int64_t at = (((int64_t)z * p.h + gy) * p.w + x) * C + n * 8 + 2 * (lane % 4);
                memcpy(p.y + at, &pair, sizeof pair);
                total[n][0] += simt::as_float(pair << 16);
                total[n][1] += simt::as_float(pair >> 16 << 16);
            }
}

template <Bug bug> RVX_DEVICE float add_lanes(float v, int lane)
{
    for (int mask = 4; mask < 32; mask *= 2) {
        if (bug == SKIPPED_LANE && mask == 8 && lane == 21)
            continue;
        if (bug == OTHER_SHUFFLE && lane < 16)
            v += simt::shuffle_xor(v, mask);
        else
            v += simt::shuffle_xor(v, mask);
    }
    return v;
}

template <Bug bug> RVX_GLOBAL void RVX_BOUNDS(THREADS) conv_kernel(Conv p)
{
    RVX_SHARED(unsigned char, tile);
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    load_tile<bug>(p, tile);
    if (bug == WAIT_FOR_TOO_FEW)
        simt::copy_wait<1>();
    else if (bug != NO_WAIT && bug != LATE_WAIT)
        simt::copy_wait<0>();
    if (bug == DIVERGENT_BARRIER ? lane != 7
                                 : bug != NO_BARRIER_AFTER_COPY && (bug != OTHER_BARRIER || warp))
        simt::barrier();
    if (bug == OTHER_BARRIER && !warp)
        simt::barrier();
    if (bug == ENDED_LANE && lane == 30)
        return;
    float sum[TY][2][4] = {}, total[2][2] = {};
    multiply_tile<bug>(tile, warp, lane, sum);
    if (bug == LATE_WAIT || bug == WAIT_FOR_TOO_FEW)
        simt::copy_wait<0>();
    store_tile(p, warp, lane, sum, total);
    if (bug != NO_BARRIER_BEFORE_REUSE)
        simt::barrier();
    float *const partial = reinterpret_cast<float *>(tile);
    for (int n = 0; n < 2; n++)
        for (int e = 0; e < 2; e++) {
            total[n][e] = add_lanes<bug>(total[n][e], lane);
            const int channel = n * 8 + 2 * (lane % 4) + e;
            if (lane < 4 && (bug != NOT_INITIALISED || channel != 11 || warp))
                partial[warp * C + channel] = total[n][e];
        }
    if (bug == WRITTEN_BESIDE && threadIdx.x == 40)
        tile[SHARED_BYTES + 3] = 0;
    if (bug == MISALIGNED_LOAD && threadIdx.x == 40)
        p.sums[0] = *reinterpret_cast<const float *>(p.x + 1);
    if (bug == WIDE_SHIFT && threadIdx.x == 40)
        p.sums[0] = (float)(1u << (threadIdx.x - 8 + blockIdx.x));
    if (bug == NO_WAIT_AT_END)
        simt::copy16_async(tile + 1024, p.x, true);
    if (bug != NO_BARRIER_BEFORE_TOTAL)
        simt::barrier();
    if (threadIdx.x < C) {
        float of_block = 0;
        for (int w = 0; w < TZ; w++)
            of_block += partial[w * C + (int)threadIdx.x];
        const int64_t b = ((int64_t)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        p.sums[b * C + threadIdx.x] = of_block;
    }
}

/* Lanes of one warp hand numbers on through shared memory. */
template <Bug bug> RVX_GLOBAL void RVX_BOUNDS(32) hand_on_kernel(int *to)
{
    RVX_SHARED(int, box);
    const int lane = (int)threadIdx.x;
    for (int round = 0; round < 4; round++) {
        box[lane] = 100 * round + lane;
        if (bug != NO_WARP_BARRIER)
            simt::warp_barrier();
        to[round * 32 + lane] = box[(lane + 1) % 32];
        simt::warp_barrier();
    }
}

/* ---- right or wrong ---------------------------------------------------------------------------
 */

double expected(const Conv &p, int z, int y, int x, int out)
{
    double sum = 0;
    for (int tap = 0; tap < 27; tap++) {
        const int iz = z + tap / 9 - 1, iy = y + tap / 3 % 3 - 1, ix = x + tap % 3 - 1;
        if (iz < 0 || iz >= p.d || iy < 0 || iy >= p.h || ix < 0 || ix >= p.w)
            continue;
        const uint16_t *from = p.x + (((int64_t)iz * p.h + iy) * p.w + ix) * C;
        for (int in = 0; in < C; in++)
            sum += value_of(from[in]) * value_of(p.weight[(tap * C + out) * C + in]);
    }
    return sum;
}

template <Bug bug> int run_conv()
{
    Conv p = {};
    p.d = 5;
    p.h = 7;
    p.w = 21;
    const int64_t count = (int64_t)p.d * p.h * p.w * C;
    const dim3 grid((unsigned)(p.w + TX - 1) / TX, (unsigned)(p.h + TY - 1) / TY,
                    (unsigned)(p.d + TZ - 1) / TZ);
    const int blocks = (int)(grid.x * grid.y * grid.z);
    uint16_t *x = array_of<uint16_t>(count), *weight = array_of<uint16_t>(27 * C * C);
    for (int i = 0; i < count; i++)
        x[i] = some_bf16(i);
    for (int i = 0; i < 27 * C * C; i++)
        weight[i] = some_bf16(i + 77);
    p.x = x;
    p.weight = weight;
    p.y = array_of<uint16_t>(count);
    p.sums = array_of<float>(blocks * C);
    simt::launch(conv_kernel<bug>, grid, THREADS, SHARED_BYTES, nullptr, p);
    double error = 0, total[C] = {};
    for (int64_t i = 0; i < count; i++) {
        const int64_t v = i / C;
        const double want =
            expected(p, (int)(v / p.w / p.h), (int)(v / p.w % p.h), (int)(v % p.w), (int)(i % C));
        const double off = fabs(value_of(p.y[i]) - want) / (fabs(want) + 4);
        error = worse(error, off);
        total[i % C] += value_of(p.y[i]);
    }
    for (int i = 0; i < blocks * C; i++)
        total[i % C] -= (double)p.sums[i];
    for (int c = 0; c < C; c++)
        error = worse(error, fabs(total[c]) * 0x1p-2);
    if (!(error < 0x1p-8))
        return WRONG;
    const simt::Statistics &s = simt::statistics;
    return s.matrix_wavefronts > s.matrix_phases ? OTHER : RIGHT;
}

template <Bug bug> int run_hand_on()
{
    int to[128], wrong = 0;
    simt::launch(hand_on_kernel<bug>, dim3(1), 32, 32 * sizeof(int), nullptr, &to[0]);
    for (int i = 0; i < 128; i++)
        wrong += to[i] != 100 * (i / 32) + (i + 1) % 32;
    return wrong ? WRONG : RIGHT;
}

/* ---- bugs ------------------------------------------------------------------------------------
 */

void bugs_check()
{
    expect(run_conv<NO_BARRIER_AFTER_COPY>, "no barrier after the copies", SEEDS, nullptr);
    expect(run_conv<NO_BARRIER_BEFORE_REUSE>, "no barrier before shared memory is used again",
           SEEDS / 2, nullptr);
    expect(run_conv<NO_BARRIER_BEFORE_TOTAL>, "no barrier before the block's total", SEEDS,
           nullptr);
    expect(run_hand_on<NO_WARP_BARRIER>, "no barrier within a warp", SEEDS, nullptr);
    expect(run_conv<NO_WAIT>, "copies not waited for", SEEDS, "never waited for");
    expect(run_conv<LATE_WAIT>, "copies waited for after their use", SEEDS, nullptr);
    expect(run_conv<WAIT_FOR_TOO_FEW>, "one group too few waited for", SEEDS, nullptr);
    expect(run_conv<NO_COMMIT>, "copies not committed", SEEDS, "never waited for");
    expect(run_conv<NO_WAIT_AT_END>, "copies left at the end", SEEDS, "never waited for");
    expect(run_conv<DIVERGENT_BARRIER>, "a barrier that one lane passes by", SEEDS, "barrier");
    expect(run_conv<OTHER_BARRIER>, "a barrier for each warp", SEEDS, "different barriers");
    expect(run_conv<OTHER_COLLECTIVE>, "a lane at another collective", SEEDS, "different coll");
    expect(run_conv<OTHER_SHUFFLE>, "lanes at two shuffles", SEEDS, "different collectives");
    expect(run_conv<SKIPPED_LANE>, "a lane that takes no part in a shuffle", SEEDS, "");
    expect(run_conv<ENDED_LANE>, "a lane that ends before a collective", SEEDS, "collective");
    expect(run_conv<WRONG_OFFSET>, "a wrong offset into the tile", SEEDS, nullptr);
    expect(run_conv<OUTSIDE>, "a row outside shared memory", SEEDS, "outside shared memory");
    expect(run_conv<FAR_OUTSIDE>, "a copy outside shared memory", SEEDS, "outside shared memory");
    expect(run_conv<WRITTEN_BESIDE>, "a write beside shared memory", SEEDS, "beside shared");
    expect(run_conv<MISALIGNED_ROW>, "a matrix row on 8 bytes", SEEDS, "not on 16 bytes");
    expect(run_conv<MISALIGNED_COPY>, "a copy to 2 bytes further on", SEEDS, "not to 16 bytes");
    expect(run_conv<MISALIGNED_LOAD>, "a load of 4 bytes from an address on 2", SEEDS, "");
    expect(run_conv<WIDE_SHIFT>, "a shift by all 32 bits", SEEDS, "");
    expect(run_conv<NOT_INITIALISED>, "a sum of what nobody wrote", SEEDS, nullptr);
}

void unbroken_check()
{
    for (int seed = 0; seed < SEEDS; seed++) {
        Result r = run_apart(run_conv<NONE>, seed);
        tap_ok(!r.stopped && r.verdict == RIGHT, "the convolution is right, seed %d%s", seed,
               r.message);
        r = run_apart(run_hand_on<NONE>, seed);
        tap_ok(!r.stopped && r.verdict == RIGHT, "and numbers are handed on%s", r.message);
    }
    const Result r = run_apart(run_conv<NO_SWIZZLE>, 1);
    tap_ok(!r.stopped && r.verdict == OTHER, "without its swizzle rows share banks");
}

/* ---- words for matrices -----------------------------------------------------------------------
 */

/* m[matrix][row][column] = 100 matrix + 10 row + column; out[word][lane]. */
RVX_GLOBAL void matrix_kernel(uint32_t *out, bool transposed)
{
    RVX_SHARED(uint16_t, m);
    const int lane = (int)threadIdx.x;
    for (int i = lane; i < 256; i += 32)
        m[i] = (uint16_t)(100 * (i / 64) + 10 * (i / 8 % 8) + i % 8);
    simt::warp_barrier();
    uint32_t r[4];
    if (transposed)
        simt::load_matrix_x4_transposed(r, m + lane * 8);
    else
        simt::load_matrix_x4(r, m + lane * 8);
    for (int i = 0; i < 4; i++)
        out[i * 32 + lane] = r[i];
}

void matrix_check(bool transposed)
{
    uint32_t out[128];
    int wrong = 0;
    simt::launch(matrix_kernel, dim3(1), 32, 512, nullptr, &out[0], transposed);
    for (int i = 0; i < 256; i++) {
        const int lane = i / 2 % 32, row = lane / 4, column = lane % 4 * 2 + i % 2;
        const uint32_t want =
            (uint32_t)(100 * (i / 64) + (transposed ? 10 * column + row : 10 * row + column));
        wrong += (out[i / 2] >> (16 * (i % 2)) & 0xFFFF) != want;
    }
    tap_ok(wrong == 0, "matrices are loaded%s", transposed ? " transposed" : "");
}

struct Product {
    const float *a, *b; /* [16][depth], [depth][8] */
    float *d;           /* [16][8], added to */
};

/* Fragments are put together from the tables of the PTX ISA, element by element. */
template <int depth> RVX_GLOBAL void product_kernel(Product p)
{
    const int lane = (int)threadIdx.x, group = lane / 4, member = lane % 4;
    uint32_t a[4], b[2];
    float d[4];
    for (int i = 0; i < 4; i++) {
        const int row = group + (i % 2) * 8;
        if (depth == 16) {
            const float *from = p.a + row * depth + member * 2 + i / 2 * 8;
            a[i] = simt::pack_bf16(from[0], from[1]);
        } else {
            a[i] = simt::to_tf32(p.a[row * depth + member + i / 2 * 4]);
        }
        d[i] = p.d[(group + i / 2 * 8) * 8 + member * 2 + i % 2];
    }
    for (int i = 0; i < 2; i++) {
        if (depth == 16) {
            const float *from = p.b + (member * 2 + i * 8) * 8 + group;
            b[i] = simt::pack_bf16(from[0], from[8]);
        } else {
            b[i] = simt::to_tf32(p.b[(member + i * 4) * 8 + group]);
        }
    }
    if (depth == 16)
        simt::multiply_bf16(d, a, b[0], b[1]);
    else
        simt::multiply_tf32(d, a, b[0], b[1]);
    for (int i = 0; i < 4; i++)
        p.d[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = d[i];
}

template <int depth> void product_check(const char *name)
{
    float a[16 * depth], b[depth * 8], d[128];
    double worst = 0;
    for (int i = 0; i < 16 * depth; i++)
        a[i] = (float)(i * 37 % 101 - 50) / 64; /* exact in either type */
    for (int i = 0; i < depth * 8; i++)
        b[i] = (float)(i * 29 % 97 - 48) / 64;
    for (int i = 0; i < 128; i++)
        d[i] = (float)i;
    Product p = {a, b, d};
    simt::launch(product_kernel<depth>, dim3(1), 32, 0, nullptr, p);
    for (int i = 0; i < 128; i++) {
        double want = i;
        for (int k = 0; k < depth; k++)
            want += (double)a[i / 8 * depth + k] * (double)b[k * 8 + i % 8];
        worst = fmax(worst, fabs(want - (double)d[i]));
    }
    tap_ok(worst < 1e-4, "%s equals the plain product", name);
}

void numbers_check()
{
    tap_ok(simt::pack_bf16(1.0f, -2.0f) == 0xC0003F80u, "the first of a pair is the lower half");
    tap_ok(simt::round_bf16(simt::as_float(0x3F808000u)) == 0x3F80u &&
               simt::round_bf16(simt::as_float(0x3F818000u)) == 0x3F82u,
           "bf16: ties go to even");
    tap_ok(simt::to_tf32(simt::as_float(0x3F801000u)) == 0x3F802000u &&
               simt::to_tf32(simt::as_float(0x3F800FFFu)) == 0x3F800000u,
           "tf32: ties go away from zero");
    tap_ok(simt::round_even(2.5f) == 2 && simt::round_even(-3.5f) == -4 &&
               simt::round_even(3e9f) == INT32_MAX && simt::round_even(NAN) == 0,
           "integers: ties to even, clamped, NaN is 0");
}
} // namespace

/* What forks comes first: a child must be the one that makes the first launch. */
int main()
{
    unbroken_check();
    bugs_check();
    matrix_check(false);
    matrix_check(true);
    product_check<16>("multiply_bf16");
    product_check<8>("multiply_tf32");
    numbers_check();
    return tap_done();
}
