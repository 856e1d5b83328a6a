/* Weighted sums of rows, by instruction set: see resample.h. */
#include "kernels/resample.h"
#include "kernels/op.h"

void rvx__row_sums_base(const rvx_row_sums *sums);
void rvx__row_sums_avx2(const rvx_row_sums *sums);
void rvx__row_sums_avx512(const rvx_row_sums *sums);

rvx_row_sums_kernel rvx__row_sums_find(rvx_isa isa)
{
    switch (isa) {
    case RVX_ISA_BASE:
        return rvx__row_sums_base;
    case RVX_ISA_AVX2:
        return rvx__row_sums_avx2;
    default:
        return rvx__row_sums_avx512;
    }
}
