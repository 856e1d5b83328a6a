/* Run-time choice of the CPU instruction set, and the table of op rows. */
#include "kernels/op.h"

#include <stddef.h>

rvx_isa rvx__isa_detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return RVX_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return RVX_ISA_AVX2;
#endif
    return RVX_ISA_BASE;
}

const rvx_op *const rvx__ops[] = {
#define RVX_OP_ROW(name) &rvx__op_##name,
#include "kernels/ops.def"
#undef RVX_OP_ROW
    NULL};
