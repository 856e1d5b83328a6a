/* exp and log of kernels/cpu/vec.h against the C library in double, on the instruction set that
 * the including file has selected: worst error in units of the last place. */
#include "kernels/cpu/vec.h"
#include "tests/tap.h"

#include <math.h>

/* Units in the last place of the f32 next to `want` (normal numbers). */
static double ulps_off(float got, double want)
{
    return fabs((double)got - want) / ldexp(1, ilogb(want) - 23);
}

static void exp_check(void)
{
    enum { STEPS = 1 << 20 };
    double worst = 0;
    int zeros = 1;
    for (int i = 0; i < STEPS; i += RVX_LANES) {
        rvx_vec x;
        for (int j = 0; j < RVX_LANES; j++)
            x[j] = -86.0f + 174.0f * (float)(i + j) / (float)STEPS;
        rvx_vec y = rvx__vec_exp(x);
        for (int j = 0; j < RVX_LANES; j++)
            worst = fmax(worst, ulps_off(y[j], exp((double)x[j])));
        y = rvx__vec_exp(x - rvx__splat(175.0f));
        for (int j = 0; j < RVX_LANES; j++)
            zeros = zeros && y[j] == 0;
    }
    tap_ok(worst < 2, "exp is within 2 ulp on [-86, 88] (%.3f)", worst);
    tap_ok(zeros, "exp below -86 is 0");
    rvx_vec ends = rvx__vec_exp(rvx__splat(-INFINITY));
    tap_ok(ends[0] == 0 && rvx__vec_exp((rvx_vec){0})[0] == 1, "exp(-inf) = 0, exp(0) = 1");
}

static void log_check(void)
{
    double worst = 0;
    /* every 64th number of [1, 256], the range of a sum of at most 256 exponentials */
    for (uint32_t bits = 0x3F800000u; bits < 0x43800000u; bits += 64 * RVX_LANES) {
        rvx_vec x;
        for (uint32_t j = 0; j < RVX_LANES; j++) {
            uint32_t one = bits + 64 * j + (j * 7 & 63);
            memcpy((char *)&x + 4 * j, &one, sizeof one);
        }
        rvx_vec y = rvx__vec_log(x);
        for (int j = 0; j < RVX_LANES; j++)
            if (x[j] > 1)
                worst = fmax(worst, ulps_off(y[j], log((double)x[j])));
    }
    tap_ok(worst < 2, "log is within 2 ulp on (1, 256] (%.3f)", worst);
    tap_ok(rvx__vec_log(rvx__splat(1.0f))[0] == 0, "log(1) = 0");
}

static int accuracy_check(void)
{
    exp_check();
    log_check();
    return tap_done();
}
