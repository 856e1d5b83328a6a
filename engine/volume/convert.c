/* A volume as another file: see convert.h. */
#include "engine/volume/convert.h"

#include "engine/base/file.h"
#include "engine/volume/format.h"
#include "engine/volume/repair.h"
#include "engine/volume/resample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS_NAMED_MAX = 1024, SLICES = 8 /* asked for at once */ };

/* ---- Grids ------------------------------------------------------------------------------------
 */

rvx_status rvx__geometry_reorient(rvx_geometry *out, const rvx_geometry *in, const char *letters,
                                  rvx_error *error)
{
    static const char *const pairs[3] = {"LR", "AP", "SI"};
    char now[4];
    bool used[3] = {false};
    *out = *in;
    rvx__geometry_orientation(now, in);
    for (int axis = 0; axis < 3; axis++) {
        int from = -1;
        for (int pair = 0; pair < 3 && strlen(letters) == 3; pair++)
            for (int i = 0; i < 3 && !used[pair] && strchr(pairs[pair], letters[axis]); i++)
                if (strchr(pairs[pair], now[i])) {
                    from = i;
                    used[pair] = true;
                    break;
                }
        if (from < 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "orientation '%s': expected three letters such as RAS or LPS, one of "
                             "R L, one of A P, one of S I",
                             letters);
        const bool flip = now[from] != letters[axis];
        out->size[axis] = in->size[from];
        out->spacing[axis] = in->spacing[from];
        for (int row = 0; row < 3; row++) {
            out->direction[row][axis] = in->direction[row][from] * (flip ? -1 : 1) + 0.0;
            if (flip)
                out->origin[row] +=
                    in->direction[row][from] * in->spacing[from] * (double)(in->size[from] - 1);
        }
    }
    return RVX_OK;
}

rvx_status rvx__geometry_respace(rvx_geometry *out, const rvx_geometry *in, const double spacing[3],
                                 rvx_error *error)
{
    *out = *in;
    for (int axis = 0; axis < 3; axis++) {
        if (spacing[axis] == 0)
            continue;
        const double extent = (double)in->size[axis] * in->spacing[axis];
        const double size = rint(extent / spacing[axis]);
        if (!(spacing[axis] > 0) || !(size <= 1 << 20))
            return rvx__fail(
                error, RVX_ERROR_ARGUMENT,
                "spacing %g mm along %c: expected a positive length that gives at most "
                "2^20 voxels",
                spacing[axis], "xyz"[axis]);
        out->size[axis] = size < 1 ? 1 : (int64_t)size;
        out->spacing[axis] = spacing[axis];
        const double shift = 0.5 * (extent - (double)out->size[axis] * spacing[axis] +
                                    spacing[axis] - in->spacing[axis]);
        for (int row = 0; row < 3; row++)
            out->origin[row] += in->direction[row][axis] * shift;
    }
    return rvx__geometry_check(out, "the converted volume", error);
}

/* ---- Values -----------------------------------------------------------------------------------
 */

/* From indices of the output to indices of the input. */
typedef struct index_map {
    double matrix[3][3], offset[3];
} index_map;

static index_map index_map_make(const rvx_geometry *out, const rvx_geometry *in)
{
    index_map m = {0};
    for (int a = 0; a < 3; a++)
        for (int row = 0; row < 3; row++) {
            double along = in->direction[row][a] / in->spacing[a];
            m.offset[a] += along * (out->origin[row] - in->origin[row]);
            for (int b = 0; b < 3; b++)
                m.matrix[a][b] += along * out->direction[row][b] * out->spacing[b];
        }
    return m;
}

typedef struct conversion {
    rvx_volume_reader *reader;
    const rvx_volume_info *info;
    rvx_geometry target;
    rvx_voxel_type type;
    bool integers; /* values are int32, else float */
    rvx_resampling rule;
    bool fill; /* 0 outside the input */
    index_map map;
    rvx_resampler *resampler; /* where voxels change their size alone; NULL: */
    const void *voxels;       /* the whole input, where the grid changes otherwise */
} conversion;

static double value_at(const conversion *c, int64_t x, int64_t y, int64_t z)
{
    const int64_t *size = c->info->geometry.size, at = (z * size[1] + y) * size[0] + x;
    return c->integers ? (double)((const int32_t *)c->voxels)[at]
                       : (double)((const float *)c->voxels)[at];
}

static double sample(const conversion *c, const double index[3])
{
    const int64_t *size = c->info->geometry.size;
    int64_t low[3], high[3];
    double weight[3], sum = 0;
    for (int a = 0; a < 3; a++) {
        double p = index[a], last = (double)(size[a] - 1);
        if (fabs(p - rint(p)) < 1e-6) /* what only changes place keeps its value */
            p = rint(p);
        if (c->fill && !(p >= -0.5 && p <= last + 0.5))
            return 0;
        p = p < 0 ? 0 : p > last ? last : p;
        p = c->rule == RVX_RESAMPLING_NEAREST ? floor(p + 0.5) : p;
        low[a] = (int64_t)p;
        weight[a] = p - (double)low[a];
        high[a] = low[a] + (weight[a] > 0);
    }
    for (int corner = 0; corner < 8; corner++) {
        double share = 1;
        int64_t at[3];
        for (int a = 0; a < 3; a++) {
            bool up = corner >> a & 1;
            at[a] = up ? high[a] : low[a];
            share *= up ? weight[a] : 1 - weight[a];
        }
        if (share > 0)
            sum += share * value_at(c, at[0], at[1], at[2]);
    }
    return sum;
}

static void slice_sample(double *out, const conversion *c, int64_t z)
{
    const int64_t *size = c->target.size;
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < size[1]; y++)
        for (int64_t x = 0; x < size[0]; x++) {
            double index[3];
            for (int a = 0; a < 3; a++)
                index[a] = c->map.offset[a] + c->map.matrix[a][0] * (double)x +
                           c->map.matrix[a][1] * (double)y + c->map.matrix[a][2] * (double)z;
            out[y * size[0] + x] = sample(c, index);
        }
}

/* Stores values as another type; returns the first that does not fit, or -1. */
#define DEFINE_STORE(name, type, low, high)                                                        \
    static int64_t name(void *out, const double *values, int64_t count)                            \
    {                                                                                              \
        for (int64_t i = 0; i < count; i++) {                                                      \
            double value = rint(values[i]);                                                        \
            if (!(value >= (low) && value < (high)))                                               \
                return i;                                                                          \
            ((type *)out)[i] = (type)value;                                                        \
        }                                                                                          \
        return -1;                                                                                 \
    }
DEFINE_STORE(store_u8, uint8_t, 0, 256)
DEFINE_STORE(store_i8, int8_t, -128, 128)
DEFINE_STORE(store_u16, uint16_t, 0, 65536)
DEFINE_STORE(store_i16, int16_t, -32768, 32768)
DEFINE_STORE(store_u32, uint32_t, 0, 0x1p32)
DEFINE_STORE(store_i32, int32_t, -0x1p31, 0x1p31)
DEFINE_STORE(store_u64, uint64_t, 0, 0x1p64)
DEFINE_STORE(store_i64, int64_t, -0x1p63, 0x1p63)

static int64_t store_f32(void *out, const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        ((float *)out)[i] = (float)values[i];
    return -1;
}

static int64_t store_f64(void *out, const double *values, int64_t count)
{
    memcpy(out, values, (size_t)count * sizeof *values);
    return -1;
}

static int64_t (*const stores[RVX_VOXEL_TYPE_COUNT])(void *, const double *, int64_t) = {
    [RVX_VOXEL_U8] = store_u8,   [RVX_VOXEL_I8] = store_i8,   [RVX_VOXEL_U16] = store_u16,
    [RVX_VOXEL_I16] = store_i16, [RVX_VOXEL_U32] = store_u32, [RVX_VOXEL_I32] = store_i32,
    [RVX_VOXEL_U64] = store_u64, [RVX_VOXEL_I64] = store_i64, [RVX_VOXEL_F32] = store_f32,
    [RVX_VOXEL_F64] = store_f64,
};

/* ---- The file ---------------------------------------------------------------------------------
 */

static rvx_status slab_read(const conversion *c, void *out, int64_t z, int64_t count,
                            rvx_error *error)
{
    return c->integers ? rvx__volume_reader_slab_i32(c->reader, out, z, count, error)
                       : rvx__volume_reader_slab_f32(c->reader, out, z, count, error);
}

static rvx_status reader_read(void *context, float *out, int64_t z, int64_t count, rvx_error *error)
{
    return rvx__volume_reader_slab_f32(context, out, z, count, error);
}

/* What a spline is held to. */
static rvx_status range_find(float range[1][2], const conversion *c, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const int64_t *size = c->info->geometry.size, slice = size[0] * size[1];
    float *voxels = malloc((size_t)slice * sizeof *voxels);
    if (!voxels)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a slice");
    range[0][0] = INFINITY;
    range[0][1] = -INFINITY;
    for (int64_t z = 0; z < size[2]; z++) {
        RVX_TRY(rvx__volume_reader_slab_f32(c->reader, voxels, z, 1, error));
        for (int64_t i = 0; i < slice; i++) {
            range[0][0] = voxels[i] < range[0][0] ? voxels[i] : range[0][0];
            range[0][1] = voxels[i] > range[0][1] ? voxels[i] : range[0][1];
        }
    }
cleanup:
    free(voxels);
    return status;
}

/* Whether the axes stay and only sizes of voxels change: the map has a diagonal alone. */
static bool scales(const conversion *c)
{
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            if (a == b ? !(c->map.matrix[a][a] > 0)
                       : fabs(c->map.matrix[a][b]) * (double)c->target.size[b] > 1e-6)
                return false;
    return true;
}

static rvx_status resampler_make(conversion *c, rvx_error *error)
{
    rvx_status status = RVX_OK;
    float range[1][2];
    rvx_resampler_options options = {.channels = 1};
    const rvx_slices input = {.read = reader_read, .context = c->reader};
    for (int a = 0; a < 3; a++) {
        options.out_size[a] = c->target.size[a];
        options.in_size[a] = c->info->geometry.size[a];
        options.rules[a] = c->rule;
        options.places[a] =
            (rvx_taps_place){.step = c->map.matrix[a][a], .start = c->map.offset[a]};
    }
    if (c->rule == RVX_RESAMPLING_CUBIC) {
        RVX_TRY(range_find(range, c, error));
        options.range = (const float(*)[2])range;
    }
    status = rvx__resampler_create(&c->resampler, &options, &input, error);
cleanup:
    return status;
}

/* Where the grid changes: slices of the new one from a few of the old, or from all of them. */
static rvx_status grid_change(conversion *c, void **voxels, const char *in, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const rvx_geometry *g = &c->info->geometry;
    const int64_t bytes = rvx__geometry_voxels(g) * 4;
    const bool wide = c->info->type == RVX_VOXEL_I32 || c->info->type == RVX_VOXEL_U32;
    c->map = index_map_make(&c->target, g);
    const bool streams = !c->fill && c->rule != RVX_RESAMPLING_NEAREST && scales(c);
    if (c->rule == RVX_RESAMPLING_CUBIC && !streams)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "%s: cubic interpolation is along axes that stay: change the spacing "
                         "first and the orientation then; not with 'like'",
                         in);
    if (streams && (c->rule == RVX_RESAMPLING_CUBIC || !wide))
        return resampler_make(c, error);
    c->voxels = *voxels = malloc((size_t)bytes);
    if (!*voxels)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its voxels (%lld bytes)", in,
                         (long long)bytes);
    RVX_TRY(slab_read(c, *voxels, 0, g->size[2], error));
cleanup:
    return status;
}

static rvx_status slices_write(rvx_volume_writer *writer, const conversion *c, const char *out,
                               rvx_error *error)
{
    rvx_status status = RVX_OK;
    const int64_t *size = c->target.size, slice = size[0] * size[1];
    double *values = malloc((size_t)slice * sizeof *values);
    void *stored = malloc((size_t)slice * sizeof *values),
         *read = malloc((size_t)slice * SLICES * 4);
    if (!values || !stored || !read) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a slice", out);
        goto cleanup;
    }
    for (int64_t z = 0; z < size[2]; z++) {
        if (c->voxels) {
            slice_sample(values, c, z);
        } else if (c->resampler) {
            const int64_t left = size[2] - z, at = z % SLICES * slice;
            if (at == 0)
                RVX_TRY(rvx__resampler_read(c->resampler, read, z, left < SLICES ? left : SLICES,
                                            error));
            for (int64_t i = 0; i < slice; i++)
                values[i] = (double)((float *)read)[at + i];
        } else {
            RVX_TRY(slab_read(c, read, z, 1, error));
            for (int64_t i = 0; i < slice; i++)
                values[i] = c->integers ? (double)((int32_t *)read)[i] : (double)((float *)read)[i];
        }
        int64_t bad = stores[c->type](stored, values, slice);
        if (bad >= 0) {
            status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                               "%s: voxel (%lld, %lld, %lld) is %g, which %s cannot hold", out,
                               (long long)(bad % size[0]), (long long)(bad / size[0]), (long long)z,
                               values[bad], rvx__voxel_type_name(c->type));
            goto cleanup;
        }
        RVX_TRY(rvx__volume_writer_slab(writer, stored, 1, error));
    }
cleanup:
    free(values);
    free(stored);
    free(read);
    return status;
}

static rvx_status target_make(conversion *c, rvx_volume_info *like, const char *in,
                              const rvx_convert_params *p, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *reader = NULL;
    rvx_geometry turned = c->info->geometry;
    *like = *c->info;
    if (p->like) {
        if (p->orient || p->spacing[0] != 0 || p->spacing[1] != 0 || p->spacing[2] != 0)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "%s: 'like' gives the whole grid: neither spacing nor orientation "
                             "can stand beside it",
                             in);
        RVX_TRY(rvx__volume_reader_open_repair(&reader, p->like, p->repairs, error));
        *like = *rvx__volume_reader_info(reader);
        c->target = like->geometry;
        c->fill = true;
    } else {
        if (p->orient)
            RVX_TRY(rvx__geometry_reorient(&turned, &c->info->geometry, p->orient, error));
        RVX_TRY(rvx__geometry_respace(&c->target, &turned, p->spacing, error));
    }
    c->type = c->info->slope != 1 || c->info->intercept != 0 ? RVX_VOXEL_F32 : c->info->type;
    if (p->dtype) {
        int type = 0;
        while (type < RVX_VOXEL_TYPE_COUNT &&
               strcmp(rvx__voxel_type_name((rvx_voxel_type)type), p->dtype) != 0)
            type++;
        if (type == RVX_VOXEL_TYPE_COUNT)
            status = rvx__fail(error, RVX_ERROR_ARGUMENT,
                               "dtype '%s': expected int8, uint8, int16, uint16, int32, uint32, "
                               "int64, uint64, float32 or float64",
                               p->dtype);
        c->type = (rvx_voxel_type)type;
    }
cleanup:
    rvx__volume_reader_close(reader);
    return status;
}

/* Names for a segmentation whose input has none: one for each value above 0. */
static rvx_status segments_find(rvx_segments *segments, const conversion *c, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const int64_t *size = c->info->geometry.size, slice = size[0] * size[1];
    bool seen[LABELS_NAMED_MAX] = {false};
    int32_t *values = malloc((size_t)slice * sizeof *values);
    if (!values)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for a slice");
    for (int64_t z = 0; z < size[2]; z++) {
        RVX_TRY(rvx__volume_reader_slab_i32(c->reader, values, z, 1, error));
        for (int64_t i = 0; i < slice; i++)
            if (values[i] > 0 && values[i] < LABELS_NAMED_MAX)
                seen[values[i]] = true;
    }
    for (int value = 1; value < LABELS_NAMED_MAX; value++) {
        char name[32];
        snprintf(name, sizeof name, "label %d", value);
        if (seen[value])
            RVX_TRY(rvx__segments_add(segments, name, value, error));
    }
cleanup:
    free(values);
    return status;
}

static rvx_status rule_find(rvx_resampling *rule, const rvx_convert_params *p, bool segmentation,
                            rvx_error *error)
{
    static const char *const names[RVX_RESAMPLING_COUNT] = {"cubic", "linear", "nearest"};
    const bool labels = p->labels || segmentation;
    const char *name = p->interpolation ? p->interpolation : labels ? "nearest" : "linear";
    int found = 0;
    while (found < RVX_RESAMPLING_COUNT && strcmp(names[found], name) != 0)
        found++;
    if (found == RVX_RESAMPLING_COUNT)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "interpolation '%s': expected linear, cubic or nearest", name);
    *rule = (rvx_resampling)found;
    if (labels && *rule != RVX_RESAMPLING_NEAREST)
        return rvx__fail(error, RVX_ERROR_ARGUMENT,
                         "interpolation '%s': of a label map it is nearest", name);
    return RVX_OK;
}

rvx_status rvx__convert(const char *in, const char *out, const rvx_convert_params *params,
                        rvx_error *error)
{
    rvx_status status = RVX_OK;
    conversion c = {0};
    rvx_volume_info like;
    rvx_volume_writer *writer = NULL;
    rvx_segments made = {0};
    void *voxels = NULL;
    RVX_TRY(rvx__volume_reader_open_repair(&c.reader, in, params->repairs, error));
    c.info = rvx__volume_reader_info(c.reader);
    const rvx_geometry *g = &c.info->geometry;
    RVX_TRY(target_make(&c, &like, in, params, error));
    const bool same = rvx__geometry_same(g, "", &c.target, "", 0, NULL) == RVX_OK;
    const bool segmentation = rvx__text_ends_with(out, ".seg.nrrd");
    const bool whole_numbers = c.info->type <= RVX_VOXEL_I32 && c.info->slope == 1 &&
                               c.info->intercept == 0 && c.info->type != RVX_VOXEL_U32;
    c.integers = params->labels || segmentation || whole_numbers;
    RVX_TRY(rule_find(&c.rule, params, segmentation, error));
    const rvx_segments *segments = rvx__volume_reader_segments(c.reader);
    if (segmentation && !segments->count) {
        RVX_TRY(segments_find(&made, &c, error));
        segments = &made;
    }
    if (!same)
        RVX_TRY(grid_change(&c, &voxels, in, error));
    RVX_TRY(rvx__volume_writer_create_segments(
        &writer, out, &c.target, c.type, same || params->like ? &like : NULL, segments, error));
    RVX_TRY(slices_write(writer, &c, out, error));
    status = rvx__volume_writer_commit(writer, error);
    writer = NULL;
cleanup:
    rvx__volume_writer_abandon(writer);
    rvx__resampler_free(c.resampler);
    rvx__volume_reader_close(c.reader);
    rvx__segments_free(&made);
    free(voxels);
    return status;
}
