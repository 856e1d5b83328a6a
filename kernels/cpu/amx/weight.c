/* Weight gradients on matrix tiles: see weight.h and conv_amx_weight.h. Owns: the walk of a piece
 * and the sum over pieces. */
#include "kernels/cpu/amx/weight.h"
#include "kernels/cpu/amx/block.h"
#include "kernels/cpu/amx/tile.h"

#include <omp.h>

/* Positions that one block sums: packed `few` of these stays near while all taps and
 * channels of `many` meet them. */
enum { CHUNK = 32 * RVX__AMX_DEPTH };

typedef struct worker {
    const rvx__amx_weight_plan *plan;
    const rvx_call *call;
    const rvx_tensor *many, *few;
    uint16_t *ring, *planes; /* of `many` and of `few` */
    rvx__amx_row *rows;
    float *partial;
    int64_t group;
    int add; /* to the partial; else it is written */
} worker;

/* A box of `few`. */
typedef struct box {
    int64_t n, z, d, y, h;
} box;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static box box_make(const rvx__amx_weight_plan *plan, int64_t index)
{
    const int64_t chunk = index % plan->chunks_d;
    const int64_t block = index / plan->chunks_d % plan->blocks_h;
    box b = {.n = index / plan->chunks_d / plan->blocks_h,
             .z = chunk * plan->chunk_d,
             .y = block * plan->block_h};
    b.d = smaller(plan->chunk_d, plan->few.d - b.z);
    b.h = smaller(plan->block_h, plan->few.h - b.y);
    return b;
}

static uint16_t *ring_plane(const worker *work, const box *b, int64_t z)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const int64_t relative = z - (b->z * plan->stride[0] - plan->pad[0]);
    return work->ring + relative % plan->ring_d * plan->many_plane;
}

/* Plane z of `many`: the rows that the box meets, class by class; the rest is zero. */
static void many_pack(const worker *work, const box *b, int64_t z)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const int64_t rows = b->h + (plan->kernel[1] - 1) / plan->stride[1];
    const rvx_tensor *fold = !plan->turned && work->call->fold.data ? &work->call->fold : NULL;
    uint16_t *plane = ring_plane(work, b, z);
    for (int64_t class = 0; class < plan->classes_h * plan->classes_w; class ++) {
        uint16_t *to = plane + class * plan->m_tiles * RVX__AMX_ROWS * plan->row;
        const int64_t class_h = class / plan->classes_w, class_w = class % plan->classes_w;
        for (int64_t y = 0; y < rows; y++) {
            const rvx__amx_line line = {.tensor = work->many,
                                        .fold = fold,
                                        .n = b->n,
                                        .z = z,
                                        .y = (b->y + y) * plan->stride[1] + class_h - plan->pad[1],
                                        .x = class_w - plan->pad[2],
                                        .step = plan->stride[2],
                                        .count = plan->width,
                                        .valid = plan->width};
            rvx__amx_pack_many(to + y * plan->width, plan, &line);
        }
        const int64_t end = rows * plan->width;
        for (int64_t p = 0; p < plan->parts; p++)
            for (int64_t m = 0; m < plan->m_tiles * RVX__AMX_ROWS; m++)
                memset(to + p * plan->many_part + m * plan->row + end, 0,
                       (size_t)(plan->row - end) * 2);
    }
}

/* Plane z of `few`, panels of this group; zeros behind the last row. */
static void few_pack(const worker *work, const box *b, int64_t z, uint16_t *plane)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const rvx_tensor *fold = plan->turned && work->call->fold.data ? &work->call->fold : NULL;
    for (int64_t n = work->group * RVX__AMX_PANEL; n < plan->n_tiles;
         n += plan->groups * RVX__AMX_PANEL) {
        const int64_t tiles = smaller(RVX__AMX_PANEL, plan->n_tiles - n);
        rvx__amx_line line = {.tensor = work->few,
                              .fold = fold,
                              .n = b->n,
                              .z = z,
                              .step = 1,
                              .count = plan->width,
                              .valid = plan->few.w};
        for (int64_t y = 0; y < b->h; y++) {
            line.y = b->y + y;
            rvx__amx_pack_few(plane, plan, &line, y * plan->width, n, tiles);
        }
        line.valid = 0;
        line.count = plan->depth - b->h * plan->width;
        rvx__amx_pack_few(plane, plan, &line, b->h * plan->width, n, tiles);
    }
}

/* Planes of a sweep that meet for tap tz, from position `first` on. */
static int64_t rows_list(const worker *work, const box *b, int64_t z, int64_t count_d, int64_t tz,
                         int64_t panel, int64_t first)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const int64_t columns = smaller(RVX__AMX_PANEL, plan->n_tiles - panel);
    int64_t count = 0;
    for (int64_t i = 0; i < count_d; i++) {
        const int64_t source = (z + i) * plan->stride[0] + tz - plan->pad[0];
        if (source < 0 || source >= plan->many.d)
            continue;
        const uint16_t *few =
            work->planes + i * plan->few_plane + panel * RVX__AMX_COLUMNS * plan->depth;
        work->rows[count++] = (rvx__amx_row){ring_plane(work, b, source) + first,
                                             few + first * columns * RVX__AMX_COLUMNS};
    }
    return count;
}

/* Item i of tap tz: tap (ty, tx) and tile of m. */
typedef struct item {
    int64_t offset, tile; /* in a packed plane of `many`; index of its first tile of dW */
} item;

static item item_make(const rvx__amx_weight_plan *plan, int64_t tz, int64_t index)
{
    const int64_t taps_w = plan->kernel[2], taps = plan->kernel[1] * taps_w;
    const int64_t m = index / taps, ty = index % taps / taps_w, tx = index % taps_w;
    const int64_t class = ty % plan->stride[1] * plan->classes_w + tx % plan->stride[2];
    return (item){(class * plan->m_tiles + m) * RVX__AMX_ROWS * plan->row +
                      ty / plan->stride[1] * plan->width + tx / plan->stride[2],
                  ((tz * taps + index % taps) * plan->m_tiles + m) * plan->n_tiles};
}

static void tile_add(float *to, const float *sum, int add)
{
    for (int64_t i = 0; i < RVX__AMX_TILE_FLOATS; i += 16) {
        __m512 v = _mm512_load_ps(sum + i);
        _mm512_storeu_ps(to + i, add ? _mm512_add_ps(v, _mm512_loadu_ps(to + i)) : v);
    }
}

/* One chunk of positions of one panel: all taps along h and w, all channels of `many`. */
static void chunk_run(const worker *work, rvx__amx_block *block, int64_t tz, int64_t n, int add)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const int64_t items = plan->kernel[1] * plan->kernel[2] * plan->m_tiles;
    const int64_t columns = smaller(RVX__AMX_PANEL, plan->n_tiles - n);
    const int64_t most = RVX__AMX_BLOCK_TILES / columns;
    for (int64_t i = 0; i < items; i += most) {
        const int64_t count = smaller(most, items - i);
        float *to[RVX__AMX_BLOCK_TILES];
        for (int64_t j = 0; j < count; j++) {
            const item at = item_make(plan, tz, i + j);
            block->offset[j] = at.offset;
            to[j] = work->partial + (at.tile + n) * RVX__AMX_TILE_FLOATS;
        }
        rvx__amx_block_run(block, count, columns);
        for (int64_t j = 0; j < count * columns; j++)
            tile_add(to[j / columns] + j % columns * RVX__AMX_TILE_FLOATS,
                     block->sum + j * RVX__AMX_TILE_FLOATS, add);
    }
}

/* All taps and channels of the group over count_d planes from z on. */
static void sweep_run(const worker *work, const box *b, int64_t z, int64_t count_d)
{
    const rvx__amx_weight_plan *plan = work->plan;
    rvx__amx_block block = {.rows = work->rows,
                            .position_bytes = 2 * plan->row,
                            .parts = plan->parts,
                            .source_part = plan->many_part,
                            .weight_part = plan->few_part};
    for (int64_t n = work->group * RVX__AMX_PANEL; n < plan->n_tiles;
         n += plan->groups * RVX__AMX_PANEL)
        for (int64_t first = 0; first < plan->depth; first += CHUNK) {
            block.run_tiles = smaller(CHUNK, plan->depth - first) / RVX__AMX_DEPTH;
            for (int64_t tz = 0; tz < plan->kernel[0]; tz++) {
                block.row_count = rows_list(work, b, z, count_d, tz, n, first);
                chunk_run(work, &block, tz, n, work->add || first > 0);
            }
        }
}

/* bias += sum of dy over the rows of dy that belong to the box. */
static void bias_add(const worker *work, const box *b, float *bias)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const rvx_tensor *dy = &work->call->grad_out[0];
    const int64_t scale_d = plan->turned ? plan->stride[0] : 1;
    const int64_t scale_h = plan->turned ? plan->stride[1] : 1;
    const int64_t bytes = rvx__dtype_bytes(dy->dtype);
    const numbers kind = numbers_of(dy);
    for (int64_t c = 0; c < dy->shape.c; c += 16) {
        const __mmask16 mask = lanes_mask(dy->shape.c - c);
        __m512 sum = _mm512_setzero_ps();
        for (int64_t z = b->z * scale_d; z < (b->z + b->d) * scale_d; z++)
            for (int64_t y = b->y * scale_h; y < (b->y + b->h) * scale_h; y++) {
                const int64_t voxel = ((b->n * dy->shape.d + z) * dy->shape.h + y) * dy->shape.w;
                const char *from = (const char *)dy->data + (voxel * dy->pitch + c) * bytes;
                __m512 row = _mm512_setzero_ps();
                for (int64_t x = 0; x < dy->shape.w; x++)
                    row =
                        _mm512_add_ps(row, numbers_load(from + x * dy->pitch * bytes, kind, mask));
                sum = _mm512_add_ps(sum, row);
            }
        _mm512_storeu_ps(bias + c, _mm512_add_ps(sum, _mm512_loadu_ps(bias + c)));
    }
}

/* The boxes of one piece, panels of one group. */
static void piece_run(worker *work, int64_t piece, float *bias)
{
    const rvx__amx_weight_plan *plan = work->plan;
    const int64_t last = plan->boxes * (piece + 1) / plan->pieces;
    for (int64_t i = plan->boxes * piece / plan->pieces; i < last; i++) {
        const box b = box_make(plan, i);
        if (bias)
            bias_add(work, &b, bias);
        if (!work->call->grad_in[1].data)
            continue;
        int64_t packed_until = larger(0, b.z * plan->stride[0] - plan->pad[0]);
        for (int64_t z = b.z; z < b.z + b.d; z += plan->step_d) {
            const int64_t count = smaller(plan->step_d, b.z + b.d - z);
            const int64_t until =
                (z + count - 1) * plan->stride[0] - plan->pad[0] + plan->kernel[0];
            for (; packed_until < smaller(until, plan->many.d); packed_until++)
                many_pack(work, &b, packed_until);
            for (int64_t j = 0; j < count; j++)
                few_pack(work, &b, z + j, work->planes + j * plan->few_plane);
            sweep_run(work, &b, z, count);
            work->add = 1;
        }
    }
}

/* Rows [tap][ci] of dW, summed over the pieces in their order. Work-shared. */
static void pieces_sum(const rvx_call *call, const rvx__amx_weight_plan *plan,
                       const float *partials)
{
    float *const dw = rvx__f32(&call->grad_in[1]);
    const int64_t ci = plan->turned ? plan->few.c : plan->many.c;
    const int64_t co = plan->turned ? plan->many.c : plan->few.c;
    const int64_t taps = (int64_t)plan->kernel[0] * plan->kernel[1] * plan->kernel[2];
#pragma omp for schedule(static) nowait
    for (int64_t row = 0; row < taps * ci; row++)
        for (int64_t c = 0; c < co; c += 16) {
            const int64_t tap = row / ci, a = row % ci, count = smaller(16, co - c);
            const int64_t m = plan->turned ? c : a, n = plan->turned ? a : c;
            const float *from =
                partials +
                ((tap * plan->m_tiles + m / 16) * plan->n_tiles + n / 16) * RVX__AMX_TILE_FLOATS +
                m % 16 * 16 + n % 16;
            float *to = dw + row * co + c;
            if (!plan->turned) {
                const __mmask16 mask = lanes_mask(count);
                __m512 v = _mm512_setzero_ps();
                if (call->accumulate & 2)
                    v = _mm512_maskz_loadu_ps(mask, to);
                for (int64_t p = 0; p < plan->pieces; p++)
                    v = _mm512_add_ps(v, _mm512_loadu_ps(from + p * plan->partial_floats));
                _mm512_mask_storeu_ps(to, mask, v);
                continue;
            }
            float sum[16] = {0};
            if (call->accumulate & 2)
                memcpy(sum, to, (size_t)count * sizeof(float));
            for (int64_t p = 0; p < plan->pieces; p++, from += plan->partial_floats)
                for (int64_t i = 0; i < 16; i++)
                    sum[i] += from[i * RVX__AMX_COLUMNS];
            memcpy(to, sum, (size_t)count * sizeof(float));
        }
}

static void bias_sum(const rvx_call *call, const rvx__amx_weight_plan *plan, const float *biases)
{
    float *const to = rvx__f32(&call->grad_in[2]);
    for (int64_t c = 0; c < call->grad_out[0].shape.c; c++) {
        float sum = call->accumulate & 4 ? to[c] : 0;
        for (int64_t p = 0; p < plan->pieces; p++)
            sum += biases[p * plan->partial_floats + c];
        to[c] = sum;
    }
}

void rvx__amx_weight_gradient(const rvx_call *call, int transposed, int64_t parts)
{
    rvx__amx_weight_plan made, *const plan = &made;
    rvx__amx_weight_plan_make(plan, transposed, &call->in[0].shape, &call->grad_out[0].shape,
                              call->params, parts, call->threads);
    float *const partials = call->scratch;
    char *const threads = (char *)(partials + plan->pieces * plan->partial_floats);
    const int64_t padded = (call->grad_out[0].shape.c + 15) / 16 * 16;
    float *const biases = partials + plan->partial_floats - padded;
#pragma omp parallel num_threads(call->threads)
    {
        char *own = threads + omp_get_thread_num() * plan->thread_bytes;
        tiles_open();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < plan->pieces * plan->groups; i++) {
            const int64_t piece = i / plan->groups;
            worker work = {.plan = plan,
                           .call = call,
                           .many = transposed ? &call->grad_out[0] : &call->in[0],
                           .few = transposed ? &call->in[0] : &call->grad_out[0],
                           .ring = (uint16_t *)(void *)own,
                           .planes = (uint16_t *)(void *)(own + plan->few_offset),
                           .rows = (rvx__amx_row *)(void *)(own + plan->rows_offset),
                           .partial = partials + piece * plan->partial_floats,
                           .group = i % plan->groups};
            float *bias = NULL;
            if (call->grad_in[2].data && work.group == 0) {
                bias = biases + piece * plan->partial_floats;
                memset(bias, 0, (size_t)padded * sizeof(float));
            }
            piece_run(&work, piece, bias);
        }
        tiles_close();
        if (call->grad_in[1].data)
            pieces_sum(call, plan, partials);
#pragma omp single
        if (call->grad_in[2].data)
            bias_sum(call, plan, biases);
    }
}
