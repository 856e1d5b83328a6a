/* The layout of an iUNet, which iunet.c builds and its test compares with the published ones. */
#ifndef RVX_IUNET_H
#define RVX_IUNET_H

#include "engine/graph/network.h"

/* Channels per level, and how many of them skip from a level to the decoder; the others go down. */
typedef struct rvx_iunet_layout {
    int channels[RVX_STAGES_MAX], skipped[RVX_STAGES_MAX];
} rvx_iunet_layout;

/* The layout closest to widths that are wished for. Of the c channels of a level, c - w / s skip,
 * where w is the width wished for below and s the voxels of a block: rounded to nearest, halves to
 * even, but at least one skips and one goes down. `wished` and `strides`: stage_count of them. */
rvx_status rvx__iunet_layout_of(rvx_iunet_layout *layout, const int *wished, const int strides[][3],
                                int stage_count, rvx_error *error);

#endif
