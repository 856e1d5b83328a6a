/* Ops that move values on the CUDA backend: what tests/kernels/test_permute.c asks of the CPU. */
#define DEVICE_ONLY
#include "tests/kernels/test_permute.c"
