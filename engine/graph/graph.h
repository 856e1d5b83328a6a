/* The graph: what is computed, with shapes, before anyone asks where it lives or when it runs.
 * Owns: values, nodes, scopes and parameter names. Invariant: nodes stand in an order in which
 * every input precedes its use; every value knows its shape from the moment it exists.
 *
 * Errors are sticky: after the first one every builder returns a value of shape zero and the author
 * asks rvx__graph_status once at the end. */
#ifndef RVX_GRAPH_H
#define RVX_GRAPH_H

#include "kernels/op.h"

#include <stdbool.h>

typedef struct rvx_value {
    int32_t index; /* negative: none */
} rvx_value;

#define RVX_NO_VALUE ((rvx_value){-1})

typedef enum rvx_value_kind {
    RVX_VALUE_RESULT = 0, /* produced by a node */
    RVX_VALUE_INPUT,      /* filled by the caller before each run */
    RVX_VALUE_PARAMETER,  /* trained */
    RVX_VALUE_CONSTANT    /* fold table that changes nothing: scale 1, shift 0, slope 1 */
} rvx_value_kind;

/* How a parameter starts, and how its five axes map to the layout of other frameworks. */
typedef enum rvx_parameter_role {
    RVX_ROLE_CONV_WEIGHT,           /* He normal, a = 0.01; exported as [co][ci][kd][kh][kw] */
    RVX_ROLE_CONV_TRANSPOSE_WEIGHT, /* He normal, a = 0.01; exported as [ci][co][kd][kh][kw] */
    RVX_ROLE_BIAS,                  /* 0 */
    RVX_ROLE_GAMMA,                 /* 1 */
    RVX_ROLE_BETA,                  /* 0 */
    RVX_ROLE_CAYLEY,          /* Haar (kernels/orthogonal.h); exported as [c][row][1][1][column] */
    RVX_ROLE_EXPONENTIAL,     /* the same for the exponential map */
    RVX_ROLE_RUNNING_MEAN,    /* 0; not trained, but moved by batch norm once a step */
    RVX_ROLE_RUNNING_VARIANCE /* 1; the same */
} rvx_parameter_role;

typedef struct rvx_value_info {
    rvx_value_kind kind;
    rvx_shape shape;
    rvx_dtype dtype;
    int32_t grid_log2;    /* RVX_I16: steps of 2^-grid_log2 */
    int32_t node, output; /* RVX_VALUE_RESULT: producer */
    rvx_parameter_role role;
    char name[96]; /* inputs and parameters: scope path; results: path of the producing node */
} rvx_value_info;

typedef struct rvx_node {
    const rvx_op *op;
    rvx_op_params params;
    int32_t in_count;
    int32_t in[RVX_IN_MAX], out[RVX_OUT_MAX]; /* value indices; -1 absent */
    char name[96];
} rvx_node;

typedef struct rvx_graph {
    rvx_value_info *values;
    rvx_node *nodes;
    int32_t value_count, value_capacity, node_count, node_capacity;
    rvx_dtype storage; /* of activations: RVX_F32 or RVX_BF16 */
    rvx_dtype streams; /* of residual streams: RVX_I16, RVX_F32 or RVX_BF16 */
    int32_t grid_log2; /* RVX_I16: of the streams that start here */
    char scope[96];
    rvx_error error; /* sticky */
} rvx_graph;

rvx_graph *rvx__graph_create(void); /* NULL: out of memory */
void rvx__graph_free(rvx_graph *graph);
rvx_status rvx__graph_status(const rvx_graph *graph, rvx_error *error);
/* How activations and their gradients are stored: RVX_F32 (from the start) or RVX_BF16. Before the
 * first node. Inputs, parameters, statistics and logits keep their own types. */
void rvx__graph_set_storage(rvx_graph *graph, rvx_dtype storage);

/* How the residual streams of couplings are stored, and the grid of those that start from now on
 * (a level may have its own): RVX_I16 with steps of 2^-grid_log2, 0 <= grid_log2 <= 15, inverts bit
 * for bit; RVX_F32 and RVX_BF16 invert to rounding only. A new graph has streams of f32. */
void rvx__graph_set_streams(rvx_graph *graph, rvx_dtype streams, int grid_log2);

/* "enc%d" etc.; nested scopes join with '/'. */
void rvx__scope_push(rvx_graph *graph, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rvx__scope_pop(rvx_graph *graph);

rvx_value rvx__input(rvx_graph *graph, const char *name, rvx_shape shape, rvx_dtype dtype);
rvx_value rvx__parameter(rvx_graph *graph, const char *name, rvx_shape shape,
                         rvx_parameter_role role);
rvx_shape rvx__shape(const rvx_graph *graph, rvx_value value);
/* The input or parameter of that name, or RVX_NO_VALUE. */
rvx_value rvx__graph_find(const rvx_graph *graph, const char *name);
/* Trained numbers: without running statistics, as publications count. */
int64_t rvx__graph_parameter_count(const rvx_graph *graph);

/* Adds a node; the builders below call it. out: op->out_count values. */
void rvx__graph_apply(rvx_graph *graph, rvx_value *out, const rvx_op *op, const rvx_value *in,
                      int in_count, const rvx_op_params *params);

/* ---- builders: one per operation, the words in which models are written ---------------------- */

typedef struct rvx_conv {
    int channels;             /* out */
    int kernel[3], stride[3]; /* d, h, w; zero: 3 and 1 */
    bool no_bias;
    bool f32_output; /* logits: f32 whatever the storage type */
} rvx_conv;

/* Same-size padding (kernel - 1) / 2. Parameters weight and bias in the current scope. */
rvx_value rvx__conv(rvx_graph *graph, rvx_value x, rvx_conv conv);
/* Kernel = stride: every input voxel becomes a block. */
rvx_value rvx__conv_transpose(rvx_graph *graph, rvx_value x, int channels, const int stride[3]);
/* Normalises over space within each of `groups` channel groups (0: instance norm), affine, then
 * leaky ReLU (slope 1: none). Parameters gamma and beta. */
rvx_value rvx__norm_act(rvx_graph *graph, rvx_value x, int groups, float epsilon, float slope);
/* The same with the statistics of a channel over space and batch (Ioffe 2015). Inference takes
 * running ones, which a training step moves by `momentum` of the way to its own; they are the
 * further parameters running_mean and running_var, which are not trained. */
rvx_value rvx__batch_norm_act(rvx_graph *graph, rvx_value x, float epsilon, float momentum,
                              float slope);
rvx_value rvx__max_pool(rvx_graph *graph, rvx_value x, const int factor[3]);
/* Mean over all voxels: [n][1][1][1][c]. */
rvx_value rvx__mean_pool(rvx_graph *graph, rvx_value x);
rvx_value rvx__upsample(rvx_graph *graph, rvx_value x, const int factor[3]);
/* A sum with a stream is a stream. */
rvx_value rvx__add(rvx_graph *graph, rvx_value a, rvx_value b);
/* x as a residual stream: rounded to the grid where streams are RVX_I16; x itself where it is
 * stored as streams are. The gradient passes unchanged. */
rvx_value rvx__round(rvx_graph *graph, rvx_value x);
rvx_value rvx__concat(rvx_graph *graph, rvx_value a, rvx_value b);
/* The first `channels` channels, and the rest. Undoes a concatenation of two such parts. */
void rvx__split(rvx_graph *graph, rvx_value out[2], rvx_value x, int64_t channels);

typedef rvx_value (*rvx_branch)(rvx_graph *graph, rvx_value x, const void *argument);
/* Additive coupling on the two channel halves: y1 = x1 + F(x2), y2 = x2 + G(y1) (Gomez 2017). x and
 * the result are residual streams. Scopes f and g. */
rvx_value rvx__couple(rvx_graph *graph, rvx_value x, rvx_branch f, rvx_branch g,
                      const void *argument);

/* The same on two streams of equal shape, in place: x[0] += F(x[1]), x[1] += G(x[0]). g NULL: the
 * first half only. */
void rvx__couple_halves(rvx_graph *graph, rvx_value x[2], rvx_branch f, rvx_branch g,
                        const void *argument);

typedef struct rvx_loss {
    int ignore_label; /* -1: none */
    bool include_background;
    float weight, smooth;
} rvx_loss;

/* Cross entropy + soft Dice of logits against u8 labels; `statistics` receives the sums per class
 * when it is not NULL. */
rvx_value rvx__segmentation_loss(rvx_graph *graph, rvx_value logits, rvx_value labels,
                                 rvx_loss loss, rvx_value *statistics);

/* Class with the largest logit, the first of equals, as u8 [n][d][h][w][1]. The logits must come
 * straight from a pointwise convolution; they themselves are formed only where something else asks
 * for them. */
rvx_value rvx__labels(rvx_graph *graph, rvx_value logits);

#endif
