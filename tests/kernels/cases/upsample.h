/* Cases and reference of upsample. */
static const test_case upsample_cases[] = {
    {"double", {{1, 3, 4, 5, 16}}, POOL(2, 2, 2), .offset = 0},
    {"odd_batch2", {{2, 3, 5, 4, 30}}, POOL(2, 2, 2), .offset = 0},
    {"one_channel", {{1, 7, 5, 9, 1}}, POOL(2, 2, 2), .offset = 0},
    {"anisotropic", {{1, 4, 5, 3, 33}}, POOL(1, 2, 3), .offset = 0},
    {"one_voxel", {{1, 1, 1, 1, 3}}, POOL(2, 2, 2), .offset = 0},
    {"factor5", {{1, 2, 3, 3, 17}}, POOL(5, 4, 1), .offset = 0},
    {"identity", {{1, 3, 2, 4, 3}}, POOL(1, 1, 1), .offset = 0},
};

/* Weight of input i in output o. */
static double upsample_weight(int64_t i, int64_t o, int64_t factor, int64_t size)
{
    double s = fmax(((double)o + 0.5) / (double)factor - 0.5, 0);
    int64_t low = (int64_t)floor(s), high = low + 1 < size ? low + 1 : size - 1;
    double t = s - (double)low;
    return (i == low ? 1 - t : 0) + (i == high ? t : 0);
}

static void upsample_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                               double *const *in)
{
    rvx_shape y = out_shape[0], x = c->in[0];
    const int32_t *k = c->params.kernel;
    for (int64_t o = 0; o < rvx__shape_count(y); o++) {
        int64_t ch = o % y.c, w = o / y.c % y.w, h = o / y.c / y.w % y.h;
        int64_t z = o / y.c / y.w / y.h % y.d, n = o / y.c / y.w / y.h / y.d;
        double sum = 0;
        for (int64_t i = 0; i < x.d; i++)
            for (int64_t j = 0; j < x.h; j++)
                for (int64_t l = 0; l < x.w; l++)
                    sum += in[0][at(x, n, i, j, l, ch)] * upsample_weight(i, z, k[0], x.d) *
                           upsample_weight(j, h, k[1], x.h) * upsample_weight(l, w, k[2], x.w);
        out[0][o] = sum;
    }
}

static double upsample_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                              int index)
{
    (void)out_shape, (void)index;
    const int32_t *k = c->params.kernel;
    return gradient ? 8.0 * k[0] * k[1] * k[2] : 8;
}

static const test_suite upsample_suite = {.op = &rvx__op_upsample,
                                          .cases = upsample_cases,
                                          .case_count = CASE_COUNT(upsample_cases),
                                          .reference = upsample_reference,
                                          .length = upsample_length,
                                          .bf16_exact = true,
                                          .differentiable = 1,
                                          .pitched_in = 1,
                                          .pitched_out = 1};
