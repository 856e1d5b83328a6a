/* Cases and reference of segmentation_loss. labels: how many label values occur; where that is
 * above the number of classes, the rest are invalid and count as ignored. */
#define LOSS_IN(n, d, h, w, k)                                                                     \
    {                                                                                              \
        {n, d, h, w, k}, { n, d, h, w, 1 }                                                         \
    }
#define LOSS(k, ignore, background, weight_)                                                       \
    {                                                                                              \
        .classes = k, .ignore_label = ignore, .include_background = background, .weight = weight_, \
        .smooth = 1e-5f                                                                            \
    }

static const test_case segmentation_loss_cases[] = {
    {"two_classes", LOSS_IN(1, 7, 9, 5, 2), LOSS(2, -1, 0, 1), .scale = 3, .labels = 2},
    {"batch2_three", LOSS_IN(2, 5, 6, 7, 3), LOSS(3, -1, 0, 0.5f), .scale = 3, .labels = 3},
    {"background", LOSS_IN(2, 5, 6, 7, 4), LOSS(4, -1, 1, 1), .scale = 3, .labels = 4},
    {"ignore", LOSS_IN(2, 5, 4, 7, 3), LOSS(3, 3, 0, 1), .scale = 3, .labels = 4},
    {"ignore_inner", LOSS_IN(1, 5, 4, 7, 5), LOSS(5, 1, 1, 1), .scale = 3, .labels = 5},
    {"invalid_labels", LOSS_IN(1, 5, 4, 7, 3), LOSS(3, -1, 0, 1), .scale = 3, .labels = 6},
    {"all_ignored", LOSS_IN(1, 3, 4, 5, 3), LOSS(3, 0, 0, 1), .scale = 3, .labels = 1},
    {"empty_classes", LOSS_IN(1, 3, 4, 5, 4), LOSS(4, -1, 0, 1), .scale = 3, .labels = 2},
    {"seventeen", LOSS_IN(1, 6, 5, 7, 17), LOSS(17, -1, 0, 1), .scale = 3, .labels = 17},
    {"certain", LOSS_IN(1, 5, 6, 7, 3), LOSS(3, -1, 0, 1), .scale = 60, .labels = 3},
    {"pieces_batch2", LOSS_IN(2, 17, 21, 33, 2), LOSS(2, -1, 0, 1), .scale = 3, .labels = 2},
    {"far", LOSS_IN(1, 5, 6, 7, 3), LOSS(3, -1, 0, 1), .offset = 100, .scale = 3, .labels = 3},
};

typedef struct loss_sums {
    double part[6];
} loss_sums;

/* Adds one voxel to the sums of its sample; returns its cross entropy, or -1 where it is ignored.
 */
static double loss_voxel(const test_case *c, loss_sums *sums, const double *z, double label)
{
    int64_t classes = c->in[0].c, best = 0, own = (int64_t)label;
    double total = 0;
    if (own >= classes || own == c->params.ignore_label)
        return -1;
    for (int64_t k = 1; k < classes; k++)
        best = z[k] > z[best] ? k : best;
    for (int64_t k = 0; k < classes; k++)
        total += exp(z[k] - z[best]);
    for (int64_t k = 0; k < classes; k++) {
        double p = exp(z[k] - z[best]) / total, *part = sums[k].part;
        part[0] += k == own ? p : 0;
        part[1] += p;
        part[2] += k == own;
        part[3] += k == own && k == best;
        part[4] += k != own && k == best;
        part[5] += k == own && k != best;
    }
    return log(total) - (z[own] - z[best]);
}

static void segmentation_loss_reference(const test_case *c, const rvx_shape *out_shape,
                                        double *const *out, double *const *in)
{
    (void)out_shape;
    rvx_shape x = c->in[0];
    int64_t voxels = x.d * x.h * x.w, first = c->params.include_background ? 0 : 1;
    double cross_entropy = 0, valid = 0, dice = 0, smooth = (double)c->params.smooth;
    loss_sums *sums = calloc((size_t)(x.n * x.c), sizeof *sums);
    if (!sums)
        abort();
    for (int64_t v = 0; v < x.n * voxels; v++) {
        double one = loss_voxel(c, sums + v / voxels * x.c, in[0] + v * x.c, in[1][v]);
        cross_entropy += one < 0 ? 0 : one;
        valid += one >= 0;
    }
    for (int64_t i = 0; i < x.n * x.c; i++) {
        const double *part = sums[i].part;
        memcpy(out[1] + i * 6, part, sizeof sums[i].part);
        if (i % x.c >= first)
            dice -= (2 * part[0] + smooth) / fmax(part[1] + part[2] + smooth, 1e-8);
    }
    free(sums);
    out[2][0] = valid > 0 ? cross_entropy / valid : 0;
    out[2][1] = dice / (double)(x.n * (x.c - first));
    out[2][2] = 0;
    out[2][3] = valid;
    out[0][0] = (double)c->params.weight * (out[2][0] + out[2][1]);
}

static double segmentation_loss_length(const test_case *c, const rvx_shape *out_shape,
                                       bool gradient, int index)
{
    (void)out_shape, (void)gradient, (void)index;
    return (double)(c->in[0].d * c->in[0].h * c->in[0].w);
}

static const test_suite segmentation_loss_suite = {
    .op = &rvx__op_segmentation_loss,
    .cases = segmentation_loss_cases,
    .case_count = CASE_COUNT(segmentation_loss_cases),
    .reference = segmentation_loss_reference,
    .length = segmentation_loss_length,
    .differentiable = 1,
    .pitched_in = 3,
    .pitched_out = 0,
    .labels_in = 2,
    .scale_out = {SCALE_TENSOR, SCALE_COLUMN, SCALE_COLUMN}};
