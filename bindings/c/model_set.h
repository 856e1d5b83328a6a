/* The networks of a prediction: one, several, or the folds of a cross-validation; and the rules
 * that go with them. */
#ifndef RVX_MODEL_SET_H
#define RVX_MODEL_SET_H

#include "bindings/c/model_file.h"
#include "engine/segment/ensemble.h"

/* In the folder of a cross-validation: {"format_version": 1, "folds": N, "finished": N}. */
#define RVX_FOLDS_FILE "cross_validation.json"

typedef struct rvx_model_set {
    rvx_model_file *files;
    rvx_ensemble_member *members; /* the same, as the engine sees them */
    int count;
    rvx_postprocess rules;
} rvx_model_set;

/* 0 where `path` is not the folder of a cross-validation. `finished` may be NULL. */
rvx_status rvx__folds_read(int *folds, int *finished, const char *path, rvx_error *error);
rvx_status rvx__folds_write(const char *path, int folds, int finished, rvx_error *error);
/* FOLDER/fold_K, K from 1. */
rvx_status rvx__fold_path(char out[RVX_PATH_BYTES], const char *folder, int fold, rvx_error *error);

/* The rules of `file`; without one those that lie beside the model `run`, unless `none`. */
rvx_status rvx__model_rules(rvx_postprocess *rules, const rvx_recipe *recipe, const char *run,
                            const char *file, bool none, rvx_error *error);
/* Opens what rvx_predict is asked to: networks that do not go together are refused, and a
 * cross-validation that is not finished. Freed in every case. */
rvx_status rvx__model_set_open(rvx_model_set *set, const char *run,
                               const rvx_predict_options *options,
                               const rvx_predictor_options *predictor, rvx_error *error);
void rvx__model_set_close(rvx_model_set *set); /* zeroed is legal */

#endif
