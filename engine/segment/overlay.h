/* Three-plane pictures of a case. Owns: which slices are shown, how they are turned and coloured.
 * Invariant: pixels are square in mm, one scale for all three planes; pictures stand as
 * radiologists expect (patient's left on the right, anterior and superior up), whatever the voxel
 * order.
 *
 * The reference is a translucent fill, the prediction an outline, both in the colour of the class.
 * Memory: two label maps of one byte a voxel, and a few slices of the image. */
#ifndef RVX_SEGMENT_OVERLAY_H
#define RVX_SEGMENT_OVERLAY_H

#include "engine/segment/classes.h"
#include "engine/segment/png.h"

typedef struct rvx_overlay_plane {
    const char *name;          /* "Axial", "Coronal", "Sagittal" */
    char edge[4];              /* patient letters at the left, right, top and bottom edge */
    int64_t slice, slices;     /* shown slice, from 1, of how many, along this plane's voxel axis */
    char axis;                 /* 'x', 'y' or 'z': that voxel axis */
    rvx_image plain, overlaid; /* grey at the data's own resolution; RGB at display resolution */
} rvx_overlay_plane;

typedef struct rvx_overlay {
    rvx_overlay_plane planes[3];
    double window_low, window_high; /* image values shown black and white */
} rvx_overlay;

typedef struct rvx_overlay_params {
    const rvx_class_list *list; /* colours by class; regions are not drawn, their labels are */
    int64_t side_pixels;        /* longest side of a picture; 0: 400 */
} rvx_overlay_params;

/* Slices are those with the most reference voxels plus wrong voxels. reference_path and
 * prediction_path may be NULL. Errors: of the readers; ARGUMENT where grids differ in size. */
rvx_status rvx__overlay_create(rvx_overlay *overlay, const char *image_path,
                               const char *reference_path, const char *prediction_path,
                               const rvx_overlay_params *params, rvx_error *error);
void rvx__overlay_free(rvx_overlay *overlay); /* of a zeroed struct is legal */

#endif
