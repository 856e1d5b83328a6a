/* Cuts of a correlation for matrix tiles: see conv_amx.h. Everything here follows from shapes. */
#include "kernels/conv_amx.h"

enum {
    RING_BYTES_MAX = 768 << 10, /* a share of one core's L2 */
    POSITIONS_MIN = 512,        /* per sweep over the weights, if the ring has room */
    WEIGHT_BYTES_LARGE = 1 << 20,
    POSITIONS_MIN_LARGE = 2048,
    PLANES_MIN = 4, /* of a task: each packs the planes at its ends again */
    TASKS_WANTED = 16,
    TASKS_MIN = 6,
};

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

static void problem_make(rvx__amx_plan *plan, rvx__amx_pass pass, const rvx_shape *in,
                         const rvx_shape *out, const rvx_op_params *params)
{
    rvx__correlation *problem = &plan->problem;
    const int from_out = pass == RVX__AMX_CONV_DATA || pass == RVX__AMX_TRANSPOSE_DATA;
    problem->source = from_out ? *out : *in;
    problem->target = from_out ? *in : *out;
    problem->backward = pass == RVX__AMX_CONV_DATA || pass == RVX__AMX_TRANSPOSE_FORWARD;
    plan->weight_turned = from_out;
    for (int axis = 0; axis < 3; axis++) {
        problem->kernel[axis] = params->kernel[axis];
        problem->stride[axis] = params->stride[axis];
        problem->pad[axis] = params->pad[axis];
    }
}

int64_t rvx__amx_run_tiles(const rvx__amx_plan *plan, int64_t taps_w)
{
    return divide_up(taps_w * plan->voxel_elements, RVX__AMX_DEPTH);
}

/* Channels as they stand in a packed row. Where the tiles of a tap row hold zeros anyhow, they go
 * behind every voxel, so that rows of a tile begin with a cache line. */
static int64_t voxel_elements(const rvx__correlation *problem)
{
    const int64_t channels = problem->source.c, taps = problem->kernel[2];
    const int64_t whole = round_up(channels, RVX__AMX_DEPTH);
    return taps * whole == round_up(taps * channels, RVX__AMX_DEPTH) ? whole : channels;
}

/* The union over the classes of what is computed and read; all packed weights. */
static void plan_reach(rvx__amx_plan *plan)
{
    const rvx__correlation *problem = &plan->problem;
    int64_t tiles = 1;
    for (int axis = 0; axis < 3; axis++) {
        int64_t classes = problem->backward ? problem->stride[axis] : 1;
        int64_t low = INT64_MAX, high = INT64_MIN, rows = 0;
        for (int64_t class = 0; class < classes; class ++) {
            rvx__correlation_axis a = rvx__correlation_axis_make(problem, axis, class);
            rows += axis == 2 ? rvx__amx_run_tiles(plan, a.taps) : a.taps;
            if (a.count > 0) {
                low = smaller(low, a.first);
                high = larger(high, a.first + a.count);
            }
        }
        tiles *= rows;
        plan->q_first[axis] = low;
        plan->q_count[axis] = high - low;
        /* Class 0 has the most taps, and the others stay within its reach. */
        rvx__correlation_axis a = rvx__correlation_axis_make(problem, axis, 0);
        plan->source_first[axis] = a.source_first;
        plan->source_taps[axis] = larger(a.taps, 1);
        plan->source_step[axis] = problem->backward ? 1 : problem->stride[axis];
    }
    plan->column_tiles = divide_up(problem->target.c, RVX__AMX_COLUMNS);
    plan->weight_elements = tiles * plan->column_tiles * RVX__AMX_TILE_ELEMENTS;
}

static int64_t reach(const rvx__amx_plan *plan, int axis, int64_t count)
{
    return (count - 1) * plan->source_step[axis] + plan->source_taps[axis];
}

/* A plane ends with a tile's depth of zeros: weights beyond the last tap are zero, but what they
 * meet must be finite. */
static int64_t plane_elements(const rvx__amx_plan *plan, int64_t block_h)
{
    int64_t elements = reach(plan, 1, block_h) * plan->row_voxels * plan->voxel_elements;
    return round_up(elements + RVX__AMX_DEPTH, RVX__AMX_DEPTH);
}

static int64_t ring_bytes(const rvx__amx_plan *plan, int64_t block_h, int64_t step_d)
{
    return 2 * plan->parts * reach(plan, 0, step_d) * plane_elements(plan, block_h);
}

/* Cuts `count` into equal parts of at most `most`; the part size. */
static int64_t part(int64_t count, int64_t most)
{
    return divide_up(count, divide_up(count, larger(most, 1)));
}

void rvx__amx_plan_make(rvx__amx_plan *plan, rvx__amx_pass pass, const rvx_shape *in,
                        const rvx_shape *out, const rvx_op_params *params, int64_t parts,
                        int threads)
{
    *plan = (rvx__amx_plan){.parts = parts};
    problem_make(plan, pass, in, out, params);
    plan->voxel_elements = voxel_elements(&plan->problem);
    plan_reach(plan);
    const rvx__correlation *problem = &plan->problem;
    plan->row_voxels = reach(plan, 2, plan->q_count[2]);
    plan->block_h = plan->q_count[1];
    while (plan->block_h > 1 && ring_bytes(plan, plan->block_h, 1) > RING_BYTES_MAX)
        plan->block_h = part(plan->q_count[1], plan->block_h - 1);
    plan->blocks_h = divide_up(plan->q_count[1], plan->block_h);

    const int64_t positions = plan->block_h * plan->q_count[2];
    const int64_t wanted = 2 * parts * plan->weight_elements > WEIGHT_BYTES_LARGE
                               ? POSITIONS_MIN_LARGE
                               : POSITIONS_MIN;
    plan->step_d = 1;
    while (plan->step_d < plan->q_count[0] && plan->step_d * positions < wanted &&
           ring_bytes(plan, plan->block_h, plan->step_d + 1) <= RING_BYTES_MAX)
        plan->step_d++;
    const int64_t chunks = divide_up(TASKS_WANTED, problem->source.n * plan->blocks_h);
    plan->chunk_d = larger(PLANES_MIN, divide_up(plan->q_count[0], chunks));
    plan->chunk_d = smaller(plan->q_count[0], round_up(plan->chunk_d, plan->step_d));
    plan->chunks_d = divide_up(plan->q_count[0], plan->chunk_d);
    const int64_t boxes = problem->source.n * plan->blocks_h * plan->chunks_d;
    plan->groups =
        smaller(divide_up(TASKS_MIN, boxes), divide_up(plan->column_tiles, RVX__AMX_PANEL));

    plan->ring_d = reach(plan, 0, plan->step_d);
    plan->plane_elements = plane_elements(plan, plan->block_h);
    plan->part_elements = plan->ring_d * plan->plane_elements;
    /* The last tile may read beyond the last plane, into sums that are dropped. */
    const int64_t beyond =
        RVX__AMX_ROWS * plan->source_step[2] * plan->voxel_elements + 2 * RVX__AMX_DEPTH;
    const int64_t rows = (int64_t)problem->kernel[0] * problem->kernel[1];
    plan->rows_offset = round_up(2 * (parts * plan->part_elements + beyond), 64);
    plan->thread_bytes = plan->rows_offset + round_up(rows * (int64_t)sizeof(rvx__amx_row), 64);
    plan->scratch_bytes =
        2 * parts * plan->weight_elements + larger(threads, 1) * plan->thread_bytes;
}

int64_t rvx__amx_scratch(rvx__amx_pass pass, const rvx_shape *in, const rvx_shape *out,
                         const rvx_op_params *params, int threads)
{
    const int convolution = pass == RVX__AMX_CONV_FORWARD || pass == RVX__AMX_CONV_DATA;
    int64_t bytes = 0;
    for (int64_t parts = 1; parts <= (convolution ? 3 : 1); parts += 2) {
        rvx__amx_plan plan;
        rvx__amx_plan_make(&plan, pass, in, out, params, parts, threads);
        bytes = larger(bytes, plan.scratch_bytes);
    }
    return bytes;
}
