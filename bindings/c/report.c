/* rvx_report: see revoxel.h. */
#include "engine/segment/report.h"
#include "bindings/c/facade.h"

rvx_status rvx_report(const char *run, const rvx_report_options *given, rvx_error *error)
{
    rvx_report_options options;
    char beside[RVX_PATH_BYTES];
    rvx_status status;
    RVX_TRY(rvx__facade_required(run, "run", error));
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_report_options", error));
    if (options.cases_max < 0)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "cases_max expected 0 or more, found %d",
                         options.cases_max);
    RVX_TRY(rvx__path_join(beside, run, "report.html", error));
    rvx_report_request settings = {.overlay_case_max = options.cases_max};
    status = rvx__report_run(options.out ? options.out : beside, run, &settings, error);
cleanup:
    return status;
}
