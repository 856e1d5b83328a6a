/* The correlation engine: packs source rows and weight panels, then runs register blocks over
 * them. Two ways to go through a tensor, chosen by the plan from shapes:
 *   stream    weights are packed once; each task walks along h over a ring of packed source rows
 *   resident  the (small) source is packed once; each task packs a panel of the (large) weights
 * An f32 source that needs no fold and little padding is read in place. */
#include "kernels/cpu/conv_correlate.h"

#include "kernels/cpu/conv_pack.h"
#include "kernels/cpu/conv_slab.h"

#include <omp.h>

enum { STREAM_BYTES_MIN = 12 << 20 };

/* Packs tap `index` of a class into the class's panel at `to`. Rows of taps stand one after the
 * other; within a row channels follow taps, or with a window taps follow channels. */
static void class_pack_tap(float *to, const rvx__correlate_call *call, const rvx__tap_class *class,
                           const rvx__channel_panel *panel, int64_t index, int64_t tap_d_first)
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

/* ---- stream --------------------------------------------------------------------------------- */

/* Where the panel of a class begins among all packed weights: [panel][class]. */
static int64_t packed_offset(const rvx__correlation *problem, const rvx__tap_class *class,
                             const rvx__channel_panel *panel)
{
    int64_t kernel = (int64_t)problem->kernel[0] * problem->kernel[1] * problem->kernel[2];
    return problem->source.c *
           (panel->channel * kernel + class->taps_before * panel->vectors * RVX_LANES);
}

/* Packs all weights. Work-shared. */
static void stream_pack_weights(const rvx__correlate_call *call, float *packed)
{
    const rvx__correlation *problem = &call->plan->problem;
    const int64_t classes = rvx__class_count(problem), panels = rvx__panel_count(problem);
    int64_t before = 0;
    for (int64_t c = 0; c < classes; c++) {
        rvx__tap_class class = rvx__class_make(problem, c, before);
        before += class.taps;
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < panels * class.taps; i++) {
            rvx__channel_panel panel = rvx__panel_make(problem, i / class.taps);
            class_pack_tap(packed + packed_offset(problem, &class, &panel), call, &class, &panel,
                           i % class.taps, 0);
        }
    }
}

/* Every panel and class over the slab whose source rows `view` holds. */
static void stream_slab(const rvx__worker *work, const rvx__source_view *view, int64_t n,
                        const rvx__range slab[3], const float *packed)
{
    const rvx__correlation *problem = &work->plan->problem;
    const int64_t classes = rvx__class_count(problem), panels = rvx__panel_count(problem);
    for (int64_t p = 0; p < panels; p++) {
        rvx__channel_panel panel = rvx__panel_make(problem, p);
        int64_t before = 0;
        for (int64_t c = 0; c < classes; c++) {
            rvx__tap_class class = rvx__class_make(problem, c, before);
            before += class.taps;
            RVX_KERNEL(rvx__conv_slab_run)
            (work, view, &class, &panel, n, slab, (rvx__range){0, class.axis[0].taps},
             packed + packed_offset(problem, &class, &panel), work->call->accumulate);
        }
    }
}

/* Packs rows z, y of sample n into the ring. */
static void ring_fill(const rvx__worker *work, const rvx__source_view *view, int64_t n,
                      rvx__range z, rvx__range y, int64_t voxels)
{
    const rvx__correlate_call *call = work->call;
    const rvx_tensor *fold = call->fold.data ? &call->fold : NULL;
    for (int64_t j = y.first; j < y.first + y.count; j++)
        for (int64_t i = z.first; i < z.first + z.count; i++) {
            float *to = work->buffer + (rvx__view_row(view, i, j) - view->base);
            RVX_KERNEL(rvx__conv_pack_row)
            (to, &call->source, fold, n, i, j, view->x_first, voxels);
        }
}

/* Plans the fetching of rows z, y of sample n over the tap rows of the step at hand. */
static void ahead_plan(const rvx__worker *work, int64_t x_first, int64_t n, rvx__range z,
                       rvx__range y, int64_t voxels, int64_t tap_rows)
{
    const rvx_tensor *source = &work->call->source;
    const rvx_shape *s = &work->plan->problem.source;
    const rvx__range x = rvx__range_cut((rvx__range){x_first, voxels}, 0, s->w);
    const int64_t floats = x.count * source->pitch, rows = z.count * y.count;
    if (rows == 0 || floats == 0 || source->dtype != RVX_F32) {
        *work->ahead = (rvx__rows_ahead){0};
        return;
    }
    const int64_t chunks = larger(1, smaller(tap_rows / rows, floats / 32));
    *work->ahead = (rvx__rows_ahead){
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
static void stream_task(const rvx__worker *work, const rvx__source_view *in_place, int64_t index,
                        const float *packed)
{
    const rvx__correlation_plan *plan = work->plan;
    const rvx__correlation *problem = &plan->problem;
    const rvx_shape *s = &problem->source;
    rvx__range block[3];
    for (int a = 2; a >= 0; a--) {
        int64_t i = index % plan->block_count[a];
        index /= plan->block_count[a];
        block[a] =
            rvx__range_cut((rvx__range){plan->q_first[a] + i * plan->block[a], plan->block[a]},
                           plan->q_first[a], plan->q_count[a]);
    }
    const int64_t n = index;
    int64_t first[3], reach[3];
    for (int a = 0; a < 3; a++) {
        int64_t step = rvx__source_step(problem, a);
        first[a] = step * block[a].first + plan->source_first[a];
        reach[a] = step * (block[a].count - 1) + plan->source_taps[a];
    }
    const rvx__range rows = rvx__range_cut((rvx__range){first[0], reach[0]}, 0, s->d);
    rvx__source_view view = {.base = work->buffer,
                             .z_first = first[0],
                             .z_stride = plan->ring_h * plan->row_floats,
                             .y_stride = plan->row_floats,
                             .ring = plan->ring_h,
                             .y_lap = first[1],
                             .x_first = first[2],
                             .voxel = s->c};
    if (in_place) {
        view = *in_place;
        view.base += n * s->d * view.z_stride;
    }
    const int64_t tap_rows = rvx__panel_count(problem) * problem->kernel[0] * problem->kernel[1];
    int64_t packed_until = first[1];
    for (int64_t done = 0; done < block[1].count; done += plan->step_h) {
        rvx__range slab[3] = {block[0], {0}, block[2]};
        slab[1] = (rvx__range){block[1].first + done, smaller(plan->step_h, block[1].count - done)};
        int64_t low = rvx__source_step(problem, 1) * slab[1].first + plan->source_first[1];
        int64_t until =
            low + rvx__source_step(problem, 1) * (slab[1].count - 1) + plan->source_taps[1];
        if (!in_place) {
            while (low - view.y_lap >= view.ring)
                view.y_lap += view.ring;
            rvx__range fresh = {larger(low, packed_until), 0};
            fresh.count = until - fresh.first;
            ring_fill(work, &view, n, rows, rvx__range_cut(fresh, 0, s->h), reach[2]);
        }
        packed_until = until;
        rvx__range next = {until, 0};
        if (done + plan->step_h < block[1].count)
            next.count = rvx__source_step(problem, 1) * plan->step_h;
        ahead_plan(work, first[2], n, rows, rvx__range_cut(next, 0, s->h), reach[2],
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
    const int64_t first =
        rvx__source_step(&plan->problem, 2) * plan->q_first[2] + plan->source_first[2];
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s->n * s->d * s->h; i++)
        RVX_KERNEL(rvx__conv_pack_row)
    (packed + i * plan->row_floats, &call->source, call->fold.data ? &call->fold : NULL,
     i / (s->d * s->h), i / s->h % s->d, i % s->h, first, plan->row_floats / s->c);
}

/* One panel over the whole target: packs a few taps along d at a time, so that they stay in the
 * cache while all voxels pass, and adds up in the target. A target that is rounded, or added to a
 * residual, must be so once: then all taps are packed. */
static void resident_task(const rvx__worker *work, const rvx__source_view *whole, int64_t index)
{
    const rvx__correlation_plan *plan = work->plan;
    const rvx__correlation *problem = &plan->problem;
    const rvx__channel_panel panel = rvx__panel_make(problem, index);
    rvx__range slab[3];
    for (int a = 0; a < 3; a++)
        slab[a] = (rvx__range){plan->q_first[a], plan->q_count[a]};
    for (int64_t c = 0; c < rvx__class_count(problem); c++) {
        rvx__tap_class class = rvx__class_make(problem, c, 0);
        const rvx__correlation_axis *axis = class.axis;
        const int64_t together = work->call->target.dtype == RVX_F32 && !work->call->residual.data
                                     ? plan->chunk_taps_d
                                     : plan->source_taps[0];
        /* A class without taps still writes its targets: bias, or zero. */
        for (int64_t tz = 0; tz == 0 || tz < axis[0].taps; tz += together) {
            rvx__range taps_d = {tz, smaller(together, axis[0].taps - tz)};
            for (int64_t i = 0; i < taps_d.count * axis[1].taps * axis[2].taps; i++)
                class_pack_tap(work->buffer, work->call, &class, &panel, i, tz);
            for (int64_t n = 0; n < problem->source.n; n++) {
                rvx__source_view view = *whole;
                view.base += n * problem->source.d * view.z_stride;
                RVX_KERNEL(rvx__conv_slab_run)
                (work, &view, &class, &panel, n, slab, taps_d, work->buffer,
                 work->call->accumulate || tz > 0);
            }
        }
    }
}

/* ---- both ----------------------------------------------------------------------------------- */

/* Whether the source can be read where it is, and how. A window can do without the one voxel of
 * padding at either end of a row; other blocks need the whole reach inside. */
static int source_in_place(rvx__source_view *view, const rvx__correlate_call *call)
{
    const rvx__correlation_plan *plan = call->plan;
    const rvx_shape *s = &plan->problem.source;
    const int64_t length[3] = {s->d, s->h, s->w}, pitch = call->source.pitch;
    const int window = plan->problem.window != RVX_WINDOW_NONE;
    if (plan->resident || call->fold.data || call->source.dtype != RVX_F32 ||
        (!window && plan->source_taps[2] > 1 && pitch != s->c))
        return 0;
    for (int a = window ? 2 : 0; a < 3; a++) {
        int64_t step = rvx__source_step(&plan->problem, a);
        int64_t first = step * plan->q_first[a] + plan->source_first[a];
        int64_t end = first + step * (plan->q_count[a] - 1) + plan->source_taps[a];
        if (first < -window || end > length[a] + window)
            return 0;
    }
    *view = (rvx__source_view){.base = rvx__f32(&call->source),
                               .z_stride = s->h * s->w * pitch,
                               .y_stride = s->w * pitch,
                               .ring = s->h,
                               .voxel = pitch,
                               .width = window ? s->w : 0};
    return 1;
}

/* Whether storing past the caches is possible and pays. */
static int target_streams(const rvx__correlate_call *call)
{
    const rvx_tensor *t = &call->target;
    return t->dtype == RVX_F32 && !call->residual.data &&
           rvx__shape_voxels(t->shape) * t->pitch * 4 >= STREAM_BYTES_MIN &&
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
    rvx__source_view view;
    const int in_place = source_in_place(&view, call);
    const int64_t tasks =
        plan->problem.source.n * plan->block_count[0] * plan->block_count[1] * plan->block_count[2];
    const int64_t panels = rvx__panel_count(&plan->problem);
    if (plan->resident) {
        const rvx__correlation *problem = &plan->problem;
        view = (rvx__source_view){.base = shared,
                                  .z_stride = problem->source.h * plan->row_floats,
                                  .y_stride = plan->row_floats,
                                  .ring = problem->source.h,
                                  .x_first = rvx__source_step(problem, 2) * plan->q_first[2] +
                                             plan->source_first[2],
                                  .voxel = problem->source.c};
    }
#pragma omp parallel num_threads(call->threads)
    {
        float *own = threads + omp_get_thread_num() * plan->thread_floats;
        rvx__rows_ahead ahead = {0};
        rvx__worker work = {call,
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
