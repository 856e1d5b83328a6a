/* Gathers of 3 x 3 taps in a plane, 3 or 1 across planes, stride 1, on tensor cores: see
 * correlate.h. A block computes one tile of voxels for COLUMNS channels. The halo of the tile
 * stands in shared memory, up to 4 groups of source channels at a time; weights pass through two
 * stages, one plane of taps each, in the order in which lanes hold them.
 *
 * The products of one row of taps are numbered by groups q = tap along x * GROUPS + channel group,
 * two groups an instruction. A warp computes ROWS rows of 16 voxels; what it loads of row y serves
 * the three rows of targets whose taps meet it. */
#include "kernels/cuda/correlate.h"
#include "kernels/cuda/gather_form.h"
#include "kernels/cuda/halo.h"
#include "kernels/cuda/tap_weight.h"

namespace
{
using namespace rvx;

struct Parameters : Gathered {
    const uint32_t *weight; /* packed */
    Tiles tiles;
    int32_t planes, chunks, column_tiles;
    Access access;
};

template <int GROUPS_, int COLUMNS_> struct Form {
    enum {
        GROUPS = GROUPS_,
        COLUMNS = COLUMNS_,
        COLUMN_WARPS = COLUMNS > 32 ? 2 : 1,
        ROW_WARPS = COLUMNS > 16 || GROUPS > 2 ? 2 : 1,
        ROWS = TILE_Y / ROW_WARPS,
        N = COLUMNS / 8 / COLUMN_WARPS,
        WARPS = TILE_Z * ROW_WARPS * COLUMN_WARPS,
        COUNT = WARPS * 32,
        BLOCKS = 512 / COUNT, /* of a multiprocessor: 128 registers a thread */
        STEPS = (3 * GROUPS + 1) / 2,
        HALO_BYTES = HALO_VOXELS * GROUPS * 16,
        STAGE_WORDS = 3 * STEPS * (COLUMNS / 8) * 64,
        STAGES_AT = HALO_BYTES + FOLD_BYTES, /* behind the halo and the fold table */
        MAIN_BYTES = STAGES_AT + 2 * STAGE_WORDS * 4,
        SUMS_PITCH = N * GROUP + (N % 2 ? 0 : 8), /* stores of pairs share no bank */
        SUMS_BYTES = WARPS * ROWS * TILE_X * SUMS_PITCH * 4,
        BYTES = (int)MAIN_BYTES > (int)SUMS_BYTES ? (int)MAIN_BYTES : (int)SUMS_BYTES
    };
};

/* Two words of every lane for each of [column tile][chunk][plane][tap along y][step][8 columns]. */
struct Pack {
    rvx__cuda_gather gather;
    int32_t groups, chunks, planes, steps, columns, column_tiles;
};

RVX_DEVICE float weight_at(const Pack &p, const float *weight, int32_t chunk, int32_t z, int32_t y,
                           int32_t q, int32_t element, int32_t column)
{
    const int32_t channel = (chunk * p.groups + q % p.groups) * GROUP + element, x = q / p.groups;
    return x < 3 ? tap_weight(p.gather, weight, z, y, x, channel, column) : 0.0f;
}

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    pack_kernel(Pack p, const float *__restrict__ weight, uint32_t *__restrict__ packed,
                int64_t words)
{
    for (int64_t i = first_item(); i < words; i += item_step()) {
        int64_t rest = i / 64;
        const int32_t lane = (int32_t)(i % 64) / 2, word = (int32_t)(i % 2);
        const int32_t n = (int32_t)(rest % (p.columns / 8));
        rest /= p.columns / 8;
        const int32_t s = (int32_t)(rest % p.steps);
        rest /= p.steps;
        const int32_t y = (int32_t)(rest % 3);
        rest /= 3;
        const int32_t z = (int32_t)(rest % p.planes);
        rest /= p.planes;
        const int32_t chunk = (int32_t)(rest % p.chunks);
        const int32_t column = (int32_t)(rest / p.chunks) * p.columns + n * 8 + lane / 4;
        const int32_t element = lane % 4 * 2, q = 2 * s + word;
        packed[i] = simt::pack_bf16(weight_at(p, weight, chunk, z, y, q, element, column),
                                    weight_at(p, weight, chunk, z, y, q, element + 1, column));
    }
}

/* One plane of taps; `halo` begins at this warp's first row, `weight` at its columns. */
template <class F>
RVX_DEVICE void add_plane(float (&sum)[F::ROWS][F::N][4], const unsigned char *halo, int voxel,
                          const uint32_t *weight)
{
    const int matrix = lane() / 8;
#pragma unroll 1
    for (int s = 0; s < F::STEPS; s++) {
        uint32_t b[3][F::N][2];
#pragma unroll
        for (int y = 0; y < 3; y++)
#pragma unroll
            for (int n = 0; n < F::N; n++) {
                const uint32_t *from =
                    weight + ((y * F::STEPS + s) * (F::COLUMNS / 8) + n) * 64 + lane() * 2;
                const Words2 pair = *reinterpret_cast<const Words2 *>(from);
                b[y][n][0] = pair.word[0];
                b[y][n][1] = pair.word[1];
            }
        /* Beyond the last group weights are zero: any finite number will do. */
        int q = 2 * s + matrix / 2;
        q = q < 3 * F::GROUPS ? q : 2 * s;
        const int first = voxel + q / F::GROUPS + matrix % 2 * 8 + lane() % 8;
        /* Groups are exchanged alike in rows 4 apart: 72 voxels. */
        const unsigned char *from[4];
#pragma unroll
        for (int row = 0; row < 4; row++)
            from[row] = halo + slot<F::GROUPS>(first + row * HALO_X, q % F::GROUPS);
#pragma unroll
        for (int row = 0; row < F::ROWS + 2; row++) {
            uint32_t a[4];
            simt::load_matrix_x4(a, from[row % 4] + row / 4 * (4 * HALO_X * F::GROUPS * 16));
#pragma unroll
            for (int y = 0; y < 3; y++)
                if (row - y >= 0 && row - y < F::ROWS)
#pragma unroll
                    for (int n = 0; n < F::N; n++)
                        simt::multiply_bf16(sum[(row - y + F::ROWS) % F::ROWS][n], a, b[y][n][0],
                                            b[y][n][1]);
        }
    }
}

/* Finishes this warp's rows, W channels of a voxel at a time; lanes that follow each other store
 * what does. */
template <class F, int W>
RVX_DEVICE void finish_rows(const Finish &f, const float *sums, const Box &first,
                            int32_t first_channel)
{
    enum { ACROSS = F::N * GROUP / W };
    for (int i = lane(); i < F::ROWS * TILE_X * ACROSS; i += 32) {
        const int voxel = i / ACROSS, column = i % ACROSS * W;
        const int32_t y = first.y + voxel / TILE_X, x = first.x + voxel % TILE_X,
                      channel = first_channel + column;
        if (first.z >= f.target.d || y >= f.target.h || x >= f.target.w || channel >= f.target.c)
            continue;
        float v[W];
#pragma unroll
        for (int k = 0; k < W; k++)
            v[k] = sums[voxel * F::SUMS_PITCH + column + k];
        finish(f, f.target.voxel(first.n, first.z, y, x), channel, v);
    }
}

/* Through shared memory, which nobody reads any more. */
template <class F>
RVX_DEVICE void store_rows(const Finish &f, const float (&sum)[F::ROWS][F::N][4], float *shared,
                           const Box &first, int32_t first_channel)
{
    float *own = shared + warp() * F::ROWS * TILE_X * F::SUMS_PITCH;
#pragma unroll
    for (int r = 0; r < F::ROWS; r++)
#pragma unroll
        for (int n = 0; n < F::N; n++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                Words2 pair = {
                    {simt::as_bits(sum[r][n][2 * h]), simt::as_bits(sum[r][n][2 * h + 1])}};
                *reinterpret_cast<Words2 *>(own +
                                            (r * TILE_X + h * 8 + lane() / 4) * F::SUMS_PITCH +
                                            n * GROUP + lane() % 4 * 2) = pair;
            }
    simt::warp_barrier();
    if (f.eight)
        finish_rows<F, GROUP>(f, own, first, first_channel);
    else
        finish_rows<F, 1>(f, own, first, first_channel);
}

template <class F>
RVX_DEVICE void bring_halo(const Parameters &p, unsigned char *halo, const Box &source,
                           int32_t chunk)
{
    float *table = reinterpret_cast<float *>(halo + F::HALO_BYTES);
    bring_box<F::GROUPS, HALO_Y, HALO_X, F::COUNT>(
        halo, table, p.source, p.fold, source, chunk * F::GROUPS * GROUP,
        (TILE_Z + p.planes - 1) * HALO_Y * HALO_X, p.access);
}

template <class F> RVX_GLOBAL void RVX_BOUNDS(F::COUNT, F::BLOCKS) halo_kernel(Parameters p)
{
    RVX_SHARED(unsigned char, halo);
    uint32_t *stages = reinterpret_cast<uint32_t *>(halo + F::STAGES_AT);
    const int32_t column_tile = (int32_t)(blockIdx.x % (unsigned)p.column_tiles);
    Box tile = p.tiles.at((uint32_t)blockIdx.x / (uint32_t)p.column_tiles);
    const int z = warp() % TILE_Z, row = warp() / TILE_Z % F::ROW_WARPS * F::ROWS,
              column = warp() / TILE_Z / F::ROW_WARPS * F::N * 8;
    const int32_t channel = column_tile * F::COLUMNS + column;
    const Box source = {tile.n, tile.z + p.first[0], tile.y + p.first[1], tile.x + p.first[2]};
    const int32_t steps = p.chunks * p.planes;
    const uint32_t *weight = p.weight + (int64_t)column_tile * steps * F::STAGE_WORDS;

    auto bring_weight = [&](int32_t step) {
        for (int i = (int)threadIdx.x; i < F::STAGE_WORDS / 4; i += F::COUNT)
            simt::copy16_async(stages + step % 2 * F::STAGE_WORDS + 4 * i,
                               weight + (int64_t)step * F::STAGE_WORDS + 4 * i, true);
    };
    bring_weight(0);
    bring_halo<F>(p, halo, source, 0);
    float sum[F::ROWS][F::N][4];
#pragma unroll
    for (int n = 0; n < F::N; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int32_t c = channel + n * 8 + lane() % 4 * 2 + i;
            const float bias = p.finish.bias && c < p.finish.target.c ? p.finish.bias[c] : 0.0f;
#pragma unroll
            for (int r = 0; r < F::ROWS; r++)
                sum[r][n][i] = sum[r][n][i + 2] = bias;
        }
    for (int32_t chunk = 0, step = 0; chunk < p.chunks; chunk++) {
        if (F::GROUPS > 2 && chunk > 0) {
            simt::barrier(); /* nobody reads the chunk before */
            bring_halo<F>(p, halo, source, chunk);
        }
        for (int32_t plane = 0; plane < p.planes; plane++, step++) {
            simt::copy_commit();
            simt::copy_wait<0>();
            simt::barrier(); /* this stage is there, and nobody reads the one before */
            if (step + 1 < steps)
                bring_weight(step + 1);
            add_plane<F>(sum, halo, ((z + plane) * HALO_Y + row) * HALO_X,
                         stages + step % 2 * F::STAGE_WORDS + column * 8);
        }
    }
    tile.z += z;
    tile.y += row;
    simt::barrier();
    store_rows<F>(p.finish, sum, reinterpret_cast<float *>(halo), tile, channel);
}

/* ---- host -------------------------------------------------------------------------------------
 */

template <class F> void launch_form(const rvx::Correlation &c, Parameters p, simt::Stream queue)
{
    const rvx__cuda_gather &g = c.gather;
    p.column_tiles = (g.target_c + F::COLUMNS - 1) / F::COLUMNS;
    const Pack pack = {g, F::GROUPS, p.chunks, p.planes, F::STEPS, F::COLUMNS, p.column_tiles};
    const int64_t words = (int64_t)p.column_tiles * p.chunks * p.planes * F::STAGE_WORDS;
    simt::launch(pack_kernel, pointwise_grid(words), POINTWISE_THREADS, 0, queue, pack,
                 static_cast<const float *>(c.weight.data), static_cast<uint32_t *>(c.scratch),
                 words);
    simt::launch(halo_kernel<F>, dim3((unsigned)(p.tiles.count() * p.column_tiles)), F::COUNT,
                 F::BYTES, queue, p);
}

template <int GROUPS>
void launch_groups(const rvx::Correlation &c, const Parameters &p, simt::Stream queue)
{
    switch (rvx__cuda_halo_columns(c.gather.target_c)) {
    case 8:
        return launch_form<Form<GROUPS, 8>>(c, p, queue);
    case 16:
        return launch_form<Form<GROUPS, 16>>(c, p, queue);
    case 24:
        return launch_form<Form<GROUPS, 24>>(c, p, queue);
    case 32:
        return launch_form<Form<GROUPS, 32>>(c, p, queue);
    default:
        return launch_form<Form<GROUPS, 64>>(c, p, queue);
    }
}
} // namespace

namespace rvx
{
void correlate_halo(const Correlation &c, simt::Stream queue)
{
    const rvx__cuda_gather &g = c.gather;
    Parameters p = {};
    static_cast<Gathered &>(p) = gathered_of(c);
    p.weight = static_cast<const uint32_t *>(c.scratch);
    p.tiles = tiles_of(c.target.shape);
    p.planes = g.kernel[0];
    p.chunks = rvx__cuda_halo_chunks(g.source_c);
    p.access = access_of(c.source, c.fold, true);
    with_groups(rvx__cuda_halo_groups(g.source_c),
                [&](auto groups) { launch_groups<decltype(groups)::VALUE>(c, p, queue); });
}
} // namespace rvx
