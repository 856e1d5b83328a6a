/* What the files of a session share: its state. Internal to engine/run: session.c (the CPU and all
 * that callers see), session_bind.c (calls), session_device.c (a GPU), session_aside.c (its second
 * queue), session_copy.c (parameters from one to another). */
#ifndef RVX_SESSION_STATE_H
#define RVX_SESSION_STATE_H

#include "engine/run/device.h"
#include "engine/run/session.h"

typedef struct rvx__bound_call {
    rvx_kernel kernel; /* NULL: clear out[0] */
    rvx_call call;
    double work;
    bool backward;
    int32_t step;
} rvx__bound_call;

/* Calls that are queued and recorded together: backward in two, where the memory for the next
 * inputs becomes free. */
typedef enum rvx__part {
    RVX__PART_FORWARD,
    RVX__PART_BACKWARD,
    RVX__PART_REST,
    RVX__PART_COUNT
} rvx__part;

/* A session on a GPU. The arena lies in its memory; `staging`, in memory of the host, is a copy of
 * the arena's first kept_bytes (parameters, gradients, optimiser, counters, inputs, at the same
 * offsets), and behind it of every output. */
typedef struct rvx__on_device {
    const rvx_device *device;
    char *staging;
    int64_t kept_bytes, output_at[RVX_OUTPUTS_MAX];
    int64_t untrained_at; /* parameters that a forward pass updates, as they were before */
    int32_t part_ends[RVX__PART_COUNT]; /* in calls */
    void *recordings[RVX__PART_COUNT];
    bool unrecordable;
    rvx_error unrecorded;          /* why */
    int64_t runs[RVX__PART_COUNT]; /* of them, since the calls were bound */
    /* The next inputs: where they wait in the arena, from which step on that is free; negative:
     * nowhere. */
    int64_t next_at;
    int32_t next_step;
    rvx_next_inputs next;
    void *next_context;
    bool has_next, came_aside; /* of the next run, of the one at hand */
    void **prepared; /* per step: what does its call instead of our kernel; NULL: our own */
    char *observed;  /* a tensor for the observer, grown when he asks */
    int64_t observed_bytes;
} rvx__on_device;

struct rvx_session {
    const rvx_plan *plan;
    char *arena;
    int64_t arena_bytes;
    rvx__on_device *on; /* NULL: on the CPU */
    rvx__bound_call *calls;
    int32_t call_count, call_capacity;
    int64_t *overflow; /* per node: values that did not fit a stream, in the runs that counted */
    int64_t *pass;     /* the same, in the forward pass at hand */
    int32_t *group;    /* per value: of streams on one grid; -1 */
    int64_t *coarser;  /* per group: halvings of the grid that the graph names */
    int64_t *base;     /* per group: those that were set, not found */
    int32_t group_count;
    char *untrained; /* parameters that a forward pass updates, as they were before it */
    double work[2];  /* forward, backward */
    rvx_observer observer;
    void *observer_context;
};

/* Bytes of the arena, from its start, that hold something from one run to the next. */
int64_t rvx__session_kept_bytes(const rvx_plan *plan);

/* session_bind.c: one ready-made call per step, for the grids at hand. */
void rvx__session_bind(rvx_session *session);

/* Halves the grid of the groups in which values did not fit, as far as there is room, and binds the
 * calls anew: true where that gives hope. What remains is lost, and counted. */
bool rvx__session_coarsen(rvx_session *session);

/* session_device.c */
rvx_status rvx__session_device_open(rvx_session *session, const rvx_device *device,
                                    rvx_error *error);
void rvx__session_device_close(rvx_session *session);
/* The kernel of a step; NULL where it has none. */
rvx_kernel rvx__session_device_kernel(const rvx_session *session, const rvx_step *step);
/* What was recorded is of no use any more: the calls have changed. */
void rvx__session_device_rebound(rvx_session *session);
rvx_status rvx__session_device_run(rvx_session *session, bool with_backward, rvx_poll poll,
                                   void *context, rvx_error *error);
rvx_tensor rvx__session_device_tensor(const rvx_session *session, rvx_value value);
rvx_tensor rvx__session_device_instance(const rvx_session *session, int32_t instance);
/* session_choice.c: asks the device's choices for every convolution, measures those that nobody has
 * measured, and prepares what is to be done by a library. The calls are bound, the arena holds
 * nothing yet. */
rvx_status rvx__session_choose(rvx_session *session, rvx_error *error);
void rvx__session_forget_choices(rvx_session *session);

/* session_aside.c: finds the place for the next inputs; takes them into the arena at the beginning
 * of a run, true where they were there; says that the place is free; asks for the next ones. */
void rvx__session_aside_open(rvx_session *session);
bool rvx__session_aside_take(rvx_session *session);
void rvx__session_aside_free(const rvx_session *session);
rvx_status rvx__session_aside_ask(rvx_session *session, rvx_error *error);

/* The L2 norm of all gradients; an update of all parameters, whose pointers are filled in here. */
rvx_status rvx__session_device_norm(double *norm, const rvx_session *session, rvx_error *error);
void rvx__session_device_update(const rvx_session *session, rvx_cuda_update update);

#endif
