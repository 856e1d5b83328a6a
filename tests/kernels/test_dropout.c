/* The masks of dropout: every instruction set makes the ones of the rule, bit for bit, from any
 * element on; the share that is kept is right, by layer and by step, and masks of different layers
 * and steps are independent; key 0 keeps everything; step keys are numbers that f32 holds. */
#include "kernels/dropout.h"
#include "tests/kernels/harness.h"

enum { VOXELS = 40 * 41, CHANNELS = 37, COUNT = VOXELS * CHANNELS };

static float values[COUNT], masked[COUNT];
static unsigned char kept[4][COUNT];

static void mask_make(unsigned char *mask, rvx_isa isa, float key, int32_t layer, float rate)
{
    rvx_op_params params = {.rate = rate, .layer = layer};
    rvx_shape shape = {1, 1, 40, 41, CHANNELS}, one = {1, 1, 1, 1, 1};
    rvx_call call = {.params = &params,
                     .in = {{.data = values, .shape = shape, .pitch = CHANNELS},
                            {.data = &key, .shape = one, .pitch = 1}},
                     .out = {{.data = masked, .shape = shape, .pitch = CHANNELS}},
                     .threads = 2};
    for (int i = 0; i < COUNT; i++)
        values[i] = 1;
    rvx__op_dropout.cpu[RVX_FORWARD][isa](&call);
    for (int i = 0; i < COUNT; i++)
        mask[i] = masked[i] != 0;
}

static void rule_check(rvx_isa isa)
{
    float key = rvx__dropout_key(1, 7);
    uint32_t bits;
    int wrong = 0, threshold = rvx__dropout_threshold(0.3f);
    memcpy(&bits, &key, sizeof bits);
    mask_make(kept[0], isa, key, -5, 0.3f);
    for (int i = 0; i < COUNT; i++)
        wrong += kept[0][i] != rvx__dropout_keeps(bits, (uint32_t)-5, threshold, i);
    tap_ok(wrong == 0, "isa %d: the mask is that of the rule (%d wrong)", isa, wrong);
    mask_make(kept[0], isa, 0, -5, 0.3f);
    for (int i = wrong = 0; i < COUNT; i++)
        wrong += masked[i] != 1;
    tap_ok(wrong == 0, "isa %d: key 0 changes nothing", isa);
}

/* Shares within five standard deviations, of single masks and of places that two masks keep. */
static void statistics_check(float rate)
{
    double keep = 1 - (double)rate, spread = 5 * sqrt(keep * (1 - keep) / COUNT);
    const float keys[4] = {rvx__dropout_key(1, 0), rvx__dropout_key(1, 1), rvx__dropout_key(2, 0),
                           rvx__dropout_key(1, 0)};
    const int32_t layers[4] = {1, 1, 1, 2};
    for (int k = 0; k < 4; k++) {
        double sum = 0;
        mask_make(kept[k], rvx__isa_detect(), keys[k], layers[k], rate);
        for (int i = 0; i < COUNT; i++)
            sum += kept[k][i];
        tap_ok(fabs(sum / COUNT - keep) <= spread, "rate %g: keeps %.4f", (double)rate,
               sum / COUNT);
    }
    double both = keep * keep, both_spread = 5 * sqrt(both * (1 - both) / COUNT);
    for (int a = 0; a < 4; a++)
        for (int b = a; b < 4; b++) {
            /* a mask against another, or against itself one element further */
            double sum = 0;
            for (int i = 0; i + 1 < COUNT; i++)
                sum += kept[a][i] & kept[b][a == b ? i + 1 : i];
            tap_ok(fabs(sum / COUNT - both) <= both_spread,
                   "rate %g: masks %d and %d are independent", (double)rate, a, b);
        }
}

static void key_check(void)
{
    int wrong = 0;
    for (int64_t step = 0; step < 10000; step++) {
        float key = rvx__dropout_key(3, step);
        wrong += !(key >= 1 && key < 0x1p24f && key == floorf(key));
        wrong += key == rvx__dropout_key(3, step + 1) || key == rvx__dropout_key(4, step);
    }
    tap_ok(wrong == 0, "keys are whole, positive, below 2^24, and differ from step to step");
}

int main(void)
{
    for (int isa = RVX_ISA_BASE; isa <= (int)rvx__isa_detect(); isa++)
        rule_check((rvx_isa)isa);
    statistics_check(0.5f);
    statistics_check(0.1f);
    key_check();
    return tap_done();
}
