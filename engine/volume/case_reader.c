/* A case as a stream: see case_reader.h. Raw slices -> intensities -> the network's grid. */
#include "engine/volume/case_reader.h"
#include "engine/volume/dataset.h"
#include "engine/volume/nonzero.h"
#include "engine/volume/percentile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLAB_VOXELS = 1 << 20 };

struct rvx_case_reader {
    char *identifier, *label_path;
    rvx_case_recipe recipe; /* its channels are copied */
    rvx_volume_info info;
    rvx_grid_map map;
    rvx_shape shape;
    rvx_volume_reader **files;     /* by channel; NULL where `memory` is read */
    rvx_volume_reader *label_file; /* NULL: none */
    const float **memory;          /* by channel */
    rvx_intensity_map *intensities;
    float (*range)[2]; /* of normalised values, by channel; found where a spline is held to it */
    int64_t outside;   /* zeros of the box outside the mask; 0 where nothing asks for it */
    float *slab;       /* raw slices of one channel, in the box */
    float *uncut;      /* the same as the file has them; NULL: the box has whole slices */
    int64_t slab_slices;
    rvx_resampler *image; /* NULL: on the file's grid */
    rvx_label_resampler *labels;
};

static int64_t slab_slices_of(const int64_t size[3])
{
    int64_t slice = size[0] * size[1], count = slice < SLAB_VOXELS ? SLAB_VOXELS / slice : 1;
    return count < size[2] ? count : size[2];
}

static bool same_grid(const rvx_grid_map *map)
{
    return memcmp(map->box_size, map->network_size, sizeof map->box_size) == 0;
}

static rvx_resampler_options resampler_options(const rvx_grid_map *map,
                                               const rvx_case_recipe *recipe)
{
    rvx_resampler_options o = {.channels = recipe->channel_count};
    memcpy(o.in_size, map->box_size, sizeof o.in_size);
    memcpy(o.out_size, map->network_size, sizeof o.out_size);
    rvx__resampling_rules(o.rules, recipe->image_rule, map);
    return o;
}

/* Some z-score counts the mask of voxels that are not 0. */
static bool counts_mask(const rvx_case_recipe *recipe)
{
    for (int c = 0; c < recipe->channel_count; c++)
        if (recipe->channels[c].normalization == RVX_NORMALIZATION_ZSCORE &&
            recipe->channels[c].nonzero_only)
            return true;
    return false;
}

int64_t rvx__case_reader_bytes(const rvx_grid_map *map, const rvx_case_recipe *recipe)
{
    const int64_t slices = slab_slices_of(map->file_size);
    const int64_t slab = map->file_size[0] * map->file_size[1] * slices * (int64_t)sizeof(float);
    const bool mask = counts_mask(recipe);
    int64_t measuring = 0, reading = recipe->crop_to_nonzero ? slab : 0;
    if (mask || recipe->crop_to_nonzero) /* before anything else is there */
        measuring = rvx__nonzero_bytes(map->file_size, slices, mask);
    for (int c = 0; c < recipe->channel_count; c++)
        if (recipe->channels[c].normalization == RVX_NORMALIZATION_PERCENTILES) {
            reading += rvx__percentiles_bytes(); /* of one channel at a time */
            break;
        }
    rvx_resampler_options options = resampler_options(map, recipe);
    reading += same_grid(map) ? 0 : rvx__resampler_bytes(&options);
    return slab + (measuring > reading ? measuring : reading);
}

/* ---- Raw voxels -------------------------------------------------------------------------------
 */

/* Whole slices as the file has them. */
static rvx_status uncut_read(rvx_case_reader *r, float *out, int c, int64_t z_first,
                             int64_t z_count, rvx_error *error)
{
    const int64_t slice = r->info.geometry.size[0] * r->info.geometry.size[1];
    if (r->files)
        return rvx__volume_reader_slab_f32(r->files[c], out, z_first, z_count, error);
    const float *from = r->memory[c] + z_first * slice;
    for (int64_t i = 0; i < z_count * slice; i++) {
        if (!isfinite(from[i]))
            return rvx__fail(error, RVX_ERROR_NUMERIC, "channels[%d][%lld] is not finite", c,
                             (long long)(z_first * slice + i));
        out[i] = from[i];
    }
    return RVX_OK;
}

/* Rows of the box out of whole slices, of elements of `bytes` bytes. */
static void box_cut(char *out, const char *uncut, const rvx_grid_map *map, int64_t z_count,
                    int64_t bytes)
{
    const int64_t *file = map->file_size, *size = map->box_size, *first = map->box_first;
    for (int64_t z = 0; z < z_count; z++)
        for (int64_t y = 0; y < size[1]; y++)
            memcpy(out + (z * size[1] + y) * size[0] * bytes,
                   uncut + ((z * file[1] + first[1] + y) * file[0] + first[0]) * bytes,
                   (size_t)(size[0] * bytes));
}

/* Slices of the box, at most slab_slices where it cuts them. */
static rvx_status raw_read(rvx_case_reader *r, float *out, int c, int64_t z_first, int64_t z_count,
                           rvx_error *error)
{
    float *to = r->uncut ? r->uncut : out;
    rvx_status status = uncut_read(r, to, c, r->map.box_first[2] + z_first, z_count, error);
    if (status == RVX_OK && r->uncut)
        box_cut((char *)out, (const char *)to, &r->map, z_count, sizeof *out);
    return status;
}

/* One pass over all channels: the box that the recipe crops to, and where z-scores count the mask
 * of voxels that are not 0, how many of the box lie outside of it. */
static rvx_status nonzero_measure(rvx_case_reader *r, int64_t first[3], int64_t size[3],
                                  rvx_error *error)
{
    const int64_t *whole = r->info.geometry.size;
    const bool mask = counts_mask(&r->recipe);
    rvx_nonzero *nonzero = NULL;
    rvx_status status = RVX_OK;
    RVX_TRY(rvx__nonzero_create(&nonzero, whole, r->slab_slices, mask, error));
    for (int64_t z = 0; z < whole[2]; z += r->slab_slices) {
        int64_t count = whole[2] - z < r->slab_slices ? whole[2] - z : r->slab_slices;
        for (int c = 0; c < r->recipe.channel_count; c++) {
            RVX_TRY(uncut_read(r, r->slab, c, z, count, error));
            rvx__nonzero_channel(nonzero, r->slab, count);
        }
        RVX_TRY(rvx__nonzero_next(nonzero, count, error));
    }
    if (r->recipe.crop_to_nonzero)
        rvx__nonzero_box(nonzero, first, size);
    if (mask)
        r->outside = rvx__nonzero_outside(nonzero) - whole[0] * whole[1] * whole[2] +
                     size[0] * size[1] * size[2];
cleanup:
    rvx__nonzero_free(nonzero);
    return status;
}

/* Slices of the box, normalised, [z][y][x][c]. */
static rvx_status normalised_read(void *context, float *out, int64_t z_first, int64_t z_count,
                                  rvx_error *error)
{
    rvx_case_reader *r = context;
    const int64_t slice = r->map.box_size[0] * r->map.box_size[1];
    const int channels = r->recipe.channel_count;
    for (int64_t done = 0; done < z_count; done += r->slab_slices) {
        int64_t count = z_count - done < r->slab_slices ? z_count - done : r->slab_slices;
        for (int c = 0; c < channels; c++) {
            float *to = out + done * slice * channels + c;
            float *raw = channels == 1 ? to : r->slab;
            rvx_status status = raw_read(r, raw, c, z_first + done, count, error);
            if (status != RVX_OK)
                return status;
            rvx__intensity_map_apply(raw, count * slice, 1, &r->intensities[c]);
            if (raw == to)
                continue;
#pragma omp parallel for schedule(static)
            for (int64_t i = 0; i < count * slice; i++)
                to[i * channels] = raw[i];
        }
    }
    return RVX_OK;
}

static float mapped(const rvx_intensity_map *map, double value)
{
    float v = (float)value;
    rvx__intensity_map_apply(&v, 1, 1, map);
    return v;
}

static rvx_status sector_add(int64_t *voxels, const float *slab, const int64_t size[3],
                             int64_t slices, rvx_error *error)
{
    int64_t(*columns)[2] = malloc((size_t)size[0] * sizeof *columns);
    if (!columns)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a row");
    for (int64_t z = 0; z < slices; z++)
        *voxels += rvx__sector_count(slab + z * size[0] * size[1], size, columns);
    free(columns);
    return RVX_OK;
}

/* Two passes over a channel for the percentiles that its recipe names. */
static rvx_status percentiles_find(rvx_case_reader *r, int c, double values[2], rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_channel_recipe *recipe = &r->recipe.channels[c];
    const int64_t slice = r->map.box_size[0] * r->map.box_size[1];
    rvx_percentiles *found = rvx__percentiles_create();
    if (!found)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for percentiles");
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t z = 0; z < r->map.box_size[2]; z += r->slab_slices) {
            int64_t left = r->map.box_size[2] - z,
                    count = left < r->slab_slices ? left : r->slab_slices;
            RVX_TRY(raw_read(r, r->slab, c, z, count, error));
            rvx__percentiles_add(found, r->slab, count * slice);
        }
        if (pass == 0)
            rvx__percentiles_again(found, (const double[]){recipe->low, recipe->high});
    }
    rvx__percentiles_get(found, values);
cleanup:
    rvx__percentiles_free(found);
    return status;
}

/* One pass over a channel, where anything asks for it (percentiles: two more): its map, and the
 * range of what it maps to. */
static rvx_status channel_measure(rvx_case_reader *r, int c, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_channel_recipe *recipe = &r->recipe.channels[c];
    const int64_t slice = r->map.box_size[0] * r->map.box_size[1];
    const bool needed = recipe->normalization == RVX_NORMALIZATION_ZSCORE ||
                        recipe->normalization == RVX_NORMALIZATION_RESCALE ||
                        (!same_grid(&r->map) && r->recipe.image_rule == RVX_RESAMPLING_CUBIC);
    const bool sector = recipe->normalization == RVX_NORMALIZATION_ZSCORE && recipe->sector_only;
    int64_t in_sector = 0;
    rvx_statistics statistics;
    rvx__statistics_start(&statistics);
    for (int64_t z = 0; needed && z < r->map.box_size[2]; z += r->slab_slices) {
        int64_t left = r->map.box_size[2] - z,
                count = left < r->slab_slices ? left : r->slab_slices;
        RVX_TRY(raw_read(r, r->slab, c, z, count, error));
        rvx__statistics_add(&statistics, r->slab, count * slice, 1);
        if (sector)
            RVX_TRY(sector_add(&in_sector, r->slab, r->map.box_size, count, error));
    }
    rvx__statistics_end(&statistics);
    const int64_t zeros = statistics.seen - statistics.nonzero.count;
    const rvx_moments all = rvx__moments_with_zeros(&statistics.nonzero, zeros);
    if (recipe->normalization == RVX_NORMALIZATION_PERCENTILES) {
        double values[2];
        RVX_TRY(percentiles_find(r, c, values, error));
        r->intensities[c] = rvx__intensity_map_between(recipe, values[0], values[1]);
    } else {
        const int64_t counted = sector                 ? in_sector - statistics.nonzero.count
                                : recipe->nonzero_only ? zeros - r->outside
                                                       : zeros;
        r->intensities[c] = rvx__intensity_map_make(recipe, &statistics.nonzero, counted);
    }
    r->range[c][0] = mapped(&r->intensities[c], all.least);
    r->range[c][1] = mapped(&r->intensities[c], all.greatest);
cleanup:
    return status;
}

/* ---- Labels -----------------------------------------------------------------------------------
 */

static rvx_status raw_labels_read(void *context, uint8_t *out, int64_t z_first, int64_t z_count,
                                  rvx_error *error)
{
    rvx_case_reader *r = context;
    const int64_t slice = r->map.box_size[0] * r->map.box_size[1];
    const int64_t most = r->uncut ? r->slab_slices : z_count;
    for (int64_t done = 0; done < z_count; done += most) {
        int64_t count = z_count - done < most ? z_count - done : most;
        int64_t z = r->map.box_first[2] + z_first + done;
        uint8_t *to = r->uncut ? (uint8_t *)r->uncut : out;
        rvx_status status = rvx__volume_reader_slab_labels(r->label_file, to, z, count, error);
        if (status == RVX_OK)
            status = rvx__labels_check(to, &r->info.geometry, z, count, r->recipe.class_count,
                                       r->recipe.ignore_label, r->label_path, error);
        if (status != RVX_OK)
            return status;
        if (r->uncut)
            box_cut((char *)out + done * slice, (const char *)to, &r->map, count, 1);
    }
    return RVX_OK;
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

static rvx_status no_memory(const char *identifier, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_MEMORY, "case %s: no memory for its slices", identifier);
}

static rvx_case_reader *reader_create(const char *identifier, const rvx_case_recipe *recipe,
                                      const char *label_path)
{
    rvx_case_reader *r = calloc(1, sizeof *r);
    const size_t channels = (size_t)recipe->channel_count;
    if (!r)
        return NULL;
    rvx_channel_recipe *copy = malloc(channels * sizeof *copy);
    r->recipe = *recipe;
    r->recipe.channels = copy;
    r->identifier = strdup(identifier);
    r->label_path = label_path ? strdup(label_path) : NULL;
    r->intensities = calloc(channels, sizeof *r->intensities);
    r->range = calloc(channels, sizeof *r->range);
    if (copy)
        memcpy(copy, recipe->channels, channels * sizeof *copy);
    if (copy && r->identifier && r->intensities && r->range && (r->label_path || !label_path))
        return r;
    rvx__case_reader_close(r);
    return NULL;
}

/* All that follows once the grid of the file is known. */
static rvx_status reader_prepare(rvx_case_reader *r, const char *name, rvx_error *error)
{
    rvx_status status;
    const int64_t *file = r->info.geometry.size, *to = r->map.network_size, *from = r->map.box_size;
    int64_t first[3] = {0, 0, 0}, size[3] = {file[0], file[1], file[2]};
    r->slab_slices = slab_slices_of(file);
    const size_t slab = (size_t)(file[0] * file[1] * r->slab_slices) * sizeof *r->slab;
    r->slab = malloc(slab);
    if (!r->slab)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a slab"));
    if (r->recipe.crop_to_nonzero || counts_mask(&r->recipe))
        RVX_TRY(nonzero_measure(r, first, size, error));
    RVX_TRY(rvx__grid_map_make_box(&r->map, &r->info.geometry, first, size, r->recipe.spacing, name,
                                   error));
    r->shape = (rvx_shape){1, to[2], to[1], to[0], r->recipe.channel_count};
    if (size[0] < file[0] || size[1] < file[1]) {
        r->uncut = malloc(slab);
        if (!r->uncut)
            RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a slab"));
    }
    for (int c = 0; c < r->recipe.channel_count; c++)
        RVX_TRY(channel_measure(r, c, error));
    if (same_grid(&r->map))
        return RVX_OK;
    rvx_resampler_options options = resampler_options(&r->map, &r->recipe);
    options.range = (const float(*)[2])r->range;
    RVX_TRY(rvx__resampler_create(&r->image, &options, &(rvx_slices){normalised_read, r}, error));
    if (r->label_file) {
        rvx_resampling rules[3];
        rvx__resampling_rules(rules, r->recipe.label_rule, &r->map);
        RVX_TRY(rvx__label_resampler_create(&r->labels, to, from, rules,
                                            &(rvx_label_slices){raw_labels_read, r}, error));
    }
cleanup:
    return status;
}

rvx_status rvx__case_reader_open(rvx_case_reader **reader, const char *identifier,
                                 const char *const *image_paths, const char *label_path,
                                 const rvx_case_recipe *recipe, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_case_reader *r = *reader = reader_create(identifier, recipe, label_path);
    if (!r)
        return no_memory(identifier, error);
    r->files = calloc((size_t)recipe->channel_count, sizeof(rvx_volume_reader *));
    if (!r->files)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for readers"));
    RVX_TRY(rvx__case_files_open_repair(r->files, &r->label_file, image_paths,
                                        recipe->channel_count, label_path, recipe->repairs, error));
    r->info = *rvx__volume_reader_info(r->files[0]);
    RVX_TRY(reader_prepare(r, image_paths[0], error));
cleanup:
    if (status != RVX_OK) {
        rvx__fail_context(error, "case %s", identifier);
        rvx__case_reader_close(r);
        *reader = NULL;
    }
    return status;
}

rvx_status rvx__case_reader_open_memory(rvx_case_reader **reader, const char *identifier,
                                        const rvx_geometry *geometry, const float *const *channels,
                                        const rvx_case_recipe *recipe, rvx_error *error)
{
    rvx_status status;
    rvx_case_reader *r = *reader = reader_create(identifier, recipe, NULL);
    if (!r)
        return no_memory(identifier, error);
    const size_t bytes = (size_t)recipe->channel_count * sizeof *r->memory;
    r->memory = malloc(bytes);
    if (!r->memory)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "no memory for readers"));
    memcpy(r->memory, channels, bytes);
    r->info.geometry = *geometry;
    RVX_TRY(reader_prepare(r, identifier, error));
cleanup:
    if (status != RVX_OK) {
        rvx__case_reader_close(r);
        *reader = NULL;
    }
    return status;
}

void rvx__case_reader_close(rvx_case_reader *r)
{
    if (!r)
        return;
    for (int c = 0; r->files && c < r->recipe.channel_count; c++)
        rvx__volume_reader_close(r->files[c]);
    rvx__volume_reader_close(r->label_file);
    rvx__resampler_free(r->image);
    rvx__label_resampler_free(r->labels);
    free((void *)(uintptr_t)r->recipe.channels);
    free(r->files);
    free(r->memory);
    free(r->identifier);
    free(r->label_path);
    free(r->intensities);
    free(r->range);
    free(r->slab);
    free(r->uncut);
    free(r);
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

const char *rvx__case_reader_name(const rvx_case_reader *reader) { return reader->identifier; }
const rvx_volume_info *rvx__case_reader_info(const rvx_case_reader *reader)
{
    return &reader->info;
}
const rvx_grid_map *rvx__case_reader_map(const rvx_case_reader *reader) { return &reader->map; }
rvx_shape rvx__case_reader_shape(const rvx_case_reader *reader) { return reader->shape; }

rvx_status rvx__case_reader_image(rvx_case_reader *r, float *out, int64_t z_first, int64_t z_count,
                                  rvx_error *error)
{
    rvx_status status = r->image ? rvx__resampler_read(r->image, out, z_first, z_count, error)
                                 : normalised_read(r, out, z_first, z_count, error);
    return status == RVX_OK ? status : rvx__fail_context(error, "case %s", r->identifier);
}

rvx_status rvx__case_reader_labels(rvx_case_reader *r, uint8_t *out, int64_t z_first,
                                   int64_t z_count, rvx_error *error)
{
    rvx_status status = r->labels
                            ? rvx__label_resampler_read(r->labels, out, z_first, z_count, error)
                            : raw_labels_read(r, out, z_first, z_count, error);
    return status == RVX_OK ? status : rvx__fail_context(error, "case %s", r->identifier);
}

static rvx_status image_read(void *context, float *out, int64_t z_first, int64_t z_count,
                             rvx_error *error)
{
    return rvx__case_reader_image(context, out, z_first, z_count, error);
}

static rvx_status labels_read(void *context, uint8_t *out, int64_t z_first, int64_t z_count,
                              rvx_error *error)
{
    return rvx__case_reader_labels(context, out, z_first, z_count, error);
}

rvx_slices rvx__case_reader_slices(rvx_case_reader *reader)
{
    return (rvx_slices){image_read, reader};
}

rvx_label_slices rvx__case_reader_label_slices(rvx_case_reader *reader)
{
    return (rvx_label_slices){labels_read, reader};
}
