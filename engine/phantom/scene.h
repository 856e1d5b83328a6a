/* What the sound travels through. Owns: the material model and the interface between anatomy and
 * acoustics.
 *
 * Scene coordinates are millimetres in the image: x to the right with 0 in the middle, y downwards
 * (away from the probe) with 0 at the upper edge, z along the slices with 0 in the middle. `depth`
 * is the distance from the probe's face along the beam; layers of the abdominal wall follow it,
 * because the probe presses its own shape into the skin.
 *
 * Invariant: a scene is immutable once made and its two functions are pure, so any thread may ask
 * for any point in any order. */
#ifndef RVX_PHANTOM_SCENE_H
#define RVX_PHANTOM_SCENE_H

#include "engine/volume/volume.h"
#include "kernels/random.h"
#include "kernels/status.h"

#include <stdint.h>

typedef struct rvx_material {
    float amplitude;   /* root mean square of the backscatter, relative to normal liver */
    float impedance;   /* MRayl: density times speed of sound */
    float attenuation; /* dB / cm / MHz, one way */
} rvx_material;

typedef struct rvx_point {
    float x, y, z; /* mm, scene coordinates */
    float depth;   /* mm from the face of the probe */
} rvx_point;

typedef struct rvx_scene {
    const void *self;
    rvx_material (*material)(const void *self, rvx_point point);
    uint8_t (*label)(const void *self, rvx_point point);
} rvx_scene;

/* Curvilinear probe: beams leave an arc of `radius` round the apex and diverge. */
typedef struct rvx_probe {
    double apex_x, apex_y; /* mm; apex_y is negative: the apex lies above the image */
    double radius;         /* mm from the apex to the face */
    double depth;          /* mm from the face to the end of the beams */
    double angle_centre;   /* rad from the y axis */
    double angle_half;     /* rad: half of the opening */
    double frequency_mhz;
    double focus;             /* mm of depth */
    double noise_deep_db;     /* electronic noise at the end of the beams, relative to liver */
    double clutter;           /* amplitude of the reverberation at the face, relative to liver */
    double gain_db, range_db; /* display */
} rvx_probe;

/* The probe of one case, a pure function of the arguments. `draw` lets the fan end about where the
 * picture does; `cover` holds the probe so far away that the fan covers the whole picture, so that
 * no voxel of a label map lies outside. */
void rvx__probe_draw(rvx_probe *probe, uint64_t seed, int64_t case_index, const double field_mm[3]);
void rvx__probe_cover(rvx_probe *probe, uint64_t seed, int64_t case_index,
                      const double field_mm[3]);

/* Streams of random numbers: one per case and purpose, so case k never depends on the others. */
enum {
    RVX_PHANTOM_PROBE,
    RVX_PHANTOM_ANATOMY,
    RVX_PHANTOM_VESSELS,
    RVX_PHANTOM_SCATTERERS,
    RVX_PHANTOM_NOISE,
    RVX_PHANTOM_PURPOSES
};

static inline uint64_t rvx__phantom_stream(int64_t case_index, int purpose)
{
    return ((uint64_t)case_index << 8 | (uint64_t)purpose) ^ ((uint64_t)0x7075 << 48);
}

/* Abdomen of one case: liver with vessels, gallbladder and tumours behind a wall of skin, fat,
 * muscle and ribs. Labels 0 background, 1 parenchyma, 2 vessel, 3 gallbladder, 4 tumour.
 * `field_mm` is the field of view; `edge_mm` the softness of boundaries (about one sample);
 * vessels thinner than `vessel_radius_mm` are simulated but not labelled. */
typedef struct rvx_abdomen rvx_abdomen;
rvx_status rvx__abdomen_create(rvx_abdomen **abdomen, uint64_t seed, int64_t case_index,
                               const rvx_probe *probe, const double field_mm[3], double edge_mm,
                               double vessel_radius_mm, rvx_error *error);
rvx_scene rvx__abdomen_scene(const rvx_abdomen *abdomen);
void rvx__abdomen_free(rvx_abdomen *abdomen);

/* Which values of a set of label maps become which label. Values that no group names become
 * label 0 but keep a tissue of their own; value 0 is the surroundings. */
typedef struct rvx_label_table {
    int64_t count; /* entries, sorted by value */
    int32_t *values;
    uint8_t *labels;
    int64_t label_count; /* labels 0 .. label_count - 1 */
} rvx_label_table;

/* From text such as "1=2,41;2=3,42": label = values of the map. */
rvx_status rvx__label_table_parse(rvx_label_table *table, const char *merge, rvx_error *error);
/* From the maps themselves: all non-zero values, the most frequent first. */
rvx_status rvx__label_table_count(rvx_label_table *table, char *const *paths, int64_t path_count,
                                  rvx_error *error);
void rvx__label_table_free(rvx_label_table *table);

/* A label map as anatomy, resampled (nearest) to isotropic `spacing_mm`, or on its own grid when
 * that is zero. Held in memory: one byte a voxel. */
typedef struct rvx_atlas rvx_atlas;
rvx_status rvx__atlas_create(rvx_atlas **atlas, const char *path, const rvx_label_table *table,
                             double spacing_mm, rvx_error *error);
const rvx_geometry *rvx__atlas_geometry(const rvx_atlas *atlas);
/* Labels of slice z, X * Y bytes. */
void rvx__atlas_labels(const rvx_atlas *atlas, uint8_t *out, int64_t z);
rvx_scene rvx__atlas_scene(const rvx_atlas *atlas);
void rvx__atlas_free(rvx_atlas *atlas);

#endif
