/* Statistics from exact integer sums: see cpu/norm_integers.h. */
#include "kernels/norm_integers.h"

#include "kernels/pieces.h"

#include <math.h>

typedef __int128 wide;

/* With n values, S their sum and Q that of their squares, in units u of the grid:
 *     mean = u S / n,   variance = u^2 (n Q - S^2) / n^2,   the bracket exact in 128 bits. */
void rvx__integer_statistics(double *mean, double *variance, const int64_t *sums, int64_t voxels,
                             int64_t samples, int64_t channels, int64_t first, int64_t count,
                             int32_t grid_log2)
{
    int64_t pieces = samples * rvx__piece_count(voxels, channels);
    wide sum = 0, squares = 0, n = (wide)voxels * samples * count;
    for (int64_t i = 0; i < pieces; i++)
        for (int64_t j = first; j < first + count; j++) {
            sum += sums[(i * channels + j) * 2];
            squares += sums[(i * channels + j) * 2 + 1];
        }
    double unit = ldexp(1.0, -grid_log2), total = (double)n;
    *mean = unit * (double)sum / total;
    *variance = unit * unit * ((double)(n * squares - sum * sum) / total / total);
}
