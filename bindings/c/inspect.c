/* rvx_inspect: see revoxel.h. */
#include "engine/segment/inspect.h"
#include "bindings/c/facade.h"

#include <stdlib.h>

rvx_status rvx_inspect(char **text, const char *path, rvx_error *error)
{
    if (!text)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "text is NULL");
    *text = NULL;
    rvx_status status = rvx__facade_required(path, "path", error);
    if (status != RVX_OK)
        return status;
    rvx_text found = {0};
    status = rvx__inspect(&found, path, error);
    if (status != RVX_OK && found.data && !found.failed) {
        /* What could be read before the fault is worth seeing beside the message. */
        *text = found.data;
        return status;
    }
    return rvx__facade_text(text, &found, status, error);
}
