/* Standard deviations and bootstrap intervals, against figures by hand and the normal
 * approximation. */
#include "engine/segment/spread.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { CASES = 200, FIELDS = RVX_METRICS_FIELD_COUNT };

static rvx_class_metrics metrics[CASES][2];
static rvx_evaluation_case cases[CASES];
static rvx_label_class classes[2];

static rvx_evaluation evaluation_make(int64_t count)
{
    for (int64_t i = 0; i < CASES; i++) {
        for (int k = 0; k < 2; k++)
            for (int field = 0; field < FIELDS; field++)
                *rvx__metrics_value(&metrics[i][k], field) = NAN;
        cases[i] = (rvx_evaluation_case){.metrics = metrics[i]};
    }
    return (rvx_evaluation){
        .list = {.classes = classes, .count = 2}, .cases = cases, .case_count = count};
}

int main(void)
{
    rvx_evaluation e = evaluation_make(4);
    rvx_spread spread;
    static const double values[4] = {0.1, 0.4, 0.4, 0.9};
    for (int i = 0; i < 4; i++)
        metrics[i][0].dice = values[i];
    metrics[2][1].dice = 0.7;
    TAP_OK(rvx__spread_make(&spread, &e, NULL) == RVX_OK && spread.resamples == 2000);
    const rvx_interval *first = &spread.classes[0], *second = &spread.classes[FIELDS];
    /* mean 0.45; squares 0.1225 + 2 * 0.0025 + 0.2025 = 0.33 over 3 */
    TAP_OK(fabs(first->sd - sqrt(0.11)) < 1e-12);
    TAP_OK(first->low >= 0.1 && first->low < 0.25 && first->high > 0.65 && first->high <= 0.9);
    TAP_OK(isnan(second->sd) && fabs(second->low - 0.7) < 1e-12 &&
           fabs(second->high - 0.7) < 1e-12);
    TAP_OK(isnan(spread.classes[1].sd) && isnan(spread.classes[1].low));
    TAP_OK(spread.all[0].low < spread.all[0].high && isnan(spread.all[1].high));
    double low = spread.all[0].low;
    rvx__spread_free(&spread);
    e.seed = 1;
    TAP_OK(rvx__spread_make(&spread, &e, NULL) == RVX_OK);
    rvx__spread_free(&spread);
    e.seed = 0;
    TAP_OK(rvx__spread_make(&spread, &e, NULL) == RVX_OK && spread.all[0].low == low);
    rvx__spread_free(&spread);

    /* Many cases: mean -+ 1.96 SD / sqrt(n), to a tenth of its width. */
    e = evaluation_make(CASES);
    double sum = 0;
    for (int i = 0; i < CASES; i++)
        sum += metrics[i][0].dice = 0.5 + 0.4 * sin(i * 1.7);
    TAP_OK(rvx__spread_make(&spread, &e, NULL) == RVX_OK);
    double half = 1.96 * spread.classes[0].sd / sqrt(CASES), mean = sum / CASES;
    tap_ok(fabs(spread.classes[0].low - (mean - half)) < 0.2 * half &&
               fabs(spread.classes[0].high - (mean + half)) < 0.2 * half,
           "%g +- %g: [%g, %g]", mean, half, spread.classes[0].low, spread.classes[0].high);
    rvx__spread_free(&spread);
    e.case_count = 0;
    TAP_OK(rvx__spread_make(&spread, &e, NULL) == RVX_OK && isnan(spread.all[0].low));
    rvx__spread_free(&spread);
    return tap_done();
}
