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
    const rvx_case *one;
    int classes, ignore_label;
    int64_t hits[RVX_CLASSES_MAX], predicted[RVX_CLASSES_MAX], reference[RVX_CLASSES_MAX];
} counting;

static rvx_status count_slices(void *context, const float *logits, int64_t z_first, int64_t z_count,
                               rvx_error *error)
{
    (void)error;
    counting *c = context;
    int64_t slice = c->one->shape.h * c->one->shape.w;
    const uint8_t *labels = c->one->labels + z_first * slice;
    for (int64_t i = 0; i < z_count * slice; i++) {
        if (labels[i] == c->ignore_label)
            continue;
        int predicted = rvx__argmax(logits + i * c->classes, c->classes);
        c->hits[predicted] += predicted == labels[i];
        c->predicted[predicted]++;
        c->reference[labels[i]]++;
    }
    return RVX_OK;
}

rvx_status rvx__validate(rvx_validation *validation, rvx_inference *inference,
                         const rvx_recipe *recipe, const rvx_case *cases, int64_t case_count,
                         rvx_poll poll, void *context, rvx_error *error)
{
    int classes = (int)recipe->network.classes;
    double sum[RVX_CLASSES_MAX] = {0}, total = 0;
    int64_t defined[RVX_CLASSES_MAX] = {0}, defined_classes = 0;
    for (int64_t i = 0; i < case_count; i++) {
        counting c = {
            .one = &cases[i], .classes = classes, .ignore_label = (int)recipe->loss.ignore_label};
        int64_t size[3] = {cases[i].shape.d, cases[i].shape.h, cases[i].shape.w};
        case_poll progress = {poll, context, (double)i, (double)case_count};
        rvx_status status = rvx__inference_run(inference, cases[i].image, size, count_slices, &c,
                                               poll ? poll_case : NULL, &progress, error);
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
