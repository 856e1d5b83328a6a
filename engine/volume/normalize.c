/* Intensity normalisation. Owns: the schemes. */
#include "engine/volume/preprocess.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* nnU-Net's guard against constant images. */
#define DEVIATION_LEAST 1e-8

static const char *const names[RVX_NORMALIZATION_COUNT] = {"zscore", "ct", "rescale_to_0_1", "none",
                                                           "percentiles"};

const char *rvx__normalization_name(rvx_normalization normalization)
{
    return names[normalization];
}

bool rvx__normalization_find(rvx_normalization *normalization, const char *name)
{
    for (int i = 0; i < RVX_NORMALIZATION_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *normalization = (rvx_normalization)i;
            return true;
        }
    return false;
}

rvx_normalization rvx__normalization_of_channel(const char *channel_name)
{
    static const struct {
        const char *name;
        rvx_normalization normalization;
    } rows[] = {{"ct", RVX_NORMALIZATION_CT},
                {"nonorm", RVX_NORMALIZATION_NONE},
                {"rescale_to_0_1", RVX_NORMALIZATION_RESCALE},
                {"rgb_to_0_1", RVX_NORMALIZATION_RESCALE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcasecmp(channel_name, rows[i].name) == 0)
            return rows[i].normalization;
    return RVX_NORMALIZATION_ZSCORE;
}

rvx_intensity_map rvx__intensity_map_make(const rvx_channel_recipe *recipe,
                                          const rvx_moments *nonzero, int64_t zeros)
{
    rvx_intensity_map map = {-FLT_MAX, FLT_MAX, 0, 1};
    const rvx_moments m = rvx__moments_with_zeros(nonzero, zeros);
    assert(recipe->normalization != RVX_NORMALIZATION_PERCENTILES);
    switch (recipe->normalization) {
    case RVX_NORMALIZATION_ZSCORE:
        if (m.count == 0) /* nothing but zeros, and none of them counts */
            break;
        map.shift = (float)m.mean;
        map.scale = (float)(1 / fmax(sqrt(m.squares / (double)m.count), DEVIATION_LEAST));
        break;
    case RVX_NORMALIZATION_CT:
        map.low = (float)recipe->low;
        map.high = (float)recipe->high;
        map.shift = (float)recipe->mean;
        map.scale = (float)(1 / fmax(recipe->std, DEVIATION_LEAST));
        break;
    case RVX_NORMALIZATION_RESCALE:
        map.shift = (float)m.least;
        map.scale = (float)(1 / fmax(m.greatest - m.least, DEVIATION_LEAST));
        break;
    default:
        break;
    }
    return map;
}

/* (v - low) * (to[1] - to[0]) / (high - low) + to[0], with the last term in the shift. */
rvx_intensity_map rvx__intensity_map_between(const rvx_channel_recipe *recipe, double low,
                                             double high)
{
    const double span = recipe->to[1] - recipe->to[0];
    const double range = high > low ? high - low : span;
    rvx_intensity_map map = {-FLT_MAX, FLT_MAX, 0, 1};
    if (recipe->clip) {
        map.low = (float)low;
        map.high = (float)(low + range);
    }
    map.shift = (float)(low - recipe->to[0] * range / span);
    map.scale = (float)fmin(span / range, FLT_MAX);
    return map;
}

int64_t rvx__sector_count(const float *slice, const int64_t size[2], int64_t (*columns)[2])
{
    int64_t count = 0;
    for (int64_t x = 0; x < size[0]; x++) {
        columns[x][0] = size[1];
        columns[x][1] = -1;
        for (int64_t y = 0; y < size[1]; y++)
            if (slice[y * size[0] + x] != 0) {
                columns[x][0] = y < columns[x][0] ? y : columns[x][0];
                columns[x][1] = y;
            }
    }
    for (int64_t y = 0; y < size[1]; y++) {
        const float *row = slice + y * size[0];
        int64_t first = 0, last = size[0] - 1;
        while (first <= last && row[first] == 0)
            first++;
        while (last >= first && row[last] == 0)
            last--;
        for (int64_t x = first; x <= last; x++)
            count += columns[x][0] <= y && y <= columns[x][1];
    }
    return count;
}

void rvx__intensity_map_apply(float *voxels, int64_t voxel_count, int64_t pitch,
                              const rvx_intensity_map *map)
{
    const rvx_intensity_map m = *map;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < voxel_count; i++) {
        float v = voxels[i * pitch];
        v = v < m.low ? m.low : v > m.high ? m.high : v;
        voxels[i * pitch] = (v - m.shift) * m.scale;
    }
}
