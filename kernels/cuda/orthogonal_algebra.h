/* The small matrices of orthogonal resampling, in double, by the threads of one block together: the
 * algebra of kernels/orthogonal.c, step by step. Owns: that. Matrices stand in shared memory, row
 * by row, at most 16 x 16; all functions are to be reached by the whole block, begin with what the
 * block has written there and end behind a barrier. */
#ifndef RVX_CUDA_ORTHOGONAL_ALGEBRA_H
#define RVX_CUDA_ORTHOGONAL_ALGEBRA_H

#include "kernels/cuda/simt.h"
#include "kernels/orthogonal.h"

#include <math.h>

namespace rvx
{
enum {
    ALGEBRA_THREADS = 64, /* an entry each of a matrix that is solved */
    ALGEBRA_ENTRIES = 4 * RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX,
    ALGEBRA_MATRICES = 8 /* of so many entries in shared memory */
};

RVX_DEVICE int entry() { return (int)threadIdx.x; }

/* out = a b; out is neither. */
RVX_DEVICE void matrix_multiply(double *out, const double *a, const double *b, int n)
{
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS) {
        double sum = 0;
        for (int k = 0; k < n; k++)
            sum += a[e / n * n + k] * b[k * n + e % n];
        out[e] = sum;
    }
    simt::barrier();
}

/* b becomes a^-1 b; a is destroyed. n * n <= ALGEBRA_THREADS. */
RVX_DEVICE void matrix_solve(double *a, double *b, int n)
{
    const int e = entry(), i = e / n, j = e % n;
    const bool mine = e < n * n;
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int r = k + 1; r < n; r++)
            if (fabs(a[r * n + k]) > fabs(a[best * n + k]))
                best = r;
        simt::barrier();
        if (e < n && best != k) {
            const double t = a[k * n + e], u = b[k * n + e];
            a[k * n + e] = a[best * n + e];
            b[k * n + e] = b[best * n + e];
            a[best * n + e] = t;
            b[best * n + e] = u;
        }
        simt::barrier();
        double less_a = 0, less_b = 0;
        if (mine && i != k) {
            const double factor = a[i * n + k] / a[k * n + k];
            less_a = factor * a[k * n + j];
            less_b = factor * b[k * n + j];
        }
        simt::barrier();
        if (mine && i != k) {
            a[e] -= less_a;
            b[e] -= less_b;
        }
        simt::barrier();
    }
    if (mine)
        b[e] /= a[i * n + i];
    simt::barrier();
}

/* out = exp a, by halving and squaring; `room`: three matrices. */
RVX_DEVICE void matrix_exponential(double *out, const double *a, int n, double *room)
{
    double *x = room, *term = x + ALGEBRA_ENTRIES, *next = term + ALGEBRA_ENTRIES, norm = 0;
    int halvings = 0;
    for (int i = 0; i < n; i++) {
        double row = 0;
        for (int j = 0; j < n; j++)
            row += fabs(a[i * n + j]);
        norm = fmax(norm, row);
    }
    for (; norm > 0.5 && halvings < 64; norm /= 2)
        halvings++;
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS) {
        x[e] = ldexp(a[e], -halvings);
        out[e] = term[e] = e % (n + 1) == 0;
    }
    simt::barrier();
    for (int k = 1; k <= 14; k++) {
        matrix_multiply(next, term, x, n);
        for (int e = entry(); e < n * n; e += ALGEBRA_THREADS) {
            term[e] = next[e] / k;
            out[e] += term[e];
        }
        simt::barrier();
    }
    for (; halvings > 0; halvings--) {
        matrix_multiply(next, out, out, n);
        for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
            out[e] = next[e];
        simt::barrier();
    }
}

/* out = a - a^T; out is not a. */
RVX_DEVICE void matrix_skew(double *out, const double *a, int n)
{
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
        out[e] = a[e] - a[e % n * n + e / n];
    simt::barrier();
}

/* out = I + factor a */
RVX_DEVICE void matrix_identity_plus(double *out, double factor, const double *a, int n)
{
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
        out[e] = (e % (n + 1) == 0) + factor * a[e];
    simt::barrier();
}

/* q = Q of w; `room`: four matrices. */
RVX_DEVICE void orthogonal_of(double *q, const double *w, int n, bool exponential, double *room)
{
    double *a = room, *left = room + ALGEBRA_ENTRIES;
    matrix_skew(a, w, n);
    if (exponential) {
        matrix_exponential(q, a, n, left);
        return;
    }
    matrix_identity_plus(left, 1, a, n);
    matrix_identity_plus(q, -1, a, n);
    matrix_solve(left, q, n);
}

/* Q as shears: entry i of channel c goes to table[i * stride]; q is destroyed. */
RVX_DEVICE void orthogonal_lifting(int32_t *table, int64_t stride, double *q, int n)
{
    int at = n * (n - 1);
    RVX_ORTHOGONAL_STEPS_BACK(a, b, n)
    {
        const double p = q[a * n + a], r = q[b * n + a], length = copysign(hypot(p, r), p);
        const double c = length != 0 ? p / length : 1, s = length != 0 ? r / length : 0;
        simt::barrier();
        const int j = entry();
        if (j < n) {
            const double x = q[a * n + j], y = q[b * n + j];
            q[a * n + j] = c * x + s * y;
            q[b * n + j] = c * y - s * x;
        }
        at -= 2;
        if (j == 0) {
            table[at * stride] = (int32_t)rint(s / (1 + c) * 32768);
            table[(at + 1) * stride] = (int32_t)rint(s * 32768);
        }
        simt::barrier();
    }
    if (entry() < n)
        table[(n * (n - 1) + entry()) * stride] = q[entry() * n + entry()] < 0 ? -1 : 1;
}

/* dw from g, the gradient with respect to Q; g and w stay. `room`: six matrices. */
RVX_DEVICE void orthogonal_gradient(double *dw, const double *g, const double *w, int n,
                                    bool exponential, double *room)
{
    double *a = room, *both = room + ALGEBRA_ENTRIES, *e_both = both + ALGEBRA_ENTRIES;
    double *rest = e_both + ALGEBRA_ENTRIES; /* three more */
    if (!exponential) {
        double *q = both, *left = e_both, *flipped = rest, *da = a;
        orthogonal_of(q, w, n, false, e_both);
        matrix_skew(a, w, n);
        matrix_identity_plus(left, -1, a, n);
        for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
            flipped[e] = -((e % (n + 1) == 0) + q[e % n * n + e / n]);
        simt::barrier();
        matrix_multiply(da, g, flipped, n);
        matrix_solve(left, da, n);
        matrix_skew(dw, da, n);
        return;
    }
    double length = 0;
    const int m = 2 * n;
    matrix_skew(a, w, n);
    for (int i = 0; i < n * n; i++)
        length = fmax(length, fabs(g[i]));
    for (int e = entry(); e < m * m; e += ALGEBRA_THREADS) {
        const int i = e / m, j = e % m;
        const bool upper = i < n && j >= n, lower = i >= n && j < n;
        if (lower || (upper && length == 0))
            both[e] = 0;
        else
            both[e] = upper ? g[i * n + j - n] / length : a[j % n * n + i % n];
    }
    simt::barrier();
    matrix_exponential(e_both, both, m, rest);
    for (int e = entry(); e < n * n; e += ALGEBRA_THREADS)
        a[e] = e_both[e / n * m + n + e % n] * length;
    simt::barrier();
    matrix_skew(dw, a, n);
}
} // namespace rvx

#endif
