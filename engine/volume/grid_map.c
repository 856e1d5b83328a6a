/* From a file's grid to the network's. Owns: the size of the new grid, and nnU-Net's choice of the
 * axis that is resampled by itself. */
#include "engine/volume/preprocess.h"

#include <math.h>

/* Beyond this ratio of spacings an axis stands alone. */
enum { ANISOTROPY = 3 };

static int separate_axis(const double spacing[3])
{
    int coarse = 0, count = 0;
    double least = spacing[0];
    for (int axis = 1; axis < 3; axis++) {
        coarse = spacing[axis] > spacing[coarse] ? axis : coarse;
        least = fmin(least, spacing[axis]);
    }
    for (int axis = 0; axis < 3; axis++)
        count += spacing[axis] == spacing[coarse];
    return count == 1 && spacing[coarse] / least > ANISOTROPY ? coarse : -1;
}

void rvx__resampling_rules(rvx_resampling rules[3], rvx_resampling rule, const rvx_grid_map *map)
{
    for (int axis = 0; axis < 3; axis++)
        rules[axis] = axis == map->separate_axis ? RVX_RESAMPLING_NEAREST : rule;
}

rvx_status rvx__grid_map_make(rvx_grid_map *map, const rvx_geometry *file, const double spacing[3],
                              const char *name, rvx_error *error)
{
    double target_spacing[3];
    for (int axis = 0; axis < 3; axis++) {
        double target = spacing[axis], size = (double)file->size[axis];
        map->file_size[axis] = map->network_size[axis] = file->size[axis];
        target_spacing[axis] = target > 0 ? target : file->spacing[axis];
        if (!(target >= 0) || !isfinite(target))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "target spacing along %c is %g mm, expected a positive length or 0",
                             "xyz"[axis], target);
        if (target > 0 && fabs(file->spacing[axis] - target) > 0.01 * target) {
            double wanted = rint(size * file->spacing[axis] / target);
            if (!(wanted <= 1 << 20))
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "%s: %lld voxels of %g mm along %c would become %g of %g mm, more "
                                 "than 2^20",
                                 name, (long long)file->size[axis], file->spacing[axis],
                                 "xyz"[axis], wanted, target);
            map->network_size[axis] = wanted < 1 ? 1 : (int64_t)wanted;
        }
        map->scale[axis] = (double)map->network_size[axis] / size;
        map->offset[axis] = 0.5 * map->scale[axis] - 0.5;
    }
    map->separate_axis = separate_axis(file->spacing);
    if (map->separate_axis < 0)
        map->separate_axis = separate_axis(target_spacing);
    const int64_t *n = map->network_size;
    if ((__int128)n[0] * n[1] * n[2] > (__int128)1 << 40)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: %lld x %lld x %lld voxels at the target spacing, more than 2^40",
                         name, (long long)n[0], (long long)n[1], (long long)n[2]);
    return RVX_OK;
}
