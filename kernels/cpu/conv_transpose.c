/* Transposed convolution with kernel = stride: forward and data gradient. Owns: both matrix
 * products, on one register block.
 *
 *   forward:  y(v s + k)[co] = bias[co] + sum over ci     of a(v)[ci]         w[k][ci][co]
 *   data:     dx(v)[ci]      =            sum over k, co  of dy(v s + k)[co]  w[k][ci][co]
 *
 * Voxels of x are numbered v = ((n d + z) h + y) w + x; offset(v) finds the first voxel of the box
 * of v in y. Invariant: every output is written by one job, its sum in a fixed order. */
#include "kernels/conv_transpose.h"
#include "kernels/cpu/vec.h"

#include <omp.h>
#include <stdbool.h>
#include <string.h>

/* Voxels of the register block when it is two vectors wide: for 32 registers or 16. */
#if RVX_LANES == 16
enum { BLOCK_VOXELS = 8 };
#else
enum { BLOCK_VOXELS = 6 };
#endif
enum { PIECE_VOXELS = RVX__TRANSPOSE_PIECE_VOXELS };
_Static_assert(PIECE_VOXELS % 24 == 0, "a piece is whole blocks");
/* An output of this size has left the caches before anyone reads it. */
enum { STREAM_BYTES = 16 << 20 };
/* Taps are summed together while their weights stay within this: half of L1. */
enum { PANEL_FLOATS = 6 * 1024 };
/* Channels of a voxel that a block copies at a time: a cache line. */
enum { COPY = 16 };

/* A column is one vector of channels written: of one tap going forward, else of x. */
typedef struct geometry {
    int64_t d, h, w;         /* of x */
    int64_t voxels;          /* n d h w */
    int64_t kernel[3], taps; /* = stride */
    int64_t inner, outer;    /* channels summed over, channels written */
    int64_t vectors;         /* of channels written */
    int64_t columns;
    rvx_tensor large;           /* y or dy */
    int64_t tap_row, tap_slice; /* elements from a voxel of y to the next along h, d */
    bool data;                  /* data gradient */
} geometry;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static geometry geometry_of(const rvx_call *call, const rvx_tensor *x, const rvx_tensor *large,
                            bool data)
{
    geometry g = {.d = x->shape.d,
                  .h = x->shape.h,
                  .w = x->shape.w,
                  .voxels = rvx__shape_voxels(x->shape),
                  .inner = data ? large->shape.c : x->shape.c,
                  .outer = data ? x->shape.c : large->shape.c,
                  .large = *large,
                  .data = data};
    for (int i = 0; i < 3; i++)
        g.kernel[i] = call->params->kernel[i];
    g.taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
    g.vectors = (g.outer + RVX_LANES - 1) / RVX_LANES;
    g.columns = data ? g.vectors : g.vectors * g.taps;
    g.tap_row = large->shape.w * large->pitch;
    g.tap_slice = large->shape.h * g.tap_row;
    return g;
}

/* A tap, and the elements from the first voxel of a box to it. */
typedef struct tap_walk {
    int64_t x, y, offset;
} tap_walk;

static tap_walk tap_at(const geometry *g, int64_t tap)
{
    tap_walk t = {.x = tap % g->kernel[2], .y = tap / g->kernel[2] % g->kernel[1]};
    t.offset =
        tap / g->kernel[2] / g->kernel[1] * g->tap_slice + t.y * g->tap_row + t.x * g->large.pitch;
    return t;
}

static inline void tap_next(tap_walk *t, const geometry *g)
{
    t->offset += g->large.pitch;
    if (++t->x < g->kernel[2])
        return;
    t->x = 0;
    t->offset += g->tap_row - g->kernel[2] * g->large.pitch;
    if (++t->y < g->kernel[1])
        return;
    t->y = 0;
    t->offset += g->tap_slice - g->kernel[1] * g->tap_row;
}

/* Where the boxes of the voxels [first, first + count) begin in y. */
static void box_offsets(const geometry *g, int64_t *to, int64_t first, int64_t count)
{
    int64_t x = first % g->w, y = first / g->w % g->h, slice = first / g->w / g->h;
    for (int64_t i = 0; i < count; i++) {
        to[i] = slice * g->kernel[0] * g->tap_slice + y * g->kernel[1] * g->tap_row +
                x * g->kernel[2] * g->large.pitch;
        if (++x == g->w) {
            x = 0;
            if (++y == g->h) {
                y = 0;
                slice++;
            }
        }
    }
}

/* Packs [tap][ci][co] as [column][inner][lanes] going forward, [column][tap][inner][lanes] for
 * data, zeros after the last channel. `panel` counts vectors within taps. */
static void pack_weight(const geometry *g, float *to, const float *weight, int64_t panel)
{
    const int64_t tap = panel / g->vectors, vector = panel % g->vectors;
    const int64_t co = g->data ? g->inner : g->outer, first = vector * RVX_LANES;
    const int64_t count = smaller(RVX_LANES, g->outer - first);
    const float *from = weight + tap * g->inner * g->outer + (g->data ? first * co : first);
    const int64_t inner_step = g->data ? 1 : co, outer_step = g->data ? co : 1;
    to += (g->data ? vector * g->taps + tap : panel) * g->inner * RVX_LANES;
    for (int64_t i = 0; i < g->inner; i++)
        for (int64_t o = 0; o < RVX_LANES; o++)
            to[i * RVX_LANES + o] = o < count ? from[i * inner_step + o * outer_step] : 0.0f;
}

/* One register block. Values to broadcast: voxel m at from_offset[m] + the offset of each of `taps`
 * taps from `tap` on (forward: one without offset). Offsets count elements. */
typedef struct block {
    const geometry *g;
    rvx_plane from;
    const int64_t *from_offset;
    tap_walk tap;
    int64_t taps;
    const float *weight[2]; /* [taps][inner][lanes] */
    const float *bias[2];   /* a vector, or NULL */
    rvx_plane to;           /* voxel m at to_start + to_offset[m] */
    int64_t to_start[2];
    const int64_t *to_offset;
    int64_t channels[2]; /* valid ones */
    int64_t voxels;
    bool add;
    bool stream; /* every vector is full and aligned, none is read back soon */
} block;

static void block_put(const block *b, int v, int64_t offset, rvx_vec sum)
{
    rvx__plane_put(b->to, b->to_start[v] + offset, sum, b->channels[v], b->add);
}

#define EACH(index, count) _Pragma("GCC unroll 24") for (int index = 0; index < (count); index++)

/* Copies `count` channels of each voxel to where one register finds them all, and asks for those of
 * the next block, which hardware does not foresee across rows and pages. */
RVX_INLINE void voxels_copy(float (*copy)[COPY], rvx_plane from, const int64_t *at,
                            const int voxels, int64_t count)
{
    const int64_t *next = at + voxels;
    for (int m = 0; m < voxels; m++) {
        __builtin_prefetch(rvx__plane_address(from, next[m]));
        for (int64_t i = 0; i < count; i += RVX_LANES)
            rvx__store(copy[m] + i,
                       rvx__plane_load(from, at[m] + i, smaller(count - i, RVX_LANES)));
    }
}

RVX_INLINE void block_copy(float (*copy)[COPY], const block *b, int64_t m0, const int voxels,
                           int64_t offset, int64_t count)
{
    const int64_t *at = b->from_offset + m0;
    rvx_plane from = rvx__plane_at(b->from, offset);
    if (from.dtype == RVX_F32 && count == COPY) {
        from.dtype = RVX_F32;
        voxels_copy(copy, from, at, voxels, COPY);
    } else if (from.dtype == RVX_F32) {
        from.dtype = RVX_F32;
        voxels_copy(copy, from, at, voxels, count);
    } else if (from.dtype == RVX_BF16) {
        from.dtype = RVX_BF16;
        voxels_copy(copy, from, at, voxels, count);
    } else {
        voxels_copy(copy, from, at, voxels, count);
    }
}

static inline __attribute__((always_inline)) void block_run(const block *b, int64_t m0,
                                                            const int voxels, const int vectors)
{
    rvx_vec acc[2 * BLOCK_VOXELS][2], sum[2 * BLOCK_VOXELS][2];
    float copy[2 * BLOCK_VOXELS][COPY];
    const float *weight[2] = {b->weight[0], b->weight[vectors - 1]};
    EACH(v, vectors)
    {
        const rvx_vec start = b->bias[v] ? rvx__load(b->bias[v]) : (rvx_vec){0};
        EACH(m, voxels) acc[m][v] = start;
    }
    tap_walk tap = b->tap;
    for (int64_t t = 0; t < b->taps; t++, tap_next(&tap, b->g))
        for (int64_t first = 0; first < b->g->inner; first += COPY) {
            const int64_t count = smaller(COPY, b->g->inner - first);
            block_copy(copy, b, m0, voxels, tap.offset + first, count);
            for (int64_t i = 0; i < count; i++) {
                rvx_vec w[2];
                EACH(v, vectors)
                {
                    w[v] = rvx__load(weight[v]);
                    weight[v] += RVX_LANES;
                }
                EACH(m, voxels)
                {
                    const rvx_vec value = rvx__splat(copy[m][i]);
                    EACH(v, vectors) acc[m][v] += value * w[v];
                }
            }
        }
    EACH(m, voxels) EACH(v, vectors) sum[m][v] = acc[m][v];
    const int64_t *to = b->to_offset + m0;
    if (b->stream)
        for (int m = 0; m < voxels; m++)
            for (int v = 0; v < vectors; v++)
                rvx__stream((float *)(void *)b->to.data + b->to_start[v] + to[m], sum[m][v]);
    else
        for (int m = 0; m < voxels; m++)
            for (int v = 0; v < vectors; v++)
                block_put(b, v, to[m], sum[m][v]);
}

/* All voxels of the block's piece, two columns or one. */
static void block_pair(const block *b)
{
    int64_t m = 0;
    for (; m + BLOCK_VOXELS <= b->voxels; m += BLOCK_VOXELS)
        block_run(b, m, BLOCK_VOXELS, 2);
    for (; m + BLOCK_VOXELS / 2 <= b->voxels; m += BLOCK_VOXELS / 2)
        block_run(b, m, BLOCK_VOXELS / 2, 2);
    for (; m < b->voxels; m++)
        block_run(b, m, 1, 2);
}

static void block_single(const block *b)
{
    int64_t m = 0;
    for (; m + 2 * BLOCK_VOXELS <= b->voxels; m += 2 * BLOCK_VOXELS)
        block_run(b, m, 2 * BLOCK_VOXELS, 1);
    for (; m + BLOCK_VOXELS / 2 <= b->voxels; m += BLOCK_VOXELS / 2)
        block_run(b, m, BLOCK_VOXELS / 2, 1);
    for (; m < b->voxels; m++)
        block_run(b, m, 1, 1);
}

/* Voxels [first, first + count) of x, folded, packed without gaps. */
static void fold_piece(float *to, const rvx_call *call, const geometry *g, int64_t first,
                       int64_t count)
{
    const rvx_plane x = rvx__plane_of(&call->in[0], 0);
    for (int64_t v = first; v < first + count; v++, to += g->inner) {
        const rvx_fold fold = rvx__fold_of(&call->fold, v / (g->d * g->h * g->w));
        for (int64_t c = 0; c < g->inner; c += RVX_LANES) {
            const int64_t lanes = smaller(RVX_LANES, g->inner - c);
            rvx__store_count(to + c, rvx__fold_load(x, v * x.pitch, &fold, c, lanes), lanes);
        }
    }
}

/* Pieces of voxels times spans of columns: where voxels are few, jobs are cut along channels. */
typedef struct job {
    int64_t first, count;       /* voxels */
    int64_t column, column_end; /* spans are whole pairs */
} job;

static int64_t job_spans(const geometry *g, int64_t pieces)
{
    return smaller((16 + pieces - 1) / pieces, (g->columns + 1) / 2);
}

static int64_t job_count(const geometry *g)
{
    const int64_t pieces = (g->voxels + PIECE_VOXELS - 1) / PIECE_VOXELS;
    return pieces * job_spans(g, pieces);
}

static job job_of(const geometry *g, int64_t index)
{
    const int64_t pieces = (g->voxels + PIECE_VOXELS - 1) / PIECE_VOXELS;
    const int64_t spans = job_spans(g, pieces), span = index % spans;
    const int64_t pairs = (g->columns + 1) / 2;
    job j = {.first = index / spans * PIECE_VOXELS,
             .column = pairs * span / spans * 2,
             .column_end = smaller(g->columns, pairs * (span + 1) / spans * 2)};
    j.count = smaller(PIECE_VOXELS, g->voxels - j.first);
    return j;
}

static void forward_job(const rvx_call *call, const geometry *g, const float *weight, float *folded,
                        job j)
{
    const rvx_tensor *x = &call->in[0];
    const rvx_tensor folded_x = {.data = folded, .dtype = RVX_F32};
    const bool fold = call->fold.data != NULL;
    int64_t from_offset[PIECE_VOXELS + 2 * BLOCK_VOXELS], to_offset[PIECE_VOXELS];
    box_offsets(g, to_offset, j.first, j.count);
    for (int64_t i = 0; i < j.count + 2 * BLOCK_VOXELS; i++)
        from_offset[i] = fold ? i * g->inner : (j.first + i) * x->pitch;
    if (fold)
        fold_piece(folded, call, g, j.first, j.count);
    const bool whole = g->large.dtype == RVX_F32 && (uintptr_t)g->large.data % 64 == 0 &&
                       g->large.pitch % RVX_LANES == 0 && g->outer % RVX_LANES == 0;
    block b = {.g = g,
               .from = rvx__plane_of(fold ? &folded_x : x, 0),
               .from_offset = from_offset,
               .taps = 1,
               .to = rvx__plane_of(&g->large, 0),
               .to_offset = to_offset,
               .voxels = j.count,
               .stream = whole && rvx__shape_count(g->large.shape) * 4 >= STREAM_BYTES};
    float bias[2][RVX_LANES] = {0};
    for (; j.column < j.column_end; j.column += 2) {
        for (int64_t v = 0; v < 2 && j.column + v < j.column_end; v++) {
            const int64_t column = j.column + v, tap = column / g->vectors;
            const int64_t co = column % g->vectors * RVX_LANES;
            b.channels[v] = smaller(RVX_LANES, g->outer - co);
            b.weight[v] = weight + column * g->inner * RVX_LANES;
            b.to_start[v] = tap_at(g, tap).offset + co;
            if (call->in[2].data) {
                memcpy(bias[v], rvx__f32(&call->in[2]) + co, (size_t)b.channels[v] * sizeof(float));
                b.bias[v] = bias[v];
            }
        }
        (j.column + 1 < j.column_end ? block_pair : block_single)(&b);
    }
    if (b.stream)
        rvx__stream_end();
}

static void data_job(const rvx_call *call, const geometry *g, const float *weight, job j)
{
    const rvx_tensor *dx = &call->grad_in[0];
    int64_t from_offset[PIECE_VOXELS + 2 * BLOCK_VOXELS], to_offset[PIECE_VOXELS];
    box_offsets(g, from_offset, j.first, j.count + 2 * BLOCK_VOXELS); /* some to prefetch */
    for (int64_t i = 0; i < j.count; i++)
        to_offset[i] = (j.first + i) * dx->pitch;
    int64_t together = PANEL_FLOATS / (2 * RVX_LANES * g->inner);
    together = together < 1 ? 1 : together;
    if (dx->dtype == RVX_BF16) /* a sum is rounded once, when it is complete */
        together = g->taps;
    block b = {.g = g,
               .from = rvx__plane_of(&g->large, 0),
               .from_offset = from_offset,
               .to = rvx__plane_of(dx, 0),
               .to_offset = to_offset,
               .voxels = j.count};
    for (; j.column < j.column_end; j.column += 2)
        for (int64_t first = 0; first < g->taps; first += together) {
            b.tap = tap_at(g, first);
            b.taps = smaller(together, g->taps - first);
            b.add = first > 0 || call->accumulate & 1;
            for (int64_t v = 0; v < 2 && j.column + v < j.column_end; v++) {
                b.to_start[v] = (j.column + v) * RVX_LANES;
                b.channels[v] = smaller(RVX_LANES, g->outer - b.to_start[v]);
                b.weight[v] = weight + ((j.column + v) * g->taps + first) * g->inner * RVX_LANES;
            }
            (j.column + 1 < j.column_end ? block_pair : block_single)(&b);
        }
}

void RVX_KERNEL(rvx__conv_transpose_forward)(const rvx_call *call)
{
    const geometry g = geometry_of(call, &call->in[0], &call->out[0], false);
    float *const weight = call->scratch;
    float *const folded = weight + rvx__transpose_weight_floats(g.taps, g.inner, g.outer);
#pragma omp parallel num_threads(call->threads)
    {
#pragma omp for schedule(static)
        for (int64_t p = 0; p < g.taps * g.vectors; p++)
            pack_weight(&g, weight, rvx__f32(&call->in[1]), p);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < job_count(&g); i++)
            forward_job(call, &g, weight, folded + omp_get_thread_num() * PIECE_VOXELS * g.inner,
                        job_of(&g, i));
    }
}

void RVX_KERNEL(rvx__conv_transpose_backward_data)(const rvx_call *call)
{
    const geometry g = geometry_of(call, &call->grad_in[0], &call->grad_out[0], true);
    float *const weight = call->scratch;
#pragma omp parallel num_threads(call->threads)
    {
#pragma omp for schedule(static)
        for (int64_t p = 0; p < g.taps * g.vectors; p++)
            pack_weight(&g, weight, rvx__f32(&call->in[1]), p);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < job_count(&g); i++)
            data_job(call, &g, weight, job_of(&g, i));
    }
}
