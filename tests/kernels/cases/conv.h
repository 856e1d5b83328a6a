/* Cases and reference of conv. Kernel 3, stride 1, pad 1 unless said otherwise. */
#define CONV_IN(n, d, h, w, ci, co)                                                                \
    {                                                                                              \
        {n, d, h, w, ci}, {3, 3, 3, ci, co}, { 1, 1, 1, 1, co }                                    \
    }
#define CONV_3(co)                                                                                 \
    {                                                                                              \
        .kernel = {3, 3, 3}, .stride = {1, 1, 1}, .pad = {1, 1, 1}, .channels_out = co             \
    }
#define CONV_3_STRIDE_2(co)                                                                        \
    {                                                                                              \
        .kernel = {3, 3, 3}, .stride = {2, 2, 2}, .pad = {1, 1, 1}, .channels_out = co             \
    }

static const test_case conv_cases[] = {
    {"odd_1_to_16", CONV_IN(1, 17, 31, 9, 1, 16), CONV_3(16), .offset = 0},
    {"odd_3_to_5", CONV_IN(1, 17, 11, 9, 3, 5), CONV_3(5), .offset = 0},
    {"batch2_16_to_16", CONV_IN(2, 7, 9, 5, 16, 16), CONV_3(16), .offset = 0},
    {"32_to_48", CONV_IN(1, 5, 6, 7, 32, 48), CONV_3(48), .offset = 0},
    {"30_to_33", CONV_IN(1, 5, 4, 6, 30, 33), CONV_3(33), .offset = 0},
    {"batch2_64_to_64", CONV_IN(2, 4, 3, 5, 64, 64), CONV_3(64), .offset = 0},
    {"128_to_128", CONV_IN(1, 3, 3, 3, 128, 128), CONV_3(128), .offset = 0},
    {"60_to_60", CONV_IN(1, 3, 4, 9, 60, 60), CONV_3(60), .offset = 0},
    {"wide_row", CONV_IN(1, 2, 3, 67, 16, 16), CONV_3(16), .offset = 0},
    {"one_voxel", CONV_IN(1, 1, 1, 1, 16, 16), CONV_3(16), .offset = 0},
    {"one_slice", CONV_IN(1, 1, 9, 11, 8, 16), CONV_3(16), .offset = 0},
    {"offset", CONV_IN(1, 5, 6, 7, 16, 8), CONV_3(8), .offset = 10},
    {"stride2_odd", CONV_IN(1, 9, 7, 5, 8, 16), CONV_3_STRIDE_2(16), .offset = 0},
    {"stride2_even_batch2", CONV_IN(2, 8, 6, 10, 16, 32), CONV_3_STRIDE_2(32), .offset = 0},
    {"stride2_33_to_30", CONV_IN(1, 5, 6, 7, 33, 30), CONV_3_STRIDE_2(30), .offset = 0},
    {"stride2_wide", CONV_IN(1, 3, 4, 65, 16, 16), CONV_3_STRIDE_2(16), .offset = 0},
    {"anisotropic",
     {{1, 4, 9, 7, 16}, {1, 3, 3, 16, 24}, {1, 1, 1, 1, 24}},
     {.kernel = {1, 3, 3}, .stride = {1, 2, 2}, .pad = {0, 1, 1}, .channels_out = 24},
     .offset = 0},
    {"pointwise_logits",
     {{2, 5, 7, 6, 16}, {1, 1, 1, 16, 3}, {1, 1, 1, 1, 3}},
     {.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .channels_out = 3},
     .offset = 0},
    {"pointwise_64_to_32",
     {{1, 5, 4, 6, 64}, {1, 1, 1, 64, 32}, {1, 1, 1, 1, 32}},
     {.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .channels_out = 32},
     .offset = 0},
    {"pointwise_stride2",
     {{1, 5, 6, 7, 16}, {1, 1, 1, 16, 16}, {1, 1, 1, 1, 16}},
     {.kernel = {1, 1, 1}, .stride = {2, 2, 2}, .channels_out = 16},
     .offset = 0},
    {"no_bias",
     {{1, 4, 5, 6, 16}, {3, 3, 3, 16, 16}},
     {.kernel = {3, 3, 3}, .stride = {1, 1, 1}, .pad = {1, 1, 1}, .channels_out = 16},
     .offset = 0},
    {"no_pad",
     {{1, 5, 6, 7, 8}, {3, 3, 3, 8, 16}, {1, 1, 1, 1, 16}},
     {.kernel = {3, 3, 3}, .stride = {1, 1, 1}, .channels_out = 16},
     .offset = 0},
    {"kernel5",
     {{1, 7, 6, 8, 4}, {5, 5, 5, 4, 16}, {1, 1, 1, 1, 16}},
     {.kernel = {5, 5, 5}, .stride = {1, 1, 1}, .pad = {2, 2, 2}, .channels_out = 16},
     .offset = 0},
    {"kernel2_stride2",
     {{1, 6, 7, 8, 16}, {2, 2, 2, 16, 32}, {1, 1, 1, 1, 32}},
     {.kernel = {2, 2, 2}, .stride = {2, 2, 2}, .channels_out = 32},
     .offset = 0},
    {"kernel2_stride3",
     {{1, 7, 8, 9, 5}, {2, 2, 2, 5, 7}, {1, 1, 1, 1, 7}},
     {.kernel = {2, 2, 2}, .stride = {3, 3, 3}, .channels_out = 7},
     .offset = 0},
};

static void conv_voxel(const test_case *c, rvx_shape y, double *out, double *const *in,
                       const int64_t at_voxel[4])
{
    const rvx_op_params *p = &c->params;
    for (int64_t co = 0; co < y.c; co++) {
        double sum = in[2] ? in[2][co] : 0;
        for (int64_t i = 0; i < p->kernel[0]; i++)
            for (int64_t j = 0; j < p->kernel[1]; j++)
                for (int64_t k = 0; k < p->kernel[2]; k++) {
                    int64_t z = at_voxel[1] * p->stride[0] - p->pad[0] + i;
                    int64_t h = at_voxel[2] * p->stride[1] - p->pad[1] + j;
                    int64_t w = at_voxel[3] * p->stride[2] - p->pad[2] + k;
                    if (z < 0 || z >= c->in[0].d || h < 0 || h >= c->in[0].h || w < 0 ||
                        w >= c->in[0].w)
                        continue;
                    for (int64_t ci = 0; ci < c->in[0].c; ci++)
                        sum += in[0][at(c->in[0], at_voxel[0], z, h, w, ci)] *
                               in[1][at(c->in[1], i, j, k, ci, co)];
                }
        out[at(y, at_voxel[0], at_voxel[1], at_voxel[2], at_voxel[3], co)] = sum;
    }
}

static void conv_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                           double *const *in)
{
    rvx_shape y = out_shape[0];
    for (int64_t n = 0; n < y.n; n++)
        for (int64_t z = 0; z < y.d; z++)
            for (int64_t h = 0; h < y.h; h++)
                for (int64_t w = 0; w < y.w; w++)
                    conv_voxel(c, y, out[0], in, (int64_t[4]){n, z, h, w});
}

static double conv_length(const test_case *c, const rvx_shape *out_shape, bool gradient, int index)
{
    double taps = c->params.kernel[0] * c->params.kernel[1] * c->params.kernel[2];
    if (!gradient)
        return taps * (double)c->in[0].c;
    return index == 0 ? taps * (double)out_shape[0].c : (double)rvx__shape_voxels(out_shape[0]);
}

static const test_suite conv_suite = {.op = &rvx__op_conv,
                                      .cases = conv_cases,
                                      .case_count = CASE_COUNT(conv_cases),
                                      .reference = conv_reference,
                                      .length = conv_length,
                                      .differentiable = 1,
                                      .pitched_in = 1,
                                      .pitched_out = 1};
