/* NIfTI headers, shared by reading (nifti.c) and writing (nifti_write.c). Owns: where the fields of
 * both versions lie, and the types. */
#ifndef RVX_NIFTI_H
#define RVX_NIFTI_H

#include "engine/volume/format.h"

/* Both versions hold the same fields at other places and widths. */
typedef struct rvx__nifti_version {
    const char *name;
    int header_bytes, data_offset_least;
    int magic_at, magic_bytes;
    const char *magic;
    int dim_at, dim_bytes;
    int real_bytes;                    /* of pixdim, slope, quaternion, sform */
    int pixdim_at, slope_at, inter_at; /* floats */
    int offset_at;                     /* vox_offset: float in version 1, int64 in version 2 */
    int datatype_at, bitpix_at;        /* int16 */
    int qform_code_at, sform_code_at, units_at;
    int code_bytes, units_bytes;
    int quaternion_at, qform_offset_at, sform_at;
} rvx__nifti_version;

extern const rvx__nifti_version rvx__nifti_versions[2];

typedef struct rvx__nifti_type {
    int code;
    rvx_voxel_type type; /* RVX_VOXEL_TYPE_COUNT: known, not supported */
    const char *name;
} rvx__nifti_type;

extern const rvx__nifti_type rvx__nifti_types[]; /* up to one without a name */

/* The fields of a file that this grid did not come from: sform and qform say the same, both as
 * scanner coordinates in millimetres. */
void rvx__nifti_forms_set(rvx_volume_info *info, const rvx_geometry *geometry);
rvx_status rvx__nifti_compose(rvx__header *header, const rvx__request *request, rvx_error *error);

#endif
