/* Mirror symmetry of a dataset: see symmetry.h. */
#include "engine/volume/symmetry.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

void rvx__coarse_image_add(rvx_coarse_image *coarse, const float *voxels, const int64_t size[3],
                           int64_t z_first, int64_t z_count)
{
    for (int64_t z = z_first; z < z_first + z_count; z++)
        for (int64_t y = 0; y < size[1]; y++) {
            int64_t row =
                (z * RVX_COARSE_EDGE / size[2] * RVX_COARSE_EDGE + y * RVX_COARSE_EDGE / size[1]) *
                RVX_COARSE_EDGE;
            const float *line = voxels + ((z - z_first) * size[1] + y) * size[0];
            for (int64_t x = 0; x < size[0]; x++) {
                int64_t cell = row + x * RVX_COARSE_EDGE / size[0];
                coarse->sum[cell] += (double)line[x];
                coarse->count[cell]++;
            }
        }
}

/* Adds the z-scored cell means of one image to `total`, and counts the images that have each cell.
 */
static void add_scored(double *total, int *have, const rvx_coarse_image *image)
{
    double sum = 0, squares = 0;
    int64_t cells = 0;
    for (int i = 0; i < RVX_COARSE_CELLS; i++)
        if (image->count[i]) {
            double value = image->sum[i] / (double)image->count[i];
            sum += value;
            squares += value * value;
            cells++;
        }
    if (!cells)
        return;
    double mean = sum / (double)cells, variance = squares / (double)cells - mean * mean;
    double scale = variance > 0 ? 1 / sqrt(variance) : 0;
    for (int i = 0; i < RVX_COARSE_CELLS; i++)
        if (image->count[i]) {
            total[i] += (image->sum[i] / (double)image->count[i] - mean) * scale;
            have[i]++;
        }
}

static int mirrored(int cell, int axis)
{
    static const int step[3] = {1, RVX_COARSE_EDGE, RVX_COARSE_EDGE * RVX_COARSE_EDGE};
    int at = cell / step[axis] % RVX_COARSE_EDGE;
    return cell + (RVX_COARSE_EDGE - 1 - 2 * at) * step[axis];
}

void rvx__mirror_correlation(double out[3], rvx_coarse_image *const *images, int64_t count)
{
    double total[RVX_COARSE_CELLS] = {0};
    int have[RVX_COARSE_CELLS] = {0};
    for (int64_t i = 0; i < count; i++)
        if (images[i])
            add_scored(total, have, images[i]);
    for (int axis = 0; axis < 3; axis++) {
        double sum = 0, squares = 0, products = 0;
        int cells = 0;
        for (int i = 0; i < RVX_COARSE_CELLS; i++) {
            int j = mirrored(i, axis);
            if (!have[i] || !have[j])
                continue;
            double a = total[i] / have[i], b = total[j] / have[j];
            sum += a;
            squares += a * a;
            products += a * b;
            cells++;
        }
        double mean = cells ? sum / cells : 0;
        double variance = cells ? squares / cells - mean * mean : 0;
        out[axis] = variance > 1e-12 ? (products / cells - mean * mean) / variance : 1;
    }
}
