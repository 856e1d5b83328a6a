/* Weighted sums of rows against the same sums in double, for every instruction set of this
 * processor: rows in a ring, groups whose rows overlap wholly, partly and not at all, every number
 * of elements in a row. What is not part of a row stays as it is. */
#include "kernels/random.h"
#include "kernels/resample.h"
#include "tap.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TAPS_MAX = 28, OUT_ROWS = 11, COUNT_MAX = 150, STRIDE = COUNT_MAX + 7 };

typedef struct form {
    int64_t taps, step_tenths, in_rows; /* output row r reads from input row r * step / 10 on */
} form;

static float noise(int64_t i)
{
    return rvx__word_uniform(rvx__philox(3, 5, (uint64_t)i).word[0]) - 0.5f;
}

typedef struct data {
    int64_t first[OUT_ROWS];
    float weights[OUT_ROWS * TAPS_MAX];
    float *in;
    float out[2][OUT_ROWS * STRIDE];
} data;

/* Rows of the ring are those that the last output rows read; an earlier row stands elsewhere. */
static void data_make(data *d, const form *f)
{
    for (int64_t r = 0; r < OUT_ROWS; r++)
        d->first[r] = 5 + r * f->step_tenths / 10;
    for (int64_t i = 0; i < OUT_ROWS * f->taps; i++)
        d->weights[i] = noise(i);
    d->in = malloc((size_t)(f->in_rows * STRIDE) * sizeof *d->in);
    for (int64_t i = 0; d->in && i < f->in_rows * STRIDE; i++)
        d->in[i] = noise(100000 + i);
}

static rvx_row_sums call_make(data *d, const form *f, int64_t count, int which)
{
    for (int64_t i = 0; i < OUT_ROWS * STRIDE; i++)
        d->out[which][i] = 77;
    return (rvx_row_sums){.out = d->out[which],
                          .out_stride = STRIDE,
                          .out_rows = OUT_ROWS,
                          .in = d->in,
                          .in_stride = STRIDE,
                          .in_rows = f->in_rows,
                          .first = d->first,
                          .weights = d->weights,
                          .taps = f->taps,
                          .count = count};
}

/* Largest distance from the sums in double; 1000 where something beside the rows was written. */
static double distance(const rvx_row_sums *s)
{
    double worst = 0;
    for (int64_t r = 0; r < OUT_ROWS; r++)
        for (int64_t i = 0; i < STRIDE; i++) {
            double sum = 0;
            for (int64_t k = 0; k < s->taps && i < s->count; k++)
                sum += (double)s->weights[r * s->taps + k] *
                       (double)s->in[(s->first[r] + k) % s->in_rows * STRIDE + i];
            const float found = s->out[r * STRIDE + i];
            if (i < s->count)
                worst = fmax(worst, fabs((double)found - sum));
            else if (found != 77)
                return 1000;
        }
    return worst;
}

static void form_check(const form *f)
{
    static data d;
    data_make(&d, f);
    if (!d.in) {
        tap_ok(false, "no memory");
        return;
    }
    const int64_t counts[] = {1, 3, 4, 7, 16, 17, 63, 64, 65, 130, COUNT_MAX};
    for (int isa = RVX_ISA_BASE; isa <= (int)rvx__isa_detect(); isa++) {
        double worst = 0;
        for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
            const rvx_row_sums s = call_make(&d, f, counts[n], 0);
            rvx__row_sums_find((rvx_isa)isa)(&s);
            worst = fmax(worst, distance(&s));
        }
        /* Products of at most a quarter, a rounding for each product and each sum. */
        tap_ok(worst <= 2 * (double)(f->taps * f->taps) * 0.25 * 0x1p-24,
               "%lld weights, step %g, isa %d: off by %g", (long long)f->taps,
               (double)f->step_tenths / 10, isa, worst);
    }
    if (rvx__isa_detect() >= RVX_ISA_AVX512) {
        bool same = true;
        for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
            for (int which = 0; which < 2; which++) {
                const rvx_row_sums s = call_make(&d, f, counts[n], which);
                rvx__row_sums_find(which ? RVX_ISA_AVX512 : RVX_ISA_AVX2)(&s);
            }
            same &= memcmp(d.out[0], d.out[1], sizeof d.out[0]) == 0;
        }
        tap_ok(same, "%lld weights, step %g: AVX2 and AVX-512 give the same bits",
               (long long)f->taps, (double)f->step_tenths / 10);
    }
    free(d.in);
}

int main(void)
{
    const form forms[] = {{28, 6, 40}, {28, 0, 28}, {28, 23, 60}, {28, 90, 30}, {2, 5, 7},
                          {2, 31, 2},  {1, 10, 3},  {5, 17, 21},  {3, 100, 3}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        form_check(&forms[i]);
    return tap_done();
}
