/* A real label map as anatomy. Owns: rvx_atlas: one byte a voxel, labels in place of the map's
 * values, and a tissue for each label. Tissues are interpolated between voxel centres, so borders
 * are soft where the map has steps. */
#include "engine/phantom/scene.h"

#include <math.h>
#include <stdlib.h>

enum { CLASS_OTHER = 255, SIDE_MAX = 8192 };

struct rvx_atlas {
    rvx_geometry geometry;
    uint8_t *classes; /* label, or CLASS_OTHER: tissue that has no label */
    rvx_material tissues[256];
};

/* Label 0 is the gel between probe and body. The other tissues spread over backscatter, impedance
 * and attenuation by the golden ratio and its kin, so neighbours in number differ clearly. The
 * attenuation is that of an infant's brain: whole heads are looked through. */
static void set_tissues(rvx_atlas *atlas)
{
    for (int k = 1; k < 256; k++) {
        double echo = fmod(0.5 + k * 0.6180339887, 1.0), step = fmod(k * 0.7548776662, 1.0);
        double loss = fmod(k * 0.5698402910, 1.0);
        atlas->tissues[k] = (rvx_material){
            .amplitude = (float)pow(10.0, (-15.0 + 22.0 * echo) / 20.0),
            .impedance = (float)(1.54 + 0.16 * step),
            .attenuation = (float)(0.08 + 0.14 * loss),
        };
    }
    atlas->tissues[0] = (rvx_material){0.02f, 1.52f, 0.02f};
    atlas->tissues[CLASS_OTHER] = (rvx_material){0.6f, 1.60f, 0.15f};
}

static uint8_t class_of(const rvx_label_table *table, int32_t value)
{
    if (value == 0)
        return 0;
    int64_t low = 0, high = table->count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (table->values[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < table->count && table->values[low] == value ? table->labels[low] : CLASS_OTHER;
}

/* The same box of space cut into voxels of the wanted edge. */
static rvx_status resampled_geometry(rvx_geometry *out, const rvx_geometry *in, double spacing_mm,
                                     const char *path, rvx_error *error)
{
    *out = *in;
    for (int i = 0; i < 3; i++) {
        double extent = (double)in->size[i] * in->spacing[i];
        double count =
            spacing_mm > 0 ? fmax(1, floor(extent / spacing_mm + 0.5)) : (double)in->size[i];
        if (!(count <= SIDE_MAX))
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: %.6g voxels along %c at %g mm; at most %d are possible", path,
                             count, "xyz"[i], spacing_mm, SIDE_MAX);
        out->size[i] = (int64_t)count;
        if (spacing_mm > 0)
            out->spacing[i] = spacing_mm;
        double shift =
            0.5 * (extent - count * out->spacing[i]) + 0.5 * (out->spacing[i] - in->spacing[i]);
        for (int row = 0; row < 3; row++)
            out->origin[row] += in->direction[row][i] * shift;
    }
    return RVX_OK;
}

/* Nearest voxel of the map for voxel `index` of the atlas. */
static int64_t source_index(const rvx_geometry *out, const rvx_geometry *in, int axis,
                            int64_t index)
{
    double from_middle = ((double)index - 0.5 * (double)(out->size[axis] - 1)) *
                         out->spacing[axis] / in->spacing[axis];
    double at = floor(from_middle + 0.5 * (double)in->size[axis]);
    return (int64_t)fmin(fmax(at, 0), (double)(in->size[axis] - 1));
}

static rvx_status read_classes(rvx_atlas *atlas, rvx_volume_reader *reader,
                               const rvx_label_table *table, const char *path, rvx_error *error)
{
    const rvx_geometry *in = &rvx__volume_reader_info(reader)->geometry, *out = &atlas->geometry;
    rvx_status status = RVX_OK;
    int64_t last = -1;
    int32_t *slice = malloc((size_t)(in->size[0] * in->size[1]) * sizeof *slice);
    int64_t *column = malloc((size_t)out->size[0] * sizeof *column);
    if (!slice || !column) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a slice", path);
        goto cleanup;
    }
    for (int64_t x = 0; x < out->size[0]; x++)
        column[x] = source_index(out, in, 0, x);
    for (int64_t z = 0; z < out->size[2]; z++) {
        int64_t from = source_index(out, in, 2, z);
        if (from != last)
            RVX_TRY(rvx__volume_reader_slab_i32(reader, slice, from, 1, error));
        last = from;
        for (int64_t y = 0; y < out->size[1]; y++) {
            const int32_t *line = slice + source_index(out, in, 1, y) * in->size[0];
            uint8_t *to = atlas->classes + (z * out->size[1] + y) * out->size[0];
            int32_t value = 0;
            uint8_t label = 0;
            for (int64_t x = 0; x < out->size[0]; x++) {
                if (line[column[x]] != value) {
                    value = line[column[x]];
                    label = class_of(table, value);
                }
                to[x] = label;
            }
        }
    }
cleanup:
    free(slice);
    free(column);
    return status;
}

rvx_status rvx__atlas_create(rvx_atlas **atlas, const char *path, const rvx_label_table *table,
                             double spacing_mm, rvx_error *error)
{
    *atlas = NULL;
    rvx_status status = RVX_OK;
    rvx_volume_reader *reader = NULL;
    rvx_atlas *a = calloc(1, sizeof *a);
    if (!a)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory", path);
    RVX_TRY(rvx__volume_reader_open(&reader, path, error));
    RVX_TRY(resampled_geometry(&a->geometry, &rvx__volume_reader_info(reader)->geometry, spacing_mm,
                               path, error));
    a->classes = malloc((size_t)rvx__geometry_voxels(&a->geometry));
    if (!a->classes) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for %lld voxels", path,
                           (long long)rvx__geometry_voxels(&a->geometry));
        goto cleanup;
    }
    RVX_TRY(read_classes(a, reader, table, path, error));
    set_tissues(a);
    *atlas = a;
    a = NULL;
cleanup:
    rvx__volume_reader_close(reader);
    rvx__atlas_free(a);
    return status;
}

const rvx_geometry *rvx__atlas_geometry(const rvx_atlas *atlas) { return &atlas->geometry; }

void rvx__atlas_labels(const rvx_atlas *atlas, uint8_t *out, int64_t z)
{
    int64_t plane = atlas->geometry.size[0] * atlas->geometry.size[1];
    for (int64_t k = 0; k < plane; k++) {
        uint8_t class = atlas->classes[z * plane + k];
        out[k] = class == CLASS_OTHER ? 0 : class;
    }
}

/* Fractional voxel index of a scene coordinate, see scene.h. */
static float voxel_of(const rvx_geometry *g, int axis, float mm)
{
    float shift = axis == 1 ? -0.5f : 0.5f * (float)(g->size[axis] - 1);
    return mm / (float)g->spacing[axis] + shift;
}

/* Trilinear mean of the tissues at the eight voxels around. Beyond the map there is gel. */
static rvx_material atlas_material(const void *self, rvx_point point)
{
    const rvx_atlas *a = self;
    const rvx_geometry *g = &a->geometry;
    float mm[3] = {point.x, point.y, point.z}, part[3];
    int64_t first[3], pitch[3] = {1, g->size[0], g->size[0] * g->size[1]};
    for (int i = 0; i < 3; i++) {
        float at = voxel_of(g, i, mm[i]);
        if (!(at > -1.0f && at < (float)g->size[i]))
            return a->tissues[0];
        first[i] = (int64_t)(at + 1.0f) - 1;
        part[i] = at - (float)first[i];
    }
    rvx_material m = {0};
    for (int corner = 0; corner < 8; corner++) {
        float weight = 1;
        int64_t offset = 0;
        int inside = 1;
        for (int i = 0; i < 3; i++) {
            int64_t index = first[i] + (corner >> i & 1);
            weight *= corner >> i & 1 ? part[i] : 1.0f - part[i];
            inside &= index >= 0 && index < g->size[i];
            offset += index * pitch[i];
        }
        const rvx_material *tissue = &a->tissues[inside ? a->classes[offset] : 0];
        m.amplitude += weight * tissue->amplitude;
        m.impedance += weight * tissue->impedance;
        m.attenuation += weight * tissue->attenuation;
    }
    return m;
}

static uint8_t atlas_label(const void *self, rvx_point point)
{
    const rvx_atlas *a = self;
    const rvx_geometry *g = &a->geometry;
    float mm[3] = {point.x, point.y, point.z};
    int64_t offset = 0;
    for (int i = 2; i >= 0; i--) {
        float at = voxel_of(g, i, mm[i]) + 0.5f;
        if (!(at >= 0 && at < (float)g->size[i]))
            return 0;
        offset = offset * g->size[i] + (int64_t)at;
    }
    return a->classes[offset] == CLASS_OTHER ? 0 : a->classes[offset];
}

rvx_scene rvx__atlas_scene(const rvx_atlas *atlas)
{
    return (rvx_scene){atlas, atlas_material, atlas_label};
}

void rvx__atlas_free(rvx_atlas *atlas)
{
    if (!atlas)
        return;
    free(atlas->classes);
    free(atlas);
}
