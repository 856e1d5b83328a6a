/* The algebra behind orthogonal resampling: Q^T Q = I and determinant 1, for both maps and for
 * large W; gradients against central differences in double; the Haar start; liftings that multiply
 * to Q; and through the kernels, norms that stay and Q^T Q = I in f32. */
#include "kernels/orthogonal.h"
#include "tests/kernels/harness.h"

enum { MOST = RVX_ORTHOGONAL_MAX * RVX_ORTHOGONAL_MAX };

static void weight_random(double *w, int n, double scale, uint64_t stream)
{
    for (int i = 0; i < n * n; i++)
        w[i] = scale * (double)number(7, stream, i);
}

/* Largest entry of |q^T q - I|. */
static double defect(const double *q, int n)
{
    double worst = 0;
    for (int i = 0; i < n * n; i++) {
        double sum = i % (n + 1) == 0 ? -1 : 0;
        for (int k = 0; k < n; k++)
            sum += q[k * n + i / n] * q[k * n + i % n];
        worst = fmax(worst, fabs(sum));
    }
    return worst;
}

static double determinant(const double *q, int n)
{
    double m[MOST], product = 1;
    memcpy(m, q, (size_t)(n * n) * sizeof *m);
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k; i < n; i++)
            best = fabs(m[i * n + k]) > fabs(m[best * n + k]) ? i : best;
        for (int j = 0; j < n && best != k; j++) {
            double t = m[k * n + j];
            m[k * n + j] = m[best * n + j];
            m[best * n + j] = -t;
        }
        product *= m[k * n + k];
        for (int i = k + 1; i < n; i++) {
            double factor = m[i * n + k] / m[k * n + k];
            for (int j = 0; j < n; j++)
                m[i * n + j] -= factor * m[k * n + j];
        }
    }
    return product;
}

static void matrix_check(int n, int exponential, double scale)
{
    double w[MOST] = {0}, q[MOST];
    weight_random(w, n, scale, 1);
    rvx__orthogonal_of(q, w, n, exponential);
    double off = defect(q, n), det = determinant(q, n);
    tap_ok(off <= 1e-10 && fabs(det - 1) <= 1e-9,
           "n %d %s, |W| to %g: Q^T Q = I to %.1e, determinant %.12f", n,
           exponential ? "exp" : "Cayley", scale, off, det);
}

/* phi(W) = <G, Q(W)> */
static double phi(const double *g, const double *w, int n, int exponential)
{
    double q[MOST], sum = 0;
    rvx__orthogonal_of(q, w, n, exponential);
    for (int i = 0; i < n * n; i++)
        sum += g[i] * q[i];
    return sum;
}

static void gradient_check(int n, int exponential, double scale)
{
    double w[MOST] = {0}, g[MOST] = {0}, dw[MOST], worst = 0, h = 1e-5;
    weight_random(w, n, scale, 2);
    weight_random(g, n, 1, 3);
    rvx__orthogonal_gradient(dw, g, w, n, exponential);
    for (int i = 0; i < n * n; i++) {
        double keep = w[i], side[2];
        for (int k = 0; k < 2; k++) {
            w[i] = keep + (k ? h : -h);
            side[k] = phi(g, w, n, exponential);
        }
        w[i] = keep;
        worst = fmax(worst, fabs((side[1] - side[0]) / (2 * h) - dw[i]));
    }
    /* differences: h^2 / 6 of third derivatives (below 100 here), and rounding over h */
    tap_ok(worst <= 100 * h * h / 6 + 1e-14 / h, "n %d %s, |W| to %g: gradient (off by %.1e)", n,
           exponential ? "exp" : "Cayley", scale, worst);
}

static void haar_check(int n, int exponential)
{
    double w[MOST] = {0}, q[MOST], worst = 0;
    rvx__orthogonal_haar(w, n, exponential);
    rvx__orthogonal_of(q, w, n, exponential);
    for (int i = 0; i < n * n; i++) {
        int row = i / n, column = i % n;
        double sign =
            (__builtin_popcount((unsigned)(row & column)) + __builtin_popcount((unsigned)row)) % 2;
        worst = fmax(worst, fabs(q[i] - (1 - 2 * sign) / sqrt(n)));
    }
    tap_ok(worst <= 1e-14, "n %d %s starts as Haar's, odd rows negated (off by %.1e)", n,
           exponential ? "exp" : "Cayley", worst);
}

/* The liftings as real shears, applied to unit vectors. */
static void lifting_check(int n, double scale, uint64_t stream)
{
    double w[MOST] = {0}, q[MOST], worst = 0;
    int32_t table[MOST], largest = 0;
    weight_random(w, n, scale, stream);
    rvx__orthogonal_of(q, w, n, 0);
    rvx__orthogonal_lifting(table, q, n);
    for (int column = 0; column < n; column++) {
        double v[RVX_ORTHOGONAL_MAX] = {0};
        int at = 0;
        v[column] = table[n * (n - 1) + column];
        RVX_ORTHOGONAL_STEPS(a, b, n)
        {
            double t = table[at] * 0x1p-15, s = table[at + 1] * 0x1p-15;
            largest = abs(table[at]) > largest ? abs(table[at]) : largest;
            largest = abs(table[at + 1]) > largest ? abs(table[at + 1]) : largest;
            v[a] -= t * v[b];
            v[b] += s * v[a];
            v[a] -= t * v[b];
            at += 2;
        }
        for (int i = 0; i < n; i++)
            worst = fmax(worst, fabs(v[i] - q[i * n + column]));
    }
    /* every coefficient is rounded by at most 2^-16 */
    tap_ok(worst <= 1.5 * n * (n - 1) * 0x1p-16 && largest <= 32768,
           "n %d, |W| to %g: liftings give Q (off by %.1e), coefficients to %.3f", n, scale, worst,
           largest * 0x1p-15);
}

/* Unit vectors through the kernel are the columns of Q; f32. */
static void kernel_check(rvx_isa isa, int exponential)
{
    enum { C = 5, S = 8 };
    const rvx_op *op = &rvx__op_orthogonal_down;
    rvx_op_params params = {.stride = {2, 2, 2}, .exponential = exponential};
    rvx_shape fine = {S, 2, 2, 2, C}, coarse = {S, 1, 1, 1, C * S}, weight = {1, 1, S, S, C};
    buffer x = buffer_make(fine, RVX_F32, 0), y = buffer_make(coarse, RVX_F32, 0);
    buffer w = buffer_make(weight, RVX_F32, 0);
    for (int64_t i = 0; i < rvx__shape_count(weight); i++)
        rvx__f32(&w.tensor)[i] = number(9, 4, i);
    for (int64_t i = 0; i < rvx__shape_count(fine); i++)
        rvx__f32(&x.tensor)[i] = i / C % S == i / C / S ? 1 : 0; /* sample k: voxel k */
    rvx_call call = {
        .params = &params, .in = {x.tensor, w.tensor}, .out = {y.tensor}, .threads = 1};
    rvx_shape in[2] = {fine, weight};
    call.scratch_bytes = device_scratch(op, RVX_FORWARD, in, &coarse, &params, 1, isa);
    buffer scratch = buffer_make((rvx_shape){1, 1, 1, 1, call.scratch_bytes}, RVX_U8, 0);
    call.scratch = scratch.tensor.data;
    device_run(device_kernel(op, RVX_FORWARD, isa), &call, isa);
    double worst = 0;
    for (int c = 0; c < C; c++) {
        double q[MOST];
        for (int i = 0; i < S * S; i++)
            q[i] = (double)rvx__f32(&y.tensor)[i % S * C * S + c * S + i / S];
        worst = fmax(worst, defect(q, S));
    }
    tap_ok(worst <= 1e-6, "isa %d %s: Q^T Q = I to %.1e in f32", isa,
           exponential ? "exp" : "Cayley", worst);
    buffer_free(&x);
    buffer_free(&y);
    buffer_free(&w);
    buffer_free(&scratch);
}

int main(void)
{
    for (int n = 1; n <= RVX_ORTHOGONAL_MAX; n *= 2) {
        for (int exponential = 0; exponential < 2; exponential++) {
            haar_check(n, exponential);
            gradient_check(n, exponential, 0.3);
            gradient_check(n, exponential, 1);
            matrix_check(n, exponential, 0.01);
            matrix_check(n, exponential, 1);
            matrix_check(n, exponential, 30);
        }
        for (uint64_t stream = 10; stream < 20; stream++) {
            lifting_check(n, 1, stream);
            lifting_check(n, 30, stream);
        }
        lifting_check(n, 0, 0);
        lifting_check(n, 1e-5, 1);
    }
    for (int isa = device_isa_first(); isa <= device_isa_last(); isa++)
        for (int exponential = 0; exponential < 2; exponential++)
            kernel_check((rvx_isa)isa, exponential);
    return tap_done();
}
