/* One plane of a case as pictures. Owns: resampling to square pixels, fills and outlines. Internal
 * to the overlay. */
#ifndef RVX_SEGMENT_OVERLAY_DRAW_H
#define RVX_SEGMENT_OVERLAY_DRAW_H

#include "engine/segment/classes.h"
#include "engine/segment/png.h"

/* A slice [high voxel axis][low voxel axis] and how to look at it: the picture's columns run along
 * one of the two axes, its rows along the other, each possibly backwards. */
typedef struct rvx_overlay_view {
    int normal;         /* voxel axis that was cut */
    bool across_is_low; /* columns run along the lower voxel axis */
    bool across_flipped, down_flipped;
    int64_t columns, rows; /* voxels across and down the picture */
    double column_mm, row_mm, pixel_mm;
    const float *image;
    const uint8_t *reference, *prediction; /* NULL: not drawn */
    double window_low, window_high;
} rvx_overlay_view;

/* plain: the grey slice, one pixel per voxel or fewer. overlaid: RGB with square pixels of
 * pixel_mm. Both are created here and belong to the caller. */
rvx_status rvx__overlay_draw(rvx_image *plain, rvx_image *overlaid, const rvx_overlay_view *view,
                             const rvx_class_list *list, rvx_error *error);

#endif
