/* The algebra of orthogonal resampling, and its rules (see kernels/orthogonal.h). */
#include "kernels/orthogonal.h"

#include <math.h>
#include <string.h>

enum { N = RVX_ORTHOGONAL_MAX, N2 = 2 * N };

/* out = a b; out is neither. */
static void multiply(double *out, const double *a, const double *b, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += a[i * n + k] * b[k * n + j];
            out[i * n + j] = sum;
        }
}

/* b becomes a^-1 b; a is destroyed. Elimination with row exchanges; a is I + skew: invertible. */
static void solve(double *a, double *b, int n)
{
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k]))
                best = i;
        for (int j = 0; j < n && best != k; j++) {
            double t = a[k * n + j], u = b[k * n + j];
            a[k * n + j] = a[best * n + j];
            b[k * n + j] = b[best * n + j];
            a[best * n + j] = t;
            b[best * n + j] = u;
        }
        for (int i = 0; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            if (i == k || factor == 0)
                continue;
            for (int j = 0; j < n; j++) {
                a[i * n + j] -= factor * a[k * n + j];
                b[i * n + j] -= factor * b[k * n + j];
            }
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            b[i * n + j] /= a[i * n + i];
}

/* e = exp a, by halving a until its norm is below 1/2, a Taylor series of error below 2^-53, and
 * squaring. n <= 2 N. */
static void exponential_of(double *e, const double *a, int n)
{
    double x[N2 * N2], term[N2 * N2], next[N2 * N2], norm = 0;
    int halvings = 0, count = n * n;
    for (int i = 0; i < n; i++) {
        double row = 0;
        for (int j = 0; j < n; j++)
            row += fabs(a[i * n + j]);
        norm = fmax(norm, row);
    }
    for (; norm > 0.5 && halvings < 64; norm /= 2)
        halvings++;
    for (int i = 0; i < count; i++) {
        x[i] = ldexp(a[i], -halvings);
        e[i] = term[i] = i % (n + 1) == 0;
    }
    for (int k = 1; k <= 14; k++) {
        multiply(next, term, x, n);
        for (int i = 0; i < count; i++) {
            term[i] = next[i] / k;
            e[i] += term[i];
        }
    }
    for (; halvings > 0; halvings--) {
        multiply(next, e, e, n);
        memcpy(e, next, (size_t)count * sizeof *e);
    }
}

static void skew_of(double *a, const double *w, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            a[i * n + j] = w[i * n + j] - w[j * n + i];
}

/* out = I + factor a */
static void identity_plus(double *out, double factor, const double *a, int n)
{
    for (int i = 0; i < n * n; i++)
        out[i] = (i % (n + 1) == 0) + factor * a[i];
}

void rvx__orthogonal_of(double *q, const double *w, int n, int exponential)
{
    double a[N * N], left[N * N];
    skew_of(a, w, n);
    if (exponential) {
        exponential_of(q, a, n);
        return;
    }
    identity_plus(left, 1, a, n);
    identity_plus(q, -1, a, n);
    solve(left, q, n);
}

/* Cayley: dL/dA = -(I + A)^-T G (I + Q)^T, from (I + A) dQ = -dA (I + Q), and (I + A)^T = I - A. */
static void cayley_gradient(double *da, const double *g, const double *w, int n)
{
    double a[N * N], q[N * N], left[N * N], right[N * N], flipped[N * N];
    rvx__orthogonal_of(q, w, n, 0);
    skew_of(a, w, n);
    identity_plus(left, -1, a, n);
    identity_plus(right, 1, q, n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            flipped[i * n + j] = -right[j * n + i];
    multiply(da, g, flipped, n);
    solve(left, da, n);
}

/* Exponential map: dL/dA is the derivative of exp at A^T in the direction G, which stands at the
 * upper right of exp [[A^T, G], [0, A^T]]. It is linear in G: G is taken at length one, so that it
 * does not decide how often the matrix is halved. */
static void exponential_gradient(double *da, const double *g, const double *w, int n)
{
    double a[N * N], both[N2 * N2] = {0}, e[N2 * N2], length = 0;
    skew_of(a, w, n);
    for (int i = 0; i < n * n; i++)
        length = fmax(length, fabs(g[i]));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            both[i * 2 * n + j] = both[(n + i) * 2 * n + n + j] = a[j * n + i];
            both[i * 2 * n + n + j] = length > 0 ? g[i * n + j] / length : 0;
        }
    exponential_of(e, both, 2 * n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            da[i * n + j] = e[i * 2 * n + n + j] * length;
}

void rvx__orthogonal_gradient(double *dw, const double *g, const double *w, int n, int exponential)
{
    double da[N * N];
    if (exponential)
        exponential_gradient(da, g, w, n);
    else
        cayley_gradient(da, g, w, n);
    skew_of(dw, da, n); /* A = W - W^T */
}

/* Along each axis of stride 2 the rotation by 45 degrees, [[r, r], [-r, r]] = exp (pi / 4) J with
 * J = [[0, 1], [-1, 0]]; the whole is their Kronecker product, whose logarithm is the sum of the
 * logarithms. */
void rvx__orthogonal_haar(double *w, int n, int exponential)
{
    double log[N * N] = {0}, q[N * N], left[N * N];
    for (int bit = 1; bit < n; bit *= 2)
        for (int i = 0; i < n; i++)
            log[i * n + (i ^ bit)] += i & bit ? -M_PI / 4 : M_PI / 4;
    if (exponential) {
        for (int i = 0; i < n * n; i++)
            w[i] = log[i] / 2;
        return;
    }
    exponential_of(q, log, n);
    identity_plus(left, 1, q, n);
    identity_plus(w, -1, q, n);
    solve(left, w, n); /* A = (I + Q)^-1 (I - Q), the Cayley transform being its own inverse */
    for (int i = 0; i < n * n; i++)
        w[i] /= 2;
}

/* Q is reduced to a diagonal of signs by rotations of rows a and b that clear column a of row b,
 * each by at most 90 degrees: cosines c >= 0, so that S = sin and T = tan of half the angle =
 * S / (1 + c) are at most one. Q is then their inverses, in the opposite order, of the signs. */
void rvx__orthogonal_lifting(int32_t *table, const double *q, int n)
{
    double m[N * N];
    int32_t at = n * (n - 1);
    memcpy(m, q, (size_t)(n * n) * sizeof *m);
    RVX_ORTHOGONAL_STEPS_BACK(a, b, n)
    {
        double p = m[a * n + a], r = m[b * n + a];
        double length = copysign(hypot(p, r), p);
        double c = length != 0 ? p / length : 1, s = length != 0 ? r / length : 0;
        for (int j = 0; j < n; j++) {
            double x = m[a * n + j], y = m[b * n + j];
            m[a * n + j] = c * x + s * y;
            m[b * n + j] = c * y - s * x;
        }
        at -= 2; /* made first, applied last */
        table[at] = (int32_t)lrint(s / (1 + c) * 32768);
        table[at + 1] = (int32_t)lrint(s * 32768);
    }
    for (int i = 0; i < n; i++)
        table[n * (n - 1) + i] = m[i * n + i] < 0 ? -1 : 1;
}

rvx_status rvx__orthogonal_strides(const rvx_op_params *params, const char *name, rvx_error *error)
{
    for (int axis = 0; axis < 3; axis++)
        if (params->stride[axis] < 1 || params->stride[axis] > 2)
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: stride %d along %c, expected 1 or 2",
                             name, params->stride[axis], "dhw"[axis]);
    return RVX_OK;
}

rvx_status rvx__orthogonal_check(const rvx_shape *in, rvx_shape fine, const rvx_op_params *params,
                                 const char *name, rvx_error *error)
{
    int64_t s = rvx__block_voxels(params);
    if (!rvx__shape_equal(in[1], (rvx_shape){1, 1, s, s, fine.c}))
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: weight is [%lld %lld %lld %lld %lld], expected [1 1 %lld %lld %lld]",
                         name, (long long)in[1].n, (long long)in[1].d, (long long)in[1].h,
                         (long long)in[1].w, (long long)in[1].c, (long long)s, (long long)s,
                         (long long)fine.c);
    return RVX_OK;
}

rvx_cost rvx__orthogonal_cost(rvx_shape in, const rvx_op_params *params)
{
    double count = (double)rvx__shape_count(in);
    return (rvx_cost){2 * (double)rvx__block_voxels(params) * count, 8 * count};
}

int64_t rvx__orthogonal_scratch(rvx_phase phase, rvx_shape fine, rvx_shape coarse,
                                const rvx_op_params *params, int threads)
{
    int64_t table = rvx__orthogonal_table_bytes(fine, params);
    int64_t sums = phase == RVX_BACKWARD_PARAMETERS ? 2 * RVX_ORTHOGONAL_PIECES * table : 0;
    return table + sums + rvx__block_move_scratch(coarse, params, threads);
}
