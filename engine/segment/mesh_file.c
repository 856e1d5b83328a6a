/* Boxes of classes, and surfaces as files: the last part of mesh.h. Numbers are LPS mm, as headers
 * say in the words that 3D Slicer looks for. */
#include "engine/base/file.h"
#include "engine/segment/mesh.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 80, TRIANGLE_BYTES = 50 };

static void box_extend(rvx_mesh_box *box, int64_t x, int64_t y, int64_t z)
{
    const int64_t at[3] = {x, y, z};
    for (int a = 0; a < 3; a++) {
        box->low[a] = at[a] < box->low[a] ? at[a] : box->low[a];
        box->high[a] = at[a] > box->high[a] ? at[a] : box->high[a];
    }
}

rvx_status rvx__mesh_boxes(rvx_mesh_box *boxes, rvx_volume_reader *reader,
                           const rvx_class_list *list, rvx_error *error)
{
    rvx_status status = RVX_OK;
    const int64_t *size = rvx__volume_reader_info(reader)->geometry.size;
    rvx_mesh_box by_label[256];
    uint8_t *slice = malloc((size_t)(size[0] * size[1]));
    if (!slice)
        return rvx__fail(error, RVX_ERROR_MEMORY, "mesh: no memory for a slice");
    for (int label = 0; label < 256; label++)
        by_label[label] = (rvx_mesh_box){{INT64_MAX, INT64_MAX, INT64_MAX}, {-1, -1, -1}};
    for (int64_t z = 0; z < size[2]; z++) {
        RVX_TRY(rvx__volume_reader_slab_labels(reader, slice, z, 1, error));
        for (int64_t y = 0; y < size[1]; y++)
            for (int64_t x = 0; x < size[0]; x++)
                if (slice[y * size[0] + x])
                    box_extend(&by_label[slice[y * size[0] + x]], x, y, z);
    }
    for (int64_t k = 0; k < list->count; k++) {
        boxes[k] = by_label[0];
        for (int label = 1; label < 256; label++) {
            const rvx_mesh_box *one = &by_label[label];
            if (!list->classes[k].member[label] || one->high[0] < 0)
                continue;
            box_extend(&boxes[k], one->low[0], one->low[1], one->low[2]);
            box_extend(&boxes[k], one->high[0], one->high[1], one->high[2]);
        }
    }
cleanup:
    free(slice);
    return status;
}

/* ---- STL: 80 bytes, the count, and for each triangle its normal, corners and two bytes ---------
 */

static rvx_status skip_vertex(void *context, const double point[3], rvx_error *error)
{
    (void)context, (void)point, (void)error;
    return RVX_OK;
}

static rvx_status stl_triangle(void *context, const int64_t index[3], const double *const point[3],
                               rvx_error *error)
{
    (void)index;
    unsigned char record[TRIANGLE_BYTES] = {0};
    double u[3], v[3], normal[3], length = 0;
    float numbers[12];
    for (int a = 0; a < 3; a++) {
        u[a] = point[1][a] - point[0][a];
        v[a] = point[2][a] - point[0][a];
    }
    for (int a = 0; a < 3; a++) {
        normal[a] = u[(a + 1) % 3] * v[(a + 2) % 3] - u[(a + 2) % 3] * v[(a + 1) % 3];
        length += normal[a] * normal[a];
    }
    for (int a = 0; a < 3; a++) {
        numbers[a] = (float)(length > 0 ? normal[a] / sqrt(length) : 0);
        for (int i = 0; i < 3; i++)
            numbers[3 + 3 * i + a] = (float)point[i][a];
    }
    memcpy(record, numbers, sizeof numbers); /* little-endian, as all machines this runs on */
    return rvx__output_write(context, record, TRIANGLE_BYTES, error);
}

static rvx_status stl_begin(rvx_output *out, const char *name, rvx_error *error)
{
    char header[HEADER_BYTES + 5] = {0};
    snprintf(header, HEADER_BYTES, "revoxel SPACE=LPS unit=mm %.40s", name);
    return rvx__output_write(out, header, HEADER_BYTES + 4, error);
}

static rvx_status stl_end(rvx_output *out, const rvx_mesh_figures *figures, rvx_error *error)
{
    uint32_t count = (uint32_t)figures->triangles;
    if (figures->triangles > UINT32_MAX)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: %lld triangles; STL counts to 2^32 - 1, OBJ has no limit",
                         rvx__output_path(out), (long long)figures->triangles);
    return rvx__output_write_at(out, HEADER_BYTES, &count, sizeof count, error);
}

/* ---- OBJ: "v x y z" and "f a b c", vertices counted from 1 -------------------------------------
 */

static rvx_status obj_vertex(void *context, const double point[3], rvx_error *error)
{
    char line[96];
    int bytes = snprintf(line, sizeof line, "v %.9g %.9g %.9g\n", point[0], point[1], point[2]);
    for (char *c = line; *c; c++) /* of a locale's decimal comma */
        *c = *c == ',' ? '.' : *c;
    return rvx__output_write(context, line, bytes, error);
}

static rvx_status obj_triangle(void *context, const int64_t index[3], const double *const point[3],
                               rvx_error *error)
{
    (void)point;
    char line[96];
    int bytes = snprintf(line, sizeof line, "f %lld %lld %lld\n", (long long)index[0] + 1,
                         (long long)index[1] + 1, (long long)index[2] + 1);
    return rvx__output_write(context, line, bytes, error);
}

static rvx_status obj_begin(rvx_output *out, const char *name, rvx_error *error)
{
    char text[256];
    int bytes = snprintf(text, sizeof text, "# revoxel SPACE=LPS unit=mm\no %.100s\n", name);
    return rvx__output_write(out, text, bytes, error);
}

static rvx_status obj_end(rvx_output *out, const rvx_mesh_figures *figures, rvx_error *error)
{
    (void)out, (void)figures, (void)error;
    return RVX_OK;
}

/* ---- Formats ----------------------------------------------------------------------------------
 */

static const struct mesh_format {
    const char *ending;
    rvx_status (*begin)(rvx_output *out, const char *name, rvx_error *error);
    rvx_status (*vertex)(void *context, const double point[3], rvx_error *error);
    rvx_status (*triangle)(void *context, const int64_t index[3], const double *const point[3],
                           rvx_error *error);
    rvx_status (*end)(rvx_output *out, const rvx_mesh_figures *figures, rvx_error *error);
} formats[] = {{".stl", stl_begin, skip_vertex, stl_triangle, stl_end},
               {".obj", obj_begin, obj_vertex, obj_triangle, obj_end}};

rvx_status rvx__mesh_write(rvx_mesh_figures *figures, const char *path, const char *name,
                           rvx_volume_reader *reader, const uint8_t member[256],
                           const rvx_mesh_box *box, int smoothing, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_output *out = NULL;
    const struct mesh_format *format = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (rvx__text_ends_with(path, formats[i].ending))
            format = &formats[i];
    if (!format)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: expected a name that ends in .stl or .obj",
                         path);
    RVX_TRY(rvx__output_create(&out, path, error));
    rvx_mesh_sink sink = {out, format->vertex, format->triangle};
    RVX_TRY(format->begin(out, name, error));
    RVX_TRY(rvx__mesh_walk(figures, reader, member, box, smoothing, &sink, error));
    RVX_TRY(format->end(out, figures, error));
    rvx_output *committing = out;
    out = NULL;
    status = rvx__output_commit(committing, error);
cleanup:
    rvx__output_abandon(out);
    return status;
}
