/* Ten training steps of both networks against PyTorch (tests/models/goldens/README.md says how the
 * fixtures were made, which numbers both sides generate and why the tolerance is what it is). Also:
 * the same bits for one, two and three threads, and all of it with activations stored as bf16. */
#include "engine/run/optimizer.h"
#include "kernels/random.h"
#include "models/models.h"
#include "tap.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { STEPS = 10 };

static uint64_t stream_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

static uint64_t seed; /* of the fixture at hand */

static uint32_t word(const char *name, int64_t i)
{
    return rvx__philox(seed, stream_of(name), (uint64_t)i).word[0];
}

static float symmetric(const char *name, int64_t i, float bound)
{
    return bound * ((float)((int32_t)(word(name, i) >> 8) - (1 << 23)) * 0x1p-23f);
}

/* Our element index of PyTorch's row-major element `i` of a parameter. */
static int64_t our_index(const rvx_value_info *info, int64_t i)
{
    rvx_shape s = info->shape;
    bool transposed = info->role == RVX_ROLE_CONV_TRANSPOSE_WEIGHT;
    if (!transposed && info->role != RVX_ROLE_CONV_WEIGHT)
        return i;
    int64_t taps = s.n * s.d * s.h, tap = i % taps, second = transposed ? s.c : s.w;
    int64_t b = i / taps % second, a = i / taps / second;
    int64_t ci = transposed ? a : b, co = transposed ? b : a;
    return (tap * s.w + ci) * s.c + co;
}

static void fill_parameters(rvx_session *session)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    for (int32_t v = 0; v < graph->value_count; v++) {
        const rvx_value_info *info = &graph->values[v];
        if (info->kind != RVX_VALUE_PARAMETER)
            continue;
        rvx_tensor t = rvx__session_tensor(session, (rvx_value){v});
        float *data = rvx__f32(&t);
        bool transposed = info->role == RVX_ROLE_CONV_TRANSPOSE_WEIGHT;
        int64_t fan_in = (transposed ? info->shape.c : info->shape.w) * info->shape.n *
                         info->shape.d * info->shape.h;
        float bound = (float)sqrt(6.0 / (1.0001 * (double)fan_in));
        for (int64_t i = 0; i < rvx__shape_count(info->shape); i++) {
            float value = 0;
            if (transposed || info->role == RVX_ROLE_CONV_WEIGHT)
                value = symmetric(info->name, i, bound);
            else if (info->role == RVX_ROLE_BIAS)
                value = symmetric(info->name, i, 0.1f);
            else
                value = info->role == RVX_ROLE_GAMMA;
            data[our_index(info, i)] = value;
        }
    }
}

typedef struct fixture {
    json_t *root, *configuration;
    rvx_model_config config;
    const rvx_model *model;
    rvx_shape image;
    int ignore_label;
    rvx_optimizer optimizer;
} fixture;

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static int integer(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

static int element(const json_t *array, size_t i)
{
    return (int)json_integer_value(json_array_get(array, i));
}

static void read_fixture(fixture *f, const char *path)
{
    json_error_t e;
    f->root = json_load_file(path, 0, &e);
    if (!f->root) {
        printf("Bail out! %s: %s\n", path, e.text);
        exit(1);
    }
    const json_t *c = f->configuration = json_object_get(f->root, "configuration");
    seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    f->model = rvx__model_find(json_string_value(json_object_get(c, "model")));
    const json_t *widths = json_object_get(c, "widths"), *strides = json_object_get(c, "strides"),
                 *kernels = json_object_get(c, "kernels");
    f->config = (rvx_model_config){.in_channels = integer(c, "channels"),
                                   .classes = integer(c, "classes"),
                                   .stage_count = (int)json_array_size(widths),
                                   .depth = 2,
                                   .groups = integer(c, "groups"),
                                   .deep_supervision =
                                       json_is_true(json_object_get(c, "deep_supervision"))};
    if (json_object_get(c, "encoder_depth")) {
        f->config.depth = integer(c, "encoder_depth");
        f->config.decoder_depth = integer(c, "decoder_depth");
    }
    for (size_t i = 0; i < json_array_size(widths); i++) {
        f->config.widths[i] = element(widths, i);
        for (size_t a = 0; a < 3; a++) {
            f->config.strides[i][a] =
                strides ? element(json_array_get(strides, i), a) : (i ? 2 : 1);
            f->config.kernels[i][a] = kernels ? element(json_array_get(kernels, i), a) : 3;
        }
    }
    const json_t *size = json_object_get(c, "size"), *ignore = json_object_get(c, "ignore_label");
    f->image = (rvx_shape){integer(c, "batch"), element(size, 0), element(size, 1),
                           element(size, 2), f->config.in_channels};
    f->ignore_label = json_is_integer(ignore) ? (int)json_integer_value(ignore) : -1;
    const json_t *o = json_object_get(c, "optimiser");
    bool sgd = strcmp(json_string_value(json_object_get(o, "name")), "sgd") == 0;
    bool poly = strcmp(json_string_value(json_object_get(o, "schedule")), "poly") == 0;
    f->optimizer = (rvx_optimizer){.name = sgd ? RVX_OPTIMIZER_SGD : RVX_OPTIMIZER_ADAMW,
                                   .learning_rate = number(o, "learning_rate"),
                                   .weight_decay = number(o, "weight_decay"),
                                   .momentum = number(o, "momentum"),
                                   .nesterov = true,
                                   .beta1 = number(o, "beta1"),
                                   .beta2 = number(o, "beta2"),
                                   .epsilon = number(o, "epsilon"),
                                   .gradient_clip = number(c, "clip_norm"),
                                   .schedule = poly ? RVX_SCHEDULE_POLY : RVX_SCHEDULE_COSINE,
                                   .poly_power = 0.9,
                                   .total_steps = STEPS};
}

/* Label of a voxel before anything is ignored, and whether its block is ignored. */
static int label_at(const fixture *f, int64_t n, int64_t z, int64_t y, int64_t x, bool *ignored)
{
    int64_t h = (f->image.h + 2) / 3, w = (f->image.w + 2) / 3, d = (f->image.d + 2) / 3;
    int64_t block = ((n * d + z / 3) * h + y / 3) * w + x / 3;
    *ignored = f->ignore_label >= 0 && word("ignore", block) % 8 == 0;
    return (int)(word("labels", block) % (uint32_t)f->config.classes);
}

/* The source index of coarse index i: nearest with half-pixel centres, as nnU-Net samples its
 * targets. */
static int64_t fine(int64_t i, int64_t coarse_extent, int64_t fine_extent)
{
    return (2 * i + 1) * fine_extent / (2 * coarse_extent);
}

static void fill_labels(const fixture *f, rvx_tensor labels)
{
    uint8_t *out = labels.data;
    rvx_shape s = labels.shape;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t z = 0; z < s.d; z++)
            for (int64_t y = 0; y < s.h; y++)
                for (int64_t x = 0; x < s.w; x++) {
                    bool ignored;
                    int label = label_at(f, n, fine(z, s.d, f->image.d), fine(y, s.h, f->image.h),
                                         fine(x, s.w, f->image.w), &ignored);
                    *out++ = (uint8_t)(ignored ? f->ignore_label : label);
                }
}

static void fill_image(const fixture *f, rvx_tensor image)
{
    rvx_shape s = f->image;
    float *out = image.data;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t z = 0; z < s.d; z++)
            for (int64_t y = 0; y < s.h; y++)
                for (int64_t x = 0; x < s.w; x++)
                    for (int64_t c = 0; c < s.c; c++) {
                        bool ignored;
                        int64_t i = (((n * s.c + c) * s.d + z) * s.h + y) * s.w + x;
                        *out++ = symmetric("input", i, 1.0f) +
                                 0.5f * (float)label_at(f, n, z, y, x, &ignored);
                    }
}

static bool close_to(double ours, const json_t *golden)
{
    double reference = number(golden, "f64");
    return fabs(ours - reference) <= 4 * number(golden, "drift") + 0x1p-22 * fabs(reference);
}

static void check_final(const fixture *f, const rvx_session *session, const char *name)
{
    const rvx_graph *graph = rvx__session_plan(session)->graph;
    const json_t *parameters = json_object_get(f->root, "parameters");
    int wrong = 0, checked = 0;
    for (size_t p = 0; p < json_array_size(parameters); p++) {
        const json_t *golden = json_array_get(parameters, p);
        const char *parameter = json_string_value(json_object_get(golden, "name"));
        rvx_value v = rvx__graph_find(graph, parameter);
        if (v.index < 0) {
            wrong++;
            continue;
        }
        rvx_tensor t = rvx__session_tensor(session, v);
        const float *data = rvx__f32(&t);
        const json_t *final = json_object_get(golden, "final");
        int64_t count = rvx__shape_count(t.shape);
        double squares = 0, sum = 0;
        for (int64_t i = 0; i < count; i++) {
            squares += (double)data[i] * (double)data[i];
            sum += (double)data[i];
        }
        int before = wrong;
        double drift = number(final, "drift"), l2 = number(final, "l2"),
               mean = number(final, "mean");
        double rounding = 0x1p-22 * l2;
        wrong += fabs(sqrt(squares) - l2) > 4 * drift * sqrt((double)count) + rounding;
        wrong += fabs(sum / (double)count - mean) > 4 * drift + rounding;
        const json_t *first = json_object_get(final, "first");
        for (size_t i = 0; i < json_array_size(first); i++)
            wrong += fabs((double)data[our_index(&graph->values[v.index], (int64_t)i)] -
                          json_number_value(json_array_get(first, i))) > 4 * drift + rounding;
        checked++;
        if (wrong != before)
            printf("# %s: %s differs (drift %g)\n", name, parameter, drift);
    }
    tap_ok(wrong == 0 && checked > 0, "%s: %d parameters after ten steps", name, checked);
    tap_ok(rvx__graph_parameter_count(graph) == integer(f->root, "parameter_count"),
           "%s: parameter count", name);
}

typedef struct trajectory {
    double loss[STEPS], norm[STEPS];
    uint64_t bits; /* of the final parameters */
    int64_t arena_bytes;
} trajectory;

static trajectory train(const fixture *f, int threads, rvx_isa isa, rvx_dtype storage, bool check,
                        const char *name)
{
    trajectory result = {.bits = 0xcbf29ce484222325u};
    rvx_error error = {0};
    rvx_graph *graph = rvx__graph_create();
    rvx__graph_set_storage(graph, storage);
    rvx_value logits[RVX_STAGES_MAX], image = rvx__input(graph, "image", f->image, RVX_F32);
    int count = f->model->build(graph, image, &f->config, logits);
    rvx_loss loss = {.ignore_label = f->ignore_label, .weight = 1, .smooth = 1e-5f};
    rvx_supervision s = rvx__supervise(graph, logits, count, loss);
    rvx_plan_options options = {
        .isa = isa, .threads = threads, .loss_count = s.count, .output_count = s.count};
    options.optimizer_slots = rvx__optimizer_slots(&f->optimizer);
    memcpy(options.losses, s.losses, sizeof s.losses);
    memcpy(options.outputs, s.losses, sizeof s.losses);
    rvx_plan *plan = NULL;
    rvx_session *session = NULL;
    if (rvx__plan_create(&plan, graph, &options, &error) != RVX_OK ||
        rvx__session_create(&session, plan, &error) != RVX_OK) {
        tap_ok(0, "%s: %s", name, error.message);
        exit(tap_done());
    }
    result.arena_bytes = plan->arena_bytes;
    fill_parameters(session);
    fill_image(f, rvx__session_tensor(session, image));
    for (int i = 0; i < s.count; i++)
        fill_labels(f, rvx__session_tensor(session, s.labels[i]));
    for (int step = 0; step < STEPS; step++) {
        rvx__session_run(session, NULL, NULL, &error);
        for (int i = 0; i < s.count; i++) {
            rvx_tensor t = rvx__session_tensor(session, s.losses[i]);
            result.loss[step] += (double)*rvx__f32(&t);
        }
        rvx__optimizer_step(&result.norm[step], &f->optimizer, session, step, NULL);
    }
    if (check)
        check_final(f, session, name);
    const uint8_t *bytes = (const uint8_t *)rvx__session_parameters(session);
    for (int64_t i = 0; i < 4 * rvx__session_parameter_floats(session); i++)
        result.bits = (result.bits ^ bytes[i]) * 0x100000001b3u;
    rvx__session_free(session);
    rvx__plan_free(plan);
    rvx__graph_free(graph);
    return result;
}

/* The tolerance of close_to for numbers 2^16 times as coarse, with the drift of PyTorch's own runs
 * that store bf16. */
static bool close_to_stored(double ours, const json_t *golden)
{
    double reference = number(golden, "f64");
    return fabs(ours - reference) <= 4 * number(golden, "bf16_drift") + 0x1p-6 * fabs(reference);
}

/* The same with activations and their gradients in bf16. */
static void check_storage(const fixture *f, rvx_isa isa, const trajectory *f32, const char *name)
{
    trajectory t = train(f, 2, isa, RVX_BF16, false, name);
    for (int step = 0; step < STEPS; step++) {
        const json_t *loss = json_array_get(json_object_get(f->root, "loss"), (size_t)step);
        const json_t *norm =
            json_array_get(json_object_get(f->root, "gradient_norm"), (size_t)step);
        tap_ok(close_to_stored(t.loss[step], loss) && close_to_stored(t.norm[step], norm),
               "%s isa %d step %d, bf16: loss %.5g (torch %.5g), gradient norm %.5g (torch %.5g)",
               name, isa, step, t.loss[step], number(loss, "f64"), t.norm[step],
               number(norm, "f64"));
    }
    tap_ok(t.arena_bytes < f32->arena_bytes && t.bits != f32->bits,
           "%s isa %d, bf16: %lld KiB instead of %lld", name, isa, (long long)(t.arena_bytes >> 10),
           (long long)(f32->arena_bytes >> 10));
    tap_ok(train(f, 1, isa, RVX_BF16, false, name).bits == t.bits &&
               train(f, 3, isa, RVX_BF16, false, name).bits == t.bits,
           "%s isa %d, bf16: the same bits for 1, 2 and 3 threads", name, isa);
}

int main(void)
{
    static const char *const names[] = {"unet3d_sgd", "unet3d_adamw_ignore", "unet3d_anisotropic",
                                        "revunet3d_sgd", "revunet3d_adamw_fat"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char path[128];
        fixture f;
        snprintf(path, sizeof path, "tests/models/goldens/%s.json", names[k]);
        read_fixture(&f, path);
        for (int isa = 0; isa <= (int)rvx__isa_detect(); isa++) {
            trajectory t = train(&f, 2, (rvx_isa)isa, RVX_F32, true, names[k]);
            for (int step = 0; step < STEPS; step++) {
                const json_t *loss = json_array_get(json_object_get(f.root, "loss"), (size_t)step);
                const json_t *norm =
                    json_array_get(json_object_get(f.root, "gradient_norm"), (size_t)step);
                tap_ok(close_to(t.loss[step], loss) && close_to(t.norm[step], norm),
                       "%s isa %d step %d: loss %.9g (torch %.9g), gradient norm %.9g (torch %.9g)",
                       names[k], isa, step, t.loss[step], number(loss, "f64"), t.norm[step],
                       number(norm, "f64"));
            }
            tap_ok(train(&f, 1, (rvx_isa)isa, RVX_F32, false, names[k]).bits == t.bits &&
                       train(&f, 3, (rvx_isa)isa, RVX_F32, false, names[k]).bits == t.bits,
                   "%s isa %d: the same bits for 1, 2 and 3 threads", names[k], isa);
            check_storage(&f, (rvx_isa)isa, &t, names[k]);
        }
        json_decref(f.root);
    }
    return tap_done();
}
