/* DICOM frames as one volume: which of them make it up, in what order, on what grid. Owns: what is
 * a stack of slices and what is none. Invariant: knows no file and no library; a stack that is made
 * is a grid at right angles, every slice of which comes from one frame or lies between two.
 *
 * z grows along the normal of the slices, columns x rows, as in ITK. */
#ifndef RVX_DICOM_STACK_H
#define RVX_DICOM_STACK_H

#include "engine/volume/dicom_plugin.h"
#include "engine/volume/repair.h"

/* A frame and where it is from. */
typedef struct rvx__dicom_source {
    rvx_dicom_frame at;
    int64_t columns, rows;
    int64_t file, frame;  /* of the list of files; within the file */
    const char *name;     /* of the file, for messages; kept by the caller */
    const char *instance; /* UID; kept by the caller */
    double along;         /* mm along the normal; set here */
    double shift[2];      /* voxels by which the frame lies off the grid along x, y; set here */
} rvx__dicom_source;

/* One slice of the volume: (1 - weight) * low + weight * high. */
typedef struct rvx__dicom_slice {
    int64_t low, high; /* among the sources */
    double weight;     /* 0 where low is all of it */
} rvx__dicom_slice;

typedef struct rvx__dicom_stack {
    rvx_geometry geometry;
    int64_t source_count; /* those of the caller that are in use, sorted */
    rvx__dicom_slice *slices;
    bool resampled; /* some slice is not a frame as it stands */
    char remark[80];
} rvx__dicom_stack;

typedef struct rvx__dicom_question {
    const char *path; /* of the volume, for messages */
    double tilt;      /* GantryDetectorTilt, 0: not given */
    rvx_repairs *repairs;
    /* True where two frames hold the same voxels. */
    rvx_status (*same)(bool *same, void *context, const rvx__dicom_source *a,
                       const rvx__dicom_source *b, rvx_error *error);
    void *context;
} rvx__dicom_question;

/* Sorts `sources` and drops what is double from them. Missing, uneven and tilted slices are refused
 * or, with a list of repairs, made even by linear interpolation. Free the stack with
 * rvx__dicom_stack_free, also after a failure. */
rvx_status rvx__dicom_stack_make(rvx__dicom_stack *stack, rvx__dicom_source *sources, int64_t count,
                                 const rvx__dicom_question *question, rvx_error *error);
/* The frames of a segmentation: several may lie in one place, and places without any are left out.
 * Sorts `sources`; those of slice z are then places[z] .. places[z + 1] - 1. `places` is the
 * caller's to free; only the stack's geometry and remark are set. Nothing is repaired. */
rvx_status rvx__dicom_stack_sparse(rvx__dicom_stack *stack, int64_t **places,
                                   rvx__dicom_source *sources, int64_t count,
                                   const rvx__dicom_question *question, rvx_error *error);
void rvx__dicom_stack_free(rvx__dicom_stack *stack); /* zeroed is legal */

#endif
