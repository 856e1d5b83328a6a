/* cuBLAS' matrix product for the benchmark, loaded at run time where the machine has it. Owns:
 * that. */
#ifndef BENCH_GPU_CUBLAS_H
#define BENCH_GPU_CUBLAS_H

#include <stdint.h>

namespace bench
{
bool cublas_open(void *stream);
bool cublas_there();
/* c (rows x columns) = a (rows x depth) b (depth x columns), all row by row, bf16. */
bool cublas_product(void *c, const void *a, const void *b, int64_t rows, int64_t columns,
                    int64_t depth);
} // namespace bench

#endif
