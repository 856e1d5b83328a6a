/* Validation during training: see validate.h. */
#include "engine/run/validate.h"

#include <math.h>
#include <string.h>

/* Progress over all cases: `done` of `total` cases, the one at hand by its share. */
typedef struct case_poll {
    rvx_poll poll;
    void *context;
    double done, total;
} case_poll;

static int poll_case(void *context, double done, double total)
{
    const case_poll *p = context;
    return p->poll(p->context, p->done + done / total, p->total);
}

typedef struct counting {
    rvx_case *one;
    int classes, ignore_label;
    int64_t hits[RVX_CLASSES_MAX], predicted[RVX_CLASSES_MAX], reference[RVX_CLASSES_MAX];
} counting;

static void count_voxel(counting *c, int predicted, int label)
{
    if (label == c->ignore_label)
        return;
    c->hits[predicted] += predicted == label;
    c->predicted[predicted]++;
    c->reference[label]++;
}

static rvx_status count_slices(void *context, const float *logits, int64_t z_first, int64_t z_count,
                               rvx_error *error)
{
    (void)error;
    counting *c = context;
    const rvx_case *one = c->one;
    for (int64_t z = z_first; z < z_first + z_count; z++)
        for (int64_t y = 0; y < one->shape.h; y++)
            for (int64_t x = 0; x < one->shape.w; x++, logits += c->classes)
                count_voxel(c, rvx__argmax(logits, c->classes),
                            one->labels[rvx__case_voxel(one, z, y, x)]);
    return RVX_OK;
}

static rvx_status count_labels(void *context, const uint8_t *predicted, int64_t z, rvx_error *error)
{
    (void)error;
    counting *c = context;
    const rvx_case *one = c->one;
    for (int64_t y = 0; y < one->shape.h; y++)
        for (int64_t x = 0; x < one->shape.w; x++)
            count_voxel(c, *predicted++, one->labels[rvx__case_voxel(one, z, y, x)]);
    return RVX_OK;
}

static rvx_status count_case(counting *c, rvx_inference *inference, rvx_poll poll, void *context,
                             rvx_error *error)
{
    const rvx_slices image = rvx__case_slices(c->one);
    const int64_t size[3] = {c->one->shape.d, c->one->shape.h, c->one->shape.w};
    if (!rvx__inference_gives_labels(inference))
        return rvx__inference_run(inference, &image, size, count_slices, c, poll, context, error);
    rvx_status status = rvx__inference_fill(inference, &image, size, error);
    if (status != RVX_OK)
        return status;
    return rvx__inference_labels(inference, size, count_labels, c, poll, context, error);
}

rvx_status rvx__validate(rvx_validation *validation, rvx_inference *inference,
                         const rvx_recipe *recipe, rvx_case *cases, int64_t case_count,
                         rvx_poll poll, void *context, rvx_error *error)
{
    int classes = (int)recipe->network.classes;
    double sum[RVX_CLASSES_MAX] = {0}, total = 0;
    int64_t defined[RVX_CLASSES_MAX] = {0}, defined_classes = 0;
    for (int64_t i = 0; i < case_count; i++) {
        counting c = {
            .one = &cases[i], .classes = classes, .ignore_label = (int)recipe->loss.ignore_label};
        case_poll progress = {poll, context, (double)i, (double)case_count};
        rvx_status status = count_case(&c, inference, poll ? poll_case : NULL, &progress, error);
        if (status != RVX_OK)
            return status;
        for (int k = 0; k < classes; k++)
            if (c.predicted[k] + c.reference[k] > 0) {
                sum[k] += 2.0 * (double)c.hits[k] / (double)(c.predicted[k] + c.reference[k]);
                defined[k]++;
            }
    }
    for (int k = 0; k < classes; k++) {
        validation->dice[k] = defined[k] ? sum[k] / (double)defined[k] : (double)NAN;
        if (k > 0 && defined[k]) {
            total += validation->dice[k];
            defined_classes++;
        }
    }
    validation->mean_dice = defined_classes ? total / (double)defined_classes : (double)NAN;
    return RVX_OK;
}
