/* Cases and reference of mean_pool. */
static const test_case mean_pool_cases[] = {
    {"odd", {{1, 7, 9, 5, 16}}, .offset = 0},
    {"batch2_c30", {{2, 5, 3, 4, 30}}, .offset = 0.5f},
    {"one_channel", {{1, 17, 31, 9, 1}}, .offset = 0},
    {"one_voxel", {{3, 1, 1, 1, 17}}, .offset = 0},
    {"slice_batch2", {{2, 1, 8, 8, 112}}, .offset = 0},
    {"pieces", {{2, 12, 13, 14, 16}}, .offset = 2},
    {"wide", {{1, 1, 2, 3, 3072}}, .offset = -1},
};

static void mean_pool_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                                double *const *in)
{
    rvx_shape x = c->in[0], y = out_shape[0];
    int64_t voxels = x.d * x.h * x.w;
    for (int64_t o = 0; o < rvx__shape_count(y); o++) {
        out[0][o] = 0;
        for (int64_t v = 0; v < voxels; v++)
            out[0][o] += in[0][(o / x.c * voxels + v) * x.c + o % x.c] / (double)voxels;
    }
}

static double mean_pool_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                               int index)
{
    (void)out_shape, (void)index;
    return gradient ? 1 : (double)(c->in[0].d * c->in[0].h * c->in[0].w);
}

static const test_suite mean_pool_suite = {.op = &rvx__op_mean_pool,
                                           .cases = mean_pool_cases,
                                           .case_count = CASE_COUNT(mean_pool_cases),
                                           .reference = mean_pool_reference,
                                           .length = mean_pool_length,
                                           .bf16_exact = true,
                                           .differentiable = 1,
                                           .pitched_in = 1,
                                           .pitched_out = 1};
