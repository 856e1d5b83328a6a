/* How convolutions are cut on the GPU. Owns: every decision that fixes scratch sizes, shared by the
 * op rows (C) and the kernels (CUDA); knows shapes only, never a GPU.
 *
 * Forward, data gradient and transposed convolution are gathers: targets fall into classes, and
 * within one, along each axis,
 *     target[ts q + tf] = sum over t of source[ss q + sf + st t] * w[wf + ws t]
 * A plain gather has one class. A scattering one (data gradient of a convolution, transposed
 * convolution) has one for each remainder of the target modulo the stride, each with the taps that
 * meet it, so that no zero is inserted. The products of one target are numbered
 * k = tap * channels + channel. */
#ifndef RVX_CUDA_CONV_SIZES_H
#define RVX_CUDA_CONV_SIZES_H

#include "kernels/op.h"

#ifdef __CUDACC__
#define RVX__SIZES static inline __host__ __device__
#else
#define RVX__SIZES static inline
#endif

/* Target positions of a tile; products that are packed and loaded together. */
enum { RVX__CUDA_CONV_ROWS = 128, RVX__CUDA_CONV_GROUP = 8 };

typedef struct rvx__cuda_gather {
    int32_t scatter;
    int32_t turned; /* sources are the weight's co, targets its ci */
    int32_t kernel[3], stride[3], pad[3];
    int32_t target[3]; /* lengths */
    int32_t classes[3];
    int32_t taps[3]; /* of all classes together */
    int32_t samples, source_c, target_c;
} rvx__cuda_gather;

/* Taps of one class of a scattering gather along an axis. */
RVX__SIZES int32_t rvx__cuda_class_taps(const rvx__cuda_gather *g, int axis, int32_t which)
{
    const int32_t first = (which + g->pad[axis]) % g->stride[axis];
    return first < g->kernel[axis]
               ? (g->kernel[axis] - first + g->stride[axis] - 1) / g->stride[axis]
               : 0;
}

RVX__SIZES rvx__cuda_gather rvx__cuda_gather_of(const rvx_shape *source, const rvx_shape *target,
                                                const rvx_op_params *params, int scatter,
                                                int turned)
{
    rvx__cuda_gather g;
    g.scatter = scatter;
    g.turned = turned;
    g.target[0] = (int32_t)target->d;
    g.target[1] = (int32_t)target->h;
    g.target[2] = (int32_t)target->w;
    g.samples = (int32_t)target->n;
    g.source_c = (int32_t)source->c;
    g.target_c = (int32_t)target->c;
    for (int a = 0; a < 3; a++) {
        g.kernel[a] = params->kernel[a];
        g.stride[a] = params->stride[a];
        g.pad[a] = params->pad[a];
        g.classes[a] = 1;
        g.taps[a] = params->kernel[a];
        if (!scatter)
            continue;
        g.classes[a] = g.stride[a] < g.target[a] ? g.stride[a] : g.target[a];
        g.taps[a] = 0;
        for (int32_t i = 0; i < g.classes[a]; i++)
            g.taps[a] += rvx__cuda_class_taps(&g, a, i);
    }
    return g;
}

/* Target channels of a tile. */
RVX__SIZES int32_t rvx__cuda_conv_columns(int64_t channels)
{
    return channels <= 16 ? 16 : channels <= 32 ? 32 : channels <= 64 ? 64 : 128;
}

RVX__SIZES int64_t rvx__cuda_gather_classes(const rvx__cuda_gather *g)
{
    return (int64_t)g->classes[0] * g->classes[1] * g->classes[2];
}

/* Target channels, padded to whole tiles. */
RVX__SIZES int64_t rvx__cuda_gather_columns(const rvx__cuda_gather *g)
{
    const int64_t columns = rvx__cuda_conv_columns(g->target_c);
    return (g->target_c + columns - 1) / columns * columns;
}

/* Packed weights: groups of products x target channels x 8. A class begins at group
 * floor(products of all classes before it / 8) + its number, which leaves room for a last group
 * that is not full. */
RVX__SIZES int64_t rvx__cuda_gather_bytes(const rvx__cuda_gather *g)
{
    const int64_t products = (int64_t)g->taps[0] * g->taps[1] * g->taps[2] * g->source_c;
    const int64_t groups = products / RVX__CUDA_CONV_GROUP + rvx__cuda_gather_classes(g);
    return groups * rvx__cuda_gather_columns(g) * RVX__CUDA_CONV_GROUP * (int64_t)sizeof(float);
}

/* ---- 3 x 3 taps in a plane, 3 or 1 across planes, stride 1 ----------------------------------- */

/* Channels of either side: beyond, tiles of 128 columns read each product less often. */
enum { RVX__CUDA_HALO_CHANNELS_MAX = 128, RVX__CUDA_HALO_GROUPS = 4 };
/* Voxels of a tile. */
enum { RVX__CUDA_TILE_Z = 4, RVX__CUDA_TILE_Y = 8, RVX__CUDA_TILE_X = 16 };

/* Whether kernels that hold a halo in shared memory take it, with bf16 products. */
RVX__SIZES int rvx__cuda_halo_fits(const int32_t *kernel, const int32_t *stride, int64_t source_c,
                                   int64_t target_c)
{
    return (kernel[0] == 3 || kernel[0] == 1) && kernel[1] == 3 && kernel[2] == 3 &&
           stride[0] == 1 && stride[1] == 1 && stride[2] == 1 && source_c % 8 == 0 &&
           target_c % 8 == 0 && source_c <= RVX__CUDA_HALO_CHANNELS_MAX &&
           target_c <= RVX__CUDA_HALO_CHANNELS_MAX;
}

/* Source channels pass through shared memory in equal chunks of up to 4 groups of 8. */
RVX__SIZES int32_t rvx__cuda_halo_chunks(int64_t channels)
{
    return (int32_t)((channels / 8 + RVX__CUDA_HALO_GROUPS - 1) / RVX__CUDA_HALO_GROUPS);
}
RVX__SIZES int32_t rvx__cuda_halo_groups(int64_t channels)
{
    const int64_t chunks = rvx__cuda_halo_chunks(channels);
    return (int32_t)((channels / 8 + chunks - 1) / chunks);
}

/* Target channels of a tile. */
RVX__SIZES int32_t rvx__cuda_halo_columns(int64_t channels)
{
    return channels <= 32 ? (int32_t)(channels + 7) / 8 * 8 : 64;
}

/* Packed weights: bf16, two groups an instruction, padded to whole chunks and tiles. */
RVX__SIZES int64_t rvx__cuda_halo_bytes(const rvx__cuda_gather *g)
{
    const int64_t columns = rvx__cuda_halo_columns(g->target_c);
    const int64_t tiles = (g->target_c + columns - 1) / columns;
    const int64_t steps = (3 * rvx__cuda_halo_groups(g->source_c) + 1) / 2;
    return tiles * columns * rvx__cuda_halo_chunks(g->source_c) * g->kernel[0] * 3 * steps * 32;
}

/* ---- 3 x 3 x 3 taps, stride 1, few source channels: a stream of planes on sm_90a ------------- */

/* Channels: weights of all taps stand in shared memory, beside five planes of the source. */
enum { RVX__CUDA_STREAM_SOURCE_MAX = 32, RVX__CUDA_STREAM_TARGET_MAX = 64 };

/* Whether the kernel that streams planes takes it, with bf16 products, on a device of sm_90a. */
RVX__SIZES int rvx__cuda_stream_fits(const rvx__cuda_gather *g)
{
    return rvx__cuda_halo_fits(g->kernel, g->stride, g->source_c, g->target_c) &&
           g->kernel[0] == 3 && g->source_c <= RVX__CUDA_STREAM_SOURCE_MAX &&
           g->target_c <= RVX__CUDA_STREAM_TARGET_MAX;
}

/* Target channels of a tile. */
RVX__SIZES int32_t rvx__cuda_stream_columns(int64_t channels)
{
    return channels <= 32 ? (int32_t)(channels + 7) / 8 * 8 : 32;
}

/* Packed weights: bf16, two groups of 8 products a step, five blocks of a tile's columns. */
RVX__SIZES int64_t rvx__cuda_stream_bytes(const rvx__cuda_gather *g)
{
    const int64_t columns = rvx__cuda_stream_columns(g->target_c);
    const int64_t tiles = (g->target_c + columns - 1) / columns;
    const int64_t steps = (9 * (g->source_c / 8) + 1) / 2;
    return tiles * steps * 5 * columns * 32;
}

/* Scratch of a gather: what the kernel takes that is chosen in the end, on whatever device. */
RVX__SIZES int64_t rvx__cuda_correlate_bytes(const rvx__cuda_gather *g)
{
    int64_t most = rvx__cuda_gather_bytes(g);
    if (rvx__cuda_halo_fits(g->kernel, g->stride, g->source_c, g->target_c)) {
        const int64_t halo = rvx__cuda_halo_bytes(g);
        most = most > halo ? most : halo;
    }
    if (rvx__cuda_stream_fits(g)) {
        const int64_t stream = rvx__cuda_stream_bytes(g);
        most = most > stream ? most : stream;
    }
    return most;
}

/* ---- weight gradient ------------------------------------------------------------------------ */

/*     dW[k][m][n] = sum over positions o of  many[o s + k - pad][m] * few[o][n]
 *
 * Convolution: many = folded x, few = dy; transposed convolution: many = dy, few = folded x.
 * Positions are cut into pieces, each with its own partial sums, which are added in order. */
typedef struct rvx__cuda_weight_plan {
    int32_t rows, columns; /* taps * channels of many, channels of few */
    int32_t row_tiles, column_tiles, column_tile;
    int32_t sums;               /* column sums, for the bias: of few, or of many where transposed */
    int64_t positions, a_piece; /* of few: voxels, a piece is a multiple of 32; or tiles */
    int32_t pieces;
} rvx__cuda_weight_plan;

enum {
    RVX__CUDA_WEIGHT_BLOCKS = 512,       /* of a launch: some for each multiprocessor */
    RVX__CUDA_WEIGHT_POSITIONS_MIN = 256 /* of a piece: its partial sums cost as much as these */
};

/* Cuts `positions` into at most `most` pieces of at least `least` positions, multiples of `step`.
 */
RVX__SIZES void rvx__cuda_weight_cut(rvx__cuda_weight_plan *p, int64_t positions, int64_t most,
                                     int64_t least, int64_t step)
{
    const int64_t limit = (positions + least - 1) / least;
    int64_t pieces = most < limit ? most : limit;
    pieces = pieces > 1 ? pieces : 1;
    p->positions = positions;
    p->a_piece = ((positions + pieces - 1) / pieces + step - 1) / step * step;
    p->pieces = (int32_t)((positions + p->a_piece - 1) / p->a_piece);
}

RVX__SIZES rvx__cuda_weight_plan rvx__cuda_weight_plan_of(const rvx_shape *many,
                                                          const rvx_shape *few,
                                                          const rvx_op_params *params,
                                                          int transposed)
{
    rvx__cuda_weight_plan p;
    const int64_t taps = (int64_t)params->kernel[0] * params->kernel[1] * params->kernel[2];
    p.rows = (int32_t)(taps * many->c);
    p.columns = (int32_t)few->c;
    p.column_tile = rvx__cuda_conv_columns(few->c);
    if (p.column_tile > 64)
        p.column_tile = 64;
    p.row_tiles = (p.rows + RVX__CUDA_CONV_ROWS - 1) / RVX__CUDA_CONV_ROWS;
    p.column_tiles = (p.columns + p.column_tile - 1) / p.column_tile;
    p.sums = transposed ? p.rows : p.columns;
    rvx__cuda_weight_cut(&p, rvx__shape_voxels(*few),
                         RVX__CUDA_WEIGHT_BLOCKS / ((int64_t)p.row_tiles * p.column_tiles),
                         RVX__CUDA_WEIGHT_POSITIONS_MIN, 32);
    return p;
}

/* Whether kernels that hold a halo in shared memory form it, with bf16 products. */
RVX__SIZES int rvx__cuda_weight_halo_fits(const rvx_shape *x, const rvx_shape *dy,
                                          const rvx_op_params *params)
{
    return params->kernel[0] == 3 &&
           rvx__cuda_halo_fits(params->kernel, params->stride, x->c, dy->c);
}

/* Channels of x pass in chunks of up to 3 groups of 8, larger numbers in chunks of 2: then two
 * blocks fit on a multiprocessor, and one loads while the other multiplies. Those of dy as in
 * rvx__cuda_halo_chunks. */
RVX__SIZES int32_t rvx__cuda_weight_halo_groups(int64_t channels)
{
    return channels <= 24 ? (int32_t)(channels / 8) : 2;
}
RVX__SIZES int32_t rvx__cuda_weight_halo_chunks(int64_t channels)
{
    const int32_t groups = rvx__cuda_weight_halo_groups(channels);
    return (int32_t)((channels / 8 + groups - 1) / groups);
}

enum {
    RVX__CUDA_WEIGHT_FLOATS_MAX = 4 << 20, /* of all partial sums, unless there is one piece */
    RVX__CUDA_WEIGHT_TILES_MIN = 4         /* of a piece: see POSITIONS_MIN */
};

/* The same for those kernels: positions are tiles. */
RVX__SIZES rvx__cuda_weight_plan rvx__cuda_weight_halo_plan_of(const rvx_shape *x,
                                                               const rvx_shape *dy,
                                                               const rvx_op_params *params)
{
    rvx__cuda_weight_plan p = rvx__cuda_weight_plan_of(x, dy, params, 0);
    const int64_t tiles = dy->n * ((dy->d + RVX__CUDA_TILE_Z - 1) / RVX__CUDA_TILE_Z) *
                          ((dy->h + RVX__CUDA_TILE_Y - 1) / RVX__CUDA_TILE_Y) *
                          ((dy->w + RVX__CUDA_TILE_X - 1) / RVX__CUDA_TILE_X);
    const int64_t room = RVX__CUDA_WEIGHT_FLOATS_MAX / ((int64_t)p.rows * p.columns);
    const int64_t most = RVX__CUDA_WEIGHT_BLOCKS /
                         (rvx__cuda_weight_halo_chunks(x->c) * rvx__cuda_halo_chunks(dy->c));
    rvx__cuda_weight_cut(&p, tiles, most < room ? most : room, RVX__CUDA_WEIGHT_TILES_MIN, 1);
    return p;
}

/* Partial sums of all pieces: products, then column sums. */
RVX__SIZES int64_t rvx__cuda_weight_bytes(const rvx__cuda_weight_plan *p)
{
    return (int64_t)sizeof(float) * p->pieces * ((int64_t)p->rows * p->columns + p->sums);
}

/* Scratch of a weight gradient: what the kernel takes that is chosen in the end. */
RVX__SIZES int64_t rvx__cuda_weight_scratch(const rvx_shape *in, const rvx_shape *out,
                                            const rvx_op_params *params, int transposed)
{
    const rvx__cuda_weight_plan any = transposed ? rvx__cuda_weight_plan_of(out, in, params, 1)
                                                 : rvx__cuda_weight_plan_of(in, out, params, 0);
    const int64_t bytes = rvx__cuda_weight_bytes(&any);
    if (transposed || !rvx__cuda_weight_halo_fits(in, out, params))
        return bytes;
    const rvx__cuda_weight_plan halo = rvx__cuda_weight_halo_plan_of(in, out, params);
    const int64_t other = rvx__cuda_weight_bytes(&halo);
    return bytes > other ? bytes : other;
}

#endif
