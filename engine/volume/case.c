/* One case in memory. Owns: the order load, check, normalise, resample; and where its classes are.
 * Memory at the worst moment: the image on both grids, where they differ. */
#include "engine/volume/dataset.h"
#include "engine/volume/preprocess.h"
#include "kernels/random.h"

#include <stdlib.h>
#include <string.h>

enum { SLAB_VOXELS = 1 << 20 };

/* Philox stream names, so that no two uses share draws. */
#define LOCATION_STREAM 0x6c6f636174650000u /* "locate" + class */

void rvx__case_free(rvx_case *one)
{
    if (!one)
        return;
    for (int i = 0; one->locations && i < one->class_count; i++)
        free(one->locations[i].voxels);
    free(one->locations);
    free(one->identifier);
    free(one->image);
    free(one->labels);
    memset(one, 0, sizeof *one);
}

static rvx_status no_memory(const char *what, int64_t bytes, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %s (%lld bytes)", what,
                     (long long)bytes);
}

/* ---- Where the classes are --------------------------------------------------------------------
 */

int64_t rvx__stratified_rank(uint64_t stream, int64_t k, int64_t pick_count, int64_t count)
{
    int64_t first = (int64_t)((__int128)k * count / pick_count);
    int64_t next = (int64_t)((__int128)(k + 1) * count / pick_count);
    rvx_random random = {.seed = 0x7276785f63617365u, .stream = stream, .counter = (uint64_t)k};
    return first + rvx__random_below(&random, next - first);
}

/* The first pick whose rank is at least `rank`. */
static int64_t pick_first(uint64_t stream, int64_t pick_count, int64_t count, int64_t rank)
{
    int64_t low = 0, high = pick_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (rvx__stratified_rank(stream, middle, pick_count, count) < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Ranks of one class that fall into one slice: it walks them as the slice's voxels go by. */
typedef struct cursor {
    int64_t rank;      /* of the next voxel of this class */
    int64_t pick;      /* next pick */
    int64_t pick_rank; /* its rank */
} cursor;

static void cursor_settle(cursor *c, const rvx_class_locations *l, int label)
{
    c->pick_rank = c->pick < l->count ? rvx__stratified_rank(LOCATION_STREAM + (uint64_t)label,
                                                             c->pick, l->count, l->voxel_count)
                                      : INT64_MAX;
}

static void slice_pick(rvx_class_locations *locations, int class_count, const int64_t *ranks,
                       const uint8_t *labels, int64_t first, int64_t slice)
{
    cursor cursors[256];
    for (int label = 0; label < class_count; label++) {
        const rvx_class_locations *l = &locations[label];
        cursors[label].rank = ranks[label];
        cursors[label].pick =
            pick_first(LOCATION_STREAM + (uint64_t)label, l->count, l->voxel_count, ranks[label]);
        cursor_settle(&cursors[label], l, label);
    }
    for (int64_t i = 0; i < slice; i++) {
        int label = labels[first + i];
        if (label >= class_count)
            continue;
        cursor *c = &cursors[label];
        if (c->rank++ == c->pick_rank) {
            locations[label].voxels[c->pick++] = first + i;
            cursor_settle(c, &locations[label], label);
        }
    }
}

rvx_status rvx__class_locations_find(rvx_class_locations *locations, int class_count,
                                     const uint8_t *labels, const int64_t size[3], rvx_error *error)
{
    const int64_t slice = size[0] * size[1];
    /* By slice and label: voxels, then those in all slices before. */
    int64_t *ranks = calloc((size_t)size[2] * 256, sizeof *ranks);
    rvx_status status = RVX_OK;
    if (!ranks)
        return no_memory("class counts", size[2] * 256 * 8, error);
#pragma omp parallel for schedule(static)
    for (int64_t z = 0; z < size[2]; z++)
        for (int64_t i = 0; i < slice; i++)
            ranks[z * 256 + labels[z * slice + i]]++;
    for (int label = 0; label < class_count; label++) {
        int64_t before = 0;
        for (int64_t z = 0; z < size[2]; z++) {
            int64_t here = ranks[z * 256 + label];
            ranks[z * 256 + label] = before;
            before += here;
        }
        rvx_class_locations *l = &locations[label];
        l->voxel_count = before;
        l->count = before < RVX_LOCATIONS_MAX ? before : RVX_LOCATIONS_MAX;
        l->voxels = malloc((size_t)(l->count + 1) * sizeof *l->voxels);
        if (!l->voxels) {
            status = no_memory("class locations", l->count * 8, error);
            goto cleanup;
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t z = 0; z < size[2]; z++)
        slice_pick(locations, class_count, ranks + z * 256, labels, z * slice, slice);
cleanup:
    free(ranks);
    return status;
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

/* Scatters one channel into [z][y][x][channels]. */
static rvx_status channel_read(float *image, rvx_volume_reader *reader, int channel, int channels,
                               rvx_error *error)
{
    const rvx_geometry *g = &rvx__volume_reader_info(reader)->geometry;
    const int64_t slice = g->size[0] * g->size[1];
    if (channels == 1)
        return rvx__volume_reader_slab_f32(reader, image, 0, g->size[2], error);
    const int64_t slab = slice < SLAB_VOXELS ? SLAB_VOXELS / slice : 1;
    float *voxels = malloc((size_t)(slab * slice) * sizeof *voxels);
    if (!voxels)
        return no_memory("a slab", slab * slice * 4, error);
    rvx_status status = RVX_OK;
    for (int64_t z = 0; status == RVX_OK && z < g->size[2]; z += slab) {
        int64_t count = g->size[2] - z < slab ? g->size[2] - z : slab;
        status = rvx__volume_reader_slab_f32(reader, voxels, z, count, error);
        float *to = image + z * slice * channels + channel;
        for (int64_t i = 0; status == RVX_OK && i < count * slice; i++)
            to[i * channels] = voxels[i];
    }
    free(voxels);
    return status;
}

static rvx_status image_load(rvx_case *one, rvx_volume_reader *const *readers,
                             const rvx_case_recipe *recipe, rvx_error *error)
{
    const int channels = recipe->channel_count;
    const int64_t voxels = rvx__geometry_voxels(&one->info.geometry);
    const int64_t bytes = voxels * channels * (int64_t)sizeof(float);
    one->image = malloc((size_t)bytes);
    if (!one->image)
        return no_memory("the image", bytes, error);
    for (int c = 0; c < channels; c++) {
        rvx_status status = channel_read(one->image, readers[c], c, channels, error);
        if (status != RVX_OK)
            return status;
        rvx_intensity_map map =
            rvx__intensity_map_find(&recipe->channels[c], one->image + c, voxels, channels);
        rvx__intensity_map_apply(one->image + c, voxels, channels, &map);
    }
    return RVX_OK;
}

/* Moves image and labels to the network's grid, where it is another one. */
static rvx_status case_resample(rvx_case *one, rvx_error *error)
{
    const int64_t *from = one->map.file_size, *to = one->map.network_size;
    if (memcmp(from, to, 3 * sizeof *from) == 0)
        return RVX_OK;
    const int64_t voxels = to[0] * to[1] * to[2];
    const int64_t bytes = voxels * one->shape.c * (int64_t)sizeof(float);
    float *image = malloc((size_t)bytes);
    if (!image)
        return no_memory("the resampled image", bytes, error);
    rvx__resample_linear(image, to, one->image, from, one->shape.c);
    free(one->image);
    one->image = image;
    if (!one->labels)
        return RVX_OK;
    uint8_t *labels = malloc((size_t)voxels);
    if (!labels)
        return no_memory("the resampled labels", voxels, error);
    rvx__resample_nearest(labels, to, one->labels, from);
    free(one->labels);
    one->labels = labels;
    return RVX_OK;
}

rvx_status rvx__case_load(rvx_case *out, const char *identifier, const char *const *image_paths,
                          const char *label_path, const rvx_case_recipe *recipe, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *labels = NULL;
    rvx_volume_reader **readers = calloc((size_t)recipe->channel_count, sizeof *readers);
    memset(out, 0, sizeof *out);
    out->identifier = strdup(identifier);
    if (!readers || !out->identifier) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "out of memory");
        goto cleanup;
    }
    RVX_TRY(rvx__case_files_open(readers, &labels, image_paths, recipe->channel_count, label_path,
                                 error));
    out->info = *rvx__volume_reader_info(readers[0]);
    const rvx_geometry *g = &out->info.geometry;
    RVX_TRY(rvx__grid_map_make(&out->map, g, recipe->spacing, image_paths[0], error));
    const int64_t *to = out->map.network_size;
    out->shape = (rvx_shape){1, to[2], to[1], to[0], recipe->channel_count};
    RVX_TRY(image_load(out, readers, recipe, error));
    if (labels) {
        out->labels = malloc((size_t)rvx__geometry_voxels(g));
        if (!out->labels) {
            status = no_memory("the labels", rvx__geometry_voxels(g), error);
            goto cleanup;
        }
        RVX_TRY(rvx__volume_reader_slab_labels(labels, out->labels, 0, g->size[2], error));
        RVX_TRY(rvx__labels_check(out->labels, g, 0, g->size[2], recipe->class_count,
                                  recipe->ignore_label, label_path, error));
    }
    RVX_TRY(case_resample(out, error));
    if (labels) {
        out->class_count = recipe->class_count;
        out->locations = calloc((size_t)recipe->class_count, sizeof *out->locations);
        if (!out->locations) {
            status = rvx__fail(error, RVX_ERROR_MEMORY, "out of memory");
            goto cleanup;
        }
        RVX_TRY(
            rvx__class_locations_find(out->locations, recipe->class_count, out->labels, to, error));
    }
cleanup:
    for (int c = 0; readers && c < recipe->channel_count; c++)
        rvx__volume_reader_close(readers[c]);
    rvx__volume_reader_close(labels);
    free(readers);
    if (status != RVX_OK) {
        rvx__fail_context(error, "case %s", identifier);
        rvx__case_free(out);
    }
    return status;
}
