/* The correlation engine: packs source rows and weight panels, then runs register blocks over
 * them. Two ways to go through a tensor, chosen by the plan from shapes:
 *   stream    weights are packed once; each task walks along h over a ring of packed source rows
 *   resident  the (small) source is packed once; each task packs a panel of the (large) weights
 * A source that needs neither padding nor fold and whose rows are contiguous is read in place. */
#include "kernels/cpu/conv_correlate.h"

#include "kernels/cpu/conv_block.h"
#include "kernels/cpu/conv_pack.h"

#include <omp.h>

_Static_assert(sizeof(rvx__conv_row) <= RVX_CORRELATE_ROW_FLOATS * sizeof(float), "row table");
_Static_assert((int)RVX_BLOCK_VECTORS == (int)RVX_CORRELATE_VECTORS, "panel width");
_Static_assert(RVX_LANES <= RVX_CORRELATE_LANES_MAX, "panel width");

/* Where source rows stand. Row (z, y) is at
 *     base + (z - z_first) * z_stride + (y % ring) * y_stride, its voxel x_first first. */
typedef struct source_view {
    const float *base;
    int64_t z_first, z_stride, y_stride, ring, x_first, voxel;
} source_view;

typedef struct range {
    int64_t first, count;
} range;

/* What one thread works with. */
typedef struct worker {
    const rvx__correlate_call *call;
    const rvx__correlation_plan *plan;
    float *buffer; /* ring, or weight chunk */
    const float *zeros;
    rvx__conv_row *rows;
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
    return problem->backward ? (int64_t)problem->stride[0] * problem->stride[1] * problem->stride[2]
                             : 1;
}

/* Classes in order of index; `before` is the running count of taps. */
static tap_class class_make(const rvx__correlation *problem, int64_t index, int64_t before)
{
    tap_class class = {.taps = 1, .taps_before = before};
    for (int axis = 2; axis >= 0; axis--) {
        int64_t count = problem->backward ? problem->stride[axis] : 1;
        class.axis[axis] = rvx__correlation_axis_make(problem, axis, index % count);
        class.taps *= class.axis[axis].taps;
        index /= count;
    }
    return class;
}

static int64_t panel_count(int64_t channels)
{
    int64_t width = RVX_BLOCK_VECTORS * RVX_LANES;
    return (channels + width - 1) / width;
}

static channel_panel panel_make(int64_t channels, int64_t index)
{
    int64_t channel = index * RVX_BLOCK_VECTORS * RVX_LANES;
    int64_t vectors = smaller(RVX_BLOCK_VECTORS, (channels - channel + RVX_LANES - 1) / RVX_LANES);
    int64_t lanes = smaller(RVX_LANES, channels - channel - (vectors - 1) * RVX_LANES);
    return (channel_panel){channel, vectors, lanes};
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

static const float *view_row(const source_view *view, int64_t z, int64_t y)
{
    return view->base + (z - view->z_first) * view->z_stride + (y % view->ring) * view->y_stride;
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
            if (inside)
                work->rows[count++] = row;
        }
    }
    return count;
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
    const int64_t most = RVX_BLOCK_SIZE / panel->vectors, wide = q[2].count;
    const int64_t blocks = (wide + most - 1) / most;
    const int64_t group_most = blocks > 1 ? 1 : smaller(RVX_BLOCK_GROUPS, most / wide);
    rvx__conv_block block = {.rows = work->rows,
                             .run = axis[2].taps * problem->source.c,
                             .source_position = axis[2].source_step * view->voxel,
                             .target_position = axis[2].target_step * target->pitch,
                             .lanes = panel->lanes,
                             .load = load};
    if (work->call->bias.data)
        block.bias = rvx__f32(&work->call->bias) + panel->channel;
    const int64_t row_weights = block.run * panel->vectors * RVX_LANES;
    for (int64_t qz = q[0].first; qz < q[0].first + q[0].count; qz++) {
        int64_t z = axis[0].target_step * qz + axis[0].target_first;
        for (int64_t qy = q[1].first, groups; qy < q[1].first + q[1].count; qy += groups) {
            groups = smaller(group_most, q[1].first + q[1].count - qy);
            block.row_count =
                rows_list(work, view, class, taps_d, qz, qy, (int)groups, weights, row_weights);
            int64_t y = axis[1].target_step * qy + axis[1].target_first;
            int64_t x = axis[2].target_step * q[2].first + axis[2].target_first;
            float *to = rvx__f32(target) + panel->channel +
                        (((n * t->d + z) * t->h + y) * t->w + x) * target->pitch;
            block.source_offset =
                (axis[2].source_step * q[2].first + axis[2].source_first - view->x_first) *
                view->voxel;
            for (int64_t b = 0; b < blocks; b++) {
                int64_t positions = wide / blocks + (b < wide % blocks);
                for (int64_t g = 0; g < groups; g++)
                    block.target[g] = to + g * axis[1].target_step * t->w * target->pitch;
                RVX_KERNEL(rvx__conv_block_find)(groups, positions, panel->vectors)(&block);
                to += positions * block.target_position;
                block.source_offset += positions * block.source_position;
            }
        }
    }
}

/* ---- stream --------------------------------------------------------------------------------- */

/* All weights: [panel][class][tap][source channel][vectors * RVX_LANES]. Work-shared. */
static void stream_pack_weights(const rvx__correlate_call *call, float *packed)
{
    const rvx__correlation *problem = &call->plan->problem;
    const int64_t classes = class_count(problem), panels = panel_count(problem->target.c);
    const int64_t kernel = (int64_t)problem->kernel[0] * problem->kernel[1] * problem->kernel[2];
    int64_t before = 0;
    for (int64_t c = 0; c < classes; c++) {
        tap_class class = class_make(problem, c, before);
        before += class.taps;
        const rvx__correlation_axis *axis = class.axis;
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < panels * class.taps; i++) {
            channel_panel panel = panel_make(problem->target.c, i / class.taps);
            int64_t t = i % class.taps, tap[3];
            for (int a = 2; a >= 0; a--) {
                tap[a] = axis[a].tap_first + axis[a].tap_step * (t % axis[a].taps);
                t /= axis[a].taps;
            }
            float *to = packed + problem->source.c * (panel.channel * kernel +
                                                      (class.taps_before + i % class.taps) *
                                                          panel.vectors * RVX_LANES);
            RVX_KERNEL(rvx__conv_pack_tap)
            (to, &call->weight, problem->backward, tap, panel.channel, panel.vectors);
        }
    }
}

/* Every panel and class over the slab whose source rows `view` holds. */
static void stream_slab(const worker *work, const source_view *view, int64_t n, const range slab[3],
                        const float *packed)
{
    const rvx__correlation *problem = &work->plan->problem;
    const int64_t classes = class_count(problem), panels = panel_count(problem->target.c);
    const int64_t kernel = (int64_t)problem->kernel[0] * problem->kernel[1] * problem->kernel[2];
    for (int64_t p = 0; p < panels; p++) {
        channel_panel panel = panel_make(problem->target.c, p);
        int64_t before = 0;
        for (int64_t c = 0; c < classes; c++) {
            tap_class class = class_make(problem, c, before);
            before += class.taps;
            const float *weights =
                packed + problem->source.c * (panel.channel * kernel +
                                              class.taps_before * panel.vectors * RVX_LANES);
            slab_run(work, view, &class, &panel, n, slab, (range){0, class.axis[0].taps}, weights,
                     work->call->accumulate);
        }
    }
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
    source_view view = {
        work->buffer, first[0], plan->ring_h * plan->row_floats, plan->row_floats, plan->ring_h,
        first[2],     s->c};
    int64_t packed_until = larger(first[1], 0);
    for (int64_t done = 0; done < block[1].count; done += plan->step_h) {
        range step = {block[1].first + done, smaller(plan->step_h, block[1].count - done)};
        int64_t until = source_step(problem, 1) * (step.first + step.count - 1) +
                        plan->source_first[1] + plan->source_taps[1];
        for (; packed_until < smaller(until, s->h); packed_until++)
            for (int64_t z = rows.first; z < rows.first + rows.count; z++)
                RVX_KERNEL(rvx__conv_pack_row)
        ((float *)(uintptr_t)view_row(&view, z, packed_until), &work->call->source,
         work->call->fold.data ? &work->call->fold : NULL, n, z, packed_until, first[2], reach[2]);
        range slab[3] = {block[0], step, block[2]};
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
    channel_panel panel = panel_make(problem->target.c, index);
    const int64_t tap_floats = problem->source.c * panel.vectors * RVX_LANES;
    range slab[3];
    for (int a = 0; a < 3; a++)
        slab[a] = (range){plan->q_first[a], plan->q_count[a]};
    for (int64_t c = 0; c < class_count(problem); c++) {
        tap_class class = class_make(problem, c, 0);
        const rvx__correlation_axis *axis = class.axis;
        /* A class without taps still writes its targets: bias, or zero. */
        for (int64_t tz = 0; tz == 0 || tz < axis[0].taps; tz += plan->chunk_taps_d) {
            range taps_d = {tz, smaller(plan->chunk_taps_d, axis[0].taps - tz)};
            float *to = work->buffer;
            for (int64_t i = 0; i < taps_d.count * axis[1].taps * axis[2].taps; i++) {
                int64_t t[3] = {tz + i / axis[2].taps / axis[1].taps,
                                i / axis[2].taps % axis[1].taps, i % axis[2].taps};
                for (int a = 0; a < 3; a++)
                    t[a] = axis[a].tap_first + axis[a].tap_step * t[a];
                RVX_KERNEL(rvx__conv_pack_tap)
                (to, &work->call->weight, problem->backward, t, panel.channel, panel.vectors);
                to += tap_floats;
            }
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
    *view = (source_view){
        rvx__f32(&call->source), 0, s->h * s->w * pitch, s->w * pitch, s->h, 0, pitch};
    return 1;
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
    const int64_t panels = panel_count(plan->problem.target.c);
    if (plan->resident)
        view =
            (source_view){shared,
                          0,
                          plan->problem.source.h * plan->row_floats,
                          plan->row_floats,
                          plan->problem.source.h,
                          source_step(&plan->problem, 2) * plan->q_first[2] + plan->source_first[2],
                          plan->problem.source.c};
#pragma omp parallel num_threads(call->threads)
    {
        float *own = threads + omp_get_thread_num() * plan->thread_floats;
        worker work = {call, plan, own, own + plan->zeros_offset,
                       (rvx__conv_row *)(void *)(own + plan->rows_offset)};
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
    }
}
