/* NIfTI headers as they are written: see nifti.h. Owns: the forms of a grid that came from
 * elsewhere. */
#include "engine/volume/nifti.h"

#include "engine/base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_BYTES_MAX = 544 };

static void int_put(uint8_t *p, int bytes, int64_t value)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)((uint64_t)value >> (8 * i));
}

static void real_put(uint8_t *p, int bytes, double value)
{
    if (bytes == 4) {
        float narrow = (float)value;
        memcpy(p, &narrow, 4);
    } else {
        memcpy(p, &value, 8);
    }
}

/* Unit quaternion (a >= 0) of the direction in RAS; `factor` is -1 where the axes are left-handed
 * and the third must be turned. The largest of the four components is found first, so that none is
 * divided by a small number. */
static void quaternion_find(double out[3], double *factor, const rvx_geometry *g)
{
    double r[3][3];
    for (int i = 0; i < 9; i++)
        r[i / 3][i % 3] = (i / 3 < 2 ? -1 : 1) * g->direction[i / 3][i % 3];
    double determinant = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1]) -
                         r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0]) +
                         r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
    *factor = determinant < 0 ? -1 : 1;
    for (int row = 0; row < 3; row++)
        r[row][2] *= *factor;
    /* Row i of this symmetric matrix is 4 q_i q; its diagonal is 4 q_i^2. */
    const double trace = r[0][0] + r[1][1] + r[2][2];
    const double m[4][4] = {
        {1 + trace, r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]},
        {r[2][1] - r[1][2], 1 + 2 * r[0][0] - trace, r[0][1] + r[1][0], r[0][2] + r[2][0]},
        {r[0][2] - r[2][0], r[0][1] + r[1][0], 1 + 2 * r[1][1] - trace, r[1][2] + r[2][1]},
        {r[1][0] - r[0][1], r[0][2] + r[2][0], r[1][2] + r[2][1], 1 + 2 * r[2][2] - trace}};
    int best = 0;
    for (int i = 1; i < 4; i++)
        if (m[i][i] > m[best][best])
            best = i;
    double scale = 0.5 / sqrt(m[best][best]);
    if (m[best][0] < 0)
        scale = -scale;
    for (int i = 0; i < 3; i++)
        out[i] = m[best][i + 1] * scale + 0.0;
}

void rvx__nifti_forms_set(rvx_volume_info *info, const rvx_geometry *g)
{
    info->sform_code = info->qform_code = 1;
    info->xyzt_units = 2;
    info->form_difference_mm = 0;
    rvx__geometry_to_ras(info->sform, g);
    memcpy(info->qform, info->sform, sizeof info->qform);
    quaternion_find(info->quaternion, &info->pixdim[0], g);
    for (int axis = 0; axis < 3; axis++) {
        info->pixdim[axis + 1] = g->spacing[axis];
        info->qform_offset[axis] = info->sform[axis][3];
    }
}

rvx_status rvx__nifti_compose(rvx__header *header, const rvx__request *request, rvx_error *error)
{
    rvx_volume_info made;
    const rvx_geometry *g = request->geometry;
    const rvx_voxel_type type = request->type;
    const rvx_volume_info *like = request->like;
    uint8_t p[HEADER_BYTES_MAX] = {0};
    bool wide = g->size[0] > INT16_MAX || g->size[1] > INT16_MAX || g->size[2] > INT16_MAX;
    const rvx__nifti_type *row = NULL;
    if (!like || strncmp(like->format, "nifti", 5) != 0) {
        memset(&made, 0, sizeof made);
        rvx__nifti_forms_set(&made, g);
        like = &made;
    }
    const rvx__nifti_version *v = &rvx__nifti_versions[wide || strcmp(like->format, "nifti2") == 0];
    for (int i = 0; rvx__nifti_types[i].name; i++)
        if (rvx__nifti_types[i].type == type)
            row = &rvx__nifti_types[i];
    if (!row)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s: voxel type %d is none", request->path,
                         (int)type);
    const int real = v->real_bytes;
    int_put(p, 4, v->header_bytes);
    memcpy(p + v->magic_at, v->magic, (size_t)v->magic_bytes);
    if (v == &rvx__nifti_versions[0])
        p[38] = 'r'; /* "regular": Analyze readers look for it */
    int_put(p + v->dim_at, v->dim_bytes, 3);
    for (int axis = 1; axis <= 7; axis++)
        int_put(p + v->dim_at + axis * v->dim_bytes, v->dim_bytes,
                axis <= 3 ? g->size[axis - 1] : 1);
    for (int axis = 0; axis < 8; axis++)
        real_put(p + v->pixdim_at + axis * real, real, like->pixdim[axis]);
    int_put(p + v->datatype_at, 2, row->code);
    int_put(p + v->bitpix_at, 2, 8 * rvx__voxel_type_bytes(type));
    if (v == &rvx__nifti_versions[0])
        real_put(p + v->offset_at, 4, v->data_offset_least);
    else
        int_put(p + v->offset_at, 8, v->data_offset_least);
    real_put(p + v->slope_at, real, 1);
    int_put(p + v->units_at, v->units_bytes, like->xyzt_units);
    int_put(p + v->qform_code_at, v->code_bytes, like->qform_code);
    int_put(p + v->sform_code_at, v->code_bytes, like->sform_code);
    for (int i = 0; i < 3; i++) {
        real_put(p + v->quaternion_at + i * real, real, like->quaternion[i]);
        real_put(p + v->qform_offset_at + i * real, real, like->qform_offset[i]);
        for (int j = 0; j < 4; j++)
            real_put(p + v->sform_at + (4 * i + j) * real, real, like->sform[i][j]);
    }
    const char *name = rvx__path_name(request->path);
    if (rvx__text_ends_with(name, ".hdr")) {
        p[v->magic_at + 1] = 'i';
        memset(p + v->offset_at, 0, v == &rvx__nifti_versions[0] ? 4 : 8);
        header->packing = RVX__PACKING_NONE;
        if (asprintf(&header->data_name, "%.*s.img", (int)strlen(name) - 4, name) < 0) {
            header->data_name = NULL;
            return rvx__fail(error, RVX_ERROR_MEMORY, "%s: out of memory", request->path);
        }
    }
    rvx__text_append(&header->text, (const char *)p,
                     header->data_name ? v->header_bytes : v->data_offset_least);
    return rvx__text_check(&header->text, error);
}
