/* NRRD (.nrrd; .nhdr with its voxels in other files; .seg.nrrd). Owns: the header's lines. Source:
 * the definition of the NRRD file format of the Teem library; where it leaves a choice, ITK's
 * reader is followed.
 *
 * World: `space` says which of LPS, RAS and LAS the numbers are in; a space without anatomical
 * names (scanner-xyz, 3D-right-handed, "space dimension") is taken as LPS, as in ITK. `space
 * directions` are the steps of the axes; without them `spacings` and `axis mins` along LPS axes.
 *
 * Axes: those with a direction are x, y, z. Another axis must have one element, or be the first and
 * hold the layers of a segmentation. */
#include "engine/volume/nrrd.h"
#include "engine/base/file.h"
#include "engine/volume/header_text.h"
#include "engine/volume/repair.h"
#include "engine/volume/segments.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AXES_MAX = 6 };

typedef enum field {
    DIMENSION,
    TYPE,
    SIZES,
    ENDIAN,
    ENCODING,
    SPACE,
    SPACE_DIMENSION,
    DIRECTIONS,
    SPACE_ORIGIN,
    SPACE_UNITS,
    SPACINGS,
    AXIS_MINS,
    CENTERINGS,
    KINDS,
    BYTE_SKIP,
    LINE_SKIP,
    DATA_FILE,
    FIELD_COUNT
} field;

static const char *const titles[FIELD_COUNT] = {
    [DIMENSION] = "dimension",
    [TYPE] = "type",
    [SIZES] = "sizes",
    [ENDIAN] = "endian",
    [ENCODING] = "encoding",
    [SPACE] = "space",
    [SPACE_DIMENSION] = "space dimension",
    [DIRECTIONS] = "space directions",
    [SPACE_ORIGIN] = "space origin",
    [SPACE_UNITS] = "space units",
    [SPACINGS] = "spacings",
    [AXIS_MINS] = "axis mins",
    [CENTERINGS] = "centerings",
    [KINDS] = "kinds",
    [BYTE_SKIP] = "byte skip",
    [LINE_SKIP] = "line skip",
    [DATA_FILE] = "data file",
};

static const struct {
    const char *name, *letters;
    double sign[3]; /* to LPS */
} spaces[] = {
    {"left-posterior-superior", "lps", {1, 1, 1}},
    {"right-anterior-superior", "ras", {-1, -1, 1}},
    {"left-anterior-superior", "las", {1, -1, 1}},
};

typedef struct nrrd {
    const char *path;
    char *text;
    int64_t text_bytes;
    const char *values[FIELD_COUNT]; /* in `text`; NULL: not there */
    char *file_list;                 /* lines behind "data file: LIST" */
    int axes, space_axes;
    int64_t sizes[AXES_MAX];
    char kinds[AXES_MAX][24];
    bool has_step[AXES_MAX];
    double steps[AXES_MAX][3]; /* of axes that have one, as in the file */
    int at[3];                 /* the axes that are x, y, z; -1: none */
} nrrd;

static bool nrrd_recognise(const uint8_t *head, int64_t count)
{
    return count >= 7 && memcmp(head, "NRRD000", 7) == 0;
}

static bool is_last(const char *line, int64_t bytes)
{
    return bytes == 0 || (bytes == 1 && line[0] == '\r');
}

static rvx_status refuse(const nrrd *n, field f, const char *expected, rvx_error *error)
{
    return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s: expected %s, found \"%.100s\"", n->path,
                     titles[f], expected, n->values[f]);
}

static void lower(char *text)
{
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

/* Letter case and blanks make no difference: some names may be written with and without. */
static bool is_title(const char *title, const char *line, size_t bytes)
{
    size_t i = 0;
    for (;; title++, i++) {
        title += *title == ' ';
        while (i < bytes && line[i] == ' ')
            i++;
        if (i == bytes || !*title)
            return i == bytes && !*title;
        if (tolower((unsigned char)line[i]) != *title)
            return false;
    }
}

/* FIELD_COUNT where it is none that is used. */
static field field_find(const char *line, size_t bytes)
{
    int f = 0;
    while (f < FIELD_COUNT && !is_title(titles[f], line, bytes))
        f++;
    return (field)f;
}

static rvx_status lines_parse(nrrd *n, rvx_segments *segments, rvx_error *error)
{
    char *rest = n->text, *line = rvx__header_line(&rest);
    n->file_list = rest;
    if (!line || strlen(line) != 8 || line[7] < '1' || line[7] > '5')
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: expected NRRD0001 to NRRD0005, found \"%.20s\"", n->path,
                         line ? line : "");
    while ((line = rvx__header_line(&rest)) && *line) {
        char *colon = strchr(line, ':');
        if (line[0] == '#' || !colon)
            continue;
        if (colon[1] == '=') {
            *colon = 0;
            rvx_status status = rvx__segments_key(segments, line, colon + 2, n->path, error);
            if (status != RVX_OK)
                return status;
            continue;
        }
        field f = field_find(line, (size_t)(colon - line));
        if (f == FIELD_COUNT)
            continue;
        if (n->values[f])
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %s stands in the header twice", n->path,
                             titles[f]);
        n->values[f] = rvx__header_trim(colon + 1);
        n->file_list = rest;
        if (f == DATA_FILE && strncmp(n->values[f], "LIST", 4) == 0)
            break;
    }
    for (int f = 0; f < FIELD_COUNT; f++)
        if (!n->values[f] && (f == DIMENSION || f == TYPE || f == SIZES || f == ENCODING))
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: the header has no %s", n->path,
                             titles[f]);
    return RVX_OK;
}

static rvx_status sizes_parse(nrrd *n, rvx_error *error)
{
    int64_t axes, product = 16;
    if (rvx__header_integers(&axes, 1, n->values[DIMENSION]) != 1 || axes < 2 || axes > AXES_MAX)
        return refuse(n, DIMENSION, "2 to 6", error);
    n->axes = (int)axes;
    if (rvx__header_integers(n->sizes, n->axes, n->values[SIZES]) != n->axes)
        return refuse(n, SIZES, "as many sizes as dimension says", error);
    for (int axis = 0; axis < n->axes; axis++)
        if (n->sizes[axis] < 1 || __builtin_mul_overflow(product, n->sizes[axis], &product))
            return refuse(n, SIZES, "positive sizes within 64 bits", error);
    return RVX_OK;
}

/* "none (1,0,0) (0,1,0) (0,0,1)". */
static rvx_status steps_parse(nrrd *n, rvx_error *error)
{
    char vector[256];
    const char *p = n->values[DIRECTIONS];
    for (int axis = 0; axis < n->axes; axis++) {
        p += strspn(p, " \t");
        if (strncmp(p, "none", 4) == 0 || strncmp(p, "NONE", 4) == 0) {
            p += 4;
            continue;
        }
        size_t bytes = strcspn(p, ")");
        if (p[0] != '(' || p[bytes] != ')' || bytes >= sizeof vector)
            return refuse(n, DIRECTIONS, "a vector in parentheses or none for each axis", error);
        memcpy(vector, p, bytes);
        vector[bytes] = 0;
        if (rvx__header_reals(n->steps[axis], n->space_axes, vector) != n->space_axes)
            return refuse(n, DIRECTIONS, "vectors as long as the space has dimensions", error);
        n->has_step[axis] = true;
        p += bytes + 1;
    }
    return p[strspn(p, " \t")] ? refuse(n, DIRECTIONS, "one vector for each axis", error) : RVX_OK;
}

static void kinds_parse(nrrd *n)
{
    const char *p = n->values[KINDS] ? n->values[KINDS] : "";
    for (int axis = 0; axis < n->axes; axis++) {
        p += strspn(p, " \t");
        size_t bytes = strcspn(p, " \t");
        snprintf(n->kinds[axis], sizeof n->kinds[axis], "%.*s", (int)bytes, p);
        lower(n->kinds[axis]);
        p += bytes;
    }
}

/* Finds which axes are x, y, z and checks the others. */
static rvx_status axes_choose(nrrd *n, rvx__layout *layout, rvx_error *error)
{
    static const char *const spatial[] = {"", "domain", "space", "none", "???"};
    static const char *const several[] = {"color", "vector", "matrix", "complex", "normal"};
    int count = 0;
    for (int i = 0; i < 3; i++)
        n->at[i] = -1;
    for (int axis = 0; axis < n->axes; axis++) {
        const char *kind = n->kinds[axis][0] ? n->kinds[axis] : "no kind";
        bool is_spatial = n->has_step[axis];
        for (size_t k = 0; !n->values[DIRECTIONS] && k < sizeof spatial / sizeof *spatial; k++)
            is_spatial |= strcmp(n->kinds[axis], spatial[k]) == 0;
        for (size_t k = 0; k < sizeof several / sizeof *several; k++)
            is_spatial &= !strstr(kind, several[k]);
        if (is_spatial && count < 3) {
            n->at[count++] = axis;
        } else if (axis == 0 && !is_spatial && n->sizes[0] > 1 && n->sizes[0] <= 1024 &&
                   layout->segments.count) {
            layout->layers = (int)n->sizes[0];
        } else if (n->sizes[axis] > 1) {
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s: axis %d of kind \"%s\" has %lld elements: expected one value per "
                             "voxel and one volume",
                             n->path, axis, kind, (long long)n->sizes[axis]);
        }
    }
    return count >= 2
               ? RVX_OK
               : rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                           "%s: %d axes have a place in space, expected 2 or 3", n->path, count);
}

static rvx_status space_parse(nrrd *n, double sign[3], rvx_volume_info *info, rvx_error *error)
{
    char name[64] = "";
    int64_t count = 3;
    for (int i = 0; i < 3; i++)
        sign[i] = 1;
    if (n->values[SPACE]) {
        snprintf(name, sizeof name, "%s", n->values[SPACE]);
        lower(name);
        bool known = strcmp(name, "scanner-xyz") == 0 || strcmp(name, "3d-right-handed") == 0 ||
                     strcmp(name, "3d-left-handed") == 0;
        for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
            if (strcmp(name, spaces[i].name) == 0 || strcmp(name, spaces[i].letters) == 0) {
                memcpy(sign, spaces[i].sign, sizeof spaces[i].sign);
                known = true;
            }
        if (!known)
            return refuse(n, SPACE, "left-posterior-superior or another space of 3 dimensions",
                          error);
        snprintf(info->remark, sizeof info->remark, "space %.60s", name);
    } else if (n->values[SPACE_DIMENSION]) {
        if (rvx__header_integers(&count, 1, n->values[SPACE_DIMENSION]) != 1 || count < 2 ||
            count > 3)
            return refuse(n, SPACE_DIMENSION, "2 or 3", error);
        snprintf(info->remark, sizeof info->remark,
                 "space of %lld dimensions without names, "
                 "taken as LPS",
                 (long long)count);
    } else if (n->values[DIRECTIONS]) {
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: space directions without space or space dimension", n->path);
    }
    n->space_axes = (int)count;
    return RVX_OK;
}

/* Lengths in other units would be read as millimetres. */
static rvx_status units_check(const nrrd *n, rvx_error *error)
{
    static const char *const others[] = {"\"m\"", "\"cm\"", "\"um\"", "\"nm\"", "\"micron"};
    for (size_t i = 0; n->values[SPACE_UNITS] && i < sizeof others / sizeof *others; i++)
        if (strstr(n->values[SPACE_UNITS], others[i]))
            return refuse(n, SPACE_UNITS, "\"mm\" (ITK reads millimetres whatever stands here)",
                          error);
    return RVX_OK;
}

/* Steps and origin where the header has no directions. */
static rvx_status spacings_parse(const nrrd *n, double spacing[3], double origin[3],
                                 rvx_error *error)
{
    double numbers[AXES_MAX], mins[AXES_MAX];
    if (n->values[SPACINGS] && rvx__header_reals(numbers, n->axes, n->values[SPACINGS]) != n->axes)
        return refuse(n, SPACINGS, "one number for each axis", error);
    if (n->values[AXIS_MINS] && rvx__header_reals(mins, n->axes, n->values[AXIS_MINS]) != n->axes)
        return refuse(n, AXIS_MINS, "one number for each axis", error);
    bool cell = n->values[CENTERINGS] && strstr(n->values[CENTERINGS], "cell");
    for (int i = 0; i < 3; i++) {
        if (n->at[i] < 0)
            continue;
        if (n->values[SPACINGS] && !isnan(numbers[n->at[i]]))
            spacing[i] = numbers[n->at[i]];
        if (n->values[AXIS_MINS] && !n->values[SPACE_ORIGIN] && !isnan(mins[n->at[i]]))
            origin[i] = mins[n->at[i]] + (cell ? 0.5 * spacing[i] : 0);
    }
    return RVX_OK;
}

static rvx_status geometry_parse(nrrd *n, rvx_volume_info *info, const double sign[3],
                                 rvx_repairs *repairs, rvx_error *error)
{
    bool repaired;
    double spacing[3] = {1, 1, 1}, origin[3] = {0}, direction[3][3] = {{1}, {0, 1}, {0, 0, 1}};
    char name[512];
    rvx_status status = units_check(n, error);
    if (status != RVX_OK)
        return status;
    if (n->values[SPACE_ORIGIN] &&
        rvx__header_reals(origin, n->space_axes, n->values[SPACE_ORIGIN]) != n->space_axes)
        return refuse(n, SPACE_ORIGIN, "as many numbers as the space has dimensions", error);
    for (int row = 0; row < 3; row++)
        origin[row] *= sign[row];
    for (int i = 0; i < 3; i++) {
        info->geometry.size[i] = n->at[i] < 0 ? 1 : n->sizes[n->at[i]];
        if (n->at[i] < 0 || !n->values[DIRECTIONS])
            continue;
        const double *step = n->steps[n->at[i]];
        spacing[i] = sqrt(step[0] * step[0] + step[1] * step[1] + step[2] * step[2]);
        for (int row = 0; row < 3; row++)
            direction[row][i] = sign[row] * step[row] / (spacing[i] > 0 ? spacing[i] : 1);
    }
    if (!n->values[DIRECTIONS]) {
        status = spacings_parse(n, spacing, origin, error);
        if (status != RVX_OK)
            return status;
    }
    const char *source = n->values[DIRECTIONS] ? "space directions" : "spacings";
    snprintf(info->geometry_source, sizeof info->geometry_source, "%s", source);
    snprintf(name, sizeof name, "%.400s: %s, space origin", n->path, source);
    status = rvx__geometry_from_axes_repair(&info->geometry, origin, spacing,
                                            (const double(*)[3])direction, name, repairs, &repaired,
                                            error);
    /* As they stand there, in LPS, for a writer to repeat. */
    for (int row = 0; row < 3; row++)
        for (int i = 0; i < 3; i++)
            info->sform[row][i] = n->at[i] >= 0 && n->values[DIRECTIONS] && !repaired
                                      ? sign[row] * n->steps[n->at[i]][row]
                                      : info->geometry.direction[row][i] * spacing[i];
    return status;
}

static rvx_status type_parse(const nrrd *n, rvx_volume_info *info, rvx_error *error)
{
    char name[40];
    snprintf(name, sizeof name, "%s", n->values[TYPE]);
    lower(name);
    return rvx__nrrd_type_find(&info->type, name)
               ? RVX_OK
               : refuse(n, TYPE, "short, float or another scalar type", error);
}

static rvx_status packing_parse(const nrrd *n, const rvx_volume_info *info, rvx__layout *layout,
                                rvx_error *error)
{
    char name[24], order[24] = "";
    int64_t skip = 0;
    const uint16_t one = 1;
    const bool little = *(const uint8_t *)&one == 1;
    snprintf(name, sizeof name, "%s", n->values[ENCODING]);
    lower(name);
    if (n->values[ENDIAN])
        snprintf(order, sizeof order, "%s", n->values[ENDIAN]);
    lower(order);
    if (strcmp(name, "raw") == 0)
        layout->packing = RVX__PACKING_NONE;
    else if (strcmp(name, "gzip") == 0 || strcmp(name, "gz") == 0)
        layout->packing = RVX__PACKING_GZIP;
    else
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: encoding: expected raw or gzip, found "
                         "\"%.40s\"",
                         n->path, n->values[ENCODING]);
    if (rvx__voxel_type_bytes(info->type) > 1) {
        if (strcmp(order, "little") != 0 && strcmp(order, "big") != 0)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: endian: expected little or big, found \"%.40s\"", n->path, order);
        layout->swap = (strcmp(order, "big") == 0) == little;
    }
    if (n->values[LINE_SKIP] &&
        (rvx__header_integers(&layout->line_skip, 1, n->values[LINE_SKIP]) != 1 ||
         layout->line_skip < 0))
        return refuse(n, LINE_SKIP, "a number of lines", error);
    if (n->values[BYTE_SKIP] && (rvx__header_integers(&skip, 1, n->values[BYTE_SKIP]) != 1 ||
                                 skip < -1 || (skip == -1 && strcmp(name, "raw") != 0)))
        return refuse(n, BYTE_SKIP, "a number of bytes, or -1 for raw data", error);
    layout->at_end = skip == -1;
    layout->data_offset = skip > 0 ? skip : 0;
    return RVX_OK;
}

static rvx_status files_parse(const nrrd *n, rvx__layout *layout, rvx_error *error)
{
    int64_t numbers[4] = {0}, count = 1, axes = n->axes - 1;
    char *value = (char *)(uintptr_t)n->values[DATA_FILE], *rest = n->file_list, *line;
    rvx_status status = RVX_OK;
    const bool list = strncmp(value, "LIST", 4) == 0 && (!value[4] || strchr(" \t", value[4]));
    const bool pattern = !list && rvx__header_pattern(numbers, value);
    if (!list && !pattern)
        return rvx__layout_file_add(layout, n->path, value, error);
    if (list && value[4])
        axes = strtoll(value + 5, NULL, 10);
    else if (numbers[3])
        axes = numbers[3];
    if (axes < 1 || axes > n->axes)
        return refuse(n, DATA_FILE, "a number of axes of one file that the volume has", error);
    for (int axis = (int)axes; axis < n->axes; axis++)
        count *= n->sizes[axis];
    if (pattern && axes == n->axes && numbers[2] != 0 && llabs(numbers[0]) <= INT32_MAX &&
        llabs(numbers[1]) <= INT32_MAX)
        count = (numbers[1] - numbers[0]) / numbers[2] + 1; /* each a slab of the last axis */
    if (pattern)
        status = rvx__layout_pattern_add(layout, n->path, value, numbers, count, error);
    while (list && status == RVX_OK && (line = rvx__header_line(&rest)))
        if (*line && (axes == n->axes || layout->file_count <= count))
            status = rvx__layout_file_add(layout, n->path, line, error);
    if (axes == n->axes)
        count = layout->file_count;
    if (status == RVX_OK && layout->file_count != count)
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: data file: the sizes ask for a list of %lld files, found %s%lld",
                           n->path, (long long)count, layout->file_count > count ? "at least " : "",
                           (long long)layout->file_count);
    if (status == RVX_OK && (count < 1 || n->sizes[n->axes - 1] % count) && axes == n->axes)
        status = rvx__fail(error, RVX_ERROR_FORMAT,
                           "%s: data file: %lld files cannot share %lld slices equally", n->path,
                           (long long)count, (long long)n->sizes[n->axes - 1]);
    return status;
}

static rvx_status nrrd_parse(rvx_volume_info *info, rvx__layout *layout, rvx__source *header,
                             const uint8_t *head, int64_t count, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    double sign[3];
    nrrd n = {.path = path};
    (void)head;
    (void)count;
    snprintf(info->format, sizeof info->format, "nrrd");
    info->slope = 1;
    layout->field = titles[DATA_FILE];
    if (rvx__source_compressed(header))
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: an NRRD inside gzip: decompress it "
                         "first",
                         path);
    RVX_TRY(rvx__header_lines(&n.text, &n.text_bytes, header, is_last, path, error));
    RVX_TRY(lines_parse(&n, &layout->segments, error));
    RVX_TRY(sizes_parse(&n, error));
    RVX_TRY(type_parse(&n, info, error));
    RVX_TRY(space_parse(&n, sign, info, error));
    if (n.values[DIRECTIONS])
        RVX_TRY(steps_parse(&n, error));
    kinds_parse(&n);
    RVX_TRY(axes_choose(&n, layout, error));
    RVX_TRY(rvx__segments_settle(&layout->segments, layout->layers, path, error));
    RVX_TRY(geometry_parse(&n, info, sign, layout->repairs, error));
    RVX_TRY(packing_parse(&n, info, layout, error));
    if (n.values[DATA_FILE])
        RVX_TRY(files_parse(&n, layout, error));
    else
        layout->start = n.text_bytes;
cleanup:
    free(n.text);
    return status;
}

const rvx__format rvx__format_nrrd = {
    .name = "NRRD",
    .suffixes = {".nrrd", ".nhdr", ".seg.nrrd"},
    .recognise = nrrd_recognise,
    .parse = nrrd_parse,
    .compose = rvx__nrrd_compose,
};
