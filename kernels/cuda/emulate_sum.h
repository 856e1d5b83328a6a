/* Sums of products as tensor cores form them, for the emulation: products are exact, they and the
 * number that they are added to are cut off where the largest of them has its bit 2^-fraction, the
 * sum of what is left is exact, and its f32 is cut off too: always toward zero, never rounded to
 * nearest. docs/tensor-cores.md says who found that and what follows. Owns: that arithmetic.
 *
 *   of bf16 and tf32          sm_80   sm_90
 *   fraction                     24      25
 *   products summed at once    8, 4   16, 8 */
#ifndef RVX_CUDA_EMULATE_SUM_H
#define RVX_CUDA_EMULATE_SUM_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace simt
{
struct SumRule {
    int fraction;
    bool halves; /* an instruction forms two sums, one behind the other */
};

inline SumRule sum_rule(bool hopper) { return hopper ? SumRule{25, false} : SumRule{24, true}; }

enum { NOT_FINITE = 4096 };

/* The exponent of a number as its bits have it; of zero that of the smallest. */
inline __attribute__((always_inline)) int exponent_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    const int e = (int)(bits >> 23 & 255);
    return e == 255 ? NOT_FINITE : (e ? e : 1) - 127;
}

inline __attribute__((always_inline)) double power_of_two(int e)
{
    const uint64_t bits = (uint64_t)(1023 + e) << 52;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

inline __attribute__((always_inline)) float toward_zero(double v)
{
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits -= std::fabs((double)f) > std::fabs(v);
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The right operand of an instruction, [k][column], with its exponents. */
template <int depth, int columns_max> struct RightOperand {
    double value[depth][columns_max];
    int exponent[depth][columns_max];

    inline __attribute__((always_inline)) void set(int k, int column, float v)
    {
        value[k][column] = (double)v;
        exponent[k][column] = exponent_of(v);
    }
};

/* sum[column] += the products of a[first] to a[first + count - 1]. What is not finite stays so. */
template <int depth, int columns_max>
inline __attribute__((always_inline)) void
add_at_once(float *sum, const float (&a)[depth], const RightOperand<depth, columns_max> &b,
            int first, int count, int columns, int fraction)
{
    int top[columns_max], most = 0;
    double scale[columns_max], total[columns_max];
    for (int c = 0; c < columns; c++)
        top[c] = exponent_of(sum[c]);
    for (int k = first; k < first + count; k++) {
        const int own = exponent_of(a[k]);
        for (int c = 0; c < columns; c++) {
            const int e = own + b.exponent[k][c];
            top[c] = e > top[c] ? e : top[c];
        }
    }
    for (int c = 0; c < columns; c++)
        most = top[c] > most ? top[c] : most;
    if (most >= NOT_FINITE / 2) {
        for (int k = first; k < first + count; k++)
            for (int c = 0; c < columns; c++)
                sum[c] += a[k] * (float)b.value[k][c];
        return;
    }
    for (int c = 0; c < columns; c++) {
        scale[c] = power_of_two(fraction - top[c]);
        total[c] = std::trunc((double)sum[c] * scale[c]);
    }
    for (int k = first; k < first + count; k++) {
        const double own = (double)a[k];
        for (int c = 0; c < columns; c++)
            total[c] += std::trunc(own * b.value[k][c] * scale[c]);
    }
    for (int c = 0; c < columns; c++)
        sum[c] = toward_zero(total[c] * power_of_two(top[c] - fraction));
}

/* The products of one instruction. */
template <int depth, int columns_max>
inline __attribute__((always_inline)) void add_products(float *sum, const float (&a)[depth],
                                                        const RightOperand<depth, columns_max> &b,
                                                        int columns, SumRule rule)
{
    const int count = rule.halves ? depth / 2 : depth;
    for (int k = 0; k < depth; k += count)
        add_at_once(sum, a, b, k, count, columns, rule.fraction);
}
} // namespace simt

#endif
