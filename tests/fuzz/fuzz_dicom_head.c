/* Any bytes as the beginning of a DICOM file. The answer may depend on nothing but the bytes given,
 * and those beyond them are not there. */
#include "engine/volume/dicom_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size + !size);
    memcpy(exact, data, size);
    const rvx__dicom_head head = rvx__dicom_head_of(exact, (int64_t)size);
    if (head < RVX__DICOM_NOT || head > RVX__DICOM_CUT || (head != RVX__DICOM_NOT && size < 24))
        abort();
    free(exact);
    return 0;
}
