/* B-mode ultrasound of a scene, slice by slice. Owns: the beam grid, the point spread and the ring
 * of slices that the elevational point spread needs.
 *
 * The simulation runs in beam coordinates, as a scanner does: rows along the beam, beams across.
 *     scatterers   complex Gaussian times tissue amplitude (the analytic signal, demodulated)
 *     interfaces   impedance step along the beam, strongest where the beam meets it head on
 *     loss         10^(-(2 f integral of attenuation - gain) / 20), gain = the case's mean loss
 *     point spread separable Gaussians; axial by pulse length, lateral and elevational widening
 *                  away from the focus; each has unit energy, so speckle keeps its tissue's power
 *     noise        added after beam forming, raised by the time gain
 *     detection    envelope, mean over the rows of one voxel, logarithm, scan conversion
 * The scatterer model is that of Bamber and Dickinson (1980) and Meunier and Bertrand (1995).
 *
 * Memory: rvx__ultrasound_bytes, all taken at creation. It grows with one slice times the number
 * of slices that the elevational point spread reaches (at most 2 * ceil(5 mm / spacing_z) + 1),
 * never with the number of slices of the volume. Same bits for any number of threads. */
#ifndef RVX_PHANTOM_ACOUSTICS_H
#define RVX_PHANTOM_ACOUSTICS_H

#include "engine/phantom/scene.h"

typedef struct rvx_ultrasound rvx_ultrasound;

typedef struct rvx_ultrasound_options {
    int64_t size[3];   /* voxels of the image */
    double spacing[3]; /* mm */
    rvx_probe probe;
    rvx_scene scene; /* must outlive the simulation */
    uint64_t seed;
    int64_t case_index;
    int threads;
} rvx_ultrasound_options;

int64_t rvx__ultrasound_bytes(const rvx_ultrasound_options *options);
rvx_status rvx__ultrasound_create(rvx_ultrasound **ultrasound,
                                  const rvx_ultrasound_options *options, rvx_error *error);
/* Next slice as 8-bit grey, X * Y voxels, zero outside the fan. Slices come in order. */
void rvx__ultrasound_next(rvx_ultrasound *ultrasound, uint8_t *image);
/* Labels of slice z on the image grid, zero outside the fan. Any order. */
void rvx__ultrasound_labels(const rvx_ultrasound *ultrasound, uint8_t *labels, int64_t z);
void rvx__ultrasound_free(rvx_ultrasound *ultrasound);

/* The detected envelope of the latest slice before the logarithm, for tests: rows x beams. */
typedef struct rvx_envelope {
    const float *values;
    int64_t rows, beams;
    double row_mm, beam_rad, angle_first; /* angle from the centre of the fan */
} rvx_envelope;
rvx_envelope rvx__ultrasound_envelope(const rvx_ultrasound *ultrasound);

#endif
