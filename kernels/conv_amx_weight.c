/* Cuts of a weight gradient for matrix tiles: see conv_amx_weight.h. */
#include "kernels/conv_amx_weight.h"

enum {
    DEPTH_WANTED = 1024,          /* positions summed in the tiles before they are stored */
    THREAD_BYTES_MAX = 1 << 20,   /* a share of one core's L2 */
    PARTIAL_FLOATS_MAX = 2 << 20, /* of all pieces */
    PLANES_MIN = 4,               /* of a box: each packs the planes at its ends again */
    PIECES_MAX = 16,
    TASKS_MIN = 6,
};

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

/* Sizes of the packed planes for block_h rows and step_d planes of `few`; bytes of one thread. */
static int64_t planes_size(rvx__amx_weight_plan *plan, int64_t block_h, int64_t step_d)
{
    const int64_t shift_h = (plan->kernel[1] - 1) / plan->stride[1];
    const int64_t shift_w = (plan->kernel[2] - 1) / plan->stride[2];
    plan->block_h = block_h;
    plan->step_d = step_d;
    plan->ring_d = (step_d - 1) * plan->stride[0] + plan->kernel[0];
    plan->depth = round_up(block_h * plan->width, RVX__AMX_DEPTH);
    plan->row = plan->depth + shift_h * plan->width + shift_w;
    /* Rows of one tile an odd number of cache lines apart: their lines share no set. */
    plan->row = (divide_up(plan->row, RVX__AMX_DEPTH) | 1) * RVX__AMX_DEPTH;
    plan->many_plane =
        plan->classes_h * plan->classes_w * plan->m_tiles * RVX__AMX_ROWS * plan->row;
    plan->few_plane = plan->n_tiles * RVX__AMX_COLUMNS * plan->depth;
    plan->many_part = plan->ring_d * plan->many_plane;
    plan->few_part = step_d * plan->few_plane;
    return 2 * plan->parts * (plan->many_part + plan->few_part);
}

void rvx__amx_weight_plan_make(rvx__amx_weight_plan *plan, int transposed, const rvx_shape *in,
                               const rvx_shape *out, const rvx_op_params *params, int64_t parts,
                               int threads)
{
    *plan = (rvx__amx_weight_plan){.many = transposed ? *out : *in,
                                   .few = transposed ? *in : *out,
                                   .turned = transposed,
                                   .parts = parts};
    for (int axis = 0; axis < 3; axis++) {
        plan->kernel[axis] = params->kernel[axis];
        plan->stride[axis] = params->stride[axis];
        plan->pad[axis] = params->pad[axis];
    }
    plan->classes_h = smaller(plan->kernel[1], plan->stride[1]);
    plan->classes_w = smaller(plan->kernel[2], plan->stride[2]);
    plan->m_tiles = divide_up(plan->many.c, RVX__AMX_ROWS);
    plan->n_tiles = divide_up(plan->few.c, RVX__AMX_COLUMNS);
    plan->width = round_up(plan->few.w + (plan->kernel[2] - 1) / plan->stride[2], 2);
    const int64_t h = plan->few.h, d = plan->few.d;
    int64_t block_h = divide_up(h, divide_up(h * plan->width, DEPTH_WANTED));
    /* Counts blocks, not rows: one block more may need as many rows as before. */
    for (int64_t blocks = divide_up(h, block_h);
         block_h > 1 && planes_size(plan, block_h, 1) > THREAD_BYTES_MAX;)
        block_h = divide_up(h, ++blocks);
    int64_t step_d = 1;
    while (step_d < d && step_d * block_h * plan->width < DEPTH_WANTED &&
           planes_size(plan, block_h, step_d + 1) <= THREAD_BYTES_MAX)
        step_d++;
    const int64_t bytes = planes_size(plan, block_h, step_d);
    plan->blocks_h = divide_up(h, block_h);
    const int64_t chunks = divide_up(PIECES_MAX, plan->few.n * plan->blocks_h);
    plan->chunk_d = larger(PLANES_MIN, divide_up(d, chunks));
    plan->chunk_d = smaller(d, round_up(plan->chunk_d, step_d));
    plan->chunks_d = divide_up(d, plan->chunk_d);
    plan->boxes = plan->few.n * plan->blocks_h * plan->chunks_d;

    const int64_t taps = (int64_t)plan->kernel[0] * plan->kernel[1] * plan->kernel[2];
    plan->partial_floats = taps * plan->m_tiles * plan->n_tiles * RVX__AMX_ROWS * RVX__AMX_COLUMNS +
                           round_up(out->c, RVX__AMX_COLUMNS);
    plan->pieces = larger(1, PARTIAL_FLOATS_MAX / plan->partial_floats);
    plan->pieces = smaller(plan->pieces, smaller(PIECES_MAX, plan->boxes));
    plan->groups =
        smaller(divide_up(TASKS_MIN, plan->pieces), divide_up(plan->n_tiles, RVX__AMX_PANEL));

    plan->few_offset = 2 * parts * plan->many_part;
    plan->rows_offset = bytes;
    plan->thread_bytes = bytes + round_up(step_d * (int64_t)sizeof(rvx__amx_row), 64);
    plan->scratch_bytes =
        4 * plan->pieces * plan->partial_floats + larger(threads, 1) * plan->thread_bytes;
}

int64_t rvx__amx_weight_scratch(int transposed, const rvx_shape *in, const rvx_shape *out,
                                const rvx_op_params *params, int threads)
{
    const bool pay = !transposed && rvx__amx_weight_parts_pay(params, in[0], out[0]);
    int64_t bytes = 0, most = pay ? 3 : 1;
    for (int64_t parts = 1; parts <= most; parts += 2) {
        rvx__amx_weight_plan plan;
        rvx__amx_weight_plan_make(&plan, transposed, in, out, params, parts, threads);
        bytes = plan.scratch_bytes > bytes ? plan.scratch_bytes : bytes;
    }
    return bytes;
}
