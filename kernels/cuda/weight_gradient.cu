/* Weight and bias gradients: see weight_gradient.h. A block sums ROWS of the numbers (tap, channel
 * of many) by COLUMNS channels of few over one piece of the positions, STEP at a time; both
 * operands stand in shared memory position by position, as in memory. Partial sums are stored, and
 * a second kernel adds them piece after piece. */
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/weight_gradient.h"

#include <assert.h>

namespace
{
using namespace rvx;

enum { STAGES = 3, FLUSH_STEPS = 512 /* then sums go to memory: long ones lose digits */ };

struct Parameters {
    rvx__cuda_weight_plan plan;
    int32_t kernel[3], stride[3], pad[3];
    View many, few;
    Fold fold_many, fold_few;
    float *partial, *sums; /* [piece][rows][columns], [piece][sums] */
    Access access_many, access_few;
    bool sums_many; /* column sums are those of many, not of few */
};

/* A position of few, with the voxel of many that its first tap meets. */
struct Position {
    int64_t number;
    int32_t z, y, x, n;

    RVX_DEVICE Position(const Parameters &p, int64_t number_) : number(number_)
    {
        const View &f = p.few;
        x = (int32_t)(number_ % f.w);
        y = (int32_t)(number_ / f.w % f.h);
        z = (int32_t)(number_ / f.w / f.h % f.d);
        n = (int32_t)(number_ / f.w / f.h / f.d);
    }
    RVX_DEVICE void advance(const Parameters &p, int32_t by)
    {
        number += by;
        for (x += by; x >= p.few.w; x -= p.few.w)
            if (++y == p.few.h) {
                y = 0;
                if (++z == p.few.d) {
                    z = 0;
                    n++;
                }
            }
    }
};

/* The row (tap, channel) that a thread brings, or the first of eight. */
struct Tap {
    int32_t channel, z, y, x;
    bool ok;

    RVX_DEVICE Tap(const Parameters &p, int32_t row)
    {
        const int32_t tap = row / p.many.c, w = p.kernel[2], h = p.kernel[1];
        channel = row % p.many.c;
        z = tap / w / h - p.pad[0];
        y = tap / w % h - p.pad[1];
        x = tap % w - p.pad[2];
        ok = row < p.plan.rows;
    }
};

/* A stage of many; moves `position` on by STEP. */
template <class Number>
RVX_DEVICE void bring_many(const Parameters &p, const Tap &tap, Position &position, int64_t end,
                           typename Number::Element *tile)
{
    const int across = p.access_many == ONE ? ROWS : ROWS / GROUP;
    const int column = (int)threadIdx.x % across * (ROWS / across), step = THREADS / across;
    for (int k = (int)threadIdx.x / across; k < Number::STEP; k += step) {
        const int32_t z = position.z * p.stride[0] + tap.z, y = position.y * p.stride[1] + tap.y,
                      x = position.x * p.stride[2] + tap.x;
        const bool ok = tap.ok && position.number < end && (uint32_t)z < (uint32_t)p.many.d &&
                        (uint32_t)y < (uint32_t)p.many.h && (uint32_t)x < (uint32_t)p.many.w;
        const int64_t at = p.many.at(p.many.voxel(position.n, z, y, x), tap.channel);
        typename Number::Element *to = tile + k * (ROWS + PAD) + column;
        if (p.access_many == ONE)
            bring_element(to, p.many, at, p.fold_many, position.n, tap.channel, ok);
        else
            bring_group(to, p.many, at, p.fold_many, position.n, tap.channel, ok, p.access_many);
        position.advance(p, step);
    }
}

/* A stage of few, from position `first` on. */
template <class Number, int COLUMNS>
RVX_DEVICE void bring_few(const Parameters &p, int32_t first_column, int64_t first, int64_t end,
                          typename Number::Element *tile)
{
    const int width = p.access_few == ONE ? 1 : GROUP, across = COLUMNS / width;
    const int column = (int)threadIdx.x % across * width;
    const int32_t channel = first_column + column;
    for (int k = (int)threadIdx.x / across; k < Number::STEP; k += THREADS / across) {
        const int64_t number = first + k;
        const bool ok = number < end && channel < p.plan.columns;
        const int32_t n = ok && p.fold_few.data ? (int32_t)(number / (p.few.voxels / p.few.n)) : 0;
        typename Number::Element *to = tile + k * (COLUMNS + PAD) + column;
        if (p.access_few == ONE)
            bring_element(to, p.few, p.few.at(number, channel), p.fold_few, n, channel, ok);
        else
            bring_group(to, p.few, p.few.at(number, channel), p.fold_few, n, channel, ok,
                        p.access_few);
    }
}

/* Adds this thread's share of the sums over positions of a stage: one column, every
 * THREADS / WIDTH-th position. */
template <int WIDTH, int STEP, class Element> RVX_DEVICE float column_sum(const Element *tile)
{
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < STEP; k += THREADS / WIDTH) {
        const int at = k + (int)threadIdx.x / WIDTH;
        if (at < STEP)
            sum += element_of(tile[at * (WIDTH + PAD) + (int)threadIdx.x % WIDTH]);
    }
    return sum;
}

/* The column sums of a block from those of its threads. */
RVX_DEVICE void store_sums(float *to, double own, int width, int32_t first, int32_t count,
                           double *shared)
{
    simt::barrier();
    shared[threadIdx.x] = own;
    simt::barrier();
    const int column = (int)threadIdx.x;
    if (column >= width || first + column >= count)
        return;
    double sum = 0;
    for (int i = column; i < THREADS; i += width)
        sum += shared[i];
    to[first + column] = (float)sum;
}

template <class Number, int COLUMNS> struct Shared {
    enum {
        MANY = Number::STEP * (ROWS + PAD),
        STAGE = MANY + Number::STEP * (COLUMNS + PAD),
        BYTES = STAGES * STAGE * (int)sizeof(typename Number::Element)
    };
};

template <class Number, int COLUMNS>
RVX_GLOBAL void RVX_BOUNDS(THREADS, Number::CORES || COLUMNS < 64 ? 2 : 1)
    partial_kernel(Parameters p)
{
    typedef typename Number::Element Element;
    typedef Shared<Number, COLUMNS> Sizes;
    RVX_SHARED(Element, stages);
    const rvx__cuda_weight_plan &plan = p.plan;
    const int32_t column_tile = (int32_t)blockIdx.x % plan.column_tiles,
                  row_tile = (int32_t)blockIdx.x / plan.column_tiles % plan.row_tiles,
                  piece = (int32_t)blockIdx.x / plan.column_tiles / plan.row_tiles;
    const int32_t first_row = row_tile * ROWS, first_column = column_tile * COLUMNS;
    const int64_t first = plan.a_piece * piece, end = first + plan.a_piece < plan.positions
                                                          ? first + plan.a_piece
                                                          : plan.positions;
    const bool sums_here = p.sums && (p.sums_many ? column_tile == 0 : row_tile == 0);
    const int across = p.access_many == ONE ? ROWS : ROWS / GROUP;
    const Tap tap(p, first_row + (int32_t)threadIdx.x % across * (ROWS / across));
    Position position(p, first + (int64_t)threadIdx.x / across);

    const int32_t steps = (int32_t)((end - first + Number::STEP - 1) / Number::STEP);
    auto bring = [&](int32_t step) {
        if (step < steps) {
            Element *stage = stages + step % STAGES * Sizes::STAGE;
            bring_many<Number>(p, tap, position, end, stage);
            bring_few<Number, COLUMNS>(p, first_column, first + (int64_t)step * Number::STEP, end,
                                       stage + Sizes::MANY);
        }
        simt::copy_commit();
    };
    Number block;
    block.clear();
    float sum = 0.0f;
    double total = 0;
    float *partial = p.partial + (int64_t)piece * plan.rows * plan.columns;
    for (int32_t step = 0; step < STAGES - 1; step++)
        bring(step);
    for (int32_t step = 0; step < steps; step++) {
        simt::copy_wait<STAGES - 2>();
        simt::barrier(); /* this stage is there, and nobody reads the one before */
        bring(step + STAGES - 1);
        const Element *stage = stages + step % STAGES * Sizes::STAGE;
        block.add_products(stage, stage + Sizes::MANY);
        if (sums_here)
            sum += p.sums_many ? column_sum<ROWS, Number::STEP>(stage)
                               : column_sum<COLUMNS, Number::STEP>(stage + Sizes::MANY);
        if ((step + 1) % FLUSH_STEPS != 0 && step + 1 != steps)
            continue;
        const bool again = step >= FLUSH_STEPS;
        block.each([&](int row, int column, float v) {
            if (first_row + row >= plan.rows || first_column + column >= plan.columns)
                return;
            float *to = partial + (int64_t)(first_row + row) * plan.columns + first_column + column;
            *to = again ? *to + v : v;
        });
        block.clear();
        total += (double)sum;
        sum = 0.0f;
    }
    simt::copy_wait<0>();
    if (sums_here)
        store_sums(p.sums + (int64_t)piece * plan.sums, total, p.sums_many ? ROWS : COLUMNS,
                   p.sums_many ? first_row : first_column, plan.sums,
                   reinterpret_cast<double *>(stages));
}

/* ---- sums of the pieces -----------------------------------------------------------------------
 */

struct Total {
    const float *partial, *sums;
    float *weight, *bias; /* NULL: not wanted */
    int64_t weights;
    int32_t pieces, biases, shares; /* partial sums of a bias */
    int32_t channels, columns;      /* of many, of few */
    bool turned;                    /* dW stands as [tap][channel of few][channel of many] */
    bool add_weight, add_bias;
};

enum { TOTALS = 32, WARPS = THREADS / TOTALS };

/* A warp adds every WARPS-th piece of TOTALS numbers, then the first adds what the warps have. */
RVX_GLOBAL void RVX_BOUNDS(THREADS) total_kernel(Total t)
{
    RVX_SHARED(double, shared);
    const int64_t i = (int64_t)blockIdx.x * TOTALS + lane();
    const bool is_weight = i < t.weights;
    const int64_t own = is_weight ? i : i - t.weights, step = is_weight ? t.weights : t.biases;
    const int32_t count = is_weight ? t.pieces : own < t.biases ? t.shares : 0;
    const float *from = (is_weight ? t.partial : t.sums) + own;
    double sum = 0;
#pragma unroll 4
    for (int32_t k = warp(); k < count; k += WARPS)
        sum += (double)from[k * step];
    shared[threadIdx.x] = sum;
    simt::barrier();
    if ((int)threadIdx.x >= TOTALS || count == 0)
        return;
    for (int k = 1; k < WARPS; k++)
        sum += shared[k * TOTALS + (int)threadIdx.x];
    if (is_weight && t.weight) {
        const int64_t row = i / t.columns, column = i % t.columns;
        float *to = t.weight + (t.turned ? (row / t.channels * t.columns + column) * t.channels +
                                               row % t.channels
                                         : i);
        *to = t.add_weight ? *to + (float)sum : (float)sum;
    } else if (!is_weight && t.bias) {
        t.bias[own] = t.add_bias ? t.bias[own] + (float)sum : (float)sum;
    }
}

/* ---- host -------------------------------------------------------------------------------------
 */

template <class Number, int COLUMNS> void launch_partial(const Parameters &p, simt::Stream queue)
{
    simt::launch(partial_kernel<Number, COLUMNS>,
                 dim3((unsigned)(p.plan.row_tiles * p.plan.column_tiles * p.plan.pieces)), THREADS,
                 Shared<Number, COLUMNS>::BYTES, queue, p);
}

template <template <int> class Number> void launch_columns(const Parameters &p, simt::Stream queue)
{
    if (p.plan.column_tile == 16)
        launch_partial<Number<16>, 16>(p, queue);
    else if (p.plan.column_tile == 32)
        launch_partial<Number<32>, 32>(p, queue);
    else
        launch_partial<Number<64>, 64>(p, queue);
}
} // namespace

namespace
{
/* ---- which kernel -----------------------------------------------------------------------------
 */

/* A call of either convolution: many and few as conv_sizes.h has them. */
struct Gradient {
    const rvx_call *call;
    bool transposed, bf16;
    rvx_tensor many, few;
};

Gradient gradient_of(const rvx_call *call, bool transposed, bool bf16)
{
    const rvx_tensor &x = call->in[0], &dy = call->grad_out[0];
    return {call, transposed, bf16, transposed ? dy : x, transposed ? x : dy};
}

bool any_takes(const Gradient &) { return true; }

rvx__cuda_weight_plan any_plan(const Gradient &g)
{
    return rvx__cuda_weight_plan_of(&g.many.shape, &g.few.shape, g.call->params, g.transposed);
}

void any_partial(const Gradient &g, const rvx__cuda_weight_plan &plan, float *partial, float *sums)
{
    const rvx_tensor none = {};
    Parameters p = {};
    p.plan = plan;
    for (int a = 0; a < 3; a++) {
        p.kernel[a] = g.call->params->kernel[a];
        p.stride[a] = g.call->params->stride[a];
        p.pad[a] = g.call->params->pad[a];
    }
    p.many = view_of(g.many);
    p.few = view_of(g.few);
    (g.transposed ? p.fold_few : p.fold_many) = fold_of(g.call->fold);
    p.access_many = access_of(g.many, g.transposed ? none : g.call->fold, g.bf16);
    p.access_few = access_of(g.few, g.transposed ? g.call->fold : none, g.bf16);
    p.partial = partial;
    p.sums = sums;
    p.sums_many = g.transposed;
    if (g.bf16)
        launch_columns<Bf16>(p, queue_of(g.call));
    else if (g.call->params->tf32_products)
        launch_columns<Tf32>(p, queue_of(g.call));
    else
        launch_columns<F32>(p, queue_of(g.call));
}

bool halo_takes(const Gradient &g)
{
    return !g.transposed && g.bf16 &&
           rvx__cuda_weight_halo_fits(&g.many.shape, &g.few.shape, g.call->params);
}

rvx__cuda_weight_plan halo_plan(const Gradient &g)
{
    return rvx__cuda_weight_halo_plan_of(&g.many.shape, &g.few.shape, g.call->params);
}

void halo_partial(const Gradient &g, const rvx__cuda_weight_plan &plan, float *partial, float *sums)
{
    weight_partial_halo(g.call, plan, partial, sums);
}

/* The first that takes a call runs where none is named; the others can be named, and are measured
 * where a run asks for the fastest. One more is one row here: which calls it takes, its plan (whose
 * bytes rvx__cuda_weight_scratch counts), and what leaves partial sums as weight_gradient.h has
 * them. If it has no name yet, conv_kernels.def gets a line. */
const struct Variant {
    Kernel kernel;
    bool (*takes)(const Gradient &g);
    rvx__cuda_weight_plan (*plan)(const Gradient &g);
    void (*partial)(const Gradient &g, const rvx__cuda_weight_plan &plan, float *partial,
                    float *sums);
} variants[] = {
    {HALO, halo_takes, halo_plan, halo_partial},
    {ANY, any_takes, any_plan, any_partial},
};

const Variant &variant_of(const Gradient &g, Kernel kernel)
{
    const Variant *found = nullptr;
    for (const Variant &v : variants)
        if (!found && v.takes(g) && (kernel == CHOSEN || kernel == v.kernel))
            found = &v;
    assert(found);
    return *found;
}
} // namespace

namespace rvx
{
int weight_kernels(Kernel (&list)[KERNELS], const rvx_call *call, bool transposed, bool bf16)
{
    const Gradient g = gradient_of(call, transposed, bf16);
    int count = 0;
    for (const Variant &v : variants)
        if (v.takes(g))
            list[count++] = v.kernel;
    return count;
}

void weight_gradient(const rvx_call *call, bool transposed, bool bf16, Kernel kernel)
{
    const Gradient g = gradient_of(call, transposed, bf16);
    const Variant &variant = variant_of(g, kernel);
    const rvx_tensor &dy = call->grad_out[0], &dw = call->grad_in[1], &bias = call->grad_in[2];
    const rvx__cuda_weight_plan plan = variant.plan(g);
    const int64_t weights = (int64_t)plan.rows * plan.columns;
    float *partial = static_cast<float *>(call->scratch);
    float *sums = bias.data ? partial + plan.pieces * weights : nullptr;
    variant.partial(g, plan, partial, sums);

    Total t = {};
    t.partial = partial;
    t.sums = sums;
    t.weight = static_cast<float *>(dw.data);
    t.bias = static_cast<float *>(bias.data);
    t.weights = weights;
    t.pieces = plan.pieces;
    t.biases = bias.data ? (int32_t)dy.shape.c : 0;
    t.shares = plan.pieces * (plan.sums / (int32_t)dy.shape.c);
    t.channels = (int32_t)g.many.shape.c;
    t.columns = (int32_t)g.few.shape.c;
    t.turned = transposed;
    t.add_weight = (call->accumulate >> 1 & 1) != 0;
    t.add_bias = (call->accumulate >> 2 & 1) != 0;
    simt::launch(total_kernel, dim3((unsigned)((weights + t.biases + TOTALS - 1) / TOTALS)),
                 THREADS, THREADS * sizeof(double), queue_of(call), t);
}
} // namespace rvx
