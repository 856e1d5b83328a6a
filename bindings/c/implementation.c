/* Which implementations convolutions take: rvx_implementations, and what other calls share of it.
 */
#include "bindings/c/facade.h"

#include "engine/run/choice.h"

#include <string.h>

static rvx_status read_options(rvx_implementation_options *options,
                               const rvx_implementation_options *given, rvx_error *error)
{
    rvx_status status =
        rvx__facade_options(options, sizeof *options, given, "rvx_implementation_options", error);
    if (status == RVX_OK && options->workspace_bytes < 0)
        status =
            rvx__fail(error, RVX_ERROR_ARGUMENT, "workspace_bytes expected 0 or more, found %lld",
                      (long long)options->workspace_bytes);
    return status;
}

static bool is_own(const rvx_implementation_options *options)
{
    return !options->choose || strcmp(options->choose, RVX_CHOICE_OWN) == 0;
}

rvx_status rvx__facade_choices(rvx_choices **choices, rvx_device *device,
                               const rvx_implementation_options *given, rvx_error *error)
{
    rvx_implementation_options o;
    *choices = NULL;
    rvx_status status = read_options(&o, given, error);
    if (status != RVX_OK || is_own(&o))
        return status;
    if (!device)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "implementation \"%s\" is about a GPU, and the device is the CPU",
                         o.choose);
    const rvx_choice_rule rule = {o.choose, o.cache_folder, o.list != 0, o.notice, o.context};
    status = rvx__choices_open(choices, device, &rule, error);
    device->choices = *choices;
    return status;
}

rvx_status rvx__facade_tf32(int tf32, const rvx_device *device, rvx_error *error)
{
    if (!tf32 || device)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_ARGUMENT, "tf32 is about a GPU, and the device is the CPU");
}

rvx_status rvx__facade_workspace(int64_t *bytes, const rvx_implementation_options *given,
                                 rvx_error *error)
{
    rvx_implementation_options o;
    rvx_status status = read_options(&o, given, error);
    *bytes = status != RVX_OK || is_own(&o) ? 0
             : o.workspace_bytes            ? o.workspace_bytes
                                            : RVX_WORKSPACE_BYTES;
    return status;
}

rvx_status rvx_implementations(char **text, const char *device_name, const char *device_library,
                               const rvx_implementation_options *given, rvx_error *error)
{
    rvx_text out = {0};
    rvx_device *device = NULL;
    rvx_choices *choices = NULL;
    rvx_implementation_options automatic = RVX_OPTIONS(rvx_implementation_options);
    rvx_status status;
    if (!text)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "text is NULL");
    *text = NULL;
    if (given)
        RVX_TRY(read_options(&automatic, given, error));
    if (is_own(&automatic))
        automatic.choose = "auto";
    RVX_TRY(rvx__device_open(&device, device_name, device_library, error));
    RVX_TRY(rvx__facade_choices(&choices, device, &automatic, error));
    rvx__choices_print(&out, choices);
    status = rvx__facade_text(text, &out, RVX_OK, error);
cleanup:
    rvx__text_free(&out);
    rvx__choices_close(choices);
    rvx__device_close(device);
    return status;
}
