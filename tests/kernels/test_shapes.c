/* Shape rules refuse what makes no sense, and say what was wrong: one row a refusal, with words
 * that the message must hold. */
#include "kernels/conv_amx_weight.h"
#include "kernels/op.h"
#include "tap.h"

#include <string.h>

typedef struct refusal {
    const rvx_op *op;
    rvx_shape in[RVX_IN_MAX];
    int in_count;
    rvx_op_params params;
    const char *words;
} refusal;

static const refusal refusals[] = {
    {&rvx__op_norm_act, {{1, 4, 4, 4, 16}}, 1, {.groups = 3, .epsilon = 1e-5f}, "into 3 groups"},
    {&rvx__op_norm_act, {{1, 4, 4, 4, 16}}, 1, {.epsilon = 0}, "epsilon"},
    {&rvx__op_norm_act, {{1, 1, 1, 1, 16}}, 1, {.epsilon = 1e-5f}, "one value only"},
    {&rvx__op_norm_act, {{3, 1, 1, 1, 16}}, 1, {.epsilon = 1e-5f}, "one value only"},
    {&rvx__op_norm_act,
     {{1, 1, 1, 1, 16}},
     1,
     {.epsilon = 1e-5f, .batch_statistics = 1},
     "one value only"},
    {&rvx__op_norm_act,
     {{2, 4, 4, 4, 16}},
     1,
     {.epsilon = 1e-5f, .groups = 4, .batch_statistics = 1},
     "batch statistics of 4 groups"},
    {&rvx__op_norm_act,
     {{2, 4, 4, 4, 16}, {0}, {0}, {1, 1, 1, 1, 16}, {1, 1, 1, 1, 4}},
     5,
     {.epsilon = 1e-5f, .batch_statistics = 1},
     "running variance has 4 values, expected 16"},
    {&rvx__op_norm_act,
     {{1, 4, 4, 4, 16}, {1, 1, 1, 1, 8}},
     2,
     {.epsilon = 1e-5f},
     "gamma has 8 values, expected 16"},
    {&rvx__op_norm_act,
     {{1, 4, 4, 4, 16}, {0}, {1, 1, 1, 2, 16}},
     3,
     {.epsilon = 1e-5f},
     "beta has 32 values, expected 16"},
    {&rvx__op_max_pool, {{1, 4, 4, 1, 16}}, 1, {.kernel = {2, 2, 2}}, "along w"},
    {&rvx__op_max_pool, {{1, 4, 4, 4, 16}}, 1, {.kernel = {2, 0, 2}}, "kernel 0 along h"},
    {&rvx__op_upsample, {{1, 4, 4, 4, 16}}, 1, {.kernel = {65, 2, 2}}, "factor 65 along d"},
    {&rvx__op_add, {{1, 4, 4, 4, 16}, {1, 4, 4, 4, 8}}, 2, {.groups = 0}, "shapes differ"},
    {&rvx__op_concat,
     {{1, 4, 4, 4, 16}, {1, 4, 5, 4, 16}},
     2,
     {.groups = 0},
     "input 1 is [1 4 5 4]"},
    {&rvx__op_concat, {{1, 4, 4, 4, 16}, {0}}, 2, {.groups = 0}, "input 1 is absent"},
    {&rvx__op_split, {{1, 4, 4, 4, 16}}, 1, {.channel_count = 16}, "16 of 16 channels"},
    {&rvx__op_split, {{1, 4, 4, 4, 16}}, 1, {.channel_count = 0}, "0 of 16 channels"},
    {&rvx__op_space_to_depth, {{1, 4, 5, 4, 3}}, 1, {.stride = {2, 2, 2}}, "size 5 along h"},
    {&rvx__op_space_to_depth, {{1, 5, 5, 5, 3}}, 1, {.stride = {5, 5, 5}}, "stride 5 along d"},
    {&rvx__op_space_to_depth, {{1, 4, 4, 4, 3}}, 1, {.stride = {1, 2, 0}}, "stride 0 along w"},
    {&rvx__op_space_to_depth, {{1, 4, 4, 4, 3}}, 1, {.stride = {2, 2, 2}, .order = 2}, "order 2"},
    {&rvx__op_haar, {{1, 6, 6, 6, 3}}, 1, {.stride = {2, 2, 3}}, "stride 3 along w"},
    {&rvx__op_haar, {{1, 6, 6, 7, 3}}, 1, {.stride = {2, 2, 2}}, "size 7 along w"},
    {&rvx__op_orthogonal_down,
     {{1, 6, 6, 6, 3}, {1, 1, 9, 9, 3}},
     2,
     {.stride = {1, 3, 3}},
     "stride 3 along h"},
    {&rvx__op_orthogonal_down,
     {{1, 6, 6, 6, 3}, {1, 1, 8, 4, 3}},
     2,
     {.stride = {2, 2, 2}},
     "weight is [1 1 8 4 3], expected [1 1 8 8 3]"},
    {&rvx__op_orthogonal_up,
     {{1, 6, 6, 6, 16}, {1, 1, 8, 8, 16}},
     2,
     {.stride = {2, 2, 2}},
     "expected [1 1 8 8 2]"},
    {&rvx__op_dropout, {{1, 6, 6, 6, 3}, {1, 1, 1, 1, 1}}, 2, {.rate = 1}, "rate 1"},
    {&rvx__op_dropout, {{1, 6, 6, 6, 3}, {1, 1, 1, 1, 2}}, 2, {.rate = 0.5f}, "key has 2 values"},
    {&rvx__op_deinterleave, {{1, 4, 4, 4, 6}}, 1, {.order = 0}, "6 channels"},
    {&rvx__op_interleave,
     {{1, 4, 4, 4, 6}, {1, 4, 4, 4, 6}, {1, 4, 4, 4, 5}, {1, 4, 4, 4, 6}},
     4,
     {.order = 0},
     "input 2 is [1 4 4 4 5]"},
    {&rvx__op_depth_to_space, {{1, 4, 4, 4, 12}}, 1, {.stride = {2, 2, 2}}, "12 channels"},
    {&rvx__op_segmentation_loss,
     {{1, 4, 4, 4, 3}, {1, 4, 4, 5, 1}},
     2,
     {.classes = 3},
     "labels are [1 4 4 5 1]"},
    {&rvx__op_segmentation_loss,
     {{1, 4, 4, 4, 3}, {1, 4, 4, 4, 1}},
     2,
     {.classes = 4},
     "expected 4 classes"},
    {&rvx__op_segmentation_loss,
     {{1, 4, 4, 4, 1}, {1, 4, 4, 4, 1}},
     2,
     {.classes = 1},
     "expected 2 to 256"},
    {&rvx__op_head_loss,
     {{1, 4, 4, 4, 16}, {1, 1, 1, 8, 3}, {0}, {1, 4, 4, 4, 1}},
     4,
     {.classes = 3},
     "the weight is [1 1 1 8 3]"},
    {&rvx__op_head_loss,
     {{1, 4, 4, 4, 16}, {1, 1, 1, 16, 3}, {0}, {1, 4, 5, 4, 1}},
     4,
     {.classes = 3},
     "labels are [1 4 5 4 1]"},
    {&rvx__op_head_loss,
     {{1, 4, 4, 4, 16}, {1, 1, 1, 16, 3}, {0}, {1, 4, 4, 4, 1}},
     4,
     {.classes = 4},
     "expected 4"},
    {&rvx__op_head_labels,
     {{1, 4, 4, 4, 16}, {1, 1, 1, 16, 257}},
     2,
     {.classes = 0},
     "257 classes, expected 2 to 256"},
    {&rvx__op_head_labels,
     {{1, 4, 4, 4, 16}, {1, 1, 1, 16, 3}, {1, 1, 1, 1, 4}},
     3,
     {.classes = 0},
     "the bias has 4 values, expected 3"},
};

/* Many channels and wide rows leave room for few rows at a time: every height must find a cut. */
static void check_weight_cuts(void)
{
    int64_t most = 0;
    for (int64_t h = 1; h <= 80; h++)
        for (int64_t w = 64; w <= 512; w *= 2) {
            const rvx_shape in = {1, 16, h, w, 320};
            rvx_op_params params = {
                .kernel = {3, 3, 3}, .stride = {1, 1, 1}, .pad = {1, 1, 1}, .channels_out = 320};
            int64_t bytes = rvx__amx_weight_scratch(0, &in, &in, &params, 2);
            most = bytes > most ? bytes : most;
        }
    TAP_OK(most > 0 && most < 256 << 20);
}

int main(void)
{
    check_weight_cuts();
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *r = &refusals[i];
        rvx_shape out[RVX_OUT_MAX];
        rvx_error error = {RVX_OK, ""};
        rvx_status status = r->op->shape(out, r->in, r->in_count, &r->params, &error);
        tap_ok(status == RVX_ERROR_ARGUMENT && error.status == status &&
                   strncmp(error.message, r->op->name, strlen(r->op->name)) == 0 &&
                   strstr(error.message, r->words),
               "%s refuses: %s", r->op->name, r->words);
    }
    return tap_done();
}
