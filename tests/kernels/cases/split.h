/* Cases and reference of split. */
static const test_case split_cases[] = {
    {"half", {{1, 7, 9, 5, 32}}, {.channel_count = 16}, .offset = 0},
    {"odd_batch2", {{2, 5, 3, 4, 30}}, {.channel_count = 13}, .offset = 0},
    {"last", {{1, 4, 3, 5, 17}}, {.channel_count = 16}, .offset = 0},
    {"first", {{1, 4, 3, 5, 2}}, {.channel_count = 1}, .offset = 0},
};

static void split_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                            double *const *in)
{
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        for (int64_t v = 0; v < rvx__shape_voxels(out_shape[i]); v++)
            for (int64_t k = 0; k < out_shape[i].c; k++)
                out[i][v * out_shape[i].c + k] = in[0][v * c->in[0].c + first + k];
        first += out_shape[i].c;
    }
}

static const test_suite split_suite = {.op = &rvx__op_split,
                                       .cases = split_cases,
                                       .case_count = CASE_COUNT(split_cases),
                                       .reference = split_reference,
                                       .length = add_length,
                                       .bf16_exact = true,
                                       .differentiable = 3,
                                       .pitched_in = 1,
                                       .pitched_out = 3};
