/* One case in memory. Owns: the arrays, and where the classes are. */
#include "engine/volume/case_reader.h"
#include "kernels/random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SLAB_VOXELS = 1 << 20 };

/* Philox stream names, so that no two uses share draws. */
#define LOCATION_STREAM 0x6c6f636174650000u /* "locate" + class */

void rvx__case_free(rvx_case *one)
{
    if (!one)
        return;
    for (int i = 0; one->locations && !one->mapped && i < one->class_count; i++)
        free(one->locations[i].voxels);
    for (int a = 0; a < 3; a++)
        free(one->along[a]);
    free(one->locations);
    free(one->identifier);
    if (one->mapped)
        munmap(one->mapped, (size_t)one->mapped_bytes);
    else {
        free(one->image);
        free(one->labels);
    }
    memset(one, 0, sizeof *one);
}

static rvx_status no_memory(const char *what, int64_t bytes, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %s (%lld bytes)", what,
                     (long long)bytes);
}

static int64_t slab_slices(const int64_t size[3])
{
    int64_t slice = size[0] * size[1], count = slice < SLAB_VOXELS ? SLAB_VOXELS / slice : 1;
    return count < size[2] ? count : size[2];
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

/* `labels` is the slice that begins at voxel `first`. */
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
        int label = labels[i];
        if (label >= class_count)
            continue;
        cursor *c = &cursors[label];
        if (c->rank++ == c->pick_rank) {
            locations[label].voxels[c->pick++] = first + i;
            cursor_settle(c, &locations[label], label);
        }
    }
}

/* From voxels by slice and label to those in all slices before, and room for the picks. */
static rvx_status picks_plan(rvx_class_locations *locations, int class_count, int64_t *ranks,
                             int64_t slices, rvx_error *error)
{
    for (int label = 0; label < class_count; label++) {
        int64_t before = 0;
        for (int64_t z = 0; z < slices; z++) {
            int64_t here = ranks[z * 256 + label];
            ranks[z * 256 + label] = before;
            before += here;
        }
        rvx_class_locations *l = &locations[label];
        l->voxel_count = before;
        l->count = before < RVX_LOCATIONS_MAX ? before : RVX_LOCATIONS_MAX;
        l->voxels = malloc((size_t)(l->count + 1) * sizeof *l->voxels);
        if (!l->voxels)
            return no_memory("class locations", l->count * 8, error);
    }
    return RVX_OK;
}

rvx_status rvx__class_locations_find(rvx_class_locations *locations, int class_count,
                                     const rvx_label_slices *labels, const int64_t size[3],
                                     rvx_error *error)
{
    const int64_t slice = size[0] * size[1], slab = slab_slices(size);
    /* By slice and label: voxels, then those in all slices before. */
    int64_t *ranks = calloc((size_t)size[2] * 256, sizeof *ranks);
    uint8_t *voxels = malloc((size_t)(slab * slice));
    rvx_status status = RVX_OK;
    if (!ranks || !voxels) {
        status = no_memory("class counts", size[2] * 256 * 8 + slab * slice, error);
        goto cleanup;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t z = 0; z < size[2]; z += slab) {
            int64_t count = size[2] - z < slab ? size[2] - z : slab;
            RVX_TRY(labels->read(labels->context, voxels, z, count, error));
#pragma omp parallel for schedule(static)
            for (int64_t k = 0; k < count; k++) {
                int64_t *rank = ranks + (z + k) * 256;
                if (pass == 1)
                    slice_pick(locations, class_count, rank, voxels + k * slice, (z + k) * slice,
                               slice);
                for (int64_t i = 0; i < slice && pass == 0; i++)
                    rank[voxels[k * slice + i]]++;
            }
        }
        if (pass == 0)
            RVX_TRY(picks_plan(locations, class_count, ranks, size[2], error));
    }
cleanup:
    free(ranks);
    free(voxels);
    return status;
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

bool rvx__case_rows(rvx_case *one)
{
    const int64_t size[3] = {one->shape.d, one->shape.h, one->shape.w};
    const int64_t step[3] = {size[1] * size[2], size[2], 1};
    for (int a = 0; a < 3; a++) {
        one->along[a] = malloc((size_t)size[a] * sizeof *one->along[a]);
        for (int64_t i = 0; one->along[a] && i < size[a]; i++)
            one->along[a][i] = i * step[a];
    }
    return one->along[0] && one->along[1] && one->along[2];
}

static rvx_status slices_copy(void *context, float *out, int64_t z_first, int64_t z_count,
                              rvx_error *error)
{
    (void)error;
    const rvx_case *one = context;
    const rvx_shape s = one->shape;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t z = 0; z < z_count; z++)
        for (int64_t y = 0; y < s.h; y++)
            for (int64_t x = 0; x < s.w; x++)
                memcpy(out + ((z * s.h + y) * s.w + x) * s.c,
                       one->image + rvx__case_voxel(one, z_first + z, y, x) * s.c,
                       (size_t)s.c * sizeof *out);
    return RVX_OK;
}

rvx_slices rvx__case_slices(rvx_case *one) { return (rvx_slices){slices_copy, one}; }

static rvx_status rows_read(void *context, uint8_t *out, int64_t z_first, int64_t z_count,
                            rvx_error *error)
{
    (void)error;
    const rvx_case *one = context;
    const int64_t slice = one->shape.h * one->shape.w;
    memcpy(out, one->labels + z_first * slice, (size_t)(z_count * slice));
    return RVX_OK;
}

static rvx_status labels_load(rvx_case *one, rvx_case_reader *reader, int class_count,
                              rvx_error *error)
{
    const int64_t voxels = rvx__shape_voxels(one->shape);
    one->labels = malloc((size_t)voxels);
    if (!one->labels)
        return no_memory("the labels", voxels, error);
    rvx_status status = rvx__case_reader_labels(reader, one->labels, 0, one->shape.d, error);
    if (status != RVX_OK)
        return status;
    one->class_count = class_count;
    one->locations = calloc((size_t)class_count, sizeof *one->locations);
    if (!one->locations)
        return no_memory("class locations", class_count, error);
    return rvx__class_locations_find(one->locations, class_count,
                                     &(rvx_label_slices){rows_read, one}, one->map.network_size,
                                     error);
}

rvx_status rvx__case_load(rvx_case *out, const char *identifier, const char *const *image_paths,
                          const char *label_path, const rvx_case_recipe *recipe, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_case_reader *reader = NULL;
    memset(out, 0, sizeof *out);
    RVX_TRY(rvx__case_reader_open(&reader, identifier, image_paths, label_path, recipe, error));
    out->info = *rvx__case_reader_info(reader);
    out->map = *rvx__case_reader_map(reader);
    out->shape = rvx__case_reader_shape(reader);
    out->identifier = strdup(identifier);
    const int64_t bytes = rvx__shape_count(out->shape) * (int64_t)sizeof(float);
    out->image = malloc((size_t)bytes);
    if (!out->image || !out->identifier || !rvx__case_rows(out)) {
        status = no_memory("the image", bytes, error);
        rvx__fail_context(error, "case %s", identifier);
        goto cleanup;
    }
    RVX_TRY(rvx__case_reader_image(reader, out->image, 0, out->shape.d, error));
    if (label_path)
        RVX_TRY(labels_load(out, reader, recipe->class_count, error));
cleanup:
    rvx__case_reader_close(reader);
    if (status != RVX_OK)
        rvx__case_free(out);
    return status;
}
