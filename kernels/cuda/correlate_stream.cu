/* Gathers of 3 x 3 x 3 taps, stride 1, up to 32 source channels, on sm_90a: see correlate.h. A
 * block has a column of the volume, 32 voxels by 8 or 16, and walks along z. Each plane of the
 * source comes to shared memory once and meets the weights of all 27 taps at once: a product has 64
 * voxels and 3 COLUMNS columns, one third for each of the three target planes that the source plane
 * adds to.
 *
 * One group of four warps produces: a tensor copy brings a plane as it is stored, the threads fold
 * and round it and put it where products read it, 16 bytes of a voxel for each group of 8 channels,
 * plane by plane of groups. Two groups of four warps consume: 8 x 8 voxels are one product's rows,
 * a tap is another first address. Stages pass between them through gates.
 *
 * Plane j (from 0 on, two more than targets) adds tap k along z to target j - k, whose sums stand
 * in third (j - k) % 3. Weights of a step are packed as five blocks for k = 1 0 2 1 0: those of
 * plane j are three that follow each other, from block 1, 0 or 2 on for j % 3 = 0, 1 or 2. Sums
 * never move between registers, and a target's 27 taps are added in the same order wherever it
 * lies. */
#include "kernels/cuda/correlate.h"
#include "kernels/cuda/gather_form.h"
#include "kernels/cuda/halo.h"
#include "kernels/cuda/simt_hopper.h"
#include "kernels/cuda/tap_weight.h"

namespace
{
using namespace rvx;

enum {
    CONSUMERS = 2, /* groups of four warps */
    WARPGROUP = 128,
    COUNT = (CONSUMERS + 1) * WARPGROUP,
    COLUMN_X = 32, /* voxels of a block's column */
    PLANE_X = COLUMN_X + 2,
    RAW_STAGES = 2,
    STAGES = 3, /* also the thirds of the sums */
    BLOCKS_OF_WEIGHTS = 5,
    ROW_BYTES = PLANE_X * 16 /* of a plane, of one group of channels */
};

template <int GROUPS_, int COLUMNS_> struct Form {
    enum {
        GROUPS = GROUPS_,
        COLUMNS = COLUMNS_,
        COLUMN_Y = GROUPS <= 2 && COLUMNS <= 16 ? 16 : 8,
        PLANE_Y = COLUMN_Y + 2,
        TILES = COLUMN_Y / 8 * (COLUMN_X / 8) / CONSUMERS, /* of 64 voxels, of a group of warps */
        N = STAGES * COLUMNS,
        STEPS = (9 * GROUPS + 1) / 2,
        VOXELS = PLANE_Y * PLANE_X,
        GROUP_BYTES = VOXELS * 16,
        PLANE_BYTES = GROUPS * GROUP_BYTES,
        STEP_BYTES = BLOCKS_OF_WEIGHTS * COLUMNS * 32,
        WEIGHT_BYTES = STEPS * STEP_BYTES,
        RAW_BYTES = (PLANE_BYTES + 127) / 128 * 128,
        SUMS_PITCH = COLUMNS + (COLUMNS % 16 ? 0 : 8), /* stores of pairs share no bank */
        SUMS_BYTES = 16 * SUMS_PITCH * 4,              /* of a warp */
        PLANES_AT = RAW_STAGES * RAW_BYTES,
        WEIGHT_AT = PLANES_AT + STAGES * PLANE_BYTES,
        SUMS_AT = WEIGHT_AT + WEIGHT_BYTES,
        FOLD_AT = SUMS_AT + CONSUMERS * 4 * SUMS_BYTES,
        GATES_AT = FOLD_AT + FOLD_BYTES,
        BYTES = GATES_AT + (2 * RAW_STAGES + 2 * STAGES + 1) * 8
    };
};

struct Gates {
    simt::Gate raw_full[RAW_STAGES], raw_empty[RAW_STAGES], full[STAGES], empty[STAGES], weight;
};

/* Columns of the volume, cut along z; those that follow each other lie side by side. */
struct Columns {
    int32_t x, y, pieces, samples, planes; /* planes of a piece */
};

struct Parameters : Gathered {
    simt::TensorMap map;         /* of the source, if `mapped` */
    const unsigned char *weight; /* packed */
    Columns columns;
    int32_t column_tiles;
    int32_t map_x[2]; /* coordinates 0 and 1 of the map for a voxel further along x */
    Access access;
    bool mapped;
};

/* ---- steps ------------------------------------------------------------------------------------
 * Groups of 8 products are numbered q = tap in the plane * GROUPS + channel group. A step has two
 * of them, the one at the lower address first; the last step of an odd number has one whose weights
 * are zero. */

RVX_BOTH constexpr int group_offset(int groups, int group_bytes, int q)
{
    return q % groups * group_bytes + q / groups / 3 * ROW_BYTES + q / groups % 3 * 16;
}
RVX_BOTH constexpr bool is_single(int groups, int step) { return 2 * step + 1 == 9 * groups; }
RVX_BOTH constexpr int group_of_step(int groups, int group_bytes, int step, int half)
{
    const int a = 2 * step, b = is_single(groups, step) ? a - groups : a + 1;
    const bool ordered =
        group_offset(groups, group_bytes, a) < group_offset(groups, group_bytes, b);
    return ordered == (half == 0) ? a : b;
}

/* [column tile][step][block][8 columns][half][column][product], bf16, two a word. */
struct Pack {
    rvx__cuda_gather gather;
    int32_t groups, group_bytes, steps, columns;
};

RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    pack_kernel(Pack p, const float *__restrict__ weight, uint32_t *__restrict__ packed,
                int64_t words)
{
    for (int64_t i = first_item(); i < words; i += item_step()) {
        int64_t rest = i / 64;
        const int32_t element = (int32_t)(i % 4) * 2, row = (int32_t)(i / 4 % 8),
                      half = (int32_t)(i / 32 % 2);
        const int32_t n = (int32_t)(rest % (p.columns / 8));
        rest /= p.columns / 8;
        const int32_t z = (int32_t)(4 - rest % BLOCKS_OF_WEIGHTS) % 3;
        rest /= BLOCKS_OF_WEIGHTS;
        const int32_t step = (int32_t)(rest % p.steps);
        const int32_t column = (int32_t)(rest / p.steps) * p.columns + n * 8 + row;
        const int32_t q = group_of_step(p.groups, p.group_bytes, step, half),
                      channel = q % p.groups * GROUP + element, tap = q / p.groups;
        float v[2] = {};
        for (int k = 0; k < 2; k++)
            if (!is_single(p.groups, step) || q == 2 * step)
                v[k] = tap_weight(p.gather, weight, z, tap / 3, tap % 3, channel + k, column);
        packed[i] = simt::pack_bf16(v[0], v[1]);
    }
}

/* ---- a block's place --------------------------------------------------------------------------
 */

struct Place {
    Box target;      /* the first */
    int32_t targets; /* planes */
    int32_t column_tile;
};

template <class F> RVX_DEVICE Place place_of(const Parameters &p)
{
    const Columns &c = p.columns;
    uint32_t i = (uint32_t)blockIdx.x;
    Place place;
    place.column_tile = (int32_t)(i % (uint32_t)p.column_tiles);
    i /= (uint32_t)p.column_tiles;
    place.target.x = (int32_t)(i % (uint32_t)c.x) * COLUMN_X;
    i /= (uint32_t)c.x;
    place.target.y = (int32_t)(i % (uint32_t)c.y) * F::COLUMN_Y;
    i /= (uint32_t)c.y;
    place.target.z = (int32_t)(i % (uint32_t)c.pieces) * c.planes;
    place.target.n = (int32_t)(i / (uint32_t)c.pieces);
    const int32_t left = p.finish.target.d - place.target.z;
    place.targets = left < c.planes ? left : c.planes;
    return place;
}

/* ---- producers --------------------------------------------------------------------------------
 */

/* One thread asks for a plane as it is stored. */
template <class F>
RVX_DEVICE void ask_for_plane(const Parameters &p, unsigned char *shared, Gates *gates,
                              const Box &first, int32_t j)
{
    const int32_t stage = j % RAW_STAGES;
    const int32_t at[5] = {first.x * p.map_x[0], first.x * p.map_x[1], first.y, first.z + j,
                           first.n};
    simt::gate_wait(&gates->raw_empty[stage], (uint32_t)(j / RAW_STAGES % 2 ^ 1));
    simt::gate_arrive_expecting(&gates->raw_full[stage], F::PLANE_BYTES);
    simt::tensor_copy(shared + stage * F::RAW_BYTES, &p.map, at, &gates->raw_full[stage]);
}

/* 8 channels of a voxel of the source, folded and rounded, from memory. */
RVX_DEVICE Words4 loaded(const View &t, int64_t at, const float *group, bool folds, Access access)
{
    float v[GROUP];
    if (access == ONE) {
#pragma unroll
        for (int k = 0; k < GROUP; k++) {
            float one[1];
            load(t, at + k, one);
            v[k] = one[0];
        }
    } else {
        load(t, at, v);
    }
    Words4 words;
#pragma unroll
    for (int k = 0; k < GROUP; k += 2)
        words.word[k / 2] = simt::pack_bf16(folds ? folded(group, k, v[k]) : v[k],
                                            folds ? folded(group, k + 1, v[k + 1]) : v[k + 1]);
    return words;
}

/* Plane j from its raw stage, or from memory, to the stage of products; zeros outside the volume,
 * whatever the fold makes of zeros. */
template <class F>
RVX_DEVICE void make_plane(const Parameters &p, const unsigned char *raw, unsigned char *plane,
                           const float *table, const Box &first, int32_t j)
{
    enum { STEP = WARPGROUP / F::GROUPS * F::GROUPS };
    const int thread = (int)threadIdx.x - CONSUMERS * WARPGROUP, g = thread % F::GROUPS;
    const float *group = table + g * 3 * GROUP;
    const Box box = {first.n, first.z + j, first.y, first.x};
    const bool folds = p.fold.data != nullptr, as_it_is = !folds && p.source.dtype == RVX_BF16;
    if (thread >= STEP)
        return;
#pragma unroll 1
    for (int v = thread / F::GROUPS; v < F::VOXELS; v += STEP / F::GROUPS) {
        const int64_t at = box_element<F::PLANE_Y, PLANE_X>(p.source, box, v, g * GROUP);
        Words4 words = {};
        if (at >= 0 && p.mapped) {
            words = *reinterpret_cast<const Words4 *>(raw + (v * F::GROUPS + g) * 16);
            if (!as_it_is)
                words = transformed(words, p.source, group, folds);
        } else if (at >= 0) {
            words = loaded(p.source, at, group, folds, p.access);
        }
        simt::store_shared(plane + g * F::GROUP_BYTES + v * 16, words.word);
    }
}

template <class F>
RVX_DEVICE void produce(const Parameters &p, unsigned char *shared, Gates *gates,
                        const Place &place)
{
    const Box &t = place.target;
    const Box first = {t.n, t.z + p.first[0], t.y + p.first[1], t.x + p.first[2]};
    const int32_t planes = place.targets + 2;
    const bool asks = threadIdx.x == CONSUMERS * WARPGROUP;
    if (asks) {
        simt::gate_arrive_expecting(&gates->weight, F::WEIGHT_BYTES);
        simt::bulk_copy(shared + F::WEIGHT_AT,
                        p.weight + (int64_t)place.column_tile * F::WEIGHT_BYTES, F::WEIGHT_BYTES,
                        &gates->weight);
        if (p.mapped)
            ask_for_plane<F>(p, shared, gates, first, 0);
    }
#pragma unroll 1
    for (int32_t j = 0; j < planes; j++) {
        const int32_t raw = j % RAW_STAGES, stage = j % STAGES;
        if (p.mapped) {
            if (asks && j + 1 < planes)
                ask_for_plane<F>(p, shared, gates, first, j + 1);
            simt::gate_wait(&gates->raw_full[raw], (uint32_t)(j / RAW_STAGES % 2));
        }
        simt::gate_wait(&gates->empty[stage], (uint32_t)(j / STAGES % 2 ^ 1));
        make_plane<F>(p, shared + raw * F::RAW_BYTES,
                      shared + F::PLANES_AT + stage * F::PLANE_BYTES,
                      reinterpret_cast<const float *>(shared + F::FOLD_AT), first, j);
        simt::publish();
        simt::warp_barrier();
        if (lane() == 0) {
            simt::gate_arrive(&gates->full[stage]);
            simt::gate_arrive(&gates->raw_empty[raw]);
        }
    }
}

/* ---- consumers --------------------------------------------------------------------------------
 */

/* First voxel of tile m of a group of warps, from the block's first. */
template <class F> RVX_DEVICE int tile_y(int group, int m)
{
    return (group * F::TILES + m) / (COLUMN_X / 8) * 8;
}
template <class F> RVX_DEVICE int tile_x(int group, int m)
{
    return (group * F::TILES + m) % (COLUMN_X / 8) * 8;
}

/* Adds all taps of a plane. */
template <class F>
RVX_DEVICE void add_plane(float (&sum)[F::TILES][F::N / 2], int group, uint32_t plane,
                          uint32_t weight)
{
#pragma unroll
    for (int m = 0; m < F::TILES; m++)
        simt::settle(sum[m]);
    simt::products_begin();
#pragma unroll
    for (int s = 0; s < F::STEPS; s++) {
        const int low = group_offset(F::GROUPS, F::GROUP_BYTES,
                                     group_of_step(F::GROUPS, F::GROUP_BYTES, s, 0)),
                  high = group_offset(F::GROUPS, F::GROUP_BYTES,
                                      group_of_step(F::GROUPS, F::GROUP_BYTES, s, 1));
        const uint64_t b = simt::matrix_at(weight + (uint32_t)(s * F::STEP_BYTES), 128, 256);
#pragma unroll
        for (int m = 0; m < F::TILES; m++) {
            const uint32_t at =
                (uint32_t)(tile_y<F>(group, m) * ROW_BYTES + tile_x<F>(group, m) * 16 + low);
            simt::multiply_tiles<F::N>(
                sum[m], simt::matrix_at(plane + at, (uint32_t)(high - low), ROW_BYTES), b);
        }
    }
    simt::products_commit();
    simt::products_wait<0>();
#pragma unroll
    for (int m = 0; m < F::TILES; m++)
        simt::settle(sum[m]);
}

/* One third of the sums of a tile to shared memory; it begins anew. */
template <class F, int THIRD> RVX_DEVICE void take_third(float (&sum)[F::N / 2], float *own)
{
#pragma unroll
    for (int n = 0; n < F::COLUMNS / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float *const from = sum + THIRD * (F::COLUMNS / 2) + n * 4 + 2 * h;
            const Words2 pair = {{simt::as_bits(from[0]), simt::as_bits(from[1])}};
            *reinterpret_cast<Words2 *>(own + (h * 8 + lane() / 4) * F::SUMS_PITCH + n * GROUP +
                                        lane() % 4 * 2) = pair;
            from[0] = from[1] = 0.0f;
        }
}

/* Finishes this warp's 2 x 8 voxels of a tile, W channels at a time. */
template <class F, int W>
RVX_DEVICE void finish_voxels(const Finish &f, const float *own, const Box &first,
                              int32_t first_channel)
{
    enum { ACROSS = F::COLUMNS / W };
#pragma unroll 1
    for (int i = lane(); i < 16 * ACROSS; i += 32) {
        const int voxel = i / ACROSS, column = i % ACROSS * W;
        const int32_t y = first.y + voxel / 8, x = first.x + voxel % 8,
                      channel = first_channel + column;
        if (y >= f.target.h || x >= f.target.w || channel >= f.target.c)
            continue;
        float v[W];
#pragma unroll
        for (int k = 0; k < W; k++)
            v[k] = own[voxel * F::SUMS_PITCH + column + k] + (f.bias ? f.bias[channel + k] : 0.0f);
        finish(f, f.target.voxel(first.n, first.z, y, x), channel, v);
    }
}

/* After plane j: target j - 2 is complete; of the first two planes it lies before this piece. */
template <class F>
RVX_DEVICE void finish_plane(const Parameters &p, float (&sum)[F::TILES][F::N / 2], int group,
                             float *own, const Place &place, int32_t j)
{
    const int32_t third = (j + 1) % STAGES;
#pragma unroll
    for (int m = 0; m < F::TILES; m++) {
        const Box first = {place.target.n, place.target.z + j - 2,
                           place.target.y + tile_y<F>(group, m) + warp() % 4 * 2,
                           place.target.x + tile_x<F>(group, m)};
        if (third == 0)
            take_third<F, 0>(sum[m], own);
        else if (third == 1)
            take_third<F, 1>(sum[m], own);
        else
            take_third<F, 2>(sum[m], own);
        simt::warp_barrier();
        if (j >= 2 && p.finish.eight)
            finish_voxels<F, GROUP>(p.finish, own, first, place.column_tile * F::COLUMNS);
        else if (j >= 2)
            finish_voxels<F, 1>(p.finish, own, first, place.column_tile * F::COLUMNS);
        simt::warp_barrier();
    }
}

template <class F>
RVX_DEVICE void consume(const Parameters &p, unsigned char *shared, Gates *gates,
                        const Place &place)
{
    const uint32_t planes_at = simt::shared_address(shared + F::PLANES_AT),
                   weight_at = simt::shared_address(shared + F::WEIGHT_AT);
    const int group = simt::uniform(warp() / 4);
    float *own = reinterpret_cast<float *>(shared + F::SUMS_AT + warp() * F::SUMS_BYTES);
    float sum[F::TILES][F::N / 2];
#pragma unroll
    for (int m = 0; m < F::TILES; m++)
#pragma unroll
        for (int i = 0; i < F::N / 2; i++)
            sum[m][i] = 0.0f;
    simt::gate_wait(&gates->weight, 0);
#pragma unroll 1
    for (int32_t j = 0; j < place.targets + 2; j++) {
        const int32_t stage = j % STAGES, block = stage == 0 ? 1 : stage == 1 ? 0 : 2;
        simt::gate_wait(&gates->full[stage], (uint32_t)(j / STAGES % 2));
        add_plane<F>(sum, group, planes_at + (uint32_t)(stage * F::PLANE_BYTES),
                     weight_at + (uint32_t)(block * F::COLUMNS * 32));
        if (lane() == 0)
            simt::gate_arrive(&gates->empty[stage]);
        finish_plane<F>(p, sum, group, own, place, j);
    }
}

template <class F>
RVX_GLOBAL void RVX_BOUNDS(COUNT, 1) stream_kernel(const RVX_CONSTANT Parameters p)
{
    RVX_SHARED(unsigned char, shared);
    Gates *gates = reinterpret_cast<Gates *>(shared + F::GATES_AT);
    const Place place = place_of<F>(p);
    if (threadIdx.x == 0) {
        for (int s = 0; s < RAW_STAGES; s++) {
            simt::gate_init(&gates->raw_full[s], 1);
            simt::gate_init(&gates->raw_empty[s], 4); /* producing warps */
        }
        for (int s = 0; s < STAGES; s++) {
            simt::gate_init(&gates->full[s], 4);
            simt::gate_init(&gates->empty[s], CONSUMERS * 4);
        }
        simt::gate_init(&gates->weight, 1);
        simt::gates_ready();
    }
    if (p.fold.data)
        bring_fold<F::GROUPS>(reinterpret_cast<float *>(shared + F::FOLD_AT), p.fold,
                              place.target.n, 0, p.source.c);
    simt::barrier();
    if (threadIdx.x >= CONSUMERS * WARPGROUP)
        produce<F>(p, shared, gates, place);
    else
        consume<F>(p, shared, gates, place);
}

/* ---- host -------------------------------------------------------------------------------------
 */

/* Boxes of a plane of PLANE_Y x PLANE_X voxels. Where voxels follow each other without gaps, a row
 * is one piece of 8-byte elements, as far as a box may be long. False: threads load for themselves.
 */
bool map_source(Parameters *p, const rvx_tensor &t, uint32_t plane_y)
{
    const uint64_t c = (uint64_t)t.shape.c, pitch = 2 * (uint64_t)t.pitch;
    const bool whole = t.pitch == t.shape.c && PLANE_X * c / 4 <= 256;
    const uint64_t length[5] = {whole ? (uint64_t)t.shape.w * c / 4 : c,
                                whole ? 1 : (uint64_t)t.shape.w, (uint64_t)t.shape.h,
                                (uint64_t)t.shape.d, (uint64_t)t.shape.n};
    const uint64_t row = (uint64_t)t.shape.w * pitch, slice = (uint64_t)t.shape.h * row;
    const uint64_t step[4] = {whole ? row : pitch, row, slice, (uint64_t)t.shape.d * slice};
    const uint32_t box[5] = {whole ? (uint32_t)(PLANE_X * c / 4) : (uint32_t)c,
                             whole ? 1u : (uint32_t)PLANE_X, plane_y, 1, 1};
    p->map_x[0] = whole ? (int32_t)(c / 4) : 0;
    p->map_x[1] = whole ? 0 : 1;
    return t.dtype != RVX_F32 && wide(t) &&
           simt::tensor_map(&p->map, t.data, whole ? 8 : 2, length, step, box, simt::SWIZZLE_NONE);
}

/* Pieces along z of at least PLANES_MIN planes (each reads two more), until there are BLOCKS. The
 * bits do not depend on it. */
Columns columns_of(const rvx_shape &s, int32_t column_y, int32_t column_tiles)
{
    enum { BLOCKS = 512, PLANES_MIN = 16 };
    Columns c = {};
    c.x = (int32_t)((s.w + COLUMN_X - 1) / COLUMN_X);
    c.y = (int32_t)((s.h + column_y - 1) / column_y);
    c.samples = (int32_t)s.n;
    const int64_t columns = s.n * c.x * c.y * column_tiles,
                  wanted = (BLOCKS + columns - 1) / columns,
                  most = (s.d + PLANES_MIN - 1) / PLANES_MIN;
    const int64_t pieces = wanted < most ? wanted : most;
    c.planes = (int32_t)((s.d + pieces - 1) / pieces);
    c.pieces = (int32_t)((s.d + c.planes - 1) / c.planes);
    return c;
}

template <class F> void launch_form(const rvx::Correlation &c, Parameters p, simt::Stream queue)
{
    static_assert((int)F::BYTES <= 227 << 10, "shared memory of a block");
    const rvx__cuda_gather &g = c.gather;
    p.mapped = map_source(&p, c.source, F::PLANE_Y);
    p.column_tiles = (g.target_c + F::COLUMNS - 1) / F::COLUMNS;
    p.columns = columns_of(c.target.shape, F::COLUMN_Y, p.column_tiles);
    const Pack pack = {g, F::GROUPS, F::GROUP_BYTES, F::STEPS, F::COLUMNS};
    const int64_t words = (int64_t)p.column_tiles * F::WEIGHT_BYTES / 4;
    simt::launch(pack_kernel, pointwise_grid(words), POINTWISE_THREADS, 0, queue, pack,
                 static_cast<const float *>(c.weight.data), static_cast<uint32_t *>(c.scratch),
                 words);
    const int64_t blocks =
        (int64_t)p.columns.x * p.columns.y * p.columns.pieces * p.columns.samples * p.column_tiles;
    simt::launch(stream_kernel<F>, dim3((unsigned)blocks), COUNT, F::BYTES, queue, p);
}

template <int GROUPS>
void launch_groups(const rvx::Correlation &c, const Parameters &p, simt::Stream queue)
{
    switch (rvx__cuda_stream_columns(c.gather.target_c)) {
    case 8:
        return launch_form<Form<GROUPS, 8>>(c, p, queue);
    case 16:
        return launch_form<Form<GROUPS, 16>>(c, p, queue);
    case 24:
        return launch_form<Form<GROUPS, 24>>(c, p, queue);
    default:
        return launch_form<Form<GROUPS, 32>>(c, p, queue);
    }
}
} // namespace

namespace rvx
{
void correlate_stream(const Correlation &c, simt::Stream queue)
{
    Parameters p = {};
    static_cast<Gathered &>(p) = gathered_of(c);
    p.weight = static_cast<const unsigned char *>(c.scratch);
    p.access = wide(c.source) ? EIGHT : ONE;
    with_groups(c.gather.source_c / GROUP,
                [&](auto groups) { launch_groups<decltype(groups)::VALUE>(c, p, queue); });
}
} // namespace rvx
