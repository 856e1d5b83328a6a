/* deinterleave and interleave on the CUDA backend: what tests/kernels/test_interleave.c asks of the
 * CPU. */
#define DEVICE_ONLY
#include "tests/kernels/test_interleave.c"
