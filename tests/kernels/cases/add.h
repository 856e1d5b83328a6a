/* Cases and reference of add. */
static const test_case add_cases[] = {
    {"odd", {{1, 7, 9, 5, 16}, {1, 7, 9, 5, 16}}, .offset = 0},
    {"batch2_c30", {{2, 5, 3, 4, 30}, {2, 5, 3, 4, 30}}, .offset = 0},
    {"one_channel", {{1, 17, 31, 9, 1}, {1, 17, 31, 9, 1}}, .offset = 0},
    {"scalar", {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}}, .offset = 0},
    {"large", {{1, 16, 17, 18, 32}, {1, 16, 17, 18, 32}}, .offset = 0},
};

static void add_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                          double *const *in)
{
    (void)c;
    for (int64_t i = 0; i < rvx__shape_count(out_shape[0]); i++)
        out[0][i] = in[0][i] + in[1][i];
}

static double add_length(const test_case *c, const rvx_shape *out_shape, bool gradient, int index)
{
    (void)c, (void)out_shape, (void)gradient, (void)index;
    return 1;
}

static const test_suite add_suite = {.op = &rvx__op_add,
                                     .cases = add_cases,
                                     .case_count = CASE_COUNT(add_cases),
                                     .reference = add_reference,
                                     .length = add_length,
                                     .bf16_exact = true,
                                     .differentiable = 1,
                                     .pitched_in = 3,
                                     .pitched_out = 1};
