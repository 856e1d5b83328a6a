/* Tiles of a correlation: see conv_plan.h. Everything here follows from shapes alone. */
#include "kernels/conv_plan.h"

#include <string.h>

enum {
    RING_BYTES_MAX = 512 << 10,   /* packed rows of one thread: they share L2 with a weight panel */
    RESIDENT_BYTES_MAX = 4 << 20, /* a source this small is packed whole */
    WEIGHT_BYTES_RESIDENT = 512 << 10, /* when the weights are at least this large */
    CHUNK_BYTES_MAX = 384 << 10,       /* packed weights of one thread, resident */
    BLOCK_W_MAX = 128,
    BLOCK_W_POINTWISE = 1024,
    WINDOW_W_MIN = 8, /* narrower rows are better taken several at a time */
    BLOCK_D_MAX = 8,
    POSITIONS_MIN = 128, /* per sweep over the weights */
    TASKS_MIN = 32
};
static const double task_flops_min = 8e6;

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -divide_up(-a, b); }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

static int64_t axis_length(const rvx_shape *s, int axis)
{
    return axis == 0 ? s->d : axis == 1 ? s->h : s->w;
}

int64_t rvx__correlation_classes(const rvx__correlation *problem, int axis)
{
    int merged = axis == 2 && problem->window == RVX_WINDOW_SPREAD;
    return problem->backward && !merged ? problem->stride[axis] : 1;
}

rvx__correlation_axis rvx__correlation_axis_make(const rvx__correlation *problem, int axis,
                                                 int64_t class)
{
    int64_t kernel = problem->kernel[axis], stride = problem->stride[axis];
    int64_t pad = problem->pad[axis], length = axis_length(&problem->target, axis);
    if (!problem->backward)
        return (rvx__correlation_axis){.count = length,
                                       .target_step = 1,
                                       .spread = 1,
                                       .source_first = -pad,
                                       .source_step = stride,
                                       .reach = kernel,
                                       .taps = kernel,
                                       .tap_step = 1};
    /* Stride 2, pad 1: dx[2 q] = dy[q] w[1], dx[2 q + 1] = dy[q] w[2] + dy[q + 1] w[0]. */
    if (axis == 2 && problem->window == RVX_WINDOW_SPREAD)
        return (rvx__correlation_axis){.count = divide_up(length, 2),
                                       .target_step = 2,
                                       .spread = 2,
                                       .source_step = 1,
                                       .reach = 2,
                                       .taps = 3,
                                       .tap_step = 1};
    /* dx[i] gathers dy[o] with o * stride - pad + k = i. For i = stride * q + class - pad that is
     * k = class + stride * t and o = q - t. */
    rvx__correlation_axis a = {
        .target_first = class - pad, .target_step = stride, .spread = 1, .source_step = 1};
    a.taps = class < kernel ? (kernel - 1 - class) / stride + 1 : 0;
    a.first = -floor_divide(a.target_first, stride);
    a.count = larger(0, floor_divide(length - 1 - a.target_first, stride) - a.first + 1);
    a.source_first = a.taps > 0 ? 1 - a.taps : 0;
    a.reach = a.taps;
    a.tap_first = class + stride * (a.taps - 1);
    a.tap_step = -stride;
    return a;
}

static void plan_reach(rvx__correlation_plan *plan)
{
    const rvx__correlation *problem = &plan->problem;
    for (int axis = 0; axis < 3; axis++) {
        int64_t classes = rvx__correlation_classes(problem, axis);
        int64_t low = INT64_MAX, high = INT64_MIN;
        for (int64_t class = 0; class < classes; class ++) {
            rvx__correlation_axis a = rvx__correlation_axis_make(problem, axis, class);
            if (a.count > 0) {
                low = smaller(low, a.first);
                high = larger(high, a.first + a.count);
            }
        }
        plan->q_first[axis] = low;
        plan->q_count[axis] = high - low;
        /* Class 0 has the most taps, and the others stay within its reach. */
        rvx__correlation_axis a = rvx__correlation_axis_make(problem, axis, 0);
        plan->source_first[axis] = a.source_first;
        plan->source_taps[axis] = larger(a.reach, 1);
    }
}

static int64_t source_step(const rvx__correlation *problem, int axis)
{
    return problem->backward ? 1 : problem->stride[axis];
}

static int64_t reach(const rvx__correlation_plan *plan, int axis, int64_t count)
{
    return (count - 1) * source_step(&plan->problem, axis) + plan->source_taps[axis];
}

/* Cuts an axis into equal blocks of at most `most`. */
static void cut(rvx__correlation_plan *plan, int axis, int64_t most)
{
    plan->block_count[axis] = divide_up(plan->q_count[axis], larger(most, 1));
    plan->block[axis] = divide_up(plan->q_count[axis], plan->block_count[axis]);
    plan->block_count[axis] = divide_up(plan->q_count[axis], plan->block[axis]);
}

static int64_t ring_bytes(const rvx__correlation_plan *plan, int64_t block_d, int64_t step_h)
{
    return reach(plan, 0, block_d) * reach(plan, 1, step_h) * plan->row_floats * 4;
}

/* Streaming: each task walks along h over a ring of packed rows. */
static void plan_stream(rvx__correlation_plan *plan, double flops)
{
    int64_t block_d = smaller(plan->q_count[0], BLOCK_D_MAX);
    cut(plan, 0, block_d);
    while (plan->block[0] > 1 && ring_bytes(plan, plan->block[0], 1) > RING_BYTES_MAX)
        cut(plan, 0, plan->block[0] - 1);
    int64_t step = 1;
    while (step < plan->q_count[1] && plan->block[0] * step * plan->block[2] < POSITIONS_MIN &&
           ring_bytes(plan, plan->block[0], step + 1) <= RING_BYTES_MAX)
        step++;
    int64_t tasks = plan->problem.source.n * plan->block_count[0] * plan->block_count[2];
    int64_t wanted = smaller(TASKS_MIN, (int64_t)(flops / task_flops_min) + 1);
    int64_t cuts = larger(1, smaller(divide_up(wanted, tasks), plan->q_count[1] / (4 * step)));
    cut(plan, 1, round_up(divide_up(plan->q_count[1], cuts), step));
    plan->step_h = step;
    plan->ring_d = reach(plan, 0, plan->block[0]);
    plan->ring_h = reach(plan, 1, step);
}

static rvx__window window_choose(const rvx__correlation *problem)
{
    int32_t stride = problem->stride[2];
    if (problem->kernel[2] != 3 || problem->target.w < WINDOW_W_MIN)
        return RVX_WINDOW_NONE;
    if (stride == 1)
        return RVX_WINDOW_STRIDE_1;
    if (stride == 2 && !problem->backward)
        return RVX_WINDOW_STRIDE_2;
    return stride == 2 && problem->pad[2] == 1 ? RVX_WINDOW_SPREAD : RVX_WINDOW_NONE;
}

void rvx__correlation_plan_make(rvx__correlation_plan *plan, const rvx_shape *in,
                                const rvx_shape *out, const rvx_op_params *params, int backward,
                                int threads)
{
    *plan = (rvx__correlation_plan){0};
    rvx__correlation *problem = &plan->problem;
    problem->source = backward ? out[0] : in[0];
    problem->target = backward ? in[0] : out[0];
    problem->backward = backward;
    int pointwise = 1;
    int64_t taps = 1;
    for (int axis = 0; axis < 3; axis++) {
        problem->kernel[axis] = params->kernel[axis];
        problem->stride[axis] = params->stride[axis];
        problem->pad[axis] = params->pad[axis];
        taps *= params->kernel[axis];
        pointwise &= params->kernel[axis] == 1 && params->stride[axis] == 1 && !params->pad[axis];
    }
    if (pointwise) { /* neighbours do not matter: one long row */
        rvx_shape *shapes[2] = {&problem->source, &problem->target};
        for (int i = 0; i < 2; i++)
            *shapes[i] = (rvx_shape){shapes[i]->n, 1, 1, shapes[i]->d * shapes[i]->h * shapes[i]->w,
                                     shapes[i]->c};
    }
    problem->window = window_choose(problem);
    plan_reach(plan);
    int64_t channels = problem->source.c;
    int64_t target_channels = round_up(problem->target.c, RVX_CORRELATE_LANES_MAX);
    int64_t weight_floats = taps * channels * target_channels;
    int64_t panel = smaller(target_channels, RVX_CORRELATE_LANES_MAX * RVX_CORRELATE_VECTORS);
    double flops = 2.0 * (double)taps * (double)channels * (double)problem->target.c *
                   (double)rvx__shape_voxels(backward ? problem->source : problem->target);

    int64_t row_whole = reach(plan, 2, plan->q_count[2]) * channels;
    int64_t source_whole = problem->source.n * problem->source.d * problem->source.h * row_whole;
    if (weight_floats * 4 >= WEIGHT_BYTES_RESIDENT && source_whole * 4 <= RESIDENT_BYTES_MAX) {
        plan->resident = 1;
        plan->row_floats = row_whole;
        for (int axis = 0; axis < 3; axis++)
            cut(plan, axis, plan->q_count[axis]);
        plan->step_h = plan->q_count[1];
        plan->ring_d = problem->source.d;
        plan->ring_h = problem->source.h;
        int64_t slice =
            plan->source_taps[1] * (problem->window ? 3 : plan->source_taps[2]) * channels * panel;
        plan->chunk_taps_d =
            larger(1, smaller(plan->source_taps[0], CHUNK_BYTES_MAX / (slice * 4)));
        plan->source_floats = round_up(source_whole, 16);
        plan->thread_floats = plan->source_taps[0] * slice; /* all taps: for a bf16 target */
    } else {
        cut(plan, 2, pointwise ? BLOCK_W_POINTWISE : BLOCK_W_MAX);
        plan->row_floats = reach(plan, 2, plan->block[2]) * channels;
        plan_stream(plan, flops);
        plan->chunk_taps_d = plan->source_taps[0];
        plan->weight_floats = weight_floats;
        plan->thread_floats = plan->ring_d * plan->ring_h * plan->row_floats;
    }
    /* Behind the ring or chunk: a row of zeros and the table of tap rows. */
    plan->thread_floats = round_up(plan->thread_floats, 16);
    plan->zeros_offset = plan->thread_floats;
    plan->thread_floats += round_up(plan->row_floats, 16);
    plan->rows_offset = plan->thread_floats;
    plan->thread_floats +=
        round_up((int64_t)problem->kernel[0] * problem->kernel[1] * RVX_CORRELATE_ROW_FLOATS, 16);
    plan->scratch_bytes =
        4 * (plan->weight_floats + plan->source_floats + larger(threads, 1) * plan->thread_floats);
}
