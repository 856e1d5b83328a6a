/* Any bytes as a NIfTI file: see volume_fuzz.h. What opens must survive its own header: composed
 * anew and parsed again, geometry and forms are the same. */
#include "volume_fuzz.h"

static void header_check(const rvx_volume_reader *reader)
{
    const rvx_volume_info *info = rvx__volume_reader_info(reader);
    if (strncmp(info->format, "nifti", 5) != 0)
        return;
    rvx__header header = {0};
    rvx_volume_info again;
    rvx__layout layout = {0};
    rvx_error error;
    memset(&again, 0, sizeof again);
    const rvx__request request = {&info->geometry, info->type, info, NULL, "fuzz"};
    if (rvx__geometry_check(&info->geometry, "fuzz", &error) != RVX_OK)
        abort();
    if (rvx__format_nifti.compose(&header, &request, &error) != RVX_OK ||
        rvx__format_nifti.parse(&again, &layout, NULL, (const uint8_t *)header.text.data,
                                header.text.bytes, "fuzz", &error) != RVX_OK)
        abort();
    rvx__header_free(&header);
    rvx__layout_free(&layout);
    if (memcmp(&again.geometry, &info->geometry, sizeof again.geometry) != 0 ||
        memcmp(again.sform, info->sform, sizeof again.sform) != 0 ||
        memcmp(again.quaternion, info->quaternion, sizeof again.quaternion) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return volume_fuzz(data, size, header_check);
}
