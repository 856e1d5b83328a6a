/* NIfTI-1 and NIfTI-2, single files (.nii, .nii.gz) and pairs (.hdr with .img). Owns: the header's
 * bytes. Source: nifti1.h and nifti2.h of the NIfTI data format working group.
 *
 * World matrix: sform where sform_code > 0, else qform where qform_code > 0, else pixdim alone
 * (method 1: RAS axes, origin in the first voxel, as in the NIfTI C library). Units: metres and
 * microns become millimetres; unknown units are taken as millimetres. scl_slope 0 means no scaling
 * (then scl_inter is not looked at); a non-finite scl_slope or scl_inter is an error. bitpix that
 * contradicts datatype is not looked at: datatype decides, as in nibabel. */
#include "engine/volume/nifti.h"
#include "engine/base/file.h"
#include "engine/volume/repair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const rvx__nifti_version rvx__nifti_versions[2] = {
    {"nifti1", 348, 352, 344, 4,   "n+1", 40, 2, 4,   76,  112, 116,
     108,      70,  72,  252, 254, 123,   2,  1, 256, 268, 280},
    {"nifti2", 540, 544, 4,   8,   "n+2\0\r\n\032\n",
     16,       8,   8,   104, 176, 184,
     168,      12,  14,  344, 348, 500,
     4,        4,   352, 376, 400},
};

const rvx__nifti_type rvx__nifti_types[] = {
    {2, RVX_VOXEL_U8, "uint8"},
    {4, RVX_VOXEL_I16, "int16"},
    {8, RVX_VOXEL_I32, "int32"},
    {16, RVX_VOXEL_F32, "float32"},
    {64, RVX_VOXEL_F64, "float64"},
    {256, RVX_VOXEL_I8, "int8"},
    {512, RVX_VOXEL_U16, "uint16"},
    {768, RVX_VOXEL_U32, "uint32"},
    {1024, RVX_VOXEL_I64, "int64"},
    {1280, RVX_VOXEL_U64, "uint64"},
    {1, RVX_VOXEL_TYPE_COUNT, "1-bit binary"},
    {32, RVX_VOXEL_TYPE_COUNT, "complex64"},
    {128, RVX_VOXEL_TYPE_COUNT, "RGB24 (colour)"},
    {1536, RVX_VOXEL_TYPE_COUNT, "float128"},
    {1792, RVX_VOXEL_TYPE_COUNT, "complex128"},
    {2048, RVX_VOXEL_TYPE_COUNT, "complex256"},
    {2304, RVX_VOXEL_TYPE_COUNT, "RGBA32 (colour)"},
    {0, RVX_VOXEL_TYPE_COUNT, NULL},
};

/* Header field access: integers of 1, 2, 4 or 8 bytes, floats of 4 or 8, in either byte order. */
static uint64_t bits_get(const uint8_t *p, int bytes, bool swap)
{
    uint64_t bits = 0;
    for (int i = 0; i < bytes; i++)
        bits |= (uint64_t)p[swap ? bytes - 1 - i : i] << (8 * i);
    return bits;
}

static int64_t int_get(const uint8_t *p, int bytes, bool swap)
{
    int shift = 64 - 8 * bytes;
    return (int64_t)(bits_get(p, bytes, swap) << shift) >> shift;
}

static double real_get(const uint8_t *p, int bytes, bool swap)
{
    uint64_t bits = bits_get(p, bytes, swap);
    if (bytes == 4) {
        uint32_t word = (uint32_t)bits;
        float value;
        memcpy(&value, &word, 4);
        return value;
    }
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* The version and byte order by sizeof_hdr; NULL where it is neither. */
static const rvx__nifti_version *version_find(const uint8_t *head, int64_t count, bool *swap)
{
    for (int order = 0; order < 2 && count >= 4; order++)
        for (int v = 0; v < 2; v++)
            if (int_get(head, 4, order != 0) == rvx__nifti_versions[v].header_bytes) {
                *swap = order != 0;
                return &rvx__nifti_versions[v];
            }
    return NULL;
}

static bool nifti_recognise(const uint8_t *head, int64_t count)
{
    bool swap;
    if (version_find(head, count, &swap))
        return true;
    for (int v = 0; v < 2; v++) /* magic there, sizeof_hdr damaged */
        if (count >= rvx__nifti_versions[v].header_bytes &&
            memcmp(head + rvx__nifti_versions[v].magic_at, rvx__nifti_versions[v].magic, 3) == 0)
            return true;
    return false;
}

/* Of a pair the voxels stand in IMAGE.img or IMAGE.img.gz, beside IMAGE.hdr. */
static rvx_status pair_find(rvx__layout *layout, const char *path, rvx_error *error)
{
    rvx_status status = RVX_OK;
    char name[RVX_PATH_BYTES];
    layout->field = "image file of the pair";
    RVX_TRY(rvx__path_join(name, NULL, path, error));
    char *ending = rvx__text_ends_with(name, ".hdr.gz") ? name + strlen(name) - 7
                   : rvx__text_ends_with(name, ".hdr")  ? name + strlen(name) - 4
                                                        : NULL;
    if (!ending)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: magic says that the voxels stand in another file (.hdr/.img), but "
                         "the name does not end in .hdr",
                         path);
    memcpy(ending, ".img", 5);
    if (!rvx__path_exists(name) && strlen(name) + 4 < sizeof name) {
        memcpy(ending + 4, ".gz", 4);
        if (!rvx__path_exists(name))
            ending[4] = 0;
    }
    layout->files = calloc(1, sizeof *layout->files);
    layout->file_count = layout->files != NULL;
    if (!layout->files || !(layout->files[0] = strdup(name)))
        status = rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", path);
cleanup:
    return status;
}

static rvx_status magic_check(rvx__layout *layout, const rvx__nifti_version *v, const uint8_t *head,
                              const char *path, rvx_error *error)
{
    const uint8_t *magic = head + v->magic_at;
    if (memcmp(magic, v->magic, (size_t)v->magic_bytes) == 0)
        return RVX_OK;
    if (memcmp(magic, v == &rvx__nifti_versions[0] ? "ni1" : "ni2", 4) == 0)
        return pair_find(layout, path, error);
    if (v == &rvx__nifti_versions[0] && memcmp(magic, "\0\0\0", 4) == 0)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: an Analyze 7.5 file, which does not say where left is; convert it to "
                         "NIfTI with a tool that knows its scanner",
                         path);
    return rvx__fail(error, RVX_ERROR_FORMAT,
                     "%s: magic: expected \"%.3s\", found bytes %02x %02x %02x %02x", path,
                     v->magic, magic[0], magic[1], magic[2], magic[3]);
}

static rvx_status dim_parse(rvx_volume_info *info, const rvx__nifti_version *v, const uint8_t *head,
                            bool swap, const char *path, rvx_error *error)
{
    int64_t count = int_get(head + v->dim_at, v->dim_bytes, swap), product = 1;
    if (count < 1 || count > 7)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: dim[0]: expected 1..7 axes, found %lld",
                         path, (long long)count);
    for (int axis = 1; axis <= 7; axis++) {
        int64_t size = int_get(head + v->dim_at + axis * v->dim_bytes, v->dim_bytes, swap);
        if (axis > count)
            size = 1;
        if (size < 1)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: dim[%d]: expected a positive size, found %lld", path, axis,
                             (long long)size);
        if (axis > 3 && size != 1)
            return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                             "%s: a %lld-D image (dim[%d] = %lld): expected one 3-D volume", path,
                             (long long)count, axis, (long long)size);
        if (axis <= 3)
            info->geometry.size[axis - 1] = size;
        if (__builtin_mul_overflow(product, size, &product) || product > INT64_MAX / 16)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: dim: %lld x %lld x %lld voxels exceed 64-bit sizes", path,
                             (long long)info->geometry.size[0], (long long)info->geometry.size[1],
                             (long long)info->geometry.size[2]);
    }
    /* Axes that the header does not have take no spacing from it. */
    for (int axis = 1; axis < 8; axis++) {
        double pixdim = real_get(head + v->pixdim_at + axis * v->real_bytes, v->real_bytes, swap);
        info->pixdim[axis] = axis > count && axis <= 3 && !(fabs(pixdim) > 0) ? 1 : pixdim;
    }
    info->pixdim[0] = real_get(head + v->pixdim_at, v->real_bytes, swap);
    return RVX_OK;
}

static rvx_status voxels_parse(rvx_volume_info *info, rvx__layout *layout,
                               const rvx__nifti_version *v, const uint8_t *head, const char *path,
                               rvx_error *error)
{
    bool swap = layout->swap;
    int64_t code = int_get(head + v->datatype_at, 2, swap);
    const rvx__nifti_type *row = NULL;
    for (int i = 0; rvx__nifti_types[i].name; i++)
        if (rvx__nifti_types[i].code == code)
            row = &rvx__nifti_types[i];
    if (!row)
        return rvx__fail(error, RVX_ERROR_FORMAT, "%s: datatype: %lld is no NIfTI type", path,
                         (long long)code);
    if (row->type == RVX_VOXEL_TYPE_COUNT)
        return rvx__fail(error, RVX_ERROR_UNSUPPORTED,
                         "%s: datatype %lld, %s: expected one integer or float per voxel", path,
                         (long long)code, row->name);
    info->type = row->type;
    double offset = v == &rvx__nifti_versions[0] ? real_get(head + v->offset_at, 4, swap)
                                                 : (double)int_get(head + v->offset_at, 8, swap);
    const int least = layout->files ? 0 : v->data_offset_least;
    if (offset == 0)
        offset = least;
    if (!(offset >= least && offset <= 0x1p53) || offset != floor(offset))
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: vox_offset: expected a whole number >= %d, found %g", path, least,
                         offset);
    layout->data_offset = (int64_t)offset;
    info->slope = real_get(head + v->slope_at, v->real_bytes, swap);
    info->intercept = real_get(head + v->inter_at, v->real_bytes, swap);
    if (!isfinite(info->slope) || (info->slope != 0 && !isfinite(info->intercept))) {
        if (!layout->repairs) {
            rvx__fail(error, RVX_ERROR_FORMAT,
                      "%s: scl_slope %g, scl_inter %g: expected finite numbers", path, info->slope,
                      info->intercept);
            rvx__repair_advise(error, "takes voxels as they are stored");
            return RVX_ERROR_FORMAT;
        }
        rvx__repairs_add(layout->repairs,
                         "%s: scl_slope %g, scl_inter %g: not finite; voxels taken as stored", path,
                         info->slope, info->intercept);
        info->slope = 0;
    }
    if (info->slope == 0) {
        info->slope = 1;
        info->intercept = 0;
    }
    return RVX_OK;
}

/* Rotation of the unit quaternion (a, b, c, d), times pixdim, third axis times qfac. False where
 * the quaternion is none. */
static bool qform_compose(rvx_volume_info *info)
{
    double b = info->quaternion[0], c = info->quaternion[1], d = info->quaternion[2];
    double square = b * b + c * c + d * d, a = 0;
    if (!(square <= 1 + 1e-4))
        return false;
    if (square < 1 - 1e-7) {
        a = sqrt(1 - square);
    } else {
        double length = sqrt(square); /* a half turn, rounded: as the NIfTI C library */
        b /= length;
        c /= length;
        d /= length;
    }
    const double rotation[3][3] = {
        {a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)},
        {2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)},
        {2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c}};
    double factor = info->pixdim[0] < 0 ? -1 : 1;
    for (int row = 0; row < 3; row++) {
        for (int axis = 0; axis < 3; axis++)
            info->qform[row][axis] =
                rotation[row][axis] * fabs(info->pixdim[axis + 1]) * (axis == 2 ? factor : 1);
        info->qform[row][3] = info->qform_offset[row];
    }
    return true;
}

static double corner_distance(const rvx_volume_info *info)
{
    double worst = 0;
    for (int which = 0; which < 8; which++) {
        double sum = 0;
        for (int row = 0; row < 3; row++) {
            double gap = info->sform[row][3] - info->qform[row][3];
            for (int axis = 0; axis < 3; axis++)
                if (which >> axis & 1)
                    gap += (info->sform[row][axis] - info->qform[row][axis]) *
                           (double)(info->geometry.size[axis] - 1);
            sum += gap * gap;
        }
        worst = fmax(worst, sqrt(sum));
    }
    return worst;
}

/* The grid of a matrix; one whose axes are nearly at right angles may be repaired. */
static rvx_status grid_set(rvx_volume_info *info, const double ras[3][4], const char *name,
                           rvx_repairs *repairs, rvx_error *error)
{
    double spacing[3], origin[3], direction[3][3];
    bool repaired;
    rvx_status status = rvx__geometry_from_ras(&info->geometry, ras, name, NULL);
    if (status == RVX_OK)
        return status;
    for (int axis = 0; axis < 3; axis++) {
        spacing[axis] = sqrt(ras[0][axis] * ras[0][axis] + ras[1][axis] * ras[1][axis] +
                             ras[2][axis] * ras[2][axis]);
        if (!(spacing[axis] > 0) || !isfinite(spacing[axis]))
            return rvx__geometry_from_ras(&info->geometry, ras, name, error);
        origin[axis] = (axis < 2 ? -1 : 1) * ras[axis][3];
        for (int row = 0; row < 3; row++)
            direction[row][axis] = (row < 2 ? -1 : 1) * ras[row][axis] / spacing[axis];
    }
    status = rvx__geometry_from_axes_repair(&info->geometry, origin, spacing,
                                            (const double(*)[3])direction, name, repairs, &repaired,
                                            error);
    if (repaired)
        rvx__nifti_forms_set(info, &info->geometry);
    return status;
}

static rvx_status geometry_parse(rvx_volume_info *info, const rvx__nifti_version *v,
                                 const uint8_t *head, rvx__layout *layout, const char *path,
                                 rvx_error *error)
{
    const bool swap = layout->swap;
    const int real = v->real_bytes;
    double chosen[3][4] = {{0}}, unit_mm = 1;
    char name[512];
    bool qform_valid = false;
    info->qform_code = (int)int_get(head + v->qform_code_at, v->code_bytes, swap);
    info->sform_code = (int)int_get(head + v->sform_code_at, v->code_bytes, swap);
    info->xyzt_units = (int)int_get(head + v->units_at, v->units_bytes, swap) & 0xff;
    for (int i = 0; i < 3; i++) {
        info->quaternion[i] = real_get(head + v->quaternion_at + i * real, real, swap);
        info->qform_offset[i] = real_get(head + v->qform_offset_at + i * real, real, swap);
        for (int j = 0; j < 4; j++)
            info->sform[i][j] = real_get(head + v->sform_at + (4 * i + j) * real, real, swap);
    }
    if (info->qform_code > 0)
        qform_valid = qform_compose(info);
    const char *source = "pixdim";
    if (info->sform_code > 0) {
        source = "sform";
        memcpy(chosen, info->sform, sizeof chosen);
    } else if (info->qform_code > 0) {
        source = "qform";
        if (!qform_valid)
            return rvx__fail(error, RVX_ERROR_FORMAT,
                             "%s: qform: quaternion (%g, %g, %g) is longer than one", path,
                             info->quaternion[0], info->quaternion[1], info->quaternion[2]);
        memcpy(chosen, info->qform, sizeof chosen);
    } else {
        for (int axis = 0; axis < 3; axis++)
            chosen[axis][axis] = fabs(info->pixdim[axis + 1]);
    }
    snprintf(info->geometry_source, sizeof info->geometry_source, "%s", source);
    snprintf(name, sizeof name, "%.480s: %s", path, source);
    if ((info->xyzt_units & 7) == 1)
        unit_mm = 1000;
    else if ((info->xyzt_units & 7) == 3)
        unit_mm = 0.001;
    for (int i = 0; i < 12; i++)
        chosen[i / 4][i % 4] *= unit_mm;
    if (info->sform_code > 0 && qform_valid)
        info->form_difference_mm = corner_distance(info) * unit_mm;
    return grid_set(info, (const double(*)[4])chosen, name, layout->repairs, error);
}

static rvx_status nifti_parse(rvx_volume_info *info, rvx__layout *layout, rvx__source *header,
                              const uint8_t *head, int64_t count, const char *path,
                              rvx_error *error)
{
    (void)header;
    const rvx__nifti_version *v = version_find(head, count, &layout->swap);
    if (!v)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: sizeof_hdr: expected 348 or 540 in either byte order, found %lld",
                         path, (long long)int_get(head, 4, false));
    if (count < v->header_bytes)
        return rvx__fail(error, RVX_ERROR_FORMAT,
                         "%s: truncated: expected a header of %d bytes, found %lld", path,
                         v->header_bytes, (long long)count);
    snprintf(info->format, sizeof info->format, "%s", v->name);
    rvx_status status = magic_check(layout, v, head, path, error);
    if (status == RVX_OK)
        status = dim_parse(info, v, head, layout->swap, path, error);
    if (status == RVX_OK)
        status = voxels_parse(info, layout, v, head, path, error);
    if (status == RVX_OK)
        status = geometry_parse(info, v, head, layout, path, error);
    return status;
}

const rvx__format rvx__format_nifti = {
    .name = "NIfTI",
    .suffixes = {".nii.gz", ".nii", ".hdr"},
    .recognise = nifti_recognise,
    .parse = nifti_parse,
    .compose = rvx__nifti_compose,
};
