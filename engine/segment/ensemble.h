/* Several networks on one case. Owns: the mean of their softmax. Invariant: the networks work one
 * after the other, so memory is that of one and a few slices; sums of the whole volume lie in a
 * spool beside the target, 4 bytes a voxel and class. The order of the members is the order of the
 * sums. */
#ifndef RVX_SEGMENT_ENSEMBLE_H
#define RVX_SEGMENT_ENSEMBLE_H

#include "engine/segment/postprocess.h"
#include "engine/segment/predictor.h"

typedef struct rvx_ensemble_member {
    rvx_predictor *predictor;
    const rvx_recipe *recipe; /* each reads the case in its own way */
    const char *path;         /* for messages */
} rvx_ensemble_member;

typedef struct rvx_ensemble_job {
    const rvx_ensemble_member *members; /* agree on labels and channels; one is legal */
    int count;
    const char *name;          /* of the case */
    const char *const *images; /* its channels */
    const char *folder;        /* where its files go */
    bool probabilities;
    const rvx_postprocess *rules; /* NULL: none */
    struct rvx_repairs *repairs;  /* see repair.h; NULL: refuse what is wrong */
    rvx_poll poll;
    void *poll_context;
} rvx_ensemble_job;

/* Refuses members that differ in labels or channels: file and field. */
rvx_status rvx__ensemble_check(const rvx_ensemble_member *members, int count, rvx_error *error);
/* `voxels`: of the case on the first network's grid. */
rvx_status rvx__ensemble_write(int64_t *voxels, const rvx_ensemble_job *job, rvx_error *error);

#endif
