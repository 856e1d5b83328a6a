/* Cases and reference of concat. */
static const test_case concat_cases[] = {
    {"two", {{1, 7, 9, 5, 16}, {1, 7, 9, 5, 32}}, .offset = 0},
    {"odd_three", {{2, 5, 3, 4, 3}, {2, 5, 3, 4, 1}, {2, 5, 3, 4, 30}}, .offset = 0},
    {"one", {{1, 4, 3, 5, 7}}, .offset = 0},
    {"eight",
     {{1, 3, 2, 5, 1},
      {1, 3, 2, 5, 2},
      {1, 3, 2, 5, 3},
      {1, 3, 2, 5, 4},
      {1, 3, 2, 5, 5},
      {1, 3, 2, 5, 16},
      {1, 3, 2, 5, 17},
      {1, 3, 2, 5, 40}},
     .offset = 0},
};

static void concat_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                             double *const *in)
{
    int64_t first = 0;
    for (int i = 0; i < RVX_IN_MAX && c->in[i].c; i++) {
        for (int64_t v = 0; v < rvx__shape_voxels(c->in[i]); v++)
            for (int64_t k = 0; k < c->in[i].c; k++)
                out[0][v * out_shape[0].c + first + k] = in[i][v * c->in[i].c + k];
        first += c->in[i].c;
    }
}

static const test_suite concat_suite = {.op = &rvx__op_concat,
                                        .cases = concat_cases,
                                        .case_count = CASE_COUNT(concat_cases),
                                        .reference = concat_reference,
                                        .length = add_length,
                                        .bf16_exact = true,
                                        .differentiable = 1,
                                        .pitched_in = 0xFF,
                                        .pitched_out = 1};
