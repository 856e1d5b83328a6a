/* Statistics of a stream of voxels. Owns: one pass over any amount of data in bounded memory.
 * Invariant: the result depends on the voxels in their order alone, not on how they were cut into
 * calls nor on the thread count: pieces of fixed length are summed each by itself about their first
 * value, in double, and joined in order.
 *
 * Zeros are only counted: what a scanner leaves black can then be added or left out afterwards. */
#ifndef RVX_STATISTICS_H
#define RVX_STATISTICS_H

#include <stdint.h>

/* Of values; sums are about `mean`. */
typedef struct rvx_moments {
    int64_t count;
    double mean, squares; /* squares: sum of (value - mean)^2 */
    double least, greatest;
} rvx_moments;

typedef struct rvx_statistics {
    int64_t seen;        /* voxels so far */
    rvx_moments nonzero; /* of the pieces that are complete, and after the end of all */
    struct {
        int64_t count;
        double first, sum, squares, least, greatest; /* sums about `first` */
    } open;                                          /* the piece under way */
} rvx_statistics;

void rvx__statistics_start(rvx_statistics *statistics);
/* `pitch` floats from one voxel to the next. */
void rvx__statistics_add(rvx_statistics *statistics, const float *voxels, int64_t count,
                         int64_t pitch);
void rvx__statistics_end(rvx_statistics *statistics);

/* The nonzero voxels and `zeros` others. */
rvx_moments rvx__moments_with_zeros(const rvx_moments *nonzero, int64_t zeros);

#endif
