/* Cases and references of space_to_depth and depth_to_space: every way of moving (vectors of 8, 4
 * and 2 channels with remainders, words, runs), both orders. */
#define STRIDES(i, j, k, how)                                                                      \
    {                                                                                              \
        .stride = {i, j, k}, .order = (how)                                                        \
    }
static const test_case space_to_depth_cases[] = {
    {"cube", {{1, 4, 6, 10, 16}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"cube_block", {{1, 4, 6, 10, 16}}, STRIDES(2, 2, 2, 1), .offset = 0},
    {"batch2_c5", {{2, 6, 2, 6, 5}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"batch2_c5_block", {{2, 6, 2, 6, 5}}, STRIDES(2, 2, 2, 1), .offset = 0},
    {"c11", {{1, 2, 14, 4, 11}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"c3", {{1, 4, 2, 4, 3}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"c2", {{1, 4, 2, 4, 2}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"one_channel", {{1, 8, 4, 6, 1}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"flat", {{1, 3, 10, 14, 8}}, STRIDES(1, 2, 2, 0), .offset = 0},
    {"flat_block", {{1, 3, 10, 14, 7}}, STRIDES(1, 2, 2, 1), .offset = 0},
    {"rows", {{1, 5, 6, 3, 9}}, STRIDES(1, 2, 1, 0), .offset = 0},
    {"slices", {{2, 6, 7, 3, 4}}, STRIDES(2, 1, 1, 0), .offset = 0},
    {"three", {{1, 3, 15, 6, 5}}, STRIDES(3, 3, 3, 0), .offset = 0},
    {"three_block", {{1, 6, 15, 6, 5}}, STRIDES(3, 3, 3, 1), .offset = 0},
    {"four", {{1, 8, 20, 8, 9}}, STRIDES(4, 4, 4, 0), .offset = 0},
    {"identity", {{1, 2, 3, 5, 4}}, STRIDES(1, 1, 1, 0), .offset = 0},
};

static const test_case depth_to_space_cases[] = {
    {"cube", {{1, 2, 3, 5, 128}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"cube_block", {{1, 2, 3, 5, 128}}, STRIDES(2, 2, 2, 1), .offset = 0},
    {"batch2_c5", {{2, 3, 1, 3, 40}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"batch2_c5_block", {{2, 3, 1, 3, 40}}, STRIDES(2, 2, 2, 1), .offset = 0},
    {"c11", {{1, 1, 7, 2, 88}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"one_channel", {{1, 4, 2, 3, 8}}, STRIDES(2, 2, 2, 0), .offset = 0},
    {"flat", {{1, 3, 5, 7, 32}}, STRIDES(1, 2, 2, 0), .offset = 0},
    {"three", {{1, 1, 5, 2, 81}}, STRIDES(3, 3, 3, 0), .offset = 0},
};

static void space_to_depth_reference(const test_case *c, const rvx_shape *out_shape,
                                     double *const *out, double *const *in)
{
    for (int64_t o = 0; o < rvx__shape_count(out_shape[0]); o++)
        out[0][o] = in[0][block_element(c->in[0], out_shape[0], &c->params, o)];
}

static void depth_to_space_reference(const test_case *c, const rvx_shape *out_shape,
                                     double *const *out, double *const *in)
{
    for (int64_t o = 0; o < rvx__shape_count(out_shape[0]); o++)
        out[0][block_element(out_shape[0], c->in[0], &c->params, o)] = in[0][o];
}

static const test_suite space_to_depth_suite = {.op = &rvx__op_space_to_depth,
                                                .cases = space_to_depth_cases,
                                                .case_count = CASE_COUNT(space_to_depth_cases),
                                                .reference = space_to_depth_reference,
                                                .length = add_length,
                                                .bf16_exact = true,
                                                .differentiable = 1,
                                                .pitched_in = 1,
                                                .pitched_out = 1};

static const test_suite depth_to_space_suite = {.op = &rvx__op_depth_to_space,
                                                .cases = depth_to_space_cases,
                                                .case_count = CASE_COUNT(depth_to_space_cases),
                                                .reference = depth_to_space_reference,
                                                .length = add_length,
                                                .bf16_exact = true,
                                                .differentiable = 1,
                                                .pitched_in = 1,
                                                .pitched_out = 1};
