/* Cases and references of orthogonal_down and orthogonal_up. The references form Q by ways of their
 * own: Cayley's by elimination without exchanges, the exponential by its plain Taylor series. */
#define ORTHOGONAL(i, j, k, how, map)                                                              \
    {                                                                                              \
        .stride = {i, j, k}, .order = (how), .exponential = (map)                                  \
    }
static const test_case orthogonal_down_cases[] = {
    {"cayley_cube", {{1, 4, 6, 10, 16}, {1, 1, 8, 8, 16}}, ORTHOGONAL(2, 2, 2, 0, 0), .offset = 0},
    {"exp_cube", {{1, 4, 6, 10, 7}, {1, 1, 8, 8, 7}}, ORTHOGONAL(2, 2, 2, 0, 1), .offset = 0},
    {"cayley_block", {{2, 6, 2, 6, 5}, {1, 1, 8, 8, 5}}, ORTHOGONAL(2, 2, 2, 1, 0), .offset = 0},
    {"cayley_flat", {{1, 3, 10, 14, 18}, {1, 1, 4, 4, 18}}, ORTHOGONAL(1, 2, 2, 0, 0), .offset = 0},
    {"exp_flat", {{2, 3, 6, 4, 33}, {1, 1, 4, 4, 33}}, ORTHOGONAL(1, 2, 2, 0, 1), .offset = 0},
    {"one_channel", {{1, 8, 4, 6, 1}, {1, 1, 8, 8, 1}}, ORTHOGONAL(2, 2, 2, 0, 0), .offset = 0},
    {"slices", {{2, 6, 7, 3, 4}, {1, 1, 2, 2, 4}}, ORTHOGONAL(2, 1, 1, 0, 0), .offset = 0},
    {"identity", {{1, 2, 3, 5, 4}, {1, 1, 1, 1, 4}}, ORTHOGONAL(1, 1, 1, 0, 0), .offset = 0},
};

static const test_case orthogonal_up_cases[] = {
    {"cayley_cube", {{1, 2, 3, 5, 128}, {1, 1, 8, 8, 16}}, ORTHOGONAL(2, 2, 2, 0, 0), .offset = 0},
    {"exp_cube", {{1, 2, 3, 5, 56}, {1, 1, 8, 8, 7}}, ORTHOGONAL(2, 2, 2, 0, 1), .offset = 0},
    {"exp_block", {{2, 3, 1, 3, 40}, {1, 1, 8, 8, 5}}, ORTHOGONAL(2, 2, 2, 1, 1), .offset = 0},
    {"cayley_flat", {{1, 3, 5, 7, 72}, {1, 1, 4, 4, 18}}, ORTHOGONAL(1, 2, 2, 0, 0), .offset = 0},
    {"one_channel", {{1, 4, 2, 3, 8}, {1, 1, 8, 8, 1}}, ORTHOGONAL(2, 2, 2, 0, 0), .offset = 0},
    {"rows", {{1, 3, 5, 7, 6}, {1, 1, 2, 2, 3}}, ORTHOGONAL(1, 2, 1, 0, 0), .offset = 0},
};

/* q = the matrix of channel c; w as the op has it, [column][row][channel]. */
static void orthogonal_reference_matrix(double *q, const double *w, rvx_shape shape, int64_t c,
                                        int exponential)
{
    int n = (int)shape.h;
    double a[64], left[64], term[64], next[64];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            a[i * n + j] = w[(j * n + i) * shape.c + c] - w[(i * n + j) * shape.c + c];
            left[i * n + j] = (i == j) + a[i * n + j];
            q[i * n + j] = (i == j) - (exponential ? 0 : a[i * n + j]);
            term[i * n + j] = i == j;
        }
    for (int k = 1; k <= 120 && exponential; k++) { /* entries of A are below 2, n below 9 */
        for (int i = 0; i < n * n; i++) {
            next[i] = 0;
            for (int l = 0; l < n; l++)
                next[i] += term[i / n * n + l] * a[l * n + i % n] / k;
        }
        for (int i = 0; i < n * n; i++)
            q[i] += term[i] = next[i];
    }
    /* The symmetric part of I + A is I: elimination needs no exchanges. */
    for (int k = 0; k < n && !exponential; k++)
        for (int i = 0; i < n; i++) {
            double factor = left[i * n + k] / left[k * n + k];
            for (int j = 0; j < n && i != k; j++) {
                left[i * n + j] -= factor * left[k * n + j];
                q[i * n + j] -= factor * q[k * n + j];
            }
        }
    for (int i = 0; i < n * n && !exponential; i++)
        q[i] /= left[i / n * (n + 1)];
}

/* Element of the coarse tensor that stands for voxel k of the block and channel of `o`. */
static int64_t orthogonal_element(const rvx_op_params *p, rvx_shape fine, rvx_shape coarse,
                                  int64_t o, int64_t k)
{
    int64_t s = coarse.c / fine.c, channel = o % coarse.c;
    return o - channel + (p->order ? k * fine.c + channel % fine.c : channel / s * s + k);
}

static void orthogonal_reference(const rvx_op_params *p, rvx_shape fine, rvx_shape coarse,
                                 double *x, double *y, const double *w, bool up)
{
    int64_t n = coarse.c / fine.c;
    rvx_shape shape = {1, 1, n, n, fine.c};
    double *q = malloc((size_t)(n * n * fine.c) * sizeof *q);
    if (!q)
        abort();
    for (int64_t c = 0; c < fine.c; c++)
        orthogonal_reference_matrix(q + c * n * n, w, shape, c, p->exponential);
    for (int64_t o = 0; o < rvx__shape_count(coarse); o++) {
        int64_t channel = o % coarse.c, c = p->order ? channel % fine.c : channel / n;
        int64_t i = p->order ? channel / fine.c : channel % n;
        double sum = 0;
        for (int64_t k = 0; k < n; k++) {
            int64_t other = orthogonal_element(p, fine, coarse, o, k);
            sum += up ? q[c * n * n + k * n + i] * y[other]
                      : q[c * n * n + i * n + k] * x[block_element(fine, coarse, p, other)];
        }
        if (up)
            x[block_element(fine, coarse, p, o)] = sum;
        else
            y[o] = sum;
    }
    free(q);
}

static void orthogonal_down_reference(const test_case *c, const rvx_shape *out_shape,
                                      double *const *out, double *const *in)
{
    orthogonal_reference(&c->params, c->in[0], out_shape[0], in[0], out[0], in[1], false);
}

static void orthogonal_up_reference(const test_case *c, const rvx_shape *out_shape,
                                    double *const *out, double *const *in)
{
    orthogonal_reference(&c->params, out_shape[0], c->in[0], out[0], in[0], in[1], true);
}

/* Sums over the block; for W over all blocks. */
static double orthogonal_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                                int index)
{
    (void)out_shape;
    return gradient && index == 1 ? (double)rvx__shape_voxels(c->in[0]) * 8 : 8;
}

static const test_suite orthogonal_down_suite = {.op = &rvx__op_orthogonal_down,
                                                 .cases = orthogonal_down_cases,
                                                 .case_count = CASE_COUNT(orthogonal_down_cases),
                                                 .reference = orthogonal_down_reference,
                                                 .length = orthogonal_length,
                                                 .bf16_exact = true,
                                                 .differentiable = 1,
                                                 .pitched_in = 1,
                                                 .pitched_out = 1};

static const test_suite orthogonal_up_suite = {.op = &rvx__op_orthogonal_up,
                                               .cases = orthogonal_up_cases,
                                               .case_count = CASE_COUNT(orthogonal_up_cases),
                                               .reference = orthogonal_up_reference,
                                               .length = orthogonal_length,
                                               .bf16_exact = true,
                                               .differentiable = 1,
                                               .pitched_in = 1,
                                               .pitched_out = 1};
