/* Cases and references of deinterleave and interleave: units that vectors move and others, one
 * line, one slice, batches. */
static const test_case deinterleave_cases[] = {
    {"vectors", {{1, 6, 5, 7, 32}}, .offset = 0},   {"c64", {{1, 3, 4, 3, 256}}, .offset = 0},
    {"batch2_c5", {{2, 3, 4, 5, 20}}, .offset = 0}, {"one_each", {{1, 5, 2, 3, 4}}, .offset = 0},
    {"one_slice", {{1, 1, 9, 4, 16}}, .offset = 0}, {"one_line", {{1, 1, 1, 13, 12}}, .offset = 0},
    {"slices", {{1, 20, 2, 3, 64}}, .offset = 0},   {"one_voxel", {{1, 1, 1, 1, 8}}, .offset = 0},
};

static const test_case interleave_cases[] = {
#define FOUR(...)                                                                                  \
    {                                                                                              \
        {__VA_ARGS__}, {__VA_ARGS__}, {__VA_ARGS__}, { __VA_ARGS__ }                               \
    }
    {"vectors", FOUR(1, 6, 5, 7, 8), .offset = 0},   {"c16", FOUR(1, 3, 4, 3, 16), .offset = 0},
    {"batch2_c5", FOUR(2, 3, 4, 5, 5), .offset = 0}, {"one_each", FOUR(1, 5, 2, 3, 1), .offset = 0},
    {"slices", FOUR(1, 20, 2, 3, 32), .offset = 0},
#undef FOUR
};

static void deinterleave_reference(const test_case *c, const rvx_shape *out_shape,
                                   double *const *out, double *const *in)
{
    int64_t part = out_shape[0].c;
    for (int64_t i = 0; i < rvx__shape_count(c->in[0]); i++)
        out[i % c->in[0].c / part][i / c->in[0].c * part + i % part] = in[0][i];
}

static void interleave_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                                 double *const *in)
{
    int64_t part = c->in[0].c;
    for (int64_t i = 0; i < rvx__shape_count(out_shape[0]); i++)
        out[0][i] = in[i % out_shape[0].c / part][i / out_shape[0].c * part + i % part];
}

static const test_suite deinterleave_suite = {.op = &rvx__op_deinterleave,
                                              .cases = deinterleave_cases,
                                              .case_count = CASE_COUNT(deinterleave_cases),
                                              .reference = deinterleave_reference,
                                              .length = add_length,
                                              .bf16_exact = true,
                                              .differentiable = 15,
                                              .pitched_in = 1,
                                              .pitched_out = 15};

static const test_suite interleave_suite = {.op = &rvx__op_interleave,
                                            .cases = interleave_cases,
                                            .case_count = CASE_COUNT(interleave_cases),
                                            .reference = interleave_reference,
                                            .length = add_length,
                                            .bf16_exact = true,
                                            .differentiable = 1,
                                            .pitched_in = 15,
                                            .pitched_out = 1};
