/* MetaImage (.mha; .mhd with its voxels in other files). Owns: the header's lines. Source: the
 * MetaIO documentation of ITK; where that and ITK's reader differ, ITK's reader is followed.
 *
 * World: LPS millimetres. TransformMatrix (also Rotation, Orientation) lists the direction of x, of
 * y, of z; Offset (also Position, Origin) is the centre of the first voxel; ElementSpacing stands
 * before ElementSize. AnatomicalOrientation is shown, not used: its two readings (from where, to
 * where) are both in use. So is the intensity function, which ITK does not apply.
 *
 * Voxels: in the file itself (LOCAL), in one other, in a LIST of files or in those of a pattern;
 * compressed ones are a zlib stream. CompressedDataSize may be missing or, from writers of 32 bits,
 * wrapped around: then the data go to the end of the file. */
#include "engine/base/file.h"
#include "engine/volume/header_text.h"
#include "engine/volume/repair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AXES_MAX = 4 };

typedef enum key {
    DIMENSIONS,
    SIZES,
    TYPE,
    CHANNELS,
    SPACING,
    ELEMENT_SIZE,
    MATRIX,
    ROTATION,
    ORIENTATION,
    OFFSET,
    POSITION,
    ORIGIN,
    ANATOMY,
    UNITS,
    SLOPE,
    INTERCEPT,
    BINARY,
    BIG_ENDIAN_1,
    BIG_ENDIAN_2,
    COMPRESSED,
    COMPRESSED_SIZE,
    HEADER_SIZE,
    DATA_FILE,
    KEY_COUNT
} key;

static const char *const keys[KEY_COUNT] = {
    [DIMENSIONS] = "NDims",
    [SIZES] = "DimSize",
    [TYPE] = "ElementType",
    [CHANNELS] = "ElementNumberOfChannels",
    [SPACING] = "ElementSpacing",
    [ELEMENT_SIZE] = "ElementSize",
    [MATRIX] = "TransformMatrix",
    [ROTATION] = "Rotation",
    [ORIENTATION] = "Orientation",
    [OFFSET] = "Offset",
    [POSITION] = "Position",
    [ORIGIN] = "Origin",
    [ANATOMY] = "AnatomicalOrientation",
    [UNITS] = "DistanceUnits",
    [SLOPE] = "ElementToIntensityFunctionSlope",
    [INTERCEPT] = "ElementToIntensityFunctionOffset",
    [BINARY] = "BinaryData",
    [BIG_ENDIAN_1] = "BinaryDataByteOrderMSB",
    [BIG_ENDIAN_2] = "ElementByteOrderMSB",
    [COMPRESSED] = "CompressedData",
    [COMPRESSED_SIZE] = "CompressedDataSize",
    [HEADER_SIZE] = "HeaderSize",
    [DATA_FILE] = "ElementDataFile",
};

/* MetaIO's "long" has four bytes on every machine. The first row of a type is the one written. */
static const struct {
    const char *name;
    rvx_voxel_type type;
} element_types[] = {
    {"MET_UCHAR", RVX_VOXEL_U8},      {"MET_CHAR", RVX_VOXEL_I8},
    {"MET_USHORT", RVX_VOXEL_U16},    {"MET_SHORT", RVX_VOXEL_I16},
    {"MET_UINT", RVX_VOXEL_U32},      {"MET_INT", RVX_VOXEL_I32},
    {"MET_ULONG", RVX_VOXEL_U32},     {"MET_LONG", RVX_VOXEL_I32},
    {"MET_LONG_LONG", RVX_VOXEL_I64}, {"MET_ULONG_LONG", RVX_VOXEL_U64},
    {"MET_FLOAT", RVX_VOXEL_F32},     {"MET_DOUBLE", RVX_VOXEL_F64},
};

enum { ELEMENT_TYPE_COUNT = sizeof element_types / sizeof element_types[0] };

typedef struct metaimage {
    const char *path;
    char *text;
    int64_t text_bytes;
    const char *values[KEY_COUNT]; /* in `text`; NULL: not there */
    char *file_list;               /* lines behind "ElementDataFile = LIST" */
    int axes;
} metaimage;

static bool metaimage_recognise(const uint8_t *head, int64_t count)
{
    char text[RVX__HEAD_BYTES + 1];
    memcpy(text, head, (size_t)count);
    text[count] = 0;
    char *line = text + strspn(text, " \t\r\n");
    if (strncmp(line, "ObjectType", 10) == 0 || strncmp(line, "NDims", 5) == 0)
        return true;
    return strstr(text, "\nNDims") || strstr(text, "\nObjectType");
}

/* Bytes of the key at the start of a line; 0 where there is none. */
static int64_t key_bytes(const char *line, int64_t bytes)
{
    int64_t end = 0;
    while (end < bytes && line[end] != '=' && line[end] != ':')
        end++;
    if (end == bytes)
        return 0;
    while (end > 0 && strchr(" \t", line[end - 1]))
        end--;
    return end;
}

static bool is_last(const char *line, int64_t bytes)
{
    int64_t skip = 0;
    while (skip < bytes && (line[skip] == ' ' || line[skip] == '\t'))
        skip++;
    const char *name = keys[DATA_FILE];
    if (key_bytes(line + skip, bytes - skip) != (int64_t)strlen(name) ||
        memcmp(line + skip, name, strlen(name)) != 0)
        return false;
    const char *value = memchr(line, '=', (size_t)bytes);
    value = value ? value + 1 : line + bytes;
    while (value < line + bytes && (*value == ' ' || *value == '\t'))
        value++;
    return !(line + bytes - value >= 4 && memcmp(value, "LIST", 4) == 0 &&
             (line + bytes - value == 4 || strchr(" \t\r", value[4])));
}

static rvx_status lines_parse(metaimage *m, rvx_error *error)
{
    char *rest = m->text, *line;
    while (!m->values[DATA_FILE] && (line = rvx__header_line(&rest))) {
        int64_t bytes = key_bytes(line, (int64_t)strlen(line));
        for (int k = 0; bytes && k < KEY_COUNT; k++) {
            if ((int64_t)strlen(keys[k]) != bytes || memcmp(line, keys[k], (size_t)bytes) != 0)
                continue;
            if (m->values[k])
                return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s stands in the header twice",
                                 m->path, keys[k]);
            char *value = line + bytes;
            value += strcspn(value, "=:") + 1;
            m->values[k] = rvx__header_trim(value);
        }
    }
    m->file_list = rest;
    for (int k = 0; k < KEY_COUNT; k++)
        if (!m->values[k] && (k == DIMENSIONS || k == SIZES || k == TYPE || k == DATA_FILE))
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: the header has no %s", m->path, keys[k]);
    return RVX_OK;
}

static rvx_status refuse(const metaimage *m, key k, const char *expected, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s: expected %s, found \"%.100s\"", m->path,
                     keys[k], expected, m->values[k]);
}

/* "True" of a switch; false where it is missing. */
static bool is_true(const metaimage *m, key k)
{
    return m->values[k] && m->values[k][0] && strchr("Tt1", m->values[k][0]);
}

static rvx_status reals_parse(double *out, const metaimage *m, key k, int count, rvx_error *error)
{
    char expected[32];
    if (rvx__header_reals(out, count, m->values[k]) == count)
        return RVX_OK;
    snprintf(expected, sizeof expected, "%d numbers", count);
    return refuse(m, k, expected, error);
}

static rvx_status sizes_parse(rvx_volume_info *info, metaimage *m, rvx_error *error)
{
    int64_t sizes[AXES_MAX], axes, product = 16;
    if (rvx__header_integers(&axes, 1, m->values[DIMENSIONS]) != 1 || axes < 2 || axes > AXES_MAX)
        return refuse(m, DIMENSIONS, "2, 3 or 4", error);
    m->axes = (int)axes;
    if (rvx__header_integers(sizes, m->axes, m->values[SIZES]) != m->axes)
        return refuse(m, SIZES, "as many sizes as NDims says", error);
    for (int axis = 0; axis < AXES_MAX; axis++) {
        int64_t size = axis < m->axes ? sizes[axis] : 1;
        if (size < 1)
            return refuse(m, SIZES, "positive sizes", error);
        if (axis == 3 && size != 1)
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s: DimSize: a 4-D image of %lld volumes: expected one", m->path,
                             (long long)size);
        if (axis < 3)
            info->geometry.size[axis] = size;
        if (__builtin_mul_overflow(product, size, &product))
            return refuse(m, SIZES, "sizes within 64 bits", error);
    }
    return RVX_OK;
}

static rvx_status type_parse(rvx_volume_info *info, const metaimage *m, rvx_error *error)
{
    int64_t channels = 1;
    const char *name = m->values[TYPE];
    if (m->values[CHANNELS] && rvx__header_integers(&channels, 1, m->values[CHANNELS]) != 1)
        return refuse(m, CHANNELS, "a number", error);
    if (channels != 1)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: ElementNumberOfChannels: %lld values per voxel (colour or vector), "
                         "expected 1",
                         m->path, (long long)channels);
    for (int i = 0; i < ELEMENT_TYPE_COUNT; i++)
        if (strcmp(element_types[i].name, name) == 0) {
            info->type = element_types[i].type;
            return RVX_OK;
        }
    if (rvx__text_ends_with(name, "_ARRAY"))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: ElementType: %.40s has several values per voxel, expected one",
                         m->path, name);
    return refuse(m, TYPE, "MET_UCHAR, MET_SHORT, MET_FLOAT or another scalar type", error);
}

static key first_of(const metaimage *m, key a, key b, key c)
{
    return m->values[a] ? a : m->values[b] ? b : c;
}

static rvx_status geometry_parse(rvx_volume_info *info, const metaimage *m, rvx_repairs *repairs,
                                 rvx_error *error)
{
    bool repaired;
    double spacing[AXES_MAX] = {1, 1, 1, 1}, origin[AXES_MAX] = {0}, matrix[AXES_MAX * AXES_MAX];
    double direction[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    char name[512];
    rvx_status status = RVX_OK;
    const int n = m->axes, used = n < 3 ? n : 3;
    const key space = m->values[SPACING] ? SPACING : ELEMENT_SIZE;
    const key place = first_of(m, OFFSET, POSITION, ORIGIN);
    const key turn = first_of(m, MATRIX, ROTATION, ORIENTATION);
    if (m->values[space])
        RVX_TRY(reals_parse(spacing, m, space, n, error));
    if (m->values[place])
        RVX_TRY(reals_parse(origin, m, place, n, error));
    if (m->values[turn]) {
        RVX_TRY(reals_parse(matrix, m, turn, n * n, error));
        for (int axis = 0; axis < used; axis++)
            for (int row = 0; row < used; row++)
                direction[row][axis] = matrix[axis * n + row];
    }
    if (m->values[UNITS] && m->values[UNITS][0] && strcmp(m->values[UNITS], "mm") != 0 &&
        strcmp(m->values[UNITS], "?") != 0)
        return refuse(m, UNITS, "mm (ITK reads millimetres whatever stands here)", error);
    snprintf(info->geometry_source, sizeof info->geometry_source, "%s",
             m->values[turn] ? keys[turn] : keys[space]);
    snprintf(name, sizeof name, "%.400s: %s, %s, %s", m->path,
             keys[m->values[turn] ? turn : MATRIX], keys[m->values[place] ? place : OFFSET],
             keys[m->values[space] ? space : SPACING]);
    status = rvx__geometry_from_axes_repair(&info->geometry, origin, spacing,
                                            (const double(*)[3])direction, name, repairs, &repaired,
                                            error);
cleanup:
    return status;
}

static rvx_status remark_make(rvx_volume_info *info, const metaimage *m, rvx_error *error)
{
    double slope = 1, intercept = 0;
    rvx_status status = RVX_OK;
    info->slope = 1;
    if (m->values[SLOPE])
        RVX_TRY(reals_parse(&slope, m, SLOPE, 1, error));
    if (m->values[INTERCEPT])
        RVX_TRY(reals_parse(&intercept, m, INTERCEPT, 1, error));
    if (slope != 1 || intercept != 0)
        snprintf(info->remark, sizeof info->remark,
                 "ElementToIntensityFunction %g, %g is not applied, as in ITK", slope, intercept);
    else if (m->values[ANATOMY])
        snprintf(info->remark, sizeof info->remark, "AnatomicalOrientation %.8s",
                 m->values[ANATOMY]);
cleanup:
    return status;
}

/* The files of a pattern or a list, one for each `axes`-dimensional part. */
static rvx_status files_parse(rvx__layout *layout, const metaimage *m, const rvx_geometry *g,
                              char *value, rvx_error *error)
{
    int64_t numbers[4], axes = m->axes - 1, count = 1;
    const bool list = strncmp(value, "LIST", 4) == 0 && (!value[4] || strchr(" \t", value[4]));
    const bool pattern = !list && rvx__header_pattern(numbers, value);
    if (!list && !pattern)
        return rvx__layout_file_add(layout, m->path, value, error);
    if (list && value[4]) { /* "LIST 2D": the axes of one file */
        axes = strtoll(value + 5, NULL, 10);
        if (axes < 1 || axes > m->axes)
            return refuse(m, DATA_FILE, "LIST and the number of axes of one file", error);
    }
    for (int axis = (int)axes; axis < 3; axis++)
        count *= g->size[axis];
    if (pattern)
        return rvx__layout_pattern_add(layout, m->path, value, numbers, count, error);
    char *rest = m->file_list, *line;
    rvx_status status = RVX_OK;
    while (status == RVX_OK && (line = rvx__header_line(&rest)))
        if (*line && layout->file_count <= count)
            status = rvx__layout_file_add(layout, m->path, line, error);
    if (status == RVX_OK && layout->file_count != count)
        return rvx__fail(
            error, RVX_ERROR_FORMAT,
            "%s: ElementDataFile: the sizes ask for a list of %lld files, found %s%lld", m->path,
            (long long)count, layout->file_count > count ? "at least " : "",
            (long long)layout->file_count);
    return status;
}

static rvx_status size_parse(rvx__layout *layout, const metaimage *m, int64_t file_bytes,
                             rvx_error *error)
{
    int64_t size = 0, rest = file_bytes - layout->start;
    if (m->values[COMPRESSED_SIZE] &&
        rvx__header_integers(&size, 1, m->values[COMPRESSED_SIZE]) != 1)
        return refuse(m, COMPRESSED_SIZE, "a number of bytes", error);
    if (size <= 0 || (rest > UINT32_MAX && (rest - size) % ((int64_t)1 << 32) == 0))
        return RVX_OK;
    if (size > rest)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: truncated: CompressedDataSize promises %lld bytes, %lld are left in "
                         "the file",
                         m->path, (long long)size, (long long)rest);
    layout->stored_bytes = size;
    return RVX_OK;
}

static rvx_status layout_parse(rvx__layout *layout, const metaimage *m, const rvx_volume_info *info,
                               int64_t file_bytes, rvx_error *error)
{
    int64_t skip = 0;
    const uint16_t one = 1;
    const bool little = *(const uint8_t *)&one == 1;
    const char *place = m->values[DATA_FILE];
    const bool local = strcmp(place, "LOCAL") == 0 || strcmp(place, "Local") == 0 ||
                       strcmp(place, "local") == 0; /* as MetaIO takes it */
    layout->field = keys[DATA_FILE];
    if (m->values[BINARY] && !is_true(m, BINARY))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: BinaryData: voxels written as text are not read", m->path);
    layout->swap = (is_true(m, BIG_ENDIAN_1) || is_true(m, BIG_ENDIAN_2)) == little;
    layout->packing = is_true(m, COMPRESSED) ? RVX__PACKING_ZLIB : RVX__PACKING_NONE;
    if (m->values[HEADER_SIZE] && (rvx__header_integers(&skip, 1, m->values[HEADER_SIZE]) != 1 ||
                                   skip < -1 || (skip == -1 && is_true(m, COMPRESSED))))
        return refuse(m, HEADER_SIZE, "a number of bytes, or -1 for uncompressed voxels", error);
    layout->at_end = skip == -1;
    layout->start = skip > 0 ? skip : local ? m->text_bytes : 0;
    if (!local)
        return files_parse(layout, m, &info->geometry, (char *)(uintptr_t)m->values[DATA_FILE],
                           error);
    return is_true(m, COMPRESSED) ? size_parse(layout, m, file_bytes, error) : RVX_OK;
}

static rvx_status metaimage_parse(rvx_volume_info *info, rvx__layout *layout, rvx__source *header,
                                  const uint8_t *head, int64_t count, const char *path,
                                  rvx_error *error)
{
    rvx_status status = RVX_OK;
    metaimage m = {.path = path};
    (void)head;
    (void)count;
    snprintf(info->format, sizeof info->format, "metaimage");
    if (rvx__source_compressed(header))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: a MetaImage inside gzip: decompress it first", path);
    RVX_TRY(rvx__header_lines(&m.text, &m.text_bytes, header, is_last, path, error));
    RVX_TRY(lines_parse(&m, error));
    RVX_TRY(sizes_parse(info, &m, error));
    RVX_TRY(type_parse(info, &m, error));
    RVX_TRY(geometry_parse(info, &m, layout->repairs, error));
    RVX_TRY(remark_make(info, &m, error));
    RVX_TRY(layout_parse(layout, &m, info, rvx__source_bytes_max(header), error));
cleanup:
    free(m.text);
    return status;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static void numbers_put(rvx_text *text, key k, const double *numbers, int count, int step)
{
    rvx__text_format(text, "%s =", keys[k]);
    for (int i = 0; i < count; i++) {
        rvx__text_add(text, " ");
        rvx__text_number(text, numbers[i * step]);
    }
    rvx__text_add(text, "\n");
}

/* From where the axes come: ITK's reading of the field. */
static void anatomy_put(rvx_text *text, const rvx_geometry *g)
{
    static const char towards[] = "LRPASI", from[] = "RLAPIS";
    char letters[4];
    rvx__geometry_orientation(letters, g);
    for (int i = 0; i < 3; i++)
        letters[i] = from[strchr(towards, letters[i]) - towards];
    rvx__text_format(text, "%s = %s\n", keys[ANATOMY], letters);
}

static rvx_status metaimage_compose(rvx__header *header, const rvx__request *request,
                                    rvx_error *error)
{
    const rvx_geometry *g = request->geometry;
    const char *name = rvx__path_name(request->path), *type = NULL;
    rvx_text *text = &header->text;
    double matrix[9];
    for (int i = 0; i < 9; i++)
        matrix[i] = g->direction[i % 3][i / 3];
    for (int i = ELEMENT_TYPE_COUNT - 1; i >= 0; i--)
        if (element_types[i].type == request->type)
            type = element_types[i].name;
    header->packing = RVX__PACKING_ZLIB;
    rvx__text_format(text, "ObjectType = Image\nNDims = 3\n%s = True\n%s = False\n%s = True\n%s = ",
                     keys[BINARY], keys[BIG_ENDIAN_1], keys[COMPRESSED], keys[COMPRESSED_SIZE]);
    header->size_at = text->bytes;
    rvx__text_format(text, "%-*d\n", RVX__SIZE_DIGITS, 0);
    numbers_put(text, MATRIX, matrix, 9, 1);
    numbers_put(text, OFFSET, g->origin, 3, 1);
    rvx__text_add(text, "CenterOfRotation = 0 0 0\n");
    anatomy_put(text, g);
    numbers_put(text, SPACING, g->spacing, 3, 1);
    rvx__text_format(text, "%s = %lld %lld %lld\n%s = %s\n%s = ", keys[SIZES],
                     (long long)g->size[0], (long long)g->size[1], (long long)g->size[2],
                     keys[TYPE], type, keys[DATA_FILE]);
    if (!rvx__text_ends_with(name, ".mhd")) {
        rvx__text_add(text, "LOCAL\n");
        return rvx__text_check(text, error);
    }
    if (asprintf(&header->data_name, "%.*s.zraw", (int)strlen(name) - 4, name) < 0) {
        header->data_name = NULL;
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", request->path);
    }
    rvx__text_format(text, "%s\n", header->data_name);
    return rvx__text_check(text, error);
}

const rvx__format rvx__format_metaimage = {
    .name = "MetaImage",
    .suffixes = {".mha", ".mhd"},
    .recognise = metaimage_recognise,
    .parse = metaimage_parse,
    .compose = metaimage_compose,
};
