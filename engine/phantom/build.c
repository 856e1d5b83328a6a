/* Draws one abdomen: every parameter of rvx_abdomen from the case's own random stream. Owns: what
 * varies between patients, and how much. Invariant: reads nothing but (seed, case, probe, field);
 * the same four give the same abdomen bit for bit.
 *
 * Acoustic values: Duck, "Physical properties of tissue" (1990); attenuation in dB/cm/MHz,
 * impedance in MRayl. Backscatter is relative to normal liver. */
#include "engine/phantom/abdomen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const rvx_material tissue_materials[TISSUE_COUNT] = {
    [TISSUE_SKIN] = {1.60f, 1.70f, 0.90f},   [TISSUE_FAT] = {0.45f, 1.38f, 0.55f},
    [TISSUE_MUSCLE] = {0.60f, 1.66f, 0.90f}, [TISSUE_BONE] = {1.20f, 5.50f, 16.0f},
    [TISSUE_BOWEL] = {1.60f, 1.52f, 0.55f},  [TISSUE_DIAPHRAGM] = {0.40f, 1.68f, 0.80f},
    [TISSUE_LUNG] = {0.60f, 0.25f, 3.50f},   [TISSUE_LIVER] = {1.00f, 1.64f, 0.55f},
    [TISSUE_BLOOD] = {0.045f, 1.61f, 0.18f}, [TISSUE_PORTAL_WALL] = {2.00f, 1.74f, 0.60f},
    [TISSUE_BILE] = {0.020f, 1.57f, 0.06f},  [TISSUE_GALLBLADDER_WALL] = {1.90f, 1.72f, 0.60f},
    [TISSUE_STONE] = {3.00f, 5.00f, 22.0f},  [TISSUE_HALO] = {0.35f, 1.62f, 0.55f},
};

static void draw_ripple(rvx_ripple *r, float shortest_mm, float longest_mm, float amplitude,
                        rvx_random *random)
{
    r->bound = 0;
    for (int k = 0; k < WAVES; k++) {
        float v[3], squared = 1e-6f,
                    wavelength = rvx__random_range(random, shortest_mm, longest_mm);
        for (int i = 0; i < 3; i++) {
            v[i] = rvx__random_normal(random);
            squared += v[i] * v[i];
        }
        for (int i = 0; i < 3; i++)
            r->cycles[i][k] = v[i] / (wavelength * sqrtf(squared));
        r->phase[k] = rvx__random_uniform(random);
        r->amplitude[k] = amplitude * rvx__random_range(random, 0.22f, 0.48f);
        r->bound += r->amplitude[k];
    }
}

/* Rotations about x, then y, then z, by radians. */
static void rotation_from_angles(float out[3][3], float about_x, float about_y, float about_z)
{
    float cx = cosf(about_x), sx = sinf(about_x), cy = cosf(about_y), sy = sinf(about_y);
    float cz = cosf(about_z), sz = sinf(about_z);
    float rows[3][3] = {{cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx},
                        {sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx},
                        {-sy, cy * sx, cy * cx}};
    memcpy(out, rows, sizeof rows);
}

static void rotate(float out[3], const float rotation[3][3], const float v[3])
{
    for (int i = 0; i < 3; i++)
        out[i] = rotation[i][0] * v[0] + rotation[i][1] * v[1] + rotation[i][2] * v[2];
}

static void set_ellipsoid(rvx_ellipsoid *e, float x, float y, float z, float a, float b, float c)
{
    *e = (rvx_ellipsoid){.centre = {x, y, z}, .inverse_axes = {1 / a, 1 / b, 1 / c}};
}

static void build_tissues(rvx_abdomen *a, rvx_random *random)
{
    memcpy(a->tissues, tissue_materials, sizeof tissue_materials);
    for (int k = 0; k < TISSUE_COUNT; k++)
        a->tissues[k].amplitude *= rvx__random_range(random, 0.85f, 1.18f);
    /* Fatty livers scatter and absorb more. */
    float fatty = rvx__random_uniform(random);
    a->tissues[TISSUE_LIVER].amplitude = 0.85f + 0.45f * fatty * fatty;
    a->tissues[TISSUE_LIVER].attenuation = 0.45f + 0.25f * fatty;
}

static void build_wall(rvx_abdomen *a, const rvx_probe *probe, rvx_random *random)
{
    a->skin_mm = rvx__random_range(random, 1.4f, 2.2f);
    a->fat_mm = a->skin_mm + rvx__random_range(random, 4.0f, 13.0f);
    a->muscle_mm = a->fat_mm + rvx__random_range(random, 7.0f, 11.0f);
    draw_ripple(&a->wall_ripple, 25, 70, 0.9f, random);
    float ribs = rvx__random_uniform(random);
    a->rib_count = ribs < 0.45f ? 0 : ribs < 0.85f ? 1 : 2;
    a->rib_half_width = rvx__random_range(random, 3.4f, 4.8f);
    a->rib_half_thickness = rvx__random_range(random, 2.4f, 3.4f);
    float middle = 0.5f * (a->fat_mm + a->muscle_mm);
    float half_width = ((float)probe->radius + middle) * sinf((float)probe->angle_half);
    float side = rvx__random_uniform(random) < 0.5f ? -1.0f : 1.0f;
    for (int k = 0; k < RIBS_MAX; k++) {
        float tilt = rvx__random_range(random, -0.35f, 0.35f);
        a->ribs[k] = (rvx_rib){
            .x = side * half_width * rvx__random_range(random, 0.6f, 1.05f),
            .sine = sinf(tilt),
            .cosine = cosf(tilt),
        };
        side = -side;
    }
}

static void build_liver(rvx_abdomen *a, const rvx_probe *probe, rvx_random *random)
{
    float face = (float)(probe->apex_y + probe->radius);
    rotation_from_angles(a->rotation, rvx__random_range(random, -0.25f, 0.25f),
                         rvx__random_range(random, -0.35f, 0.35f),
                         rvx__random_range(random, -0.25f, 0.25f));
    float size = rvx__random_range(random, 0.9f, 1.08f);
    float thickness = 50.0f * size * rvx__random_range(random, 0.9f, 1.1f);
    a->centre[0] = rvx__random_range(random, -14, 14);
    a->centre[1] = face + a->muscle_mm + thickness * rvx__random_range(random, 0.8f, 1.0f);
    a->centre[2] = rvx__random_range(random, -12, 12);
    set_ellipsoid(&a->right_lobe, -12, 0, 0, 58 * size, thickness, 64 * size);
    set_ellipsoid(&a->left_lobe, 40 * size, -12, 8, 50 * size, 0.58f * thickness, 44 * size);
    draw_ripple(&a->liver_ripple, 45, 110, 4.0f, random);
    draw_ripple(&a->texture_ripple, 9, 40, 0.8f, random);
    float back = rvx__random_range(random, 0.5f, 0.9f);
    a->lung_normal[0] = -0.2f;
    a->lung_normal[1] = back;
    a->lung_normal[2] = sqrtf(1.0f - back * back);
    a->lung_offset = rvx__random_range(random, 18, 42);
    a->cava[0] = rvx__random_range(random, 4, 14);
    a->cava[1] = 0.62f * thickness + 5;
    a->cava[2] = rvx__random_range(random, 20, 32);
}

/* A point of the liver's frame that the beams reach: between two depths, off the edges. */
static void draw_in_view(float out[3], const rvx_abdomen *a, const rvx_probe *probe,
                         const double field_mm[3], float depth_low, float depth_high,
                         rvx_random *random)
{
    float r = (float)probe->radius + rvx__random_range(random, depth_low, depth_high);
    float half = 0.75f * (float)probe->angle_half;
    float angle = (float)probe->angle_centre + rvx__random_range(random, -half, half);
    float reach_z = 0.36f * (float)fmin(field_mm[2], 150);
    float p[3] = {(float)probe->apex_x + r * sinf(angle) - a->centre[0],
                  (float)probe->apex_y + r * cosf(angle) - a->centre[1],
                  rvx__random_range(random, -reach_z, reach_z) - a->centre[2]};
    rotate(out, a->rotation, p);
}

/* Stones lie where gravity takes them: on the posterior wall of a patient on the back. */
static void build_stones(rvx_abdomen *a, rvx_random *random)
{
    rvx_gallbladder *g = &a->gallbladder;
    g->stone_count = 0;
    int64_t wanted = rvx__random_uniform(random) < 0.55f ? 1 + rvx__random_below(random, 3) : 0;
    for (int64_t k = 0; k < wanted; k++) {
        float along = g->half_length * rvx__random_range(random, -0.35f, 0.6f);
        float radius = fminf(rvx__random_range(random, 2.5f, 6.0f), 0.45f * g->radius);
        float down[3] = {a->rotation[0][1], a->rotation[1][1], a->rotation[2][1]};
        float p[3];
        for (int i = 0; i < 3; i++)
            p[i] = g->centre[i] + along * g->rotation[2][i];
        for (int step = 0; step < 80; step++) {
            float next[3] = {p[0] + 0.5f * down[0], p[1] + 0.5f * down[1], p[2] + 0.5f * down[2]};
            if (rvx__gallbladder_distance(g, next) > -radius)
                break;
            memcpy(p, next, sizeof next);
        }
        if (rvx__gallbladder_distance(g, p) > -0.8f * radius)
            continue;
        memcpy(g->stone_centre[g->stone_count], p, sizeof p);
        g->stone_radius[g->stone_count++] = radius;
    }
}

static void build_gallbladder(rvx_abdomen *a, const rvx_probe *probe, const double field_mm[3],
                              rvx_random *random)
{
    rvx_gallbladder *g = &a->gallbladder;
    g->half_length = rvx__random_range(random, 24, 34);
    g->radius = rvx__random_range(random, 10, 15);
    g->taper = rvx__random_range(random, 0.15f, 0.35f);
    g->bend = rvx__random_range(random, 2, 7);
    g->wall_mm = rvx__random_range(random, 1.6f, 2.6f);
    rotation_from_angles(g->rotation, rvx__random_range(random, -0.7f, 0.7f),
                         rvx__random_range(random, -0.6f, 0.6f),
                         rvx__random_range(random, -1.5f, 1.5f));
    /* It hangs in a bed on the underside: half of it within the liver, off the roof. */
    float best = 1e9f, wanted = -0.45f * g->radius;
    for (int attempt = 0; attempt < 64; attempt++) {
        float p[3];
        draw_in_view(p, a, probe, field_mm, a->muscle_mm + g->radius + 18, 105, random);
        float penalty = fabsf(rvx__liver_distance(a, p) - wanted);
        penalty += p[1] < 5 ? 0.5f * (5 - p[1]) : 0;
        penalty += p[2] > 20 ? 0.3f * (p[2] - 20) : 0;
        float x = p[0] - a->cava[0], y = p[1] - a->cava[1];
        penalty += fmaxf(0, 12 + 1.3f * g->radius - sqrtf(x * x + y * y));
        if (penalty < best) {
            best = penalty;
            memcpy(g->centre, p, sizeof p);
        }
    }
    build_stones(a, random);
}

static void fill_tumour(rvx_abdomen *a, rvx_tumour *t, const float centre[3], float radius,
                        rvx_random *random)
{
    float axes[3];
    for (int i = 0; i < 3; i++)
        axes[i] = 0.75f * radius * rvx__random_range(random, 0.8f, 1.15f);
    set_ellipsoid(&t->core, centre[0], centre[1], centre[2], axes[0], axes[1], axes[2]);
    t->radius = radius;
    t->lobe_count = 3 + (int32_t)rvx__random_below(random, LOBES_MAX - 2);
    for (int k = 0; k < t->lobe_count; k++) {
        float v[3], squared = 1e-6f;
        for (int i = 0; i < 3; i++) {
            v[i] = rvx__random_normal(random);
            squared += v[i] * v[i];
        }
        float out = radius * rvx__random_range(random, 0.55f, 0.8f) / sqrtf(squared);
        for (int i = 0; i < 3; i++)
            t->lobe_centre[k][i] = centre[i] + out * v[i];
        t->lobe_radius[k] = radius * rvx__random_range(random, 0.25f, 0.5f);
    }
    t->reach = 1.6f * radius + 8.0f;
    int dark = rvx__random_uniform(random) < 0.6f;
    t->halo_mm = !dark && rvx__random_uniform(random) < 0.5f ? 1.6f : 0.0f;
    t->material = a->tissues[TISSUE_LIVER];
    t->material.amplitude *=
        dark ? rvx__random_range(random, 0.22f, 0.45f) : rvx__random_range(random, 2.0f, 3.2f);
    t->material.attenuation *= rvx__random_range(random, 0.8f, 1.5f);
    t->material.impedance += rvx__random_range(random, -0.03f, 0.03f);
}

static void build_tumours(rvx_abdomen *a, const rvx_probe *probe, const double field_mm[3],
                          rvx_random *random)
{
    int64_t wanted = 1 + rvx__random_below(random, TUMOURS_MAX);
    for (int64_t k = 0; k < wanted; k++) {
        float radius = rvx__random_range(random, 7, 18);
        for (int attempt = 0; attempt < 80; attempt++, radius = fmaxf(0.98f * radius, 6)) {
            float p[3];
            draw_in_view(p, a, probe, field_mm, a->muscle_mm + radius + 2, 115, random);
            int clear = rvx__liver_distance(a, p) < -0.9f * radius &&
                        rvx__gallbladder_distance(&a->gallbladder, p) > 1.3f * radius + 3;
            for (int other = 0; other < a->tumour_count && clear; other++) {
                const rvx_tumour *t = &a->tumours[other];
                float x = p[0] - t->core.centre[0], y = p[1] - t->core.centre[1];
                float z = p[2] - t->core.centre[2];
                clear = sqrtf(x * x + y * y + z * z) > 1.3f * (radius + t->radius) + 2;
            }
            if (!clear)
                continue;
            fill_tumour(a, &a->tumours[a->tumour_count++], p, radius, random);
            break;
        }
    }
}

static float organ_distance(const void *context, const float point[3])
{
    return rvx__liver_distance(context, point);
}

/* The vena cava runs along the spine; three hepatic veins drain to it; the portal vein enters from
 * below and branches through the whole organ. */
static rvx_status build_vessels(rvx_abdomen *a, uint64_t seed, int64_t case_index, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_random random = {.seed = seed,
                         .stream = rvx__phantom_stream(case_index, RVX_PHANTOM_VESSELS)};
    float radius_min = fmaxf(0.7f, 0.4f * a->vessel_radius_mm);
    const float *cava = a->cava;
    rvx_tree_options tree = {
        .centre = {-8, -4, 0},
        .length_ratio = 4.6f,
        .radius_min = radius_min,
        .organ = organ_distance,
        .context = a,
    };
    RVX_TRY(rvx__vessels_add(&a->vessels, (float[3]){cava[0], cava[1] + 5, -110},
                             (float[3]){cava[0], cava[1] - 1, 80},
                             rvx__random_range(&random, 8, 10), 9, RVX_VESSEL_VEIN, error));
    static const float towards[3][3] = {
        {-1.0f, -0.25f, -0.25f}, {-0.35f, -0.8f, -0.5f}, {0.8f, -0.6f, -0.1f}};
    for (int k = 0; k < 3; k++) {
        memcpy(tree.start, cava, sizeof a->cava);
        for (int i = 0; i < 3; i++)
            tree.direction[i] = towards[k][i] + rvx__random_range(&random, -0.2f, 0.2f);
        tree.radius = rvx__random_range(&random, 4.2f, 5.6f);
        tree.kind = RVX_VESSEL_VEIN;
        RVX_TRY(rvx__vessels_grow(&a->vessels, &tree, &random, error));
    }
    float hilum[3] = {rvx__random_range(&random, 0, 12), 0.5f * cava[1],
                      rvx__random_range(&random, -22, -10)};
    float below[3] = {hilum[0] + 14, hilum[1] + 12, hilum[2] - 45};
    tree.radius = rvx__random_range(&random, 5.0f, 6.2f);
    tree.kind = RVX_VESSEL_PORTAL;
    RVX_TRY(rvx__vessels_add(&a->vessels, below, hilum, tree.radius, tree.radius, RVX_VESSEL_PORTAL,
                             error));
    static const float sides[2][3] = {{-0.9f, -0.25f, 0.35f}, {0.75f, -0.6f, 0.45f}};
    for (int k = 0; k < 2; k++) {
        memcpy(tree.start, hilum, sizeof hilum);
        for (int i = 0; i < 3; i++)
            tree.direction[i] = sides[k][i] + rvx__random_range(&random, -0.15f, 0.15f);
        tree.radius *= k == 0 ? 0.85f : 0.9f;
        RVX_TRY(rvx__vessels_grow(&a->vessels, &tree, &random, error));
    }
    RVX_TRY(rvx__vessels_index(&a->vessels, (float[3]){-120, -100, -115}, (float[3]){120, 115, 115},
                               1.5f + a->edge_mm, error));
cleanup:
    return status;
}

rvx_status rvx__abdomen_create(rvx_abdomen **abdomen, uint64_t seed, int64_t case_index,
                               const rvx_probe *probe, const double field_mm[3], double edge_mm,
                               double vessel_radius_mm, rvx_error *error)
{
    *abdomen = NULL;
    rvx_abdomen *a = calloc(1, sizeof *a);
    if (!a)
        return rvx__fail(error, RVX_ERROR_MEMORY, "phantom: no memory for the anatomy");
    rvx_random random = {.seed = seed,
                         .stream = rvx__phantom_stream(case_index, RVX_PHANTOM_ANATOMY)};
    a->edge_mm = (float)edge_mm;
    a->vessel_radius_mm = (float)vessel_radius_mm;
    build_tissues(a, &random);
    build_wall(a, probe, &random);
    build_liver(a, probe, &random);
    build_gallbladder(a, probe, field_mm, &random);
    build_tumours(a, probe, field_mm, &random);
    rvx_status status = build_vessels(a, seed, case_index, error);
    if (status != RVX_OK) {
        rvx__abdomen_free(a);
        return status;
    }
    *abdomen = a;
    return RVX_OK;
}

void rvx__abdomen_free(rvx_abdomen *abdomen)
{
    if (!abdomen)
        return;
    rvx__vessels_free(&abdomen->vessels);
    free(abdomen);
}
