/* Part of revoxel.h: training, of one fold or of all. */
#ifndef REVOXEL_TRAIN_H
#define REVOXEL_TRAIN_H

#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_train_options {
    size_t struct_bytes;
    const char *plan; /* plan.json; NULL: made as rvx_plan_dataset does, from `settings` */
    const rvx_plan_settings *settings; /* NULL: defaults. Beside a plan, or where a run goes on:
                                        * must not contradict the plan that is there */
    int resume;                        /* go on from RUN's latest checkpoint, bit for bit */
    int threads;                       /* 0: the plan's, else all cores */
    int no_validation_output;          /* leave out the final prediction of the validation cases */
    rvx_progress_callback progress;
    void *context;
    const char *device, *device_library;              /* see Devices above */
    const rvx_implementation_options *implementation; /* of training; NULL: defaults */
    int repair;                                       /* see Repairs above */
    int tf32; /* on a GPU: convolutions of f32 tensors multiply numbers rounded to tf32, 10 bits
               * after the point, on tensor cores. No part of the plan: what goes on or predicts
               * says so again */
    const char
        *cache; /* folder, made if need be, in which preprocessed cases are kept and from which
                 * samples are read, so that a dataset may be larger than memory; runs may
                 * share it. NULL: cases are held in memory. The result is the same bits */
} rvx_train_options;

/* Trains on `dataset` (nnU-Net raw layout) and writes into the folder `run`: plan.json,
 * metrics.jsonl, timing.json, TensorBoard events, latest.safetensors, best.safetensors, and with
 * validation cases validation/, validation.json and postprocessing.json. */
RVX_API rvx_status rvx_train(const char *dataset, const char *run, const rvx_train_options *options,
                             rvx_error *error);

/* Cross-validation: trains every fold of the plan into FOLDER/fold_1, ... as rvx_train does, with
 * one cache of cases (options->cache, else FOLDER/preprocessed); `resume` leaves finished folds
 * alone. Then FOLDER/validation.json, every case judged by the network that has not seen it,
 * postprocessing.json and report.html. settings->fold is 0: the plan says how many there are. */
RVX_API rvx_status rvx_train_folds(const char *dataset, const char *folder,
                                   const rvx_train_options *options, rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
