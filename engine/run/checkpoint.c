/* Checkpoints and model files: see checkpoint.h. */
#include "engine/run/checkpoint.h"

#include <stdlib.h>
#include <string.h>

rvx_status rvx__checkpoint_save(const char *path, const char *kind,
                                const rvx_stored_tensor *tensors, int64_t count,
                                const rvx_metadata *metadata, int64_t metadata_count,
                                rvx_error *error)
{
    rvx_metadata *all = malloc((size_t)(metadata_count + 1) * sizeof *all);
    if (!all)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its metadata", path);
    all[0] = (rvx_metadata){RVX_KIND_KEY, kind};
    if (metadata_count)
        memcpy(all + 1, metadata, (size_t)metadata_count * sizeof *all);
    rvx_status status =
        rvx__safetensors_write(path, tensors, count, all, metadata_count + 1, error);
    free(all);
    return status;
}

rvx_status rvx__checkpoint_open(rvx_safetensors **file, const char *path, const char *const *kinds,
                                rvx_error *error)
{
    rvx_status status;
    RVX_TRY(rvx__safetensors_open(file, path, error));
    const char *kind = rvx__safetensors_metadata(*file, RVX_KIND_KEY);
    bool fits = false;
    for (int i = 0; kind && kinds[i]; i++)
        fits |= strcmp(kind, kinds[i]) == 0;
    if (!fits) {
        status = rvx__fail(error, RVX_ERROR_FORMAT, "%s: metadata '%s' expected \"%s\"%s, found %s",
                           path, RVX_KIND_KEY, kinds[0], kinds[1] ? " or another kind" : "",
                           kind ? kind : "nothing");
        goto cleanup;
    }
    status = rvx__safetensors_verify(*file, true, error);
cleanup:
    if (status != RVX_OK) {
        rvx__safetensors_close(*file);
        *file = NULL;
    }
    return status;
}
