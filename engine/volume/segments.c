/* Segmentations in NRRD: see segments.h. */
#include "engine/volume/segments.h"

#include "engine/volume/header_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENTS_MAX = 1024 };

/* A colour for each number: hues a golden angle apart never come close to each other early. */
static void color_make(double out[3], int64_t index)
{
    const double hue = 6 * fmod(0.07 + 0.6180339887498949 * (double)index, 1.0);
    const double value = index / 12 % 2 ? 0.7 : 0.95, least = index / 6 % 2 ? 0.4 : 0.2;
    for (int i = 0; i < 3; i++) {
        double distance = fabs(fmod(hue + 6 - 2 * i, 6.0) - 3); /* 3 at the channel's own hue */
        double share = fmin(fmax(distance - 1, 0), 1);
        out[i] = round(1e4 * value * (least + (1 - least) * share)) / 1e4;
    }
}

/* Room for segment `index`; what lies between is there without keys (stored < 0). */
static rvx_status reserve(rvx_segments *s, int64_t index, rvx_error *error)
{
    if (index < s->count)
        return RVX_OK;
    rvx_segment *larger = realloc(s->list, (size_t)(index + 1) * sizeof *larger);
    if (!larger)
        return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld segments",
                         (long long)index + 1);
    s->list = larger;
    for (; s->count <= index; s->count++)
        s->list[s->count] = (rvx_segment){.value = -1, .stored = -1, .layer = -1};
    return RVX_OK;
}

/* The name without NRRD's escapes: \n and \\. */
static void name_set(rvx_segment *one, const char *value)
{
    size_t used = 0;
    for (const char *p = value; *p && used < sizeof one->name - 1; p++) {
        const bool escape = p[0] == '\\' && (p[1] == 'n' || p[1] == '\\');
        p += escape;
        one->name[used++] = (char)(escape && *p == 'n' ? ' ' : *p);
    }
    one->name[used] = 0;
}

rvx_status rvx__segments_key(rvx_segments *segments, const char *key, const char *value,
                             const char *path, rvx_error *error)
{
    char *field;
    double color[3];
    int64_t number;
    if (strncmp(key, "Segment", 7) != 0 || key[7] < '0' || key[7] > '9')
        return RVX_OK;
    long long index = strtoll(key + 7, &field, 10);
    if (*field != '_')
        return RVX_OK;
    if (index >= SEGMENTS_MAX)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED, "%s: %.60s: at most %d segments are read",
                         path, key, SEGMENTS_MAX);
    rvx_status status = reserve(segments, index, error);
    if (status != RVX_OK)
        return status;
    rvx_segment *one = &segments->list[index];
    one->value = index + 1; /* it is there */
    if (strcmp(field, "_Name") == 0) {
        name_set(one, value);
    } else if (strcmp(field, "_Color") == 0) {
        if (rvx__header_reals(color, 3, value) != 3)
            return rvx__fail(error, RVX_ERROR_FORMAT, "%s: %.60s: expected 3 numbers, found %.60s",
                             path, key, value);
        for (int i = 0; i < 3; i++)
            one->color[i] = color[i] >= 0 && color[i] <= 1 ? color[i] : 0;
    } else if (strcmp(field, "_LabelValue") == 0 || strcmp(field, "_Layer") == 0) {
        if (rvx__header_integers(&number, 1, value) != 1 || number < 0)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: %.60s: expected a number of 0 or more, found %.60s", path, key,
                             value);
        if (strcmp(field, "_Layer") == 0)
            one->layer = number;
        else
            one->stored = number;
    }
    return RVX_OK;
}

rvx_status rvx__segments_settle(rvx_segments *segments, int layers, const char *path,
                                rvx_error *error)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < segments->count; i++) {
        rvx_segment one = segments->list[i];
        if (one.value < 0)
            continue;
        /* Files of older versions say neither: a layer each, 1 inside. */
        one.layer = one.layer < 0 ? (layers > 1 ? i : 0) : one.layer;
        one.stored = one.stored < 0 ? 1 : one.stored;
        if (one.layer >= layers)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: Segment%lld_Layer: %lld, the file has %d layers", path,
                             (long long)i, (long long)one.layer, layers);
        one.value = layers > 1 ? kept + 1 : one.stored;
        if (!one.name[0])
            snprintf(one.name, sizeof one.name, "Segment_%lld", (long long)i + 1);
        segments->list[kept++] = one;
    }
    segments->count = kept;
    return RVX_OK;
}

rvx_status rvx__segments_add(rvx_segments *segments, const char *name, int64_t value,
                             rvx_error *error)
{
    const int64_t index = segments->count;
    rvx_status status = reserve(segments, index, error);
    if (status != RVX_OK)
        return status;
    rvx_segment *one = &segments->list[index];
    snprintf(one->name, sizeof one->name, "%s", name);
    color_make(one->color, index);
    one->value = one->stored = value;
    one->layer = 0;
    return RVX_OK;
}

void rvx__segments_compose(rvx_text *text, const rvx_segments *segments, const int64_t size[3])
{
    for (int64_t i = 0; segments && i < segments->count; i++) {
        const rvx_segment *one = &segments->list[i];
        const long long n = (long long)i;
        rvx__text_format(text, "Segment%lld_Color:=", n);
        for (int c = 0; c < 3; c++) {
            rvx__text_add(text, c ? " " : "");
            rvx__text_number(text, one->color[c]);
        }
        rvx__text_format(text,
                         "\nSegment%lld_ColorAutoGenerated:=0\n"
                         "Segment%lld_Extent:=0 %lld 0 %lld 0 %lld\nSegment%lld_ID:=Segment_%lld\n"
                         "Segment%lld_LabelValue:=%lld\nSegment%lld_Layer:=0\nSegment%lld_Name:=",
                         n, n, (long long)size[0] - 1, (long long)size[1] - 1,
                         (long long)size[2] - 1, n, n + 1, n, (long long)one->value, n, n);
        for (const char *p = one->name; *p; p++) {
            if (*p == '\\')
                rvx__text_add(text, "\\\\");
            else
                rvx__text_append(text, *p == '\n' || *p == '\r' ? " " : p, 1);
        }
        rvx__text_format(text, "\nSegment%lld_NameAutoGenerated:=0\nSegment%lld_Tags:=|\n", n, n);
    }
    rvx__text_add(text, "Segmentation_ContainedRepresentationNames:=Binary labelmap|\n"
                        "Segmentation_MasterRepresentation:=Binary labelmap\n"
                        "Segmentation_ReferenceImageExtentOffset:=0 0 0\n");
}

int64_t rvx__segments_merge(double *values, int64_t count, int layers, const rvx_segments *segments,
                            char why[256])
{
    for (int64_t i = 0; i < count; i++) {
        const rvx_segment *found = NULL;
        for (int layer = 0; layer < layers; layer++) {
            const double value = values[i * layers + layer];
            const rvx_segment *one = NULL;
            if (value == 0)
                continue;
            for (int64_t k = 0; k < segments->count && !one; k++)
                if (segments->list[k].layer == layer && (double)segments->list[k].stored == value)
                    one = &segments->list[k];
            if (!one) {
                snprintf(why, 256, "holds %.9g in layer %d, which is no segment's value", value,
                         layer);
                return i;
            }
            if (found) {
                snprintf(why, 256,
                         "is in segment '%.60s' and in '%.60s': overlapping segments cannot be one "
                         "label map",
                         found->name, one->name);
                return i;
            }
            found = one;
        }
        values[i] = found ? (double)found->value : 0;
    }
    return -1;
}
