/* Operands of the tests that launch kernels of their own in the emulation. Owns nothing. */
#ifndef RVX_TEST_OPERANDS_H
#define RVX_TEST_OPERANDS_H

#include "kernels/cuda/simt.h"

#include <stdlib.h>
#include <string.h>

namespace
{
uint16_t some_bf16(int i) { return (uint16_t)simt::round_bf16(sinf((float)i * 1.7f)); }
double value_of(uint16_t bits) { return (double)simt::as_float((uint32_t)bits << 16); }

/* On 64 bytes, all bits set: what nobody writes is NaN. Kept until the process ends. */
template <class T> T *array_of(int64_t count)
{
    T *p = static_cast<T *>(aligned_alloc(64, ((size_t)count * sizeof(T) + 63) / 64 * 64));
    memset(p, 0xFF, (size_t)count * sizeof(T));
    return p;
}

/* The larger of two errors; a NaN stays. */
double worse(double error, double off) { return off <= error || error != error ? error : off; }
} // namespace

#endif
