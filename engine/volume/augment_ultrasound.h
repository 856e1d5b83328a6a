/* Augmentation of B-mode pictures by the physics of their making. Owns: what each transform means.
 * Invariant: pure functions of their arguments, whatever the number of threads.
 *
 * A B-mode picture shows the envelope of the echo on a logarithmic scale: `decibels` from black to
 * white. With x the grey value, 10^(decibels (x - white) / (20 (white - black))) is the amplitude
 * and its square the power, so what multiplies the echo adds to the picture. What is black stays
 * black: there nothing was heard, or the picture does not reach; just above black a rise counts
 * less.
 *
 *     speckle       fully developed speckle is a circular complex Gaussian field s, seen as |s|.
 *                   A scan from elsewhere gives c s + sqrt(1 - c^2) n with n of the same power and
 *                   independent: |.| keeps its Rayleigh statistics, and the powers before and after
 *                   have the correlation c^2 (Burckhardt 1978; Wagner, Smith, Sandrik, Lopez 1983).
 *                   The phase of s is unknown, but no statistic of |.| at one place depends on it.
 *                   The power of n is that of the speckle around the voxel (from its mean in
 * decibels, which lies 2.51 below). Pictures with less speckle than that, smoothed or compounded,
 * are changed by so much less. reverberation sound between two strong interfaces comes back later,
 * time after time: the power at depth t gains that of depth t - k spacing, k = 1, 2, k times `echo`
 *                   decibels below it
 *     shadow        behind bone, stone or gas little sound is left: a cone of beams loses decibels,
 *                   with soft sides, from some depth on
 *     attenuation   tissue takes more or less than the scanner's correction gives back: decibels
 *                   grow with depth (0.5 dB / cm / MHz one way in liver: Duck 1990)
 *     time gain     the operator's eight sliders, linear between their depths
 *     gain          one number for the picture
 *     sector        another fan: what lies outside is black, and no longer labelled
 *     pose          the probe rocks on the skin: the anatomy turns about the point of contact,
 *                   the beams stay
 *     sound         scanners take 1540 m/s; in fat sound is slower, in muscle faster (Duck 1990),
 *                   and depths are shown wrong by that ratio. Labels move with the picture. */
#ifndef RVX_AUGMENT_ULTRASOUND_H
#define RVX_AUGMENT_ULTRASOUND_H

#include "engine/volume/beam.h"
#include "engine/volume/warp.h"
#include "kernels/random.h"

enum { RVX_SLIDERS = 8, RVX_SHADOWS_MAX = 3 };

typedef struct rvx_shadow {
    float across, half_width; /* of the middle; share of the half fan, -1 .. 1 laterally */
    float along, half_height; /* the same in elevation */
    float start;              /* depth, 0 .. 1 */
    float decibels;           /* lost, positive */
} rvx_shadow;

/* One draw. What is not `has` is left alone. */
typedef struct rvx_ultrasound_change {
    double turn[2]; /* pose: rad towards the lateral and the elevational side */
    double stretch; /* sound: speed / 1540; 1: none */
    bool has_speckle, has_reverberation, has_sector;
    float correlation;
    float echo, spacing; /* dB of the first echo, below 0; share of the depth */
    float gain, attenuation, sliders[RVX_SLIDERS]; /* dB */
    int shadow_count;
    rvx_shadow shadows[RVX_SHADOWS_MAX];
    float opening, tilt; /* sector: half width and middle, in half fans */
    float decibels;      /* between black and white */
} rvx_ultrasound_change;

/* What a picture is to the physics. */
typedef struct rvx_ultrasound_patch {
    int64_t size[3];     /* d, h, w */
    rvx_affine to_frame; /* voxel of the patch to the beams' frame */
    const rvx_beam_frame *frame;
    float black, white; /* grey values */
    rvx_random random;  /* of the speckle */
    int threads;
} rvx_ultrasound_patch;

/* Least and greatest of at most 4096 voxels spread over a channel of the case. */
void rvx__grey_range(float *black, float *white, const rvx_warp_source *source, int64_t channel);

/* Voxels of the patch to the beams' frame, for a patch that lies in its case by `to_case`. */
void rvx__echo_frame(rvx_affine *out, const rvx_affine *to_case, const rvx_beam_frame *frame);
/* Puts pose and sound into a warp whose direct map is set; the beams' frame moves with the patch,
 * the anatomy below it turns. */
void rvx__echo_warp(rvx_warp *warp, const rvx_beam_frame *frame,
                    const rvx_ultrasound_change *change);
bool rvx__echo_warps(const rvx_ultrasound_change *change);

/* All but pose and sound, on one channel [d][h][w]. temporary: RVX_ULTRASOUND_PLANES of them. */
enum { RVX_ULTRASOUND_PLANES = 4 };
void rvx__echo_picture(float *voxels, float *temporary, const rvx_ultrasound_change *change,
                       const rvx_ultrasound_patch *patch);
/* Labels outside the sector become 0. */
void rvx__echo_labels(uint8_t *labels, const rvx_ultrasound_change *change,
                      const rvx_ultrasound_patch *patch);

#endif
