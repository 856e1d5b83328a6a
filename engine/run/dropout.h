/* The key of a graph's dropout masks (kernels/dropout.h): graph input RVX_DROPOUT_KEY, where a
 * network drops anything. Owns: how the engine fills it. Training steps get a key each, a function
 * of seed and step, so that a resumed run drops what it would have dropped; prediction drops
 * nothing. */
#ifndef RVX_RUN_DROPOUT_H
#define RVX_RUN_DROPOUT_H

#include "engine/graph/reversible.h"
#include "engine/run/session.h"
#include "kernels/dropout.h"

static inline void rvx__dropout_fill(rvx_session *session, float key)
{
    rvx_value value = rvx__graph_find(rvx__session_plan(session)->graph, RVX_DROPOUT_KEY);
    rvx_tensor tensor = {0};
    if (value.index >= 0)
        tensor = rvx__session_tensor(session, value);
    if (tensor.data)
        *rvx__f32(&tensor) = key;
}

static inline void rvx__dropout_training(rvx_session *session, uint64_t seed, int64_t step)
{
    rvx__dropout_fill(session, rvx__dropout_key(seed, step));
}

static inline void rvx__dropout_prediction(rvx_session *session) { rvx__dropout_fill(session, 0); }

#endif
