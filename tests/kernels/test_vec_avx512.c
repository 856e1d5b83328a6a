/* Accuracy of exp and log in vectors, instruction set avx512. */
#include "kernels/op.h"

#include <stdio.h>
#include <string.h>

static int accuracy_check(void);

/* Stands before the instruction set is switched on: this much runs anywhere. */
int main(void)
{
    if (rvx__isa_detect() < RVX_ISA_AVX512) {
        printf("1..0 # SKIP this processor has no avx512\n");
        return 0;
    }
    return accuracy_check();
}

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#include "tests/kernels/vec_accuracy.h"
