/* nnU-Net raw datasets: a folder with dataset.json, imagesTr/CASE_0000.nii.gz (one file a channel),
 * labelsTr/CASE.nii.gz and, optionally, imagesTs. An image may be DICOM instead: a folder CASE_0000
 * with one series, or a file CASE_0000.dcm. Owns: the list of cases and the meaning of label
 * values. Invariant: an open dataset has every file that it lists; what is inside them is checked
 * by rvx__dataset_check or when a case is loaded.
 *
 * dataset.json: `channel_names` ("0", "1", ... -> name), `labels` (name -> integer, background 0,
 * consecutive, at most 256; the name `ignore` marks the highest value as taking no part),
 * `numTraining`, `file_ending` (of labels, and of images that are not DICOM); optional `name` and
 * `dataset` (case -> {images, label}, paths from the folder). Regions (lists of integers) are
 * refused as unsupported. Other keys are not looked at.
 */
#ifndef RVX_DATASET_H
#define RVX_DATASET_H

#include "engine/volume/volume.h"

/* Image and label grids may differ by this part of the smallest voxel edge: sform and qform of one
 * grid, rounded to float32, do so. */
#define RVX_GRID_TOLERANCE 0.1

typedef struct rvx_dataset_case {
    char *identifier;
    char **images; /* channel_count paths, of files or of folders with a DICOM series */
    char *labels;  /* NULL in imagesTs */
} rvx_dataset_case;

typedef struct rvx_dataset {
    char *path;
    char *name;
    char *file_ending; /* ".nii.gz" */
    int channel_count;
    char **channel_names;
    int class_count;    /* with background, without ignore */
    char **class_names; /* of label values 0 .. class_count - 1 */
    int ignore_label;   /* class_count, or -1 where there is none */
    int64_t case_count; /* training cases, sorted by identifier */
    rvx_dataset_case *cases;
    int64_t test_count; /* imagesTs, sorted by identifier */
    rvx_dataset_case *tests;
    struct rvx_repairs *repairs; /* of whoever opened it, for all its files: see repair.h; NULL,
                                    as after opening: what is wrong is refused */
} rvx_dataset;

/* Reads dataset.json and lists the folders. Errors: RVX_ERROR_IO (unreadable, or files missing:
 * each is named), RVX_ERROR_FORMAT (key, expected, found), RVX_ERROR_UNSUPPORTED (regions). */
rvx_status rvx__dataset_open(rvx_dataset **dataset, const char *path, rvx_error *error);
void rvx__dataset_free(rvx_dataset *dataset); /* NULL is legal */

/* Index among the training cases, -1 where there is none of this name. */
int64_t rvx__dataset_find(const rvx_dataset *dataset, const char *identifier);

/* Reads every file of one training case: finite voxels, one grid for all channels and the labels,
 * label values that dataset.json names. */
rvx_status rvx__dataset_check_case(const rvx_dataset *dataset, int64_t index, rvx_error *error);
/* All cases, in parallel; the error is that of the first bad case in order. */
rvx_status rvx__dataset_check(const rvx_dataset *dataset, rvx_error *error);

/* Opens the files of a case and checks that they lie on one grid. `channels` gets channel_count
 * readers; `labels` one, or NULL where `label_path` is NULL. On failure all are closed and NULL. */
rvx_status rvx__case_files_open(rvx_volume_reader **channels, rvx_volume_reader **labels,
                                const char *const *image_paths, int channel_count,
                                const char *label_path, rvx_error *error);
/* The same, with repairs where `repairs` is not NULL. */
rvx_status rvx__case_files_open_repair(rvx_volume_reader **channels, rvx_volume_reader **labels,
                                       const char *const *image_paths, int channel_count,
                                       const char *label_path, struct rvx_repairs *repairs,
                                       rvx_error *error);
/* Refuses the first of `count` voxels, the first being (0, 0, z_first), whose value is neither
 * below class_count nor the ignore label. */
rvx_status rvx__labels_check(const uint8_t *labels, const rvx_geometry *geometry, int64_t z_first,
                             int64_t z_count, int class_count, int ignore_label, const char *name,
                             rvx_error *error);

/* Makes the folder where needed and writes PATH/dataset.json for `case_count` training cases.
 * class_names[i] names label i; the first is background. An ignore label is a last class named
 * "ignore". */
rvx_status rvx__dataset_write(const char *path, const char *name, const char *const *channel_names,
                              int channel_count, const char *const *class_names, int class_count,
                              int64_t case_count, const char *file_ending, rvx_error *error);

#endif
