/* The emulation of kernels/cuda/emulate_hopper.h finds what it promises to find. A ring of stages
 * (tensor copy, transformation, product, each waiting for the other at gates) is right under every
 * seed; the same with one planted bug is stopped or wrong. Boxes and swizzled operands equal plain
 * loops. */
#include "kernels/cuda/simt_hopper.h"
#include "tests/cuda/apart.h"
#include "tests/cuda/operands.h"

namespace
{
enum Bug {
    NONE,
    NO_WAIT_FOR_COPY,
    NO_WAIT_FOR_PLANAR,
    NO_WAIT_FOR_EMPTY,
    NO_WAIT_FOR_RAW_EMPTY,
    NO_WAIT_FOR_WEIGHT,
    WRONG_PARITY,
    EARLY_RELEASE,
    NO_RELEASE,
    TWO_RELEASES,
    TOO_FEW_BYTES,
    TOO_MANY_BYTES,
    NO_INIT,
    INIT_TWICE,
    NOT_READY,
    NO_BARRIER_AFTER_INIT,
    GATE_OVERWRITTEN,
    PLAIN_STORE,
    NO_PUBLISH,
    LATE_PUBLISH,
    NO_PUBLISH_AT_END,
    COPY_AT_END,
    MISALIGNED_BOX,
    BOX_OUTSIDE,
    NO_BEGIN,
    CHANGED_AFTER_BEGIN,
    TOUCHED,
    READ_EARLY,
    NO_COMMIT,
    NO_WAIT_FOR_PRODUCTS,
    WAIT_FOR_TOO_FEW,
    WRONG_ACROSS,
    WRONG_DOWN,
    OPERAND_OUTSIDE,
    OTHER_OPERAND,
    WARP_LESS
};

/* ---- the subject ------------------------------------------------------------------------------
 * d[M][N] = 2 a[M][K] b[N][K] for rows FIRST .. FIRST + M of a, of which there are ROWS, and zeros
 * beside them. The first four warps multiply, the others bring 16 columns of a at a time, double
 * them and put them into groups of 8. */

enum {
    M = 64,
    N = 24,
    TILES = 6,
    K = 16 * TILES - 6, /* the last tile is not full */
    PITCH = 16 * TILES,
    ROWS = 60,
    FIRST = -3,
    STAGES = 2,
    THREADS = 256,
    TILE_BYTES = M * 32,
    WEIGHT_BYTES = TILES * N * 32, /* [tile][n / 8][half][n % 8][8] */
    RAW_AT = 0,
    PLANAR_AT = RAW_AT + STAGES * TILE_BYTES,
    WEIGHT_AT = PLANAR_AT + STAGES * TILE_BYTES,
    GATES_AT = WEIGHT_AT + WEIGHT_BYTES,
    SHARED_BYTES = GATES_AT + (4 * STAGES + 1) * 8
};

struct Problem {
    simt::TensorMap a;
    const uint16_t *b;
    float *d;
};

struct Gates {
    simt::Gate raw_full[STAGES], raw_empty[STAGES], full[STAGES], empty[STAGES], weight;
};

template <Bug bug> void make_gates(Gates *g)
{
    for (int s = 0; s < STAGES; s++) {
        simt::gate_init(&g->raw_full[s], 1);
        simt::gate_init(&g->raw_empty[s], 4);
        simt::gate_init(&g->full[s], 4);
        if (bug != NO_INIT || s == 0)
            simt::gate_init(&g->empty[s], 4);
    }
    simt::gate_init(&g->weight, 1);
    if (bug == INIT_TWICE)
        simt::gate_init(&g->weight, 1);
    if (bug != NOT_READY)
        simt::gates_ready();
}

uint32_t doubled(uint32_t pair)
{
    return simt::pack_bf16(2 * simt::as_float(pair << 16), 2 * simt::as_float(pair & 0xFFFF0000u));
}

template <Bug bug> void bring(const Problem &p, unsigned char *shared, Gates *g, int tile)
{
    const int s = tile % STAGES;
    const int32_t at[5] = {16 * tile, FIRST, 0, 0, 0};
    if (bug != NO_WAIT_FOR_RAW_EMPTY)
        simt::gate_wait(&g->raw_empty[s], (uint32_t)(tile / STAGES % 2 ^ 1));
    uint32_t bytes = TILE_BYTES;
    if (tile == 3)
        bytes += bug == TOO_FEW_BYTES ? -32u : bug == TOO_MANY_BYTES ? 32u : 0u;
    simt::gate_arrive_expecting(&g->raw_full[s], bytes);
    unsigned char *to = shared + RAW_AT + s * TILE_BYTES;
    if (bug == MISALIGNED_BOX)
        to += 16;
    if (bug == BOX_OUTSIDE && tile == TILES - 1)
        to = shared + GATES_AT / 128 * 128;
    simt::tensor_copy(to, &p.a, at, &g->raw_full[s]);
}

template <Bug bug> void produce(const Problem &p, unsigned char *shared, Gates *g)
{
    const int thread = (int)threadIdx.x - 128, lane = thread % 32;
    if (thread == 0) {
        simt::gate_arrive_expecting(&g->weight, WEIGHT_BYTES);
        simt::bulk_copy(shared + WEIGHT_AT, p.b, WEIGHT_BYTES, &g->weight);
        bring<bug>(p, shared, g, 0);
    }
    for (int tile = 0; tile < TILES; tile++) {
        const int s = tile % STAGES;
        const uint32_t parity = (uint32_t)(tile / STAGES % 2);
        if (thread == 0 && tile + 1 < TILES)
            bring<bug>(p, shared, g, tile + 1);
        if (bug != NO_WAIT_FOR_COPY)
            simt::gate_wait(&g->raw_full[s], parity ^ (bug == WRONG_PARITY));
        if (bug != NO_WAIT_FOR_EMPTY)
            simt::gate_wait(&g->empty[s], parity ^ 1);
        for (int i = thread; i < 2 * M; i += 128) {
            uint32_t words[4];
            memcpy(words, shared + RAW_AT + s * TILE_BYTES + i * 16, 16);
            for (uint32_t &word : words)
                word = doubled(word);
            unsigned char *to = shared + PLANAR_AT + s * TILE_BYTES + (i % 2 * M + i / 2) * 16;
            if (bug == PLAIN_STORE && i == 77)
                memcpy(to, words, 16);
            else
                simt::store_shared(to, words);
        }
        if (bug != NO_PUBLISH && bug != LATE_PUBLISH)
            simt::publish();
        simt::warp_barrier();
        if (lane == 0) {
            simt::gate_arrive(&g->full[s]);
            simt::gate_arrive(&g->raw_empty[s]);
        }
        if (bug == LATE_PUBLISH)
            simt::publish();
    }
    if (bug == GATE_OVERWRITTEN && thread == 5)
        memset(&g->empty[1], 0, 8);
    if (bug == NO_PUBLISH_AT_END)
        simt::store_shared(shared + RAW_AT, {0, 0, 0, 0});
    if (bug == COPY_AT_END && thread == 0)
        simt::bulk_copy(shared + WEIGHT_AT, p.b, 16, &g->weight);
}

template <Bug bug> void consume(unsigned char *shared, Gates *g, float (&d)[N / 2])
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float other[N / 2] = {};
    if (bug != NO_WAIT_FOR_WEIGHT)
        simt::gate_wait(&g->weight, 0);
    for (int tile = 0; tile < TILES; tile++) {
        const int s = tile % STAGES;
        if (bug != NO_WAIT_FOR_PLANAR)
            simt::gate_wait(&g->full[s], (uint32_t)(tile / STAGES % 2));
        uint32_t from = simt::shared_address(shared + PLANAR_AT + s * TILE_BYTES);
        if (bug == OPERAND_OUTSIDE && tile == 4)
            from += SHARED_BYTES;
        if (bug == OTHER_OPERAND && tile == 4 && lane == 3)
            from += 16;
        const uint64_t a = simt::matrix_at(from, bug == WRONG_ACROSS ? 128 : M * 16,
                                           bug == WRONG_DOWN ? 256 : 128);
        const uint64_t b =
            simt::matrix_at(simt::shared_address(shared + WEIGHT_AT + tile * N * 32), 128, 256);
        if (bug != NO_BEGIN)
            simt::products_begin();
        if (bug == CHANGED_AFTER_BEGIN && tile == 2)
            d[5] *= 1.5f;
        if (bug != WARP_LESS || warp != 2 || tile != 1)
            simt::multiply_tiles<N>(d, a, b);
        if (bug == READ_EARLY && tile == TILES - 1)
            other[3] = d[3];
        if (bug == TOUCHED && tile == 2)
            d[3] = 0;
        if (bug != NO_COMMIT)
            simt::products_commit();
        if (bug == EARLY_RELEASE && lane == 0)
            simt::gate_arrive(&g->empty[s]);
        if (bug == WAIT_FOR_TOO_FEW)
            simt::products_wait<1>();
        else if (bug != NO_WAIT_FOR_PRODUCTS)
            simt::products_wait<0>();
        if (bug != EARLY_RELEASE && bug != NO_RELEASE && lane == 0)
            simt::gate_arrive(&g->empty[s]);
        if (bug == TWO_RELEASES && lane == 1)
            simt::gate_arrive(&g->empty[s]);
    }
    if (bug == READ_EARLY)
        d[3] = other[3];
    if (bug == WAIT_FOR_TOO_FEW)
        simt::products_wait<0>();
}

template <Bug bug> RVX_GLOBAL void RVX_BOUNDS(THREADS) ring_kernel(const RVX_CONSTANT Problem p)
{
    RVX_SHARED(unsigned char, shared);
    Gates *g = reinterpret_cast<Gates *>(shared + GATES_AT);
    if (threadIdx.x == 0)
        make_gates<bug>(g);
    if (bug != NO_BARRIER_AFTER_INIT)
        simt::barrier();
    if (threadIdx.x >= 128) {
        produce<bug>(p, shared, g);
        return;
    }
    float d[N / 2] = {};
    consume<bug>(shared, g, d);
    const int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4;
    for (int i = 0; i < N / 2; i++)
        p.d[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
}

/* ---- right or wrong ---------------------------------------------------------------------------
 */

template <Bug bug> int run_ring()
{
    uint16_t *a = array_of<uint16_t>(ROWS * PITCH), *b = array_of<uint16_t>(WEIGHT_BYTES / 2);
    Problem p = {};
    p.b = b;
    p.d = array_of<float>(M * N);
    for (int i = 0; i < ROWS * PITCH; i++)
        a[i] = i % PITCH < K ? some_bf16(i) : (uint16_t)0x7FC0;
    for (int i = 0; i < WEIGHT_BYTES / 2; i++)
        b[i] = some_bf16(i + 31);
    const bool made =
        simt::tensor_map(&p.a, a, 2, {K, ROWS, 1, 1, 1},
                         {PITCH * 2, ROWS * PITCH * 2, ROWS * PITCH * 2, ROWS * PITCH * 2},
                         {16, M, 1, 1, 1}, simt::SWIZZLE_NONE);
    simt::launch(ring_kernel<bug>, dim3(12), THREADS, SHARED_BYTES, nullptr, p);
    double worst = made ? 0 : 1;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double want = 0;
            for (int k = 0; k < K && m + FIRST >= 0 && m + FIRST < ROWS; k++)
                want +=
                    2 * value_of(a[(m + FIRST) * PITCH + k]) *
                    value_of(b[k / 16 * N * 16 + n / 8 * 128 + k / 8 % 2 * 64 + n % 8 * 8 + k % 8]);
            const double off = fabs((double)p.d[m * N + n] - want);
            worst = worse(worst, off);
        }
    return worst < 1e-3 ? RIGHT : WRONG;
}

void bugs_check()
{
    expect(run_ring<NO_WAIT_FOR_COPY>, "a tensor copy not waited for", SEEDS, nullptr);
    expect(run_ring<NO_WAIT_FOR_PLANAR>, "products before their operand", SEEDS, nullptr);
    expect(run_ring<NO_WAIT_FOR_EMPTY>, "a stage overwritten too early", SEEDS / 2, nullptr);
    expect(run_ring<NO_WAIT_FOR_RAW_EMPTY>, "a copy into a stage in use", SEEDS / 2, nullptr);
    expect(run_ring<NO_WAIT_FOR_WEIGHT>, "a bulk copy not waited for", SEEDS, "yet to bring");
    expect(run_ring<WRONG_PARITY>, "the wrong parity", SEEDS, nullptr);
    expect(run_ring<EARLY_RELEASE>, "a stage given back before its products", SEEDS / 2, nullptr);
    expect(run_ring<NO_RELEASE>, "a stage never given back", SEEDS, "deadlock");
    expect(run_ring<TWO_RELEASES>, "a stage given back twice", SEEDS, nullptr);
    expect(run_ring<TOO_FEW_BYTES>, "too few bytes announced", SEEDS, nullptr);
    expect(run_ring<TOO_MANY_BYTES>, "too many bytes announced", SEEDS, "deadlock");
    expect(run_ring<NO_INIT>, "a gate not initialised", SEEDS, "nobody has initialised");
    expect(run_ring<INIT_TWICE>, "a gate initialised twice", SEEDS, "initialised twice");
    expect(run_ring<NOT_READY>, "gates not made ready", SEEDS, "before gates_ready");
    expect(run_ring<NO_BARRIER_AFTER_INIT>, "no barrier behind gates", SEEDS / 2,
           "nobody has init");
    expect(run_ring<GATE_OVERWRITTEN>, "a gate written over", SEEDS, "over a gate");
    expect(run_ring<PLAIN_STORE>, "an ordinary store to an operand", SEEDS, nullptr);
    expect(run_ring<NO_PUBLISH>, "stores not published", SEEDS, "not published");
    expect(run_ring<LATE_PUBLISH>, "stores published behind the gate", SEEDS / 2, nullptr);
    expect(run_ring<NO_PUBLISH_AT_END>, "stores left at the end", SEEDS, "never published");
    expect(run_ring<COPY_AT_END>, "a bulk copy left at the end", SEEDS, "nobody waited for");
    expect(run_ring<MISALIGNED_BOX>, "a box to 16 bytes further on", SEEDS, "not on 128 bytes");
    expect(run_ring<BOX_OUTSIDE>, "a box outside shared memory", SEEDS, "outside shared memory");
    expect(run_ring<NO_BEGIN>, "no products_begin", SEEDS, "without products_begin");
    expect(run_ring<CHANGED_AFTER_BEGIN>, "sums changed behind it", SEEDS, "were changed between");
    expect(run_ring<TOUCHED>, "sums written while products are under way", SEEDS, "were touched");
    expect(run_ring<READ_EARLY>, "sums read while products are under way", SEEDS, nullptr);
    expect(run_ring<NO_COMMIT>, "products not committed", SEEDS, "never waited for");
    expect(run_ring<NO_WAIT_FOR_PRODUCTS>, "products not waited for", SEEDS, "never waited for");
    expect(run_ring<WAIT_FOR_TOO_FEW>, "one group too few waited for", SEEDS / 2, nullptr);
    expect(run_ring<WRONG_ACROSS>, "matrices side by side described wrongly", SEEDS, nullptr);
    expect(run_ring<WRONG_DOWN>, "matrices below each other described wrongly", SEEDS, nullptr);
    expect(run_ring<OPERAND_OUTSIDE>, "an operand outside shared memory", SEEDS, "a product reads");
    expect(run_ring<OTHER_OPERAND>, "a lane with another operand", SEEDS, "different operands");
    expect(run_ring<WARP_LESS>, "a warp that issues one product less", SEEDS, "different products");
}

void unbroken_check()
{
    for (int seed = 0; seed < SEEDS; seed++) {
        const Result r = run_apart(run_ring<NONE>, seed);
        tap_ok(!r.stopped && r.verdict == RIGHT, "the ring is right, seed %d%s", seed, r.message);
    }
}

/* ---- boxes and patterns -----------------------------------------------------------------------
 */

struct Boxes {
    simt::TensorMap map;
    int32_t at[5];
    uint32_t bytes;
    unsigned char *to;
};

RVX_GLOBAL void RVX_BOUNDS(32) box_kernel(const RVX_CONSTANT Boxes p)
{
    RVX_SHARED(unsigned char, shared);
    simt::Gate *gate = reinterpret_cast<simt::Gate *>(shared + 8192);
    if (threadIdx.x == 0) {
        simt::gate_init(gate, 1);
        simt::gates_ready();
        simt::gate_arrive_expecting(gate, p.bytes);
        simt::tensor_copy(shared, &p.map, p.at, gate);
    }
    simt::warp_barrier();
    simt::gate_wait(gate, 0);
    for (uint32_t i = threadIdx.x; i < p.bytes; i += 32)
        p.to[i] = shared[i];
}

/* A box that hangs over the tensor's edges on either side along every dimension. */
void box_check(int element_bytes)
{
    enum { D0 = 40, D1 = 3, D2 = 4, D3 = 2, D4 = 2, PITCH0 = 48 };
    const uint32_t box[5] = {(uint32_t)(16 / element_bytes * 3), 5, 3, 3, 1};
    const int inner = D0 * 2 / element_bytes;
    uint16_t *data = array_of<uint16_t>(PITCH0 * D1 * D2 * D3 * D4);
    for (int i = 0; i < PITCH0 * D1 * D2 * D3 * D4; i++)
        data[i] = (uint16_t)(i + 1);
    Boxes p = {};
    bool made = simt::tensor_map(
        &p.map, data, element_bytes, {(uint64_t)inner, D1, D2, D3, D4},
        {PITCH0 * 2, PITCH0 * 2 * D1, PITCH0 * 2 * D1 * D2, PITCH0 * 2 * D1 * D2 * D3}, box,
        simt::SWIZZLE_NONE);
    p.bytes = box[0] * box[1] * box[2] * box[3] * (uint32_t)element_bytes;
    p.to = array_of<unsigned char>(p.bytes);
    int wrong = !made;
    for (int side = 0; side < 2; side++) {
        const int32_t at[5] = {side ? inner - 5 : -4, side ? 1 : -2, side ? 2 : -1, -side, 1};
        memcpy(p.at, at, sizeof at);
        simt::launch(box_kernel, dim3(1), 32, 8200, nullptr, p);
        for (int i = 0; i < (int)p.bytes / element_bytes; i++) {
            const int x = at[0] + i % (int)box[0], y = at[1] + i / (int)box[0] % 5,
                      z = at[2] + i / (int)box[0] / 5 % 3, t = at[3] + i / (int)box[0] / 15;
            unsigned char want[8] = {};
            if (x >= 0 && x < inner && y >= 0 && y < D1 && z >= 0 && z < D2 && t >= 0 && t < D3)
                memcpy(want,
                       reinterpret_cast<unsigned char *>(data) +
                           (((D3 + t) * D2 + z) * D1 + y) * PITCH0 * 2 + x * element_bytes,
                       (size_t)element_bytes);
            wrong += memcmp(want, p.to + i * element_bytes, (size_t)element_bytes) != 0;
        }
    }
    tap_ok(wrong == 0, "boxes of elements of %d bytes, over every edge", element_bytes);
}

struct Swizzled {
    simt::TensorMap a, b;
    simt::Swizzle swizzle;
    int row_bytes; /* of both operands: 32, 64 or 128 */
    float *d;
};

enum { B_AT = 64 * 128, GATE_AT = B_AT + 24 * 128 };

/* All products of a row of the pattern, 16 at a time. */
RVX_GLOBAL void RVX_BOUNDS(128) swizzle_kernel(const RVX_CONSTANT Swizzled p)
{
    RVX_SHARED(unsigned char, shared);
    simt::Gate *gate = reinterpret_cast<simt::Gate *>(shared + GATE_AT);
    if (threadIdx.x == 0) {
        simt::gate_init(gate, 1);
        simt::gates_ready();
        simt::gate_arrive_expecting(gate, (uint32_t)((64 + 24) * p.row_bytes));
        simt::tensor_copy(shared, &p.a, {0, 0, 0, 0, 0}, gate);
        simt::tensor_copy(shared + B_AT, &p.b, {0, 0, 0, 0, 0}, gate);
    }
    simt::barrier();
    simt::gate_wait(gate, 0);
    float d[12] = {};
    simt::products_begin();
    const uint32_t down = (uint32_t)(8 * p.row_bytes);
    for (uint32_t k = 0; k < (uint32_t)p.row_bytes; k += 32)
        simt::multiply_tiles<24>(
            d, simt::matrix_at(simt::shared_address(shared) + k, 16, down, p.swizzle),
            simt::matrix_at(simt::shared_address(shared + B_AT) + k, 16, down, p.swizzle));
    simt::products_commit();
    simt::products_wait<0>();
    const int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4;
    for (int i = 0; i < 12; i++)
        p.d[(row + i / 2 % 2 * 8) * 24 + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
}

void swizzle_check(simt::Swizzle swizzle, int row_bytes)
{
    const uint64_t k = (uint64_t)row_bytes / 2, pitch = (uint64_t)row_bytes;
    const uint32_t box = (uint32_t)k;
    uint16_t *a = array_of<uint16_t>(64 * (int64_t)k), *b = array_of<uint16_t>(24 * (int64_t)k);
    for (int i = 0; i < 64 * (int)k; i++)
        a[i] = some_bf16(i);
    for (int i = 0; i < 24 * (int)k; i++)
        b[i] = some_bf16(i + 5);
    Swizzled p = {};
    p.swizzle = swizzle;
    p.row_bytes = row_bytes;
    p.d = array_of<float>(64 * 24);
    bool made =
        simt::tensor_map(&p.a, a, 2, {k, 64, 1, 1, 1}, {pitch, pitch * 64, pitch * 64, pitch * 64},
                         {box, 64, 1, 1, 1}, swizzle) &&
        simt::tensor_map(&p.b, b, 2, {k, 24, 1, 1, 1}, {pitch, pitch * 24, pitch * 24, pitch * 24},
                         {box, 24, 1, 1, 1}, swizzle);
    simt::launch(swizzle_kernel, dim3(1), 128, GATE_AT + 8, nullptr, p);
    double worst = made ? 0 : 1;
    for (int i = 0; i < 64 * 24; i++) {
        double want = 0;
        for (int j = 0; j < (int)k; j++)
            want += value_of(a[i / 24 * (int)k + j]) * value_of(b[i % 24 * (int)k + j]);
        const double off = fabs((double)p.d[i] - want);
        worst = worse(worst, off);
    }
    tap_ok(worst < 1e-4, "a swizzle of %d bytes: copied, then multiplied", row_bytes);
}

/* What the driver refuses. */
void map_check()
{
    uint16_t *data = array_of<uint16_t>(4096);
    simt::TensorMap map;
    const uint64_t length[5] = {32, 4, 4, 1, 1}, pitch[4] = {64, 256, 1024, 1024};
    const uint32_t box[5] = {16, 2, 2, 1, 1};
    tap_ok(
        simt::tensor_map(&map, data, 2, length, pitch, box, simt::SWIZZLE_NONE) &&
            !simt::tensor_map(&map, data + 4, 2, length, pitch, box, simt::SWIZZLE_NONE) &&
            !simt::tensor_map(&map, data, 2, length, {72, 256, 1024, 1024}, box,
                              simt::SWIZZLE_NONE) &&
            !simt::tensor_map(&map, data, 2, length, pitch, {12, 2, 2, 1, 1}, simt::SWIZZLE_NONE) &&
            !simt::tensor_map(&map, data, 2, length, pitch, {16, 257, 1, 1, 1},
                              simt::SWIZZLE_NONE) &&
            !simt::tensor_map(&map, data, 2, length, pitch, {32, 2, 2, 1, 1}, simt::SWIZZLE_32),
        "maps that a driver refuses are refused");
}
} // namespace

/* What forks comes first: a child must be the one that makes the first launch. */
int main()
{
    unbroken_check();
    bugs_check();
    for (int bytes = 2; bytes <= 8; bytes *= 2)
        box_check(bytes);
    swizzle_check(simt::SWIZZLE_128, 128);
    swizzle_check(simt::SWIZZLE_64, 64);
    swizzle_check(simt::SWIZZLE_32, 32);
    map_check();
    return tap_done();
}
