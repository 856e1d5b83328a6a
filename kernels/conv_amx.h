/* How a correlation is cut for matrix tiles (Intel AMX, bf16 products summed in f32). Owns: the
 * geometry, every decision that fixes scratch sizes, and the order of the scratch block; knows
 * shapes only. Convolution and transposed convolution, forward and data gradient, are all gathers
 * of conv_plan.h.
 *
 * A task owns a box of targets: whole rows, some rows along h, some planes along d. It walks along
 * d over a ring of packed source planes [y][x][c] in bf16, padding written out and fold applied. A
 * matrix tile is 16 positions by 32 products; the products of one tap row (taps along w times
 * channels) are contiguous in a plane, so they are one long row of the tile's operand. Positions
 * are those of the plane read as one sequence, ends of rows included (their sums are dropped), or
 * of one row at a time, whichever takes fewer tiles. */
#ifndef RVX_CONV_AMX_H
#define RVX_CONV_AMX_H

#include "kernels/conv_plan.h"

/* Tile: positions, products, target channels, and tiles of target channels that share positions. */
enum { RVX__AMX_ROWS = 16, RVX__AMX_DEPTH = 32, RVX__AMX_COLUMNS = 16, RVX__AMX_PANEL = 2 };
enum { RVX__AMX_TILE_ELEMENTS = RVX__AMX_DEPTH * RVX__AMX_COLUMNS };

/* One tap row: where its products stand and its packed weights. */
typedef struct rvx__amx_row {
    const uint16_t *source, *weight;
} rvx__amx_row;

/* The four passes that are correlations. */
typedef enum rvx__amx_pass {
    RVX__AMX_CONV_FORWARD,
    RVX__AMX_CONV_DATA,
    RVX__AMX_TRANSPOSE_FORWARD, /* gathers as a data gradient does, with weights as they stand */
    RVX__AMX_TRANSPOSE_DATA
} rvx__amx_pass;

typedef struct rvx__amx_plan {
    rvx__correlation problem;
    int weight_turned;                       /* targets are the weight's ci, sources its co */
    int64_t parts;                           /* bf16 numbers that make up one operand: 1 or 3 */
    int64_t q_first[3], q_count[3];          /* union over the classes */
    int64_t source_first[3], source_taps[3]; /* reach of one q: the union over the classes */
    int64_t source_step[3];
    int64_t block_h, blocks_h; /* q rows of a task */
    int64_t chunk_d, chunks_d; /* q planes of a task */
    int64_t groups;            /* tasks that share a box and take panels of target channels each */
    int64_t step_d, ring_d;    /* q planes computed between two packings; planes kept */
    int64_t voxel_elements;    /* packed voxel: its channels, and zeros if they cost no product */
    int64_t row_voxels;        /* packed row */
    int64_t plane_elements;    /* packed plane, one part */
    int64_t part_elements;     /* ring of one part */
    int64_t column_tiles;      /* tiles of target channels */
    int64_t weight_elements;   /* all packed weights, one part */
    int64_t rows_offset;       /* bytes from a thread's ring to its list of tap rows */
    int64_t thread_bytes;      /* of one thread; the weights come before all threads */
    int64_t scratch_bytes;
} rvx__amx_plan;

/* Tiles of products of one tap row. */
int64_t rvx__amx_run_tiles(const rvx__amx_plan *plan, int64_t taps_w);

/* `in` and `out`: shapes of the op's input and output. `parts` 3: three bf16 numbers stand for one
 * f32. */
void rvx__amx_plan_make(rvx__amx_plan *plan, rvx__amx_pass pass, const rvx_shape *in,
                        const rvx_shape *out, const rvx_op_params *params, int64_t parts,
                        int threads);

/* The larger scratch of the two numbers of parts; transposed convolutions know one only. */
int64_t rvx__amx_scratch(rvx__amx_pass pass, const rvx_shape *in, const rvx_shape *out,
                         const rvx_op_params *params, int threads);

#endif
