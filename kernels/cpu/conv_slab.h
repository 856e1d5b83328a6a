/* Running a slab of a correlation: one panel of target channels, one class of taps, a box of target
 * voxels. Shared by conv_slab.c, which runs it, and conv_correlate.c, which packs what it reads. */
#ifndef RVX_CONV_SLAB_H
#define RVX_CONV_SLAB_H

#include "kernels/cpu/conv_block.h"
#include "kernels/cpu/conv_correlate.h"

_Static_assert(sizeof(rvx__conv_row) <= RVX_CORRELATE_ROW_FLOATS * sizeof(float), "row table");
_Static_assert((int)RVX_BLOCK_VECTORS == (int)RVX_CORRELATE_VECTORS, "panel width");
_Static_assert(RVX_LANES <= RVX_CORRELATE_LANES_MAX, "panel width");

/* Where source rows stand. Row (z, y) is at
 *     base + (z - z_first) * z_stride + (y modulo ring) * y_stride, its voxel x_first first.
 * y_lap is a multiple of ring such that y_lap <= y < y_lap + 2 * ring for all rows in use. */
typedef struct rvx__source_view {
    const float *base;
    int64_t z_first, z_stride, y_stride, ring, y_lap, x_first, voxel;
    int64_t width; /* in place: voxels in a row, one more at either end reads as zero. Else 0. */
} rvx__source_view;

typedef struct range {
    int64_t first, count;
} rvx__range;

/* Source rows that the next step will pack, fetched in chunks while this one computes. */
typedef struct rvx__rows_ahead {
    const float *first;
    int64_t z_count, z_stride, y_count, y_stride; /* floats */
    int64_t row_floats, chunk_floats, row_chunks; /* a row is cut into row_chunks */
    int64_t done;                                 /* chunks */
} rvx__rows_ahead;

/* What one thread works with. */
typedef struct worker {
    const rvx__correlate_call *call;
    const rvx__correlation_plan *plan;
    float *buffer; /* ring, or weight chunk */
    const float *zeros;
    rvx__conv_row *rows;
    int stream; /* the target is larger than the caches */
    rvx__rows_ahead *ahead;
} rvx__worker;

typedef struct rvx__channel_panel {
    int64_t channel, vectors, lanes; /* first target channel; lanes of the last vector */
} rvx__channel_panel;

/* One class of targets: the same taps along every axis. */
typedef struct rvx__tap_class {
    rvx__correlation_axis axis[3];
    int64_t taps, taps_before; /* of this class, and of all classes before it */
} rvx__tap_class;

void RVX_KERNEL(rvx__conv_slab_run)(const rvx__worker *work, const rvx__source_view *view,
                                    const rvx__tap_class *class, const rvx__channel_panel *panel,
                                    int64_t n, const rvx__range slab[3], rvx__range taps_d,
                                    const float *weights, int load);

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t rvx__class_count(const rvx__correlation *problem)
{
    int64_t count = 1;
    for (int axis = 0; axis < 3; axis++)
        count *= rvx__correlation_classes(problem, axis);
    return count;
}

/* Classes in order of index; `before` is the running count of taps. */
static inline rvx__tap_class rvx__class_make(const rvx__correlation *problem, int64_t index,
                                             int64_t before)
{
    rvx__tap_class class = {.taps = 1, .taps_before = before};
    for (int axis = 2; axis >= 0; axis--) {
        int64_t count = rvx__correlation_classes(problem, axis);
        class.axis[axis] = rvx__correlation_axis_make(problem, axis, index % count);
        class.taps *= class.axis[axis].taps;
        index /= count;
    }
    return class;
}

static inline int64_t rvx__panel_vectors(const rvx__correlation *problem)
{
    return problem->window ? RVX_WINDOW_VECTORS : RVX_BLOCK_VECTORS;
}

static inline int64_t rvx__panel_count(const rvx__correlation *problem)
{
    int64_t width = rvx__panel_vectors(problem) * RVX_LANES;
    return (problem->target.c + width - 1) / width;
}

static inline rvx__channel_panel rvx__panel_make(const rvx__correlation *problem, int64_t index)
{
    int64_t most = rvx__panel_vectors(problem), channel = index * most * RVX_LANES;
    int64_t left = problem->target.c - channel;
    int64_t vectors = smaller(most, (left + RVX_LANES - 1) / RVX_LANES);
    return (rvx__channel_panel){channel, vectors,
                                smaller(RVX_LANES, left - (vectors - 1) * RVX_LANES)};
}

static inline rvx__range rvx__range_cut(rvx__range a, int64_t first, int64_t count)
{
    int64_t low = larger(a.first, first), high = smaller(a.first + a.count, first + count);
    return (rvx__range){low, larger(0, high - low)};
}

static inline int64_t rvx__source_step(const rvx__correlation *problem, int axis)
{
    return problem->backward ? 1 : problem->stride[axis];
}

static inline const float *rvx__view_row(const rvx__source_view *view, int64_t z, int64_t y)
{
    int64_t slot = y - view->y_lap;
    slot -= slot >= view->ring ? view->ring : 0;
    return view->base + (z - view->z_first) * view->z_stride + slot * view->y_stride;
}

#endif
