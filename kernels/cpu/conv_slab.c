/* Running a slab of a correlation: see conv_slab.h. Invariant: every target voxel of the slab is
 * written once, with its taps along d, h and w in order. */
#include "kernels/cpu/conv_slab.h"
#include "kernels/cpu/copy.h"

/* The next chunk to fetch, or `otherwise` when all have been asked for. */
static inline const float *ahead_next(rvx__rows_ahead *ahead, const float *otherwise)
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
static int64_t rows_list(const rvx__worker *work, const rvx__source_view *view,
                         const rvx__tap_class *class, rvx__range taps_d, int64_t qz, int64_t qy,
                         int groups, const float *weights, int64_t row_weights)
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
                row.source[g] = valid ? rvx__view_row(view, z, y) : work->zeros;
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

/* Targets of one block: elements to the first, and from one to the next. */
typedef struct block_targets {
    int64_t first, group, position;
    int64_t groups, positions, vectors;
} block_targets;

/* Between a target and the sums of a block, [group][position][vectors * RVX_LANES]. */
static void sums_move(float *sums, const rvx__conv_block *block, const rvx_tensor *target,
                      const block_targets *t, int store)
{
    const rvx_plane plane = rvx__plane_of(target, t->first);
    for (int64_t g = 0; g < t->groups; g++)
        for (int64_t i = 0; i < t->positions; i++)
            for (int64_t v = 0; v < t->vectors; v++, sums += RVX_LANES) {
                const int64_t at = g * t->group + i * t->position + v * RVX_LANES;
                const int64_t lanes = v == t->vectors - 1 ? block->lanes : RVX_LANES;
                if (store)
                    rvx__plane_store(plane, at, rvx__load(sums), lanes);
                else
                    rvx__store(sums, rvx__plane_load(plane, at, lanes));
            }
}

/* target = residual + sums, or the difference. */
static void residual_move(const float *sums, const rvx__conv_block *block,
                          const rvx__correlate_call *call, const block_targets *t)
{
    const rvx_tensor *target = &call->target;
    const rvx_plane to = rvx__plane_of(target, 0), from = rvx__plane_of(&call->residual, 0);
    const rvx_combine how = call->subtract ? RVX_COMBINE_DIFFERENCE : RVX_COMBINE_SUM;
    for (int64_t g = 0; g < t->groups; g++)
        for (int64_t i = 0; i < t->positions; i++) {
            const int64_t element = t->first + g * t->group + i * t->position;
            const int64_t voxel = element / target->pitch, channel = element % target->pitch;
            for (int64_t v = 0; v < t->vectors; v++, sums += RVX_LANES) {
                const int64_t c = channel + v * RVX_LANES;
                const int64_t lanes = v == t->vectors - 1 ? block->lanes : RVX_LANES;
                rvx__combine_sum(rvx__plane_at(to, voxel * to.pitch + c),
                                 rvx__plane_at(from, voxel * from.pitch + c), rvx__load(sums), how,
                                 lanes);
            }
        }
}

/* Runs one block on f32 targets where they are. Others are rounded once, from sums beside them. */
static void block_run(rvx__conv_block *block, rvx__conv_block_kernel kernel,
                      const rvx__correlate_call *call, const block_targets *t)
{
    const rvx_tensor *target = &call->target;
    if (target->dtype == RVX_F32 && !call->residual.data) {
        float *to = rvx__f32(target) + t->first;
        for (int64_t g = 0; g < t->groups; g++)
            block->target[g] = to + g * t->group;
        block->target_position = t->position;
        for (int64_t i = 0; !block->stream && i < t->positions * t->position; i += 16)
            __builtin_prefetch(to + i, 1, 3);
        kernel(block);
        return;
    }
    float sums[RVX_BLOCK_SIZE * RVX_LANES] __attribute__((aligned(64)));
    block->target_position = t->vectors * RVX_LANES;
    for (int64_t g = 0; g < t->groups; g++)
        block->target[g] = sums + g * t->positions * block->target_position;
    if (block->load)
        sums_move(sums, block, target, t, 0);
    kernel(block);
    if (call->residual.data)
        residual_move(sums, block, call, t);
    else
        sums_move(sums, block, target, t, 1);
}

/* The blocks of one target row, or of a few. `to` counts elements to the first target voxel and
 * from voxel to voxel; block->source_offset is that of the first q. */
static void rows_run(const rvx__worker *work, const rvx__source_view *view, rvx__conv_block *block,
                     block_targets to, int64_t targets, int64_t ahead_floats)
{
    const rvx__correlation *problem = &work->plan->problem;
    const int64_t vectors = to.vectors;
    const int64_t most =
        problem->window ? rvx__window_most(problem->window, vectors) : RVX_BLOCK_SIZE / vectors;
    const int spread = problem->window == RVX_WINDOW_SPREAD;
    const int64_t unit = spread ? 2 : 1, units = (targets + unit - 1) / unit;
    const int64_t blocks = (units + most / unit - 1) / (most / unit);
    block->ahead_lines = (ahead_floats / blocks + 15) / 16;
    block->ahead_offset = 0;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t own = units / blocks + (b < units % blocks);
        int64_t positions = smaller(own * unit, targets);
        if (view->width > 0) { /* in place */
            int64_t end = block->source_offset / view->voxel +
                          rvx__window_sources(problem->window, positions);
            block->first_outside = block->source_offset < 0 ? work->zeros : NULL;
            block->last_outside = end > view->width ? work->zeros : NULL;
        }
        to.positions = positions;
        block_run(block,
                  problem->window
                      ? RVX_KERNEL(rvx__conv_window_find)(problem->window, positions, vectors)
                      : RVX_KERNEL(rvx__conv_block_find)(to.groups, positions, vectors),
                  work->call, &to);
        block->ahead_offset += 16 * block->ahead_lines;
        targets -= positions;
        to.first += positions * to.position;
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
void RVX_KERNEL(rvx__conv_slab_run)(const rvx__worker *work, const rvx__source_view *view,
                                    const rvx__tap_class *class, const rvx__channel_panel *panel,
                                    int64_t n, const rvx__range slab[3], rvx__range taps_d,
                                    const float *weights, int load)
{
    const rvx__correlation *problem = &work->plan->problem;
    const rvx_shape *t = &problem->target;
    const rvx__correlation_axis *axis = class->axis;
    const rvx_tensor *target = &work->call->target;
    rvx__range q[3];
    for (int i = 0; i < 3; i++) {
        q[i] = rvx__range_cut(slab[i], axis[i].first, axis[i].count);
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
    rvx__conv_block block = {.rows = work->rows,
                             .run = problem->window ? problem->source.c : run,
                             .source_position =
                                 problem->window ? view->voxel : axis[2].source_step * view->voxel,
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
            const block_targets to = {
                .first = (((n * t->d + z) * t->h + y) * t->w + x) * target->pitch + panel->channel,
                .group = axis[1].target_step * t->w * target->pitch,
                .position = (problem->window ? 1 : axis[2].target_step) * target->pitch,
                .groups = groups,
                .vectors = panel->vectors};
            rows_run(work, view, &block, to, targets,
                     work->ahead->done > ahead_before ? work->ahead->chunk_floats : 0);
        }
    }
}
