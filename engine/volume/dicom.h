/* DICOM as a volume format, in parts. Owns: what dicom.c (the format), dicom_files.c (files),
 * dicom_series.c (which series there are), dicom_stack.c (order and grid) and dicom_voxels.c
 * (voxels) share. */
#ifndef RVX_DICOM_H
#define RVX_DICOM_H

#include "engine/volume/dicom_stack.h"
#include "engine/volume/format.h"

/* The files of one volume. */
typedef struct rvx__dicom_files {
    const rvx_dicom *library;
    rvx_dicom_session *session;
    char **paths;            /* NULL: taken over by another */
    rvx_dicom_image *images; /* what each says; their frames are gone once sources are made */
    int64_t count;
} rvx__dicom_files;

/* True where a folder holds files of DICOM, or holds no volumes and folders below it hold some. */
bool rvx__dicom_folder(const char *path);
/* All images that `path`, a file or a folder, stands for, of whatever series, and what each says.
 * `files` is zeroed before, and freed by the caller also after a failure. */
rvx_status rvx__dicom_files_list(rvx__dicom_files *files, const char *path, rvx_error *error);
/* The same, where they are the files of one volume. */
rvx_status rvx__dicom_files_open(rvx__dicom_files *files, const char *path, rvx_error *error);
void rvx__dicom_files_free(rvx__dicom_files *files); /* zeroed is legal */

/* Refuses files of several series with a list of them: which is meant is not for us to guess. */
rvx_status rvx__dicom_series_check(const rvx__dicom_files *files, const char *path,
                                   rvx_error *error);

/* Voxels of a stack, slice by slice. Takes files, sources and stack over in every case and leaves
 * them zeroed; sets type, slope and intercept of `info`. */
rvx_status rvx__dicom_decoder_make(rvx__decoder **decoder, rvx_volume_info *info,
                                   rvx__dicom_files *files, rvx__dicom_source **sources,
                                   rvx__dicom_stack *stack, rvx_error *error);
/* Labels of a segmentation, the one file of `files`, slice by slice. Takes the files over in every
 * case and leaves them zeroed; sets `info` and adds to `segments`, which the caller frees. */
rvx_status rvx__dicom_segmentation_make(rvx__decoder **decoder, rvx_volume_info *info,
                                        rvx_segments *segments, rvx__dicom_files *files,
                                        rvx_error *error);
/* True where two frames hold the same values. */
rvx_status rvx__dicom_frames_same(bool *same, const rvx__dicom_files *files,
                                  const rvx__dicom_source *a, const rvx__dicom_source *b,
                                  rvx_error *error);

#endif
