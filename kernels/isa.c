/* Run-time choice of the CPU instruction set, and the table of op rows. */
#include "kernels/op.h"

#include <stddef.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Matrix tiles with bf16 products, and the right to use their state. */
static int tiles_usable(void)
{
    enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM */
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1))
        return 0; /* amx-bf16, amx-tile */
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1))
        return 0; /* avx512-bf16 */
    return syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
}
#elif defined(__x86_64__)
static int tiles_usable(void) { return 0; }
#endif

rvx_isa rvx__isa_detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return tiles_usable() ? RVX_ISA_AMX : RVX_ISA_AVX512;
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
