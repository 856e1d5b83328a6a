/* A trained model as the facade holds it: file, recipe, network. */
#ifndef RVX_MODEL_FILE_H
#define RVX_MODEL_FILE_H

#include "bindings/c/facade.h"
#include "engine/segment/predictor.h"

typedef struct rvx_model_file {
    char path[RVX_PATH_BYTES];
    rvx_recipe recipe;
    const rvx_model *model;
    rvx_model_config config;
    rvx_predictor *predictor;
} rvx_model_file;

/* The file itself: `path`, or in a run folder best.safetensors or latest. */
rvx_status rvx__model_file_find(char out[RVX_PATH_BYTES], const char *path, bool use_latest,
                                rvx_error *error);
/* `path`: a model or checkpoint file, or a run folder (its best.safetensors, or latest). Freed in
 * every case. */
rvx_status rvx__model_file_open(rvx_model_file *file, const char *path, bool use_latest,
                                const rvx_predictor_options *options, rvx_error *error);
void rvx__model_file_close(rvx_model_file *file); /* zeroed is legal */

#endif
