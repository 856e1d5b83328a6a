/* The correlation engine on matrix tiles: see correlate.h and conv_amx.h. Owns: the walk of a task.
 * Invariant: a target is one sum over all its products in one order, whatever block or task
 * computes it. */
#include "kernels/cpu/amx/correlate.h"
#include "kernels/cpu/amx/block.h"
#include "kernels/cpu/amx/tile.h"
#include "kernels/cpu/copy.h"

#include <omp.h>

typedef struct range {
    int64_t first, count;
} range;

/* One class of targets: the same taps along every axis. */
typedef struct tap_class {
    rvx__correlation_axis axis[3];
    int64_t run_tiles;           /* tiles of products of one tap row */
    int64_t tiles, tiles_before; /* of all tap rows: of this class, and of the classes before */
} tap_class;

/* Sixteen positions: where the first stands in a packed plane and among the targets. */
typedef struct position {
    int64_t offset, y, x;
} position;

/* What is computed between two packings, for one class and one panel. */
typedef struct slab {
    const rvx__amx_call *call;
    const tap_class *class;
    range q[3];
    int64_t row_positions; /* from a position to the one below it; 0: tiles end with their row */
    int64_t offset;        /* of the first position in a plane */
    int64_t row_offset;    /* from one row of q to the next, in a plane */
    int64_t position_elements;
    int64_t channel, column_tiles;
    char *target;                           /* first target of the plane, this channel */
    int64_t target_bytes, target_row_bytes; /* from q to q along w and h */
    numbers numbers;                        /* of the target */
    __m512 bias[RVX__AMX_PANEL];
    __mmask16 mask[RVX__AMX_PANEL];
} slab;

typedef struct worker {
    const rvx__amx_call *call;
    const uint16_t *weights;
    uint16_t *ring;
    rvx__amx_row *rows;
} worker;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static range range_cut(range a, int64_t first, int64_t count)
{
    int64_t low = larger(a.first, first), high = smaller(a.first + a.count, first + count);
    return (range){low, larger(0, high - low)};
}

/* ---- targets -------------------------------------------------------------------------------- */

/* `count` sums of one row of targets, from position (y, x) on. */
static inline __attribute__((always_inline)) void sums_store(const slab *s, const float *sum,
                                                             int64_t y, int64_t x, int64_t count,
                                                             rvx_dtype dtype, int64_t columns)
{
    const int accumulate = s->call->accumulate;
    numbers kind = s->numbers;
    kind.dtype = dtype;
    char *to = s->target + y * s->target_row_bytes + x * s->target_bytes;
    for (int64_t i = 0; i < count; i++, to += s->target_bytes, sum += RVX__AMX_COLUMNS)
        for (int64_t t = 0; t < columns; t++) {
            char *at = to + t * RVX__AMX_COLUMNS * rvx__dtype_bytes(dtype);
            __m512 v = _mm512_add_ps(_mm512_load_ps(sum + t * RVX__AMX_TILE_FLOATS), s->bias[t]);
            if (accumulate)
                v = _mm512_add_ps(v, numbers_load(at, kind, s->mask[t]));
            numbers_store(at, kind, v, s->mask[t]);
        }
}

/* The same, added to the residual. */
static void residual_store(const slab *s, const float *sum, int64_t y, int64_t x, int64_t count)
{
    const rvx_tensor *target = &s->call->target, *residual = &s->call->residual;
    const rvx_plane to = rvx__plane_of(target, 0), from = rvx__plane_of(residual, 0);
    const rvx_combine how = s->call->subtract ? RVX_COMBINE_DIFFERENCE : RVX_COMBINE_SUM;
    const int64_t element =
        (s->target + y * s->target_row_bytes + x * s->target_bytes - (char *)target->data) /
        rvx__dtype_bytes(target->dtype);
    const int64_t channel = element % target->pitch;
    const int64_t step = s->target_bytes / rvx__dtype_bytes(target->dtype) / target->pitch;
    int64_t voxel = element / target->pitch;
    for (int64_t i = 0; i < count; i++, sum += RVX__AMX_COLUMNS, voxel += step)
        for (int64_t t = 0; t < s->column_tiles; t++) {
            const __m512 v =
                _mm512_add_ps(_mm512_load_ps(sum + t * RVX__AMX_TILE_FLOATS), s->bias[t]);
            const int64_t c = channel + t * RVX__AMX_COLUMNS;
            rvx__combine_sum(rvx__plane_at(to, voxel * to.pitch + c),
                             rvx__plane_at(from, voxel * from.pitch + c), (rvx_vec)v, how,
                             __builtin_popcount(s->mask[t]));
        }
}

static void row_store(const slab *s, const float *sum, int64_t y, int64_t x, int64_t count)
{
    const rvx_dtype dtype = s->numbers.dtype;
    if (s->call->residual.data)
        residual_store(s, sum, y, x, count);
    else if (dtype == RVX_BF16 && s->column_tiles == 2)
        sums_store(s, sum, y, x, count, RVX_BF16, 2);
    else if (dtype == RVX_BF16)
        sums_store(s, sum, y, x, count, RVX_BF16, 1);
    else if (dtype == RVX_I16)
        sums_store(s, sum, y, x, count, RVX_I16, s->column_tiles);
    else
        sums_store(s, sum, y, x, count, RVX_F32, s->column_tiles);
}

static void tile_store(const slab *s, const float *sum, const position *p)
{
    int64_t y = p->y, x = p->x;
    for (int64_t row = 0; row < RVX__AMX_ROWS && y < s->q[1].count; y++, x = 0) {
        const int64_t count = smaller(RVX__AMX_ROWS - row, s->q[2].count - x);
        if (count > 0)
            row_store(s, sum + row * RVX__AMX_COLUMNS, y, x, count);
        if (!s->row_positions)
            return;
        row += s->row_positions - x;
    }
}

/* The next sixteen positions; past the last row when there are no more. */
static void position_next(const slab *s, position *p)
{
    p->x += RVX__AMX_ROWS;
    while (s->row_positions && p->x >= s->row_positions) {
        p->x -= s->row_positions;
        p->y++;
    }
    if (p->x >= s->q[2].count) {
        p->x = 0;
        p->y++;
    }
    p->offset = s->offset + p->y * s->row_offset + p->x * s->position_elements;
}

static void plane_run(const slab *s, const rvx__amx_row *rows, int64_t row_count)
{
    const int64_t most = RVX__AMX_BLOCK_TILES / s->column_tiles;
    rvx__amx_block b = {.rows = rows,
                        .row_count = row_count,
                        .run_tiles = s->class->run_tiles,
                        .parts = s->call->plan->parts,
                        .source_part = s->call->plan->part_elements,
                        .weight_part = s->call->plan->weight_elements};
    b.position_bytes = 2 * s->position_elements;
    for (position p = {.offset = s->offset}; p.y < s->q[1].count;) {
        position at[RVX__AMX_BLOCK_TILES];
        int64_t count = 0;
        for (; count < most && p.y < s->q[1].count; position_next(s, &p)) {
            b.offset[count] = p.offset;
            at[count++] = p;
        }
        rvx__amx_block_run(&b, count, s->column_tiles);
        for (int64_t i = 0; i < count; i++)
            tile_store(s, b.sum + i * s->column_tiles * RVX__AMX_TILE_FLOATS, &at[i]);
    }
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static tap_class class_make(const rvx__amx_plan *plan, int64_t index, int64_t before)
{
    const rvx__correlation *problem = &plan->problem;
    tap_class class = {.tiles_before = before};
    for (int axis = 2; axis >= 0; axis--) {
        int64_t count = problem->backward ? problem->stride[axis] : 1;
        class.axis[axis] = rvx__correlation_axis_make(problem, axis, index % count);
        index /= count;
    }
    class.run_tiles = rvx__amx_run_tiles(plan, class.axis[2].taps);
    class.tiles = class.axis[0].taps * class.axis[1].taps * class.run_tiles;
    return class;
}

static int64_t class_count(const rvx__correlation *problem)
{
    return problem->backward ? (int64_t)problem->stride[0] * problem->stride[1] * problem->stride[2]
                             : 1;
}

/* Elements before the weights of a panel: classes, then panels, then tap rows. */
static int64_t weight_offset(const rvx__amx_plan *plan, const tap_class *class, int64_t column_tile)
{
    return (class->tiles_before * plan->column_tiles + class->tiles * column_tile) *
           RVX__AMX_TILE_ELEMENTS;
}

/* Work-shared: one tap row of one tile of target channels at a time. */
static void weights_pack(const rvx__amx_call *call, uint16_t *packed)
{
    const rvx__amx_plan *plan = call->plan;
    int64_t before = 0;
    for (int64_t c = 0; c < class_count(&plan->problem); c++) {
        const tap_class class = class_make(plan, c, before);
        const rvx__correlation_axis *axis = class.axis;
        before += class.tiles;
        const int64_t tap_rows = axis[0].taps * axis[1].taps;
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < tap_rows * plan->column_tiles; i++) {
            const int64_t column = i / tap_rows, tz = i % tap_rows / axis[1].taps;
            const int64_t ty = i % axis[1].taps, in_panel = column % RVX__AMX_PANEL;
            const int64_t columns = smaller(RVX__AMX_PANEL, plan->column_tiles - column + in_panel);
            const int64_t stride = columns * RVX__AMX_TILE_ELEMENTS;
            uint16_t *to = packed + weight_offset(plan, &class, column - in_panel) +
                           (i % tap_rows) * class.run_tiles * stride +
                           in_panel * RVX__AMX_TILE_ELEMENTS;
            rvx__amx_pack_weights(to, plan, &call->weight,
                                  axis[0].tap_first + axis[0].tap_step * tz,
                                  axis[1].tap_first + axis[1].tap_step * ty, &axis[2],
                                  column * RVX__AMX_COLUMNS, class.run_tiles, stride);
        }
    }
}

static uint16_t *ring_plane(const worker *work, int64_t z_relative)
{
    const rvx__amx_plan *plan = work->call->plan;
    return work->ring + z_relative % plan->ring_d * plan->plane_elements;
}

/* Plane z of the box, rows [y, y + rows) and columns from x on, and the zeros behind it. */
static void plane_pack(const worker *work, int64_t n, int64_t z, int64_t z_relative, int64_t y,
                       int64_t rows, int64_t x)
{
    const rvx__amx_call *call = work->call;
    const rvx__amx_plan *plan = call->plan;
    const int64_t row = plan->row_voxels * plan->voxel_elements;
    uint16_t *to = ring_plane(work, z_relative);
    for (int64_t i = 0; i < rows; i++)
        rvx__amx_pack_row(to + i * row, plan, &call->source, call->fold.data ? &call->fold : NULL,
                          n, z, y + i, x);
    for (int64_t p = 0; p < plan->parts; p++)
        memset(to + p * plan->part_elements + rows * row, 0, 2 * RVX__AMX_DEPTH);
}

/* Tap rows of target plane qz; planes outside the volume are left out. */
static int64_t rows_list(const worker *work, const slab *s, int64_t qz, int64_t z_first)
{
    const rvx__amx_plan *plan = work->call->plan;
    const rvx__correlation_axis *d = &s->class->axis[0], *h = &s->class->axis[1];
    const int64_t row_weights = s->class->run_tiles * s->column_tiles * RVX__AMX_TILE_ELEMENTS;
    const uint16_t *weights =
        work->weights + weight_offset(plan, s->class, s->channel / RVX__AMX_COLUMNS);
    int64_t count = 0;
    for (int64_t tz = 0; tz < d->taps; tz++) {
        const int64_t z = d->source_step * qz + d->source_first + tz;
        if (z < 0 || z >= plan->problem.source.d)
            continue;
        const uint16_t *plane = ring_plane(work, z - z_first);
        for (int64_t ty = 0; ty < h->taps; ty++)
            work->rows[count++] =
                (rvx__amx_row){plane + ty * plan->row_voxels * plan->voxel_elements,
                               weights + (tz * h->taps + ty) * row_weights};
    }
    return count;
}

/* Where the targets and sources of one class stand in the box whose packed planes begin at source
 * row and column y_first, x_first; false where the class has no targets there. */
static int slab_open(slab *s, const rvx__amx_call *call, const tap_class *class, const range box[3],
                     int64_t y_first, int64_t x_first)
{
    const rvx__amx_plan *plan = call->plan;
    const rvx__correlation_axis *h = &class->axis[1], *w = &class->axis[2];
    *s = (slab){.call = call, .class = class, .numbers = numbers_of(&call->target)};
    for (int a = 0; a < 3; a++) {
        s->q[a] = range_cut(box[a], class->axis[a].first, class->axis[a].count);
        if (s->q[a].count == 0)
            return 0;
    }
    const int64_t voxel = plan->voxel_elements, row = plan->row_voxels * voxel;
    s->position_elements = w->source_step * voxel;
    s->row_offset = h->source_step * row;
    s->offset = (h->source_step * s->q[1].first + h->source_first - y_first) * row +
                (w->source_step * s->q[2].first + w->source_first - x_first) * voxel;
    /* One sequence of positions, if a row of the plane is a whole number of them and that takes
     * fewer tiles. */
    if (s->row_offset % s->position_elements == 0) {
        const int64_t width = s->row_offset / s->position_elements, rows = s->q[1].count;
        const int64_t joined = (rows - 1) * width + s->q[2].count;
        const int64_t apart = (s->q[2].count + RVX__AMX_ROWS - 1) / RVX__AMX_ROWS;
        if ((joined + RVX__AMX_ROWS - 1) / RVX__AMX_ROWS < rows * apart)
            s->row_positions = width;
    }
    return 1;
}

/* One panel of target channels, from tile `column` on: of the slab. */
static void slab_panel(slab *s, const worker *work, int64_t n, int64_t column, int64_t z_first)
{
    const rvx__amx_call *call = s->call;
    const rvx_tensor *target = &call->target;
    const rvx__correlation_axis *axis = s->class->axis;
    const int64_t bytes = rvx__dtype_bytes(target->dtype), voxel = target->pitch * bytes;
    s->channel = column * RVX__AMX_COLUMNS;
    s->column_tiles = smaller(RVX__AMX_PANEL, call->plan->column_tiles - column);
    s->target_bytes = axis[2].target_step * voxel;
    s->target_row_bytes = axis[1].target_step * target->shape.w * voxel;
    for (int64_t t = 0; t < s->column_tiles; t++) {
        const int64_t channel = s->channel + t * RVX__AMX_COLUMNS;
        s->mask[t] = lanes_mask(target->shape.c - channel);
        s->bias[t] = call->bias.data
                         ? _mm512_maskz_loadu_ps(s->mask[t], rvx__f32(&call->bias) + channel)
                         : _mm512_setzero_ps();
    }
    const int64_t y = axis[1].target_step * s->q[1].first + axis[1].target_first;
    const int64_t x = axis[2].target_step * s->q[2].first + axis[2].target_first;
    for (int64_t qz = s->q[0].first; qz < s->q[0].first + s->q[0].count; qz++) {
        const int64_t z = axis[0].target_step * qz + axis[0].target_first;
        s->target =
            (char *)target->data + s->channel * bytes +
            (((n * target->shape.d + z) * target->shape.h + y) * target->shape.w + x) * voxel;
        plane_run(s, work->rows, rows_list(work, s, qz, z_first));
    }
}

/* A box of targets, or every groups-th panel of it. */
static void task_run(const worker *work, int64_t index)
{
    const rvx__amx_call *call = work->call;
    const rvx__amx_plan *plan = call->plan;
    const rvx__correlation *problem = &plan->problem;
    const int64_t group = index % plan->groups, block_h = index / plan->groups % plan->blocks_h;
    const int64_t chunk = index / plan->groups / plan->blocks_h;
    const int64_t n = chunk / plan->chunks_d;
    const range all = {plan->q_first[0], plan->q_count[0]};
    const range d =
        range_cut(all, plan->q_first[0] + chunk % plan->chunks_d * plan->chunk_d, plan->chunk_d);
    range box[3] = {{0},
                    range_cut((range){plan->q_first[1], plan->q_count[1]},
                              plan->q_first[1] + block_h * plan->block_h, plan->block_h),
                    {plan->q_first[2], plan->q_count[2]}};
    int64_t first[3];
    for (int a = 0; a < 3; a++)
        first[a] = plan->source_step[a] * (a ? box[a].first : d.first) + plan->source_first[a];
    const int64_t rows = plan->source_step[1] * (box[1].count - 1) + plan->source_taps[1];
    int64_t packed_until = larger(first[0], 0);
    for (int64_t done = 0; done < d.count; done += plan->step_d) {
        box[0] = (range){d.first + done, smaller(plan->step_d, d.count - done)};
        const int64_t until = plan->source_step[0] * (box[0].first + box[0].count - 1) +
                              plan->source_first[0] + plan->source_taps[0];
        for (; packed_until < smaller(until, problem->source.d); packed_until++)
            plane_pack(work, n, packed_until, packed_until - first[0], first[1], rows, first[2]);
        int64_t before = 0;
        for (int64_t c = 0; c < class_count(problem); c++) {
            const tap_class class = class_make(plan, c, before);
            before += class.tiles;
            slab s;
            if (!slab_open(&s, call, &class, box, first[1], first[2]))
                continue;
            for (int64_t column = group * RVX__AMX_PANEL; column < plan->column_tiles;
                 column += plan->groups * RVX__AMX_PANEL)
                slab_panel(&s, work, n, column, first[0]);
        }
    }
}

void rvx__amx_correlate(const rvx__amx_call *call)
{
    const rvx__amx_plan *plan = call->plan;
    uint16_t *weights = call->scratch;
    char *threads = (char *)(weights + plan->parts * plan->weight_elements);
    const int64_t tasks = plan->problem.source.n * plan->chunks_d * plan->blocks_h * plan->groups;
#pragma omp parallel num_threads(call->threads)
    {
        char *own = threads + omp_get_thread_num() * plan->thread_bytes;
        const worker work = {call, weights, (uint16_t *)(void *)own,
                             (rvx__amx_row *)(void *)(own + plan->rows_offset)};
        tiles_open();
        weights_pack(call, weights);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < tasks; i++)
            task_run(&work, i);
        tiles_close();
    }
}
