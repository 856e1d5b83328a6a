/* Cases and reference of conv_transpose: kernel = stride, every input voxel becomes a block. */
#define TRANSPOSE(n, d, h, w, ci, co, k0, k1, k2)                                                  \
    {{n, d, h, w, ci}, {k0, k1, k2, ci, co}, {1, 1, 1, 1, co}},                                    \
    {                                                                                              \
        .kernel = {k0, k1, k2}, .stride = {k0, k1, k2}, .channels_out = co                         \
    }

static const test_case conv_transpose_cases[] = {
    {"16_to_8", TRANSPOSE(1, 4, 5, 3, 16, 8, 2, 2, 2), .offset = 0},
    {"batch2_32_to_16", TRANSPOSE(2, 3, 4, 5, 32, 16, 2, 2, 2), .offset = 0},
    {"64_to_32", TRANSPOSE(1, 3, 2, 5, 64, 32, 2, 2, 2), .offset = 0},
    {"30_to_15", TRANSPOSE(1, 5, 3, 4, 30, 15, 2, 2, 2), .offset = 0},
    {"128_to_64", TRANSPOSE(1, 2, 3, 2, 128, 64, 2, 2, 2), .offset = 0},
    {"one_to_one", TRANSPOSE(1, 7, 5, 9, 1, 1, 2, 2, 2), .offset = 0},
    {"anisotropic", TRANSPOSE(1, 4, 5, 3, 16, 24, 1, 2, 2), .offset = 0},
    {"factor3", TRANSPOSE(1, 3, 2, 4, 5, 7, 3, 1, 2), .offset = 0},
    {"pointwise", TRANSPOSE(1, 3, 4, 5, 16, 16, 1, 1, 1), .offset = 0},
    {"wide_row", TRANSPOSE(1, 2, 2, 41, 16, 16, 2, 2, 2), .offset = 0},
    {"one_voxel", TRANSPOSE(2, 1, 1, 1, 320, 16, 2, 2, 2), .offset = 0},
    {"no_bias",
     {{1, 3, 4, 5, 16}, {2, 2, 2, 16, 8}},
     {.kernel = {2, 2, 2}, .stride = {2, 2, 2}, .channels_out = 8},
     .offset = 0},
};

/* y[n, o, co] = bias[co] + sum over ci of a[n, o / k, ci] * w[o mod k, ci, co] */
static void conv_transpose_reference(const test_case *c, const rvx_shape *out_shape,
                                     double *const *out, double *const *in)
{
    rvx_shape y = out_shape[0];
    const int32_t *k = c->params.kernel;
    for (int64_t i = 0; i < rvx__shape_count(y); i++) {
        int64_t co = i % y.c, w = i / y.c % y.w, h = i / y.c / y.w % y.h;
        int64_t z = i / y.c / y.w / y.h % y.d, n = i / y.c / y.w / y.h / y.d;
        double sum = in[2] ? in[2][co] : 0;
        for (int64_t ci = 0; ci < c->in[0].c; ci++)
            sum += in[0][at(c->in[0], n, z / k[0], h / k[1], w / k[2], ci)] *
                   in[1][at(c->in[1], z % k[0], h % k[1], w % k[2], ci, co)];
        out[0][i] = sum;
    }
}

static double conv_transpose_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                                    int index)
{
    double taps = c->params.kernel[0] * c->params.kernel[1] * c->params.kernel[2];
    if (!gradient)
        return (double)c->in[0].c;
    if (index == 0)
        return taps * (double)out_shape[0].c;
    return (double)rvx__shape_voxels(index == 1 ? c->in[0] : out_shape[0]);
}

static const test_suite conv_transpose_suite = {.op = &rvx__op_conv_transpose,
                                                .cases = conv_transpose_cases,
                                                .case_count = CASE_COUNT(conv_transpose_cases),
                                                .reference = conv_transpose_reference,
                                                .length = conv_transpose_length,
                                                .differentiable = 1,
                                                .pitched_in = 1,
                                                .pitched_out = 1};
