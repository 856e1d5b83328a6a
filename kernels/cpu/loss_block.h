/* The segmentation loss on blocks of RVX_LANES voxels, class-major so that each lane is one voxel,
 * and what is done with the sums of all blocks. Owns: the softmax, the statistics and the gradient
 * of the logits, shared by segmentation_loss.c and head_loss.c, which differ in where logits come
 * from. Invariant: sums over voxels are f32 for at most 16 blocks a lane, double beyond; counts are
 * whole numbers. */
#ifndef RVX_CPU_LOSS_BLOCK_H
#define RVX_CPU_LOSS_BLOCK_H

#include "kernels/cpu/vec.h"
#include "kernels/op.h"

#include <math.h>

enum { CLASSES_MAX = 256, RUN_BLOCKS = 16, RUN_VOXELS = RUN_BLOCKS * RVX_LANES };
/* Columns of the partial sums and of the statistics. */
enum { PART_I, PART_P, PART_G, PART_TP, PART_PREDICTED, PART_COUNT };
enum { COLUMN_I, COLUMN_P, COLUMN_G, COLUMN_TP, COLUMN_FP, COLUMN_FN };

/* Logits or gradients of one block, class-major, and its labels as f32 (-1: not valid). */
typedef struct block {
    rvx_vec *z; /* one a class */
    rvx_vec label;
    rvx_vec largest, sum, prediction; /* of the logits; of exp; first class with the largest */
} block;

static inline rvx_vec ones_where_equal(rvx_vec a, rvx_vec b)
{
    return rvx__vec_equal(a, b, rvx__splat(1.0f), (rvx_vec){0});
}

/* Labels of `count` voxels from `first` on; missing lanes are not valid. */
RVX_INLINE void block_labels(block *b, const rvx_tensor *labels, int64_t first, int64_t count,
                             int64_t classes, int ignore_label)
{
    const uint8_t *label = (const uint8_t *)labels->data + first * labels->pitch;
    float lane[RVX_LANES];
    for (int64_t v = 0; v < RVX_LANES; v++) {
        int value = v < count ? label[v * labels->pitch] : CLASSES_MAX;
        int valid = value < classes && value != ignore_label;
        lane[v] = valid ? (float)value : -1.0f;
    }
    b->label = rvx__load(lane);
}

/* The largest logits and the first classes that have them. */
RVX_INLINE void block_predict(block *b, int64_t classes)
{
    b->largest = b->z[0];
    b->prediction = (rvx_vec){0};
    for (int64_t k = 1; k < classes; k++) {
        b->prediction = rvx__vec_greater(b->z[k], b->largest, rvx__splat((float)k), b->prediction);
        b->largest = rvx__vec_greater(b->z[k], b->largest, b->z[k], b->largest);
    }
}

/* z becomes exp(z - largest); returns the logit of the label minus the largest. */
RVX_INLINE rvx_vec block_exponentials(block *b, int64_t classes)
{
    block_predict(b, classes);
    rvx_vec own = {0};
    b->sum = (rvx_vec){0};
    for (int64_t k = 0; k < classes; k++) {
        rvx_vec z = b->z[k] - b->largest;
        own = rvx__vec_equal(b->label, rvx__splat((float)k), z, own);
        b->z[k] = rvx__vec_exp(z);
        b->sum += b->z[k];
    }
    return own;
}

/* Sums of one run of blocks, one lane a voxel. */
typedef struct run_sums {
    rvx_vec cross_entropy, part[CLASSES_MAX][PART_COUNT];
} run_sums;

RVX_INLINE void run_clear(run_sums *r, int64_t classes)
{
    r->cross_entropy = (rvx_vec){0};
    memset(r->part, 0, (size_t)classes * sizeof r->part[0]);
}

RVX_INLINE void block_add(run_sums *r, block *b, int64_t classes)
{
    const rvx_vec zero = {0}, one = rvx__splat(1.0f);
    rvx_vec own = block_exponentials(b, classes);
    rvx_vec valid = rvx__vec_greater(zero, b->label, zero, one);
    rvx_vec scale = rvx__vec_greater(zero, b->label, zero, one / b->sum);
    r->cross_entropy += rvx__vec_greater(zero, b->label, zero, rvx__vec_log(b->sum) - own);
    for (int64_t k = 0; k < classes; k++) {
        rvx_vec is_label = ones_where_equal(b->label, rvx__splat((float)k));
        rvx_vec is_prediction = ones_where_equal(b->prediction, rvx__splat((float)k)) * valid;
        rvx_vec p = b->z[k] * scale;
        r->part[k][PART_I] = rvx__vec_fma(p, is_label, r->part[k][PART_I]);
        r->part[k][PART_P] += p;
        r->part[k][PART_G] += is_label;
        r->part[k][PART_TP] = rvx__vec_fma(is_label, is_prediction, r->part[k][PART_TP]);
        r->part[k][PART_PREDICTED] += is_prediction;
    }
}

/* In double, halves added to halves. */
RVX_INLINE double lanes_total(rvx_vec v)
{
#if defined(__AVX512F__)
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1));
    return _mm512_reduce_add_pd(low + high);
#else
    double lane[RVX_LANES];
    for (int i = 0; i < RVX_LANES; i++)
        lane[i] = (double)v[i];
    for (int half = RVX_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[half + i];
    return lane[0];
#endif
}

/* Adds a run to partial sums: partial[0] = cross entropy, then PART_COUNT sums a class. */
RVX_INLINE void run_promote(double *partial, const run_sums *r, int64_t classes)
{
    partial[0] += lanes_total(r->cross_entropy);
    for (int64_t k = 0; k < classes; k++)
        for (int i = 0; i < PART_COUNT; i++)
            partial[1 + k * PART_COUNT + i] += lanes_total(r->part[k][i]);
}

/* Dice of one (sample, class) from its sums. */
RVX_INLINE double dice_of(const double *part, double smooth)
{
    return (2 * part[PART_I] + smooth) / fmax(part[PART_P] + part[PART_G] + smooth, 1e-8);
}

/* Sums pieces in order and writes the outputs. */
RVX_INLINE void outputs_write(const rvx_call *call, double *partial, int64_t pieces)
{
    const rvx_op_params *params = call->params;
    const rvx_tensor *statistics = &call->out[1];
    int64_t samples = statistics->shape.n, classes = statistics->shape.w;
    int64_t width = 1 + PART_COUNT * classes, first_class = params->include_background ? 0 : 1;
    double cross_entropy = 0, valid = 0, dice = 0;
    for (int64_t n = 0; n < samples; n++) {
        double *total = partial + n * pieces * width;
        for (int64_t i = 1; i < pieces; i++)
            for (int64_t j = 0; j < width; j++)
                total[j] += total[i * width + j];
        cross_entropy += total[0];
        for (int64_t k = 0; k < classes; k++) {
            const double *part = total + 1 + k * PART_COUNT;
            float *row = rvx__f32(statistics) + (n * classes + k) * statistics->pitch;
            row[COLUMN_I] = (float)part[PART_I];
            row[COLUMN_P] = (float)part[PART_P];
            row[COLUMN_G] = (float)part[PART_G];
            row[COLUMN_TP] = (float)part[PART_TP];
            row[COLUMN_FP] = (float)(part[PART_PREDICTED] - part[PART_TP]);
            row[COLUMN_FN] = (float)(part[PART_G] - part[PART_TP]);
            valid += part[PART_G];
            if (k >= first_class)
                dice -= dice_of(part, (double)params->smooth);
        }
    }
    cross_entropy = valid > 0 ? cross_entropy / valid : 0;
    dice /= (double)(samples * (classes - first_class));
    rvx__f32(&call->out[0])[0] = (float)((double)params->weight * (cross_entropy + dice));
    float *summary = rvx__f32(&call->out[2]);
    summary[0] = (float)cross_entropy;
    summary[1] = (float)dice;
    summary[2] = (float)floor(valid * 0x1p-24);
    summary[3] = (float)(valid - floor(valid * 0x1p-24) * 0x1p24);
}

/* Backward. With L = weight * grad_loss, N valid voxels, M (sample, class) pairs in Dice:
 *
 *   dL/dp[k] = a[k] - b[k] [label = k]          (Dice)
 *     b = 2 (L / M) / D,  a = (L / M) (2 I + s) / D^2,  D = max(P + G + s, 1e-8);
 *     a = 0 where the maximum holds D, both 0 for classes out of Dice
 *   dL/dz[k] = p[k] (dL/dp[k] - sum over j of p[j] dL/dp[j]) + (L / N) (p[k] - [label = k]) */

/* L of the formula above. */
RVX_INLINE double loss_factor(const rvx_call *call)
{
    const float *given = rvx__f32(&call->grad_out[0]);
    return (double)call->params->weight * (given ? (double)given[0] : 1);
}

/* L / N */
RVX_INLINE float cross_entropy_factor(const rvx_call *call)
{
    const float *summary = rvx__f32(&call->out[2]);
    double valid = (double)summary[2] * 0x1p24 + (double)summary[3];
    return valid > 0 ? (float)(loss_factor(call) / valid) : 0;
}

/* a and b of every sample and class. */
RVX_INLINE void coefficients_write(const rvx_call *call, float *table)
{
    const rvx_op_params *params = call->params;
    const rvx_tensor *statistics = &call->out[1];
    int64_t samples = statistics->shape.n, classes = statistics->shape.w;
    int64_t first_class = params->include_background ? 0 : 1;
    double smooth = (double)params->smooth,
           each = loss_factor(call) / (double)(samples * (classes - first_class));
    for (int64_t n = 0; n < samples; n++)
        for (int64_t k = 0; k < classes; k++) {
            const float *row = rvx__f32(statistics) + (n * classes + k) * statistics->pitch;
            double size = (double)row[COLUMN_P] + (double)row[COLUMN_G] + smooth;
            double bound = fmax(size, 1e-8), twice = 2 * (double)row[COLUMN_I] + smooth;
            float *pair = table + (n * classes + k) * 2;
            int counts = k >= first_class;
            pair[0] = counts && size >= 1e-8 ? (float)(each * twice / (bound * bound)) : 0;
            pair[1] = counts ? (float)(2 * each / bound) : 0;
        }
}

/* z becomes the gradient. */
RVX_INLINE void block_gradient(block *b, const float *pairs, int64_t classes, float ce_factor)
{
    const rvx_vec zero = {0};
    block_exponentials(b, classes);
    rvx_vec scale = rvx__vec_greater(zero, b->label, zero, rvx__splat(1.0f) / b->sum);
    rvx_vec mean = zero;
    for (int64_t k = 0; k < classes; k++) {
        rvx_vec is_label = ones_where_equal(b->label, rvx__splat((float)k));
        b->z[k] *= scale;
        rvx_vec slope = rvx__splat(pairs[2 * k]) - rvx__splat(pairs[2 * k + 1]) * is_label;
        mean = rvx__vec_fma(b->z[k], slope, mean);
    }
    rvx_vec ce = rvx__vec_greater(zero, b->label, zero, rvx__splat(ce_factor));
    for (int64_t k = 0; k < classes; k++) {
        rvx_vec is_label = ones_where_equal(b->label, rvx__splat((float)k));
        rvx_vec slope = rvx__splat(pairs[2 * k]) - rvx__splat(pairs[2 * k + 1]) * is_label;
        b->z[k] = rvx__vec_fma(b->z[k], slope - mean, ce * (b->z[k] - is_label));
    }
}

#endif
