/* Cases and references of haar and haar_up. */
#define HAAR(i, j, k, how, norm)                                                                   \
    {                                                                                              \
        .stride = {i, j, k}, .order = (how), .orthonormal = (norm)                                 \
    }
static const test_case haar_cases[] = {
    {"mean_cube", {{1, 4, 6, 10, 16}}, HAAR(2, 2, 2, 0, 0), .offset = 0},
    {"norm_cube", {{1, 4, 6, 10, 16}}, HAAR(2, 2, 2, 0, 1), .offset = 0},
    {"mean_block", {{2, 6, 2, 6, 5}}, HAAR(2, 2, 2, 1, 0), .offset = 0},
    {"norm_batch2_c5", {{2, 6, 2, 6, 5}}, HAAR(2, 2, 2, 0, 1), .offset = 0},
    {"mean_one_channel", {{1, 8, 4, 6, 1}}, HAAR(2, 2, 2, 0, 0), .offset = 0},
    {"norm_flat", {{1, 3, 10, 14, 33}}, HAAR(1, 2, 2, 0, 1), .offset = 0},
    {"mean_flat", {{1, 3, 10, 14, 8}}, HAAR(1, 2, 2, 0, 0), .offset = 0},
    {"mean_slices", {{2, 6, 7, 3, 4}}, HAAR(2, 1, 1, 0, 0), .offset = 0},
    {"norm_split", {{1, 4, 5, 6, 3}}, HAAR(2, 1, 2, 0, 1), .offset = 0},
    {"identity", {{1, 2, 3, 5, 4}}, HAAR(1, 1, 1, 0, 0), .offset = 0},
};

static const test_case haar_up_cases[] = {
    {"mean_cube", {{1, 2, 3, 5, 128}}, HAAR(2, 2, 2, 0, 0), .offset = 0},
    {"norm_cube", {{1, 2, 3, 5, 128}}, HAAR(2, 2, 2, 0, 1), .offset = 0},
    {"mean_block", {{2, 3, 1, 3, 40}}, HAAR(2, 2, 2, 1, 0), .offset = 0},
    {"norm_batch2_c5", {{2, 3, 1, 3, 40}}, HAAR(2, 2, 2, 0, 1), .offset = 0},
    {"mean_one_channel", {{1, 4, 2, 3, 8}}, HAAR(2, 2, 2, 0, 0), .offset = 0},
    {"norm_flat", {{1, 3, 5, 7, 132}}, HAAR(1, 2, 2, 0, 1), .offset = 0},
    {"mean_rows", {{1, 3, 5, 7, 6}}, HAAR(1, 2, 1, 0, 0), .offset = 0},
};

/* Channel k of a block: the product over the axes of the sum or the difference. */
static void haar_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                           double *const *in)
{
    const rvx_op_params *p = &c->params;
    int s = p->stride[0] * p->stride[1] * p->stride[2];
    rvx_shape y = out_shape[0];
    double root = sqrt(0.5), weight[2] = {p->orthonormal ? root : 0.5, p->orthonormal ? root : 1};
    for (int64_t o = 0; o < rvx__shape_count(y); o++) {
        int64_t channel = o % y.c, k = p->order ? channel / c->in[0].c : channel % s;
        double sum = 0;
        for (int64_t sub = 0; sub < s; sub++) {
            int64_t first = o - channel;
            int64_t other = p->order ? sub * c->in[0].c + channel % c->in[0].c : channel - k + sub;
            double factor = 1;
            for (int bit = 1; bit < s; bit *= 2)
                factor *= k & bit ? (sub & bit ? -weight[1] : weight[1]) : weight[0];
            sum += factor * in[0][block_element(c->in[0], y, p, first + other)];
        }
        out[0][o] = sum;
    }
}

static double haar_length(const test_case *c, const rvx_shape *out_shape, bool gradient, int index)
{
    (void)c, (void)out_shape, (void)gradient, (void)index;
    return 8;
}

static const test_suite haar_suite = {.op = &rvx__op_haar,
                                      .cases = haar_cases,
                                      .case_count = CASE_COUNT(haar_cases),
                                      .reference = haar_reference,
                                      .length = haar_length,
                                      .bf16_exact = true,
                                      .differentiable = 1,
                                      .pitched_in = 1,
                                      .pitched_out = 1};

/* Voxel sub of a block: the transpose of haar, and for means and differences with the weights 1 and
 * 1/2 of their inverse. */
static void haar_up_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                              double *const *in)
{
    const rvx_op_params *p = &c->params;
    int s = p->stride[0] * p->stride[1] * p->stride[2];
    rvx_shape x = c->in[0], y = out_shape[0];
    double root = sqrt(0.5), weight[2] = {p->orthonormal ? root : 1, p->orthonormal ? root : 0.5};
    for (int64_t o = 0; o < rvx__shape_count(x); o++) {
        int64_t channel = o % x.c, sub = p->order ? channel / y.c : channel % s;
        double sum = 0;
        for (int64_t k = 0; k < s; k++) {
            int64_t other = p->order ? k * y.c + channel % y.c : channel - sub + k;
            double factor = 1;
            for (int bit = 1; bit < s; bit *= 2)
                factor *= k & bit ? (sub & bit ? -weight[1] : weight[1]) : weight[0];
            sum += factor * in[0][o - channel + other];
        }
        out[0][block_element(y, x, p, o)] = sum;
    }
}

static const test_suite haar_up_suite = {.op = &rvx__op_haar_up,
                                         .cases = haar_up_cases,
                                         .case_count = CASE_COUNT(haar_up_cases),
                                         .reference = haar_up_reference,
                                         .length = haar_length,
                                         .bf16_exact = true,
                                         .differentiable = 1,
                                         .pitched_in = 1,
                                         .pitched_out = 1};
