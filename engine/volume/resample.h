/* Change of grid, slice by slice. Owns: the slices between input and output. Invariant: memory is a
 * few slices (rvx__resampler_bytes), whatever the length of the volume; every output voxel is the
 * same sum in the same order, however slices are asked for and for any thread count.
 *
 * Each axis has its own rule (taps.h). nnU-Net's separate handling of the coarse axis of an
 * anisotropic volume is the rule `nearest` along that axis. */
#ifndef RVX_RESAMPLE_H
#define RVX_RESAMPLE_H

#include "engine/volume/slices.h"
#include "engine/volume/taps.h"

typedef struct rvx_resampler rvx_resampler;

typedef struct rvx_resampler_options {
    int64_t out_size[3], in_size[3]; /* x, y, z */
    rvx_resampling rules[3];         /* x, y, z */
    rvx_taps_place places[3];        /* zero: centres aligned */
    int64_t channels;
    /* Per channel, least and greatest value of the input: a spline overshoots beside an edge, and
     * what it makes is held to this range, as skimage and nnU-Net do. NULL: not held. Where the
     * rule along z is nearest, slices are images of their own and each is held to its own range
     * (nnU-Net does so along any axis that is by itself). */
    const float (*range)[2];
} rvx_resampler_options;

/* `input` gives slices of in_size. Options are copied. */
rvx_status rvx__resampler_create(rvx_resampler **resampler, const rvx_resampler_options *options,
                                 const rvx_slices *input, rvx_error *error);
/* Slices z_first .. of the new grid, [z][y][x][channels]. */
rvx_status rvx__resampler_read(rvx_resampler *resampler, float *out, int64_t z_first,
                               int64_t z_count, rvx_error *error);
int64_t rvx__resampler_bytes(const rvx_resampler_options *options);
void rvx__resampler_free(rvx_resampler *resampler); /* NULL is legal */

/* The same for labels, uint8. Linear is nnU-Net's rule: each label's own mask, 0 or 1, is
 * interpolated, and the greatest label with at least half wins; where none has, 0. Cubic counts as
 * linear. */
typedef struct rvx_label_resampler rvx_label_resampler;

typedef struct rvx_label_slices {
    rvx_status (*read)(void *context, uint8_t *out, int64_t z_first, int64_t z_count,
                       rvx_error *error);
    void *context;
} rvx_label_slices;

rvx_status rvx__label_resampler_create(rvx_label_resampler **resampler, const int64_t out_size[3],
                                       const int64_t in_size[3], const rvx_resampling rules[3],
                                       const rvx_label_slices *input, rvx_error *error);
rvx_status rvx__label_resampler_read(rvx_label_resampler *resampler, uint8_t *out, int64_t z_first,
                                     int64_t z_count, rvx_error *error);
void rvx__label_resampler_free(rvx_label_resampler *resampler); /* NULL is legal */

#endif
