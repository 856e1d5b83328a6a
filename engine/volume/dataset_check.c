/* What is inside a dataset's files. Owns: one grid per case, and label values that have a name.
 * Memory: a few slices per thread. */
#include "engine/volume/dataset.h"
#include "engine/volume/repair.h"

#include <stdlib.h>
#include <string.h>

enum { SLAB_VOXELS = 1 << 20 };

rvx_status rvx__case_files_open(rvx_volume_reader **channels, rvx_volume_reader **labels,
                                const char *const *image_paths, int channel_count,
                                const char *label_path, rvx_error *error)
{
    return rvx__case_files_open_repair(channels, labels, image_paths, channel_count, label_path,
                                       NULL, error);
}

rvx_status rvx__case_files_open_repair(rvx_volume_reader **channels, rvx_volume_reader **labels,
                                       const char *const *image_paths, int channel_count,
                                       const char *label_path, rvx_repairs *repairs,
                                       rvx_error *error)
{
    rvx_status status = RVX_OK;
    *labels = NULL;
    for (int c = 0; c < channel_count; c++)
        channels[c] = NULL;
    for (int c = 0; c <= channel_count; c++) {
        const char *path = c < channel_count ? image_paths[c] : label_path;
        rvx_volume_reader **reader = c < channel_count ? &channels[c] : labels;
        if (!path)
            continue;
        RVX_TRY(rvx__volume_reader_open_repair(reader, path, repairs, error));
        if (c == 0)
            continue;
        const rvx_geometry *first = &rvx__volume_reader_info(channels[0])->geometry;
        double edge = first->spacing[0];
        for (int axis = 1; axis < 3; axis++)
            edge = first->spacing[axis] < edge ? first->spacing[axis] : edge;
        rvx_error why = {0};
        status =
            rvx__geometry_same(first, image_paths[0], &rvx__volume_reader_info(*reader)->geometry,
                               path, RVX_GRID_TOLERANCE * edge, &why);
        if (status != RVX_OK)
            RVX_TRY(rvx__fail(error, status, "%s%s", why.message,
                              reader == labels ? "; `revoxel convert LABELS OUT --like IMAGE "
                                                 "--labels` puts labels onto the image's grid"
                                               : ""));
    }
cleanup:
    if (status != RVX_OK) {
        for (int c = 0; c < channel_count; c++) {
            rvx__volume_reader_close(channels[c]);
            channels[c] = NULL;
        }
        rvx__volume_reader_close(*labels);
        *labels = NULL;
    }
    return status;
}

rvx_status rvx__labels_check(const uint8_t *labels, const rvx_geometry *g, int64_t z_first,
                             int64_t z_count, int class_count, int ignore_label, const char *name,
                             rvx_error *error)
{
    const int64_t count = g->size[0] * g->size[1] * z_count;
    uint8_t named[256] = {0};
    for (int i = 0; i < class_count; i++)
        named[i] = 1;
    if (ignore_label >= 0)
        named[ignore_label] = 1;
    for (int64_t i = 0; i < count; i++)
        if (!named[labels[i]])
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: voxel (%lld, %lld, %lld) holds label %d, which dataset.json does "
                             "not name (0..%d%s)",
                             name, (long long)(i % g->size[0]),
                             (long long)(i / g->size[0] % g->size[1]),
                             (long long)(z_first + i / g->size[0] / g->size[1]), labels[i],
                             class_count - 1, ignore_label >= 0 ? " and ignore" : "");
    return RVX_OK;
}

rvx_status rvx__dataset_check_case(const rvx_dataset *d, int64_t index, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_dataset_case *one = &d->cases[index];
    rvx_volume_reader *labels = NULL;
    void *slab = NULL;
    rvx_volume_reader **channels = calloc((size_t)d->channel_count, sizeof(rvx_volume_reader *));
    if (!channels)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", one->identifier);
    RVX_TRY(rvx__case_files_open_repair(channels, &labels, (const char *const *)one->images,
                                        d->channel_count, one->labels, d->repairs, error));
    const rvx_geometry *g = &rvx__volume_reader_info(channels[0])->geometry;
    const int64_t slice = g->size[0] * g->size[1];
    const int64_t slab_slices = slice < SLAB_VOXELS ? SLAB_VOXELS / slice : 1;
    slab = malloc((size_t)(slab_slices * slice) * sizeof(float));
    if (!slab) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a slice of %lld voxels",
                           one->identifier, (long long)slice);
        goto cleanup;
    }
    for (int64_t z = 0; z < g->size[2]; z += slab_slices) {
        int64_t count = g->size[2] - z < slab_slices ? g->size[2] - z : slab_slices;
        for (int c = 0; c < d->channel_count; c++)
            RVX_TRY(rvx__volume_reader_slab_f32(channels[c], slab, z, count, error));
        if (!labels)
            continue;
        RVX_TRY(rvx__volume_reader_slab_labels(labels, slab, z, count, error));
        RVX_TRY(rvx__labels_check(slab, g, z, count, d->class_count, d->ignore_label, one->labels,
                                  error));
    }
cleanup:
    if (status != RVX_OK)
        rvx__fail_context(error, "case %s", one->identifier);
    for (int c = 0; c < d->channel_count; c++)
        rvx__volume_reader_close(channels[c]);
    rvx__volume_reader_close(labels);
    free(channels);
    free(slab);
    return status;
}

rvx_status rvx__dataset_check(const rvx_dataset *d, rvx_error *error)
{
    rvx_error *errors = calloc((size_t)d->case_count + 1, sizeof *errors);
    if (!errors)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", d->path);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < d->case_count; i++)
        rvx__dataset_check_case(d, i, &errors[i]);
    rvx_status status = RVX_OK;
    for (int64_t i = 0; i < d->case_count && status == RVX_OK; i++) {
        status = errors[i].status;
        if (status != RVX_OK && error)
            *error = errors[i];
    }
    free(errors);
    return status;
}
