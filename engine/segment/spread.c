/* Standard deviations and bootstrap intervals: see spread.h. */
#include "engine/segment/spread.h"
#include "kernels/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = RVX_METRICS_FIELD_COUNT, DRAW_STREAM = 0x626F6F74 /* "boot" */ };
static const double confidence = 0.95;

typedef struct bootstrap {
    const rvx_evaluation *evaluation;
    int64_t cases, resamples;
    int32_t *draws;     /* [resample][case]: which case is drawn */
    double *values;     /* of one class and field, by case */
    double *means;      /* of one class and field, by resample */
    double *class_sums; /* of one field over the classes, by resample */
    int32_t *class_counts;
} bootstrap;

void rvx__spread_free(rvx_spread *spread)
{
    free(spread->classes);
    *spread = (rvx_spread){0};
}

static double deviation(const double *values, int64_t count)
{
    double sum = 0, squares = 0;
    int64_t defined = 0;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i])) {
            sum += values[i];
            defined++;
        }
    if (defined < 2)
        return (double)NAN;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i]))
            squares += (values[i] - sum / (double)defined) * (values[i] - sum / (double)defined);
    return sqrt(squares / (double)(defined - 1));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear between neighbours of the sorted values, as in numpy.percentile. */
static double percentile(const double *sorted, int64_t count, double part)
{
    double at = part * (double)(count - 1);
    int64_t low = (int64_t)at, high = low + 1 < count ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

/* Of the resamples where the mean exists; sorts them. */
static void bounds(rvx_interval *interval, double *means, int64_t count)
{
    int64_t defined = 0;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(means[i]))
            means[defined++] = means[i];
    interval->low = interval->high = (double)NAN;
    if (defined == 0)
        return;
    qsort(means, (size_t)defined, sizeof *means, ascending);
    interval->low = percentile(means, defined, (1 - confidence) / 2);
    interval->high = percentile(means, defined, (1 + confidence) / 2);
}

static double resample_mean(const bootstrap *b, int64_t resample)
{
    const int32_t *draw = b->draws + resample * b->cases;
    double sum = 0;
    int64_t defined = 0;
    for (int64_t i = 0; i < b->cases; i++) {
        double value = b->values[draw[i]];
        if (!isnan(value)) {
            sum += value;
            defined++;
        }
    }
    return defined ? sum / (double)defined : (double)NAN;
}

static void class_spread(rvx_interval *interval, bootstrap *b, int64_t class_index, int field)
{
    for (int64_t i = 0; i < b->cases; i++)
        b->values[i] = *rvx__metrics_value(&b->evaluation->cases[i].metrics[class_index], field);
    interval->sd = deviation(b->values, b->cases);
    for (int64_t r = 0; r < b->resamples; r++) {
        b->means[r] = resample_mean(b, r);
        if (!isnan(b->means[r])) {
            b->class_sums[r] += b->means[r];
            b->class_counts[r]++;
        }
    }
    bounds(interval, b->means, b->resamples);
}

/* Of a field: all classes, and the mean of their means within each resample. */
static void field_spread(rvx_spread *spread, bootstrap *b, int field)
{
    memset(b->class_sums, 0, (size_t)b->resamples * sizeof *b->class_sums);
    memset(b->class_counts, 0, (size_t)b->resamples * sizeof *b->class_counts);
    for (int64_t k = 0; k < b->evaluation->list.count; k++)
        class_spread(&spread->classes[k * FIELDS + field], b, k, field);
    for (int64_t i = 0; i < b->cases; i++)
        b->values[i] = rvx__evaluation_case_mean(b->evaluation, i, field);
    spread->all[field].sd = deviation(b->values, b->cases);
    for (int64_t r = 0; r < b->resamples; r++)
        b->means[r] = b->class_counts[r] ? b->class_sums[r] / b->class_counts[r] : (double)NAN;
    bounds(&spread->all[field], b->means, b->resamples);
}

rvx_status rvx__spread_make(rvx_spread *spread, const rvx_evaluation *evaluation, rvx_error *error)
{
    rvx_status status = RVX_OK;
    bootstrap b = {.evaluation = evaluation,
                   .cases = evaluation->case_count,
                   .resamples =
                       evaluation->resamples ? evaluation->resamples : RVX_RESAMPLES_DEFAULT};
    size_t resamples = (size_t)b.resamples, cases = (size_t)b.cases + 1;
    *spread = (rvx_spread){.resamples = b.resamples};
    spread->classes =
        calloc((size_t)(evaluation->list.count * FIELDS) + 1, sizeof *spread->classes);
    b.draws = malloc(resamples * cases * sizeof *b.draws);
    b.values = malloc(cases * sizeof *b.values);
    b.means = malloc(resamples * sizeof *b.means);
    b.class_sums = malloc(resamples * sizeof *b.class_sums);
    b.class_counts = malloc(resamples * sizeof *b.class_counts);
    if (!spread->classes || !b.draws || !b.values || !b.means || !b.class_sums || !b.class_counts) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "evaluation: no memory for %lld resamples",
                           (long long)b.resamples);
        goto cleanup;
    }
    rvx_random random = {.seed = evaluation->seed, .stream = DRAW_STREAM};
    for (int64_t i = 0; i < b.resamples * b.cases; i++)
        b.draws[i] = (int32_t)rvx__random_below(&random, b.cases);
    for (int field = 0; field < FIELDS; field++)
        field_spread(spread, &b, field);
cleanup:
    free(b.draws);
    free(b.values);
    free(b.means);
    free(b.class_sums);
    free(b.class_counts);
    return status;
}
