/* Cases and reference of norm_act. "far" lies 1000 spreads from zero; "constant" has variance 0
 * (and sums of fours are exact, so its gradient of gamma is exactly 0). */
#define NORM_IN(n, d, h, w, c)                                                                     \
    {                                                                                              \
        {n, d, h, w, c}, {1, 1, 1, 1, c}, { 1, 1, 1, 1, c }                                        \
    }
#define NORM(group_count, slope_)                                                                  \
    {                                                                                              \
        .groups = group_count, .epsilon = 1e-5f, .slope = slope_                                   \
    }

#define BATCH_NORM(slope_)                                                                         \
    {                                                                                              \
        .epsilon = 1e-3f, .slope = slope_, .batch_statistics = 1, .momentum = 0.1f                 \
    }

static const test_case norm_act_cases[] = {
    {"instance_16", NORM_IN(1, 7, 9, 5, 16), NORM(0, 0.01f), .offset = 0},
    {"instance_batch2_30", NORM_IN(2, 5, 6, 7, 30), NORM(0, 0.01f), .offset = 0.5f},
    {"instance_one_channel", NORM_IN(1, 17, 31, 9, 1), NORM(0, 0.01f), .offset = 0},
    {"instance_3", NORM_IN(2, 7, 5, 9, 3), NORM(0, 1), .offset = 0},
    {"instance_wide", NORM_IN(1, 2, 3, 2, 600), NORM(0, 0), .offset = 0},
    {"pieces_batch2", NORM_IN(2, 12, 13, 14, 16), NORM(0, 0.01f), .offset = 2},
    {"two_voxels", NORM_IN(1, 1, 1, 2, 16), NORM(0, 0.01f), .offset = 0},
    {"group_4_of_16", NORM_IN(2, 4, 5, 6, 16), NORM(4, 0), .offset = 0},
    {"group_one", NORM_IN(1, 4, 5, 6, 33), NORM(1, 0.2f), .offset = 1},
    {"group_2_of_480", NORM_IN(1, 2, 2, 3, 480), NORM(2, 0), .offset = 0},
    {"batch_of_one", NORM_IN(1, 5, 6, 7, 16), BATCH_NORM(0), .offset = 0},
    {"batch_of_3_30", NORM_IN(3, 1, 9, 7, 30), BATCH_NORM(0), .offset = 0.5f},
    {"batch_of_2_pieces", NORM_IN(2, 12, 13, 14, 16), BATCH_NORM(0.01f), .offset = 2},
    {"batch_of_5_voxels", NORM_IN(5, 1, 1, 1, 33), BATCH_NORM(1), .offset = 0},
    {"no_affine", {{1, 5, 4, 6, 16}}, NORM(0, 0.01f), .offset = 0},
    {"no_beta", {{1, 5, 4, 6, 16}, {1, 1, 1, 1, 16}}, NORM(0, 0.01f), .offset = 0},
    {"far", NORM_IN(1, 8, 9, 10, 16), NORM(0, 0.01f), .offset = 577},
    {"constant", NORM_IN(1, 3, 4, 5, 8), NORM(0, 0.01f), .offset = 4, .scale = 1e-30f},
    {"nearly_constant", NORM_IN(1, 3, 4, 5, 8), NORM(0, 0.01f), .offset = 3, .scale = 1e-3f},
};

/* Group g of the samples from n0 to n1. */
static void norm_act_group(const test_case *c, double *const *out, double *const *in, int64_t n0,
                           int64_t n1, int64_t g, int64_t groups)
{
    rvx_shape x = c->in[0];
    int64_t voxels = x.d * x.h * x.w, size = x.c / groups, first = g * size;
    double mean = 0, variance = 0, count = (double)((n1 - n0) * voxels * size);
    for (int64_t v = n0 * voxels; v < n1 * voxels; v++)
        for (int64_t j = first; j < first + size; j++)
            mean += in[0][v * x.c + j] / count;
    for (int64_t v = n0 * voxels; v < n1 * voxels; v++)
        for (int64_t j = first; j < first + size; j++)
            variance += pow(in[0][v * x.c + j] - mean, 2) / count;
    double rstd = 1 / sqrt(variance + (double)c->params.epsilon);
    for (int64_t n = n0; n < n1; n++) {
        out[1][(n * groups + g) * 2] = mean;
        out[1][(n * groups + g) * 2 + 1] = rstd;
        for (int64_t j = first; j < first + size; j++) {
            double scale = rstd * (in[1] ? in[1][j] : 1), beta = in[2] ? in[2][j] : 0;
            double slope = (double)c->params.slope;
            out[2][(n * 3 + 0) * x.c + j] = scale;
            out[2][(n * 3 + 1) * x.c + j] = beta - mean * scale;
            out[2][(n * 3 + 2) * x.c + j] = slope;
            for (int64_t v = n * voxels; v < (n + 1) * voxels; v++) {
                double t = (in[0][v * x.c + j] - mean) * scale + beta;
                out[0][v * x.c + j] = t >= 0 ? t : slope * t;
            }
        }
    }
}

static void norm_act_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                               double *const *in)
{
    int64_t samples = c->params.batch_statistics ? c->in[0].n : 1;
    for (int64_t n = 0; n < c->in[0].n; n += samples)
        for (int64_t g = 0; g < out_shape[1].w; g++)
            norm_act_group(c, out, in, n, n + samples, g, out_shape[1].w);
}

static double norm_act_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                              int index)
{
    (void)gradient, (void)index;
    rvx_shape x = c->in[0];
    int64_t samples = c->params.batch_statistics ? x.n : 1;
    return (double)(samples * x.d * x.h * x.w) * (double)(x.c / out_shape[1].w);
}

/* x scale + shift are two numbers of size |mean| rstd that leave one of size 1. */
static double norm_act_condition(const test_case *c, const rvx_shape *out_shape,
                                 const rvx_tensor *in)
{
    double *out[3], *values[RVX_IN_MAX] = {doubles_of(in)}, worst = 0;
    for (int i = 0; i < 3; i++)
        out[i] = calloc((size_t)rvx__shape_count(out_shape[i]), sizeof(double));
    norm_act_reference(c, out_shape, out, values);
    for (int64_t i = 0; i < rvx__shape_count(out_shape[1]); i += 2)
        worst = fmax(worst, fabs(out[1][i]) * out[1][i + 1]);
    for (int i = 0; i < 3; i++)
        free(out[i]);
    free(values[0]);
    return 1 + worst;
}

static const test_suite norm_act_suite = {.op = &rvx__op_norm_act,
                                          .cases = norm_act_cases,
                                          .case_count = CASE_COUNT(norm_act_cases),
                                          .reference = norm_act_reference,
                                          .length = norm_act_length,
                                          .condition = norm_act_condition,
                                          .bf16_exact = true,
                                          .differentiable = 1,
                                          .pitched_in = 1,
                                          .pitched_out = 1,
                                          .scale_out = {SCALE_TENSOR, SCALE_COLUMN, SCALE_ROW}};
