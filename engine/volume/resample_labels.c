/* Change of grid of label maps: the second half of resample.h. */
#include "engine/volume/resample.h"

#include <stdlib.h>
#include <string.h>

enum { RING = 2 }; /* slices that one output slice reads, at most */

struct rvx_label_resampler {
    int64_t out_size[3], in_size[3];
    rvx_label_slices input;
    rvx_taps taps[3];
    uint8_t *ring;      /* input slice z stands at z % RING */
    int64_t held[RING]; /* which slice that is; -1: none */
};

rvx_status rvx__label_resampler_create(rvx_label_resampler **resampler, const int64_t out_size[3],
                                       const int64_t in_size[3], const rvx_resampling rules[3],
                                       const rvx_label_slices *input, rvx_error *error)
{
    rvx_label_resampler *r = calloc(1, sizeof *r);
    *resampler = r;
    bool made = r != NULL;
    if (made) {
        memcpy(r->out_size, out_size, sizeof r->out_size);
        memcpy(r->in_size, in_size, sizeof r->in_size);
        r->input = *input;
        for (int i = 0; i < RING; i++)
            r->held[i] = -1;
        for (int a = 0; a < 3; a++)
            made =
                made && rvx__taps_create(&r->taps[a],
                                         rules[a] == RVX_RESAMPLING_NEAREST ? RVX_RESAMPLING_NEAREST
                                                                            : RVX_RESAMPLING_LINEAR,
                                         out_size[a], in_size[a], (rvx_taps_place){0});
        r->ring = malloc((size_t)(RING * in_size[0] * in_size[1]));
        made = made && r->ring;
    }
    if (made)
        return RVX_OK;
    rvx__label_resampler_free(r);
    *resampler = NULL;
    return rvx__fail(error, RVX_ERROR_MEMORY, "resampling: no memory for two slices of labels");
}

void rvx__label_resampler_free(rvx_label_resampler *r)
{
    if (!r)
        return;
    for (int a = 0; a < 3; a++)
        rvx__taps_free(&r->taps[a]);
    free(r->ring);
    free(r);
}

static rvx_status slices_fetch(rvx_label_resampler *r, int64_t first, int64_t count,
                               rvx_error *error)
{
    const int64_t slice = r->in_size[0] * r->in_size[1];
    for (int64_t z = first; z < first + count; z++) {
        if (r->held[z % RING] == z)
            continue;
        r->held[z % RING] = -1;
        rvx_status status =
            r->input.read(r->input.context, r->ring + z % RING * slice, z, 1, error);
        if (status != RVX_OK)
            return status;
        r->held[z % RING] = z;
    }
    return RVX_OK;
}

/* The greatest label whose weights reach one half, else 0. */
static uint8_t vote(const uint8_t *labels, const float *weights, int count)
{
    uint8_t winner = 0;
    for (int i = 0; i < count; i++) {
        float share = 0;
        for (int j = 0; j < count; j++)
            share += labels[j] == labels[i] ? weights[j] : 0;
        if (share >= 0.5f && labels[i] > winner)
            winner = labels[i];
    }
    return winner;
}

/* Voxel x of an output row that reads `row_count` input rows, each with its weight. */
static uint8_t voxel_make(const rvx_taps *taps, int64_t x, const uint8_t *const *rows,
                          const float *row_weights, int row_count)
{
    uint8_t labels[8];
    float weights[8];
    int count = 0;
    bool same = true;
    for (int64_t k = 0; k < taps->count; k++)
        for (int r = 0; r < row_count; r++) {
            labels[count] = rows[r][taps->first[x] + k];
            same &= labels[count] == labels[0];
            weights[count++] = taps->weights[x * taps->count + k] * row_weights[r];
        }
    return same ? labels[0] : vote(labels, weights, count);
}

static void slice_make(uint8_t *out, const rvx_label_resampler *r, int64_t z)
{
    const rvx_taps *tx = &r->taps[0], *ty = &r->taps[1], *tz = &r->taps[2];
    const int64_t slice = r->in_size[0] * r->in_size[1];
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < r->out_size[1]; y++) {
        const uint8_t *rows[4];
        float weights[4];
        int count = 0;
        for (int64_t k = 0; k < tz->count; k++)
            for (int64_t j = 0; j < ty->count; j++) {
                rows[count] = r->ring + (tz->first[z] + k) % RING * slice +
                              (ty->first[y] + j) * r->in_size[0];
                weights[count++] = tz->weights[z * tz->count + k] * ty->weights[y * ty->count + j];
            }
        for (int64_t x = 0; x < r->out_size[0]; x++)
            out[y * r->out_size[0] + x] = voxel_make(tx, x, rows, weights, count);
    }
}

rvx_status rvx__label_resampler_read(rvx_label_resampler *r, uint8_t *out, int64_t z_first,
                                     int64_t z_count, rvx_error *error)
{
    for (int64_t z = z_first; z < z_first + z_count; z++) {
        rvx_status status = slices_fetch(r, r->taps[2].first[z], r->taps[2].count, error);
        if (status != RVX_OK)
            return status;
        slice_make(out + (z - z_first) * r->out_size[0] * r->out_size[1], r, z);
    }
    return RVX_OK;
}
