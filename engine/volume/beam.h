/* Where the sound goes in a case. Owns: the frame along the beams, and the guess of it from images.
 *
 * Beams leave a face and diverge from an apex behind it. The frame has its origin in the apex and
 * three coordinates in mm: axial (the way of the middle beam), lateral, elevational. Where frames
 * were swept along an axis, that is the elevational one, and beams diverge in the lateral plane
 * only. Files do not say where the apex was, so its distance is the caller's to choose; the near
 * side of the case counts as the face. */
#ifndef RVX_BEAM_H
#define RVX_BEAM_H

#include "engine/volume/symmetry.h"

#include <stdbool.h>
#include <stdint.h>

/* The way of the middle beam: axis times two, plus one where it goes towards lower voxels. */
typedef enum rvx_beam {
    RVX_BEAM_PLUS_X,
    RVX_BEAM_MINUS_X,
    RVX_BEAM_PLUS_Y,
    RVX_BEAM_MINUS_Y,
    RVX_BEAM_PLUS_Z,
    RVX_BEAM_MINUS_Z
} rvx_beam;

typedef struct rvx_beam_frame {
    /* frame coordinate k = to_frame[k] . (voxel - apex), voxels as d, h, w; from_frame: back. */
    double to_frame[3][3], from_frame[3][3], apex[3];
    double radius;                  /* mm from the apex to the face */
    double depth;                   /* mm from the face to the far side, along the axis */
    double half_width, half_height; /* mm: lateral and elevational, of the case */
    bool swept;
} rvx_beam_frame;

/* size and spacing as d, h, w. sweep: axis x, y, z as 0, 1, 2, not the beam's; else none. apex:
 * distance from the apex to the face as a share of the depth. */
void rvx__beam_frame_make(rvx_beam_frame *frame, int beam, int sweep, const int64_t size[3],
                          const double spacing[3], double apex);

/* Beam and sweep of a dataset from its mean image: the axis along which the lit part of the slices
 * grows wider most steadily is the beam, the axis that it grows along is lateral, and the third is
 * the sweep, or none where the picture widens along it too. False, and +y with sweep z (a stack of
 * frames, the probe above), where nothing widens. */
bool rvx__beam_guess(int *beam, int *sweep, rvx_coarse_image *const *images, int64_t count);

#endif
