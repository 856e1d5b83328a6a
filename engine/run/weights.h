/* Parameters on disk. Owns: the mapping between the engine's layout and the one that other
 * frameworks know
 * ([co][ci][kd][kh][kw] for convolutions, [ci][co][kd][kh][kw] for transposed ones, [c] for the
 * rest) and the names: a parameter's scope path, with a prefix for optimiser state. */
#ifndef RVX_WEIGHTS_H
#define RVX_WEIGHTS_H

#include "engine/run/checkpoint.h"
#include "engine/run/session.h"

/* A copy of a session's parameters, and of optimiser slots as "optimizer/0/NAME", ready to be
 * written. */
typedef struct rvx_weights {
    rvx_stored_tensor *tensors;
    int64_t count, capacity;
    char *names;
    float *data;
} rvx_weights;

/* Halvings of the grids of integer streams (session.h): I64, one a group. Checkpoints and model
 * files of networks with such streams have it. */
#define RVX_COARSER_KEY "streams/coarser"
enum { RVX_STREAM_GROUPS_MAX = 4096 };

/* Room for `extra` more tensors of the caller's at the end. Free in every case. */
rvx_status rvx__weights_export(rvx_weights *weights, const rvx_session *session, int slots,
                               int64_t extra, rvx_error *error);
void rvx__weights_free(rvx_weights *weights);

/* Fills parameters (slot < 0) or an optimiser slot by name. Each must be there with the right
 * shape; `skip_missing`: those that the file lacks stay as they are (none of them: an error all the
 * same). With the parameters come the grids of streams, where the file has them. On a device:
 * rvx__session_upload then. */
rvx_status rvx__weights_import(rvx_session *session, const rvx_safetensors *file, int slot,
                               bool skip_missing, rvx_error *error);

#endif
