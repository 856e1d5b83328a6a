/* Sessions on an emulated device of sm_90a: what test_session.c asks, with the kernels that such a
 * device is given. */
#include <stdlib.h>

/* Before the library is loaded. */
__attribute__((constructor)) static void choose(void) { setenv("RVX_EMULATE_CAPABILITY", "9", 1); }

#include "tests/cuda/test_session.c"
