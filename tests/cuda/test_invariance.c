/* What must not change a result of the CUDA backend: what tests/kernels/test_invariance.c asks of
 * the CPU, and of slices of wider tensors the same bits. */
#define DEVICE_ONLY
#include "tests/kernels/test_invariance.c"
