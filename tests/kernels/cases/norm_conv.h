/* Cases and reference of norm_conv: normalisation as in norm_act, convolution of kernel 3 or 1 as
 * in conv. The gradient of the residual is that of the result and is no work of the kernel's. */
#define NORM_CONV_IN(n, d, h, w, ci, co)                                                           \
    {                                                                                              \
        {n, d, h, w, ci}, {3, 3, 3, ci, co}, {0}, {n, d, h, w, co}, {1, 1, 1, 1, ci},              \
        {                                                                                          \
            1, 1, 1, 1, ci                                                                         \
        }                                                                                          \
    }
#define NORM_CONV(co, group_count)                                                                 \
    {                                                                                              \
        .kernel = {3, 3, 3}, .stride = {1, 1, 1}, .pad = {1, 1, 1}, .channels_out = co,            \
        .groups = group_count, .epsilon = 1e-5f, .slope = 0.01f                                    \
    }

static const test_case norm_conv_cases[] = {
    {"8_to_8", NORM_CONV_IN(1, 6, 7, 9, 8, 8), NORM_CONV(8, 0), .offset = 0},
    {"batch2_3_to_5", NORM_CONV_IN(2, 5, 4, 6, 3, 5), NORM_CONV(5, 0), .offset = 0.5f},
    {"group_30_to_33", NORM_CONV_IN(1, 4, 5, 6, 30, 33), NORM_CONV(33, 15), .offset = 0},
    {"one_slice", NORM_CONV_IN(1, 1, 9, 7, 4, 6), NORM_CONV(6, 0), .offset = 0},
    {"slabs",
     {{1, 16, 48, 48, 64}, {3, 1, 1, 64, 4}, {0}, {1, 16, 48, 48, 4}, {1, 1, 1, 1, 64}},
     {.kernel = {3, 1, 1},
      .stride = {1, 1, 1},
      .pad = {1, 0, 0},
      .channels_out = 4,
      .epsilon = 1e-5f,
      .slope = 0.01f},
     .offset = 0,
     .golden_only = true},
    {"pointwise_bias_no_residual",
     {{2, 4, 5, 3, 6}, {1, 1, 1, 6, 4}, {1, 1, 1, 1, 4}, {0}, {1, 1, 1, 1, 6}, {1, 1, 1, 1, 6}},
     {.kernel = {1, 1, 1},
      .stride = {1, 1, 1},
      .channels_out = 4,
      .epsilon = 1e-5f,
      .slope = 0.01f},
     .offset = 0},
    {"in_plane_no_affine",
     {{1, 3, 6, 7, 5}, {1, 3, 3, 5, 7}, {0}, {1, 3, 6, 7, 7}},
     {.kernel = {1, 3, 3},
      .stride = {1, 1, 1},
      .pad = {0, 1, 1},
      .channels_out = 7,
      .epsilon = 1e-5f,
      .slope = 0.2f},
     .offset = 0},
};

static void norm_conv_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                                double *const *in)
{
    rvx_shape norm_shape[3] = {c->in[0], out_shape[1], out_shape[2]};
    double *a = malloc((size_t)rvx__shape_count(c->in[0]) * sizeof *a);
    double *norm_out[3] = {a, out[1], out[2]}, *norm_in[3] = {in[0], in[4], in[5]};
    double *conv_in[3] = {a, in[1], in[2]};
    norm_act_reference(c, norm_shape, norm_out, norm_in);
    conv_reference(c, out_shape, out, conv_in);
    for (int64_t i = 0; in[3] && i < rvx__shape_count(out_shape[0]); i++)
        out[0][i] += in[3][i];
    free(a);
}

/* A chain of two sums: over the voxels of a group, then over the taps, or the other way round. */
static double norm_conv_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                               int index)
{
    return conv_length(c, out_shape, gradient, index) +
           norm_act_length(c, out_shape, gradient, index);
}

static double norm_conv_condition(const test_case *c, const rvx_shape *out_shape,
                                  const rvx_tensor *in)
{
    rvx_shape norm_shape[3] = {c->in[0], out_shape[1], out_shape[2]};
    return norm_act_condition(c, norm_shape, in);
}

static const test_suite norm_conv_suite = {.op = &rvx__op_norm_conv,
                                           .cases = norm_conv_cases,
                                           .case_count = CASE_COUNT(norm_conv_cases),
                                           .reference = norm_conv_reference,
                                           .length = norm_conv_length,
                                           .condition = norm_conv_condition,
                                           .differentiable = 1,
                                           .pitched_in = 1 | 1 << 3,
                                           .pitched_out = 1,
                                           .scale_out = {SCALE_TENSOR, SCALE_COLUMN, SCALE_ROW}};
