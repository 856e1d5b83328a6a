/* Gathers as implicit matrix products: see correlate.h. A block computes ROWS targets of one class
 * by COLUMNS channels; the products k = tap * channels + channel come STEP at a time through STAGES
 * stages of shared memory. The sum goes back through shared memory so that 8 channels of a voxel
 * are finished together: bias, residual or added gradient, rounding. */
#include "kernels/cuda/correlate.h"
#include "kernels/cuda/finish.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/simt_hopper.h"

#include <assert.h>

namespace
{
using namespace rvx;

enum { STAGES = 3 };

struct Parameters {
    rvx__cuda_gather gather;
    View source;
    Fold fold;
    Finish finish;
    const void *weight; /* packed */
    int64_t row_tiles;  /* of the largest class */
    int32_t classes, column_tiles, columns;
    Access access;
};

/* One class along one axis: see conv_sizes.h. */
struct Axis {
    int32_t count, target_first, target_step, source_first, source_step, source_tap;
    int32_t taps, tap_first, tap_step;
};

RVX_DEVICE Axis axis_of(const rvx__cuda_gather &g, int a, int32_t which)
{
    if (!g.scatter)
        return {g.target[a], 0, 1, -g.pad[a], g.stride[a], 1, g.kernel[a], 0, 1};
    const int32_t stride = g.stride[a], first = (which + g.pad[a]) % stride;
    return {(g.target[a] - which + stride - 1) / stride, which, stride,
            (which + g.pad[a] - first) / stride,         1,     -1,
            rvx__cuda_class_taps(&g, a, which),          first, stride};
}

struct Class {
    Axis axis[3];
    int32_t products;
    int64_t first_group; /* of its packed weights */
};

/* Taps of the classes before `which` along an axis. */
RVX_DEVICE int64_t taps_before(const rvx__cuda_gather &g, int a, int32_t which)
{
    int64_t taps = 0;
    for (int32_t i = 0; i < which; i++)
        taps += rvx__cuda_class_taps(&g, a, i);
    return taps;
}

RVX_DEVICE Class class_of(const rvx__cuda_gather &g, int32_t which)
{
    const int32_t w = which % g.classes[2], h = which / g.classes[2] % g.classes[1],
                  d = which / g.classes[2] / g.classes[1];
    Class c = {{axis_of(g, 0, d), axis_of(g, 1, h), axis_of(g, 2, w)}, 0, 0};
    c.products = c.axis[0].taps * c.axis[1].taps * c.axis[2].taps * g.source_c;
    const int64_t before =
        (taps_before(g, 0, d) * g.taps[1] + c.axis[0].taps * taps_before(g, 1, h)) * g.taps[2] +
        (int64_t)c.axis[0].taps * c.axis[1].taps * taps_before(g, 2, w);
    c.first_group = before * g.source_c / GROUP + which;
    return c;
}

/* ---- weights ----------------------------------------------------------------------------------
 */

/* [group][target channel][8 products], zeros beyond the last of either; `chunks` blocks a class. */
template <class Element>
RVX_GLOBAL void RVX_BOUNDS(POINTWISE_THREADS)
    pack_kernel(rvx__cuda_gather g, const float *__restrict__ weight, Element *__restrict__ packed,
                int32_t columns, int64_t chunks)
{
    const int32_t which = (int32_t)(blockIdx.x / chunks);
    const Class c = class_of(g, which);
    const int64_t items = (int64_t)((c.products + GROUP - 1) / GROUP) * columns;
    for (int64_t i = (int64_t)(blockIdx.x % chunks) * POINTWISE_THREADS + (int64_t)threadIdx.x;
         i < items; i += chunks * POINTWISE_THREADS) {
        const int32_t n = (int32_t)(i % columns);
        float v[GROUP];
#pragma unroll
        for (int j = 0; j < GROUP; j++) {
            const int32_t k = (int32_t)(i / columns) * GROUP + j;
            v[j] = 0.0f;
            if (k >= c.products || n >= g.target_c)
                continue;
            const int32_t channel = k % g.source_c, t = k / g.source_c;
            const int32_t t2 = t % c.axis[2].taps, t1 = t / c.axis[2].taps % c.axis[1].taps,
                          t0 = t / c.axis[2].taps / c.axis[1].taps;
            const int64_t tap =
                ((int64_t)(c.axis[0].tap_first + t0 * c.axis[0].tap_step) * g.kernel[1] +
                 c.axis[1].tap_first + t1 * c.axis[1].tap_step) *
                    g.kernel[2] +
                c.axis[2].tap_first + t2 * c.axis[2].tap_step;
            v[j] = g.turned ? weight[(tap * g.target_c + n) * g.source_c + channel]
                            : weight[(tap * g.source_c + channel) * g.target_c + n];
        }
        put_group(packed + (c.first_group * columns + i) * GROUP, v);
    }
}

/* ---- sources ----------------------------------------------------------------------------------
 */

/* A target: where its first tap meets the source, the number of that voxel (which may lie outside)
 * and its own, or -1. */
struct Row {
    int64_t source, target;
    int32_t z, y, x, n;
};

RVX_DEVICE Row row_of(const Parameters &p, const Class &c, int64_t q)
{
    const Axis &d = c.axis[0], &h = c.axis[1], &w = c.axis[2];
    Row r = {0, -1, -0x40000000, 0, 0, 0};
    if (q >= (int64_t)p.gather.samples * d.count * h.count * w.count)
        return r;
    const int32_t x = (int32_t)(q % w.count);
    q /= w.count;
    const int32_t y = (int32_t)(q % h.count);
    q /= h.count;
    const int32_t z = (int32_t)(q % d.count);
    r.n = (int32_t)(q / d.count);
    r.z = z * d.source_step + d.source_first;
    r.y = y * h.source_step + h.source_first;
    r.x = x * w.source_step + w.source_first;
    r.source = p.source.voxel(r.n, r.z, r.y, r.x);
    r.target = p.finish.target.voxel(r.n, z * d.target_step + d.target_first,
                                     y * h.target_step + h.target_first,
                                     x * w.target_step + w.target_first);
    return r;
}

/* Product k of a class, moved on from stage to stage. */
struct Walk {
    int32_t channel, tap[3];

    RVX_DEVICE Walk(const Class &c, int32_t channels, int32_t k)
    {
        const int32_t t = k / channels, w = c.axis[2].taps > 0 ? c.axis[2].taps : 1,
                      h = c.axis[1].taps > 0 ? c.axis[1].taps : 1;
        channel = k % channels;
        tap[0] = t / w / h;
        tap[1] = t / w % h;
        tap[2] = t % w;
    }
    RVX_DEVICE void advance(const Class &c, int32_t channels, int32_t by)
    {
        for (channel += by; channel >= channels; channel -= channels) {
            if (++tap[2] < c.axis[2].taps)
                continue;
            tap[2] = 0;
            if (++tap[1] < c.axis[1].taps)
                continue;
            tap[1] = 0;
            tap[0]++;
        }
    }
};

/* The operand of product(s) `walk` for all rows into a stage; a thread has one product or group of
 * products, and every THREADS / columns-th row. */
template <class Number>
RVX_DEVICE void bring_source(const Parameters &p, const Class &c, const Row *rows, const Walk &walk,
                             typename Number::Element *tile)
{
    const int columns = p.access == ONE ? Number::STEP : Number::STEP / GROUP;
    const int column = (int)threadIdx.x % columns;
    const int32_t dz = walk.tap[0] * c.axis[0].source_tap, dy = walk.tap[1] * c.axis[1].source_tap,
                  dx = walk.tap[2] * c.axis[2].source_tap;
    const bool any = walk.tap[0] < c.axis[0].taps;
    const int64_t offset = ((int64_t)dz * p.source.h + dy) * p.source.w + dx;
    for (int i = (int)threadIdx.x / columns; i < ROWS; i += THREADS / columns) {
        const Row &r = rows[i];
        const bool ok = any && (uint32_t)(r.z + dz) < (uint32_t)p.source.d &&
                        (uint32_t)(r.y + dy) < (uint32_t)p.source.h &&
                        (uint32_t)(r.x + dx) < (uint32_t)p.source.w;
        const int64_t at = p.source.at(r.source + offset, walk.channel);
        if (p.access == ONE)
            bring_element(tile + (column / GROUP * ROW_PITCH + i) * GROUP + column % GROUP,
                          p.source, at, p.fold, r.n, walk.channel, ok);
        else
            bring_group(tile + (column * ROW_PITCH + i) * GROUP, p.source, at, p.fold, r.n,
                        walk.channel, ok, p.access);
    }
}

template <class Number, int COLUMNS>
RVX_DEVICE void bring_weight(const Parameters &p, const Class &c, int32_t group, int32_t column,
                             typename Number::Element *tile)
{
    typedef typename Number::Element Element;
    const Element *from = static_cast<const Element *>(p.weight);
    const int32_t groups = (c.products + GROUP - 1) / GROUP;
    for (int i = (int)threadIdx.x; i < Number::STEP / GROUP * COLUMNS; i += THREADS) {
        const int32_t g = group + i / COLUMNS;
        const bool ok = g < groups;
        const int64_t at = ((c.first_group + g) * p.columns + column + i % COLUMNS) * GROUP;
        copy_group(tile + i * GROUP, from + (ok ? at : 0), ok);
    }
}

/* ---- kernel -----------------------------------------------------------------------------------
 */

/* Finishes N channels of a voxel at a time. */
template <int N>
RVX_DEVICE void finish_rows(const Parameters &p, const Row *rows, const float *sums, int columns,
                            int32_t first_column)
{
    const int across = columns / N;
    for (int i = (int)threadIdx.x; i < ROWS * across; i += THREADS) {
        const int row = i / across, column = i % across * N;
        const int32_t channel = first_column + column;
        if (rows[row].target < 0 || channel >= p.gather.target_c)
            continue;
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = simt::add(sums[row * (columns + PAD) + column + k],
                             p.finish.bias ? p.finish.bias[channel + k] : 0.0f);
        finish(p.finish, rows[row].target, channel, v);
    }
}

/* Bytes of shared memory: rows, then stages or sums. */
template <class Number, int COLUMNS> struct Shared {
    enum {
        SOURCE = Number::STEP * ROW_PITCH,
        STAGE = SOURCE + Number::STEP * COLUMNS,
        PITCH = COLUMNS + PAD,
        ROWS_BYTES = ROWS * (int)sizeof(Row),
        STAGES_BYTES = STAGES * STAGE * (int)sizeof(typename Number::Element),
        SUMS_BYTES = ROWS * PITCH * (int)sizeof(float),
        BYTES = ROWS_BYTES + (STAGES_BYTES > SUMS_BYTES ? (int)STAGES_BYTES : (int)SUMS_BYTES)
    };
};

template <class Number, int COLUMNS>
RVX_DEVICE void correlate_tile(const Parameters &p, int64_t tile, unsigned char *shared)
{
    typedef typename Number::Element Element;
    typedef Shared<Number, COLUMNS> Sizes;
    Row *rows = reinterpret_cast<Row *>(shared);
    Element *stages = reinterpret_cast<Element *>(shared + Sizes::ROWS_BYTES);
    float *sums = reinterpret_cast<float *>(shared + Sizes::ROWS_BYTES);
    /* Tiles that read the same sources are neighbours. */
    const int32_t first_column = (int32_t)(tile % p.column_tiles) * COLUMNS;
    const Class c = class_of(p.gather, (int32_t)(tile / p.column_tiles % p.classes));
    const int64_t first_row = tile / p.column_tiles / p.classes * ROWS;
    if ((int)threadIdx.x < ROWS)
        rows[threadIdx.x] = row_of(p, c, first_row + (int64_t)threadIdx.x);
    simt::barrier();

    const int32_t steps = (c.products + Number::STEP - 1) / Number::STEP;
    Walk walk(c, p.gather.source_c,
              p.access == ONE ? (int32_t)threadIdx.x % Number::STEP
                              : (int32_t)threadIdx.x % (Number::STEP / GROUP) * GROUP);
    auto bring = [&](int32_t step) {
        if (step < steps) {
            Element *stage = stages + step % STAGES * Sizes::STAGE;
            bring_weight<Number, COLUMNS>(p, c, step * (Number::STEP / GROUP), first_column,
                                          stage + Sizes::SOURCE);
            bring_source<Number>(p, c, rows, walk, stage);
            walk.advance(c, p.gather.source_c, Number::STEP);
        }
        simt::copy_commit();
    };
    Number block;
    block.clear();
    for (int32_t step = 0; step < STAGES - 1; step++)
        bring(step);
    for (int32_t step = 0; step < steps; step++) {
        simt::copy_wait<STAGES - 2>();
        simt::barrier(); /* this stage is there, and nobody reads the one before */
        bring(step + STAGES - 1);
        const Element *stage = stages + step % STAGES * Sizes::STAGE;
        block.add_groups(stage, stage + Sizes::SOURCE);
    }
    simt::copy_wait<0>();
    simt::barrier();

    block.each([&](int row, int column, float sum) { sums[row * Sizes::PITCH + column] = sum; });
    simt::barrier();
    if (p.finish.eight)
        finish_rows<GROUP>(p, rows, sums, COLUMNS, first_column);
    else
        finish_rows<1>(p, rows, sums, COLUMNS, first_column);
    simt::barrier();
}

template <class Number, int COLUMNS>
RVX_GLOBAL void RVX_BOUNDS(THREADS, COLUMNS > 64 ? 1 : 2) correlate_kernel(Parameters p)
{
    RVX_SHARED(unsigned char, shared);
    const int64_t tiles = p.row_tiles * p.classes * p.column_tiles;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x)
        correlate_tile<Number, COLUMNS>(p, tile, shared);
}

/* ---- host -------------------------------------------------------------------------------------
 */

unsigned grid_of(int64_t blocks) { return (unsigned)(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

template <class Number, int COLUMNS> void launch_tiles(const Parameters &p, simt::Stream queue)
{
    Parameters tiles = p;
    tiles.column_tiles = p.columns / COLUMNS;
    simt::launch(correlate_kernel<Number, COLUMNS>,
                 dim3(grid_of(p.row_tiles * p.classes * tiles.column_tiles)), THREADS,
                 Shared<Number, COLUMNS>::BYTES, queue, tiles);
}

template <template <int> class Number, int MOST>
void launch_columns(const Parameters &p, simt::Stream queue)
{
    switch (rvx__cuda_conv_columns(p.gather.target_c)) {
    case 16:
        launch_tiles<Number<16>, 16>(p, queue);
        break;
    case 32:
        launch_tiles<Number<32>, 32>(p, queue);
        break;
    case 64:
        launch_tiles<Number<64>, 64>(p, queue);
        break;
    default:
        launch_tiles<Number<MOST>, MOST>(p, queue);
    }
}

template <class Element> void pack(const rvx::Correlation &c, int32_t columns, simt::Stream queue)
{
    const rvx__cuda_gather &g = c.gather;
    int64_t products = g.source_c, classes = rvx__cuda_gather_classes(&g);
    for (int a = 0; a < 3; a++)
        products *= g.scatter ? (g.kernel[a] + g.stride[a] - 1) / g.stride[a] : g.kernel[a];
    int64_t chunks =
        ((products + GROUP - 1) / GROUP * columns + POINTWISE_THREADS - 1) / POINTWISE_THREADS;
    if (chunks * classes > 0x7FFFFFFF)
        chunks = 1;
    simt::launch(pack_kernel<Element>, dim3((unsigned)(chunks * classes)), POINTWISE_THREADS, 0,
                 queue, g, static_cast<const float *>(c.weight.data),
                 static_cast<Element *>(c.scratch), columns, chunks);
}
} // namespace

namespace rvx
{
static bool fits(const Correlation &c, Kernel kernel)
{
    const rvx__cuda_gather &g = c.gather;
    if (kernel == STREAM)
        return c.bf16 && rvx__cuda_stream_fits(&g);
    if (kernel == HALO)
        return c.bf16 && rvx__cuda_halo_fits(g.kernel, g.stride, g.source_c, g.target_c);
    return kernel == ANY;
}

static bool takes(const Correlation &c, Kernel kernel)
{
    return fits(c, kernel) && (kernel != STREAM || simt::hopper());
}

/* The stream of planes is taken on devices that have it from 16 channels on: below, a product's
 * columns would not fill the matrix units. That it is the faster one there is a prediction: see
 * bench/results. */
static Kernel chosen(const Correlation &c)
{
    const bool fills = c.gather.source_c >= 16 && c.gather.target_c >= 16;
    return fills && takes(c, STREAM) ? STREAM : takes(c, HALO) ? HALO : ANY;
}

int correlate_kernels(Kernel (&list)[KERNELS], const Correlation &c)
{
    int count = 0;
    list[count++] = chosen(c);
    for (int k = ANY; k < KERNELS; k++)
        if (k != list[0] && takes(c, (Kernel)k))
            list[count++] = (Kernel)k;
    return count;
}

void correlate(const Correlation &c, simt::Stream queue)
{
    const Kernel kernel = c.kernel == CHOSEN ? chosen(c) : c.kernel;
    assert(fits(c, kernel));
    if (kernel == STREAM)
        correlate_stream(c, queue);
    else if (kernel == HALO)
        correlate_halo(c, queue);
    else
        correlate_any(c, queue);
}

void correlate_any(const Correlation &c, simt::Stream queue)
{
    const rvx__cuda_gather &g = c.gather;
    Parameters p = {};
    p.gather = g;
    p.source = view_of(c.source);
    p.fold = fold_of(c.fold);
    p.finish = finish_of(c);
    p.weight = c.scratch;
    p.classes = (int32_t)rvx__cuda_gather_classes(&g);
    p.columns = (int32_t)rvx__cuda_gather_columns(&g);
    p.access = access_of(c.source, c.fold, c.bf16);
    int64_t rows = g.samples;
    for (int a = 0; a < 3; a++)
        rows *= g.scatter ? (g.target[a] + g.stride[a] - 1) / g.stride[a] : g.target[a];
    p.row_tiles = (rows + ROWS - 1) / ROWS;
    if (c.bf16) {
        pack<uint16_t>(c, p.columns, queue);
        launch_columns<Bf16, 128>(p, queue);
    } else {
        pack<float>(c, p.columns, queue);
        if (c.tf32)
            launch_columns<Tf32, 64>(p, queue);
        else
            launch_columns<F32, 64>(p, queue);
    }
}
} // namespace rvx
