/* Which files a volume is read from: see volume_files.h. */
#include "engine/volume/volume_files.h"
#include "engine/volume/format.h"
#include "engine/volume/repair.h"

#include <stdlib.h>
#include <string.h>

/* The header and what it names. */
static rvx_status header_files(rvx_names *files, const rvx__layout *layout, const char *path,
                               rvx_error *error)
{
    const int64_t named = layout->files ? layout->file_count : 0;
    files->names = calloc((size_t)named + 1, sizeof *files->names);
    for (int64_t i = 0; files->names && i <= named; i++) {
        files->names[i] = strdup(i ? layout->files[i - 1] : path);
        if (!files->names[i])
            break;
        files->count++;
    }
    return files->count == named + 1
               ? RVX_OK
               : rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for file names", path);
}

rvx_status rvx__volume_files(rvx_names *files, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__opened opened = {0};
    rvx_volume_info info = {0};
    rvx_repairs unheard = {0}; /* opening the volume tells them */
    rvx__layout layout = {.layers = 1, .repairs = &unheard};
    *files = (rvx_names){0};
    RVX_TRY(rvx__format_open(&opened, path, error));
    if (opened.format->list) {
        status = opened.format->list(files, opened.path, error);
        goto cleanup;
    }
    RVX_TRY(opened.format->parse(&info, &layout, opened.source, opened.head, opened.count,
                                 opened.path, error));
    status = header_files(files, &layout, opened.path, error);
cleanup:
    rvx__layout_free(&layout);
    rvx__repairs_free(&unheard);
    rvx__format_close(&opened);
    return status;
}
