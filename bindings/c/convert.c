/* rvx_convert: see revoxel.h. */
#include "engine/volume/convert.h"
#include "bindings/c/repairs.h"

#include <string.h>

rvx_status rvx_convert(const char *in, const char *out, const rvx_convert_options *given,
                       rvx_error *error)
{
    rvx_convert_options options;
    rvx_repairs repairs = {0};
    rvx_status status;
    RVX_TRY(rvx__facade_required(in, "in", error));
    RVX_TRY(rvx__facade_required(out, "out", error));
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_convert_options", error));
    rvx_convert_params params = {.orient = options.orient,
                                 .dtype = options.dtype,
                                 .like = options.like,
                                 .repairs = options.repair ? &repairs : NULL,
                                 .labels = options.labels != 0,
                                 .interpolation = options.interpolation};
    memcpy(params.spacing, options.spacing, sizeof params.spacing);
    RVX_TRY(rvx__convert(in, out, &params, error));
    rvx__facade_repairs_tell(&repairs, options.progress, options.context); /* OUT is there */
    status = rvx__repairs_check(&repairs, error);
cleanup:
    rvx__repairs_free(&repairs);
    return status;
}
