/* Raw voxels with a JSON file beside them: NAME.raw.json says what is in NAME.raw. Owns: the JSON's
 * fields (docs/formats.md lists them). For programs that know no medical format: what they need is
 * a JSON reader and the size of a number. */
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/volume/header_text.h"
#include "engine/volume/repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_WORD "revoxel raw volume"
enum { JSON_BYTES_MAX = 1 << 20, VERSION = 1, SUFFIX_BYTES = 5 /* ".json" */ };

static const char *const keys[] = {"format", "version",   "data",       "offset",    "compression",
                                   "type",   "size",      "byte_order", "space",     "spacing",
                                   "origin", "direction", "slope",      "intercept", NULL};

static bool raw_recognise(const uint8_t *head, int64_t count)
{
    char text[RVX__HEAD_BYTES + 1];
    memcpy(text, head, (size_t)count);
    text[count] = 0;
    return text[strspn(text, " \t\r\n")] == '{' && strstr(text, "\"" FORMAT_WORD "\"");
}

static rvx_status numbers_read(double *out, int count, const rvx_json *array, rvx_error *error)
{
    int64_t found;
    rvx_status status = rvx__json_array(&found, array, count, count, error);
    for (int i = 0; i < count && status == RVX_OK; i++) {
        rvx_json one = rvx__json_element(array, i);
        status = rvx__json_number(&out[i], &one, -1e300, 1e300, error);
    }
    return status;
}

static rvx_status size_read(rvx_volume_info *info, const rvx_json *root, rvx_error *error)
{
    rvx_json array = rvx__json_member(root, "size");
    int64_t found, product = 16;
    rvx_status status = rvx__json_array(&found, &array, 3, 3, error);
    for (int axis = 0; axis < 3 && status == RVX_OK; axis++) {
        rvx_json one = rvx__json_element(&array, axis);
        status = rvx__json_integer(&info->geometry.size[axis], &one, 1, INT64_MAX / 16, error);
        if (status == RVX_OK &&
            __builtin_mul_overflow(product, info->geometry.size[axis], &product))
            return rvx__json_fail(&array, error, "exceeds 64-bit sizes");
    }
    return status;
}

static rvx_status type_read(rvx_volume_info *info, rvx__layout *layout, const rvx_json *root,
                            rvx_error *error)
{
    static const char *const orders[] = {"little", "big", NULL};
    static const char *const packings[] = {"none", "gzip", "zlib", NULL};
    const char *types[RVX_VOXEL_TYPE_COUNT + 1] = {0};
    const uint16_t one = 1;
    const bool little = *(const uint8_t *)&one == 1;
    int type, order = 0, packing = 0;
    rvx_status status = RVX_OK;
    rvx_json type_json = rvx__json_member(root, "type");
    rvx_json order_json = rvx__json_member(root, "byte_order");
    rvx_json packing_json = rvx__json_member(root, "compression");
    rvx_json offset = rvx__json_member(root, "offset");
    for (int i = 0; i < RVX_VOXEL_TYPE_COUNT; i++)
        types[i] = rvx__voxel_type_name((rvx_voxel_type)i);
    RVX_TRY(rvx__json_choice(&type, &type_json, types, error));
    info->type = (rvx_voxel_type)type;
    if (rvx__voxel_type_bytes(info->type) > 1 || !rvx__json_absent(&order_json))
        RVX_TRY(rvx__json_choice(&order, &order_json, orders, error));
    if (!rvx__json_absent(&packing_json))
        RVX_TRY(rvx__json_choice(&packing, &packing_json, packings, error));
    if (!rvx__json_absent(&offset))
        RVX_TRY(rvx__json_integer(&layout->data_offset, &offset, 0, INT64_MAX / 2, error));
    layout->swap = (order == 1) == little;
    layout->packing = (rvx__packing)(RVX__PACKING_NONE + packing);
cleanup:
    return status;
}

static rvx_status grid_read(rvx_volume_info *info, rvx__layout *layout, const rvx_json *root,
                            rvx_error *error)
{
    static const char *const spaces[] = {"LPS", "RAS", NULL};
    double spacing[3], origin[3] = {0}, matrix[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, direction[3][3];
    char name[512];
    bool repaired;
    int space = 0;
    rvx_status status = RVX_OK;
    rvx_json spacing_json = rvx__json_member(root, "spacing");
    rvx_json origin_json = rvx__json_member(root, "origin");
    rvx_json rows = rvx__json_member(root, "direction");
    rvx_json space_json = rvx__json_member(root, "space");
    RVX_TRY(numbers_read(spacing, 3, &spacing_json, error));
    if (!rvx__json_absent(&origin_json))
        RVX_TRY(numbers_read(origin, 3, &origin_json, error));
    if (!rvx__json_absent(&rows)) {
        int64_t found;
        RVX_TRY(rvx__json_array(&found, &rows, 3, 3, error));
        for (int row = 0; row < 3; row++) {
            rvx_json one = rvx__json_element(&rows, row);
            RVX_TRY(numbers_read(matrix + 3 * row, 3, &one, error));
        }
    }
    if (!rvx__json_absent(&space_json))
        RVX_TRY(rvx__json_choice(&space, &space_json, spaces, error));
    for (int row = 0; row < 3; row++) {
        const double sign = space == 1 && row < 2 ? -1 : 1;
        origin[row] *= sign;
        for (int axis = 0; axis < 3; axis++)
            direction[row][axis] = sign * matrix[3 * row + axis];
    }
    snprintf(info->geometry_source, sizeof info->geometry_source, "direction");
    snprintf(name, sizeof name, "%.400s: direction, origin, spacing", root->file);
    status = rvx__geometry_from_axes_repair(&info->geometry, origin, spacing,
                                            (const double(*)[3])direction, name, layout->repairs,
                                            &repaired, error);
cleanup:
    return status;
}

static rvx_status values_read(rvx_volume_info *info, const rvx_json *root, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_json slope = rvx__json_member(root, "slope");
    rvx_json intercept = rvx__json_member(root, "intercept");
    info->slope = 1;
    if (!rvx__json_absent(&slope))
        RVX_TRY(rvx__json_number(&info->slope, &slope, -1e300, 1e300, error));
    if (!rvx__json_absent(&intercept))
        RVX_TRY(rvx__json_number(&info->intercept, &intercept, -1e300, 1e300, error));
    if (!(info->slope < 0 || info->slope > 0))
        status = rvx__json_fail(&slope, error, "is 0: all voxels would be equal");
cleanup:
    return status;
}

static rvx_status raw_parse(rvx_volume_info *info, rvx__layout *layout, rvx__source *header,
                            const uint8_t *head, int64_t count, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    json_t *tree = NULL;
    int64_t got = 0, version;
    const char *text;
    (void)head;
    (void)count;
    snprintf(info->format, sizeof info->format, "raw");
    layout->field = "data";
    char *bytes = malloc(JSON_BYTES_MAX + 1);
    if (!bytes)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for its header", path);
    RVX_TRY(rvx__source_seek(header, 0, error));
    RVX_TRY(rvx__source_read(header, bytes, JSON_BYTES_MAX + 1, &got, error));
    if (got > JSON_BYTES_MAX)
        RVX_TRY(rvx__fail(error, RVX_ERROR_FORMAT, "%s: expected at most %d bytes of JSON", path,
                          JSON_BYTES_MAX));
    RVX_TRY(rvx__json_parse(&tree, bytes, got, path, error));
    const rvx_json root = rvx__json_root(tree, path);
    RVX_TRY(rvx__json_object(&root, keys, error));
    rvx_json format = rvx__json_member(&root, "format");
    rvx_json version_json = rvx__json_member(&root, "version");
    rvx_json data = rvx__json_member(&root, "data");
    RVX_TRY(rvx__json_string(&text, &format, RVX_PATH_BYTES, error));
    if (strcmp(text, FORMAT_WORD) != 0)
        RVX_TRY(rvx__json_fail(&format, error, "expected \"%s\"", FORMAT_WORD));
    RVX_TRY(rvx__json_integer(&version, &version_json, VERSION, VERSION, error));
    RVX_TRY(size_read(info, &root, error));
    RVX_TRY(type_read(info, layout, &root, error));
    RVX_TRY(grid_read(info, layout, &root, error));
    RVX_TRY(values_read(info, &root, error));
    RVX_TRY(rvx__json_string(&text, &data, RVX_PATH_BYTES, error));
    status = rvx__layout_file_add(layout, path, text, error);
cleanup:
    json_decref(tree);
    free(bytes);
    return status;
}

static void numbers_put(rvx_text *text, const double *numbers)
{
    for (int i = 0; i < 3; i++) {
        rvx__text_add(text, i ? ", " : "[");
        rvx__text_number(text, numbers[i]);
    }
    rvx__text_add(text, "]");
}

static rvx_status raw_compose(rvx__header *header, const rvx__request *request, rvx_error *error)
{
    const rvx_geometry *g = request->geometry;
    const char *name = rvx__path_name(request->path);
    const uint16_t one = 1;
    rvx_text *text = &header->text;
    header->packing = RVX__PACKING_NONE;
    header->data_name = strndup(name, strlen(name) - SUFFIX_BYTES);
    if (!header->data_name)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", request->path);
    rvx__text_format(
        text, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n  \"data\": ", FORMAT_WORD, VERSION);
    rvx__text_quote(text, header->data_name);
    rvx__text_format(text,
                     ",\n  \"type\": \"%s\",\n  \"byte_order\": \"%s\",\n  \"size\": [%lld, %lld, "
                     "%lld],\n  \"space\": \"LPS\",\n  \"spacing\": ",
                     rvx__voxel_type_name(request->type),
                     *(const uint8_t *)&one == 1 ? "little" : "big", (long long)g->size[0],
                     (long long)g->size[1], (long long)g->size[2]);
    numbers_put(text, g->spacing);
    rvx__text_add(text, ",\n  \"origin\": ");
    numbers_put(text, g->origin);
    rvx__text_add(text, ",\n  \"direction\": [");
    for (int row = 0; row < 3; row++) {
        rvx__text_add(text, row ? ", " : "");
        numbers_put(text, g->direction[row]);
    }
    rvx__text_add(text, "]\n}\n");
    return rvx__text_check(text, error);
}

const rvx__format rvx__format_raw = {
    .name = "raw",
    .suffixes = {".raw.json"},
    .recognise = raw_recognise,
    .parse = raw_parse,
    .compose = raw_compose,
};
