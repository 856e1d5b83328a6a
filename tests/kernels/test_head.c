/* Heads without logits against what they replace. head_loss equals convolution, then
 * segmentation_loss, forward and backward; head_labels predicts what head_loss counted, and the
 * first of equals; streams (RVX_I16) give the bits of the same numbers in f32; scratch stays small
 * however large the volume. The cases are those of tests/kernels/cases/head.h. */
#include "tests/kernels/cases.h"

static void *zeros(int64_t bytes)
{
    void *p = device_allocate((bytes + 127) / 64 * 64);
    if (!p)
        abort();
    memset(p, 0, (size_t)bytes);
    return p;
}

static rvx_tensor tensor_make(rvx_shape shape, rvx_dtype dtype)
{
    return (rvx_tensor){.data = zeros(rvx__shape_count(shape) * rvx__dtype_bytes(dtype)),
                        .shape = shape,
                        .pitch = shape.c,
                        .dtype = dtype};
}

static void call_run(const rvx_op *op, rvx_phase phase, rvx_isa isa, rvx_call call)
{
    rvx_shape in[RVX_IN_MAX], out[RVX_OUT_MAX];
    for (int i = 0; i < RVX_IN_MAX; i++)
        in[i] = call.in[i].shape;
    for (int i = 0; i < RVX_OUT_MAX; i++)
        out[i] = call.out[i].shape;
    rvx_kernel kernel = device_kernel(op, phase, isa);
    if (!kernel) { /* one without this op: another's numbers will do */
        isa = RVX_ISA_BASE;
        kernel = device_kernel(op, phase, isa);
    }
    call.scratch_bytes = device_scratch(op, phase, in, out, call.params, call.threads, isa);
    call.scratch = zeros(call.scratch_bytes);
    device_run(kernel, &call, isa);
    device_free(call.scratch);
}

/* ---- convolution, then loss --------------------------------------------------------------------
 */

/* The results of a run of head_loss, by the two ops that it replaces. */
typedef struct pair {
    rvx_tensor logits, grad_logits, out[3], grad_in[3];
} pair;

static pair pair_run(const run *r)
{
    const test_case *c = r->c;
    pair p = {.logits = {.data = NULL}};
    rvx_shape z = c->in[0];
    z.c = c->in[1].c;
    p.logits = tensor_make(z, RVX_F32);
    p.grad_logits = tensor_make(z, RVX_F32);
    for (int i = 0; i < 3; i++) {
        p.out[i] = tensor_make(r->out_shape[i], RVX_F32);
        if (c->in[i].c)
            p.grad_in[i] = tensor_make(c->in[i], RVX_F32);
    }
    const rvx_isa isa = r->options.isa;
    const rvx_op_params pointwise = {
        .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .channels_out = (int32_t)z.c, .f32_output = 1};
    rvx_call conv = {.params = &pointwise, .threads = 2, .out = {p.logits}, .fold = r->fold.tensor};
    for (int i = 0; i < 3; i++)
        conv.in[i] = r->in[i].tensor;
    rvx_call loss = {.params = &c->params,
                     .threads = 2,
                     .in = {p.logits, r->in[3].tensor},
                     .out = {p.out[0], p.out[1], p.out[2]}};
    call_run(&rvx__op_conv, RVX_FORWARD, isa, conv);
    call_run(&rvx__op_segmentation_loss, RVX_FORWARD, isa, loss);
    loss.grad_out[0] = r->grad_out[0].tensor;
    loss.grad_in[0] = p.grad_logits;
    call_run(&rvx__op_segmentation_loss, RVX_BACKWARD_DATA, isa, loss);
    conv.grad_out[0] = p.grad_logits;
    conv.grad_in[0].shape = c->in[0];
    conv.grad_in[1] = p.grad_in[1];
    conv.grad_in[2] = p.grad_in[2];
    call_run(&rvx__op_conv, RVX_BACKWARD_PARAMETERS, isa, conv);
    memset(conv.grad_in, 0, sizeof conv.grad_in);
    conv.grad_in[0] = p.grad_in[0];
    call_run(&rvx__op_conv, RVX_BACKWARD_DATA, isa, conv);
    return p;
}

static void pair_free(pair *p)
{
    device_free(p->logits.data);
    device_free(p->grad_logits.data);
    for (int i = 0; i < 3; i++) {
        device_free(p->out[i].data);
        device_free(p->grad_in[i].data);
    }
}

/* Both are within one tolerance of the exact result, so within two of one another. */
static void pair_check(const test_case *c, rvx_isa isa, bool fold)
{
    run r;
    run_make(&r, &head_loss_suite, c, (run_options){.isa = isa, .threads = 2, .fold = fold});
    run_all(&r);
    pair p = pair_run(&r);
    double worst = 0;
    for (int i = 0; i < 3; i++) {
        double *want = doubles_of(&p.out[i]);
        worst = fmax(worst, misfit(&r.out[i].tensor, want, head_loss_suite.scale_out[i],
                                   2 * run_tolerance(&r, false, i)));
        free(want);
        if (!r.grad_in[i].base)
            continue;
        want = doubles_of(&p.grad_in[i]);
        worst = fmax(worst, misfit(&r.grad_in[i].tensor, want, SCALE_TENSOR,
                                   2 * run_tolerance(&r, true, i)));
        free(want);
    }
    tap_ok(worst <= 1, "%s isa %d%s: equals convolution and loss (%.2f tolerances)", c->name, isa,
           fold ? ", folded" : "", worst);
    pair_free(&p);
    run_free(&r);
}

/* ---- streams -----------------------------------------------------------------------------------
 */

/* x becomes integers on a grid, in both tensors. */
static buffer stream_of(rvx_tensor *x, int grid_log2, int64_t extra_pitch)
{
    buffer b = buffer_make(x->shape, RVX_I16, extra_pitch);
    b.tensor.grid_log2 = grid_log2;
    float steps = ldexpf(1, grid_log2);
    for (int64_t i = 0; i < rvx__shape_count(x->shape); i++) {
        int16_t value = (int16_t)lrintf(rvx__f32(x)[element(x, i)] * steps);
        ((int16_t *)b.tensor.data)[element(&b.tensor, i)] = value;
        rvx__f32(x)[element(x, i)] = (float)value / steps;
    }
    return b;
}

static void stream_check(const test_suite *s, const test_case *c, rvx_isa isa, bool fold)
{
    run want, got;
    const run_options options = {.isa = isa, .threads = 2, .fold = fold};
    run_make(&want, s, c, options);
    run_make(&got, s, c, options);
    buffer stream = stream_of(&want.in[0].tensor, 11, fold ? 5 : 0);
    run_all(&want);
    buffer plain = got.in[0];
    got.in[0] = stream;
    run_all(&got);
    tap_ok(run_same_bits(&want, &got) && got.intact, "%s/%s isa %d%s: a stream gives the same bits",
           s->op->name, c->name, isa, fold ? ", folded" : "");
    got.in[0] = plain;
    buffer_free(&stream);
    run_free(&want);
    run_free(&got);
}

/* ---- labels ------------------------------------------------------------------------------------
 */

/* What head_labels predicts is what the statistics of head_loss count, voxel for voxel: both have
 * the same logits. */
static void count_check(const test_case *c, rvx_isa isa)
{
    run r;
    run_make(&r, &head_loss_suite, c, (run_options){.isa = isa, .threads = 2});
    run_all(&r);
    rvx_shape shape = c->in[0];
    shape.c = 1;
    rvx_tensor labels = tensor_make(shape, RVX_U8);
    call_run(&rvx__op_head_labels, RVX_FORWARD, isa,
             (rvx_call){.params = &c->params,
                        .in = {r.in[0].tensor, r.in[1].tensor, r.in[2].tensor},
                        .out = {labels},
                        .threads = 3});
    int64_t wrong = 0, voxels = shape.d * shape.h * shape.w, classes = c->in[1].c;
    for (int64_t i = 0; i < shape.n * classes; i++) {
        double predicted = 0, hits = 0;
        for (int64_t v = i / classes * voxels; v < (i / classes + 1) * voxels; v++) {
            int label = (int)value_of(&r.in[3].tensor, v);
            bool valid = label < classes && label != c->params.ignore_label;
            bool here = ((uint8_t *)labels.data)[v] == i % classes && valid;
            predicted += here;
            hits += here && label == i % classes;
        }
        const float *row = rvx__f32(&r.out[1].tensor) + i * 6;
        wrong += (double)row[3] != hits || (double)row[3] + (double)row[4] != predicted;
    }
    tap_ok(wrong == 0, "%s isa %d: labels are those that the loss counts", c->name, isa);
    device_free(labels.data);
    run_free(&r);
}

/* Small whole numbers: sums are exact and often equal. */
static void ties_check(rvx_isa isa, int64_t channels, int64_t classes)
{
    rvx_shape shape = {1, 3, 5, 7, channels}, weight = {1, 1, 1, channels, classes};
    rvx_tensor x = tensor_make(shape, RVX_F32), w = tensor_make(weight, RVX_F32);
    shape.c = 1;
    rvx_tensor labels = tensor_make(shape, RVX_U8);
    for (int64_t i = 0; i < rvx__shape_count(x.shape); i++)
        rvx__f32(&x)[i] = (float)(rvx__philox(3, 0, (uint64_t)i).word[0] % 3) - 1;
    for (int64_t i = 0; i < rvx__shape_count(weight); i++)
        rvx__f32(&w)[i] = (float)(rvx__philox(3, 1, (uint64_t)i).word[0] % 3) - 1;
    const rvx_op_params none = {0};
    call_run(&rvx__op_head_labels, RVX_FORWARD, isa,
             (rvx_call){.params = &none, .in = {x, w}, .out = {labels}, .threads = 2});
    int64_t wrong = 0, ties = 0;
    for (int64_t v = 0; v < rvx__shape_voxels(shape); v++) {
        int64_t best = 0;
        double largest = -INFINITY;
        bool tie = false;
        for (int64_t k = 0; k < classes; k++) {
            double z = 0;
            for (int64_t c = 0; c < channels; c++)
                z += (double)rvx__f32(&x)[v * channels + c] * (double)rvx__f32(&w)[c * classes + k];
            tie = z > largest ? false : tie || z >= largest;
            best = z > largest ? k : best;
            largest = fmax(z, largest);
        }
        ties += tie;
        wrong += ((uint8_t *)labels.data)[v] != best;
    }
    tap_ok(wrong == 0 && ties > 0, "%lld classes isa %d: the first of equals (%lld ties)",
           (long long)classes, isa, (long long)ties);
    device_free(x.data);
    device_free(w.data);
    device_free(labels.data);
}

/* ---- scratch -----------------------------------------------------------------------------------
 */

static void scratch_check(rvx_isa isa, int64_t channels, int64_t classes)
{
    /* a GPU has more to do at once */
    const int64_t most = (int64_t)(isa == RVX_ISA_CUDA ? 48 : 7) << 20;
    const rvx_shape in[] = {{1, 1000, 1000, 200, channels}, {1, 1, 1, channels, classes}};
    int64_t voxels = rvx__shape_voxels(in[0]), largest = 0;
    for (int phase = RVX_FORWARD; phase <= RVX_BACKWARD_DATA; phase += RVX_BACKWARD_DATA) {
        int64_t bytes =
            device_scratch(&rvx__op_head_loss, (rvx_phase)phase, in, NULL, NULL, 2, isa);
        largest = bytes > largest ? bytes : largest;
    }
    tap_ok(largest < most, "%lld to %lld: %.2f MiB of scratch for %.0f MiB of logits",
           (long long)channels, (long long)classes, (double)largest / 0x1p20,
           (double)(voxels * classes * 4) / 0x1p20);
}

int main(void)
{
    for (int isa = device_isa_first(); isa <= device_isa_last(); isa++) {
        for (int i = 0; i < head_loss_suite.case_count; i++) {
            const test_case *c = &head_loss_cases[i];
            for (int fold = 0; fold < 2; fold++) {
                pair_check(c, (rvx_isa)isa, fold);
                stream_check(&head_loss_suite, c, (rvx_isa)isa, fold);
            }
            count_check(c, (rvx_isa)isa);
        }
        for (int i = 0; i < head_labels_suite.case_count; i++)
            for (int fold = 0; fold < 2; fold++)
                stream_check(&head_labels_suite, &head_labels_cases[i], (rvx_isa)isa, fold);
        for (int64_t classes = 2; classes <= 16; classes++)
            ties_check((rvx_isa)isa, 5, classes);
    }
    scratch_check((rvx_isa)device_isa_last(), 16, 2);
    scratch_check((rvx_isa)device_isa_last(), 32, 105);
    scratch_check((rvx_isa)device_isa_last(), 320, 256);
    return tap_done();
}
