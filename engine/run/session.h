/* A session: a plan with memory. Owns: the arena and one ready-made call per step. Invariant:
 * nothing is allocated after rvx__session_create; a run is a walk over an array. One session, one
 * thread of control; different sessions are independent. */
#ifndef RVX_SESSION_H
#define RVX_SESSION_H

#include "engine/plan/plan.h"
#include "engine/run/device.h"

typedef struct rvx_session rvx_session;

/* Asked between steps; nonzero stops the run with RVX_CANCELLED. done of total is in units of work.
 */
typedef int (*rvx_poll)(void *context, double done, double total);

/* Keeps `plan` (not owned: it must outlive the session). Memory is zero at first. */
rvx_status rvx__session_create(rvx_session **session, const rvx_plan *plan, rvx_error *error);
/* On a device (which must outlive the session), for a plan of RVX_ISA_CUDA; NULL: on the CPU. The
 * arena then lies in the device's memory, and what the functions below give is a copy in memory of
 * the host: of inputs and outputs at every run, of the rest when it is asked for. Refused: an arena
 * larger than what is free, and a kernel that the device's library lacks. */
rvx_status rvx__session_create_on(rvx_session **session, const rvx_plan *plan,
                                  const rvx_device *device, rvx_error *error);
const rvx_device *rvx__session_device(const rvx_session *session); /* NULL: the CPU */
void rvx__session_free(rvx_session *session);

/* Inputs and parameters to fill, outputs to read. data NULL: the value is not in the plan. */
rvx_tensor rvx__session_tensor(const rvx_session *session, rvx_value value);
rvx_tensor rvx__session_gradient(const rvx_session *session, rvx_value parameter);

/* The whole parameter block, its gradients, an optimiser slot: float32, parameter_bytes each, the
 * same layout, padding zero. */
float *rvx__session_parameters(const rvx_session *session);
float *rvx__session_gradients(const rvx_session *session);
float *rvx__session_slot(const rvx_session *session, int slot);
int64_t rvx__session_parameter_floats(const rvx_session *session);
const rvx_plan *rvx__session_plan(const rvx_session *session);
/* Before these blocks are read, and after they were written: brings the host's copy, or the
 * device's, up to date. On the CPU there is one of each, and nothing to do. */
rvx_status rvx__session_download(const rvx_session *session, rvx_error *error);
rvx_status rvx__session_upload(rvx_session *session, rvx_error *error);

/* Memory of the arena that holds nothing from one run to the next: free for use between runs, and
 * overwritten by each. `bytes` receives its size, which may be 0 and is on a device. */
void *rvx__session_idle(const rvx_session *session, int64_t *bytes);

/* Integer streams: a forward pass in which values do not fit 16 bits is repeated with the grid of
 * that group of streams (streams.h) halved, until all fit. So many halvings a group; they stay for
 * the runs to come. Set: those of another session of the same network; NULL: none. */
int32_t rvx__session_stream_groups(const rvx_session *session);
const int64_t *rvx__session_coarser(const rvx_session *session);
void rvx__session_set_coarser(rvx_session *session, const int64_t *coarser);
int64_t rvx__session_halvings(const rvx_session *session); /* of all groups together */
/* Back to those that were set: so that a result does not depend on what was run before. */
void rvx__session_restore_coarser(rvx_session *session);
/* Values that did not fit even in steps of 1, since the session was created; `name` (may be NULL)
 * becomes the node that lost the most, untouched where none did. */
int64_t rvx__session_overflow(const rvx_session *session, const char **name);

/* Forward only, or forward and backward. */
rvx_status rvx__session_forward(rvx_session *session, rvx_poll poll, void *context,
                                rvx_error *error);
rvx_status rvx__session_run(rvx_session *session, rvx_poll poll, void *context, rvx_error *error);

/* On a device: a run asks for the inputs of the next one as soon as its own work is queued, and
 * they are on their way while it works, in memory of the arena that the run is done with. `next`
 * writes them to the tensors of rvx__session_tensor and returns true, or false where there are
 * none. Not asked on the CPU, nor where the arena has no such room; rvx__session_has_next tells
 * before a run whether its inputs are there already. next NULL: as if it had not been set. */
typedef bool (*rvx_next_inputs)(void *context);
void rvx__session_set_next(rvx_session *session, rvx_next_inputs next, void *context);
bool rvx__session_has_next(const rvx_session *session);

/* The parameters of another session, by name, and its grids. On one device they do not pass through
 * the host: what lies there of `to` is then no copy of them until rvx__session_download. */
rvx_status rvx__session_copy_parameters(rvx_session *to, const rvx_session *from, rvx_error *error);

/* Bytes of memory that the session holds for tensors and scratch: as allocated. */
int64_t rvx__session_bytes(const rvx_session *session);

/* Called after every step of the plan that did some work, with its index: for checks that look at
 * values on their way. NULL: nobody looks. */
typedef void (*rvx_observer)(void *context, const rvx_session *session, int32_t step);
void rvx__session_observe(rvx_session *session, rvx_observer observer, void *context);
/* Any tensor of the plan, as it lies in memory now; on a device a copy, until the next call. */
rvx_tensor rvx__session_instance(const rvx_session *session, int32_t instance);

/* Fills the parameters: He normal (a = 0.01) for weights, one for gamma, zero for the rest. A
 * parameter's numbers depend on the seed and its name alone. On a device: rvx__session_upload then.
 */
void rvx__session_initialise(rvx_session *session, uint64_t seed);

#endif
