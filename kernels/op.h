/* The op row: all that the engine knows of an operation. Owns: the contract between engine and
 * kernels. One row per op in ops.def; the planner reads rows, never op names.
 *
 * A kernel gets one rvx_call and nothing else: tensors, parameters, a scratch block that was booked
 * at plan time and a thread count. It never allocates, prints, locks or fails. Its result does not
 * depend on the thread count: work is cut into pieces by shape alone, and partial sums are
 * combined in piece order. Kernels of a GPU queue their work and return; the same rules hold.
 *
 * Fold. Where `call->fold.data` is set, the kernel must read in[0] as
 *     a = t >= 0 ? t : slope[c] * t,   t = in[0] * scale[c] + shift[c]
 * (normalisation and leaky ReLU applied while loading; identity is scale 1, shift 0, slope 1).
 * Padding is zero AFTER this map. Gradients are with respect to a, never to in[0].
 *
 * Storage. Activations and their gradients may be bf16 (RVX_OP_BF16): converted on load, rounded to
 * nearest even on store; all arithmetic is f32.
 *
 * Streams. An activation may be RVX_I16 (RVX_OP_I16): integers on a grid of steps 2^-grid_log2.
 * What is stored to one is rounded to the grid, to nearest even, and wraps around beyond 16 bits;
 * the tensor's overflow counter gets the number of such values. A sum with a stream adds integers:
 * the other summand is rounded to the grid (and wrapped) first, so that the difference undoes the
 * sum bit for bit, overflow or not. Gradients are never RVX_I16.
 *
 * Inverse. RVX_INVERSE writes the one input named by call->rebuild to in[rebuild], from out[] and
 * the other inputs. */
#ifndef RVX_OP_H
#define RVX_OP_H

#include "kernels/status.h"
#include "kernels/tensor.h"

enum { RVX_IN_MAX = 8, RVX_OUT_MAX = 4 };

typedef enum rvx_isa {
    RVX_ISA_BASE = 0,
    RVX_ISA_AVX2 = 1,
    RVX_ISA_AVX512 = 2,
    RVX_ISA_AMX = 3, /* AVX-512 with bf16, and matrix tiles */
    RVX_ISA_COUNT,
    RVX_ISA_CUDA = RVX_ISA_COUNT /* no CPU: kernels of a GPU, kernels/cuda/plugin.h */
} rvx_isa;

/* The best instruction set that this processor has. On Linux this asks the system for the right to
 * use matrix tiles, which counts for the whole process; kernels of RVX_ISA_AMX need it. */
rvx_isa rvx__isa_detect(void);

/* Parameters of every op, in one plain struct: unused fields are zero. Axis order d, h, w. */
typedef struct rvx_op_params {
    int32_t kernel[3], stride[3], pad[3];
    int32_t channels_out;       /* conv, conv_transpose */
    int32_t groups;             /* norm: channel groups; 0 = one per channel (instance norm) */
    float epsilon;              /* norm */
    float slope;                /* leaky ReLU; 1 = none, 0 = ReLU */
    int32_t classes;            /* loss: number of channels of the logits */
    int32_t ignore_label;       /* loss: label that takes no part; -1 = none */
    int32_t include_background; /* loss: class 0 takes part in Dice */
    float weight;               /* loss: factor (deep supervision) */
    float smooth;               /* loss: Dice smoothing */
    int32_t channel_count;      /* split: channels of out[0]; out[1] gets the rest */
    int32_t bf16_products;      /* conv: of numbers rounded to bf16 where that is faster, also where
                                   no tensor is bf16 (streams in a graph that stores bf16) */
    int32_t tf32_products;      /* conv on a GPU, of f32: of numbers rounded to tf32 */
    int32_t f32_output;         /* conv: out[0] is f32 in a graph that stores bf16 (logits) */
    int32_t order;              /* blocks of voxels as channels: RVX_ORDER_*, kernels/block.h */
    int32_t orthonormal;        /* haar: preserves norms; else mean and difference */
    int32_t exponential;        /* orthogonal_*: Q = exp A instead of Cayley's */
    float rate;                 /* dropout: share that is dropped */
    int32_t layer;              /* dropout: tells masks of one step apart */
    int32_t batch_statistics;   /* norm: over the samples of the batch too (batch norm) */
    float momentum;             /* norm: how much of a step's statistics the running ones take */
    int64_t slab_bytes;         /* norm_conv on a GPU: of a slab of its backward; 0: enough to fill
                                   any GPU */
} rvx_op_params;

/* What a run is for. Ops that differ in training and inference, or that must do something once a
 * step only, ask for it. */
typedef enum rvx_mode {
    RVX_MODE_TRAINING = 0,
    RVX_MODE_AGAIN, /* training: the same work once more, because its result was not kept */
    RVX_MODE_INFERENCE
} rvx_mode;

typedef struct rvx_call {
    const rvx_op_params *params;
    rvx_tensor
        in[RVX_IN_MAX]; /* forward inputs; data NULL where absent or not read, shape always */
    rvx_tensor out[RVX_OUT_MAX];      /* forward outputs; data NULL where folded or not read */
    rvx_tensor grad_in[RVX_IN_MAX];   /* data NULL: not wanted */
    rvx_tensor grad_out[RVX_OUT_MAX]; /* data NULL: no gradient arrives */
    uint32_t accumulate;              /* bit i: add to grad_in[i] instead of writing it */
    int32_t rebuild;                  /* RVX_INVERSE: the input to be written */
    rvx_tensor fold;                  /* fold table for in[0], see above */
    void *scratch;                    /* 64-byte aligned */
    int64_t scratch_bytes;
    int threads;
    rvx_mode mode;
    void *queue;          /* RVX_ISA_CUDA: where the kernel queues its work */
    void *implementation; /* RVX_ISA_CUDA: what the plug-in prepared for this call, plugin.h */
} rvx_call;

typedef void (*rvx_kernel)(const rvx_call *call);

/* What a backward kernel reads: bit i = in[i], bit 8 + i = out[i]. grad_out is always read. */
#define RVX_READS_IN(i) (1u << (i))
#define RVX_READS_OUT(i) (1u << (8 + (i)))

typedef struct rvx_cost {
    double flops;
    double bytes; /* moved. Rows count 4 an element; the planner knows what is stored */
} rvx_cost;

typedef enum rvx_phase {
    RVX_FORWARD,
    RVX_BACKWARD_PARAMETERS,
    RVX_BACKWARD_DATA,
    RVX_INVERSE,
    RVX_PHASE_COUNT
} rvx_phase;

typedef struct rvx_op {
    const char *name;
    int32_t in_min, in_max, out_count;
    /* Shapes of the outputs from the shapes of the inputs (absent inputs have c == 0). */
    rvx_status (*shape)(rvx_shape *out, const rvx_shape *in, int in_count,
                        const rvx_op_params *params, rvx_error *error);
    uint32_t parameter_inputs;   /* bit i: in[i] is a parameter: its gradient is formed by
                                    backward_parameters */
    uint32_t no_gradient_inputs; /* bit i: in[i] never receives a gradient (labels) */
    uint32_t residual_inputs;    /* bit i: in[i], where present, is added to out[0] as that is
                                    stored; its gradient is that of out[0] */
    uint32_t reads_parameters;   /* what backward_parameters reads */
    uint32_t reads_data;         /* what backward_data reads */
    uint32_t inverse_inputs;     /* bit i: RVX_INVERSE rebuilds in[i] from out[] and the others */
    uint32_t flags;              /* RVX_OP_* */
    uint32_t stored_outputs;     /* bit i: out[i] is an activation and has the storage type of the
                                    graph; the others are f32. Outputs of views: see RVX_OP_VIEW */
    /* Work of one phase, for the cost model. */
    rvx_cost (*cost)(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                     const rvx_op_params *params);
    /* Scratch bytes of one phase for `threads` threads. NULL: none. */
    int64_t (*scratch)(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                       const rvx_op_params *params, int threads);
    /* CPU kernels by phase and instruction set; NULL cell: refused at plan time. */
    rvx_kernel cpu[RVX_PHASE_COUNT][RVX_ISA_COUNT];
    /* The CUDA backend: bit RVX_CUDA_HAS(phase) where it has a kernel (in a library of its own,
     * kernels/cuda/plugin.h, so that a plan for a GPU needs neither), and its scratch bytes, which
     * do not depend on the GPU. NULL: none. */
    uint32_t cuda;
    int64_t (*cuda_scratch)(rvx_phase phase, const rvx_shape *in, const rvx_shape *out,
                            const rvx_op_params *params);
} rvx_op;

#define RVX_CUDA_HAS(phase) (1u << (phase))

enum {
    RVX_OP_FOLDS = 1u << 0,             /* honours call->fold on in[0] */
    RVX_OP_FOLDABLE = 1u << 1,          /* out[0] = fold(in[0]): consumers may apply it on load */
    RVX_OP_FORWARD_IN_PLACE = 1u << 2,  /* out[0] may share memory with in[0], or with an input that
                                           the inverse gives back */
    RVX_OP_BACKWARD_IN_PLACE = 1u << 3, /* grad_in[0] may share memory with grad_out[0] */
    RVX_OP_VIEW = 1u << 4,              /* moves no data: concat, slice; outputs are stored as the
                                           inputs are */
    RVX_OP_CHEAP = 1u << 5,             /* memory-bound: rerunning it costs little */
    RVX_OP_BF16 = 1u << 6,              /* takes f32 and bf16 activations and gradients, in any mix;
                                           parameters, tables and scalars are f32 always */
    RVX_OP_I16 = 1u << 7,               /* takes RVX_I16 activations too */
    RVX_OP_INVERSE_IN_PLACE = 1u << 8,  /* the rebuilt input may share memory with out[0] */
    RVX_OP_PERMUTES = 1u << 9,          /* moves values, unchanged: outputs are stored as in[0] is,
                                           and the inverse is exact for every type */
    RVX_OP_PARTS = 1u << 10 /* one side is dense tensors of one shape, parts of the other
                               side: where they stand one after the other in its memory,
                               all phases work in place. RVX_INVERSE writes all inputs */
};

/* One extern row per op: rvx__op_conv, rvx__op_norm_act, ... */
#define RVX_OP_ROW(name) extern const rvx_op rvx__op_##name;
#include "kernels/ops.def"
#undef RVX_OP_ROW

/* All rows, in the order of ops.def; NULL-terminated. */
extern const rvx_op *const rvx__ops[];

/* Helpers for CPU kernel files, which are compiled once per instruction set (kernels/cpu). */
#define RVX_JOIN_(a, b) a##_##b
#define RVX_JOIN(a, b) RVX_JOIN_(a, b)
/* In kernels/cpu: RVX_ISA_SUFFIX is base, avx2 or avx512. */
#define RVX_KERNEL(name) RVX_JOIN(name, RVX_ISA_SUFFIX)
/* In kernels: declares the versions of a kernel and names them as a row's cells. A kernel without a
 * version for matrix tiles fills that cell with its AVX-512 version. */
#define RVX_DECLARE_KERNEL(name)                                                                   \
    void name##_base(const rvx_call *call);                                                        \
    void name##_avx2(const rvx_call *call);                                                        \
    void name##_avx512(const rvx_call *call);
#define RVX_CELLS(name)                                                                            \
    {                                                                                              \
        name##_base, name##_avx2, name##_avx512, name##_avx512                                     \
    }
/* For kernels that have one (kernels/cpu/amx). */
#define RVX_DECLARE_KERNEL_AMX(name)                                                               \
    RVX_DECLARE_KERNEL(name)                                                                       \
    void name##_amx(const rvx_call *call);
#define RVX_CELLS_AMX(name)                                                                        \
    {                                                                                              \
        name##_base, name##_avx2, name##_avx512, name##_amx                                        \
    }

#endif
