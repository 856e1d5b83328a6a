/* The abdomen's parameters, shared by the file that draws them (build.c) and the file that
 * evaluates them (abdomen.c). Everything below the wall is kept in the liver's own frame:
 * p' = rotation (p - centre), in mm. */
#ifndef RVX_PHANTOM_ABDOMEN_H
#define RVX_PHANTOM_ABDOMEN_H

#include "engine/phantom/scene.h"
#include "engine/phantom/vessels.h"

enum { WAVES = 8, LOBES_MAX = 6, TUMOURS_MAX = 4, STONES_MAX = 3, RIBS_MAX = 2 };

/* A sum of plane waves: smooth, aperiodic over an organ, and a pure function. Kept by component, so
 * that all waves go through the same vector instructions. */
typedef struct rvx_ripple {
    float cycles[3][WAVES]; /* per mm */
    float phase[WAVES];     /* turns */
    float amplitude[WAVES];
    float bound; /* no value exceeds this */
} rvx_ripple;

typedef struct rvx_ellipsoid {
    float centre[3], inverse_axes[3];
} rvx_ellipsoid;

typedef struct rvx_gallbladder {
    float centre[3], rotation[3][3]; /* from the liver's frame; third axis runs neck to fundus */
    float half_length, radius;       /* mm */
    float taper, bend;
    float wall_mm;
    int32_t stone_count;
    float stone_centre[STONES_MAX][3], stone_radius[STONES_MAX];
} rvx_gallbladder;

typedef struct rvx_tumour {
    rvx_ellipsoid core;
    int32_t lobe_count;
    float lobe_centre[LOBES_MAX][3], lobe_radius[LOBES_MAX];
    float radius, reach; /* mm: nominal; of a sphere round the centre that holds all of it */
    float halo_mm;       /* dark rim; 0: none */
    rvx_material material;
} rvx_tumour;

typedef struct rvx_rib {
    float x, sine, cosine; /* where its axis crosses z = 0, and its tilt in the x-z plane */
} rvx_rib;

typedef enum rvx_tissue {
    TISSUE_SKIN,
    TISSUE_FAT,
    TISSUE_MUSCLE,
    TISSUE_BONE,
    TISSUE_BOWEL,
    TISSUE_DIAPHRAGM,
    TISSUE_LUNG,
    TISSUE_LIVER,
    TISSUE_BLOOD,
    TISSUE_PORTAL_WALL,
    TISSUE_BILE,
    TISSUE_GALLBLADDER_WALL,
    TISSUE_STONE,
    TISSUE_HALO,
    TISSUE_COUNT
} rvx_tissue;

struct rvx_abdomen {
    rvx_material tissues[TISSUE_COUNT];
    float rotation[3][3], centre[3];
    float edge_mm, vessel_radius_mm;
    float skin_mm, fat_mm, muscle_mm; /* depth at which each layer ends */
    rvx_ripple wall_ripple, liver_ripple, texture_ripple;
    int32_t rib_count;
    rvx_rib ribs[RIBS_MAX];
    float rib_half_width, rib_half_thickness;
    rvx_ellipsoid right_lobe, left_lobe;
    float lung_normal[3], lung_offset;
    float cava[3]; /* where the hepatic veins join the vena cava */
    rvx_gallbladder gallbladder;
    int32_t tumour_count;
    rvx_tumour tumours[TUMOURS_MAX];
    rvx_vessels vessels;
};

/* Signed distances in mm, negative inside; exact near the surface to the order of its curvature.
 * Points are in the liver's frame. */
float rvx__liver_distance(const rvx_abdomen *a, const float p[3]);
float rvx__gallbladder_distance(const rvx_gallbladder *g, const float p[3]);
float rvx__ellipsoid_distance(const rvx_ellipsoid *e, const float p[3]);

#endif
