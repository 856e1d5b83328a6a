/* Tile sizes and scratch of the convolution's weight gradient; the contract is in
 * kernels/cpu/conv_weight.h. */
#include "kernels/cpu/conv_weight.h"

#include "kernels/conv.h"

enum {
    TILE_FLOATS = 192 * 1024,         /* private tile, x and dy: a share of one core's L2 */
    STREAM_TILE_FLOATS = 64 * 1024,   /* the same where each value of dy is used but ci times */
    SHARED_TILE_FLOATS = 1 << 20,     /* tile that all threads work on together */
    PARTIAL_LIMIT = 128 * 1024,       /* dW larger than this is not held once per piece */
    STREAM_PARTIAL_LIMIT = 64 * 1024, /* the same where tiles are short, and each reads all of it */
    PIECES_MAX = 16,
};

static int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
static int64_t divide_up(int64_t value, int64_t step) { return (value + step - 1) / step; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Cuts `count` into the fewest equal parts of at most `most`; the part size. */
static int64_t part(int64_t count, int64_t most)
{
    int64_t parts = divide_up(count, most < 1 ? 1 : most);
    return divide_up(count, parts);
}

void rvx__conv_weight_cut(rvx__conv_weight_plan *plan, const rvx__conv_weight_geometry *g)
{
    const rvx_shape *x = &g->x, *dy = &g->dy;
    int64_t ci = round_up(x->c, RVX__WEIGHT_CI_PAD), co = round_up(dy->c, RVX__WEIGHT_CO_PAD);
    int64_t taps = (int64_t)g->kernel[0] * g->kernel[1] * g->kernel[2];
    int64_t weights = taps * x->c * dy->c;
    bool shared = weights > (g->transposed ? STREAM_PARTIAL_LIMIT : PARTIAL_LIMIT);
    int64_t rows_of_dy = g->stride[0] * g->stride[1]; /* for each row of x, or x for dy */
    int64_t row =
        ci * x->w + 1 + (g->transposed ? co * dy->w * rows_of_dy : co * dy->w / rows_of_dy);
    int64_t rows = (shared          ? SHARED_TILE_FLOATS
                    : g->transposed ? STREAM_TILE_FLOATS
                                    : TILE_FLOATS) /
                   row;
    if (rows < 1)
        rows = 1;
    int64_t side = 1; /* slices of a tile that is about as deep as it is high */
    while ((side + 1) * (side + 1) <= rows)
        side++;
    plan->tile_d = part(x->d, side > rows / x->h ? side : rows / x->h);
    plan->tile_h = part(x->h, rows / plan->tile_d);
    plan->tiles_d = divide_up(x->d, plan->tile_d);
    plan->tiles_h = divide_up(x->h, plan->tile_h);
    plan->tiles = x->n * plan->tiles_d * plan->tiles_h;
    plan->pieces = shared ? 1 : smaller(plan->tiles, PIECES_MAX);
    if (g->transposed) {
        plan->box_d = plan->tile_d * g->stride[0];
        plan->box_h = plan->tile_h * g->stride[1];
    } else {
        plan->box_d = smaller(dy->d, (plan->tile_d + g->kernel[0] - 2) / g->stride[0] + 1);
        plan->box_h = smaller(dy->h, (plan->tile_h + g->kernel[1] - 2) / g->stride[1] + 1);
    }
    plan->x_floats = round_up(plan->tile_d * plan->tile_h * x->w * ci, 16);
    if (x->c <= PLANE_CHANNELS) {
        const int64_t margin = 2 * PLANE_MARGIN;
        int64_t planes = x->c * (plan->tile_d + margin) * (plan->tile_h + margin) * (x->w + margin);
        plan->x_floats = round_up(planes > plan->x_floats ? planes : plan->x_floats, 16);
    }
    plan->dy_floats = plan->box_d * plan->box_h * dy->w * co;
    plan->partial_floats = round_up(weights, 16) + co;
}

rvx__conv_weight_geometry rvx__conv_weight_geometry_of(const rvx_shape *x, const rvx_shape *dy,
                                                       const rvx_op_params *params, bool transposed)
{
    rvx__conv_weight_geometry g = {.x = *x, .dy = *dy, .transposed = transposed};
    for (int axis = 0; axis < 3; axis++) {
        g.kernel[axis] = params->kernel[axis];
        g.stride[axis] = params->stride[axis];
        g.pad[axis] = params->pad[axis];
    }
    return g;
}

int64_t rvx__conv_weight_bytes(const rvx__conv_weight_geometry *g, int threads)
{
    rvx__conv_weight_plan plan;
    rvx__conv_weight_cut(&plan, g);
    int64_t partials = plan.pieces > 1 ? plan.pieces * plan.partial_floats : 0;
    int64_t tiles = plan.pieces > 1 ? threads : 1;
    return (partials + tiles * (plan.x_floats + plan.dy_floats)) * (int64_t)sizeof(float);
}

int64_t rvx__conv_weight_scratch(const rvx_shape *in, const rvx_shape *out,
                                 const rvx_op_params *params, int threads)
{
    const rvx__conv_weight_geometry g =
        rvx__conv_weight_geometry_of(&in[0], &out[0], params, false);
    return rvx__conv_weight_bytes(&g, threads);
}
