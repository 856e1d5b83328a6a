/* The rules of resampling along one axis: see taps.h. */
#include "engine/volume/taps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CUBIC_REACH = 14 };

static int64_t clamp(int64_t i, int64_t size) { return i < 0 ? 0 : i >= size ? size - 1 : i; }

/* The cubic B-spline. */
static double bspline(double t)
{
    t = fabs(t);
    if (t >= 2)
        return 0;
    return t >= 1 ? (2 - t) * (2 - t) * (2 - t) / 6 : 2.0 / 3 - t * t + t * t * t / 2;
}

/* What a voxel at distance `t` counts: the spline that is 1 at 0 and 0 at every other integer. */
static double cardinal(double t)
{
    const double pole = sqrt(3) - 2;
    double sum = 0;
    for (double i = floor(t) - 1; i <= floor(t) + 2; i++)
        sum += bspline(t - i) * sqrt(3) * pow(pole, fabs(i));
    return sum;
}

/* Voxels that a rule reads from floor(position) + low on, before the ends of the axis are heeded.
 */
static int64_t reach(rvx_resampling rule, int64_t *low)
{
    *low = rule == RVX_RESAMPLING_CUBIC ? 1 - CUBIC_REACH : 0;
    return rule == RVX_RESAMPLING_CUBIC ? 2 * CUBIC_REACH : rule == RVX_RESAMPLING_LINEAR ? 2 : 1;
}

/* floor((i + 0.5) * in / out), the voxel whose box holds the centre; exact in integers. */
static int64_t nearest(int64_t i, int64_t out_size, int64_t in_size)
{
    return (int64_t)((__int128)(2 * i + 1) * in_size / (2 * out_size));
}

/* What is within a millionth of an old voxel is that voxel. */
static double position_of(const rvx_taps *taps, rvx_taps_place place, int64_t i)
{
    if (place.step == 0)
        return ((double)i + 0.5) * ((double)taps->in_size / (double)taps->out_size) - 0.5;
    const double position = place.start + (double)i * place.step;
    return fabs(position - rint(position)) < 1e-6 ? rint(position) : position;
}

static void voxel_fill(rvx_taps *taps, rvx_resampling rule, rvx_taps_place place, int64_t i)
{
    double position = position_of(taps, place, i);
    if (rule == RVX_RESAMPLING_LINEAR)
        position = fmin(fmax(position, 0), (double)(taps->in_size - 1));
    int64_t low, count = reach(rule, &low), base = (int64_t)floor(position);
    float *weights = taps->weights + i * taps->count;
    double sum = 0, weight[2 * CUBIC_REACH] = {1};
    if (rule == RVX_RESAMPLING_NEAREST)
        base = place.step == 0 ? nearest(i, taps->out_size, taps->in_size)
                               : (int64_t)floor(position + 0.5);
    for (int64_t k = 0; k < count && rule != RVX_RESAMPLING_NEAREST; k++) {
        double distance = position - (double)(base + low + k);
        weight[k] = rule == RVX_RESAMPLING_CUBIC ? cardinal(distance) : 1 - fabs(distance);
        weight[k] = fmax(weight[k], rule == RVX_RESAMPLING_LINEAR ? 0 : -1);
    }
    for (int64_t k = 0; k < count; k++)
        sum += weight[k];
    /* What lies beyond an end is the end. */
    int64_t first = clamp(base + low, taps->in_size - taps->count + 1);
    double gathered[2 * CUBIC_REACH] = {0};
    for (int64_t k = 0; k < count; k++)
        gathered[clamp(base + low + k, taps->in_size) - first] += weight[k] / sum;
    for (int64_t k = 0; k < taps->count; k++)
        weights[k] = (float)gathered[k];
    taps->first[i] = first;
}

bool rvx__taps_same(int64_t out_size, int64_t in_size, rvx_taps_place place)
{
    return out_size == in_size && (place.step == 0 || (place.step == 1 && place.start == 0));
}

bool rvx__taps_create(rvx_taps *taps, rvx_resampling rule, int64_t out_size, int64_t in_size,
                      rvx_taps_place place)
{
    int64_t low;
    if (rvx__taps_same(out_size, in_size, place))
        rule = RVX_RESAMPLING_NEAREST; /* every rule returns the voxel itself */
    *taps = (rvx_taps){.out_size = out_size, .in_size = in_size, .count = reach(rule, &low)};
    taps->count = taps->count < in_size ? taps->count : in_size;
    taps->first = malloc((size_t)out_size * sizeof *taps->first);
    taps->weights = malloc((size_t)(out_size * taps->count) * sizeof *taps->weights);
    if (!taps->first || !taps->weights)
        return false;
    for (int64_t i = 0; i < out_size; i++)
        voxel_fill(taps, rule, place, i);
    return true;
}

void rvx__taps_free(rvx_taps *taps)
{
    free(taps->first);
    free(taps->weights);
    memset(taps, 0, sizeof *taps);
}
