/* What a volume or a folder of volumes holds: see inspect.h. */
#include "engine/segment/inspect.h"

#include "engine/base/file.h"
#include "engine/segment/evaluate.h"
#include "engine/volume/dicom_series.h"
#include "engine/volume/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLAB_BYTES = 1 << 22, LABELS_SHOWN_MAX = 64 };

void rvx__inspect_size(rvx_text *out, const int64_t size[3])
{
    rvx__text_format(out, "%lld x %lld x %lld", (long long)size[0], (long long)size[1],
                     (long long)size[2]);
}

void rvx__inspect_numbers(rvx_text *out, const double *values, int count, const char *between)
{
    for (int i = 0; i < count; i++)
        rvx__text_format(out, "%s%.6g", i ? between : "", values[i]);
}

/* ---- Statistics -------------------------------------------------------------------------------
 */

/* Counts one value; the list stays in order of first appearance until the end. last: index of the
 * value before, which is most often the same. */
static void value_count(rvx_voxel_statistics *s, float value, int64_t *last)
{
    if (s->distinct > 0 && s->value[*last] == value) {
        s->count[*last]++;
        return;
    }
    for (int64_t i = 0; i < s->distinct; i++) {
        if (s->value[i] == value) {
            s->count[i]++;
            *last = i;
            return;
        }
    }
    if (s->distinct == RVX_DISTINCT_MAX || value != rintf(value)) {
        s->countable = false;
        return;
    }
    *last = s->distinct;
    s->value[s->distinct] = value;
    s->count[s->distinct++] = 1;
}

static void values_sort(rvx_voxel_statistics *s)
{
    for (int64_t i = 1; i < s->distinct; i++) {
        float value = s->value[i];
        int64_t count = s->count[i], place = i;
        for (; place > 0 && s->value[place - 1] > value; place--) {
            s->value[place] = s->value[place - 1];
            s->count[place] = s->count[place - 1];
        }
        s->value[place] = value;
        s->count[place] = count;
    }
}

rvx_status rvx__voxel_statistics(rvx_voxel_statistics *statistics, rvx_volume_reader *reader,
                                 const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_voxel_statistics *s = statistics;
    const int64_t *size = rvx__volume_reader_info(reader)->geometry.size;
    int64_t plane = size[0] * size[1], last = 0;
    int64_t slices = SLAB_BYTES / 4 / plane;
    slices = slices < 1 ? 1 : slices > size[2] ? size[2] : slices;
    double origin = 0.0, sum = 0.0, squares = 0.0;
    *s = (rvx_voxel_statistics){.low = INFINITY, .high = -INFINITY, .countable = true};
    float *slab = malloc((size_t)(plane * slices) * sizeof(float));
    if (!slab)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: %lld bytes for a slab refused", path,
                         (long long)(plane * slices) * 4);
    for (int64_t z = 0; z < size[2]; z += slices) {
        int64_t count = size[2] - z < slices ? size[2] - z : slices;
        RVX_TRY(rvx__volume_reader_slab_f32(reader, slab, z, count, error));
        /* Moments about the first voxel: values such as 1e6 + noise keep their digits. */
        origin = z == 0 ? (double)slab[0] : origin;
        for (int64_t i = 0; i < count * plane; i++) {
            double value = slab[i], centred = value - origin;
            s->low = value < s->low ? value : s->low;
            s->high = value > s->high ? value : s->high;
            sum += centred;
            squares += centred * centred;
            s->zeros += value == 0.0;
            if (s->countable)
                value_count(s, slab[i], &last);
        }
    }
    s->voxels = plane * size[2];
    double n = (double)s->voxels;
    s->mean = origin + sum / n;
    s->deviation = sqrt(fmax(0.0, squares / n - sum / n * (sum / n)));
    values_sort(s);
cleanup:
    free(slab);
    return status;
}

/* ---- One volume -------------------------------------------------------------------------------
 */

static void row_open(rvx_text *out, const char *name) { rvx__text_format(out, "  %-12s ", name); }

static void geometry_add(rvx_text *out, const rvx_volume_info *info)
{
    const rvx_geometry *g = &info->geometry;
    double extent[3], worst = 1.0;
    char letters[4];
    for (int a = 0; a < 3; a++) {
        double nearest = 0.0;
        extent[a] = (double)g->size[a] * g->spacing[a];
        for (int k = 0; k < 3; k++)
            nearest = fmax(nearest, fabs(g->direction[k][a]));
        worst = fmin(worst, nearest);
    }
    row_open(out, "shape");
    rvx__inspect_size(out, g->size);
    rvx__text_format(out, " voxels (x, y, z), %s\n", rvx__voxel_type_name(info->type));
    row_open(out, "spacing");
    rvx__inspect_numbers(out, g->spacing, 3, " x ");
    rvx__text_add(out, " mm, extent ");
    rvx__inspect_numbers(out, extent, 3, " x ");
    rvx__text_add(out, " mm\n");
    rvx__geometry_orientation(letters, g);
    row_open(out, "orientation");
    rvx__text_format(out, "%s (x, y, z grow towards these)", letters);
    if (worst < 0.9999995)
        rvx__text_format(out, ", oblique by up to %.3g degrees",
                         acos(fmin(worst, 1.0)) * 57.29577951308232);
    rvx__text_add(out, "\n");
    row_open(out, "origin");
    rvx__inspect_numbers(out, g->origin, 3, ", ");
    rvx__text_add(out, " mm (LPS, centre of the first voxel)\n");
}

static void form_add(rvx_text *out, const rvx_volume_info *info)
{
    static const char *const meanings[] = {"absent",    "scanner", "aligned",
                                           "Talairach", "MNI152",  "template"};
    const int codes[2] = {info->sform_code, info->qform_code};
    static const char *const names[2] = {"sform", "qform"};
    row_open(out, "geometry");
    rvx__text_format(out, "from %s", info->geometry_source);
    if (strncmp(info->format, "nifti", 5) != 0) {
        rvx__text_format(out, "%s%s\n", info->remark[0] ? "; " : "", info->remark);
        return;
    }
    rvx__text_add(out, ";");
    for (int i = 0; i < 2; i++)
        rvx__text_format(out, " %s code %d (%s)%s", names[i], codes[i],
                         codes[i] >= 0 && codes[i] < 6 ? meanings[codes[i]] : "not defined",
                         i == 0 ? "," : "");
    if (info->sform_code > 0 && info->qform_code > 0)
        rvx__text_format(out, "; they differ by %.3g mm", info->form_difference_mm);
    rvx__text_add(out, "\n");
}

static void labels_add(rvx_text *out, const rvx_voxel_statistics *s, const rvx_geometry *g)
{
    double voxel_ml = g->spacing[0] * g->spacing[1] * g->spacing[2] / 1000.0;
    row_open(out, "labels");
    rvx__text_format(out, "%lld different whole numbers\n", (long long)s->distinct);
    if (s->distinct > LABELS_SHOWN_MAX) /* an 8-bit image, or a large atlas */
        return;
    rvx__text_format(out, "  %14s  %14s  %9s  %12s\n", "value", "voxels", "share %", "ml");
    for (int64_t i = 0; i < s->distinct; i++)
        rvx__text_format(out, "  %14.9g  %14lld  %9.4f  %12.4f\n", (double)s->value[i],
                         (long long)s->count[i], 100.0 * (double)s->count[i] / (double)s->voxels,
                         (double)s->count[i] * voxel_ml);
}

static void segments_add(rvx_text *out, const rvx_segments *segments)
{
    for (int64_t i = 0; i < segments->count; i++) {
        const rvx_segment *one = &segments->list[i];
        row_open(out, "segment");
        rvx__text_format(out, "%lld  %s  (colour %.3g, %.3g, %.3g; %lld in layer %lld)\n",
                         (long long)one->value, one->name, one->color[0], one->color[1],
                         one->color[2], (long long)one->stored, (long long)one->layer);
    }
}

static rvx_status volume_describe(rvx_text *out, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_volume_reader *reader = NULL;
    rvx_voxel_statistics *s = malloc(sizeof *s);
    if (!s)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for statistics", path);
    RVX_TRY(rvx__volume_reader_open(&reader, path, error));
    const rvx_volume_info *info = rvx__volume_reader_info(reader);
    RVX_TRY(rvx__voxel_statistics(s, reader, path, error));
    rvx__text_format(out, "%s\n", path);
    row_open(out, "format");
    rvx__text_format(out, "%s\n", info->format);
    geometry_add(out, info);
    form_add(out, info);
    row_open(out, "scaling");
    rvx__text_format(out, "slope %.6g, intercept %.6g\n", info->slope, info->intercept);
    row_open(out, "values");
    rvx__text_format(out, "%.6g to %.6g, mean %.6g, standard deviation %.6g, %.3g %% zero\n",
                     s->low, s->high, s->mean, s->deviation,
                     100.0 * (double)s->zeros / (double)s->voxels);
    segments_add(out, rvx__volume_reader_segments(reader));
    if (s->countable)
        labels_add(out, s, &info->geometry);
cleanup:
    rvx__volume_reader_close(reader);
    free(s);
    return status;
}

/* ---- A folder ---------------------------------------------------------------------------------
 */

/* The only such folders are DICOM's. */
static rvx_status dicom_describe(rvx_text *out, const char *path, rvx_error *error)
{
    int64_t count;
    rvx_status status = rvx__dicom_series_describe(out, &count, path, error);
    return status != RVX_OK || count > 1 ? status : volume_describe(out, path, error);
}

/* One line a volume, from headers; a file that cannot be read says why in its line, and the first
 * such error is returned once all are listed. */
static rvx_status folder_describe(rvx_text *out, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK, worst = RVX_OK;
    rvx_names names = {0};
    int64_t volumes = 0;
    RVX_TRY(rvx__directory_list(&names, path, NULL, error));
    rvx__text_format(out, "%s\n", path);
    for (int64_t i = 0; i < names.count; i++) {
        char file[RVX_PATH_BYTES], letters[4];
        rvx_volume_reader *reader = NULL;
        rvx_error reason = {0};
        if (rvx__volume_stem_bytes(names.names[i]) < 0)
            continue;
        volumes++;
        RVX_TRY(rvx__path_join(file, path, names.names[i], error));
        rvx__text_format(out, "  %-32s  ", names.names[i]);
        if (rvx__volume_reader_open(&reader, file, &reason) != RVX_OK) {
            rvx__text_format(out, "cannot be read: %s\n", reason.message);
            if (worst == RVX_OK)
                worst = rvx__fail(error, reason.status, "%s", reason.message);
            continue;
        }
        const rvx_volume_info *info = rvx__volume_reader_info(reader);
        rvx__inspect_size(out, info->geometry.size);
        rvx__text_add(out, "  ");
        rvx__inspect_numbers(out, info->geometry.spacing, 3, " x ");
        rvx__geometry_orientation(letters, &info->geometry);
        rvx__text_format(out, " mm  %s  %s\n", letters, rvx__voxel_type_name(info->type));
        rvx__volume_reader_close(reader);
    }
    if (volumes == 0)
        worst =
            rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: holds neither dataset.json nor a volume (%s)",
                      path, RVX_VOLUME_SUFFIXES);
    else
        rvx__text_format(out, "%lld volume%s\n", (long long)volumes, volumes == 1 ? "" : "s");
    status = worst;
cleanup:
    rvx__names_free(&names);
    return status;
}

rvx_status rvx__inspect(rvx_text *out, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char file[RVX_PATH_BYTES];
    if (rvx__path_is_directory(path)) {
        RVX_TRY(rvx__path_join(file, path, "dataset.json", error));
        status = rvx__path_is_file(file)       ? rvx__inspect_dataset(out, path, error)
                 : rvx__format_of_folder(path) ? dicom_describe(out, path, error)
                                               : folder_describe(out, path, error);
    } else {
        status = volume_describe(out, path, error);
    }
    if (status == RVX_OK)
        status = rvx__text_check(out, error);
cleanup:
    return status;
}
