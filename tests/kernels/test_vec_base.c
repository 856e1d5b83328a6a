/* Accuracy of exp and log in vectors, instruction set base. */
#include "kernels/op.h"

#include <stdio.h>
#include <string.h>

static int accuracy_check(void);

/* Stands before the instruction set is switched on: this much runs anywhere. */
int main(void)
{
    if (rvx__isa_detect() < RVX_ISA_BASE) {
        printf("1..0 # SKIP this processor has no base\n");
        return 0;
    }
    return accuracy_check();
}

#include "tests/kernels/vec_accuracy.h"
