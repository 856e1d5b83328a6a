/* Cases and reference of max_pool. "ties" has few distinct values: the first maximum gets the
 * gradient; its derivative does not exist, so only golden values judge it. */
#define POOL(k0, k1, k2)                                                                           \
    {                                                                                              \
        .kernel = {k0, k1, k2}, .stride = { k0, k1, k2 }                                           \
    }

static const test_case max_pool_cases[] = {
    {"even", {{1, 4, 6, 8, 16}}, POOL(2, 2, 2), .offset = 0},
    {"odd_batch2", {{2, 7, 9, 5, 30}}, POOL(2, 2, 2), .offset = 0},
    {"one_channel", {{1, 17, 31, 9, 1}}, POOL(2, 2, 2), .offset = 0},
    {"anisotropic", {{1, 5, 7, 8, 64}}, POOL(1, 2, 3), .offset = 0},
    {"whole", {{1, 3, 4, 5, 3}}, POOL(3, 4, 5), .offset = 0},
    {"negative", {{1, 4, 4, 5, 17}}, POOL(2, 2, 2), .offset = -7},
    {"ties", {{1, 6, 7, 8, 16}}, POOL(2, 2, 2), .levels = 2, .golden_only = true},
};

static void max_pool_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                               double *const *in)
{
    rvx_shape y = out_shape[0];
    const int32_t *k = c->params.kernel;
    for (int64_t o = 0; o < rvx__shape_count(y); o++) {
        int64_t ch = o % y.c, w = o / y.c % y.w, h = o / y.c / y.w % y.h;
        int64_t z = o / y.c / y.w / y.h % y.d, n = o / y.c / y.w / y.h / y.d;
        double best = -INFINITY;
        for (int64_t t = 0; t < k[0] * k[1] * k[2]; t++)
            best = fmax(best, in[0][at(c->in[0], n, z * k[0] + t / k[2] / k[1],
                                       h * k[1] + t / k[2] % k[1], w * k[2] + t % k[2], ch)]);
        out[0][o] = best;
    }
}

static const test_suite max_pool_suite = {.op = &rvx__op_max_pool,
                                          .cases = max_pool_cases,
                                          .case_count = CASE_COUNT(max_pool_cases),
                                          .reference = max_pool_reference,
                                          .length = add_length,
                                          .bf16_exact = true,
                                          .differentiable = 1,
                                          .pitched_in = 1,
                                          .pitched_out = 1};
