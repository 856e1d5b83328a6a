/* Grids in space. Owns: the step between NIfTI's RAS matrices and the LPS geometry, and what "the
 * same grid" means. Invariant: a direction made here is orthonormal to double precision. */
#include "engine/volume/volume.h"

#include <math.h>
#include <stdbool.h>

/* Cosine between two axes that is still taken as a right angle: headers hold float32, some written
 * from four-digit text. */
#define AXIS_COSINE_MAX 1e-3

static double determinant(const double m[3][3])
{
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
           m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

/* Nearest orthonormal matrix by Newton's iteration M <- (M + M^-T) / 2 (Higham 1986); M^-T is the
 * cofactor matrix over the determinant. The input is within AXIS_COSINE_MAX of the answer, and the
 * error squares in each round. */
static void orthonormalise(double m[3][3])
{
    for (int round = 0; round < 6; round++) {
        double next[3][3], scale = 0.5 / determinant((const double(*)[3])m);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                int i1 = (i + 1) % 3, i2 = (i + 2) % 3, j1 = (j + 1) % 3, j2 = (j + 2) % 3;
                double cofactor = m[i1][j1] * m[i2][j2] - m[i1][j2] * m[i2][j1];
                next[i][j] = 0.5 * m[i][j] + scale * cofactor;
            }
        for (int i = 0; i < 9; i++)
            m[i / 3][i % 3] = next[i / 3][i % 3];
    }
}

/* Largest entry of M^T M - 1. */
static double orthonormal_error(const double m[3][3])
{
    double worst = 0;
    for (int a = 0; a < 3; a++)
        for (int b = 0; b <= a; b++) {
            double sum = a == b ? -1 : 0;
            for (int row = 0; row < 3; row++)
                sum += m[row][a] * m[row][b];
            worst = fmax(worst, fabs(sum));
        }
    return worst;
}

static rvx_status axes_check(const double direction[3][3], const char *name, rvx_error *error)
{
    static const char axis_names[] = "xyz";
    for (int a = 0; a < 3; a++) {
        int b = (a + 1) % 3;
        double cosine = 0;
        for (int row = 0; row < 3; row++)
            cosine += direction[row][a] * direction[row][b];
        if (!(fabs(cosine) <= AXIS_COSINE_MAX))
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s: axes %c and %c are not at a right angle (cosine %.4g, at most "
                             "%.0e is accepted): sheared grids must be resampled first",
                             name, axis_names[a], axis_names[b], cosine, AXIS_COSINE_MAX);
    }
    return RVX_OK;
}

rvx_status rvx__geometry_from_axes(rvx_geometry *geometry, const double origin[3],
                                   const double spacing[3], const double direction[3][3],
                                   const char *name, rvx_error *error)
{
    rvx_geometry g = *geometry;
    for (int axis = 0; axis < 3; axis++) {
        double square = 0;
        for (int row = 0; row < 3; row++) {
            g.direction[row][axis] = direction[row][axis] + 0.0;
            square += direction[row][axis] * direction[row][axis];
        }
        if (!(spacing[axis] > 1e-30) || !isfinite(spacing[axis]))
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: spacing along %c is %g mm, expected a positive length", name,
                             "xyz"[axis], spacing[axis]);
        if (!isfinite(origin[axis]))
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: origin %g is not finite", name,
                             origin[axis]);
        if (!(fabs(sqrt(square) - 1) <= AXIS_COSINE_MAX))
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: the direction of %c has length %g, expected 1: directions must "
                             "be orthonormal",
                             name, "xyz"[axis], sqrt(square));
        g.spacing[axis] = spacing[axis];
        g.origin[axis] = origin[axis] + 0.0;
    }
    rvx_status status = axes_check((const double(*)[3])g.direction, name, error);
    if (status != RVX_OK)
        return status;
    if (orthonormal_error((const double(*)[3])g.direction) > 1e-14)
        orthonormalise(g.direction);
    *geometry = g;
    return RVX_OK;
}

rvx_status rvx__geometry_from_ras(rvx_geometry *geometry, const double affine[3][4],
                                  const char *name, rvx_error *error)
{
    for (int i = 0; i < 12; i++)
        if (!isfinite(affine[i / 4][i % 4]))
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: row %d, column %d is %g, not finite",
                             name, i / 4, i % 4, affine[i / 4][i % 4]);
    rvx_geometry g = *geometry;
    for (int axis = 0; axis < 3; axis++) {
        double length = sqrt(affine[0][axis] * affine[0][axis] + affine[1][axis] * affine[1][axis] +
                             affine[2][axis] * affine[2][axis]);
        if (!(length > 1e-30) || !isfinite(length))
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: spacing along %c is %g mm, expected a positive length", name,
                             "xyz"[axis], length);
        g.spacing[axis] = length;
        for (int row = 0; row < 3; row++)
            g.direction[row][axis] = (row < 2 ? -1 : 1) * affine[row][axis] / length + 0.0;
    }
    for (int row = 0; row < 3; row++)
        g.origin[row] = (row < 2 ? -1 : 1) * affine[row][3] + 0.0;
    rvx_status status = axes_check((const double(*)[3])g.direction, name, error);
    if (status != RVX_OK)
        return status;
    orthonormalise(g.direction);
    *geometry = g;
    return RVX_OK;
}

void rvx__geometry_to_ras(double affine[3][4], const rvx_geometry *g)
{
    for (int row = 0; row < 3; row++) {
        double sign = row < 2 ? -1 : 1;
        for (int axis = 0; axis < 3; axis++)
            affine[row][axis] = sign * g->direction[row][axis] * g->spacing[axis] + 0.0;
        affine[row][3] = sign * g->origin[row] + 0.0;
    }
}

rvx_status rvx__geometry_check(const rvx_geometry *g, const char *name, rvx_error *error)
{
    int64_t product = 8; /* the widest voxel */
    for (int axis = 0; axis < 3; axis++) {
        if (g->size[axis] < 1)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: size along %c is %lld, expected >= 1",
                             name, "xyz"[axis], (long long)g -> size[axis]);
        if (__builtin_mul_overflow(product, g->size[axis], &product))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: %lld x %lld x %lld voxels exceed 64-bit sizes", name,
                             (long long)g->size[0], (long long)g->size[1], (long long)g->size[2]);
        if (!(g->spacing[axis] > 0) || !isfinite(g->spacing[axis]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: spacing along %c is %g mm, expected a positive length", name,
                             "xyz"[axis], g -> spacing[axis]);
        if (!isfinite(g->origin[axis]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: origin is not finite", name);
        double length = 0;
        for (int row = 0; row < 3; row++)
            length += g->direction[row][axis] * g->direction[row][axis];
        if (!(fabs(length - 1) <= 2 * AXIS_COSINE_MAX))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: direction column %c has length %g, expected 1", name, "xyz"[axis],
                             sqrt(length));
    }
    return axes_check((const double(*)[3])g->direction, name, error);
}

static void corner(double out[3], const rvx_geometry *g, int which)
{
    for (int row = 0; row < 3; row++) {
        out[row] = g->origin[row];
        for (int axis = 0; axis < 3; axis++)
            if (which >> axis & 1)
                out[row] +=
                    g->direction[row][axis] * g->spacing[axis] * (double)(g->size[axis] - 1);
    }
}

rvx_status rvx__geometry_same(const rvx_geometry *a, const char *a_name, const rvx_geometry *b,
                              const char *b_name, double tolerance_mm, rvx_error *error)
{
    if (a->size[0] != b->size[0] || a->size[1] != b->size[1] || a->size[2] != b->size[2])
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "grids differ in size: %s has %lld x %lld x %lld, %s has %lld x %lld x "
                         "%lld",
                         a_name, (long long)a->size[0], (long long)a->size[1],
                         (long long)a->size[2], b_name, (long long)b->size[0],
                         (long long)b->size[1], (long long)b->size[2]);
    double worst = 0;
    for (int which = 0; which < 8; which++) {
        double p[3], q[3];
        corner(p, a, which);
        corner(q, b, which);
        double distance = sqrt((p[0] - q[0]) * (p[0] - q[0]) + (p[1] - q[1]) * (p[1] - q[1]) +
                               (p[2] - q[2]) * (p[2] - q[2]));
        if (!(distance <= worst))
            worst = distance;
    }
    if (worst <= tolerance_mm)
        return RVX_OK;
    /* Name the part that differs most, relative to what each can bear. */
    double by_spacing = 0, by_origin = 0;
    for (int axis = 0; axis < 3; axis++) {
        by_spacing = fmax(by_spacing,
                          fabs(a->spacing[axis] - b->spacing[axis]) * (double)(a->size[axis] - 1));
        by_origin = fmax(by_origin, fabs(a->origin[axis] - b->origin[axis]));
    }
    if (by_spacing > tolerance_mm)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "grids differ in spacing: %s has %g x %g x %g mm, %s has %g x %g x %g mm "
                         "(corners are %.4g mm apart)",
                         a_name, a->spacing[0], a->spacing[1], a->spacing[2], b_name, b->spacing[0],
                         b->spacing[1], b->spacing[2], worst);
    if (by_origin > tolerance_mm)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "grids differ in origin: %s at (%g, %g, %g), %s at (%g, %g, %g) mm "
                         "(corners are %.4g mm apart)",
                         a_name, a->origin[0], a->origin[1], a->origin[2], b_name, b->origin[0],
                         b->origin[1], b->origin[2], worst);
    char a_axes[4], b_axes[4];
    rvx__geometry_orientation(a_axes, a);
    rvx__geometry_orientation(b_axes, b);
    return rvx__fail(error, RVX_ERROR_ARGUMENT,
                     "grids differ in direction: %s is %s, %s is %s (corners are %.4g mm apart)",
                     a_name, a_axes, b_name, b_axes, worst);
}

/* The column's largest entry among the rows that are free. */
static int row_largest(const rvx_geometry *g, int axis, const bool *taken)
{
    int best = -1;
    for (int row = 0; row < 3; row++)
        if (!taken[row] &&
            (best < 0 || fabs(g->direction[row][axis]) > fabs(g->direction[best][axis])))
            best = row;
    return best;
}

/* As nibabel's io_orientation: the axis closest to a world axis chooses first. */
void rvx__geometry_orientation(char out[4], const rvx_geometry *g)
{
    static const char towards[3][3] = {"RL", "AP", "IS"};
    const bool none[3] = {false};
    bool row_taken[3] = {false}, axis_done[3] = {false};
    for (int round = 0; round < 3; round++) {
        int axis = -1;
        double largest = -1;
        for (int i = 0; i < 3; i++) {
            double entry = fabs(g->direction[row_largest(g, i, none)][i]);
            if (!axis_done[i] && (axis < 0 || entry > largest)) {
                axis = i;
                largest = entry;
            }
        }
        int row = row_largest(g, axis, row_taken);
        axis_done[axis] = row_taken[row] = true;
        out[axis] = towards[row][g->direction[row][axis] > 0];
    }
    out[3] = 0;
}
