/* A patch read out of a case: see warp.h. */
#include "engine/volume/warp.h"

#include <math.h>
#include <string.h>

void rvx__affine_identity(rvx_affine *affine)
{
    *affine = (rvx_affine){.matrix = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
}

void rvx__affine_chain(rvx_affine *out, const rvx_affine *outer, const rvx_affine *inner)
{
    rvx_affine made;
    for (int i = 0; i < 3; i++) {
        made.offset[i] = outer->offset[i];
        for (int k = 0; k < 3; k++)
            made.offset[i] += outer->matrix[i][k] * inner->offset[k];
        for (int j = 0; j < 3; j++) {
            made.matrix[i][j] = 0;
            for (int k = 0; k < 3; k++)
                made.matrix[i][j] += outer->matrix[i][k] * inner->matrix[k][j];
        }
    }
    *out = made;
}

/* One row of the patch: where it begins in the planes, and where it lies. */
typedef struct row {
    float *image; /* of the first channel */
    int64_t plane;
    uint8_t *labels;
    int64_t count;
    double start[3], step[3];
} row;

static row row_of(float *planes, uint8_t *labels, const rvx_affine *affine, const int64_t patch[3],
                  int64_t z, int64_t y)
{
    int64_t first = (z * patch[1] + y) * patch[2];
    row r = {planes + first, patch[0] * patch[1] * patch[2], labels + first, patch[2], {0}, {0}};
    for (int a = 0; a < 3; a++) {
        const double *m = affine->matrix[a];
        r.start[a] = m[0] * (double)z + m[1] * (double)y + affine->offset[a];
        r.step[a] = m[2];
    }
    return r;
}

/* ---- By whole voxels --------------------------------------------------------------------------
 */

static bool whole_voxels(const rvx_warp *warp)
{
    bool whole = !warp->stretched;
    for (int a = 0; a < 3; a++) {
        const double *m = warp->direct.matrix[a];
        for (int b = 0; b < 3; b++)
            whole = whole && (a == b ? fabs(m[b]) == 1 : m[b] == 0);
        whole = whole && warp->direct.offset[a] == floor(warp->direct.offset[a]);
    }
    return whole;
}

static void copy_row(const row *r, const rvx_warp_source *source, float outside)
{
    const rvx_shape s = source->shape;
    int64_t z = (int64_t)r->start[0], y = (int64_t)r->start[1], x = (int64_t)r->start[2];
    int64_t step = r->step[2] < 0 ? -1 : 1;
    bool row_inside = z >= 0 && z < s.d && y >= 0 && y < s.h;
    int64_t first = row_inside ? source->along[0][z] + source->along[1][y] : 0;
    for (int64_t i = 0; i < r->count; i++, x += step) {
        bool inside = row_inside && x >= 0 && x < s.w;
        int64_t from = inside ? first + source->along[2][x] : 0;
        r->labels[i] = inside ? source->labels[from] : 0;
        for (int64_t c = 0; c < s.c; c++)
            r->image[c * r->plane + i] = inside ? source->image[from * s.c + c] : outside;
    }
}

/* ---- Between voxels ---------------------------------------------------------------------------
 */

/* The label with the greatest weight; the first of equals. */
static uint8_t heaviest(const uint8_t label[8], const float weight[8])
{
    uint8_t best = label[0];
    float most = -1;
    for (int k = 0; k < 8; k++) {
        float sum = 0;
        for (int j = 0; j < 8; j++)
            sum += label[j] == label[k] ? weight[j] : 0;
        if (sum > most) {
            most = sum;
            best = label[k];
        }
    }
    return best;
}

/* All eight corners lie in the case. */
static void read_inside(const row *r, int64_t i, const rvx_warp_source *source,
                        const int64_t low[3], const float part[3])
{
    const rvx_shape s = source->shape;
    const int64_t *z = source->along[0] + low[0], *y = source->along[1] + low[1];
    const int64_t *x = source->along[2] + low[2];
    const int64_t corner[8] = {z[0] + y[0] + x[0], z[0] + y[0] + x[1], z[0] + y[1] + x[0],
                               z[0] + y[1] + x[1], z[1] + y[0] + x[0], z[1] + y[0] + x[1],
                               z[1] + y[1] + x[0], z[1] + y[1] + x[1]};
    const float tz = part[0], ty = part[1], tx = part[2];
    for (int64_t c = 0; c < s.c; c++) {
        const float *p = source->image + c;
        float v[8];
        for (int k = 0; k < 8; k++)
            v[k] = p[corner[k] * s.c];
        float a = v[0] + tx * (v[1] - v[0]), b = v[2] + tx * (v[3] - v[2]);
        float d = v[4] + tx * (v[5] - v[4]), e = v[6] + tx * (v[7] - v[6]);
        float near = a + ty * (b - a), far = d + ty * (e - d);
        r->image[c * r->plane + i] = near + tz * (far - near);
    }
    uint8_t label[8];
    bool same = true;
    for (int k = 0; k < 8; k++) {
        label[k] = source->labels[corner[k]];
        same = same & (label[k] == label[0]);
    }
    if (!same) {
        float weight[8];
        for (int k = 0; k < 8; k++)
            weight[k] = (k & 4 ? tz : 1 - tz) * (k & 2 ? ty : 1 - ty) * (k & 1 ? tx : 1 - tx);
        label[0] = heaviest(label, weight);
    }
    r->labels[i] = label[0];
}

/* Some corners lie outside. */
static void read_border(const row *r, int64_t i, const rvx_warp_source *source,
                        const int64_t low[3], const float part[3], float outside)
{
    const rvx_shape s = source->shape;
    float weight[8];
    uint8_t label[8];
    int64_t at[8];
    for (int k = 0; k < 8; k++) {
        int64_t z = low[0] + (k >> 2), y = low[1] + (k >> 1 & 1), x = low[2] + (k & 1);
        bool inside = z >= 0 && z < s.d && y >= 0 && y < s.h && x >= 0 && x < s.w;
        at[k] = inside ? source->along[0][z] + source->along[1][y] + source->along[2][x] : -1;
        label[k] = inside ? source->labels[at[k]] : 0;
        weight[k] = (k & 4 ? part[0] : 1 - part[0]) * (k & 2 ? part[1] : 1 - part[1]) *
                    (k & 1 ? part[2] : 1 - part[2]);
    }
    for (int64_t c = 0; c < s.c; c++) {
        float sum = 0;
        for (int k = 0; k < 8; k++)
            sum += weight[k] * (at[k] < 0 ? outside : source->image[at[k] * s.c + c]);
        r->image[c * r->plane + i] = sum;
    }
    r->labels[i] = heaviest(label, weight);
}

static void read_at(const row *r, int64_t i, const rvx_warp_source *source, const double at[3],
                    float outside)
{
    const rvx_shape s = source->shape;
    const int64_t size[3] = {s.d, s.h, s.w};
    int64_t low[3];
    float part[3];
    bool inside = true, beyond = false;
    for (int a = 0; a < 3; a++) {
        /* Beyond a voxel around the case nothing is read, so the integer cannot overflow. */
        double p = at[a] < -2 ? -2 : at[a] > (double)size[a] + 1 ? (double)size[a] + 1 : at[a];
        low[a] = (int64_t)(p + 4) - 4;
        part[a] = (float)(p - (double)low[a]);
        inside = inside & (low[a] >= 0) & (low[a] < size[a] - 1);
        beyond = beyond | (low[a] < -1) | (low[a] >= size[a]);
    }
    if (inside) {
        read_inside(r, i, source, low, part);
    } else if (!beyond) {
        read_border(r, i, source, low, part, outside);
    } else {
        for (int64_t c = 0; c < s.c; c++)
            r->image[c * r->plane + i] = outside;
        r->labels[i] = 0;
    }
}

static void straight_row(const row *r, const rvx_warp_source *source, float outside)
{
    for (int64_t i = 0; i < r->count; i++) {
        double at[3];
        for (int a = 0; a < 3; a++)
            at[a] = r->start[a] + (double)i * r->step[a];
        read_at(r, i, source, at, outside);
    }
}

static void stretched_row(const row *r, const rvx_warp *warp, const rvx_warp_source *source)
{
    for (int64_t i = 0; i < r->count; i++) {
        double p[3], at[3], square = 0;
        for (int a = 0; a < 3; a++) {
            p[a] = r->start[a] + (double)i * r->step[a];
            square += a < warp->polar_axes ? p[a] * p[a] : 0;
        }
        double length = sqrt(square);
        double scale =
            length > 1e-9 ? (warp->inner + (length - warp->inner) * warp->stretch) / length : 1;
        for (int a = 0; a < warp->polar_axes; a++)
            p[a] *= scale;
        for (int a = 0; a < 3; a++) {
            const double *m = warp->from_polar.matrix[a];
            at[a] = m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + warp->from_polar.offset[a];
        }
        read_at(r, i, source, at, warp->outside);
    }
}

void rvx__warp(float *planes, uint8_t *labels, const rvx_warp *warp, const int64_t patch[3],
               const rvx_warp_source *source, int threads)
{
    bool copies = whole_voxels(warp);
    const rvx_affine *affine = warp->stretched ? &warp->to_polar : &warp->direct;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t z = 0; z < patch[0]; z++)
        for (int64_t y = 0; y < patch[1]; y++) {
            row r = row_of(planes, labels, affine, patch, z, y);
            if (copies)
                copy_row(&r, source, warp->outside);
            else if (warp->stretched)
                stretched_row(&r, warp, source);
            else
                straight_row(&r, source, warp->outside);
        }
}
