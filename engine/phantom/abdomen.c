/* Abdomen as implicit surfaces: what tissue and which label stand at a point. Owns: the evaluation
 * of rvx_abdomen; build.c draws its parameters. Tissues are laid over each other from the
 * outside in, each with a soft edge, so that impedance has a gradient for the acoustics to read. */
#include "engine/phantom/abdomen.h"

#include "engine/volume/point_spread.h"

#include <math.h>

enum { LABEL_BACKGROUND, LABEL_LIVER, LABEL_VESSEL, LABEL_GALLBLADDER, LABEL_TUMOUR };

static float square(float x) { return x * x; }

static float ripple(const rvx_ripple *r, const float p[3])
{
    float term[WAVES], sum = 0;
    for (int k = 0; k < WAVES; k++)
        term[k] =
            r->amplitude[k] * rvx__sine_turns(r->cycles[0][k] * p[0] + r->cycles[1][k] * p[1] +
                                              r->cycles[2][k] * p[2] + r->phase[k]);
    for (int k = 0; k < WAVES; k++)
        sum += term[k];
    return sum;
}

/* With u = (p - c) / a and e = |u|, first order in the distance:  d = e (e - 1) / |u / a|. */
float rvx__ellipsoid_distance(const rvx_ellipsoid *ellipsoid, const float p[3])
{
    float e = 0, g = 0;
    for (int i = 0; i < 3; i++) {
        float u = (p[i] - ellipsoid->centre[i]) * ellipsoid->inverse_axes[i];
        e += u * u;
        g += square(u * ellipsoid->inverse_axes[i]);
    }
    e = sqrtf(e);
    return e < 1e-3f ? -1.0f / ellipsoid->inverse_axes[0] : e * (e - 1.0f) / sqrtf(g);
}

/* Minimum whose crease is rounded over k mm. */
static float soft_minimum(float a, float b, float k)
{
    float h = k - fabsf(a - b);
    float low = a < b ? a : b;
    return h > 0 ? low - 0.25f * h * h / k : low;
}

float rvx__liver_distance(const rvx_abdomen *a, const float p[3])
{
    float d = soft_minimum(rvx__ellipsoid_distance(&a->right_lobe, p),
                           rvx__ellipsoid_distance(&a->left_lobe, p), 14.0f);
    /* The ripple cannot move the surface this far. */
    if (fabsf(d) > a->liver_ripple.bound + 4.0f)
        return d;
    return d + ripple(&a->liver_ripple, p);
}

float rvx__gallbladder_distance(const rvx_gallbladder *g, const float p[3])
{
    float q[3] = {p[0] - g->centre[0], p[1] - g->centre[1], p[2] - g->centre[2]};
    if (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] > square(1.5f * g->half_length + 8.0f))
        return 1e3f;
    float v[3];
    for (int i = 0; i < 3; i++)
        v[i] = g->rotation[i][0] * q[0] + g->rotation[i][1] * q[1] + g->rotation[i][2] * q[2];
    float s = v[2] / g->half_length;
    s = s < -1.3f ? -1.3f : s > 1.3f ? 1.3f : s;
    v[0] -= g->bend * s * s;
    float radius = g->radius * (1.0f + g->taper * s); /* a pear: wide fundus, narrow neck */
    rvx_ellipsoid body = {.inverse_axes = {1 / radius, 1 / radius, 1 / g->half_length}};
    return rvx__ellipsoid_distance(&body, v);
}

static float stone_distance(const rvx_gallbladder *g, const float p[3])
{
    float best = 1e3f;
    for (int k = 0; k < g->stone_count; k++) {
        const float *c = g->stone_centre[k];
        float d = sqrtf(square(p[0] - c[0]) + square(p[1] - c[1]) + square(p[2] - c[2])) -
                  g->stone_radius[k];
        best = d < best ? d : best;
    }
    return best;
}

static float tumour_distance(const rvx_tumour *t, const float p[3])
{
    float away = square(p[0] - t->core.centre[0]) + square(p[1] - t->core.centre[1]) +
                 square(p[2] - t->core.centre[2]);
    if (away > square(t->reach))
        return 1e3f;
    float d = rvx__ellipsoid_distance(&t->core, p);
    for (int k = 0; k < t->lobe_count; k++) {
        const float *c = t->lobe_centre[k];
        float lobe = sqrtf(square(p[0] - c[0]) + square(p[1] - c[1]) + square(p[2] - c[2])) -
                     t->lobe_radius[k];
        d = soft_minimum(d, lobe, 0.2f * t->radius);
    }
    return d;
}

/* Ribs run across the fan; elliptic in section, at the depth of the muscle. */
static float rib_distance(const rvx_abdomen *a, rvx_point p, float depth)
{
    float best = 1e3f, middle = 0.5f * (a->fat_mm + a->muscle_mm);
    for (int k = 0; k < a->rib_count; k++) {
        const rvx_rib *rib = &a->ribs[k];
        float across = (p.x - rib->x) * rib->cosine - p.z * rib->sine;
        float u = across / a->rib_half_width, v = (depth - middle) / a->rib_half_thickness;
        float e = sqrtf(u * u + v * v);
        float g = sqrtf(square(u / a->rib_half_width) + square(v / a->rib_half_thickness));
        float d = e < 1e-3f ? -a->rib_half_thickness : e * (e - 1) / g;
        best = d < best ? d : best;
    }
    return best;
}

/* 1 inside, 0 outside, smooth over two edge widths. */
static float cover(float distance, float edge)
{
    float t = 0.5f - 0.5f * distance / edge;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return t * t * (3.0f - 2.0f * t);
}

static void lay(rvx_material *m, const rvx_material *over, float weight)
{
    m->amplitude += weight * (over->amplitude - m->amplitude);
    m->impedance += weight * (over->impedance - m->impedance);
    m->attenuation += weight * (over->attenuation - m->attenuation);
}

static void to_liver_frame(float out[3], const rvx_abdomen *a, rvx_point p)
{
    float q[3] = {p.x - a->centre[0], p.y - a->centre[1], p.z - a->centre[2]};
    for (int i = 0; i < 3; i++)
        out[i] = a->rotation[i][0] * q[0] + a->rotation[i][1] * q[1] + a->rotation[i][2] * q[2];
}

static rvx_material wall_material(const rvx_abdomen *a, rvx_point point, float depth)
{
    float edge = a->edge_mm;
    rvx_material m = a->tissues[TISSUE_SKIN];
    lay(&m, &a->tissues[TISSUE_FAT], cover(a->skin_mm - depth, edge));
    lay(&m, &a->tissues[TISSUE_MUSCLE], cover(a->fat_mm - depth, edge));
    if (depth > a->skin_mm) { /* septa and fascia: bright strands along the layers */
        float s = rvx__sine_turns(depth / 4.1f + 0.011f * point.x + 0.006f * point.z);
        m.amplitude *= 0.75f + 1.6f * square(s * s);
        m.impedance += 0.02f * square(s * s);
    }
    if (a->rib_count)
        lay(&m, &a->tissues[TISSUE_BONE], cover(rib_distance(a, point, depth), edge));
    return m;
}

/* Outside the liver: lung behind the diaphragm towards the head and back, bowel elsewhere. */
static rvx_material surroundings(const rvx_abdomen *a, const float p[3], float liver)
{
    rvx_material m = a->tissues[TISSUE_BOWEL];
    float texture = ripple(&a->texture_ripple, p);
    m.amplitude *= 1.0f + 0.9f * texture;
    m.impedance += 0.05f * texture;
    float plane = a->lung_offset -
                  (a->lung_normal[0] * p[0] + a->lung_normal[1] * p[1] + a->lung_normal[2] * p[2]);
    lay(&m, &a->tissues[TISSUE_DIAPHRAGM], cover(plane - 4.0f, 2.0f));
    float lung = 3.0f - liver > plane ? 3.0f - liver : plane;
    lay(&m, &a->tissues[TISSUE_LUNG], cover(lung, a->edge_mm));
    return m;
}

static rvx_material inner_material(const rvx_abdomen *a, const float p[3])
{
    float edge = a->edge_mm;
    float liver = rvx__liver_distance(a, p);
    float liver_cover = cover(liver, edge);
    rvx_material m = {0};
    if (liver_cover < 1)
        m = surroundings(a, p, liver);
    if (liver_cover > 0) {
        rvx_material parenchyma = a->tissues[TISSUE_LIVER];
        parenchyma.amplitude *= 1.0f + 0.12f * ripple(&a->texture_ripple, p);
        lay(&m, &parenchyma, liver_cover);
    }
    rvx_vessel_hit vessel = rvx__vessels_nearest(&a->vessels, p);
    if (vessel.distance < a->vessels.reach_mm) {
        float wall = vessel.kind == RVX_VESSEL_PORTAL ? 0.5f + 0.12f * vessel.radius : 0.0f;
        if (wall > 0)
            lay(&m, &a->tissues[TISSUE_PORTAL_WALL], cover(vessel.distance - wall, edge));
        lay(&m, &a->tissues[TISSUE_BLOOD], cover(vessel.distance, edge));
    }
    for (int k = 0; k < a->tumour_count; k++) {
        const rvx_tumour *t = &a->tumours[k];
        float d = tumour_distance(t, p);
        if (d > t->halo_mm + edge)
            continue;
        if (t->halo_mm > 0)
            lay(&m, &a->tissues[TISSUE_HALO], liver_cover * cover(d - t->halo_mm, edge));
        rvx_material core = t->material;
        core.amplitude *= 1.0f + 0.35f * ripple(&a->texture_ripple, p);
        lay(&m, &core, liver_cover * cover(d, edge));
    }
    float bladder = rvx__gallbladder_distance(&a->gallbladder, p);
    if (bladder < a->gallbladder.wall_mm + edge) {
        lay(&m, &a->tissues[TISSUE_GALLBLADDER_WALL],
            cover(bladder - a->gallbladder.wall_mm, edge));
        lay(&m, &a->tissues[TISSUE_BILE], cover(bladder, edge));
        if (a->gallbladder.stone_count)
            lay(&m, &a->tissues[TISSUE_STONE], cover(stone_distance(&a->gallbladder, p), edge));
    }
    return m;
}

static rvx_material abdomen_material(const void *self, rvx_point point)
{
    const rvx_abdomen *a = self;
    float at[3] = {point.x, point.y, point.z};
    float depth = point.depth;
    if (depth > 1.0f) /* the skin is flat against the probe */
        depth += ripple(&a->wall_ripple, at) * (depth < 4.0f ? (depth - 1.0f) / 3.0f : 1.0f);
    float inside = cover(a->muscle_mm - depth, a->edge_mm);
    if (inside <= 0)
        return wall_material(a, point, depth);
    float p[3];
    to_liver_frame(p, a, point);
    rvx_material m = inner_material(a, p);
    if (inside < 1) {
        rvx_material wall = wall_material(a, point, depth);
        lay(&m, &wall, 1.0f - inside);
    }
    return m;
}

/* Precedence: wall, gallbladder, tumour, vessel, parenchyma. The border of the gallbladder runs in
 * the middle of its wall, where a reader would draw it. */
static uint8_t abdomen_label(const void *self, rvx_point point)
{
    const rvx_abdomen *a = self;
    float at[3] = {point.x, point.y, point.z}, p[3];
    float depth = point.depth;
    if (depth < a->muscle_mm + a->wall_ripple.bound &&
        depth + ripple(&a->wall_ripple, at) < a->muscle_mm)
        return LABEL_BACKGROUND;
    to_liver_frame(p, a, point);
    if (rvx__gallbladder_distance(&a->gallbladder, p) < 0.5f * a->gallbladder.wall_mm)
        return LABEL_GALLBLADDER;
    float liver = rvx__liver_distance(a, p);
    for (int k = 0; k < a->tumour_count && liver < 0; k++)
        if (tumour_distance(&a->tumours[k], p) < 0)
            return LABEL_TUMOUR;
    rvx_vessel_hit vessel = rvx__vessels_nearest(&a->vessels, p);
    if (vessel.distance < 0 && vessel.radius >= a->vessel_radius_mm)
        return LABEL_VESSEL;
    return liver < 0 ? LABEL_LIVER : LABEL_BACKGROUND;
}

rvx_scene rvx__abdomen_scene(const rvx_abdomen *abdomen)
{
    return (rvx_scene){abdomen, abdomen_material, abdomen_label};
}
