/* From a file's grid to the network's. Owns: the size of the new grid, and nnU-Net's choice of the
 * axis that is resampled by itself. */
#include "engine/volume/preprocess.h"

#include <math.h>

/* Beyond this ratio of spacings an axis stands alone. */
enum { ANISOTROPY = 3 };

/* nnU-Net's question of one grid: whether some axis stands alone, and which; -1 where the coarsest
 * shares its spacing. */
static bool stands_alone(int *alone, const double spacing[3])
{
    double least = fmin(spacing[0], fmin(spacing[1], spacing[2]));
    double most = fmax(spacing[0], fmax(spacing[1], spacing[2]));
    int count = 0;
    if (!(most / least > ANISOTROPY))
        return false;
    for (int axis = 0; axis < 3; axis++)
        if (most / spacing[axis] == 1) {
            count++;
            *alone = axis;
        }
    *alone = count == 1 ? *alone : -1;
    return true;
}

/* On the way from one grid to another the one that is left is asked first. */
static int separate_axis(const double from[3], const double to[3])
{
    int axis = -1;
    if (!stands_alone(&axis, from))
        stands_alone(&axis, to);
    return axis;
}

double rvx__resampled_size(int64_t size, double spacing, double target)
{
    return fmax(rint(spacing / target * (double)size), 1);
}

void rvx__resampling_rules(rvx_resampling rules[3], rvx_resampling rule, const rvx_grid_map *map)
{
    for (int axis = 0; axis < 3; axis++)
        rules[axis] = axis == map->separate_axis ? RVX_RESAMPLING_NEAREST : rule;
}

rvx_status rvx__grid_map_make_box(rvx_grid_map *map, const rvx_geometry *file,
                                  const int64_t box_first[3], const int64_t box_size[3],
                                  const double spacing[3], const char *name, rvx_error *error)
{
    double target_spacing[3];
    for (int axis = 0; axis < 3; axis++) {
        double target = spacing[axis];
        map->file_size[axis] = file->size[axis];
        map->box_first[axis] = box_first[axis];
        map->box_size[axis] = map->network_size[axis] = box_size[axis];
        target_spacing[axis] = target > 0 ? target : file->spacing[axis];
        if (!(target >= 0) || !isfinite(target))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "target spacing along %c is %g mm, expected a positive length or 0",
                             "xyz"[axis], target);
        if (target > 0) {
            double wanted = rvx__resampled_size(box_size[axis], file->spacing[axis], target);
            if (!(wanted <= 1 << 20))
                return rvx__fail(error, RVX_ERROR_ARGUMENT,
                                 "%s: %lld voxels of %g mm along %c would become %g of %g mm, more "
                                 "than 2^20",
                                 name, (long long)box_size[axis], file->spacing[axis], "xyz"[axis],
                                 wanted, target);
            map->network_size[axis] = (int64_t)wanted;
        }
        map->scale[axis] = (double)map->network_size[axis] / (double)box_size[axis];
        map->offset[axis] =
            0.5 * map->scale[axis] - 0.5 - map->scale[axis] * (double)box_first[axis];
    }
    map->separate_axis = separate_axis(file->spacing, target_spacing);
    map->separate_axis_back = separate_axis(target_spacing, file->spacing);
    const int64_t *n = map->network_size;
    if ((__int128)n[0] * n[1] * n[2] > (__int128)1 << 40)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: %lld x %lld x %lld voxels at the target spacing, more than 2^40",
                         name, (long long)n[0], (long long)n[1], (long long)n[2]);
    return RVX_OK;
}

rvx_status rvx__grid_map_make(rvx_grid_map *map, const rvx_geometry *file, const double spacing[3],
                              const char *name, rvx_error *error)
{
    static const int64_t corner[3];
    return rvx__grid_map_make_box(map, file, corner, file->size, spacing, name, error);
}
