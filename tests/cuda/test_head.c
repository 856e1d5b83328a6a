/* Heads without logits on the CUDA backend: what tests/kernels/test_head.c asks of the CPU. */
#define DEVICE_ONLY
#include "tests/kernels/test_head.c"
