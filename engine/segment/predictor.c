/* Segmentation of cases: see predictor.h. */
#include "engine/segment/predictor.h"
#include "engine/run/cases.h"
#include "engine/run/weights.h"
#include "engine/segment/regrid.h"

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
        .tf32 = p->options.tf32,
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
                   int64_t slices_bytes)
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
                                          : slices_bytes + rvx__inference_bytes(tiled, size);
        snprintf(text, text_bytes, "in tiles instead of whole it needs %.1f MiB%s",
                 mebibytes(bytes), bytes <= budget_of(p) ? " and would fit" : "");
    }
    rvx__inference_free(tiled);
}

/* The slices on both sides of the network. */
static int64_t slices_bytes_of(const rvx_predictor *p, const rvx_grid_map *map, bool probabilities)
{
    rvx_case_recipe recipe;
    rvx_channel_recipe channels[RVX_CHANNELS_MAX];
    rvx__case_recipe_make(&recipe, channels, p->recipe);
    int64_t reading = rvx__case_reader_bytes(map, &recipe);
    if (p->labels && recipe.crop_to_nonzero) /* the slice around the box */
        reading += map->file_size[0] * map->file_size[1];
    return p->labels ? reading : reading + rvx__regrid_bytes(map, p->config.classes, probabilities);
}

/* Everything a case takes: the network's arena, the slices before, around and behind it. On a
 * device: the arena. */
static rvx_status check_budget(const rvx_predictor *p, const rvx_grid_map *map, bool probabilities,
                               rvx_error *error)
{
    const int64_t size[3] = {map->network_size[2], map->network_size[1], map->network_size[0]};
    char tensors[512], advice[128], limit[64] = "the budget is";
    const rvx_device *device = p->options.device;
    const int64_t budget = budget_of(p);
    const int64_t slices_bytes = slices_bytes_of(p, map, probabilities);
    int64_t bytes = slices_bytes + rvx__inference_bytes(p->inference, size);
    if (device)
        bytes = rvx__inference_arena_bytes(p->inference);
    if (budget == 0 || bytes <= budget)
        return RVX_OK;
    if (device && budget != p->options.budget_bytes)
        snprintf(limit, sizeof limit, "%s has room for", device->name);
    advise(advice, sizeof advice, p, size, slices_bytes);
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
        one = one && !options->mirror[a] && map->network_size[a] == map->box_size[a] &&
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
        return check_budget(p, map, probabilities, error);
    p->lost = rvx__predictor_overflow(p);
    rvx__inference_free(p->inference);
    p->inference = NULL;
    p->labels = options.labels;
    memcpy(p->patch, patch, sizeof patch);
    options.plan_only = p->options.device != NULL; /* asked before a device gives memory */
    RVX_TRY(rvx__inference_create(&p->inference, p->model, &p->config, &options, error));
    RVX_TRY(check_budget(p, map, probabilities, error));
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

void rvx__predictor_release(rvx_predictor *p)
{
    p->lost = rvx__predictor_overflow(p);
    rvx__inference_free(p->inference);
    p->inference = NULL;
}

rvx_status rvx__predictor_bytes(int64_t *bytes, rvx_predictor *predictor, const rvx_grid_map *map,
                                rvx_error *error)
{
    const int64_t size[3] = {map->network_size[2], map->network_size[1], map->network_size[0]};
    rvx_status status = prepare(predictor, map, false, error);
    if (status == RVX_OK)
        *bytes = rvx__inference_bytes(predictor->inference, size) +
                 slices_bytes_of(predictor, map, false);
    return status;
}

/* ---- labels in one piece -----------------------------------------------------------------------
 */

typedef struct label_relay {
    rvx_label_sink sink;
    void *context;
    const rvx_grid_map *map;
    uint8_t *slice; /* of the file: background around the box; NULL: the box is the file */
} label_relay;

static rvx_status pass_labels(void *context, const uint8_t *labels, int64_t z, rvx_error *error)
{
    const label_relay *relay = context;
    const rvx_grid_map *map = relay->map;
    const int64_t *first = map->box_first, *size = map->box_size;
    if (!relay->slice)
        return relay->sink(relay->context, labels, NULL, z, 1, error);
    for (int64_t y = 0; y < size[1]; y++)
        memcpy(relay->slice + (first[1] + y) * map->file_size[0] + first[0], labels + y * size[0],
               (size_t)size[0]);
    return relay->sink(relay->context, relay->slice, NULL, first[2] + z, 1, error);
}

/* Slices of background, from z_first up to z_end. */
static rvx_status pass_background(label_relay *relay, int64_t z_first, int64_t z_end,
                                  rvx_error *error)
{
    rvx_status status = RVX_OK;
    if (z_first < z_end)
        memset(relay->slice, 0, (size_t)(relay->map->file_size[0] * relay->map->file_size[1]));
    for (int64_t z = z_first; z < z_end && status == RVX_OK; z++)
        status = relay->sink(relay->context, relay->slice, NULL, z, 1, error);
    return status;
}

static rvx_status run_one_piece(rvx_predictor *p, rvx_case_reader *one, const int64_t size[3],
                                rvx_label_sink sink, void *sink_context, rvx_poll poll,
                                void *poll_context, rvx_error *error)
{
    const rvx_grid_map *map = rvx__case_reader_map(one);
    label_relay relay = {sink, sink_context, map, NULL};
    const rvx_slices image = rvx__case_reader_slices(one);
    rvx_status status = rvx__inference_fill(p->inference, &image, size, error);
    if (memcmp(map->box_size, map->file_size, sizeof map->box_size) != 0) {
        relay.slice = calloc((size_t)map->file_size[0], (size_t)map->file_size[1]);
        if (!relay.slice && status == RVX_OK)
            status = rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
    }
    if (status == RVX_OK)
        status = pass_background(&relay, 0, map->box_first[2], error);
    if (status == RVX_OK)
        status = rvx__inference_labels(p->inference, size, pass_labels, &relay, poll, poll_context,
                                       error);
    if (status == RVX_OK)
        status =
            pass_background(&relay, map->box_first[2] + map->box_size[2], map->file_size[2], error);
    free(relay.slice);
    return status;
}

rvx_status rvx__predictor_run(rvx_predictor *predictor, rvx_case_reader *one, bool probabilities,
                              rvx_label_sink sink, void *sink_context, rvx_poll poll,
                              void *poll_context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_regrid *regrid = NULL;
    const rvx_slices image = rvx__case_reader_slices(one);
    const rvx_shape shape = rvx__case_reader_shape(one);
    const int64_t size[3] = {shape.d, shape.h, shape.w};
    RVX_TRY(prepare(predictor, rvx__case_reader_map(one), probabilities, error));
    if (predictor->labels)
        return run_one_piece(predictor, one, size, sink, sink_context, poll, poll_context, error);
    const rvx_regrid_options options = {.map = *rvx__case_reader_map(one),
                                        .classes = predictor->config.classes,
                                        .threads = predictor->options.threads,
                                        .probabilities = probabilities,
                                        .sink = sink,
                                        .sink_context = sink_context};
    RVX_TRY(rvx__regrid_create(&regrid, &options, error));
    RVX_TRY(rvx__inference_run(predictor->inference, &image, size, rvx__regrid_take, regrid, poll,
                               poll_context, error));
cleanup:
    rvx__regrid_free(regrid);
    return status;
}
