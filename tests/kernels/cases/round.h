/* Cases and reference of round: in f32 a copy. Its work on streams is in test_streams.c. */
static const test_case round_cases[] = {
    {"odd", {{1, 7, 9, 5, 16}}, .offset = 0},
    {"batch2_c30", {{2, 5, 3, 4, 30}}, .offset = 0},
    {"one_channel", {{1, 17, 31, 9, 1}}, .offset = 0},
};

static void round_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                            double *const *in)
{
    (void)c;
    memcpy(out[0], in[0], (size_t)rvx__shape_count(out_shape[0]) * sizeof *out[0]);
}

static const test_suite round_suite = {.op = &rvx__op_round,
                                       .cases = round_cases,
                                       .case_count = CASE_COUNT(round_cases),
                                       .reference = round_reference,
                                       .length = add_length,
                                       .bf16_exact = true,
                                       .differentiable = 1,
                                       .pitched_in = 1,
                                       .pitched_out = 1};
