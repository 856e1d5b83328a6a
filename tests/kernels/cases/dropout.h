/* Cases and reference of dropout. The key is a random number, like all inputs; that of "inference"
 * is negative, so that nothing is dropped. */
#define SCALAR                                                                                     \
    {                                                                                              \
        1, 1, 1, 1, 1                                                                              \
    }
static const test_case dropout_cases[] = {
    {"half", {{1, 7, 9, 5, 16}, SCALAR}, {.rate = 0.5f, .layer = 1}, .offset = 0},
    {"batch2_30", {{2, 5, 3, 4, 30}, SCALAR}, {.rate = 0.1f, .layer = 2}, .offset = 0},
    {"inference", {{2, 5, 3, 4, 30}, SCALAR}, {.rate = 0.1f, .layer = 2}, .offset = 0},
    {"one_channel", {{1, 17, 31, 9, 1}, SCALAR}, {.rate = 0.3f, .layer = 3}, .offset = 0},
    {"large", {{1, 9, 10, 11, 33}, SCALAR}, {.rate = 0.9f, .layer = 0x7F123456}, .offset = 0},
    {"scalar", {SCALAR, SCALAR}, {.rate = 0.2f, .layer = 4}, .offset = 0},
    {"rate_zero", {{2, 3, 4, 5, 6}, SCALAR}, {.rate = 0, .layer = 5}, .offset = 0},
    {"wide", {{1, 1, 1, 3, 5000}, SCALAR}, {.rate = 0.4f, .layer = 6}, .offset = 0},
};

static void dropout_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                              double *const *in)
{
    float key = (float)in[1][0];
    uint32_t bits;
    memcpy(&bits, &key, sizeof bits);
    int threshold = key > 0 ? rvx__dropout_threshold(c->params.rate) : 0;
    for (int64_t i = 0; i < rvx__shape_count(out_shape[0]); i++) {
        int keep = rvx__dropout_keeps(bits, (uint32_t)c->params.layer, threshold, i);
        out[0][i] = keep ? in[0][i] * 65536 / (65536 - threshold) : 0;
    }
}

static const test_suite dropout_suite = {.op = &rvx__op_dropout,
                                         .cases = dropout_cases,
                                         .case_count = CASE_COUNT(dropout_cases),
                                         .reference = dropout_reference,
                                         .length = add_length,
                                         .bf16_exact = true,
                                         .differentiable = 1,
                                         .pitched_in = 1,
                                         .pitched_out = 1};
