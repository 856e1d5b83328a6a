/* Vessel trees: growth and lookup. Source of the branching rule: C. D. Murray, "The physiological
 * principle of minimum work", PNAS 12 (1926). */
#include "engine/phantom/vessels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CAPSULES_MAX = 16384, PENDING_MAX = 256, BENDS = 3 };

static float dot(const float a[3], const float b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static void normalize(float v[3])
{
    float length = sqrtf(dot(v, v));
    for (int i = 0; i < 3; i++)
        v[i] = length > 0 ? v[i] / length : i == 0;
}

/* A random unit vector at right angles to `direction`. */
static void perpendicular(float out[3], const float direction[3], rvx_random *random)
{
    float along, squared;
    do {
        for (int i = 0; i < 3; i++)
            out[i] = rvx__random_normal(random);
        along = dot(out, direction);
        for (int i = 0; i < 3; i++)
            out[i] -= along * direction[i];
        squared = dot(out, out);
    } while (squared < 1e-4f);
    normalize(out);
}

rvx_status rvx__vessels_add(rvx_vessels *vessels, const float start[3], const float end[3],
                            float radius_start, float radius_end, rvx_vessel_kind kind,
                            rvx_error *error)
{
    if (vessels->count == vessels->capacity) {
        int64_t capacity = vessels->capacity ? 2 * vessels->capacity : 512;
        rvx_capsule *grown =
            realloc(vessels->capsules, (size_t)capacity * sizeof *vessels->capsules);
        if (!grown)
            return rvx__fail(error, RVX_ERROR_MEMORY, "vessel tree: no memory for %lld tubes",
                             (long long)capacity);
        vessels->capsules = grown;
        vessels->capacity = capacity;
    }
    rvx_capsule *c = &vessels->capsules[vessels->count++];
    *c = (rvx_capsule){.radius = radius_start, .taper = radius_end - radius_start, .kind = kind};
    for (int i = 0; i < 3; i++) {
        c->start[i] = start[i];
        c->axis[i] = end[i] - start[i];
    }
    float squared = dot(c->axis, c->axis);
    c->inverse_square = squared > 0 ? 1.0f / squared : 0;
    return RVX_OK;
}

typedef struct branch {
    float start[3], direction[3], radius;
} branch;

/* Turns `direction` so that a step of `length` ends inside the organ; 0 when it cannot. */
static int steer(float direction[3], const float start[3], float length,
                 const rvx_tree_options *options)
{
    for (int attempt = 0; attempt < 5; attempt++) {
        float end[3], inward[3];
        for (int i = 0; i < 3; i++) {
            end[i] = start[i] + length * direction[i];
            inward[i] = options->centre[i] - start[i];
        }
        /* Roots lie on the surface: a step that gets deeper is as good as one that is inside. */
        float after = options->organ(options->context, end);
        if (after < -3.0f || after < options->organ(options->context, start) - 0.5f * length)
            return 1;
        normalize(inward);
        for (int i = 0; i < 3; i++)
            direction[i] += 0.35f * inward[i];
        normalize(direction);
    }
    return 0;
}

/* One branch in a few bends. Leaves position and direction of its end in `b`; 0 when it stopped. */
static rvx_status grow_branch(rvx_vessels *vessels, branch *b, int *alive,
                              const rvx_tree_options *options, rvx_random *random, rvx_error *error)
{
    float length = b->radius * options->length_ratio * rvx__random_range(random, 0.7f, 1.4f);
    float step = fmaxf(length, 4.0f) / BENDS;
    for (int bend = 0; bend < BENDS; bend++) {
        float aside[3], end[3];
        perpendicular(aside, b->direction, random);
        float swerve = rvx__random_range(random, 0, 0.25f);
        for (int i = 0; i < 3; i++)
            b->direction[i] += swerve * aside[i];
        normalize(b->direction);
        *alive = steer(b->direction, b->start, step, options);
        if (!*alive)
            return RVX_OK;
        for (int i = 0; i < 3; i++)
            end[i] = b->start[i] + step * b->direction[i];
        float radius_end = b->radius * 0.985f;
        rvx_status status =
            rvx__vessels_add(vessels, b->start, end, b->radius, radius_end, options->kind, error);
        if (status != RVX_OK)
            return status;
        memcpy(b->start, end, sizeof end);
        b->radius = radius_end;
    }
    return RVX_OK;
}

/* Children of a branch:  r1 = r0 (1 + s^3)^(-1/3), r2 = s r1  with symmetry s = r2 / r1, and
 *     cos a1 = (r0^4 + r1^4 - r2^4) / (2 r0^2 r1^2)          (Murray's angles, in one plane). */
static void bifurcate(branch children[2], const branch *parent, rvx_random *random)
{
    float symmetry = rvx__random_range(random, 0.55f, 1.0f);
    float aside[3];
    perpendicular(aside, parent->direction, random);
    float r0 = parent->radius;
    float r1 = r0 / cbrtf(1.0f + symmetry * symmetry * symmetry);
    float radius[2] = {r1, symmetry * r1};
    for (int k = 0; k < 2; k++) {
        float own = radius[k], other = radius[1 - k];
        float cosine = (powf(r0, 4) + powf(own, 4) - powf(other, 4)) / (2 * r0 * r0 * own * own);
        cosine = fminf(fmaxf(cosine, -1.0f), 1.0f);
        float sine = (k == 0 ? 1.0f : -1.0f) * sqrtf(1.0f - cosine * cosine);
        children[k] = *parent;
        children[k].radius = own;
        for (int i = 0; i < 3; i++)
            children[k].direction[i] = cosine * parent->direction[i] + sine * aside[i];
        normalize(children[k].direction);
    }
}

rvx_status rvx__vessels_grow(rvx_vessels *vessels, const rvx_tree_options *options,
                             rvx_random *random, rvx_error *error)
{
    branch pending[PENDING_MAX];
    int64_t pending_count = 1;
    memcpy(pending[0].start, options->start, sizeof options->start);
    memcpy(pending[0].direction, options->direction, sizeof options->direction);
    normalize(pending[0].direction);
    pending[0].radius = options->radius;
    while (pending_count > 0 && vessels->count < CAPSULES_MAX) {
        branch b = pending[--pending_count];
        int alive = 0;
        rvx_status status = grow_branch(vessels, &b, &alive, options, random, error);
        if (status != RVX_OK)
            return status;
        if (!alive)
            continue;
        branch children[2];
        bifurcate(children, &b, random);
        for (int k = 0; k < 2; k++)
            if (children[k].radius >= options->radius_min && pending_count < PENDING_MAX)
                pending[pending_count++] = children[k];
    }
    return RVX_OK;
}

static float capsule_distance(const rvx_capsule *c, const float point[3], float *radius)
{
    float offset[3] = {point[0] - c->start[0], point[1] - c->start[1], point[2] - c->start[2]};
    float t = dot(offset, c->axis) * c->inverse_square;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    float x = offset[0] - t * c->axis[0], y = offset[1] - t * c->axis[1];
    float z = offset[2] - t * c->axis[2];
    *radius = c->radius + t * c->taper;
    return sqrtf(x * x + y * y + z * z) - *radius;
}

/* Visits the cells that a tube may touch: counts them (items NULL) or writes the tube there. */
static void index_capsule(rvx_vessels *vessels, int64_t index, int32_t *fill)
{
    const rvx_capsule *c = &vessels->capsules[index];
    float margin = fmaxf(c->radius, c->radius + c->taper) + vessels->reach_mm;
    float half_diagonal = 0.8661f * vessels->cell_mm;
    int32_t first[3], last[3];
    for (int i = 0; i < 3; i++) {
        float low = fminf(c->start[i], c->start[i] + c->axis[i]) - margin;
        float high = fmaxf(c->start[i], c->start[i] + c->axis[i]) + margin;
        float top = (float)(vessels->cells[i] - 1);
        first[i] = (int32_t)fminf(fmaxf(floorf((low - vessels->origin[i]) / vessels->cell_mm), 0),
                                  top + 1);
        last[i] =
            (int32_t)fmaxf(fminf(floorf((high - vessels->origin[i]) / vessels->cell_mm), top), -1);
    }
    for (int32_t z = first[2]; z <= last[2]; z++)
        for (int32_t y = first[1]; y <= last[1]; y++)
            for (int32_t x = first[0]; x <= last[0]; x++) {
                float middle[3] = {vessels->origin[0] + ((float)x + 0.5f) * vessels->cell_mm,
                                   vessels->origin[1] + ((float)y + 0.5f) * vessels->cell_mm,
                                   vessels->origin[2] + ((float)z + 0.5f) * vessels->cell_mm};
                float radius;
                if (capsule_distance(c, middle, &radius) > vessels->reach_mm + half_diagonal)
                    continue;
                int64_t cell = ((int64_t)z * vessels->cells[1] + y) * vessels->cells[0] + x;
                if (vessels->items)
                    vessels->items[fill[cell]] = (int32_t)index;
                fill[cell]++;
            }
}

rvx_status rvx__vessels_index(rvx_vessels *vessels, const float low[3], const float high[3],
                              float reach_mm, rvx_error *error)
{
    assert(!vessels->items);
    rvx_status status = RVX_OK;
    int32_t *fill = NULL;
    vessels->reach_mm = reach_mm;
    vessels->cell_mm = 4.0f;
    int64_t cells = 1;
    for (int i = 0; i < 3; i++) {
        vessels->origin[i] = low[i];
        float count = ceilf((high[i] - low[i]) / vessels->cell_mm);
        vessels->cells[i] = (int32_t)fminf(fmaxf(count, 1), 256);
        cells *= vessels->cells[i];
    }
    vessels->cell_start = calloc((size_t)cells + 1, sizeof *vessels->cell_start);
    fill = calloc((size_t)cells, sizeof *fill);
    if (!vessels->cell_start || !fill) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "vessel tree: no memory for %lld cells",
                           (long long)cells);
        goto cleanup;
    }
    for (int64_t k = 0; k < vessels->count; k++)
        index_capsule(vessels, k, fill);
    for (int64_t cell = 0; cell < cells; cell++) {
        vessels->cell_start[cell + 1] = vessels->cell_start[cell] + fill[cell];
        fill[cell] = vessels->cell_start[cell];
    }
    vessels->items = calloc((size_t)vessels->cell_start[cells] + 1, sizeof *vessels->items);
    if (!vessels->items) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "vessel tree: no memory for its index");
        goto cleanup;
    }
    for (int64_t k = 0; k < vessels->count; k++)
        index_capsule(vessels, k, fill);
cleanup:
    free(fill);
    return status;
}

void rvx__vessels_free(rvx_vessels *vessels)
{
    if (!vessels)
        return;
    free(vessels->capsules);
    free(vessels->cell_start);
    free(vessels->items);
    *vessels = (rvx_vessels){0};
}

rvx_vessel_hit rvx__vessels_nearest(const rvx_vessels *vessels, const float point[3])
{
    rvx_vessel_hit hit = {.distance = 1e3f};
    int64_t cell = 0;
    for (int i = 2; i >= 0; i--) {
        float position = (point[i] - vessels->origin[i]) / vessels->cell_mm;
        if (!(position >= 0) || position >= (float)vessels->cells[i])
            return hit;
        cell = cell * vessels->cells[i] + (int32_t)position;
    }
    for (int32_t k = vessels->cell_start[cell]; k < vessels->cell_start[cell + 1]; k++) {
        const rvx_capsule *c = &vessels->capsules[vessels->items[k]];
        float radius, distance = capsule_distance(c, point, &radius);
        if (distance < hit.distance)
            hit = (rvx_vessel_hit){distance, radius, c->kind};
    }
    return hit;
}
