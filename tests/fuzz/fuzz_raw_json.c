/* Any bytes as the JSON of raw voxels: see volume_fuzz.h. Names of data files lead to whatever the
 * process has open, the input itself among it. */
#include "volume_fuzz.h"

static void header_check(const rvx_volume_reader *reader)
{
    if (strcmp(rvx__volume_reader_info(reader)->format, "raw") == 0)
        text_header_check(&rvx__format_raw, reader, 1e-12);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return volume_fuzz(data, size, header_check);
}
