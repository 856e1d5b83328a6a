/* rvx_segmenter: the model file as a handle, volumes in the caller's memory. */
#include "bindings/c/model_set.h"

#include "engine/run/cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rvx_segmenter {
    rvx_model_file model;
    rvx_postprocess rules;
    rvx_device *device; /* NULL: the CPU */
    int threads;
    int64_t budget_bytes; /* 0: none */
};

rvx_status rvx_segmenter_open(rvx_segmenter **segmenter, const char *model,
                              const rvx_segmenter_options *given, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_segmenter_options options;
    rvx_segmenter *made = NULL;
    if (!segmenter)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "segmenter is NULL");
    *segmenter = NULL;
    RVX_TRY(rvx__facade_options(&options, sizeof options, given, "rvx_segmenter_options", error));
    RVX_TRY(rvx__facade_required(model, "model", error));
    RVX_TRY(rvx__facade_threads(options.threads, error));
    if (options.postprocessing && options.no_postprocessing)
        RVX_TRY(rvx__fail(error, RVX_ERROR_ARGUMENT,
                          "postprocessing and no_postprocessing exclude each other"));
    made = calloc(1, sizeof *made);
    if (!made)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "segmenter: out of memory"));
    made->threads = rvx__facade_thread_count(options.threads);
    made->budget_bytes = options.budget_bytes;
    RVX_TRY(rvx__device_open(&made->device, options.device, options.device_library, error));
    rvx_predictor_options predictor = {.mirror = options.mirror != 0,
                                       .budget_bytes = options.budget_bytes,
                                       .threads = made->threads,
                                       .isa = made->device ? RVX_ISA_CUDA : rvx__isa_detect(),
                                       .device = made->device};
    RVX_TRY(rvx__model_file_open(&made->model, model, false, &predictor, error));
    RVX_TRY(rvx__model_rules(&made->rules, &made->model.recipe, model, options.postprocessing,
                             options.no_postprocessing != 0, error));
    *segmenter = made;
    made = NULL;
cleanup:
    rvx_segmenter_close(made);
    return status;
}

void rvx_segmenter_close(rvx_segmenter *segmenter)
{
    if (!segmenter)
        return;
    rvx__model_file_close(&segmenter->model);
    rvx__device_close(segmenter->device);
    free(segmenter);
}

int rvx_segmenter_channels(const rvx_segmenter *segmenter)
{
    return segmenter->model.config.in_channels;
}

int rvx_segmenter_classes(const rvx_segmenter *segmenter)
{
    return segmenter->model.config.classes;
}

const char *rvx_segmenter_label(const rvx_segmenter *segmenter, int label)
{
    bool known = label >= 0 && label < segmenter->model.config.classes;
    return known ? segmenter->model.recipe.labels[label] : NULL;
}

/* Network grid of a caller's grid; everything in it is checked. */
static rvx_status map_grid(rvx_grid_map *map, rvx_geometry *geometry,
                           const rvx_segmenter *segmenter, const rvx_grid *grid, rvx_error *error)
{
    double spacing[3] = {0, 0, 0};
    if (!grid)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "grid is NULL");
    for (int a = 0; a < 3; a++) {
        if (grid->size[a] < 1 || grid->size[a] > 1 << 20)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "grid.size[%d] expected 1 to 1048576, found %lld", a,
                             (long long)grid->size[a]);
        if (!(grid->spacing[a] > 0) || !isfinite(grid->spacing[a]))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "grid.spacing[%d] expected positive mm, found %g", a,
                             grid->spacing[a]);
        geometry->size[a] = grid->size[a];
        geometry->spacing[a] = grid->spacing[a];
        geometry->origin[a] = grid->origin[a];
        memcpy(geometry->direction[a], grid->direction[a], sizeof geometry->direction[a]);
        if (!segmenter->model.recipe.spacing_native)
            spacing[a] = segmenter->model.recipe.spacing[a];
    }
    return rvx__grid_map_make(map, geometry, spacing, "grid", error);
}

/* The network with its slices, refused by itself where that is too much, and the rules. A budget on
 * a device is about the device: rules work in the memory of the host. */
static rvx_status bytes_find(int64_t *bytes, const rvx_segmenter *segmenter,
                             const rvx_grid_map *map, const rvx_grid *grid, rvx_error *error)
{
    const int64_t budget = segmenter->device ? 0 : segmenter->budget_bytes;
    const int64_t rules = rvx__postprocess_bytes(grid->size, &segmenter->rules);
    rvx_status status = rvx__predictor_bytes(bytes, segmenter->model.predictor, map, error);
    if (status != RVX_OK)
        return status;
    *bytes += rules;
    if (budget > 0 && *bytes > budget)
        return rvx__fail(error, RVX_ERROR_MEMORY,
                         "a volume of %lld x %lld x %lld voxels needs %.2f MiB, %.2f of them for "
                         "post-processing, the budget is %.2f MiB; without post-processing it "
                         "would fit",
                         (long long)grid->size[0], (long long)grid->size[1],
                         (long long)grid->size[2], (double)*bytes / 0x1p20, (double)rules / 0x1p20,
                         (double)budget / 0x1p20);
    return RVX_OK;
}

rvx_status rvx_segmenter_bytes(int64_t *bytes, const rvx_segmenter *segmenter, const rvx_grid *grid,
                               rvx_error *error)
{
    rvx_grid_map map;
    rvx_geometry geometry;
    int64_t found = 0;
    rvx_status status = map_grid(&map, &geometry, segmenter, grid, error);
    if (status == RVX_OK)
        status = bytes_find(&found, segmenter, &map, grid, error);
    if (status == RVX_OK)
        *bytes = found;
    return status;
}

typedef struct run_context {
    const rvx_segmenter *segmenter;
    uint8_t *labels;
    int64_t slice;
    rvx_progress_callback progress;
    void *context;
    double started;
} run_context;

static rvx_status keep_labels(void *context, const uint8_t *labels, const float *probabilities,
                              int64_t z_first, int64_t z_count, rvx_error *error)
{
    (void)probabilities, (void)error;
    run_context *run = context;
    memcpy(run->labels + z_first * run->slice, labels, (size_t)(z_count * run->slice));
    return RVX_OK;
}

static int poll_run(void *context, double done, double total)
{
    run_context *run = context;
    rvx_progress progress =
        rvx__facade_phase("predict", NULL, (int64_t)(1000 * done / total), 1000);
    progress.overflow = rvx__predictor_overflow(run->segmenter->model.predictor);
    if (done > 0)
        progress.seconds_left = (rvx__facade_seconds() - run->started) * (total - done) / done;
    return rvx__facade_progress(run->progress, run->context, progress);
}

/* In the caller's label map, which is all there. */
static rvx_status rules_apply(const rvx_segmenter *segmenter, uint8_t *labels, const rvx_grid *grid,
                              rvx_error *error)
{
    rvx_status status;
    rvx_spool *spool = NULL;
    if (rvx__postprocess_idle(&segmenter->rules))
        return RVX_OK;
    RVX_TRY(rvx__spool_over(&spool, labels, grid->size[0] * grid->size[1] * grid->size[2], error));
    status =
        rvx__postprocess_run(spool, grid->size, grid->spacing, &segmenter->rules,
                             rvx__postprocess_bytes(grid->size, &segmenter->rules), NULL, error);
cleanup:
    rvx__spool_free(spool);
    return status;
}

rvx_status rvx_segmenter_run(rvx_segmenter *segmenter, uint8_t *labels,
                             const float *const *channels, const rvx_grid *grid,
                             rvx_progress_callback progress, void *context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_case_reader *one = NULL;
    int64_t bytes;
    rvx_geometry geometry = {0};
    rvx_grid_map map;
    rvx_case_recipe recipe;
    rvx_channel_recipe channel_recipes[RVX_CHANNELS_MAX];
    if (!segmenter || !labels || !channels)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "segmenter, labels or channels is NULL");
    for (int c = 0; c < segmenter->model.config.in_channels; c++)
        if (!channels[c])
            return rvx__fail(error, RVX_ERROR_ARGUMENT, "channels[%d] is NULL", c);
    RVX_TRY(map_grid(&map, &geometry, segmenter, grid, error));
    RVX_TRY(bytes_find(&bytes, segmenter, &map, grid, error));
    rvx__case_recipe_make(&recipe, channel_recipes, &segmenter->model.recipe);
    RVX_TRY(rvx__case_reader_open_memory(&one, "grid", &geometry, channels, &recipe, error));
    run_context run = {.segmenter = segmenter,
                       .labels = labels,
                       .slice = grid->size[0] * grid->size[1],
                       .progress = progress,
                       .context = context,
                       .started = rvx__facade_seconds()};
    status = rvx__predictor_run(segmenter->model.predictor, one, false, keep_labels, &run, poll_run,
                                &run, error);
    if (status == RVX_OK)
        status = rules_apply(segmenter, labels, grid, error);
    if (status == RVX_OK)
        poll_run(&run, 1, 1); /* nothing is left to be stopped */
    else                      /* half a segmentation must not pass for one */
        memset(labels, 0, (size_t)(run.slice * grid->size[2]));
cleanup:
    rvx__case_reader_close(one);
    return status;
}
