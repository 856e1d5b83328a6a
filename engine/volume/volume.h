/* Volumes: voxels with their place in the patient. Owns: geometry conventions and the streaming
 * reader and writer that every file format implements.
 *
 * Geometry is that of ITK: LPS millimetres, origin at the centre of the first voxel, direction
 * columns are the unit vectors of the x, y, z index axes. Voxel (x, y, z) is element (z * Y + y) *
 * X + x and lies at  origin + direction * (spacing .* index).  Tensors see it as d = z, h = y, w =
 * x.
 *
 * Memory: readers and writers hold at most one slab plus the decompressor's window. */
#ifndef RVX_VOLUME_H
#define RVX_VOLUME_H

#include "kernels/status.h"

#include <stdint.h>

typedef struct rvx_geometry {
    int64_t size[3];        /* voxels along x, y, z */
    double spacing[3];      /* mm, positive */
    double origin[3];       /* LPS mm */
    double direction[3][3]; /* [row: L, P, S][column: x, y, z]; orthonormal */
} rvx_geometry;

typedef enum rvx_voxel_type {
    RVX_VOXEL_U8,
    RVX_VOXEL_I8,
    RVX_VOXEL_U16,
    RVX_VOXEL_I16,
    RVX_VOXEL_U32,
    RVX_VOXEL_I32,
    RVX_VOXEL_U64,
    RVX_VOXEL_I64,
    RVX_VOXEL_F32,
    RVX_VOXEL_F64,
    RVX_VOXEL_TYPE_COUNT
} rvx_voxel_type;

/* Everything a header says. value = stored * slope + intercept. */
typedef struct rvx_volume_info {
    rvx_geometry geometry;
    rvx_voxel_type type;
    double slope, intercept;  /* 1 and 0 where the file gives none */
    char format[16];          /* "nifti1", "nifti2", "metaimage", ... */
    char geometry_source[24]; /* the header's word: "sform", "qform", "pixdim", "TransformMatrix" */
    char remark[160]; /* what else the header says that is shown but not used; may be empty */
    int sform_code, qform_code;
    double sform[3][4], qform[3][4]; /* RAS, as in the file; qform is zero where its code is 0 */
    double
        form_difference_mm; /* largest corner distance between sform and qform when both are set */
    /* NIfTI fields as stored, so that a writer can repeat them bit by bit. */
    double pixdim[8];
    double quaternion[3], qform_offset[3];
    int xyzt_units;
} rvx_volume_info;

/* What a label value stands for, in formats that tell. */
typedef struct rvx_segment {
    char name[128];
    double color[3];       /* red, green, blue, 0 .. 1 */
    int64_t value;         /* in the label map that is read */
    int64_t stored, layer; /* where the file has several layers: its value in this one */
} rvx_segment;

typedef struct rvx_segments {
    rvx_segment *list;
    int64_t count;
} rvx_segments;

/* Adds a segment, with a colour that is easily told from those before. */
rvx_status rvx__segments_add(rvx_segments *segments, const char *name, int64_t value,
                             rvx_error *error);
void rvx__segments_free(rvx_segments *segments); /* zeroed is legal */

/* Endings of volume files, as messages list them. */
#define RVX_VOLUME_SUFFIXES ".nii.gz, .nii, .hdr, .nrrd, .nhdr, .mha, .mhd or .raw.json"
/* The ending of a volume's name, among those that can be written; NULL where it has none. */
const char *rvx__volume_suffix(const char *name);
/* Length of the name without it, -1 where it has none. */
int64_t rvx__volume_stem_bytes(const char *name);
/* Every ending in turn; NULL behind the last. */
const char *rvx__volume_suffix_at(int64_t index);

typedef struct rvx_volume_reader rvx_volume_reader;
typedef struct rvx_volume_writer rvx_volume_writer;

/* Opens by content. Nothing is read but the header; every size is bounded before it is used; data
 * files of their own are looked up and must be long enough. Errors name file and field. */
rvx_status rvx__volume_reader_open(rvx_volume_reader **reader, const char *path, rvx_error *error);
const rvx_volume_info *rvx__volume_reader_info(const rvx_volume_reader *reader);
/* Of a segmentation; none in other files. Lives as long as the reader. */
const rvx_segments *rvx__volume_reader_segments(const rvx_volume_reader *reader);
/* Slices z_first .. z_first + z_count - 1 as scaled float32. Going forward streams; going back in a
 * compressed file starts over. NaN and infinity are refused by voxel position. */
rvx_status rvx__volume_reader_slab_f32(rvx_volume_reader *reader, float *out, int64_t z_first,
                                       int64_t z_count, rvx_error *error);
/* The same as labels 0..255; anything else is an error. Of a reader that repairs, what is within
 * 1e-4 of an integer is rounded. */
rvx_status rvx__volume_reader_slab_labels(rvx_volume_reader *reader, uint8_t *out, int64_t z_first,
                                          int64_t z_count, rvx_error *error);
/* The same as 32-bit integers (atlases with large values). */
rvx_status rvx__volume_reader_slab_i32(rvx_volume_reader *reader, int32_t *out, int64_t z_first,
                                       int64_t z_count, rvx_error *error);
void rvx__volume_reader_close(rvx_volume_reader *reader); /* NULL is legal */

/* Writes to a hidden temporary file beside `path`; commit renames it, abandon removes it. Format by
 * the name of `path`. `like`: NULL, or the info of an input whose sform, qform and codes are
 * repeated exactly. */
rvx_status rvx__volume_writer_create(rvx_volume_writer **writer, const char *path,
                                     const rvx_geometry *geometry, rvx_voxel_type type,
                                     const rvx_volume_info *like, rvx_error *error);
/* The same with names for the label values, where the format has a place for them. `segments` may
 * be NULL and is not kept. */
rvx_status rvx__volume_writer_create_segments(rvx_volume_writer **writer, const char *path,
                                              const rvx_geometry *geometry, rvx_voxel_type type,
                                              const rvx_volume_info *like,
                                              const rvx_segments *segments, rvx_error *error);
/* The next z_count slices, elements of the writer's type. A failed write removes the temporary file
 * and makes every later call fail; commit or abandon must still follow. */
rvx_status rvx__volume_writer_slab(rvx_volume_writer *writer, const void *voxels, int64_t z_count,
                                   rvx_error *error);
rvx_status rvx__volume_writer_commit(rvx_volume_writer *writer,
                                     rvx_error *error);     /* frees on success and failure */
void rvx__volume_writer_abandon(rvx_volume_writer *writer); /* NULL is legal */

/* A whole volume in memory; `voxels` is float32, uint8 or int32 according to the function that made
 * it. */
typedef struct rvx_volume {
    rvx_volume_info info;
    void *voxels;
} rvx_volume;

rvx_status rvx__volume_read_f32(rvx_volume *volume, const char *path, rvx_error *error);
rvx_status rvx__volume_read_labels(rvx_volume *volume, const char *path, rvx_error *error);
rvx_status rvx__volume_read_i32(rvx_volume *volume, const char *path, rvx_error *error);
rvx_status rvx__volume_write(const char *path, const rvx_geometry *geometry, rvx_voxel_type type,
                             const void *voxels, const rvx_volume_info *like, rvx_error *error);
void rvx__volume_free(rvx_volume *volume);

static inline int64_t rvx__geometry_voxels(const rvx_geometry *g)
{
    return g->size[0] * g->size[1] * g->size[2];
}

/* RVX_OK when both describe the same grid: sizes equal, corners within `tolerance_mm`; else an
 * error that says what differs (size, spacing, origin, direction) and by how much. */
rvx_status rvx__geometry_same(const rvx_geometry *a, const char *a_name, const rvx_geometry *b,
                              const char *b_name, double tolerance_mm, rvx_error *error);
/* From origin (LPS), spacing and direction columns of length one. Refuses what is not a rigid grid,
 * as below. Numbers that are already orthonormal are kept to the bit. */
rvx_status rvx__geometry_from_axes(rvx_geometry *geometry, const double origin[3],
                                   const double spacing[3], const double direction[3][3],
                                   const char *name, rvx_error *error);
/* From voxel indices to RAS millimetres, as NIfTI stores it, and back. Size is left alone. Refuses
 * what is not a rigid grid: non-finite numbers, zero spacing, axes more than 1e-3 off a right angle
 * (cosine). */
rvx_status rvx__geometry_from_ras(rvx_geometry *geometry, const double affine[3][4],
                                  const char *name, rvx_error *error);
void rvx__geometry_to_ras(double affine[3][4], const rvx_geometry *geometry);
/* Checks sizes (positive, product within int64), spacing, finite origin, orthonormal direction. */
rvx_status rvx__geometry_check(const rvx_geometry *geometry, const char *name, rvx_error *error);
/* Three letters, the directions towards which x, y, z grow, e.g. "LPS". */
void rvx__geometry_orientation(char out[4], const rvx_geometry *geometry);

#endif
