/* Branching vessel trees. Owns: tapered capsules and the grid of cells that finds the nearest one
 * in constant time. Invariant: every capsule within `reach` of a cell is on that cell's list, so a
 * distance below `reach` is exact. */
#ifndef RVX_PHANTOM_VESSELS_H
#define RVX_PHANTOM_VESSELS_H

#include "kernels/random.h"
#include "kernels/status.h"

#include <stdint.h>

typedef enum rvx_vessel_kind { RVX_VESSEL_VEIN, RVX_VESSEL_PORTAL } rvx_vessel_kind;

typedef struct rvx_capsule {
    float start[3], axis[3]; /* mm; axis reaches from start to end */
    float inverse_square;    /* 1 / |axis|^2 */
    float radius, taper;     /* mm at the start; mm added over the length */
    rvx_vessel_kind kind;
} rvx_capsule;

typedef struct rvx_vessels {
    rvx_capsule *capsules;
    int64_t count, capacity;
    float origin[3], cell_mm, reach_mm;
    int32_t cells[3];
    int32_t *cell_start; /* cells + 1 entries into items */
    int32_t *items;
} rvx_vessels;

/* Negative inside; `context` is the caller's. */
typedef float (*rvx_distance)(const void *context, const float point[3]);

/* One tree: a branch of `radius` leaves `start` along `direction`, bends, and bifurcates by
 * Murray's law (r0^3 = r1^3 + r2^3, angles that cost the least work) down to `radius_min`, always
 * steered into the organ described by `organ`. */
typedef struct rvx_tree_options {
    float start[3], direction[3], centre[3]; /* mm; centre of the organ, to steer towards */
    float radius, radius_min;                /* mm */
    float length_ratio;                      /* length of a branch over its radius, mean */
    rvx_vessel_kind kind;
    rvx_distance organ;
    const void *context;
} rvx_tree_options;

rvx_status rvx__vessels_grow(rvx_vessels *vessels, const rvx_tree_options *options,
                             rvx_random *random, rvx_error *error);
/* One straight tube. */
rvx_status rvx__vessels_add(rvx_vessels *vessels, const float start[3], const float end[3],
                            float radius_start, float radius_end, rvx_vessel_kind kind,
                            rvx_error *error);
/* Builds the cells over the box low .. high; call once, after the last tube. */
rvx_status rvx__vessels_index(rvx_vessels *vessels, const float low[3], const float high[3],
                              float reach_mm, rvx_error *error);
void rvx__vessels_free(rvx_vessels *vessels);

typedef struct rvx_vessel_hit {
    float distance; /* mm to the surface, negative inside; large when none is within reach */
    float radius;   /* mm of the nearest tube there */
    rvx_vessel_kind kind;
} rvx_vessel_hit;

rvx_vessel_hit rvx__vessels_nearest(const rvx_vessels *vessels, const float point[3]);

#endif
