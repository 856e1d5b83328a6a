/* Tiles of the weight gradient: which rows of x and dy belong together, and packing them. Owns: the
 * packed layouts. Only conv_weight.c includes this. */
#ifndef RVX_CONV_WEIGHT_TILE_H
#define RVX_CONV_WEIGHT_TILE_H

#include "kernels/cpu/conv_weight.h"
#include "kernels/cpu/conv_weight_block.h"
#include "kernels/cpu/vec.h"

#include <stddef.h>

typedef struct work {
    const rvx_call *call;
    rvx_tensor x, dy;
    rvx__conv_weight_geometry g;
    rvx__conv_weight_plan plan;
    int64_t weights; /* floats of dW */
    bool planes;     /* x is packed as single channels with a margin: see pack_planes */
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
    const int64_t margin = w->planes ? 2 * PLANE_MARGIN : 0;
    t->x_step = w->planes ? 1 : far ? BLOCK_CI : x->pitch;
    t->x_row = t->x_step * (x->shape.w + margin);
    t->x_slice = t->x_row * (far ? rows + margin : x->shape.h);
    t->x_block = far ? t->x_slice * (t->z.end - t->z.begin + margin) : BLOCK_CI;
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

/* `count` elements from `offset` on, f32 or bf16; the other lanes are 0. */
ALWAYS_INLINE rvx_vec lanes_load(const rvx_tensor *t, bool bf16, int64_t offset, int64_t count)
{
    if (bf16) {
        const uint16_t *from = (const uint16_t *)t->data + offset;
        return count >= RVX_LANES ? rvx__load_bf16(from) : rvx__load_bf16_part(from, count);
    }
    const float *from = (const float *)t->data + offset;
    return count >= RVX_LANES ? rvx__load(from) : rvx__load_part(from, count);
}

static float element(const rvx_tensor *t, int64_t offset)
{
    return rvx__plane_value(rvx__plane_of(t, 0), offset);
}

/* First element of row (n, z, y). */
static int64_t row_offset(const rvx_tensor *t, int64_t n, int64_t z, int64_t y)
{
    return ((n * t->shape.d + z) * t->shape.h + y) * t->shape.w * t->pitch;
}

/* The fold of BLOCK_CI channels. */
typedef struct fold_block {
    float scale[BLOCK_CI], shift[BLOCK_CI], slope[BLOCK_CI];
} fold_block;

/* One row of BLOCK_CI channels, folded; channels at and after `count` become 0. */
ALWAYS_INLINE void pack_x_row(const work *w, float *to, int64_t offset, const fold_block *fold,
                              const rvx_dtype dtype, const int64_t count)
{
    rvx_plane from = rvx__plane_of(&w->x, 0);
    from.dtype = dtype;
    for (int64_t x = 0; x < w->x.shape.w; x++, offset += w->x.pitch, to += BLOCK_CI) {
        float value[BLOCK_CI] = {0};
        for (int64_t i = 0; i < count; i++)
            value[i] = rvx__plane_value(from, offset + i);
        if (fold)
            for (int i = 0; i < BLOCK_CI; i++) {
                const float t = value[i] * fold->scale[i] + fold->shift[i];
                const float leak = fold->slope[i] * t;
                value[i] = t >= 0 ? t : leak;
            }
        memcpy(to, value, sizeof value);
    }
}

/* Input rows [first, last) of the tile, counted z-major: [ci / BLOCK_CI][z][y][x][BLOCK_CI]. */
static void pack_x(const work *w, const tile *t, float *to, int64_t first, int64_t last)
{
    const int64_t rows = t->y.end - t->y.begin;
    const rvx_tensor *table = &w->call->fold;
    for (int64_t c = 0; c < w->x.shape.c; c += BLOCK_CI) {
        const int64_t count = smaller(BLOCK_CI, w->x.shape.c - c);
        fold_block folded = {0};
        for (int64_t i = 0; table->data && i < count; i++) {
            const float *row = rvx__f32(table) + t->n * 3 * table->pitch + c;
            folded.scale[i] = row[i];
            folded.shift[i] = row[table->pitch + i];
            folded.slope[i] = row[2 * table->pitch + i];
        }
        const fold_block *fold = table->data ? &folded : NULL;
        for (int64_t r = first; r < last; r++) {
            float *row = to + c / BLOCK_CI * t->x_block + r * t->x_row;
            const int64_t offset =
                row_offset(&w->x, t->n, t->z.begin + r / rows, t->y.begin + r % rows) + c;
            if (w->x.dtype == RVX_BF16)
                pack_x_row(w, row, offset, fold, RVX_BF16, count);
            else if (w->x.dtype == RVX_I16)
                pack_x_row(w, row, offset, fold, RVX_I16, count);
            else if (count < BLOCK_CI)
                pack_x_row(w, row, offset, fold, RVX_F32, count);
            else if (fold)
                pack_x_row(w, row, offset, &folded, RVX_F32, BLOCK_CI);
            else
                pack_x_row(w, row, offset, NULL, RVX_F32, BLOCK_CI);
        }
    }
}

/* All of x, for few channels: [ci][z][y][x] with PLANE_MARGIN zeros on every side, so that a
 * block reads all taps without asking where the volume, or the tile, ends. */
static void pack_planes(const work *w, const tile *t, float *to, int64_t first, int64_t last)
{
    const int64_t width = w->x.shape.w, rows = t->y.end - t->y.begin + 2 * PLANE_MARGIN;
    const int64_t slices = t->z.end - t->z.begin;
    const rvx_tensor *fold = &w->call->fold;
    for (int64_t c = 0; c < w->x.shape.c; c++) {
        const float *table = rvx__f32(fold) + (fold->data ? t->n * 3 * fold->pitch + c : 0);
        for (int64_t r = first; r < last; r++) {
            float *row = to + c * t->x_block + r * t->x_row;
            const int64_t z = r / rows - PLANE_MARGIN, y = r % rows - PLANE_MARGIN;
            memset(row, 0, (size_t)t->x_row * sizeof(float));
            if (z < 0 || z >= slices || y < 0 || y >= rows - 2 * PLANE_MARGIN)
                continue;
            const int64_t from = row_offset(&w->x, t->n, t->z.begin + z, t->y.begin + y) + c;
            for (int64_t x = 0; x < width; x++) {
                float value = element(&w->x, from + x * w->x.pitch);
                if (fold->data) {
                    value = value * table[0] + table[fold->pitch];
                    value = value >= 0 ? value : table[2 * fold->pitch] * value;
                }
                row[PLANE_MARGIN + x] = value;
            }
        }
    }
}

ALWAYS_INLINE void pack_dy_row(const work *w, float *to, int64_t offset, const bool bf16,
                               int64_t count)
{
    for (int64_t x = 0; x < w->dy.shape.w; x++)
        rvx__store(to + x * RVX_LANES, lanes_load(&w->dy, bf16, offset + x * w->dy.pitch, count));
}

/* Output rows and vectors of channels of the tile: [co / lanes][z][y][x][lanes], zeros after the
 * last channel. */
static void pack_dy(const work *w, const tile *t, float *to, range packed, range vectors)
{
    const int64_t rows = t->out_y.end - t->out_y.begin;
    const int64_t end = smaller(vectors.end * RVX_LANES, w->dy.shape.c);
    for (int64_t r = packed.begin; r < packed.end; r++) {
        const int64_t offset =
            row_offset(&w->dy, t->n, t->out_z.begin + r / rows, t->out_y.begin + r % rows);
        for (int64_t c = vectors.begin * RVX_LANES; c < end; c += RVX_LANES) {
            float *row = to + c / RVX_LANES * t->dy_vector + r * t->dy_row;
            if (w->dy.dtype == RVX_BF16)
                pack_dy_row(w, row, offset + c, true, w->dy.shape.c - c);
            else if (w->dy.shape.c - c < RVX_LANES)
                pack_dy_row(w, row, offset + c, false, w->dy.shape.c - c);
            else
                pack_dy_row(w, row, offset + c, false, RVX_LANES);
        }
    }
}

/* Rows that pack_x or pack_planes, and pack_dy, have to pack. */
static int64_t tile_x_rows(const work *w, const tile *t)
{
    const int64_t margin = w->planes ? 2 * PLANE_MARGIN : 0;
    return w->pack_x ? (t->z.end - t->z.begin + margin) * (t->y.end - t->y.begin + margin) : 0;
}

static int64_t tile_dy_rows(const work *w, const tile *t)
{
    return w->pack_dy ? (t->out_z.end - t->out_z.begin) * (t->out_y.end - t->out_y.begin) : 0;
}

static void tile_pack_x(const work *w, const tile *t, float *to, int64_t first, int64_t last)
{
    (w->planes ? pack_planes : pack_x)(w, t, to, first, last);
}

#endif
