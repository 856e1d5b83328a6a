/* Transforms of streams on the CUDA backend: what tests/kernels/test_lifting.c asks of the CPU. */
#define DEVICE_ONLY
#include "tests/kernels/test_lifting.c"
