/* The correlation engine: packs source rows and weight panels, then runs register blocks over
 * them. Two ways to go through a tensor, chosen by the plan from shapes:
 *   stream    weights are packed once; each task walks along h over a ring of packed source rows
 *   resident  the (small) source is packed once; each task packs a panel of the (large) weights
 * A source that needs neither padding nor fold and whose rows are contiguous is read in place. */
#include "kernels/cpu/conv_correlate.h"

#include "kernels/cpu/conv_block.h"
#include "kernels/cpu/conv_pack.h"

#include <omp.h>

enum { STREAM_BYTES_MIN = 12 << 20 };

_Static_assert(sizeof(rvx__conv_row) <= RVX_CORRELATE_ROW_FLOATS * sizeof(float), "row table");
_Static_assert((int)RVX_BLOCK_VECTORS == (int)RVX_CORRELATE_VECTORS, "panel width");
_Static_assert(RVX_LANES <= RVX_CORRELATE_LANES_MAX, "panel width");

/* Where source rows stand. Row (z, y) is at
 *     base + (z - z_first) * z_stride + (y modulo ring) * y_stride, its voxel x_first first.
 * y_lap is a multiple of ring such that y_lap <= y < y_lap + 2 * ring for all rows in use. */
typedef struct source_view {
    const float *base;
    int64_t z_first, z_stride, y_stride, ring, y_lap, x_first, voxel;
} source_view;

typedef struct range {
    int64_t first, count;
} range;

/* Source rows that the next step will pack, fetched in chunks while this one computes. */
typedef struct rows_ahead {
    const float *first;
    int64_t z_count, z_stride, y_count, y_stride; /* floats */
    int64_t row_floats, chunk_floats, row_chunks; /* a row is cut into row_chunks */
    int64_t done;                                 /* chunks */
} rows_ahead;

/* What one thread works with. */
typedef struct worker {
    const rvx__correlate_call *call;
    const rvx__correlation_plan *plan;
    float *buffer; /* ring, or weight chunk */
    const float *zeros;
    rvx__conv_row *rows;
    int stream; /* the target is larger than the caches */
    rows_ahead *ahead;
} worker;

typedef struct channel_panel {
    int64_t channel, vectors, lanes; /* first target channel; lanes of the last vector */
} channel_panel;

/* One class of targets: the same taps along every axis. */
typedef struct tap_class {
    rvx__correlation_axis axis[3];
    int64_t taps, taps_before; /* of this class, and of all classes before it */
} tap_class;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t class_count(const rvx__correlation *problem)
{
    int64_t count = 1;
    for (int axis = 0; axis < 3; axis++)
        count *= rvx__correlation_classes(problem, axis);
    return count;
}

/* Classes in order of index; `before` is the running count of taps. */
static tap_class class_make(const rvx__correlation *problem, int64_t index, int64_t before)
{
    tap_class class = {.taps = 1, .taps_before = before};
    for (int axis = 2; axis >= 0; axis--) {
        int64_t count = rvx__correlation_classes(problem, axis);
        class.axis[axis] = rvx__correlation_axis_make(problem, axis, index % count);
        class.taps *= class.axis[axis].taps;
        index /= count;
    }
    return class;
}

static int64_t panel_vectors(const rvx__correlation *problem)
{
    return problem->window ? RVX_WINDOW_VECTORS : RVX_BLOCK_VECTORS;
}

static int64_t panel_count(const rvx__correlation *problem)
{
    int64_t width = panel_vectors(problem) * RVX_LANES;
    return (problem->target.c + width - 1) / width;
}

static channel_panel panel_make(const rvx__correlation *problem, int64_t index)
{
    int64_t most = panel_vectors(problem), channel = index * most * RVX_LANES;
    int64_t left = problem->target.c - channel;
    int64_t vectors = smaller(most, (left + RVX_LANES - 1) / RVX_LANES);
    return (channel_panel){channel, vectors, smaller(RVX_LANES, left - (vectors - 1) * RVX_LANES)};
}

/* Packs tap `index` of a class into the class's panel at `to`. Rows of taps stand one after the
 * other; within a row channels follow taps, or with a window taps follow channels. */
static void class_pack_tap(float *to, const rvx__correlate_call *call, const tap_class *class,
                           const channel_panel *panel, int64_t index, int64_t tap_d_first)
{
    const rvx__correlation *problem = &call->plan->problem;
    const rvx__correlation_axis *axis = class->axis;
    const int64_t width = panel->vectors * RVX_LANES, along = axis[2].taps;
    const int64_t row = index / along, t = index % along;
    const int64_t tap[3] = {axis[0].tap_first +
                                axis[0].tap_step * (tap_d_first + row / axis[1].taps),
                            axis[1].tap_first + axis[1].tap_step * (row % axis[1].taps),
                            axis[2].tap_first + axis[2].tap_step * t};
    to += row * along * problem->source.c * width;
    to += t * width * (problem->window ? 1 : problem->source.c);
    RVX_KERNEL(rvx__conv_pack_tap)
    (to, problem->window ? along * width : width, &call->weight, problem->backward, tap,
     panel->channel, panel->vectors);
}

static range range_cut(range a, int64_t first, int64_t count)
{
    int64_t low = larger(a.first, first), high = smaller(a.first + a.count, first + count);
    return (range){low, larger(0, high - low)};
}

static int64_t source_step(const rvx__correlation *problem, int axis)
{
    return problem->backward ? 1 : problem->stride[axis];
}

static inline const float *view_row(const source_view *view, int64_t z, int64_t y)
{
    int64_t slot = y - view->y_lap;
    slot -= slot >= view->ring ? view->ring : 0;
    return view->base + (z - view->z_first) * view->z_stride + slot * view->y_stride;
}

/* The next chunk to fetch, or `otherwise` when all have been asked for. */
static inline const float *ahead_next(rows_ahead *ahead, const float *otherwise)
{
    if (ahead->done >= ahead->z_count * ahead->y_count * ahead->row_chunks)
        return otherwise;
    int64_t row = ahead->done / ahead->row_chunks, chunk = ahead->done % ahead->row_chunks;
    ahead->done++;
    return ahead->first + row % ahead->z_count * ahead->z_stride +
           row / ahead->z_count * ahead->y_stride + chunk * ahead->chunk_floats;
}

/* Lists the tap rows of `groups` target rows from (qz, qy) on. Rows that lie outside the volume
 * for all groups are left out; for some, they read zeros. */
static int64_t rows_list(const worker *work, const source_view *view, const tap_class *class,
                         range taps_d, int64_t qz, int64_t qy, int groups, const float *weights,
                         int64_t row_weights)
{
    const rvx_shape *s = &work->plan->problem.source;
    const rvx__correlation_axis *d = &class->axis[0], *h = &class->axis[1];
    int64_t count = 0;
    for (int64_t tz = 0; tz < taps_d.count; tz++) {
        int64_t z = d->source_step * qz + d->source_first + taps_d.first + tz;
        for (int64_t ty = 0; ty < h->taps; ty++, weights += row_weights) {
            rvx__conv_row row = {.weight = weights};
            int inside = 0;
            for (int g = 0; g < groups; g++) {
                int64_t y = h->source_step * (qy + g) + h->source_first + ty;
                int valid = z >= 0 && z < s->d && y >= 0 && y < s->h;
                row.source[g] = valid ? view_row(view, z, y) : work->zeros;
                inside |= valid;
            }
            if (inside) {
                row.ahead = ahead_next(work->ahead, row.source[0]);
                work->rows[count++] = row;
            }
        }
    }
    return count;
}

/* The blocks of one target row, or of a few. `to` is the first target voxel; block->source_offset
 * is that of the first q. */
static void rows_run(const rvx__correlation *problem, rvx__conv_block *block, float *to,
                     int64_t to_group, int64_t groups, int64_t targets, int64_t vectors,
                     int64_t ahead_floats)
{
    int64_t most =
        problem->window ? rvx__window_most(problem->window, vectors) : RVX_BLOCK_SIZE / vectors;
    const int spread = problem->window == RVX_WINDOW_SPREAD;
    const int64_t unit = spread ? 2 : 1, units = (targets + unit - 1) / unit;
    const int64_t blocks = (units + most / unit - 1) / (most / unit);
    block->ahead_lines = (ahead_floats / blocks + 15) / 16;
    block->ahead_offset = 0;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t own = units / blocks + (b < units % blocks);
        int64_t positions = smaller(own * unit, targets);
        for (int64_t g = 0; g < groups; g++)
            block->target[g] = to + g * to_group;
        for (int64_t i = 0; !block->stream && i < positions * block->target_position; i += 16)
            __builtin_prefetch(to + i, 1, 3);
        if (problem->window)
            RVX_KERNEL(rvx__conv_window_find)(problem->window, positions, vectors)(block);
        else
            RVX_KERNEL(rvx__conv_block_find)(groups, positions, vectors)(block);
        block->ahead_offset += 16 * block->ahead_lines;
        targets -= positions;
        to += positions * block->target_position;
        block->source_offset +=
            own * block->source_position * (problem->window == RVX_WINDOW_STRIDE_2 ? 2 : 1);
    }
}

/* How many rows of `targets` voxels fit one block. */
static int64_t groups_most(const rvx__correlation *problem, int64_t targets, int64_t vectors)
{
    int64_t fit = RVX_BLOCK_SIZE / vectors / targets;
    return problem->window || fit < 1 ? 1 : smaller(RVX_BLOCK_GROUPS, fit);
}

/* One panel of one class over a slab of q, for some of the taps along d. */
static void slab_run(const worker *work, const source_view *view, const tap_class *class,
                     const channel_panel *panel, int64_t n, const range slab[3], range taps_d,
                     const float *weights, int load)
{
    const rvx__correlation *problem = &work->plan->problem;
    const rvx_shape *t = &problem->target;
    const rvx__correlation_axis *axis = class->axis;
    const rvx_tensor *target = &work->call->target;
    range q[3];
    for (int i = 0; i < 3; i++) {
        q[i] = range_cut(slab[i], axis[i].first, axis[i].count);
        if (q[i].count == 0)
            return;
    }
    const int64_t x = axis[2].target_step * q[2].first + axis[2].target_first;
    const int64_t targets = smaller(q[2].count * axis[2].spread, t->w - x);
    const int64_t most = groups_most(problem, targets, panel->vectors);
    const int64_t run = axis[2].taps * problem->source.c;
    const int64_t row_weights = run * panel->vectors * RVX_LANES;
    const int64_t offset =
        (axis[2].source_step * q[2].first + axis[2].source_first - view->x_first) * view->voxel;
    rvx__conv_block block = {
        .rows = work->rows,
        .run = problem->window ? problem->source.c : run,
        .source_position = problem->window ? view->voxel : axis[2].source_step * view->voxel,
        .target_position = problem->window ? target->pitch : axis[2].target_step * target->pitch,
        .lanes = panel->lanes,
        .stream = work->stream && panel->lanes == RVX_LANES && !load,
        .load = load};
    if (work->call->bias.data)
        block.bias = rvx__f32(&work->call->bias) + panel->channel;
    for (int64_t qz = q[0].first; qz < q[0].first + q[0].count; qz++) {
        int64_t z = axis[0].target_step * qz + axis[0].target_first;
        for (int64_t qy = q[1].first, groups; qy < q[1].first + q[1].count; qy += groups) {
            groups = smaller(most, q[1].first + q[1].count - qy);
            int64_t ahead_before = work->ahead->done;
            block.row_count =
                rows_list(work, view, class, taps_d, qz, qy, (int)groups, weights, row_weights);
            block.source_offset = offset;
            int64_t y = axis[1].target_step * qy + axis[1].target_first;
            float *to = rvx__f32(target) + panel->channel +
                        (((n * t->d + z) * t->h + y) * t->w + x) * target->pitch;
            rows_run(problem, &block, to, axis[1].target_step * t->w * target->pitch, groups,
                     targets, panel->vectors,
                     work->ahead->done > ahead_before ? work->ahead->chunk_floats : 0);
        }
    }
}

/* ---- stream --------------------------------------------------------------------------------- */

/* Where the panel of a class begins among all packed weights: [panel][class]. */
static int64_t packed_offset(const rvx__correlation *problem, const tap_class *class,
                             const channel_panel *panel)
{
    int64_t kernel = (int64_t)problem->kernel[0] * problem->kernel[1] * problem->kernel[2];
    return problem->source.c *
           (panel->channel * kernel + class->taps_before * panel->vectors * RVX_LANES);
}

/* Packs all weights. Work-shared. */
static void stream_pack_weights(const rvx__correlate_call *call, float *packed)
{
    const rvx__correlation *problem = &call->plan->problem;
    const int64_t classes = class_count(problem), panels = panel_count(problem);
    int64_t before = 0;
    for (int64_t c = 0; c < classes; c++) {
        tap_class class = class_make(problem, c, before);
        before += class.taps;
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < panels * class.taps; i++) {
            channel_panel panel = panel_make(problem, i / class.taps);
            class_pack_tap(packed + packed_offset(problem, &class, &panel), call, &class, &panel,
                           i % class.taps, 0);
        }
    }
}

/* Every panel and class over the slab whose source rows `view` holds. */
static void stream_slab(const worker *work, const source_view *view, int64_t n, const range slab[3],
                        const float *packed)
{
    const rvx__correlation *problem = &work->plan->problem;
    const int64_t classes = class_count(problem), panels = panel_count(problem);
    for (int64_t p = 0; p < panels; p++) {
        channel_panel panel = panel_make(problem, p);
        int64_t before = 0;
        for (int64_t c = 0; c < classes; c++) {
            tap_class class = class_make(problem, c, before);
            before += class.taps;
            slab_run(work, view, &class, &panel, n, slab, (range){0, class.axis[0].taps},
                     packed + packed_offset(problem, &class, &panel), work->call->accumulate);
        }
    }
}

/* Packs rows z, y of sample n into the ring. */
static void ring_fill(const worker *work, const source_view *view, int64_t n, range z, range y,
                      int64_t voxels)
{
    const rvx__correlate_call *call = work->call;
    const rvx_tensor *fold = call->fold.data ? &call->fold : NULL;
    for (int64_t j = y.first; j < y.first + y.count; j++)
        for (int64_t i = z.first; i < z.first + z.count; i++) {
            float *to = work->buffer + (view_row(view, i, j) - view->base);
            RVX_KERNEL(rvx__conv_pack_row)
            (to, &call->source, fold, n, i, j, view->x_first, voxels);
        }
}

/* Plans the fetching of rows z, y of sample n over the tap rows of the step at hand. */
static void ahead_plan(const worker *work, const source_view *view, int64_t n, range z, range y,
                       int64_t voxels, int64_t tap_rows)
{
    const rvx_tensor *source = &work->call->source;
    const rvx_shape *s = &work->plan->problem.source;
    const range x = range_cut((range){view->x_first, voxels}, 0, s->w);
    const int64_t floats = x.count * source->pitch, rows = z.count * y.count;
    if (rows == 0 || floats == 0) {
        *work->ahead = (rows_ahead){0};
        return;
    }
    const int64_t chunks = larger(1, smaller(tap_rows / rows, floats / 32));
    *work->ahead = (rows_ahead){
        .first = rvx__f32(source) +
                 (((n * s->d + z.first) * s->h + y.first) * s->w + x.first) * source->pitch,
        .z_count = z.count,
        .z_stride = s->h * s->w * source->pitch,
        .y_count = y.count,
        .y_stride = s->w * source->pitch,
        .row_floats = floats,
        .chunk_floats = (floats + chunks - 1) / chunks,
        .row_chunks = chunks};
}

/* Task `index` of the plan's blocks: walks along h, packing each source row once. */
static void stream_task(const worker *work, const source_view *in_place, int64_t index,
                        const float *packed)
{
    const rvx__correlation_plan *plan = work->plan;
    const rvx__correlation *problem = &plan->problem;
    const rvx_shape *s = &problem->source;
    range block[3];
    for (int a = 2; a >= 0; a--) {
        int64_t i = index % plan->block_count[a];
        index /= plan->block_count[a];
        block[a] = range_cut((range){plan->q_first[a] + i * plan->block[a], plan->block[a]},
                             plan->q_first[a], plan->q_count[a]);
    }
    const int64_t n = index;
    if (in_place) {
        source_view view = *in_place;
        view.base += n * s->d * view.z_stride;
        stream_slab(work, &view, n, block, packed);
        return;
    }
    int64_t first[3], reach[3];
    for (int a = 0; a < 3; a++) {
        int64_t step = source_step(problem, a);
        first[a] = step * block[a].first + plan->source_first[a];
        reach[a] = step * (block[a].count - 1) + plan->source_taps[a];
    }
    const range rows = range_cut((range){first[0], reach[0]}, 0, s->d);
    source_view view = {.base = work->buffer,
                        .z_first = first[0],
                        .z_stride = plan->ring_h * plan->row_floats,
                        .y_stride = plan->row_floats,
                        .ring = plan->ring_h,
                        .y_lap = first[1],
                        .x_first = first[2],
                        .voxel = s->c};
    const int64_t tap_rows = panel_count(problem) * problem->kernel[0] * problem->kernel[1];
    int64_t packed_until = first[1];
    for (int64_t done = 0; done < block[1].count; done += plan->step_h) {
        range slab[3] = {block[0], {0}, block[2]};
        slab[1] = (range){block[1].first + done, smaller(plan->step_h, block[1].count - done)};
        int64_t low = source_step(problem, 1) * slab[1].first + plan->source_first[1];
        int64_t until = low + source_step(problem, 1) * (slab[1].count - 1) + plan->source_taps[1];
        while (low - view.y_lap >= view.ring)
            view.y_lap += view.ring;
        range fresh = {larger(low, packed_until), 0};
        fresh.count = until - fresh.first;
        ring_fill(work, &view, n, rows, range_cut(fresh, 0, s->h), reach[2]);
        packed_until = until;
        range next = {until, 0};
        if (done + plan->step_h < block[1].count)
            next.count = source_step(problem, 1) * plan->step_h;
        ahead_plan(work, &view, n, rows, range_cut(next, 0, s->h), reach[2],
                   slab[0].count * slab[1].count * tap_rows);
        stream_slab(work, &view, n, slab, packed);
    }
}

/* ---- resident ------------------------------------------------------------------------------- */

/* The whole source, padded along w: [n][d][h][row_floats]. Work-shared. */
static void resident_pack_source(const rvx__correlate_call *call, float *packed)
{
    const rvx__correlation_plan *plan = call->plan;
    const rvx_shape *s = &plan->problem.source;
    const int64_t first = source_step(&plan->problem, 2) * plan->q_first[2] + plan->source_first[2];
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s->n * s->d * s->h; i++)
        RVX_KERNEL(rvx__conv_pack_row)
    (packed + i * plan->row_floats, &call->source, call->fold.data ? &call->fold : NULL,
     i / (s->d * s->h), i / s->h % s->d, i % s->h, first, plan->row_floats / s->c);
}

/* One panel over the whole target: packs a few taps along d at a time, so that they stay in the
 * cache while all voxels pass, and adds up in the target. */
static void resident_task(const worker *work, const source_view *whole, int64_t index)
{
    const rvx__correlation_plan *plan = work->plan;
    const rvx__correlation *problem = &plan->problem;
    const channel_panel panel = panel_make(problem, index);
    range slab[3];
    for (int a = 0; a < 3; a++)
        slab[a] = (range){plan->q_first[a], plan->q_count[a]};
    for (int64_t c = 0; c < class_count(problem); c++) {
        tap_class class = class_make(problem, c, 0);
        const rvx__correlation_axis *axis = class.axis;
        /* A class without taps still writes its targets: bias, or zero. */
        for (int64_t tz = 0; tz == 0 || tz < axis[0].taps; tz += plan->chunk_taps_d) {
            range taps_d = {tz, smaller(plan->chunk_taps_d, axis[0].taps - tz)};
            for (int64_t i = 0; i < taps_d.count * axis[1].taps * axis[2].taps; i++)
                class_pack_tap(work->buffer, work->call, &class, &panel, i, tz);
            for (int64_t n = 0; n < problem->source.n; n++) {
                source_view view = *whole;
                view.base += n * problem->source.d * view.z_stride;
                slab_run(work, &view, &class, &panel, n, slab, taps_d, work->buffer,
                         work->call->accumulate || tz > 0);
            }
        }
    }
}

/* ---- both ----------------------------------------------------------------------------------- */

/* Whether the source can be read where it is, and how. */
static int source_in_place(source_view *view, const rvx__correlate_call *call)
{
    const rvx__correlation_plan *plan = call->plan;
    const rvx_shape *s = &plan->problem.source;
    const int64_t length[3] = {s->d, s->h, s->w}, pitch = call->source.pitch;
    if (plan->resident || call->fold.data || (plan->source_taps[2] > 1 && pitch != s->c))
        return 0;
    for (int a = 0; a < 3; a++) {
        int64_t step = source_step(&plan->problem, a);
        int64_t first = step * plan->q_first[a] + plan->source_first[a];
        if (first < 0 || first + step * (plan->q_count[a] - 1) + plan->source_taps[a] > length[a])
            return 0;
    }
    *view = (source_view){.base = rvx__f32(&call->source),
                          .z_stride = s->h * s->w * pitch,
                          .y_stride = s->w * pitch,
                          .ring = s->h,
                          .voxel = pitch};
    return 1;
}

/* Whether storing past the caches is possible and pays. */
static int target_streams(const rvx__correlate_call *call)
{
    const rvx_tensor *t = &call->target;
    return rvx__shape_voxels(t->shape) * t->pitch * 4 >= STREAM_BYTES_MIN &&
           t->pitch % RVX_LANES == 0 && (uintptr_t)t->data % (4 * RVX_LANES) == 0;
}

void RVX_KERNEL(rvx__correlate)(const rvx__correlate_call *original)
{
    rvx__correlate_call copy = *original, *call = &copy;
    const rvx__correlation_plan *plan = call->plan;
    call->source.shape = plan->problem.source;
    call->target.shape = plan->problem.target;
    float *shared = call->scratch;
    float *threads = shared + plan->weight_floats + plan->source_floats;
    source_view view;
    const int in_place = source_in_place(&view, call);
    const int64_t tasks =
        plan->problem.source.n * plan->block_count[0] * plan->block_count[1] * plan->block_count[2];
    const int64_t panels = panel_count(&plan->problem);
    if (plan->resident) {
        const rvx__correlation *problem = &plan->problem;
        view = (source_view){.base = shared,
                             .z_stride = problem->source.h * plan->row_floats,
                             .y_stride = plan->row_floats,
                             .ring = problem->source.h,
                             .x_first =
                                 source_step(problem, 2) * plan->q_first[2] + plan->source_first[2],
                             .voxel = problem->source.c};
    }
#pragma omp parallel num_threads(call->threads)
    {
        float *own = threads + omp_get_thread_num() * plan->thread_floats;
        rows_ahead ahead = {0};
        worker work = {call,
                       plan,
                       own,
                       own + plan->zeros_offset,
                       (rvx__conv_row *)(void *)(own + plan->rows_offset),
                       target_streams(call),
                       &ahead};
        memset(own + plan->zeros_offset, 0, (size_t)plan->row_floats * sizeof(float));
        if (plan->resident) {
            resident_pack_source(call, shared);
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < panels; i++)
                resident_task(&work, &view, i);
        } else {
            stream_pack_weights(call, shared);
#pragma omp barrier
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < tasks; i++)
                stream_task(&work, in_place ? &view : NULL, i, shared);
        }
        rvx__stream_end();
    }
}
