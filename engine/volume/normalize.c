/* Intensity normalisation. Owns: the four schemes. Invariant: sums run over fixed pieces of voxels
 * and are combined in piece order, in double. */
#include "engine/volume/preprocess.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Pieces are cut by the voxel count alone. */
enum { PIECE_COUNT = 256 };

/* nnU-Net's guard against constant images. */
#define DEVIATION_LEAST 1e-8

static const char *const names[RVX_NORMALIZATION_COUNT] = {"zscore", "ct", "rescale_to_0_1",
                                                           "none"};

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

typedef struct moments {
    double sum, least, greatest;
    int64_t count;
} moments;

/* Sum of (v - centre)^power over the pieces, with range and count. */
static moments moments_find(const float *voxels, int64_t count, int64_t pitch, bool nonzero_only,
                            double centre, int power)
{
    moments pieces[PIECE_COUNT];
#pragma omp parallel for schedule(static)
    for (int p = 0; p < PIECE_COUNT; p++) {
        moments m = {0, DBL_MAX, -DBL_MAX, 0};
        int64_t last = (int64_t)((__int128)count * (p + 1) / PIECE_COUNT);
        for (int64_t i = (int64_t)((__int128)count * p / PIECE_COUNT); i < last; i++) {
            double v = voxels[i * pitch];
            if (nonzero_only && v == 0)
                continue;
            m.least = v < m.least ? v : m.least;
            m.greatest = v > m.greatest ? v : m.greatest;
            m.sum += power == 1 ? v - centre : (v - centre) * (v - centre);
            m.count++;
        }
        pieces[p] = m;
    }
    moments total = pieces[0];
    for (int p = 1; p < PIECE_COUNT; p++) {
        total.sum += pieces[p].sum;
        total.least = fmin(total.least, pieces[p].least);
        total.greatest = fmax(total.greatest, pieces[p].greatest);
        total.count += pieces[p].count;
    }
    return total;
}

rvx_intensity_map rvx__intensity_map_find(const rvx_channel_recipe *recipe, const float *voxels,
                                          int64_t voxel_count, int64_t pitch)
{
    rvx_intensity_map map = {-FLT_MAX, FLT_MAX, 0, 1};
    moments m;
    double mean, deviation;
    switch (recipe->normalization) {
    case RVX_NORMALIZATION_ZSCORE:
        m = moments_find(voxels, voxel_count, pitch, recipe->nonzero_only, 0, 1);
        if (m.count == 0) /* nothing but zeros */
            break;
        mean = m.sum / (double)m.count;
        m = moments_find(voxels, voxel_count, pitch, recipe->nonzero_only, mean, 2);
        deviation = sqrt(m.sum / (double)m.count);
        map.shift = (float)mean;
        map.scale = (float)(1 / fmax(deviation, DEVIATION_LEAST));
        break;
    case RVX_NORMALIZATION_CT:
        map.low = (float)recipe->low;
        map.high = (float)recipe->high;
        map.shift = (float)recipe->mean;
        map.scale = (float)(1 / fmax(recipe->std, DEVIATION_LEAST));
        break;
    case RVX_NORMALIZATION_RESCALE:
        m = moments_find(voxels, voxel_count, pitch, false, 0, 1);
        map.shift = (float)m.least;
        map.scale = (float)(1 / fmax(m.greatest - m.least, DEVIATION_LEAST));
        break;
    default:
        break;
    }
    return map;
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
