/* Volumes as streams of slices. Owns: the way from stored bytes to float32, labels or integers, and
 * back to a file. Invariant: working memory is one chunk of voxels whatever a header says; a whole
 * volume's memory grows only with the voxels that did arrive. */
#include "engine/volume/volume.h"
#include "engine/base/file.h"
#include "engine/volume/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_VOXELS = 64 * 1024 };

const rvx__format *const rvx__formats[] = {&rvx__format_nifti, NULL};

struct rvx_volume_reader {
    char *path;
    rvx__source *source;
    rvx__layout layout;
    rvx_volume_info info;
    uint8_t *raw;  /* CHUNK_VOXELS stored voxels */
    double *value; /* the same, scaled */
};

struct rvx_volume_writer {
    char *path;
    rvx__sink *sink;
    int64_t slice_bytes, slices_left;
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

static int64_t data_bytes(const rvx_volume_info *info)
{
    return rvx__geometry_voxels(&info->geometry) * types[info->type].bytes;
}

/* What the header promises must be possible before anything relies on it. */
static rvx_status promise_check(const rvx_volume_reader *r, rvx_error *error)
{
    const rvx_geometry *g = &r->info.geometry;
    int64_t expected, most = rvx__source_bytes_max(r->source);
    if (__builtin_add_overflow(data_bytes(&r->info), r->layout.data_offset, &expected))
        expected = INT64_MAX;
    if (expected <= most)
        return RVX_OK;
    return rvx__fail(error, RVX_ERROR_FORMAT,
                     "%s: truncated: the header promises %lld x %lld x %lld voxels of %s, %lld "
                     "bytes with the header; the file %s %lld",
                     r->path, (long long)g->size[0], (long long)g->size[1], (long long)g->size[2],
                     types[r->info.type].name, (long long)expected,
                     rvx__source_compressed(r->source) ? "cannot decompress to more than" : "has",
                     (long long)most);
}

rvx_status rvx__volume_reader_open(rvx_volume_reader **reader, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    uint8_t head[RVX__HEAD_BYTES] = {0};
    int64_t count = 0;
    *reader = NULL;
    rvx_volume_reader *r = calloc(1, sizeof *r);
    if (r)
        r->path = strdup(path);
    if (!r || !r->path) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    RVX_TRY(rvx__source_open(&r->source, path, error));
    RVX_TRY(rvx__source_read(r->source, head, sizeof head, &count, error));
    const rvx__format *format = NULL;
    for (int i = 0; rvx__formats[i] && !format; i++)
        if (rvx__formats[i]->recognise(head, count))
            format = rvx__formats[i];
    if (!format) {
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           count < 348 ? "%s: not a volume: only %lld bytes, too few for a NIfTI "
                                         "header"
                                       : "%s: not a volume: %lld bytes read, no NIfTI header "
                                         "among them",
                           path, (long long)count);
        goto cleanup;
    }
    RVX_TRY(format->parse(&r->info, &r->layout, head, count, path, error));
    RVX_TRY(promise_check(r, error));
    r->raw = malloc((size_t)CHUNK_VOXELS * (size_t)types[r->info.type].bytes);
    r->value = malloc(CHUNK_VOXELS * sizeof *r->value);
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

void rvx__volume_reader_close(rvx_volume_reader *reader)
{
    if (!reader)
        return;
    rvx__source_close(reader->source);
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

static rvx_status voxel_refuse(const rvx_volume_reader *r, int64_t index, double value,
                               const char *expected, rvx_error *error)
{
    int64_t at[3];
    voxel_position(at, r, index);
    return rvx__fail(error, isfinite((float)value) ? RVX_ERROR_FORMAT : RVX_ERROR_NUMERIC,
                     "%s: voxel (%lld, %lld, %lld) holds %.9g, expected %s", r->path,
                     (long long)at[0], (long long)at[1], (long long)at[2], value, expected);
}

/* Narrowing of one chunk; returns the first voxel that does not fit, or -1. */
typedef int64_t (*narrow)(void *out, int64_t out_first, const double *value, int64_t count);

static int64_t narrow_f32(void *out, int64_t out_first, const double *value, int64_t count)
{
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

/* The integer within 1e-4 of `value`, if it lies in low..high. */
static inline bool integer_near(double value, double low, double high, double *integer)
{
    *integer = nearbyint(value);
    return fabs(value - *integer) <= 1e-4 && *integer >= low && *integer <= high;
}

static int64_t narrow_labels(void *out, int64_t out_first, const double *value, int64_t count)
{
    uint8_t *p = (uint8_t *)out + out_first;
    for (int64_t i = 0; i < count; i++) {
        double integer;
        if (!integer_near(value[i], 0, 255, &integer))
            return i;
        p[i] = (uint8_t)integer;
    }
    return -1;
}

static int64_t narrow_i32(void *out, int64_t out_first, const double *value, int64_t count)
{
    int32_t *p = (int32_t *)out + out_first;
    for (int64_t i = 0; i < count; i++) {
        double integer;
        if (!integer_near(value[i], INT32_MIN, INT32_MAX, &integer))
            return i;
        p[i] = (int32_t)integer;
    }
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

/* Reads voxels first .. first + count - 1 into `out`. */
static rvx_status voxels_read(rvx_volume_reader *r, void *out, const target *t, int64_t first,
                              int64_t count, rvx_error *error)
{
    const int bytes = types[r->info.type].bytes;
    const double slope = r->info.slope, intercept = r->info.intercept;
    rvx_status status = rvx__source_seek(r->source, r->layout.data_offset + first * bytes, error);
    for (int64_t done = 0; status == RVX_OK && done < count; done += CHUNK_VOXELS) {
        int64_t part = count - done < CHUNK_VOXELS ? count - done : CHUNK_VOXELS, got;
        status = rvx__source_read(r->source, r->raw, part * bytes, &got, error);
        if (status != RVX_OK)
            break;
        if (got < part * bytes)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: truncated: expected %lld bytes of voxels, found %lld", r->path,
                             (long long)data_bytes(&r->info),
                             (long long)((first + done) * bytes + got));
        if (r->layout.swap)
            swap_bytes(r->raw, part, bytes);
        types[r->info.type].widen(r->value, r->raw, part);
        if (slope != 1 || intercept != 0)
            for (int64_t i = 0; i < part; i++)
                r->value[i] = r->value[i] * slope + intercept;
        int64_t bad = t->narrow(out, done, r->value, part);
        if (bad >= 0)
            return voxel_refuse(r, first + done + bad, r->value[bad], t->expected, error);
    }
    return status;
}

/* A compressed file must end where its header says: only then has zlib checked the whole of it. An
 * uncompressed one may go on, as for nibabel. */
static rvx_status end_check(rvx_volume_reader *r, rvx_error *error)
{
    uint8_t more;
    int64_t got = 0;
    if (!rvx__source_compressed(r->source))
        return RVX_OK;
    rvx_status status = rvx__source_read(r->source, &more, 1, &got, error);
    if (status == RVX_OK && got)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: decompresses to more than the %lld bytes that its header promises",
                         r->path, (long long)(r->layout.data_offset + data_bytes(&r->info)));
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
    rvx_status status = voxels_read(r, out, t, z_first * slice, z_count * slice, error);
    if (status == RVX_OK && z_count > 0 && z_first + z_count == size[2])
        status = end_check(r, error);
    return status;
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
                              rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *r = NULL;
    uint8_t *voxels = NULL;
    memset(volume, 0, sizeof *volume);
    RVX_TRY(rvx__volume_reader_open(&r, path, error));
    const int64_t total = rvx__geometry_voxels(&r->info.geometry);
    int64_t capacity = 0;
    for (int64_t done = 0; done < total; done = capacity) {
        capacity = capacity ? capacity * 2 : (int64_t)(64 << 20) / t->bytes;
        if (capacity > total || !rvx__source_compressed(r->source))
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
    RVX_TRY(end_check(r, error));
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
    return volume_read(volume, path, &target_f32, error);
}

rvx_status rvx__volume_read_labels(rvx_volume *volume, const char *path, rvx_error *error)
{
    return volume_read(volume, path, &target_labels, error);
}

rvx_status rvx__volume_read_i32(rvx_volume *volume, const char *path, rvx_error *error)
{
    return volume_read(volume, path, &target_i32, error);
}

void rvx__volume_free(rvx_volume *volume)
{
    if (!volume)
        return;
    free(volume->voxels);
    volume->voxels = NULL;
}

const rvx__format *rvx__format_find(const char *path)
{
    for (int i = 0; rvx__formats[i]; i++)
        for (int j = 0; rvx__formats[i]->suffixes[j]; j++)
            if (rvx__text_ends_with(path, rvx__formats[i]->suffixes[j]))
                return rvx__formats[i];
    return NULL;
}

rvx_status rvx__volume_writer_create(rvx_volume_writer **writer, const char *path,
                                     const rvx_geometry *geometry, rvx_voxel_type type,
                                     const rvx_volume_info *like, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx__header header;
    *writer = NULL;
    const rvx__format *format = rvx__format_find(path);
    if (!format)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: no format goes by this name; expected .nii or .nii.gz", path);
    status = rvx__geometry_check(geometry, path, error);
    if (status == RVX_OK && like)
        status = rvx__geometry_same(geometry, path, &like->geometry, "the header to repeat", 1e-3,
                                    error);
    if (status == RVX_OK)
        status = format->compose(&header, geometry, type, like, path, error);
    if (status != RVX_OK)
        return status;
    rvx_volume_writer *w = calloc(1, sizeof *w);
    if (w)
        w->path = strdup(path);
    if (!w || !w->path) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
        goto cleanup;
    }
    w->slice_bytes = geometry->size[0] * geometry->size[1] * types[type].bytes;
    w->slices_left = geometry->size[2];
    RVX_TRY(rvx__sink_create(&w->sink, path, rvx__text_ends_with(path, ".gz"), error));
    RVX_TRY(rvx__sink_write(w->sink, header.bytes, header.count, error));
    *writer = w;
    w = NULL;
cleanup:
    rvx__volume_writer_abandon(w);
    return status;
}

rvx_status rvx__volume_writer_slab(rvx_volume_writer *writer, const void *voxels, int64_t z_count,
                                   rvx_error *error)
{
    if (!writer->sink)
        return rvx__fail(error, RVX_ERROR_IO, "%s: an earlier write failed", writer->path);
    if (z_count < 0 || z_count > writer->slices_left)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: %lld slices given, %lld are left to write",
                         writer->path, (long long)z_count, (long long)writer->slices_left);
    writer->slices_left -= z_count;
    rvx_status status = rvx__sink_write(writer->sink, voxels, z_count * writer->slice_bytes, error);
    if (status != RVX_OK) { /* a full disk gets its space back at once */
        rvx__sink_abandon(writer->sink);
        writer->sink = NULL;
    }
    return status;
}

rvx_status rvx__volume_writer_commit(rvx_volume_writer *writer, rvx_error *error)
{
    rvx_status status = RVX_OK;
    if (!writer->sink) {
        status = rvx__fail(error, RVX_ERROR_IO, "%s: an earlier write failed", writer->path);
    } else if (writer->slices_left) {
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: %lld slices were never written",
                           writer->path, (long long)writer->slices_left);
    } else {
        status = rvx__sink_commit(writer->sink, error);
        writer->sink = NULL;
    }
    rvx__volume_writer_abandon(writer);
    return status;
}

void rvx__volume_writer_abandon(rvx_volume_writer *writer)
{
    if (!writer)
        return;
    rvx__sink_abandon(writer->sink);
    free(writer->path);
    free(writer);
}

rvx_status rvx__volume_write(const char *path, const rvx_geometry *geometry, rvx_voxel_type type,
                             const void *voxels, const rvx_volume_info *like, rvx_error *error)
{
    rvx_volume_writer *writer = NULL;
    rvx_status status = rvx__volume_writer_create(&writer, path, geometry, type, like, error);
    if (status != RVX_OK)
        return status;
    status = rvx__volume_writer_slab(writer, voxels, geometry->size[2], error);
    if (status != RVX_OK) {
        rvx__volume_writer_abandon(writer);
        return status;
    }
    return rvx__volume_writer_commit(writer, error);
}
