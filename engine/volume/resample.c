/* Change of grid. Owns: the alignment of centres, in both directions. */
#include "engine/volume/preprocess.h"

#include <math.h>

/* Where one voxel of an axis reads: between `low` and `high`, `weight` of the latter. */
typedef struct tap {
    int64_t low, high;
    float weight;
} tap;

static inline tap tap_at(int64_t i, int64_t out_size, int64_t in_size)
{
    double position = ((double)i + 0.5) * ((double)in_size / (double)out_size) - 0.5;
    double last = (double)(in_size - 1);
    position = position < 0 ? 0 : position > last ? last : position;
    double floor_position = floor(position);
    tap t = {(int64_t)floor_position, (int64_t)floor_position, (float)(position - floor_position)};
    if (t.high < in_size - 1)
        t.high++;
    return t;
}

static inline float blend(float a, float b, float weight) { return a + weight * (b - a); }

void rvx__resample_linear(float *out, const int64_t out_size[3], const float *in,
                          const int64_t in_size[3], int64_t channels)
{
    const int64_t row = in_size[0] * channels;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t z = 0; z < out_size[2]; z++)
        for (int64_t y = 0; y < out_size[1]; y++) {
            tap tz = tap_at(z, out_size[2], in_size[2]), ty = tap_at(y, out_size[1], in_size[1]);
            const float *rows[4] = {in + (tz.low * in_size[1] + ty.low) * row,
                                    in + (tz.low * in_size[1] + ty.high) * row,
                                    in + (tz.high * in_size[1] + ty.low) * row,
                                    in + (tz.high * in_size[1] + ty.high) * row};
            float *to = out + (z * out_size[1] + y) * out_size[0] * channels;
            for (int64_t x = 0; x < out_size[0]; x++) {
                tap tx = tap_at(x, out_size[0], in_size[0]);
                for (int64_t c = 0; c < channels; c++) {
                    float along_x[4];
                    for (int i = 0; i < 4; i++)
                        along_x[i] = blend(rows[i][tx.low * channels + c],
                                           rows[i][tx.high * channels + c], tx.weight);
                    to[x * channels + c] =
                        blend(blend(along_x[0], along_x[1], ty.weight),
                              blend(along_x[2], along_x[3], ty.weight), tz.weight);
                }
            }
        }
}

/* floor((i + 0.5) * in / out), the voxel whose box holds the centre; exact in integers. */
static inline int64_t nearest_at(int64_t i, int64_t out_size, int64_t in_size)
{
    return (int64_t)((__int128)(2 * i + 1) * in_size / (2 * out_size));
}

void rvx__resample_nearest(uint8_t *out, const int64_t out_size[3], const uint8_t *in,
                           const int64_t in_size[3])
{
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t z = 0; z < out_size[2]; z++)
        for (int64_t y = 0; y < out_size[1]; y++) {
            const uint8_t *from = in + (nearest_at(z, out_size[2], in_size[2]) * in_size[1] +
                                        nearest_at(y, out_size[1], in_size[1])) *
                                           in_size[0];
            uint8_t *to = out + (z * out_size[1] + y) * out_size[0];
            for (int64_t x = 0; x < out_size[0]; x++)
                to[x] = from[nearest_at(x, out_size[0], in_size[0])];
        }
}

rvx_status rvx__grid_map_make(rvx_grid_map *map, const rvx_geometry *file, const double spacing[3],
                              const char *name, rvx_error *error)
{
    for (int axis = 0; axis < 3; axis++) {
        double target = spacing[axis], size = (double)file->size[axis];
        map->file_size[axis] = map->network_size[axis] = file->size[axis];
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
    const int64_t *n = map->network_size;
    if ((__int128)n[0] * n[1] * n[2] > (__int128)1 << 40)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: %lld x %lld x %lld voxels at the target spacing, more than 2^40",
                         name, (long long)n[0], (long long)n[1], (long long)n[2]);
    return RVX_OK;
}
