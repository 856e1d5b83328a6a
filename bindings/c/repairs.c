/* What was repaired, to the caller and to a file beside the results. */
#include "bindings/c/repairs.h"

#include "engine/base/file.h"

bool rvx__facade_repairs_tell(rvx_repairs *repairs, rvx_progress_callback progress, void *context)
{
    const char *line;
    while ((line = rvx__repairs_next(repairs)))
        if (rvx__facade_progress(progress, context,
                                 rvx__facade_phase("repair", line, repairs->told, repairs->count)))
            return false;
    return true;
}

rvx_status rvx__facade_repairs_write(const rvx_repairs *repairs, const char *folder,
                                     rvx_error *error)
{
    rvx_status status = RVX_OK;
    char path[RVX_PATH_BYTES];
    rvx_text text = {0};
    RVX_TRY(rvx__repairs_check(repairs, error));
    RVX_TRY(rvx__path_join(path, folder, RVX_REPAIRS_FILE, error));
    if (repairs->count == 0) {
        status = rvx__file_remove(path, error); /* of an earlier run */
        goto cleanup;
    }
    for (int64_t i = 0; i < repairs->count; i++) {
        rvx__text_add(&text, repairs->lines[i]);
        rvx__text_add(&text, "\n");
    }
    RVX_TRY(rvx__text_check(&text, error));
    status = rvx__file_write(path, text.data, text.bytes, error);
cleanup:
    rvx__text_free(&text);
    return status;
}
