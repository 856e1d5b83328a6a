/* Segmentation of cases: see predictor.h. */
#include "engine/segment/predictor.h"
#include "engine/run/cases.h"
#include "engine/run/validate.h"
#include "engine/run/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rvx_predictor {
    rvx_safetensors *file;
    const rvx_recipe *recipe;
    const rvx_model *model;
    rvx_model_config config;
    rvx_predictor_options options;
    rvx_inference *inference; /* for `patch`; made again when a whole case has another size */
    int64_t patch[3];
    bool labels;  /* the inference gives labels, in one piece */
    int64_t lost; /* values that did not fit a stream, in inferences before this one */
};

rvx_status rvx__predictor_create(rvx_predictor **predictor, rvx_safetensors *file,
                                 const rvx_recipe *recipe, const rvx_model *model,
                                 const rvx_model_config *config,
                                 const rvx_predictor_options *options, rvx_error *error)
{
    rvx_predictor *made = calloc(1, sizeof *made);
    *predictor = made;
    if (!made) {
        rvx__safetensors_close(file);
        return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    }
    made->file = file;
    made->recipe = recipe;
    made->model = model;
    made->config = *config;
    made->options = *options;
    return RVX_OK;
}

void rvx__predictor_free(rvx_predictor *predictor)
{
    if (!predictor)
        return;
    rvx__inference_free(predictor->inference);
    rvx__safetensors_close(predictor->file);
    free(predictor);
}

static void tile_options(rvx_inference_options *options, const rvx_predictor *p,
                         const int64_t patch[3])
{
    const rvx_recipe *recipe = p->recipe;
    *options = (rvx_inference_options){
        .tile_step = p->options.tile_step > 0 ? p->options.tile_step : recipe->inference.tile_step,
        .gaussian = recipe->inference.gaussian,
        .threads = p->options.threads,
        .isa = p->options.isa,
        .device = p->options.device,
        .storage = (rvx_dtype)recipe->memory.storage,
        .streams = rvx__recipe_streams(recipe),
        .grid_log2 = (int)recipe->memory.grid_log2};
    for (int a = 0; a < 3; a++) {
        options->patch[a] = patch[a];
        options->mirror[a] = (p->options.mirror || recipe->inference.mirror) &&
                             recipe->augmentation.mirror_axes[2 - a];
    }
}

static double mebibytes(int64_t bytes) { return (double)bytes / 0x1p20; }

/* What a prediction may take, 0: no limit: the caller's budget, and never more than a device has.
 */
static int64_t budget_of(const rvx_predictor *p)
{
    int64_t budget = p->options.budget_bytes;
    int64_t room = p->options.device ? rvx__device_room(p->options.device) : 0;
    return room > 0 && (budget == 0 || room < budget) ? room : budget;
}

/* One sentence: what a case of that size would fit in. */
static void advise(char *text, size_t text_bytes, const rvx_predictor *p, const int64_t size[3],
                   int64_t image_bytes)
{
    const rvx_recipe *recipe = p->recipe;
    rvx_inference_options options;
    rvx_inference *tiled = NULL;
    int64_t tile[3],
        plan_size[3] = {recipe->patch.size[2], recipe->patch.size[1], recipe->patch.size[0]};
    snprintf(text, text_bytes, "%s of that size would fit",
             p->options.device ? "a GPU with room" : "a budget");
    if (!p->options.whole || recipe->patch.whole)
        return;
    rvx__patch_round(tile, recipe, plan_size);
    tile_options(&options, p, tile);
    options.plan_only = true;
    if (rvx__inference_create(&tiled, p->model, &p->config, &options, NULL) == RVX_OK) {
        int64_t bytes = p->options.device ? rvx__inference_arena_bytes(tiled)
                                          : image_bytes + rvx__inference_bytes(tiled, size);
        snprintf(text, text_bytes, "in tiles instead of whole it needs %.1f MiB%s",
                 mebibytes(bytes), bytes <= budget_of(p) ? " and would fit" : "");
    }
    rvx__inference_free(tiled);
}

/* Everything a case takes: the image, the network's arena, the slices under construction. In one
 * piece the image is gone before the network runs. On a device: the arena. */
static rvx_status check_budget(const rvx_predictor *p, const int64_t size[3], rvx_error *error)
{
    char tensors[512], advice[128], limit[64] = "the budget is";
    const rvx_device *device = p->options.device;
    const int64_t budget = budget_of(p);
    int64_t image_bytes =
        size[0] * size[1] * size[2] * p->config.in_channels * (int64_t)sizeof(float);
    int64_t bytes = image_bytes + rvx__inference_bytes(p->inference, size);
    if (device) {
        bytes = rvx__inference_arena_bytes(p->inference);
    } else if (p->labels) {
        int64_t filling = image_bytes + rvx__inference_fill_bytes(p->inference);
        int64_t running = rvx__inference_bytes(p->inference, size);
        bytes = filling > running ? filling : running;
    }
    if (budget == 0 || bytes <= budget)
        return RVX_OK;
    if (device && budget != p->options.budget_bytes)
        snprintf(limit, sizeof limit, "%s has room for", device->name);
    advise(advice, sizeof advice, p, size, image_bytes);
    rvx__plan_describe_peak(rvx__inference_plan(p->inference), tensors, sizeof tensors, 4);
    return rvx__fail(error, RVX_ERROR_MEMORY,
                     "a volume of %lld x %lld x %lld voxels needs %.1f MiB, %s %.1f MiB; %s; "
                     "largest in the network:\n%s",
                     (long long)size[2], (long long)size[1], (long long)size[0], mebibytes(bytes),
                     limit, mebibytes(budget), advice, tensors);
}

/* Whether labels are all that is asked of the network, and one run gives them. */
static bool is_one_piece(const rvx_inference_options *options, const rvx_grid_map *map,
                         bool probabilities)
{
    bool one = !probabilities;
    for (int a = 0; a < 3; a++)
        one = one && !options->mirror[a] && map->network_size[a] == map->file_size[a] &&
              map->network_size[2 - a] <= options->patch[a];
    return one;
}

/* Makes the inference for a case on such grids, unless the one in hand does. */
static rvx_status prepare(rvx_predictor *p, const rvx_grid_map *map, bool probabilities,
                          rvx_error *error)
{
    const rvx_recipe *recipe = p->recipe;
    const int64_t size[3] = {map->network_size[2], map->network_size[1], map->network_size[0]};
    int64_t patch[3];
    int64_t plan_size[3] = {recipe->patch.size[2], recipe->patch.size[1], recipe->patch.size[0]};
    bool whole = p->options.whole || recipe->patch.whole;
    rvx_inference_options options;
    rvx_status status;
    rvx__patch_round(patch, recipe, whole ? size : plan_size);
    tile_options(&options, p, patch);
    options.labels = is_one_piece(&options, map, probabilities);
    if (p->inference && memcmp(patch, p->patch, sizeof patch) == 0 && p->labels == options.labels)
        return check_budget(p, size, error);
    p->lost = rvx__predictor_overflow(p);
    rvx__inference_free(p->inference);
    p->inference = NULL;
    p->labels = options.labels;
    memcpy(p->patch, patch, sizeof patch);
    options.plan_only = p->options.device != NULL; /* asked before a device gives memory */
    RVX_TRY(rvx__inference_create(&p->inference, p->model, &p->config, &options, error));
    RVX_TRY(check_budget(p, size, error));
    if (options.plan_only) {
        rvx__inference_free(p->inference);
        p->inference = NULL;
        options.plan_only = false;
        RVX_TRY(rvx__inference_create(&p->inference, p->model, &p->config, &options, error));
    }
    RVX_TRY(rvx__weights_import(rvx__inference_session(p->inference), p->file, -1, false, error));
    RVX_TRY(rvx__session_upload(rvx__inference_session(p->inference), error));
cleanup:
    if (status != RVX_OK) {
        rvx__inference_free(p->inference);
        p->inference = NULL;
    }
    return status;
}

int64_t rvx__predictor_overflow(const rvx_predictor *p)
{
    return p->lost +
           (p->inference ? rvx__session_overflow(rvx__inference_session(p->inference), NULL) : 0);
}

rvx_status rvx__predictor_bytes(int64_t *bytes, rvx_predictor *predictor, const rvx_grid_map *map,
                                rvx_error *error)
{
    const int64_t size[3] = {map->network_size[2], map->network_size[1], map->network_size[0]};
    rvx_status status = prepare(predictor, map, false, error);
    if (status == RVX_OK)
        *bytes = rvx__inference_bytes(predictor->inference, size);
    return status;
}

/* ---- from the network's grid to the file's
 * -------------------------------------------------------- */

/* One axis: file voxel i lies between network voxels low and low + 1. */
typedef struct between {
    int64_t low, high;
    float part;
} between;

typedef struct regrid {
    const rvx_case *one;
    int classes, threads;
    between *axis[3];     /* x, y, z: per file voxel */
    float *below;         /* the network slice before the one at hand, [y][x][classes] */
    float *probabilities; /* one file slice; NULL */
    uint8_t *labels;      /* one file slice */
    int64_t next;         /* file slice to be written next */
    rvx_label_sink sink;
    void *sink_context;
} regrid;

static bool regrid_create(regrid *r, const rvx_case *one, int classes, bool probabilities)
{
    const rvx_grid_map *map = &one->map;
    int64_t slice = map->file_size[0] * map->file_size[1];
    r->one = one;
    r->classes = classes;
    r->labels = malloc((size_t)slice);
    r->below = malloc((size_t)(one->shape.h * one->shape.w * classes) * sizeof *r->below);
    if (probabilities)
        r->probabilities = malloc((size_t)(slice * classes) * sizeof *r->probabilities);
    bool complete = r->labels && r->below && (!probabilities || r->probabilities);
    for (int a = 0; a < 3; a++) {
        r->axis[a] = malloc((size_t)map->file_size[a] * sizeof *r->axis[a]);
        if (!r->axis[a])
            return false;
        for (int64_t i = 0; i < map->file_size[a]; i++) {
            double last = (double)(map->network_size[a] - 1);
            double at = fmin(fmax((double)i * map->scale[a] + map->offset[a], 0), last);
            double low = floor(at);
            r->axis[a][i] =
                (between){(int64_t)low, (int64_t)fmin(low + 1, last), (float)(at - low)};
        }
    }
    return complete;
}

static void regrid_free(regrid *r)
{
    for (int a = 0; a < 3; a++)
        free(r->axis[a]);
    free(r->below);
    free(r->probabilities);
    free(r->labels);
}

/* logits of file voxel (x, y): bilinear within two network slices, linear between them. */
static void interpolate(float *out, const regrid *r, const float *low, const float *high,
                        float part, between y, between x)
{
    int64_t k = r->classes, w = r->one->shape.w;
    const int64_t at[4] = {(y.low * w + x.low) * k, (y.low * w + x.high) * k,
                           (y.high * w + x.low) * k, (y.high * w + x.high) * k};
    const float weight[4] = {(1 - y.part) * (1 - x.part), (1 - y.part) * x.part,
                             y.part * (1 - x.part), y.part * x.part};
    for (int64_t c = 0; c < k; c++) {
        float a = 0, b = 0;
        for (int i = 0; i < 4; i++) {
            a += weight[i] * low[at[i] + c];
            b += weight[i] * high[at[i] + c];
        }
        out[c] = (1 - part) * a + part * b;
    }
}

static void softmax(float *out, const float *logits, int classes)
{
    float largest = logits[rvx__argmax(logits, classes)], sum = 0;
    for (int k = 0; k < classes; k++)
        sum += out[k] = expf(logits[k] - largest);
    for (int k = 0; k < classes; k++)
        out[k] /= sum;
}

static void fill_slice(regrid *r, const float *low, const float *high, float part)
{
    int64_t width = r->one->map.file_size[0], height = r->one->map.file_size[1];
    int k = r->classes;
#pragma omp parallel for schedule(static) num_threads(r->threads)
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            float logits[RVX_CLASSES_MAX];
            interpolate(logits, r, low, high, part, r->axis[1][y], r->axis[0][x]);
            r->labels[y * width + x] = (uint8_t)rvx__argmax(logits, k);
            if (r->probabilities)
                softmax(r->probabilities + (y * width + x) * k, logits, k);
        }
}

/* Network slices arrive in order; each file slice is made as soon as both its neighbours are there.
 */
static rvx_status take_slices(void *context, const float *logits, int64_t z_first, int64_t z_count,
                              rvx_error *error)
{
    regrid *r = context;
    int64_t slice = r->one->shape.h * r->one->shape.w * r->classes;
    for (int64_t i = 0; i < z_count; i++) {
        const float *here = logits + i * slice;
        int64_t z = z_first + i;
        for (; r->next < r->one->map.file_size[2] && r->axis[2][r->next].high <= z; r->next++) {
            between at = r->axis[2][r->next];
            fill_slice(r, at.low == z ? here : r->below, at.high == z ? here : r->below, at.part);
            rvx_status status =
                r->sink(r->sink_context, r->labels, r->probabilities, r->next, 1, error);
            if (status != RVX_OK)
                return status;
        }
        memcpy(r->below, here, (size_t)slice * sizeof *r->below);
    }
    return RVX_OK;
}

/* ---- labels in one piece -----------------------------------------------------------------------
 */

typedef struct label_relay {
    rvx_label_sink sink;
    void *context;
} label_relay;

static rvx_status pass_labels(void *context, const uint8_t *labels, int64_t z, rvx_error *error)
{
    const label_relay *relay = context;
    return relay->sink(relay->context, labels, NULL, z, 1, error);
}

static rvx_status run_one_piece(rvx_predictor *p, rvx_case *one, rvx_label_sink sink,
                                void *sink_context, rvx_poll poll, void *poll_context,
                                rvx_error *error)
{
    const int64_t size[3] = {one->shape.d, one->shape.h, one->shape.w};
    label_relay relay = {sink, sink_context};
    rvx__inference_fill(p->inference, one->image, size);
    free(one->image);
    one->image = NULL;
    return rvx__inference_labels(p->inference, size, pass_labels, &relay, poll, poll_context,
                                 error);
}

rvx_status rvx__predictor_run(rvx_predictor *predictor, rvx_case *one, bool probabilities,
                              rvx_label_sink sink, void *sink_context, rvx_poll poll,
                              void *poll_context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    regrid r = {.sink = sink, .sink_context = sink_context, .threads = predictor->options.threads};
    int64_t size[3] = {one->shape.d, one->shape.h, one->shape.w};
    RVX_TRY(prepare(predictor, &one->map, probabilities, error));
    if (predictor->labels)
        return run_one_piece(predictor, one, sink, sink_context, poll, poll_context, error);
    if (!regrid_create(&r, one, predictor->config.classes, probabilities))
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory"));
    RVX_TRY(rvx__inference_run(predictor->inference, one->image, size, take_slices, &r, poll,
                               poll_context, error));
cleanup:
    regrid_free(&r);
    return status;
}
