/* Gradients of the weight and the bias of a convolution. Owns: the walk over tiles and blocks; the
 * cut is in conv_weight.h, packing in conv_weight_tile.h, the innermost loops in
 * conv_weight_block.h.
 * x [n][d][h][w][ci] folded, dy [n][d'][h'][w'][co], dW [kd][kh][kw][ci][co], dbias [co].
 * Invariant: each element of dW is a sum over tiles in tile order within a piece, then over pieces
 * in piece order. */
#include "kernels/cpu/conv_weight.h"
#include "kernels/conv.h"
#include "kernels/conv_transpose.h"
#include "kernels/cpu/conv_weight_block.h"
#include "kernels/cpu/conv_weight_tile.h"

#include <omp.h>
#include <stddef.h>

/* Points `b` at the rows of the tile that the tap (kz, ky) links. */
static void block_point(block *b, const work *w, const tile *t, range z, range y, int64_t kz,
                        int64_t ky)
{
    const int32_t *stride = w->g.stride, *pad = w->g.pad;
    b->slices = z.end - z.begin;
    b->rows = y.end - y.begin;
    b->x = t->x;
    b->dy = t->dy;
    b->x_slice = t->x_slice;
    b->x_row = t->x_row;
    b->dy_slice = t->dy_slice;
    b->dy_row = t->dy_row;
    if (w->g.transposed) { /* z, y: all rows of x */
        b->dy += kz * t->dy_slice + ky * t->dy_row;
        b->dy_slice *= stride[0];
        b->dy_row *= stride[1];
    } else { /* z, y: rows of dy */
        b->x += (z.begin * stride[0] + kz - pad[0] - t->z.begin) * t->x_slice +
                (y.begin * stride[1] + ky - pad[1] - t->y.begin) * t->x_row;
        b->dy += (z.begin - t->out_z.begin) * t->dy_slice + (y.begin - t->out_y.begin) * t->dy_row;
        b->x_slice *= stride[0];
        b->x_row *= stride[1];
    }
    b->x_step = t->x_step;
    b->dy_step = t->dy_step;
    b->dy_vector = t->dy_vector;
    b->x_count = w->x.shape.w;
    b->dy_count = w->dy.shape.w;
}

/* Sets up `b` for one (kz, ky) of the tile; false if no row of the tile takes part. */
static bool block_open(block *b, const work *w, const tile *t, int64_t kz, int64_t ky)
{
    const int32_t *stride = w->g.stride, *pad = w->g.pad;
    range z = t->z, y = t->y;
    if (!w->g.transposed) {
        z = tap_outputs(t->z, kz, stride[0], pad[0], w->dy.shape.d);
        y = tap_outputs(t->y, ky, stride[1], pad[1], w->dy.shape.h);
    }
    if (z.begin == z.end || y.begin == y.end)
        return false;
    block_point(b, w, t, z, y, kz, ky);
    return true;
}

/* The innermost loops of a convolution, and the vectors of output channels they take at once. */
typedef struct choice {
    block_kernel kernel[4]; /* by number of vectors */
    int64_t vectors;
    int64_t planes; /* slices that a block of planes reads at once */
    bool three_taps;
} choice;

static choice choose(const work *w)
{
    const int64_t vectors = divide_up(w->dy.shape.c, RVX_LANES);
    if (w->planes) {
#if RVX_LANES == 16
        if (vectors == 1 && w->g.kernel[0] == 3)
            return (choice){.kernel = {NULL, block_three_planes}, .vectors = 1, .planes = 3};
        return (choice){.kernel = {NULL, block_plane, block_plane_two},
                        .vectors = smaller(vectors, 2),
                        .planes = 1};
#else
        return (choice){.kernel = {NULL, block_plane}, .vectors = 1, .planes = 1};
#endif
    }
    if (!w->g.transposed && w->g.kernel[2] == 3 && w->g.pad[2] == 1 && w->g.stride[2] <= 2)
        return (choice){.kernel = {NULL, w->g.stride[2] == 1 ? block_stride_one : block_stride_two},
                        .vectors = 1,
                        .three_taps = true};
    /* Threes do the least work, pairs divide evenly among vectors and threads. */
    const bool pairs = vectors == 4 || (RVX_LANES == 16 && vectors % 4 == 0);
    return (choice){.kernel = {NULL, block_one_tap_1, block_one_tap_2, block_one_tap_3},
                    .vectors = pairs ? 2 : smaller(vectors, 3)};
}

/* Writes zeros for one (kz, ky) that no row of the first tile links. */
static void block_clear(const work *w, const block *b)
{
    for (int64_t kx = 0; kx < w->g.kernel[2]; kx++)
        for (int64_t i = 0; i < b->ci_count; i++)
            memset(b->dw + kx * b->dw_tap + i * b->dw_ci, 0, (size_t)b->co_count * sizeof(float));
}

/* The taps of a row, one by one. */
static void run_one_taps(const work *w, const block *row, const choice *how)
{
    const int64_t stride = w->g.stride[2], pad = w->g.pad[2], taps = w->g.kernel[2];
    block b = *row;
    if (w->g.transposed) {
        b.dy_step *= stride;
        b.dy_count = b.x_count;
        /* Taps that share x may as well be the vectors of one block, if channels do not fill it. */
        if (b.co_count <= RVX_LANES && (taps == 2 || taps == 3)) {
            b.dy_vector = row->dy_step;
            b.dw_vector = row->dw_tap;
            b.co_step = 0;
            how->kernel[taps](&b);
            return;
        }
    }
    for (int64_t kx = 0; kx < taps; kx++) {
        b.dw = row->dw + kx * row->dw_tap;
        if (w->g.transposed)
            b.dy = row->dy + kx * row->dy_step;
        else {
            range o = tap_outputs((range){0, row->x_count}, kx, stride, pad, row->dy_count);
            b.x = row->x + (o.begin * stride + kx - pad) * row->x_step;
            b.dy = row->dy + o.begin * row->dy_step;
            b.x_step = row->x_step * stride;
            b.dy_count = o.end - o.begin;
        }
        how->kernel[divide_up(b.co_count, RVX_LANES)](&b);
    }
}

/* dW of all the few input channels and a group of output channels from `co`, from planes. */
static void run_planes(const work *w, const tile *t, const choice *how, float *dw, bool add,
                       int64_t co)
{
    const int64_t channels_in = w->x.shape.c, channels_out = w->dy.shape.c;
    const int32_t *stride = w->g.stride, *pad = w->g.pad;
    block b = {.dw_tap = channels_in * channels_out,
               .dw_vector = RVX_LANES,
               .ci_count = 1,
               .co_count = smaller(how->vectors * RVX_LANES, channels_out - co),
               .co_step = RVX_LANES,
               .add = add};
    /* All slices at once: then the margin stands in for the ends of z as well. */
    const int64_t together = how->planes;
    for (int64_t ci = 0; ci < channels_in; ci++)
        for (int64_t kz = 0; kz < w->g.kernel[0]; kz += together) {
            range z = t->out_z;
            if (together == 1)
                z = tap_outputs(t->z, kz, stride[0], pad[0], w->dy.shape.d);
            block_point(&b, w, t, z, t->out_y, kz, 0);
            b.x += ci * t->x_block + PLANE_MARGIN * (t->x_slice + t->x_row + 1) - pad[2];
            b.x_plane = t->x_slice;
            b.x_tap = t->x_row;
            b.x_step = stride[2];
            b.dy += co / RVX_LANES * t->dy_vector;
            b.dw = dw + (kz * 9 * channels_in + ci) * channels_out + co;
            how->kernel[divide_up(b.co_count, RVX_LANES)](&b);
        }
}

/* dW of BLOCK_CI input channels from `ci` and a group of output channels from `co`, all taps. */
static void run_block(const work *w, const tile *t, const choice *how, float *dw, bool add,
                      int64_t ci, int64_t co)
{
    const int64_t channels_in = w->x.shape.c, channels_out = w->dy.shape.c;
    if (w->planes) {
        run_planes(w, t, how, dw, add, co);
        return;
    }
    block b = {.dw_tap = channels_in * channels_out,
               .dw_ci = channels_out,
               .dw_vector = RVX_LANES,
               .co_step = RVX_LANES,
               .add = add};
    b.ci_count = smaller(BLOCK_CI, channels_in - ci);
    b.co_count = smaller(how->vectors * RVX_LANES, channels_out - co);
    for (int64_t kz = 0; kz < w->g.kernel[0]; kz++)
        for (int64_t ky = 0; ky < w->g.kernel[1]; ky++) {
            b.dw = dw +
                   ((kz * w->g.kernel[1] + ky) * w->g.kernel[2] * channels_in + ci) * channels_out +
                   co;
            if (!block_open(&b, w, t, kz, ky)) {
                if (!add)
                    block_clear(w, &b);
                continue;
            }
            b.x += ci / BLOCK_CI * t->x_block;
            b.dy += co / RVX_LANES * t->dy_vector;
            if (how->three_taps)
                how->kernel[1](&b);
            else
                run_one_taps(w, &b, how);
        }
}

/* bias[c] = sum of dy over the rows that the tile owns, for output channels from `co`. */
static void run_bias(const work *w, const tile *t, float *bias, bool add, int64_t co)
{
    const range z = own_outputs(w, 0, t->z, w->x.shape.d, w->dy.shape.d);
    const range y = own_outputs(w, 1, t->y, w->x.shape.h, w->dy.shape.h);
    const rvx_tensor *dy = &w->dy;
    const int64_t count = smaller(RVX_LANES, dy->shape.c - co);
    rvx_vec sum = {0};
    for (int64_t oz = z.begin; oz < z.end; oz++)
        for (int64_t oy = y.begin; oy < y.end; oy++) {
            int64_t offset = row_offset(dy, t->n, oz, oy) + co;
            rvx_vec row = {0};
            for (int64_t x = 0; x < dy->shape.w; x++, offset += dy->pitch)
                row += lanes_load(dy, dy->dtype == RVX_BF16, offset, count);
            sum += row;
        }
    if (add)
        sum += rvx__load_part(bias + co, count);
    rvx__store_part(bias + co, sum, count);
}

/* Pieces of tiles, one thread each, into partial sums; then the sum over pieces. */
static void run_pieces(const work *w, float *scratch)
{
    const rvx_call *call = w->call;
    const rvx__conv_weight_plan *plan = &w->plan;
    const choice how = choose(w);
    const int64_t channels_in = w->x.shape.c, channels_out = w->dy.shape.c;
    const int64_t vectors = divide_up(channels_out, RVX_LANES);
    float *const tiles = scratch + plan->pieces * plan->partial_floats;
    float *const gradient[2] = {rvx__f32(&call->grad_in[1]), rvx__f32(&call->grad_in[2])};
#pragma omp parallel num_threads(call->threads)
    {
        float *x = tiles + omp_get_thread_num() * (plan->x_floats + plan->dy_floats);
        float *dy = x + plan->x_floats;
#pragma omp for schedule(dynamic, 1)
        for (int64_t piece = 0; piece < plan->pieces; piece++) {
            float *dw = scratch + piece * plan->partial_floats;
            float *bias = dw + plan->partial_floats - divide_up(channels_out, 16) * 16;
            const int64_t first = plan->tiles * piece / plan->pieces;
            const int64_t last = plan->tiles * (piece + 1) / plan->pieces;
            for (int64_t i = first; i < last; i++) {
                tile t;
                tile_open(&t, w, i);
                tile_point(&t, w, x, dy);
                tile_pack_x(w, &t, x, 0, tile_x_rows(w, &t));
                pack_dy(w, &t, dy, (range){0, tile_dy_rows(w, &t)}, (range){0, vectors});
                for (int64_t co = 0; gradient[1] && co < channels_out; co += RVX_LANES)
                    run_bias(w, &t, bias, i > first, co);
                for (int64_t co = 0; gradient[0] && co < channels_out;
                     co += how.vectors * RVX_LANES)
                    for (int64_t ci = 0; ci < channels_in; ci += BLOCK_CI)
                        run_block(w, &t, &how, dw, i > first, ci, co);
            }
        }
        /* Bias and weight alike: element j of every piece, in piece order. */
#pragma omp for schedule(static)
        for (int64_t j = 0; j < w->weights + channels_out; j++) {
            const bool is_bias = j >= w->weights;
            const int64_t index = is_bias ? j - w->weights : j;
            if (!gradient[is_bias])
                continue;
            const float *from = scratch + index;
            if (is_bias)
                from += plan->partial_floats - divide_up(channels_out, 16) * 16;
            float sum = call->accumulate & (2u << is_bias) ? gradient[is_bias][index] : 0;
            for (int64_t piece = 0; piece < plan->pieces; piece++)
                sum += from[piece * plan->partial_floats];
            gradient[is_bias][index] = sum;
        }
    }
}

static range share(int64_t count, int64_t index, int64_t of)
{
    return (range){count * index / of, count * (index + 1) / of};
}

/* All threads on one tile after another, each with its own channels: for large weights. A thread
 * packs the channels of dy that it reads, or most of them, so that they are in its own cache. */
static void run_channels(const work *w, float *scratch)
{
    const rvx_call *call = w->call;
    const choice how = choose(w);
    float *const x = scratch, *const dy = scratch + w->plan.x_floats;
    float *const dw = rvx__f32(&call->grad_in[1]), *const bias = rvx__f32(&call->grad_in[2]);
    const int64_t blocks = divide_up(w->x.shape.c, BLOCK_CI);
    const int64_t vectors = divide_up(w->dy.shape.c, RVX_LANES);
    const int64_t spans = smaller(call->threads, vectors), parts = divide_up(call->threads, spans);
    const int64_t groups = divide_up(w->dy.shape.c, how.vectors * RVX_LANES);
#pragma omp parallel num_threads(call->threads)
    for (int64_t i = 0; i < w->plan.tiles; i++) {
        tile t;
        tile_open(&t, w, i);
        tile_point(&t, w, x, dy);
        const int64_t x_rows = tile_x_rows(w, &t), dy_rows = tile_dy_rows(w, &t);
#pragma omp for schedule(static) nowait
        for (int64_t r = 0; r < x_rows; r++)
            tile_pack_x(w, &t, x, r, r + 1);
#pragma omp for schedule(static)
        for (int64_t j = 0; j < spans * parts; j++)
            pack_dy(w, &t, dy, share(dy_rows, j % parts, parts), share(vectors, j / parts, spans));
        if (bias) {
#pragma omp for schedule(static) nowait
            for (int64_t co = 0; co < w->dy.shape.c; co += RVX_LANES)
                run_bias(w, &t, bias, i > 0 || call->accumulate & 4, co);
        }
        if (dw) {
#pragma omp for schedule(static)
            for (int64_t job = 0; job < groups * blocks; job++)
                run_block(w, &t, &how, dw, i > 0 || call->accumulate & 2, job % blocks * BLOCK_CI,
                          job / blocks * how.vectors * RVX_LANES);
        }
    }
}

static void run(const rvx_call *call, bool transposed)
{
    work w = {.call = call, .x = call->in[0], .dy = call->grad_out[0]};
    w.g = rvx__conv_weight_geometry_of(&w.x.shape, &w.dy.shape, call->params, transposed);
    rvx__conv_weight_cut(&w.plan, &w.g);
    const int64_t taps = (int64_t)w.g.kernel[0] * w.g.kernel[1] * w.g.kernel[2];
    w.weights = taps * w.x.shape.c * w.dy.shape.c;
    w.planes = !transposed && w.g.kernel[1] == 3 && w.g.kernel[2] == 3 &&
               w.x.shape.c <= smaller(PLANE_CHANNELS, BLOCK_CI / 2);
    /* Many channels apart, the rows of a tile would crowd into few sets of L1. */
    const int64_t in_place = taps > 1 ? 32 : INT64_MAX;
    w.pack_x = call->fold.data || w.planes || w.x.dtype != RVX_F32 || w.x.shape.c % BLOCK_CI ||
               w.x.shape.c > in_place;
    w.pack_dy = w.dy.dtype != RVX_F32 || w.dy.shape.c % RVX_LANES || w.dy.shape.c > in_place;
    if (w.plan.pieces > 1)
        run_pieces(&w, call->scratch);
    else
        run_channels(&w, call->scratch);
}

void RVX_KERNEL(rvx__conv_backward_parameters)(const rvx_call *call) { run(call, false); }

void RVX_KERNEL(rvx__conv_transpose_backward_parameters)(const rvx_call *call) { run(call, true); }
