/* Weight and bias gradients of 3^3 taps, stride 1, on tensor cores: see weight_gradient.h. A block
 * sums up to 3 groups of channels of x by up to 4 of dy over one piece: a run of tiles. The halo of
 * a tile of x and the tile of dy stand in shared memory and serve all taps; positions along x are
 * the depth of the products, so both operands are loaded transposed.
 *
 * The rows of products within a row of taps are numbered by groups q = tap along x * GROUPS +
 * channel group, two groups an instruction. A warp has one such pair of one plane of taps, and for
 * it the three taps along y: what it loads of a row of x meets three rows of dy. */
#include "kernels/cuda/halo.h"
#include "kernels/cuda/weight_gradient.h"

namespace
{
using namespace rvx;

enum { FLUSH_TILES = 64 /* then sums go to memory: long ones lose digits */ };

struct Parameters {
    View x, dy;
    Fold fold;
    float *partial, *sums; /* [piece][tap][ci][co], [piece][co] */
    Tiles tiles;
    int32_t count, a_piece; /* tiles */
    int32_t pad[3], chunks, column_chunks;
    Access access_x, access_dy;
};

template <int GROUPS_, int COLUMN_GROUPS_> struct Form {
    enum {
        GROUPS = GROUPS_,
        N = COLUMN_GROUPS_,
        STEPS = (3 * GROUPS + 1) / 2,
        WARPS = 3 * STEPS,
        COUNT = WARPS * 32,
        BLOCKS = 576 / COUNT, /* of a multiprocessor: 96 registers a thread at least */
        HALO_BYTES = HALO_VOXELS * GROUPS * 16,
        TILE_BYTES = TILE_VOXELS * N * 16,
        TABLE_AT = HALO_BYTES + TILE_BYTES,
        COLUMNS_AT = TABLE_AT + FOLD_BYTES,
        BYTES = COLUMNS_AT + COUNT * GROUP * 4
    };
};

/* The products of one tile: a row of dy meets three rows of x, which are kept. */
template <class F>
RVX_DEVICE void add_tile(float (&sum)[3][F::N][4], const unsigned char *halo,
                         const unsigned char *tile)
{
    const int thread = simt::opaque((int)threadIdx.x); /* see bring_box */
    const int matrix = thread / 8 % 4, plane = thread / 32 / F::STEPS, s = thread / 32 % F::STEPS;
    /* Beyond the last group: sums that nobody wants. */
    int q = 2 * s + matrix % 2;
    q = q < 3 * F::GROUPS ? q : 2 * s;
    const int along = matrix / 2 * 8 + thread % 8 + q / F::GROUPS;
    const int along_dy = matrix % 2 * 8 + thread % 8;
#pragma unroll 1
    for (int z = 0; z < TILE_Z; z++) {
        uint32_t a[3][4];
        /* Groups are exchanged alike in rows 4 apart: 72 voxels. */
        const unsigned char *from[4];
#pragma unroll
        for (int row = 0; row < 4; row++)
            from[row] = halo + slot<F::GROUPS>(((z + plane) * HALO_Y + row) * HALO_X + along,
                                               q % F::GROUPS);
#pragma unroll
        for (int row = 0; row < 2; row++)
            simt::load_matrix_x4_transposed(a[row], from[row]);
#pragma unroll
        for (int y = 0; y < TILE_Y; y++) {
            const int last = y + 2;
            simt::load_matrix_x4_transposed(
                a[last % 3], from[last % 4] + last / 4 * (4 * HALO_X * F::GROUPS * 16));
#pragma unroll
            for (int n = 0; n < F::N; n += 2) {
                const bool pair = n + 1 < F::N;
                uint32_t b[4];
                simt::load_matrix_x4_transposed(
                    b, tile + slot<F::N>((z * TILE_Y + y) * TILE_X + along_dy,
                                         n + (pair ? matrix / 2 : 0)));
#pragma unroll
                for (int tap = 0; tap < 3; tap++) {
                    simt::multiply_bf16(sum[tap][n], a[(y + tap) % 3], b[0], b[1]);
                    if (pair)
                        simt::multiply_bf16(sum[tap][(n + 1) % F::N], a[(y + tap) % 3], b[2], b[3]);
                }
            }
        }
    }
}

/* Sums over dy: a thread has one group of channels and a share of the positions; what it has stands
 * in shared memory, [channel of 8][thread]. */
template <class F> RVX_DEVICE void clear_columns(float *shared)
{
#pragma unroll
    for (int k = 0; k < GROUP; k++)
        shared[k * F::COUNT + (int)threadIdx.x] = 0.0f;
}

template <class F> RVX_DEVICE void add_columns(float *shared, const unsigned char *tile)
{
    enum { STEP = F::COUNT / F::N };
    static_assert(STEP * F::N == F::COUNT, "every thread has a share");
    const int g = (int)threadIdx.x % F::N;
    float sum[GROUP] = {};
#pragma unroll 1
    for (int v = (int)threadIdx.x / F::N; v < TILE_VOXELS; v += STEP) {
        const Words4 words = *reinterpret_cast<const Words4 *>(tile + slot<F::N>(v, g));
#pragma unroll
        for (int k = 0; k < GROUP; k++)
            sum[k] += bf16_to_float(words.word[k / 2] >> (16 * (k % 2)) & 0xFFFF);
    }
#pragma unroll
    for (int k = 0; k < GROUP; k++)
        shared[k * F::COUNT + (int)threadIdx.x] += sum[k];
}

/* Adds to memory or writes it; clears what it takes. */
RVX_DEVICE void put_sum(float *to, float sum, bool again) { *to = again ? *to + sum : sum; }

template <class F>
RVX_DEVICE void flush_columns(float *to, int32_t count, float *shared, bool again)
{
    simt::barrier();
    const int column = (int)threadIdx.x;
    if (column < F::N * GROUP && column < count) {
        double sum = 0;
        for (int i = column / GROUP; i < F::COUNT; i += F::N)
            sum += (double)shared[column % GROUP * F::COUNT + i];
        put_sum(to + column, (float)sum, again);
    }
    simt::barrier();
    clear_columns<F>(shared);
}

/* What a block sums; blocks of one piece are neighbours. */
struct Place {
    int32_t piece, row, column;
};

template <class F> RVX_DEVICE Place place_of(const Parameters &p)
{
    const int block = simt::opaque((int)blockIdx.x); /* see bring_box */
    return {block / p.column_chunks / p.chunks,
            block / p.column_chunks % p.chunks * F::GROUPS * GROUP,
            block % p.column_chunks * F::N * GROUP};
}

template <class F> RVX_DEVICE int32_t tiles_here(const Parameters &p)
{
    const int32_t left = p.count - place_of<F>(p).piece * p.a_piece;
    return left < p.a_piece ? left : p.a_piece;
}

template <class F> RVX_DEVICE bool sums_here(const Parameters &p)
{
    return p.sums && place_of<F>(p).row == 0;
}

/* Through shared memory that nobody reads, so that registers hold no list of addresses. */
template <class F>
RVX_DEVICE void flush(const Parameters &p, float (&sum)[3][F::N][4], float *shared,
                      const Place &place, bool again)
{
    enum { WIDTH = F::N * GROUP };
    const int thread = simt::opaque((int)threadIdx.x), lane = thread % 32;
    const int plane = thread / 32 / F::STEPS, s = thread / 32 % F::STEPS;
    float *own = shared + thread / 32 * 16 * WIDTH;
    float *partial = p.partial + (int64_t)place.piece * 27 * p.x.c * p.dy.c + place.column;
#pragma unroll
    for (int y = 0; y < 3; y++) {
#pragma unroll
        for (int n = 0; n < F::N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                own[(lane / 4 + i / 2 * 8) * WIDTH + n * GROUP + lane % 4 * 2 + i % 2] =
                    sum[y][n][i];
                sum[y][n][i] = 0.0f;
            }
        simt::warp_barrier();
#pragma unroll 1
        for (int k = lane; k < 16 * WIDTH; k += 32) {
            const int q = 2 * s + k / WIDTH / 8, co = k % WIDTH;
            const int32_t ci = place.row + q % F::GROUPS * GROUP + k / WIDTH % 8,
                          tap = plane * 9 + y * 3 + q / F::GROUPS;
            if (q < 3 * F::GROUPS && ci < p.x.c && place.column + co < p.dy.c)
                put_sum(partial + ((int64_t)tap * p.x.c + ci) * p.dy.c + co, own[k], again);
        }
        simt::warp_barrier();
    }
}

template <class F> RVX_GLOBAL void RVX_BOUNDS(F::COUNT, F::BLOCKS) halo_kernel(Parameters p)
{
    RVX_SHARED(unsigned char, halo);
    unsigned char *tile = halo + F::HALO_BYTES;
    float *table = reinterpret_cast<float *>(halo + F::TABLE_AT);
    float *columns = reinterpret_cast<float *>(halo + F::COLUMNS_AT);
    if (sums_here<F>(p))
        clear_columns<F>(columns);
    float sum[3][F::N][4] = {};
    for (int32_t i = 0; i < tiles_here<F>(p); i++) {
        {
            const Place place = place_of<F>(p);
            const Box box = p.tiles.at((uint32_t)(place.piece * p.a_piece + i));
            const Box source = {box.n, box.z - p.pad[0], box.y - p.pad[1], box.x - p.pad[2]};
            const Fold none = {};
            bring_box<F::GROUPS, HALO_Y, HALO_X, F::COUNT>(halo, table, p.x, p.fold, source,
                                                           place.row, HALO_VOXELS, p.access_x);
            bring_box<F::N, TILE_Y, TILE_X, F::COUNT>(tile, table, p.dy, none, box, place.column,
                                                      TILE_VOXELS, p.access_dy);
        }
        simt::copy_commit();
        simt::copy_wait<0>();
        simt::barrier();
        add_tile<F>(sum, halo, tile);
        if (sums_here<F>(p))
            add_columns<F>(columns, tile);
        simt::barrier(); /* nobody reads this tile any more */
        if ((i + 1) % FLUSH_TILES != 0 && i + 1 < tiles_here<F>(p))
            continue;
        const Place place = place_of<F>(p);
        flush<F>(p, sum, reinterpret_cast<float *>(halo), place, i >= FLUSH_TILES);
        if (sums_here<F>(p))
            flush_columns<F>(p.sums + (int64_t)place.piece * p.dy.c + place.column,
                             p.dy.c - place.column, columns, i >= FLUSH_TILES);
        simt::barrier();
    }
}

/* ---- host -------------------------------------------------------------------------------------
 */

template <class F> void launch_form(Parameters p, int32_t pieces, simt::Stream queue)
{
    p.column_chunks = (p.dy.c / GROUP + F::N - 1) / F::N;
    simt::launch(halo_kernel<F>, dim3((unsigned)(pieces * p.chunks * p.column_chunks)), F::COUNT,
                 F::BYTES, queue, p);
}

template <int GROUPS>
void launch_groups(const Parameters &p, int32_t columns, int32_t pieces, simt::Stream queue)
{
    switch (columns) {
    case 1:
        return launch_form<Form<GROUPS, 1>>(p, pieces, queue);
    case 2:
        return launch_form<Form<GROUPS, 2>>(p, pieces, queue);
    case 3: /* two blocks of a smaller form have no registers for it */
        return launch_form<Form<GROUPS, GROUPS == 3 ? 3 : 4>>(p, pieces, queue);
    default:
        return launch_form<Form<GROUPS, 4>>(p, pieces, queue);
    }
}
} // namespace

namespace rvx
{
void weight_partial_halo(const rvx_call *call, const rvx__cuda_weight_plan &plan, float *partial,
                         float *sums)
{
    const rvx_tensor none = {}, &x = call->in[0], &dy = call->grad_out[0];
    Parameters p = {};
    p.x = view_of(x);
    p.dy = view_of(dy);
    p.fold = fold_of(call->fold);
    p.partial = partial;
    p.sums = sums;
    p.tiles = tiles_of(dy.shape);
    p.count = (int32_t)plan.positions;
    p.a_piece = (int32_t)plan.a_piece;
    for (int a = 0; a < 3; a++)
        p.pad[a] = call->params->pad[a];
    p.chunks = rvx__cuda_weight_halo_chunks(x.shape.c);
    p.access_x = access_of(x, call->fold, true);
    p.access_dy = access_of(dy, none, true);
    const int32_t columns = rvx__cuda_halo_groups(dy.shape.c);
    switch (rvx__cuda_weight_halo_groups(x.shape.c)) {
    case 1:
        return launch_groups<1>(p, columns, plan.pieces, queue_of(call));
    case 2:
        return launch_groups<2>(p, columns, plan.pieces, queue_of(call));
    default:
        return launch_groups<3>(p, columns, plan.pieces, queue_of(call));
    }
}
} // namespace rvx
