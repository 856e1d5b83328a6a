/* The plan: a graph turned into steps with addresses. Owns: what runs, in which order, in which
 * bytes. Invariant: the plan IS the allocation. Every tensor and every scratch block of every step
 * has its offset in one arena of `arena_bytes`; a session allocates that arena and nothing else.
 *
 * Made in passes, one file each:
 *   fuse_head.c which heads become one op with their loss, so that logits are never stored
 *   fuse.c      which ops become one: a convolution with the sum or rounding of its result
 *   fold.c      which normalisations are applied while their consumers load, and not stored
 *   policy.c    which values are kept for backward, and how the others come back
 *   schedule.c  forward steps, then backward steps (gradient.c); a value that backward needs and
 *               that is not kept is rebuilt: by the inverse of an op that consumed it, or by
 *               running its producer again
 *   place.c     which values share memory: channel slices, concatenations, in-place operations
 *   arena.c     lifetimes and offsets
 * and beside them peak.c, which says who holds the memory.
 *
 * Vocabulary: an INSTANCE is one materialisation of a value or of its gradient (a rebuilt value has
 * two); a BUFFER is a piece of the arena that holds one or more instances, as channel slices or one
 * after the other. */
#ifndef RVX_PLAN_H
#define RVX_PLAN_H

#include "engine/graph/graph.h"
#include "kernels/cuda/plugin.h"

/* What happens to values that backward reads.
 *   store       all are kept
 *   checkpoint  those that cross from one stage of the network to another are kept, the others are
 *               computed again, stage by stage (Chen 2016)
 *   reversible  what an exact inverse gives back is not kept; branches of couplings and cheap ops
 *               are computed again, once (Gomez 2017)
 *   auto        the fastest mixture that fits the budget */
typedef enum rvx_policy {
    RVX_POLICY_STORE = 0,
    RVX_POLICY_CHECKPOINT,
    RVX_POLICY_REVERSIBLE,
    RVX_POLICY_AUTO,
    RVX_POLICY_COUNT
} rvx_policy;
extern const char *const rvx__policy_names[RVX_POLICY_COUNT + 1]; /* NULL-terminated */

typedef enum rvx_recovery_method {
    RVX_RECOVER_KEEP = 0,
    RVX_RECOVER_RERUN, /* run the producer again */
    RVX_RECOVER_INVERT /* run the inverse of a consumer */
} rvx_recovery_method;

typedef struct rvx_recovery {
    rvx_recovery_method method;
    int32_t node, input; /* INVERT: the value is in[input] of this node */
} rvx_recovery;

enum { RVX_OUTPUTS_MAX = 16, RVX_OPTIMIZER_SLOTS_MAX = 3 };

typedef struct rvx_plan_options {
    rvx_policy policy;
    rvx_isa isa;                        /* RVX_ISA_CUDA: kernels are found when it is run */
    int threads;                        /* at least 1; of the CPU */
    rvx_value outputs[RVX_OUTPUTS_MAX]; /* readable after a run */
    int output_count;
    rvx_value losses[RVX_OUTPUTS_MAX]; /* scalars whose sum is differentiated; none: inference */
    int loss_count;
    int optimizer_slots;     /* f32 copies of the parameters that the optimiser keeps (training) */
    int64_t workspace_bytes; /* RVX_ISA_CUDA: scratch of every convolution, so that a library may do
                                it; 0: what our own kernels take */
    int64_t budget_bytes;    /* 0: none; else a larger arena is refused with what holds it */
    int32_t kept_count; /* of the values that the policy would not keep, keep so many: those first
                           whose rebuilding costs the most time per byte */
    bool inexact;       /* streams that are not RVX_I16 may be inverted too, to rounding */
    bool tf32;     /* RVX_ISA_CUDA: convolutions of f32 tensors multiply numbers rounded to tf32 */
    bool plain;    /* for tests: nothing fused or folded */
    bool unshared; /* for tests: nothing in place, concatenations copied */
} rvx_plan_options;

typedef struct rvx_instance {
    int32_t value;
    bool gradient;
    bool persistent;       /* inputs, parameters, constants and their gradients: alive throughout */
    int32_t view_of;       /* instance whose channels from channel_first on these are; -1 */
    int64_t channel_first; /* within view_of */
    rvx_dtype dtype;       /* that of the value; of views that of view_of */
    int32_t first_step, last_step;
    int32_t buffer; /* place.c */
    int64_t channel_offset;
} rvx_instance;

typedef enum rvx_step_kind {
    RVX_STEP_KERNEL,
    RVX_STEP_GATHER, /* out[0] = channels of in[0], in[1], ...; place.c removes what already lies
                        right */
    RVX_STEP_ZERO    /* out[0] = 0 */
} rvx_step_kind;

typedef struct rvx_step {
    rvx_step_kind kind;
    rvx_phase phase;
    bool rebuild;          /* forward or inverse work that backward asked for */
    int32_t inverse_input; /* RVX_INVERSE: in[inverse_input] is written */
    int32_t node;          /* for names */
    const rvx_op *op;
    const rvx_op_params *params;
    int32_t in[RVX_IN_MAX], out[RVX_OUT_MAX], grad_in[RVX_IN_MAX],
        grad_out[RVX_OUT_MAX]; /* instances */
    int32_t fold;
    uint32_t accumulate;
    rvx_kernel kernel;      /* NULL: RVX_ISA_CUDA, or RVX_STEP_ZERO */
    int32_t scratch_buffer; /* -1: none */
    int64_t scratch_bytes;
    rvx_cost cost;
} rvx_step;

typedef struct rvx_buffer {
    int32_t parent; /* merged into another buffer at channel_offset; -1: root */
    int64_t channel_offset;
    int32_t memory;        /* a root whose memory this root uses, with another shape; -1: its own */
    int64_t memory_offset; /* bytes into that */
    bool lent;             /* another root uses this one's memory */
    rvx_shape shape;
    rvx_dtype dtype;
    bool persistent;
    int64_t bytes, offset;
    int32_t first_step, last_step;
} rvx_buffer;

typedef struct rvx_plan {
    rvx_graph *graph;         /* lowered copy: original indices stay valid */
    int32_t *load;            /* per node: the value that in[0] is loaded from (raw when folded) */
    int32_t *fold;            /* per node: its fold table; -1 */
    bool *logical;            /* per node: exists for its backward only (a concat that is folded) */
    bool *needed;             /* per node */
    bool *skip_output;        /* per node: out[0] is never stored (folded into its consumers) */
    int32_t base_value_count; /* values of the author's graph; the rest come from fold.c */

    rvx_recovery *recovery; /* per value */
    bool exact;             /* every rebuilt value has the bits that it had */

    rvx_step *steps;
    rvx_instance *instances;
    rvx_buffer *buffers;
    int32_t step_count, step_capacity, instance_count, instance_capacity, buffer_count,
        buffer_capacity;
    int32_t forward_step_count;
    int32_t dropped_count;      /* values that are not kept for backward */
    int32_t *value_instance;    /* per value: its instance at the end of the run; -1 */
    int32_t *gradient_instance; /* per value: trained parameters only; -1 */

    rvx_plan_options options;
    int64_t arena_bytes;
    int64_t parameter_offset, gradient_offset,
        slot_offset;             /* three blocks of parameter_bytes each */
    int64_t parameter_bytes;     /* every parameter padded to 64 bytes */
    int64_t trained_bytes;       /* the trained ones stand first: this much of the block */
    int64_t *parameter_position; /* per value: bytes from parameter_offset */
    int64_t control_offset;      /* RVX_ISA_CUDA: what the engine itself keeps on a device, see */
    int64_t control_bytes;       /* rvx_plan_control; else 0 */
    int32_t peak_step;
    int64_t
        peak_live_bytes; /* what any allocator would need; arena_bytes - this is fragmentation */
} rvx_plan;

rvx_status rvx__plan_create(rvx_plan **plan, const rvx_graph *graph,
                            const rvx_plan_options *options, rvx_error *error);
void rvx__plan_free(rvx_plan *plan);

/* Where an instance lies: tensor view with data = offset into the arena (as a pointer from
 * `arena`). */
rvx_tensor rvx__plan_tensor(const rvx_plan *plan, int32_t instance, void *arena);

/* Sum of the work of all steps; rebuild_only: of what exists only because values were not kept. */
rvx_cost rvx__plan_cost(const rvx_plan *plan, bool rebuild_only);

/* Predicted seconds of a step: per step the longer of its arithmetic and its memory traffic, at the
 * rates below. For comparing plans; a plan depends on nothing that the machine does meanwhile. */
double rvx__plan_seconds(const rvx_plan *plan);
/* Sustained work of one thread in a training step: measured with unet3d at 16 .. 256 channels.
 * RVX_ISA_CUDA: of a whole GPU, predicted for an H100; measured on none. */
extern const double rvx__flops_per_second[RVX_ISA_COUNT + 1];
/* Of one thread; RVX_ISA_CUDA: of the GPU. */
double rvx__cost_seconds(rvx_cost cost, rvx_isa isa);

/* RVX_ISA_CUDA: the part of the arena that no tensor has. */
typedef struct rvx_plan_control {
    double square_sum; /* of the gradients */
    char partial_sums[RVX_CUDA_NORM_BYTES];
    int64_t overflow[]; /* per node: values that did not fit a stream, in the pass at hand */
} rvx_plan_control;

/* What stands in the arena at the step that needs most, and who holds it: tensors by the value that
 * lives there then, scratch by the node that works in it, parameters, their gradients and the
 * optimiser's copies as a block each. Largest first; the bytes of all add up to arena_bytes (the
 * last row, if need be: gaps between tensors). Freed with free(). */
typedef struct rvx_live {
    char name[160];
    int64_t bytes;
} rvx_live;
rvx_status rvx__plan_live(rvx_live **list, int32_t *count, const rvx_plan *plan, rvx_error *error);

/* The largest tensors alive at the peak, parameters and inputs aside, one line each, into text. */
void rvx__plan_describe_peak(const rvx_plan *plan, char *text, int64_t text_bytes, int lines);

/* ---- between the passes ------------------------------------------------------------------------
 */
bool rvx__plan_is_asked_for(const rvx_plan *plan, int32_t value); /* as an output or a loss */
/* The node that alone reads `value`, once; -1 where there is none or it is asked for. */
int32_t rvx__plan_only_reader(const rvx_plan *plan, int32_t value);
int rvx__residual_index(const rvx_op *op); /* the residual input of an op; -1 */
/* Shapes of a node's inputs and outputs; absent ones are zero. */
void rvx__node_shapes(const rvx_graph *graph, const rvx_node *node, rvx_shape in[RVX_IN_MAX],
                      rvx_shape out[RVX_OUT_MAX]);
/* Work of one phase of a node, of a step, with the bytes that its tensors are stored in. */
rvx_cost rvx__node_cost(const rvx_graph *graph, const rvx_node *node, rvx_phase phase);
rvx_cost rvx__step_cost(const rvx_plan *plan, const rvx_step *step, const rvx_shape *in,
                        const rvx_shape *out);
void rvx__plan_fuse_heads(rvx_plan *plan);
rvx_status rvx__plan_fuse(rvx_plan *plan, rvx_error *error);
rvx_status rvx__plan_fold(rvx_plan *plan, rvx_error *error);
rvx_status rvx__plan_policy(rvx_plan *plan, rvx_error *error);
/* RVX_POLICY_AUTO: see auto.c. */
rvx_status rvx__plan_auto(rvx_plan **plan, const rvx_graph *graph, const rvx_plan_options *options,
                          rvx_error *error);
rvx_status rvx__plan_schedule(rvx_plan *plan, rvx_error *error);
rvx_status rvx__plan_place(rvx_plan *plan, rvx_error *error);
rvx_status rvx__plan_arena(rvx_plan *plan, rvx_error *error);
int32_t rvx__plan_buffer_add(rvx_plan *plan, rvx_buffer buffer); /* -1: out of memory */
/* The buffer whose memory a root uses: itself, or the one that lent it. */
int32_t rvx__plan_memory(const rvx_plan *plan, int32_t root);
/* Root buffer of a buffer; adds the channels passed on the way. */
int32_t rvx__plan_root(const rvx_plan *plan, int32_t buffer, int64_t *channel_offset);

#endif
