/* Training: from a dataset and a recipe to a run folder. Owns: the order of a step, validation, the
 * log and the checkpoints. Invariant: after any interruption, kill -9 included,
 * RUN/latest.safetensors is whole and a resumed run ends in the same bits as one that was never
 * interrupted.
 *
 * Run folder: plan.json (the recipe as run), metrics.jsonl and TensorBoard events,
 * latest.safetensors (parameters, optimiser, counters) and best.safetensors (parameters at the best
 * moving average of the validation Dice; without validation those of the last step). */
#ifndef RVX_TRAIN_H
#define RVX_TRAIN_H

#include "engine/graph/network.h"
#include "engine/run/cases.h"
#include "engine/run/device.h"

typedef struct rvx_train_status {
    const char *phase; /* "load", "train", "validate" */
    const char *item;
    int64_t done, total;
    double loss, learning_rate, dice; /* NaN where there is none yet */
    double voxels_per_second, seconds_left;
    int64_t overflow; /* values that did not fit the streams, since this process began: in training
                         and validation */
    const char *overflow_name; /* where most of them were */
    double wait_share;         /* of the time of all steps so far, spent waiting for samples */
} rvx_train_status;

/* Nonzero: stop with RVX_CANCELLED, leaving the last checkpoint. */
typedef int (*rvx_train_poll)(void *context, const rvx_train_status *status);

typedef struct rvx_train_job {
    const rvx_recipe *recipe;
    const rvx_model *model;
    rvx_model_config config; /* the recipe's network in the model's words */
    const rvx_dataset *dataset;
    const char *run;   /* folder, made if need be */
    const char *cache; /* folder of preprocessed cases, for several runs; NULL: in memory */
    bool resume;
    int threads;
    rvx_isa isa;
    const rvx_device *device; /* NULL: the CPU, or, with RVX_ISA_CUDA, plans only */
    int64_t workspace_bytes;  /* of convolutions on a GPU, see plan.h */
    bool tf32;                /* on a GPU, see plan.h */
    rvx_train_poll poll;
    void *context;
} rvx_train_job;

rvx_status rvx__train(const rvx_train_job *job, rvx_error *error);

#endif
