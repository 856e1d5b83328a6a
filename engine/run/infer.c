/* Inference over a volume: see infer.h. */
#include "engine/run/infer.h"
#include "engine/run/dropout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Read at once on the way into a network that takes the volume in one piece. */
enum { FILL_SLICES = 8 };

struct rvx_inference {
    rvx_inference_options options;
    rvx_graph *graph;
    rvx_plan *plan;
    rvx_session *session;
    rvx_value image, logits; /* options.labels: labels in place of logits */
    int64_t channels, classes;
};

rvx_status rvx__inference_create(rvx_inference **inference, const rvx_model *model,
                                 const rvx_model_config *config,
                                 const rvx_inference_options *options, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *inference = NULL;
    rvx_inference *made = calloc(1, sizeof *made);
    if (!made || !(made->graph = rvx__graph_create())) {
        free(made);
        return rvx__fail(error, RVX_ERROR_MEMORY, "inference: out of memory");
    }
    made->options = *options;
    made->channels = config->in_channels;
    made->classes = config->classes;
    rvx_model_config finest = *config;
    finest.deep_supervision = false; /* only the finest logits are wanted */
    rvx_shape shape = {1, options->patch[0], options->patch[1], options->patch[2],
                       config->in_channels};
    rvx_value logits[RVX_STAGES_MAX] = {RVX_NO_VALUE};
    RVX_TRY(rvx__model_config_check(config, error));
    rvx__graph_set_storage(made->graph, options->storage);
    rvx__graph_set_streams(made->graph, options->streams, options->grid_log2);
    made->image = rvx__input(made->graph, "image", shape, options->storage);
    model->build(made->graph, made->image, &finest, logits);
    made->logits = options->labels ? rvx__labels(made->graph, logits[0]) : logits[0];
    RVX_TRY(rvx__graph_status(made->graph, error));
    rvx_plan_options plan = {.isa = options->isa,
                             .threads = options->threads,
                             .outputs = {made->logits},
                             .output_count = 1,
                             .workspace_bytes = options->workspace_bytes,
                             .tf32 = options->tf32,
                             .budget_bytes = options->budget_bytes};
    RVX_TRY(rvx__plan_create(&made->plan, made->graph, &plan, error));
    if (!options->plan_only)
        RVX_TRY(rvx__session_create_on(&made->session, made->plan, options->device, error));
    *inference = made;
    made = NULL;
cleanup:
    rvx__inference_free(made);
    return status;
}

void rvx__inference_free(rvx_inference *inference)
{
    if (!inference)
        return;
    rvx__session_free(inference->session);
    rvx__plan_free(inference->plan);
    rvx__graph_free(inference->graph);
    free(inference);
}

rvx_session *rvx__inference_session(rvx_inference *inference) { return inference->session; }

const rvx_plan *rvx__inference_plan(const rvx_inference *inference) { return inference->plan; }

rvx_status rvx__inference_copy_parameters(rvx_inference *inference, const rvx_session *from,
                                          rvx_error *error)
{
    return rvx__session_copy_parameters(inference->session, from, error);
}

/* ---- where tiles lie ---------------------------------------------------------------------------
 */

/* Tiles along one axis of a padded extent. */
typedef struct tile_axis {
    int64_t extent, patch, pad; /* extent >= patch; pad: zeros before the image */
    int64_t image;              /* extent of the image itself */
    int64_t count;
    double step;
    float *weight; /* patch values */
    float *total;  /* extent values: the sum of the weights of all tiles */
} tile_axis;

static int64_t tile_start(const tile_axis *axis, int64_t index)
{
    return (int64_t)llround(axis->step * (double)index);
}

static bool tile_axis_create(tile_axis *axis, int64_t image, int64_t patch, double step,
                             bool gaussian)
{
    axis->image = image;
    axis->patch = patch;
    axis->extent = image < patch ? patch : image;
    axis->pad = (axis->extent - image) / 2;
    double wanted = (double)patch * step;
    axis->count = (int64_t)ceil((double)(axis->extent - patch) / wanted) + 1;
    axis->step = axis->count > 1 ? (double)(axis->extent - patch) / (double)(axis->count - 1) : 0;
    axis->weight = calloc((size_t)patch, sizeof *axis->weight);
    axis->total = calloc((size_t)axis->extent, sizeof *axis->total);
    if (!axis->weight || !axis->total)
        return false;
    double centre = (double)(patch - 1) / 2, sigma = (double)patch / 8;
    for (int64_t i = 0; i < patch; i++) {
        double t = ((double)i - centre) / sigma;
        axis->weight[i] = gaussian ? (float)exp(-0.5 * t * t) : 1.0f;
    }
    for (int64_t k = 0; k < axis->count; k++)
        for (int64_t i = 0; i < patch; i++)
            axis->total[tile_start(axis, k) + i] += axis->weight[i];
    return true;
}

static void tile_axis_free(tile_axis *axis)
{
    free(axis->weight);
    free(axis->total);
}

/* ---- one tile ----------------------------------------------------------------------------------
 */

typedef struct tiling {
    tile_axis axis[3];
    float *window; /* [patch d][extent h][extent w][classes]: weighted sums of logits */
    const rvx_slices *source;
    float *image; /* slices image_first .. image_end - 1: [z][h][w][channels] */
    int64_t image_first, image_end;
    double done, total; /* network runs, for the poll */
    rvx_poll poll;
    void *poll_context;
} tiling;

static int64_t flip(int64_t i, int64_t extent, bool flipped)
{
    return flipped ? extent - 1 - i : i;
}

/* `channels` values of one voxel, or zeros where `from` is NULL, at element `at` of the input. */
static void put_voxel(const rvx_tensor *input, int64_t at, const float *from, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++)
        if (input->dtype == RVX_BF16)
            ((uint16_t *)input->data)[at + c] = from ? rvx__bf16_of(from[c]) : 0;
        else
            rvx__f32(input)[at + c] = from ? from[c] : 0;
}

/* Slices of the image that a row of tiles reads, at most. */
static int64_t image_slices(const tile_axis *axis)
{
    return axis->image < axis->patch ? axis->image : axis->patch;
}

/* Brings the slices that tiles at `start` (in the padded volume) read into the window. */
static rvx_status image_advance(const rvx_inference *inference, tiling *tiles, int64_t start,
                                rvx_error *error)
{
    const tile_axis *axis = tiles->axis;
    const int64_t slice = axis[1].image * axis[2].image * inference->channels;
    int64_t first = start - axis[0].pad, end = first + axis[0].patch;
    first = first < 0 ? 0 : first;
    end = end > axis[0].image ? axis[0].image : end;
    int64_t kept = tiles->image_end > first ? tiles->image_end - first : 0;
    memmove(tiles->image, tiles->image + (first - tiles->image_first) * slice,
            (size_t)(kept * slice) * sizeof *tiles->image);
    tiles->image_first = first;
    tiles->image_end = end;
    if (first + kept == end)
        return RVX_OK;
    return tiles->source->read(tiles->source->context, tiles->image + kept * slice, first + kept,
                               end - first - kept, error);
}

/* Copies the tile at start[] from the window into the network's input, flipped, zero outside. */
static void load_tile(const rvx_inference *inference, const tiling *tiles, const int64_t start[3],
                      const bool flips[3])
{
    rvx_tensor input = rvx__session_tensor(inference->session, inference->image);
    const tile_axis *axis = tiles->axis;
    int64_t c = inference->channels;
#pragma omp parallel for schedule(static) num_threads(inference->options.threads)
    for (int64_t z = 0; z < axis[0].patch; z++)
        for (int64_t y = 0; y < axis[1].patch; y++) {
            int64_t sz = start[0] + flip(z, axis[0].patch, flips[0]) - axis[0].pad;
            int64_t sy = start[1] + flip(y, axis[1].patch, flips[1]) - axis[1].pad;
            int64_t row = (z * axis[1].patch + y) * axis[2].patch * input.pitch;
            bool inside = sz >= 0 && sz < axis[0].image && sy >= 0 && sy < axis[1].image;
            for (int64_t x = 0; x < axis[2].patch; x++) {
                int64_t sx = start[2] + flip(x, axis[2].patch, flips[2]) - axis[2].pad;
                bool there = inside && sx >= 0 && sx < axis[2].image;
                const int64_t slice = sz - tiles->image_first;
                const float *from =
                    there ? tiles->image + ((slice * axis[1].image + sy) * axis[2].image + sx) * c
                          : NULL;
                put_voxel(&input, row + x * input.pitch, from, c);
            }
        }
}

/* Adds the tile's logits, times their weight, to the window. */
static void add_tile(const rvx_inference *inference, tiling *tiles, const int64_t start[3],
                     const bool flips[3])
{
    rvx_tensor logits = rvx__session_tensor(inference->session, inference->logits);
    const tile_axis *axis = tiles->axis;
    int64_t k = inference->classes;
#pragma omp parallel for schedule(static) num_threads(inference->options.threads)
    for (int64_t z = 0; z < axis[0].patch; z++)
        for (int64_t y = 0; y < axis[1].patch; y++) {
            const float *row =
                rvx__f32(&logits) + (z * axis[1].patch + y) * axis[2].patch * logits.pitch;
            int64_t wz = flip(z, axis[0].patch, flips[0]), wy = flip(y, axis[1].patch, flips[1]);
            float *out =
                tiles->window + ((wz * axis[1].extent + start[1] + wy) * axis[2].extent) * k;
            float weight = axis[0].weight[wz] * axis[1].weight[wy];
            for (int64_t x = 0; x < axis[2].patch; x++) {
                int64_t wx = flip(x, axis[2].patch, flips[2]);
                float *voxel = out + (start[2] + wx) * k, w = weight * axis[2].weight[wx];
                for (int64_t c = 0; c < k; c++)
                    voxel[c] += w * row[x * logits.pitch + c];
            }
        }
}

/* The same progress for the caller, whichever tile is running. */
static int poll_tile(void *context, double done, double total)
{
    const tiling *tiles = context;
    return tiles->poll(tiles->poll_context, tiles->done + done / total, tiles->total);
}

static rvx_status run_tile(rvx_inference *inference, tiling *tiles, const int64_t start[3],
                           rvx_error *error)
{
    for (int mirror = 0; mirror < 8; mirror++) {
        bool flips[3], wanted = true;
        for (int a = 0; a < 3; a++) {
            flips[a] = mirror >> a & 1;
            wanted &= !flips[a] || inference->options.mirror[a];
        }
        if (!wanted)
            continue;
        load_tile(inference, tiles, start, flips);
        rvx__dropout_prediction(inference->session);
        rvx__session_restore_coarser(inference->session);
        rvx_status status =
            rvx__session_forward(inference->session, tiles->poll ? poll_tile : NULL, tiles, error);
        if (status != RVX_OK)
            return status;
        add_tile(inference, tiles, start, flips);
        tiles->done++;
    }
    return RVX_OK;
}

/* ---- the volume --------------------------------------------------------------------------------
 */

/* Divides by the weights and hands on window slices [0, count), which are slices z.. of the padded
 * volume; then moves the window down. Rows are compacted in place to the extent of the image. */
static rvx_status emit(rvx_inference *inference, tiling *tiles, int64_t z, int64_t count,
                       int mirrors, rvx_slab_sink sink, void *sink_context, rvx_error *error)
{
    const tile_axis *axis = tiles->axis;
    int64_t k = inference->classes, slice = axis[1].extent * axis[2].extent * k;
    int64_t first = z < axis[0].pad ? axis[0].pad - z : 0;
    int64_t end = axis[0].pad + axis[0].image - z < count ? axis[0].pad + axis[0].image - z : count;
    for (int64_t i = first; i < end; i++)
        for (int64_t y = 0; y < axis[1].image; y++) {
            const float *in =
                tiles->window + i * slice + ((y + axis[1].pad) * axis[2].extent + axis[2].pad) * k;
            float *out = tiles->window + (((i - first) * axis[1].image + y) * axis[2].image) * k;
            float weight = axis[0].total[z + i] * axis[1].total[y + axis[1].pad] * (float)mirrors;
            for (int64_t x = 0; x < axis[2].image; x++)
                for (int64_t c = 0; c < k; c++)
                    out[x * k + c] = in[x * k + c] / (weight * axis[2].total[x + axis[2].pad]);
        }
    rvx_status status = RVX_OK;
    if (end > first)
        status = sink(sink_context, tiles->window, z + first - axis[0].pad, end - first, error);
    int64_t kept = axis[0].patch - count;
    memmove(tiles->window, tiles->window + count * slice, (size_t)(kept * slice) * sizeof(float));
    memset(tiles->window + kept * slice, 0, (size_t)(count * slice) * sizeof(float));
    return status;
}

int64_t rvx__inference_arena_bytes(const rvx_inference *inference)
{
    return inference->plan->arena_bytes;
}

int64_t rvx__inference_bytes(const rvx_inference *inference, const int64_t size[3])
{
    int64_t h = size[1] > inference->options.patch[1] ? size[1] : inference->options.patch[1];
    int64_t w = size[2] > inference->options.patch[2] ? size[2] : inference->options.patch[2];
    if (inference->options.labels)
        return inference->plan->arena_bytes +
               size[1] * size[2] * (1 + FILL_SLICES * inference->channels * 4);
    int64_t depth = size[0] < inference->options.patch[0] ? size[0] : inference->options.patch[0];
    return inference->plan->arena_bytes +
           (inference->options.patch[0] * h * w * inference->classes +
            depth * size[1] * size[2] * inference->channels) *
               (int64_t)sizeof(float);
}

static rvx_status walk_tiles(rvx_inference *inference, tiling *tiles, int mirrors,
                             rvx_slab_sink sink, void *sink_context, rvx_error *error)
{
    const tile_axis *axis = tiles->axis;
    for (int64_t i = 0; i < axis[0].count; i++) {
        int64_t start[3] = {tile_start(&axis[0], i)};
        rvx_status status = image_advance(inference, tiles, start[0], error);
        if (status != RVX_OK)
            return status;
        for (int64_t j = 0; j < axis[1].count; j++)
            for (int64_t l = 0; l < axis[2].count; l++) {
                start[1] = tile_start(&axis[1], j);
                start[2] = tile_start(&axis[2], l);
                status = run_tile(inference, tiles, start, error);
                if (status != RVX_OK)
                    return status;
            }
        int64_t next = i + 1 < axis[0].count ? tile_start(&axis[0], i + 1) : axis[0].extent;
        status =
            emit(inference, tiles, start[0], next - start[0], mirrors, sink, sink_context, error);
        if (status != RVX_OK)
            return status;
    }
    return RVX_OK;
}

rvx_status rvx__inference_run(rvx_inference *inference, const rvx_slices *image,
                              const int64_t size[3], rvx_slab_sink sink, void *sink_context,
                              rvx_poll poll, void *poll_context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    tiling tiles = {.source = image, .poll = poll, .poll_context = poll_context};
    int mirrors = 1;
    bool made = true;
    for (int a = 0; a < 3; a++) {
        made &= tile_axis_create(&tiles.axis[a], size[a], inference->options.patch[a],
                                 inference->options.tile_step, inference->options.gaussian);
        mirrors *= inference->options.mirror[a] ? 2 : 1;
    }
    int64_t floats =
        tiles.axis[0].patch * tiles.axis[1].extent * tiles.axis[2].extent * inference->classes;
    int64_t image_floats = image_slices(&tiles.axis[0]) * size[1] * size[2] * inference->channels;
    tiles.window = made ? calloc((size_t)floats, sizeof *tiles.window) : NULL;
    tiles.image = tiles.window ? malloc((size_t)image_floats * sizeof *tiles.image) : NULL;
    tiles.total =
        (double)(tiles.axis[0].count * tiles.axis[1].count * tiles.axis[2].count * mirrors);
    if (!tiles.image)
        status = rvx__fail(error, RVX_ERROR_MEMORY,
                           "inference: cannot allocate %.2f GiB for the slices of a row of tiles",
                           (double)(floats + image_floats) * 4 / 0x1p30);
    else
        status = walk_tiles(inference, &tiles, mirrors, sink, sink_context, error);
    free(tiles.window);
    free(tiles.image);
    for (int a = 0; a < 3; a++)
        tile_axis_free(&tiles.axis[a]);
    return status;
}

/* ---- in one piece ------------------------------------------------------------------------------
 */

static tiling one_tile(const rvx_inference *inference, const int64_t size[3])
{
    tiling tiles = {.total = 1};
    for (int a = 0; a < 3; a++) {
        int64_t patch = inference->options.patch[a];
        tiles.axis[a] = (tile_axis){
            .extent = patch, .patch = patch, .pad = (patch - size[a]) / 2, .image = size[a]};
    }
    return tiles;
}

/* Slices z .. z + count - 1 of the padded volume from slices of the image, or zeros where NULL. */
static void fill_slices(const rvx_inference *inference, const tiling *tiles, const float *slices,
                        int64_t z, int64_t count)
{
    rvx_tensor input = rvx__session_tensor(inference->session, inference->image);
    const tile_axis *axis = tiles->axis;
    const int64_t c = inference->channels;
#pragma omp parallel for collapse(2) schedule(static) num_threads(inference->options.threads)
    for (int64_t i = 0; i < count; i++)
        for (int64_t y = 0; y < axis[1].patch; y++) {
            int64_t sy = y - axis[1].pad, row = ((z + i) * axis[1].patch + y) * axis[2].patch;
            bool inside = slices && sy >= 0 && sy < axis[1].image;
            for (int64_t x = 0; x < axis[2].patch; x++) {
                int64_t sx = x - axis[2].pad;
                bool there = inside && sx >= 0 && sx < axis[2].image;
                put_voxel(
                    &input, (row + x) * input.pitch,
                    there ? slices + ((i * axis[1].image + sy) * axis[2].image + sx) * c : NULL, c);
            }
        }
}

rvx_status rvx__inference_fill(rvx_inference *inference, const rvx_slices *image,
                               const int64_t size[3], rvx_error *error)
{
    rvx_status status = RVX_OK;
    tiling tiles = one_tile(inference, size);
    const int64_t pad = tiles.axis[0].pad, after = tiles.axis[0].patch - pad - size[0];
    float *slices =
        malloc((size_t)(FILL_SLICES * size[1] * size[2] * inference->channels) * sizeof *slices);
    if (!slices)
        return rvx__fail(error, RVX_ERROR_MEMORY, "inference: no memory for a few slices");
    fill_slices(inference, &tiles, NULL, 0, pad);
    fill_slices(inference, &tiles, NULL, pad + size[0], after);
    for (int64_t z = 0; z < size[0]; z += FILL_SLICES) {
        int64_t count = size[0] - z < FILL_SLICES ? size[0] - z : FILL_SLICES;
        RVX_TRY(image->read(image->context, slices, z, count, error));
        fill_slices(inference, &tiles, slices, pad + z, count);
    }
cleanup:
    free(slices);
    return status;
}

bool rvx__inference_gives_labels(const rvx_inference *inference)
{
    return inference->options.labels;
}

rvx_status rvx__inference_labels(rvx_inference *inference, const int64_t size[3],
                                 rvx_piece_sink sink, void *sink_context, rvx_poll poll,
                                 void *poll_context, rvx_error *error)
{
    rvx_status status = RVX_OK;
    tiling tiles = one_tile(inference, size);
    const tile_axis *axis = tiles.axis;
    tiles.poll = poll;
    tiles.poll_context = poll_context;
    uint8_t *slice = malloc((size_t)(size[1] * size[2]));
    if (!slice)
        return rvx__fail(error, RVX_ERROR_MEMORY, "inference: out of memory");
    rvx__dropout_prediction(inference->session);
    rvx__session_restore_coarser(inference->session);
    RVX_TRY(rvx__session_forward(inference->session, poll ? poll_tile : NULL, &tiles, error));
    rvx_tensor labels = rvx__session_tensor(inference->session, inference->logits);
    for (int64_t z = 0; z < size[0]; z++) {
        for (int64_t y = 0; y < size[1]; y++) {
            int64_t row = (z + axis[0].pad) * axis[1].patch + y + axis[1].pad;
            memcpy(slice + y * size[2], (uint8_t *)labels.data + row * axis[2].patch + axis[2].pad,
                   (size_t)size[2]);
        }
        RVX_TRY(sink(sink_context, slice, z, error));
    }
cleanup:
    free(slice);
    return status;
}
