/* Vectors of RVX_LANES floats, for files under kernels/cpu, which the Makefile compiles once per
 * instruction set: 16 lanes with AVX-512, 8 with AVX2 and FMA, 4 without either. GCC vector
 * extensions only; a * b + c contracts to one FMA where the machine has it. */
#ifndef RVX_SIMD_H
#define RVX_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define RVX_LANES 16
#elif defined(__AVX2__)
#define RVX_LANES 8
#else
#define RVX_LANES 4
#endif

typedef float rvx_vec __attribute__((vector_size(4 * RVX_LANES)));
typedef int32_t rvx_vec_int __attribute__((vector_size(4 * RVX_LANES)));
/* The same vector at any address. */
typedef float rvx_vec_unaligned __attribute__((vector_size(4 * RVX_LANES), aligned(4), may_alias));

static inline rvx_vec rvx__load(const float *p) { return *(const rvx_vec_unaligned *)p; }
static inline void rvx__store(float *p, rvx_vec v) { *(rvx_vec_unaligned *)p = v; }
static inline rvx_vec rvx__splat(float x) { return x - (rvx_vec){0}; }

static inline rvx_vec rvx__load_part(const float *p, int64_t count)
{
    rvx_vec v = {0};
    memcpy(&v, p, (size_t)count * sizeof(float));
    return v;
}

static inline void rvx__store_part(float *p, rvx_vec v, int64_t count)
{
    memcpy(p, &v, (size_t)count * sizeof(float));
}

#endif
