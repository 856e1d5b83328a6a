/* Volumes as streams of slices. Owns: the way from stored bytes to float32, labels or integers.
 * Invariant: working memory is one chunk of voxels whatever a header says; a whole volume's memory
 * grows only with the voxels that did arrive. */
#include "engine/volume/volume.h"
#include "engine/volume/format.h"
#include "engine/volume/repair.h"
#include "engine/volume/segments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_VALUES = 64 * 1024 };
#define LABEL_ROUNDING 1e-4 /* from a whole number, for --repair to take it for one */

struct rvx_volume_reader {
    char *path;
    rvx__parts *parts;
    rvx__layout layout;
    rvx_volume_info info;
    int64_t chunk_voxels; /* fewer where a voxel has several layers */
    uint8_t *raw;         /* chunk_voxels stored voxels */
    double *value;        /* the same, scaled */
    double rounded_most;  /* largest distance to a whole number that was rounded away */
};

/* One row per voxel type: bytes, name, and stored voxels -> double. */
#define DEFINE_WIDEN(name, type)                                                                   \
    static void name(double *out, const uint8_t *raw, int64_t count)                               \
    {                                                                                              \
        for (int64_t i = 0; i < count; i++) {                                                      \
            type stored;                                                                           \
            memcpy(&stored, raw + i * (int64_t)sizeof stored, sizeof stored);                      \
            out[i] = (double)stored;                                                               \
        }                                                                                          \
    }
DEFINE_WIDEN(widen_u8, uint8_t)
DEFINE_WIDEN(widen_i8, int8_t)
DEFINE_WIDEN(widen_u16, uint16_t)
DEFINE_WIDEN(widen_i16, int16_t)
DEFINE_WIDEN(widen_u32, uint32_t)
DEFINE_WIDEN(widen_i32, int32_t)
DEFINE_WIDEN(widen_u64, uint64_t)
DEFINE_WIDEN(widen_i64, int64_t)
DEFINE_WIDEN(widen_f32, float)
DEFINE_WIDEN(widen_f64, double)

static const struct {
    int bytes;
    const char *name;
    void (*widen)(double *out, const uint8_t *raw, int64_t count);
} types[RVX_VOXEL_TYPE_COUNT] = {
    [RVX_VOXEL_U8] = {1, "uint8", widen_u8},     [RVX_VOXEL_I8] = {1, "int8", widen_i8},
    [RVX_VOXEL_U16] = {2, "uint16", widen_u16},  [RVX_VOXEL_I16] = {2, "int16", widen_i16},
    [RVX_VOXEL_U32] = {4, "uint32", widen_u32},  [RVX_VOXEL_I32] = {4, "int32", widen_i32},
    [RVX_VOXEL_U64] = {8, "uint64", widen_u64},  [RVX_VOXEL_I64] = {8, "int64", widen_i64},
    [RVX_VOXEL_F32] = {4, "float32", widen_f32}, [RVX_VOXEL_F64] = {8, "float64", widen_f64},
};

int64_t rvx__voxel_type_bytes(rvx_voxel_type type) { return types[type].bytes; }
const char *rvx__voxel_type_name(rvx_voxel_type type) { return types[type].name; }

static void swap_bytes(uint8_t *raw, int64_t count, int bytes)
{
    for (int64_t i = 0; i < count; i++, raw += bytes)
        for (int low = 0, high = bytes - 1; low < high; low++, high--) {
            uint8_t kept = raw[low];
            raw[low] = raw[high];
            raw[high] = kept;
        }
}

static rvx_status header_parse(rvx_volume_reader *r, const char *path, rvx_error *error)
{
    rvx__opened opened = {0};
    rvx_status status = rvx__format_open(&opened, path, error);
    if (status == RVX_OK) {
        r->path = opened.path;
        opened.path = NULL;
        r->layout.layers = 1;
        status = opened.format->parse(&r->info, &r->layout, opened.source, opened.head,
                                      opened.count, r->path, error);
    }
    rvx__format_close(&opened);
    return status;
}

rvx_status rvx__volume_reader_open(rvx_volume_reader **reader, const char *path, rvx_error *error)
{
    return rvx__volume_reader_open_repair(reader, path, NULL, error);
}

rvx_status rvx__volume_reader_open_repair(rvx_volume_reader **reader, const char *path,
                                          rvx_repairs *repairs, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *reader = NULL;
    rvx_volume_reader *r = calloc(1, sizeof *r);
    if (!r) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    r->layout.repairs = repairs;
    RVX_TRY(header_parse(r, path, error));
    RVX_TRY(rvx__parts_open(&r->parts, r->path, &r->info, &r->layout, error));
    r->chunk_voxels = CHUNK_VALUES / r->layout.layers;
    r->raw = malloc((size_t)(CHUNK_VALUES * types[r->info.type].bytes));
    r->value = malloc(CHUNK_VALUES * sizeof *r->value);
    if (!r->raw || !r->value) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    *reader = r;
    r = NULL;
cleanup:
    rvx__volume_reader_close(r);
    return status;
}

const rvx_volume_info *rvx__volume_reader_info(const rvx_volume_reader *reader)
{
    return &reader->info;
}

const rvx_segments *rvx__volume_reader_segments(const rvx_volume_reader *reader)
{
    return &reader->layout.segments;
}

void rvx__volume_reader_close(rvx_volume_reader *reader)
{
    if (!reader)
        return;
    if (reader->rounded_most > 0)
        rvx__repairs_add(reader->layout.repairs,
                         "%s: voxels up to %.2g off whole numbers; rounded to labels", reader->path,
                         reader->rounded_most);
    rvx__parts_close(reader->parts);
    rvx__layout_free(&reader->layout);
    free(reader->path);
    free(reader->raw);
    free(reader->value);
    free(reader);
}

static void voxel_position(int64_t out[3], const rvx_volume_reader *r, int64_t index)
{
    const int64_t *size = r->info.geometry.size;
    out[0] = index % size[0];
    out[1] = index / size[0] % size[1];
    out[2] = index / size[0] / size[1];
}

static rvx_status voxel_refuse_text(const rvx_volume_reader *r, int64_t index, const char *why,
                                    rvx_error *error)
{
    int64_t at[3];
    voxel_position(at, r, index);
    return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: voxel (%lld, %lld, %lld) %s", r->path,
                     (long long)at[0], (long long)at[1], (long long)at[2], why);
}

/* Narrowing of one chunk; returns the first voxel that does not fit, or -1. Integers take what is
 * within *rounding of one, which becomes the largest distance that was met. */
typedef int64_t (*narrow)(void *out, int64_t out_first, const double *value, int64_t count,
                          double *rounding);

static int64_t narrow_f32(void *out, int64_t out_first, const double *value, int64_t count,
                          double *rounding)
{
    *rounding = 0;
    float *p = (float *)out + out_first;
    uint32_t finite = 1;
    for (int64_t i = 0; i < count; i++) {
        p[i] = (float)value[i];
        finite &= fabsf(p[i]) <= 3.402823466e38f;
    }
    for (int64_t i = 0; !finite && i < count; i++)
        if (!isfinite(p[i]))
            return i;
    return -1;
}

/* The integer within `most` of `value`, if it lies in low..high. */
static inline bool integer_near(double value, double low, double high, double most, double *integer)
{
    *integer = nearbyint(value);
    return fabs(value - *integer) <= most && *integer >= low && *integer <= high;
}

static int64_t narrow_labels(void *out, int64_t out_first, const double *value, int64_t count,
                             double *rounding)
{
    uint8_t *p = (uint8_t *)out + out_first;
    double met = 0;
    for (int64_t i = 0; i < count; i++) {
        double integer;
        if (!integer_near(value[i], 0, 255, *rounding, &integer))
            return i;
        met = fmax(met, fabs(value[i] - integer));
        p[i] = (uint8_t)integer;
    }
    *rounding = met;
    return -1;
}

static int64_t narrow_i32(void *out, int64_t out_first, const double *value, int64_t count,
                          double *rounding)
{
    int32_t *p = (int32_t *)out + out_first;
    double met = 0;
    for (int64_t i = 0; i < count; i++) {
        double integer;
        if (!integer_near(value[i], INT32_MIN, INT32_MAX, *rounding, &integer))
            return i;
        met = fmax(met, fabs(value[i] - integer));
        p[i] = (int32_t)integer;
    }
    *rounding = met;
    return -1;
}

/* What a caller may ask for. */
typedef struct target {
    narrow narrow;
    int64_t bytes;
    const char *expected;
} target;

static const target target_f32 = {narrow_f32, 4, "a finite number in float32's range"};
static const target target_labels = {narrow_labels, 1, "a label, an integer 0..255"};
static const target target_i32 = {narrow_i32, 4, "an integer of 32 bits"};

static rvx_status voxel_refuse(const rvx_volume_reader *r, int64_t index, double value,
                               const target *t, rvx_error *error)
{
    int64_t at[3];
    voxel_position(at, r, index);
    rvx_status status =
        rvx__fail(error, isfinite((float)value) ? RVX_ERROR_FORMAT : RVX_ERROR_NUMERIC,
                  "%s: voxel (%lld, %lld, %lld) holds %.9g, expected %s", r->path, (long long)at[0],
                  (long long)at[1], (long long)at[2], value, t->expected);
    if (t != &target_f32 && !r->layout.repairs && fabs(value - nearbyint(value)) <= LABEL_ROUNDING)
        rvx__repair_advise(error, "rounds what is within 1e-4 of one");
    return status;
}

/* Reads voxels first .. first + count - 1 into `out`. */
static rvx_status voxels_read(rvx_volume_reader *r, void *out, const target *t, int64_t first,
                              int64_t count, rvx_error *error)
{
    const int layers = r->layout.layers, bytes = types[r->info.type].bytes;
    const double slope = r->info.slope, intercept = r->info.intercept;
    rvx_status status = RVX_OK;
    for (int64_t done = 0; status == RVX_OK && done < count; done += r->chunk_voxels) {
        int64_t part = count - done < r->chunk_voxels ? count - done : r->chunk_voxels;
        int64_t values = part * layers;
        status = rvx__parts_read(r->parts, r->raw, (first + done) * layers * bytes, values * bytes,
                                 error);
        if (status != RVX_OK)
            break;
        if (r->layout.swap)
            swap_bytes(r->raw, values, bytes);
        types[r->info.type].widen(r->value, r->raw, values);
        if (layers > 1) {
            char why[256];
            int64_t at = rvx__segments_merge(r->value, part, layers, &r->layout.segments, why);
            if (at >= 0)
                return voxel_refuse_text(r, first + done + at, why, error);
        }
        if (slope != 1 || intercept != 0)
            for (int64_t i = 0; i < part; i++)
                r->value[i] = r->value[i] * slope + intercept;
        double rounding = r->layout.repairs ? LABEL_ROUNDING : 0;
        int64_t bad = t->narrow(out, done, r->value, part, &rounding);
        if (bad >= 0)
            return voxel_refuse(r, first + done + bad, r->value[bad], t, error);
        r->rounded_most = fmax(r->rounded_most, rounding);
    }
    return status;
}

static rvx_status slab_read(rvx_volume_reader *r, void *out, const target *t, int64_t z_first,
                            int64_t z_count, rvx_error *error)
{
    const int64_t *size = r->info.geometry.size;
    if (z_first < 0 || z_count < 0 || z_first > size[2] || z_count > size[2] - z_first)
        return rvx__fail(
            error, RVX_ERROR_ARGUMENT, "%s: slices %lld to %lld asked for, the volume has %lld",
            r->path, (long long)z_first, (long long)(z_first + z_count - 1), (long long)size[2]);
    int64_t slice = size[0] * size[1];
    return voxels_read(r, out, t, z_first * slice, z_count * slice, error);
}

rvx_status rvx__volume_reader_slab_f32(rvx_volume_reader *reader, float *out, int64_t z_first,
                                       int64_t z_count, rvx_error *error)
{
    return slab_read(reader, out, &target_f32, z_first, z_count, error);
}

rvx_status rvx__volume_reader_slab_labels(rvx_volume_reader *reader, uint8_t *out, int64_t z_first,
                                          int64_t z_count, rvx_error *error)
{
    return slab_read(reader, out, &target_labels, z_first, z_count, error);
}

rvx_status rvx__volume_reader_slab_i32(rvx_volume_reader *reader, int32_t *out, int64_t z_first,
                                       int64_t z_count, rvx_error *error)
{
    return slab_read(reader, out, &target_i32, z_first, z_count, error);
}

/* Memory follows the voxels that arrive, by doubling from 64 MiB: a gzip header can promise a
 * thousand times the file without owing it. */
static rvx_status volume_read(rvx_volume *volume, const char *path, const target *t,
                              rvx_repairs *repairs, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *r = NULL;
    uint8_t *voxels = NULL;
    memset(volume, 0, sizeof *volume);
    RVX_TRY(rvx__volume_reader_open_repair(&r, path, repairs, error));
    const int64_t total = rvx__geometry_voxels(&r->info.geometry);
    int64_t capacity = 0;
    for (int64_t done = 0; done < total; done = capacity) {
        capacity = capacity ? capacity * 2 : (int64_t)(64 << 20) / t->bytes;
        if (capacity > total || !rvx__parts_compressed(r->parts))
            capacity = total;
        uint8_t *larger = realloc(voxels, (size_t)(capacity * t->bytes));
        if (!larger) {
            status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: cannot hold %lld bytes of voxels",
                               path, (long long)(capacity * t->bytes));
            goto cleanup;
        }
        voxels = larger;
        RVX_TRY(voxels_read(r, voxels + done * t->bytes, t, done, capacity - done, error));
    }
    volume->info = r->info;
    volume->voxels = voxels;
    voxels = NULL;
cleanup:
    free(voxels);
    rvx__volume_reader_close(r);
    return status;
}

rvx_status rvx__volume_read_f32(rvx_volume *volume, const char *path, rvx_error *error)
{
    return volume_read(volume, path, &target_f32, NULL, error);
}

rvx_status rvx__volume_read_labels(rvx_volume *volume, const char *path, rvx_error *error)
{
    return volume_read(volume, path, &target_labels, NULL, error);
}

rvx_status rvx__volume_read_labels_repair(rvx_volume *volume, const char *path,
                                          rvx_repairs *repairs, rvx_error *error)
{
    return volume_read(volume, path, &target_labels, repairs, error);
}

rvx_status rvx__volume_read_i32(rvx_volume *volume, const char *path, rvx_error *error)
{
    return volume_read(volume, path, &target_i32, NULL, error);
}

void rvx__volume_free(rvx_volume *volume)
{
    if (!volume)
        return;
    free(volume->voxels);
    volume->voxels = NULL;
}
