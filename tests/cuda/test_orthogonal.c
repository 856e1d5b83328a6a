/* Orthogonal resampling on the CUDA backend: what tests/kernels/test_orthogonal.c asks of the CPU.
 */
#define DEVICE_ONLY
#include "tests/kernels/test_orthogonal.c"
