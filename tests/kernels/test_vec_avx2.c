/* Accuracy of exp and log in vectors, instruction set avx2. */
#include "kernels/op.h"

#include <stdio.h>
#include <string.h>

static int accuracy_check(void);

/* Stands before the instruction set is switched on: this much runs anywhere. */
int main(void)
{
    if (rvx__isa_detect() < RVX_ISA_AVX2) {
        printf("1..0 # SKIP this processor has no avx2\n");
        return 0;
    }
    return accuracy_check();
}

#pragma GCC target("avx2,fma")
#include "tests/kernels/vec_accuracy.h"
