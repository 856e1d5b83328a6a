/* Checkpoints and model files: safetensors files of ours with a declared kind and a checksum that
 * is verified before anything is read from them. Owns: the kinds and their version. Invariant: a
 * path holds the last file that was written completely; a damaged, cut or foreign file is refused
 * before the caller's state changes.
 *
 * A checkpoint holds parameters, optimiser state and counters as tensors under the caller's names,
 * and the plan as metadata; a model holds the parameters and the plan. */
#ifndef RVX_CHECKPOINT_H
#define RVX_CHECKPOINT_H

#include "engine/run/safetensors.h"

#define RVX_KIND_KEY "revoxel.kind"
#define RVX_PLAN_KEY "revoxel.plan" /* the text of plan.json */
#define RVX_KIND_CHECKPOINT "checkpoint 1"
#define RVX_KIND_MODEL "model 1"

/* A single integer as a tensor of no axes; `value` must live until the file is written. */
static inline rvx_stored_tensor rvx__stored_integer(const char *name, const int64_t *value)
{
    return (rvx_stored_tensor){.name = name, .type = RVX_STORED_I64, .data = value};
}

static inline rvx_stored_tensor rvx__stored_number(const char *name, const double *value)
{
    return (rvx_stored_tensor){.name = name, .type = RVX_STORED_F64, .data = value};
}

/* As rvx__safetensors_write; adds the kind to the metadata. */
rvx_status rvx__checkpoint_save(const char *path, const char *kind,
                                const rvx_stored_tensor *tensors, int64_t count,
                                const rvx_metadata *metadata, int64_t metadata_count,
                                rvx_error *error);

/* Opens and verifies. `kinds`: NULL-terminated list of those that will do. */
rvx_status rvx__checkpoint_open(rvx_safetensors **file, const char *path, const char *const *kinds,
                                rvx_error *error);

#endif
