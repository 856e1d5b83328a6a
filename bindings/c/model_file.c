/* Opening trained models: see model_file.h. */
#include "bindings/c/model_file.h"

#include "engine/run/checkpoint.h"

#include <string.h>

rvx_status rvx__model_file_find(char out[RVX_PATH_BYTES], const char *path, bool use_latest,
                                rvx_error *error)
{
    if (!rvx__path_is_directory(path))
        return rvx__path_join(out, NULL, path, error);
    rvx_status status =
        rvx__path_join(out, path, use_latest ? "latest.safetensors" : "best.safetensors", error);
    if (status == RVX_OK && !use_latest && !rvx__path_exists(out))
        status = rvx__path_join(out, path, "latest.safetensors", error);
    return status;
}

rvx_status rvx__model_file_open(rvx_model_file *file, const char *path, bool use_latest,
                                const rvx_predictor_options *options, rvx_error *error)
{
    static const char *const kinds[] = {RVX_KIND_MODEL, RVX_KIND_CHECKPOINT, NULL};
    rvx_safetensors *tensors = NULL;
    rvx_status status = RVX_OK;
    memset(file, 0, sizeof *file);
    RVX_TRY(rvx__model_file_find(file->path, path, use_latest, error));
    RVX_TRY(rvx__checkpoint_open(&tensors, file->path, kinds, error));
    const char *plan = rvx__safetensors_metadata(tensors, RVX_PLAN_KEY);
    if (!plan)
        RVX_TRY(rvx__fail(error, RVX_ERROR_FORMAT, "%s: metadata '%s' is missing", file->path,
                          RVX_PLAN_KEY));
    RVX_TRY(rvx__recipe_parse(&file->recipe, plan, file->path, error));
    RVX_TRY(rvx__facade_network(&file->model, file->recipe.network.name, error));
    rvx__facade_model_config(&file->config, &file->recipe);
    rvx_safetensors *handed_over = tensors;
    tensors = NULL;
    RVX_TRY(rvx__predictor_create(&file->predictor, handed_over, &file->recipe, file->model,
                                  &file->config, options, error));
cleanup:
    rvx__safetensors_close(tensors);
    return status;
}

void rvx__model_file_close(rvx_model_file *file)
{
    rvx__predictor_free(file->predictor);
    rvx__recipe_free(&file->recipe);
    file->predictor = NULL;
}
