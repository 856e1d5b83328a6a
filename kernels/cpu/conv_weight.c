/* Gradients of the weight and the bias of a convolution. Owns: the walk over tiles and blocks; the
 * cut is in conv_weight.h, the innermost loops are in conv_weight_block.h.
 * x [n][d][h][w][ci] folded, dy [n][d'][h'][w'][co], dW [kd][kh][kw][ci][co], dbias [co].
 * Invariant: each element of dW is a sum over tiles in tile order within a piece, then over pieces
 * in piece order. */
#include "kernels/cpu/conv_weight.h"
#include "kernels/conv.h"
#include "kernels/conv_transpose.h"
#include "kernels/cpu/conv_weight_block.h"

#include <omp.h>
#include <stddef.h>

typedef struct work {
    const rvx_call *call;
    rvx_tensor x, dy;
    rvx__conv_weight_geometry g;
    rvx__conv_weight_plan plan;
    int64_t weights; /* floats of dW */
    bool pack_x, pack_dy;
} work;

/* Half-open range. */
typedef struct range {
    int64_t begin, end;
} range;

/* A tile and where its operands stand. Both operands are boxes of whole rows. */
typedef struct tile {
    int64_t n;
    range z, y;         /* input rows */
    range out_z, out_y; /* rows of dy that they touch */
    const float *x, *dy;
    int64_t x_step, x_row, x_slice, x_block; /* block: from BLOCK_CI channels to the next */
    int64_t dy_step, dy_row, dy_slice, dy_vector;
} tile;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t divide_up(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

/* Outputs o in [0, count) whose tap k reads an input in `in`: o stride + k - pad. */
static range tap_outputs(range in, int64_t tap, int64_t stride, int64_t pad, int64_t count)
{
    range out;
    out.end = larger(0, smaller(count, divide_up(in.end + pad - tap, stride)));
    out.begin = smaller(out.end, larger(0, divide_up(in.begin + pad - tap, stride)));
    return out;
}

/* Outputs that any tap of the axis links with `in`. */
static range all_outputs(const work *w, int axis, range in, int64_t count)
{
    const int64_t stride = w->g.stride[axis], pad = w->g.pad[axis];
    if (w->g.transposed)
        return (range){in.begin * stride, in.end * stride};
    range out = {tap_outputs(in, w->g.kernel[axis] - 1, stride, pad, count).begin,
                 tap_outputs(in, 0, stride, pad, count).end};
    return out;
}

/* Outputs whose bias this tile counts: every output belongs to exactly one tile. */
static range own_outputs(const work *w, int axis, range in, int64_t in_count, int64_t out_count)
{
    const int64_t stride = w->g.stride[axis];
    if (w->g.transposed)
        return (range){in.begin * stride, in.end * stride};
    range out = {smaller(out_count, divide_up(in.begin, stride)),
                 in.end == in_count ? out_count : smaller(out_count, divide_up(in.end, stride))};
    return out;
}

static void tile_open(tile *t, const work *w, int64_t index)
{
    const rvx__conv_weight_plan *plan = &w->plan;
    int64_t ty = index % plan->tiles_h, tz = index / plan->tiles_h % plan->tiles_d;
    t->n = index / plan->tiles_h / plan->tiles_d;
    t->z = (range){tz * plan->tile_d, smaller((tz + 1) * plan->tile_d, w->x.shape.d)};
    t->y = (range){ty * plan->tile_h, smaller((ty + 1) * plan->tile_h, w->x.shape.h)};
    t->out_z = all_outputs(w, 0, t->z, w->dy.shape.d);
    t->out_y = all_outputs(w, 1, t->y, w->dy.shape.h);
}

/* Points the tile at its operands: in place, or where pack_x and pack_dy put them. */
static void tile_point(tile *t, const work *w, const float *packed_x, const float *packed_dy)
{
    const rvx_tensor *x = &w->x, *dy = &w->dy;
    const int64_t rows = t->y.end - t->y.begin, out_rows = t->out_y.end - t->out_y.begin;
    const bool far = w->pack_x;
    t->x_step = far ? BLOCK_CI : x->pitch;
    t->x_row = t->x_step * x->shape.w;
    t->x_slice = t->x_row * (far ? rows : x->shape.h);
    t->x_block = far ? t->x_slice * (t->z.end - t->z.begin) : BLOCK_CI;
    t->x =
        far ? packed_x
            : rvx__f32(x) + (t->n * x->shape.d + t->z.begin) * t->x_slice + t->y.begin * t->x_row;
    const bool near = !w->pack_dy;
    t->dy_step = near ? dy->pitch : RVX_LANES;
    t->dy_row = t->dy_step * dy->shape.w;
    t->dy_slice = t->dy_row * (near ? dy->shape.h : out_rows);
    t->dy_vector = near ? RVX_LANES : t->dy_slice * (t->out_z.end - t->out_z.begin);
    t->dy = near ? rvx__f32(dy) + (t->n * dy->shape.d + t->out_z.begin) * t->dy_slice +
                       t->out_y.begin * t->dy_row
                 : packed_dy;
}

/* One row of BLOCK_CI channels from `from`, folded; channels at and after `count` become 0. */
static void pack_x_row(const work *w, float *to, const float *from, int64_t n, int64_t channel,
                       int64_t count)
{
    const int64_t width = w->x.shape.w, pitch = w->x.pitch;
    float scale[BLOCK_CI], shift[BLOCK_CI], slope[BLOCK_CI];
    const bool fold = w->call->fold.data;
    if (fold) {
        const float *table = rvx__f32(&w->call->fold) + n * 3 * w->call->fold.pitch + channel;
        for (int i = 0; i < BLOCK_CI; i++) {
            scale[i] = i < count ? table[i] : 0;
            shift[i] = i < count ? table[w->call->fold.pitch + i] : 0;
            slope[i] = i < count ? table[2 * w->call->fold.pitch + i] : 0;
        }
    }
    for (int64_t x = 0; x < width; x++, from += pitch, to += BLOCK_CI) {
        float value[BLOCK_CI] = {0};
        if (count == BLOCK_CI)
            memcpy(value, from, sizeof value);
        else
            for (int i = 0; i < count; i++)
                value[i] = from[i];
        if (fold)
            for (int i = 0; i < BLOCK_CI; i++) {
                float t = value[i] * scale[i] + shift[i];
                value[i] = t >= 0 ? t : slope[i] * t;
            }
        memcpy(to, value, sizeof value);
    }
}

/* Input rows [first, last) of the tile, counted z-major: [ci / BLOCK_CI][z][y][x][BLOCK_CI]. */
static void pack_x(const work *w, const tile *t, float *to, int64_t first, int64_t last)
{
    const int64_t rows = t->y.end - t->y.begin;
    for (int64_t r = first; r < last; r++) {
        int64_t z = t->z.begin + r / rows, y = t->y.begin + r % rows;
        const float *from = rvx__f32(&w->x) + ((t->n * w->x.shape.d + z) * w->x.shape.h + y) *
                                                  w->x.shape.w * w->x.pitch;
        for (int64_t c = 0; c < w->x.shape.c; c += BLOCK_CI)
            pack_x_row(w, to + c / BLOCK_CI * t->x_block + r * t->x_row, from + c, t->n, c,
                       smaller(BLOCK_CI, w->x.shape.c - c));
    }
}

/* Output rows [first, last) of the tile: [co / lanes][z][y][x][lanes], zeros after the last
 * channel. */
static void pack_dy(const work *w, const tile *t, float *to, int64_t first, int64_t last)
{
    const int64_t rows = t->out_y.end - t->out_y.begin, width = w->dy.shape.w;
    for (int64_t r = first; r < last; r++) {
        int64_t z = t->out_z.begin + r / rows, y = t->out_y.begin + r % rows;
        const float *from = rvx__f32(&w->dy) +
                            ((t->n * w->dy.shape.d + z) * w->dy.shape.h + y) * width * w->dy.pitch;
        for (int64_t c = 0; c < w->dy.shape.c; c += RVX_LANES) {
            float *row = to + c / RVX_LANES * t->dy_vector + r * t->dy_row;
            const int64_t count = smaller(RVX_LANES, w->dy.shape.c - c);
            for (int64_t x = 0; x < width; x++)
                rvx__store(row + x * RVX_LANES,
                           count == RVX_LANES ? rvx__load(from + x * w->dy.pitch + c)
                                              : rvx__load_part(from + x * w->dy.pitch + c, count));
        }
    }
}

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
    block_kernel kernel[4]; /* by number of vectors; three-tap kernels fill every place */
    int64_t vectors;
    bool three_taps;
} choice;

static choice choose(const work *w)
{
    const int64_t vectors = divide_up(w->dy.shape.c, RVX_LANES);
    if (!w->g.transposed && w->g.kernel[2] == 3 && w->g.pad[2] == 1 && w->g.stride[2] <= 2) {
        const bool narrow = w->x.shape.c <= BLOCK_CI / 4 && w->g.stride[2] == 1 && vectors > 1;
        block_kernel one = narrow                ? block_stride_one_narrow
                           : w->g.stride[2] == 1 ? block_stride_one
                                                 : block_stride_two;
        return (choice){{one, one, one, one}, narrow ? 2 : 1, true};
    }
    return (choice){{NULL, block_one_tap_1, block_one_tap_2, block_one_tap_3},
                    vectors == 4 ? 2 : smaller(vectors, 3),
                    false};
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

/* dW of BLOCK_CI input channels from `ci` and a group of output channels from `co`, all taps. */
static void run_block(const work *w, const tile *t, const choice *how, float *dw, bool add,
                      int64_t ci, int64_t co)
{
    const int64_t channels_in = w->x.shape.c, channels_out = w->dy.shape.c;
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
            if (b.co_count <= RVX_LANES)
                b.dy_vector = 0; /* a two-vector kernel with one vector to do must stay inside */
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
            const float *from =
                rvx__f32(dy) +
                ((t->n * dy->shape.d + oz) * dy->shape.h + oy) * dy->shape.w * dy->pitch + co;
            rvx_vec row = {0};
            for (int64_t x = 0; x < dy->shape.w; x++)
                row += count == RVX_LANES ? rvx__load(from + x * dy->pitch)
                                          : rvx__load_part(from + x * dy->pitch, count);
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
                if (w->pack_x)
                    pack_x(w, &t, x, 0, (t.z.end - t.z.begin) * (t.y.end - t.y.begin));
                if (w->pack_dy)
                    pack_dy(w, &t, dy, 0,
                            (t.out_z.end - t.out_z.begin) * (t.out_y.end - t.out_y.begin));
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

/* All threads on one tile after another, each with its own channels: for large weights. */
static void run_channels(const work *w, float *scratch)
{
    const rvx_call *call = w->call;
    const choice how = choose(w);
    float *const x = scratch, *const dy = scratch + w->plan.x_floats;
    float *const dw = rvx__f32(&call->grad_in[1]), *const bias = rvx__f32(&call->grad_in[2]);
    const int64_t blocks = divide_up(w->x.shape.c, BLOCK_CI);
    const int64_t groups = divide_up(w->dy.shape.c, how.vectors * RVX_LANES);
#pragma omp parallel num_threads(call->threads)
    for (int64_t i = 0; i < w->plan.tiles; i++) {
        tile t;
        tile_open(&t, w, i);
        tile_point(&t, w, x, dy);
        const int64_t x_rows = w->pack_x ? (t.z.end - t.z.begin) * (t.y.end - t.y.begin) : 0;
        const int64_t dy_rows =
            w->pack_dy ? (t.out_z.end - t.out_z.begin) * (t.out_y.end - t.out_y.begin) : 0;
#pragma omp for schedule(static) nowait
        for (int64_t r = 0; r < x_rows; r++)
            pack_x(w, &t, x, r, r + 1);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < dy_rows; r++)
            pack_dy(w, &t, dy, r, r + 1);
        if (bias) {
#pragma omp for schedule(static) nowait
            for (int64_t co = 0; co < w->dy.shape.c; co += RVX_LANES)
                run_bias(w, &t, bias, i > 0 || call->accumulate & 4, co);
        }
        if (dw) {
#pragma omp for schedule(dynamic, 1)
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
    w.weights = (int64_t)w.g.kernel[0] * w.g.kernel[1] * w.g.kernel[2] * w.x.shape.c * w.dy.shape.c;
    w.pack_x = call->fold.data || w.x.shape.c % BLOCK_CI || w.x.shape.c > 32;
    w.pack_dy = w.dy.shape.c % RVX_LANES || w.dy.shape.c > 32;
    if (w.plan.pieces > 1)
        run_pieces(&w, call->scratch);
    else
        run_channels(&w, call->scratch);
}

void RVX_KERNEL(rvx__conv_backward_parameters)(const rvx_call *call) { run(call, false); }

void RVX_KERNEL(rvx__conv_transpose_backward_parameters)(const rvx_call *call) { run(call, true); }
