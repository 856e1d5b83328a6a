/* Making a cached case: the second half of cache.h. One layer of chunks at a time. */
#include "engine/volume/cache_file.h"
#include "engine/volume/case_reader.h"
#include "engine/volume/repair.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, CHUNK = RVX_CACHE_CHUNK, VOXELS = CHUNK * CHUNK * CHUNK };

typedef struct layers {
    rvx_case_reader *reader;
    rvx_output *output;
    rvx_shape shape;
    char *rows, *chunks; /* CHUNK slices as they are read, and chunk by chunk */
} layers;

/* [z][y][x] elements of `bytes` bytes to chunks; what lies beyond the case is 0. */
static void chunks_fill(const layers *l, int64_t bytes, int64_t slices)
{
    const rvx_shape s = l->shape;
    const int64_t ny = rvx__cache_chunks(s.h), nx = rvx__cache_chunks(s.w);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t cy = 0; cy < ny; cy++)
        for (int64_t cx = 0; cx < nx; cx++) {
            char *chunk = l->chunks + (cy * nx + cx) * VOXELS * bytes;
            const int64_t width = s.w - cx * CHUNK < CHUNK ? s.w - cx * CHUNK : CHUNK;
            memset(chunk, 0, (size_t)(VOXELS * bytes));
            for (int64_t z = 0; z < slices; z++)
                for (int64_t y = 0; y < CHUNK && cy * CHUNK + y < s.h; y++)
                    memcpy(chunk + (z * CHUNK + y) * CHUNK * bytes,
                           l->rows + ((z * s.h + cy * CHUNK + y) * s.w + cx * CHUNK) * bytes,
                           (size_t)(width * bytes));
        }
}

static rvx_status layers_write(const layers *l, bool labels, rvx_error *error)
{
    const rvx_shape s = l->shape;
    const int64_t bytes = labels ? 1 : s.c * (int64_t)sizeof(float);
    const int64_t layer = rvx__cache_chunks(s.h) * rvx__cache_chunks(s.w) * VOXELS * bytes;
    for (int64_t z = 0; z < s.d; z += CHUNK) {
        int64_t count = s.d - z < CHUNK ? s.d - z : CHUNK;
        rvx_status status =
            labels ? rvx__case_reader_labels(l->reader, (uint8_t *)l->rows, z, count, error)
                   : rvx__case_reader_image(l->reader, (float *)(void *)l->rows, z, count, error);
        if (status != RVX_OK)
            return status;
        chunks_fill(l, bytes, count);
        status = rvx__output_write(l->output, l->chunks, layer, error);
        if (status != RVX_OK)
            return status;
    }
    return RVX_OK;
}

static rvx_status locations_write(rvx_output *output, rvx_case_reader *reader, int class_count,
                                  rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_label_slices labels = rvx__case_reader_label_slices(reader);
    rvx_class_locations *found = calloc((size_t)class_count, sizeof *found);
    if (!found)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for class locations");
    RVX_TRY(rvx__class_locations_find(found, class_count, &labels,
                                      rvx__case_reader_map(reader)->network_size, error));
    for (int k = 0; k < class_count; k++) {
        const int64_t counts[2] = {found[k].voxel_count, found[k].count};
        RVX_TRY(rvx__output_write(output, counts, sizeof counts, error));
    }
    for (int k = 0; k < class_count; k++)
        RVX_TRY(rvx__output_write(output, found[k].voxels, found[k].count * 8, error));
cleanup:
    for (int k = 0; k < class_count; k++)
        free(found[k].voxels);
    free(found);
    return status;
}

static rvx_status repairs_write(rvx_output *output, const rvx_repairs *repairs, rvx_error *error)
{
    rvx_status status = rvx__repairs_check(repairs, error);
    for (int64_t i = 0; i < repairs->count && status == RVX_OK; i++)
        status = rvx__output_write(output, repairs->lines[i],
                                   (int64_t)strlen(repairs->lines[i]) + 1, error);
    return status;
}

static rvx_status sections_write(layers *l, rvx_cache_header *h, bool labels,
                                 const rvx_case_recipe *recipe, rvx_error *error)
{
    static const char page[RVX_CACHE_HEADER_BYTES];
    const rvx_shape s = l->shape;
    const int64_t slice = s.h * s.w, layer = rvx__cache_chunks(s.h) * rvx__cache_chunks(s.w);
    rvx_status status = RVX_OK;
    l->rows = malloc((size_t)(CHUNK * slice * s.c) * sizeof(float));
    l->chunks = malloc((size_t)(layer * VOXELS * s.c) * sizeof(float));
    if (!l->rows || !l->chunks)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %d slices", 2 * CHUNK));
    h->size[0] = s.d, h->size[1] = s.h, h->size[2] = s.w;
    h->channels = s.c;
    h->map = *rvx__case_reader_map(l->reader);
    h->geometry = rvx__case_reader_info(l->reader)->geometry;
    RVX_TRY(rvx__output_write(l->output, page, sizeof page, error));
    h->image_offset = rvx__output_bytes(l->output);
    RVX_TRY(layers_write(l, false, error));
    if (labels) { /* chunks are whole pages: offsets stay multiples of 4096 */
        h->labels_offset = rvx__output_bytes(l->output);
        RVX_TRY(layers_write(l, true, error));
        h->locations_offset = rvx__output_bytes(l->output);
        h->class_count = recipe->class_count;
        RVX_TRY(locations_write(l->output, l->reader, recipe->class_count, error));
    }
    rvx__case_reader_close(l->reader); /* which tells how far labels were rounded in all */
    l->reader = NULL;
    h->repairs_offset = rvx__output_bytes(l->output);
    if (recipe->repairs)
        RVX_TRY(repairs_write(l->output, recipe->repairs, error));
    h->file_bytes = rvx__output_bytes(l->output);
    h->repairs_bytes = h->file_bytes - h->repairs_offset;
    h->checksum = rvx__cache_checksum(h);
    RVX_TRY(rvx__output_write_at(l->output, 0, h, sizeof *h, error));
cleanup:
    return status;
}

rvx_status rvx__cache_write(const rvx_cache_place *place, const char *identifier,
                            const char *const *image_paths, const char *label_path,
                            const rvx_case_recipe *recipe, rvx_error *error)
{
    _Static_assert(sizeof(rvx_cache_header) <= RVX_CACHE_HEADER_BYTES, "one page");
    _Static_assert(VOXELS % PAGE == 0, "chunks of labels are whole pages");
    rvx_status status;
    rvx_cache_header header;
    rvx_repairs repairs = {0}; /* of this case alone; whoever loads the file adds them to a list */
    rvx_case_recipe own = *recipe;
    layers l = {0};
    own.repairs = recipe->repairs ? &repairs : NULL;
    rvx__cache_header_start(&header, place);
    RVX_TRY(rvx__case_reader_open(&l.reader, identifier, image_paths, label_path, &own, error));
    l.shape = rvx__case_reader_shape(l.reader);
    RVX_TRY(rvx__output_create(&l.output, place->path, error));
    RVX_TRY(sections_write(&l, &header, label_path != NULL, &own, error));
    rvx_output *committing = l.output;
    l.output = NULL;
    RVX_TRY(rvx__output_commit(committing, error));
cleanup:
    rvx__output_abandon(l.output);
    rvx__case_reader_close(l.reader);
    rvx__repairs_free(&repairs);
    free(l.rows);
    free(l.chunks);
    return status;
}
