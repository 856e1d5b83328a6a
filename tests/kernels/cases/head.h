/* Cases and reference of head_loss and head_labels: the plain convolution, then the reference of
 * segmentation_loss, or the largest. */
#define HEAD_IN(n, d, h, w, c, k)                                                                  \
    {                                                                                              \
        {n, d, h, w, c}, {1, 1, 1, c, k}, {1, 1, 1, 1, k}, { n, d, h, w, 1 }                       \
    }

static const test_case head_loss_cases[] = {
    {"two_classes", HEAD_IN(1, 7, 9, 5, 16, 2), LOSS(2, -1, 0, 1), .labels = 2},
    {"batch2_three", HEAD_IN(2, 5, 6, 7, 16, 3), LOSS(3, -1, 0, 0.5f), .labels = 3},
    {"odd_one_channel", HEAD_IN(1, 17, 31, 9, 1, 3), LOSS(3, -1, 0, 1), .labels = 3},
    {"background_30", HEAD_IN(2, 5, 4, 7, 30, 4), LOSS(4, -1, 1, 1), .labels = 4},
    {"ignore_inner", HEAD_IN(1, 5, 4, 7, 8, 5), LOSS(5, 1, 1, 1), .labels = 5},
    {"ignore_33_to_6", HEAD_IN(2, 5, 4, 7, 33, 6), LOSS(6, 6, 0, 1), .labels = 7},
    {"invalid_labels", HEAD_IN(1, 5, 4, 7, 4, 7), LOSS(7, -1, 0, 1), .labels = 12},
    {"all_ignored", HEAD_IN(1, 3, 4, 5, 16, 3), LOSS(3, 0, 0, 1), .labels = 1},
    {"empty_classes", HEAD_IN(1, 3, 4, 5, 5, 8), LOSS(8, -1, 0, 1), .labels = 2},
    {"seventeen", HEAD_IN(1, 6, 5, 7, 24, 17), LOSS(17, -1, 0, 1), .labels = 17},
    {"many_105", HEAD_IN(1, 7, 9, 11, 32, 105), LOSS(105, -1, 0, 1), .labels = 105},
    {"all_256", HEAD_IN(1, 3, 5, 7, 7, 256), LOSS(256, -1, 0, 1), .labels = 256},
    {"wide_320", HEAD_IN(1, 3, 4, 5, 320, 3), LOSS(3, -1, 0, 1), .labels = 3},
    {"pieces_batch2", HEAD_IN(2, 13, 21, 17, 32, 3), LOSS(3, -1, 0, 1), .labels = 3},
    {"no_bias",
     {{1, 5, 6, 7, 16}, {1, 1, 1, 16, 3}, {0}, {1, 5, 6, 7, 1}},
     LOSS(3, -1, 0, 1),
     .labels = 3},
};

static double *head_logits(const test_case *c, double *const *in)
{
    int64_t voxels = rvx__shape_voxels(c->in[0]), channels = c->in[0].c, classes = c->in[1].c;
    double *z = calloc((size_t)(voxels * classes), sizeof *z);
    if (!z)
        abort();
    for (int64_t v = 0; v < voxels; v++)
        for (int64_t k = 0; k < classes; k++) {
            double sum = in[2] ? in[2][k] : 0;
            for (int64_t i = 0; i < channels; i++)
                sum += in[0][v * channels + i] * in[1][i * classes + k];
            z[v * classes + k] = sum;
        }
    return z;
}

static void head_loss_reference(const test_case *c, const rvx_shape *out_shape, double *const *out,
                                double *const *in)
{
    double *z = head_logits(c, in), *loss_in[2] = {z, in[3]};
    test_case loss = *c;
    loss.in[0].c = c->in[1].c;
    segmentation_loss_reference(&loss, out_shape, out, loss_in);
    free(z);
}

/* Sums of voxels, and of the channels or classes within a voxel. */
static double head_loss_length(const test_case *c, const rvx_shape *out_shape, bool gradient,
                               int index)
{
    (void)out_shape, (void)gradient, (void)index;
    return (double)(rvx__shape_voxels(c->in[0]) + c->in[0].c + c->in[1].c);
}

static const test_suite head_loss_suite = {.op = &rvx__op_head_loss,
                                           .cases = head_loss_cases,
                                           .case_count = CASE_COUNT(head_loss_cases),
                                           .reference = head_loss_reference,
                                           .length = head_loss_length,
                                           .bf16_exact = true,
                                           .differentiable = 1,
                                           .pitched_in = 1 | 1 << 3,
                                           .labels_in = 1 << 3,
                                           .scale_out = {SCALE_TENSOR, SCALE_COLUMN, SCALE_COLUMN}};

static const test_case head_labels_cases[] = {
    {"two_classes", {{1, 7, 9, 5, 16}, {1, 1, 1, 16, 2}, {1, 1, 1, 1, 2}}, .offset = 0},
    {"batch2_three", {{2, 17, 31, 9, 16}, {1, 1, 1, 16, 3}, {1, 1, 1, 1, 3}}, .offset = 0},
    {"one_channel", {{1, 5, 6, 7, 1}, {1, 1, 1, 1, 9}, {1, 1, 1, 1, 9}}, .offset = 0},
    {"no_bias_105", {{2, 5, 6, 7, 30}, {1, 1, 1, 30, 105}}, .offset = 0},
    {"all_256", {{1, 5, 6, 7, 33}, {1, 1, 1, 33, 256}, {1, 1, 1, 1, 256}}, .offset = 0},
};

static void head_labels_reference(const test_case *c, const rvx_shape *out_shape,
                                  double *const *out, double *const *in)
{
    int64_t classes = c->in[1].c;
    double *z = head_logits(c, in);
    for (int64_t v = 0; v < rvx__shape_voxels(out_shape[0]); v++) {
        int64_t best = 0;
        for (int64_t k = 1; k < classes; k++)
            best = z[v * classes + k] > z[v * classes + best] ? k : best;
        out[0][v] = (double)best;
    }
    free(z);
}

static const test_suite head_labels_suite = {.op = &rvx__op_head_labels,
                                             .cases = head_labels_cases,
                                             .case_count = CASE_COUNT(head_labels_cases),
                                             .reference = head_labels_reference,
                                             .length = add_length,
                                             .bf16_exact = true,
                                             .pitched_in = 1,
                                             .labels_out = 1};
