/* How a correlation is cut. Owns: the geometry shared by the convolution's forward pass and its
 * data gradient, and every decision that fixes scratch sizes. Knows shapes only, so the scratch
 * booked at plan time is the scratch used at run time.
 *
 * Both passes gather from a source into a target:
 *     target[s_t * q + f_t] = sum over t of source[s_s * q + f_s + t] * w[f_w + s_w * t]
 * per axis, for q in a range. Forward has one such class per axis. The data gradient of a
 * convolution with stride s has s: the targets of equal remainder modulo s see the same taps, so
 * no zero is ever inserted or multiplied. */
#ifndef RVX_CONV_PLAN_H
#define RVX_CONV_PLAN_H

#include "kernels/op.h"

/* Widest vector of any instruction set and most vectors in a panel of target channels. */
enum { RVX_CORRELATE_LANES_MAX = 16, RVX_CORRELATE_VECTORS = 2, RVX_CORRELATE_ROW_FLOATS = 10 };

/* Kernels of three taps along w read each source voxel once for all three: see cpu/conv_window.c.
 * With RVX_WINDOW_SPREAD the two classes of a stride of two become one along w. */
typedef enum rvx__window {
    RVX_WINDOW_NONE,
    RVX_WINDOW_STRIDE_1,
    RVX_WINDOW_STRIDE_2,
    RVX_WINDOW_SPREAD,
    RVX_WINDOW_COUNT
} rvx__window;

typedef struct rvx__correlation {
    rvx_shape source, target;
    int32_t kernel[3], stride[3], pad[3];
    int backward; /* data gradient: the source is dy, weights are transposed and flipped */
    rvx__window window;
} rvx__correlation;

/* One class of one axis. */
typedef struct rvx__correlation_axis {
    int64_t first, count; /* q */
    int64_t target_first, target_step;
    int64_t spread; /* targets per q, side by side from target_step * q + target_first on */
    int64_t source_first, source_step, reach; /* source voxels of one q */
    int64_t taps, tap_first, tap_step;
} rvx__correlation_axis;

typedef struct rvx__correlation_plan {
    rvx__correlation problem;
    int64_t q_first[3], q_count[3];          /* union over the classes */
    int64_t source_first[3], source_taps[3]; /* reach of one q: the union over the classes */
    int resident;                            /* the whole source is packed once, for all tasks */
    int64_t block[3], block_count[3];        /* q per task, along d, h, w */
    int64_t step_h;                          /* q along h computed between two packings */
    int64_t ring_d, ring_h, row_floats;      /* packed rows kept, and their length */
    int64_t chunk_taps_d;                    /* resident: taps along d packed at a time */
    int64_t weight_floats;                   /* shared: all packed weights (not resident) */
    int64_t source_floats;                   /* shared: the packed source (resident) */
    int64_t thread_floats;                   /* per thread: ring or weight chunk first */
    int64_t zeros_offset, rows_offset;       /* in a thread's floats */
    int64_t scratch_bytes;
} rvx__correlation_plan;

int64_t rvx__correlation_classes(const rvx__correlation *problem, int axis);
rvx__correlation_axis rvx__correlation_axis_make(const rvx__correlation *problem, int axis,
                                                 int64_t class);

/* Forward reads `in` = x and weight shapes; backward the same shapes, with source and target
 * swapped. */
void rvx__correlation_plan_make(rvx__correlation_plan *plan, const rvx_shape *in,
                                const rvx_shape *out, const rvx_op_params *params, int backward,
                                int threads);

#endif
