/* The frame along the beams: see beam.h. */
#include "engine/volume/beam.h"

#include <math.h>
#include <string.h>

void rvx__beam_frame_make(rvx_beam_frame *frame, int beam, int sweep, const int64_t size[3],
                          const double spacing[3], double apex)
{
    int axial = 2 - beam / 2, others[2], found = 0;
    bool backwards = beam % 2;
    for (int a = 2; a >= 0; a--)
        if (a != axial)
            others[found++] = a;
    int swept_axis = 2 - sweep;
    bool first_swept = sweep < 3 && others[0] == swept_axis;
    int lateral = others[first_swept], elevational = others[!first_swept];
    const int order[3] = {axial, lateral, elevational};
    memset(frame, 0, sizeof *frame);
    frame->swept = sweep < 3;
    frame->depth = (double)size[axial] * spacing[axial];
    frame->radius = apex * frame->depth;
    frame->half_width = 0.5 * (double)size[lateral] * spacing[lateral];
    frame->half_height = 0.5 * (double)size[elevational] * spacing[elevational];
    for (int k = 0; k < 3; k++) {
        double step = k == 0 && backwards ? -spacing[order[k]] : spacing[order[k]];
        frame->to_frame[k][order[k]] = step;
        frame->from_frame[order[k]][k] = 1 / step;
        frame->apex[order[k]] = 0.5 * (double)(size[order[k]] - 1);
    }
    double back = frame->radius / spacing[axial];
    frame->apex[axial] = backwards ? (double)size[axial] - 0.5 + back : -0.5 - back;
}

enum { EDGE = RVX_COARSE_EDGE };

/* Standard deviation, in cells, of the mean image's brightness along `across` in every slab of
 * `along`. */
static void widths_find(double width[EDGE], const double *mean, int along, int across)
{
    static const int step[3] = {1, EDGE, EDGE * EDGE};
    int third = 3 - along - across;
    for (int i = 0; i < EDGE; i++) {
        double sum = 0, first = 0, second = 0;
        for (int j = 0; j < EDGE; j++)
            for (int k = 0; k < EDGE; k++) {
                double weight = mean[i * step[along] + j * step[across] + k * step[third]];
                sum += weight;
                first += weight * j;
                second += weight * j * j;
            }
        width[i] = sum > 0 ? sqrt(fmax(second / sum - first * first / (sum * sum), 0)) : 0;
    }
}

/* Slope of the line through the widths, the two outermost slabs left out: they hold the face and
 * the picture's edge. */
static double slope_of(const double width[EDGE])
{
    double products = 0, squares = 0;
    for (int i = 2; i < EDGE - 2; i++) {
        double at = i - 0.5 * (EDGE - 1);
        products += at * width[i];
        squares += at * at;
    }
    return products / squares;
}

bool rvx__beam_guess(int *beam, int *sweep, rvx_coarse_image *const *images, int64_t count)
{
    /* Cells a slab; uniform brightness over the whole width has a deviation of 4.6 cells. */
    const double slope_least = 0.08, share_of_none = 0.4;
    double mean[RVX_COARSE_CELLS] = {0}, black = INFINITY;
    for (int64_t n = 0; n < count; n++)
        for (int i = 0; i < RVX_COARSE_CELLS && images[n]; i++)
            mean[i] += images[n]->count[i] ? images[n]->sum[i] / (double)images[n]->count[i] : 0;
    for (int i = 0; i < RVX_COARSE_CELLS; i++)
        black = fmin(black, mean[i]);
    for (int i = 0; i < RVX_COARSE_CELLS; i++)
        mean[i] -= black;
    double slope[3][3] = {{0}}, best = 0;
    int axial = 1, lateral = 0;
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) {
            double width[EDGE];
            if (a == b)
                continue;
            widths_find(width, mean, a, b);
            slope[a][b] = slope_of(width);
            if (fabs(slope[a][b]) > best) {
                best = fabs(slope[a][b]);
                axial = a;
                lateral = b;
            }
        }
    *beam = RVX_BEAM_PLUS_Y;
    *sweep = 2;
    if (best < slope_least)
        return false;
    int third = 3 - axial - lateral;
    bool both = slope[axial][third] / slope[axial][lateral] > share_of_none;
    *beam = 2 * axial + (slope[axial][lateral] < 0);
    *sweep = both ? 3 : third;
    return true;
}
