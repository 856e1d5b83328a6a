/* Small volumes whose headers are lines, each with one line changed. Owns: the scratch folder and
 * the row of a damage. */
#ifndef TEXT_FILES_H
#define TEXT_FILES_H

#include "engine/base/file.h"
#include "engine/base/text.h"
#include "engine/volume/volume.h"
#include "tap.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static char scratch[] = "/tmp/rvx_text_XXXXXX";

/* A line of a header: `name` and all that follows it. */
typedef struct header_line {
    const char *name, *rest;
} header_line;

/* The line called `name` becomes name + rest (NULL: is left out); one that is not there is added in
 * front. Then the volume is read: status OK, or the message holds `expected`. */
typedef struct damage {
    const char *what, *name, *rest;
    rvx_status status;
    const char *expected;
} damage;

__attribute__((unused)) static const char *in_scratch(const char *name)
{
    static char paths[4][300];
    static int next;
    char *path = paths[next++ & 3];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

__attribute__((unused)) static void file_put(const char *name, const void *bytes, int64_t count)
{
    rvx_error error = {0};
    if (rvx__file_write(in_scratch(name), bytes, count, &error) != RVX_OK)
        TAP_OK(!error.message);
}

/* `first`, the lines (one of them changed), then the data. */
__attribute__((unused)) static void volume_put(const char *name, const char *first,
                                               const header_line *lines, const damage *d,
                                               const char *last, const void *data, int64_t bytes)
{
    rvx_text text = {0};
    bool there = !d || !d->name;
    for (int i = 0; lines[i].name && !there; i++)
        there = strcmp(lines[i].name, d->name) == 0;
    rvx__text_add(&text, first);
    if (!there && d->rest)
        rvx__text_format(&text, "%s%s\n", d->name, d->rest);
    for (int i = 0; lines[i].name; i++) {
        bool changed = d && d->name && strcmp(lines[i].name, d->name) == 0;
        const char *rest = changed ? d->rest : lines[i].rest;
        if (rest)
            rvx__text_format(&text, "%s%s\n", lines[i].name, rest);
    }
    rvx__text_add(&text, last);
    if (bytes)
        rvx__text_append(&text, data, bytes);
    file_put(name, text.data, text.bytes);
    rvx__text_free(&text);
}

/* Reads 4 x 3 x 2 voxels that hold 0 .. 23, or is refused as the row says. */
__attribute__((unused)) static void damage_check(const char *name, const damage *d)
{
    rvx_error error = {0};
    rvx_volume volume = {0};
    rvx_status status = rvx__volume_read_f32(&volume, in_scratch(name), &error);
    int ok = status == d->status;
    if (d->status == RVX_OK)
        for (int i = 0; ok && i < 24; i++)
            ok = ((float *)volume.voxels)[i] == (float)i;
    else
        ok = ok && error.status == d->status && strstr(error.message, d->expected) &&
             strstr(error.message, name) && !volume.voxels;
    tap_ok(ok, "%s: %s", d->what, status == RVX_OK ? "reads" : error.message);
    rvx__volume_free(&volume);
}

/* Writes voxels, reads them back: values, type and geometry return to the bit. */
__attribute__((unused)) static void round_trip(const char *name, const rvx_geometry *g,
                                               rvx_voxel_type type, const void *voxels,
                                               const float *expected, double tolerance)
{
    rvx_error error = {0};
    rvx_volume back = {0};
    int64_t count = rvx__geometry_voxels(g);
    int ok = rvx__volume_write(in_scratch(name), g, type, voxels, NULL, &error) == RVX_OK &&
             rvx__volume_read_f32(&back, in_scratch(name), &error) == RVX_OK;
    ok = ok && memcmp(back.voxels, expected, (size_t)count * sizeof(float)) == 0 &&
         back.info.type == type;
    for (int i = 0; ok && i < 3; i++) {
        ok = back.info.geometry.origin[i] == g->origin[i] &&
             fabs(back.info.geometry.spacing[i] - g->spacing[i]) <= tolerance;
        for (int j = 0; ok && j < 3; j++)
            ok = fabs(back.info.geometry.direction[i][j] - g->direction[i][j]) <= tolerance;
    }
    tap_ok(ok, "%s type %d returns: %s", name, (int)type, error.message);
    rvx__volume_free(&back);
}

/* One voxel array per type, with the ends of its range where float32 holds them. */
__attribute__((unused)) static void round_trips(const char *const *names, const rvx_geometry *g,
                                                double tolerance)
{
    enum { COUNT = 7 * 5 * 3 };
    static const double low[RVX_VOXEL_TYPE_COUNT] = {0,         -128, 0,   -32768, 0,
                                                     -16777216, 0,    -97, -1e30,  -1e30};
    static uint8_t voxels[RVX_VOXEL_TYPE_COUNT][COUNT * 8];
    static float expected[RVX_VOXEL_TYPE_COUNT][COUNT];
    for (int i = 0; i < COUNT; i++)
        for (int type = 0; type < RVX_VOXEL_TYPE_COUNT; type++) {
            double value = i == 0 ? low[type] : i;
            expected[type][i] = (float)value;
#define PUT(row, kind) ((kind *)(void *)voxels[row])[i] = (kind)value
            switch (type) {
            case RVX_VOXEL_U8:
                PUT(RVX_VOXEL_U8, uint8_t);
                break;
            case RVX_VOXEL_I8:
                PUT(RVX_VOXEL_I8, int8_t);
                break;
            case RVX_VOXEL_U16:
                PUT(RVX_VOXEL_U16, uint16_t);
                break;
            case RVX_VOXEL_I16:
                PUT(RVX_VOXEL_I16, int16_t);
                break;
            case RVX_VOXEL_U32:
                PUT(RVX_VOXEL_U32, uint32_t);
                break;
            case RVX_VOXEL_I32:
                PUT(RVX_VOXEL_I32, int32_t);
                break;
            case RVX_VOXEL_U64:
                PUT(RVX_VOXEL_U64, uint64_t);
                break;
            case RVX_VOXEL_I64:
                PUT(RVX_VOXEL_I64, int64_t);
                break;
            case RVX_VOXEL_F32:
                PUT(RVX_VOXEL_F32, float);
                break;
            default:
                PUT(RVX_VOXEL_F64, double);
            }
#undef PUT
        }
    for (int type = 0; type < RVX_VOXEL_TYPE_COUNT; type++)
        for (int n = 0; names[n]; n++)
            round_trip(names[n], g, (rvx_voxel_type)type, voxels[type], expected[type], tolerance);
}

__attribute__((unused)) static void scratch_remove(void)
{
    rvx_names names = {0};
    rvx_error error = {0};
    int left = 0;
    rvx__directory_list(&names, scratch, NULL, &error);
    for (int64_t i = 0; i < names.count; i++)
        left += unlink(in_scratch(names.names[i]));
    rvx__names_free(&names);
    tap_ok(left == 0 && rmdir(scratch) == 0, "nothing hidden is left behind");
}

#endif
