/* Every op's cases and plainest reference, one file per op in cases/. Owns: the list of suites; a
 * row of ops.def without a suite fails tests/kernels/test_gradient.c. */
#ifndef RVX_TEST_CASES_H
#define RVX_TEST_CASES_H

#include "kernels/dropout.h"
#include "tests/kernels/harness.h"

#define CASE_COUNT(cases) ((int)(sizeof(cases) / sizeof *(cases)))

/* Index into a dense array of that shape. */
static inline int64_t at(rvx_shape s, int64_t n, int64_t d, int64_t h, int64_t w, int64_t c)
{
    return (((n * s.d + d) * s.h + h) * s.w + w) * s.c + c;
}

/* Fine element of a coarse one, by the definition in kernels/block.h. */
TEST_FUNCTION int64_t block_element(rvx_shape fine, rvx_shape coarse, const rvx_op_params *p,
                                    int64_t o)
{
    int64_t channel = o % coarse.c, w = o / coarse.c % coarse.w,
            h = o / coarse.c / coarse.w % coarse.h;
    int64_t z = o / coarse.c / coarse.w / coarse.h, n = z / coarse.d, d = z % coarse.d;
    int64_t s = (int64_t)p->stride[0] * p->stride[1] * p->stride[2];
    int64_t sub = p->order ? channel / fine.c : channel % s;
    int64_t c = p->order ? channel % fine.c : channel / s;
    return at(fine, n, d * p->stride[0] + sub / (p->stride[1] * p->stride[2]),
              h * p->stride[1] + sub / p->stride[2] % p->stride[1],
              w * p->stride[2] + sub % p->stride[2], c);
}

#include "tests/kernels/cases/add.h"
#include "tests/kernels/cases/concat.h"
#include "tests/kernels/cases/conv.h"
#include "tests/kernels/cases/conv_transpose.h"
#include "tests/kernels/cases/dropout.h"
#include "tests/kernels/cases/haar.h"
#include "tests/kernels/cases/interleave.h"
#include "tests/kernels/cases/max_pool.h"
#include "tests/kernels/cases/mean_pool.h"
#include "tests/kernels/cases/norm_act.h"
#include "tests/kernels/cases/norm_conv.h"
#include "tests/kernels/cases/orthogonal.h"
#include "tests/kernels/cases/round.h"
#include "tests/kernels/cases/segmentation_loss.h"
#include "tests/kernels/cases/space_to_depth.h"
#include "tests/kernels/cases/split.h"
#include "tests/kernels/cases/upsample.h"

/* uses segmentation_loss.h */
#include "tests/kernels/cases/head.h"

static const test_suite *const suites[] = {
    &conv_suite,         &conv_transpose_suite,  &norm_act_suite,
    &norm_conv_suite,    &max_pool_suite,        &upsample_suite,
    &add_suite,          &round_suite,           &concat_suite,
    &split_suite,        &space_to_depth_suite,  &depth_to_space_suite,
    &deinterleave_suite, &interleave_suite,      &haar_suite,
    &haar_up_suite,      &orthogonal_down_suite, &orthogonal_up_suite,
    &dropout_suite,      &mean_pool_suite,       &segmentation_loss_suite,
    &head_loss_suite,    &head_labels_suite,
};

TEST_FUNCTION const test_suite *suite_of(const rvx_op *op)
{
    for (int i = 0; i < CASE_COUNT(suites); i++)
        if (suites[i]->op == op)
            return suites[i];
    return NULL;
}

#endif
