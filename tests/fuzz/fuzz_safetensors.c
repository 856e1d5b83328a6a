/* Any bytes as a safetensors file: first as a header with some data behind it, and what opens must
 * hold the reader's promises. */
#include "engine/run/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rvx_error error;
    rvx_safetensors *file;
    if (size < 2)
        return 0;
    /* The first two bytes say how much data follows the header. */
    int64_t data_bytes = data[0] | (int64_t)data[1] << 8;
    if (rvx__safetensors_parse(&file, (const char *)data + 2, (int64_t)size - 2, data_bytes, "fuzz",
                               &error) != RVX_OK)
        return 0;
    int64_t end = 0;
    for (int64_t i = 0; i < rvx__safetensors_count(file); i++) {
        const rvx_stored_tensor *tensor = rvx__safetensors_at(file, i);
        int64_t bytes = rvx__stored_type_bytes(tensor->type);
        for (int axis = 0; axis < tensor->axes; axis++)
            bytes *= tensor->size[axis];
        if (tensor->offset_bytes != end || tensor->bytes != bytes ||
            rvx__safetensors_find(file, tensor->name) != tensor)
            abort();
        end += bytes;
    }
    if (end != data_bytes)
        abort();
    rvx__safetensors_close(file);
    return 0;
}
