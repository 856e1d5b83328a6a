/* space_to_depth and depth_to_space: what their two rows share. Each op's backward and inverse is
 * the other's forward, so six cells hold two movements. */
#ifndef RVX_SPACE_TO_DEPTH_H
#define RVX_SPACE_TO_DEPTH_H

#include "kernels/block.h"

RVX_DECLARE_KERNEL(rvx__space_to_depth_forward)
RVX_DECLARE_KERNEL(rvx__space_to_depth_backward)
RVX_DECLARE_KERNEL(rvx__space_to_depth_inverse)
RVX_DECLARE_KERNEL(rvx__depth_to_space_forward)
RVX_DECLARE_KERNEL(rvx__depth_to_space_backward)
RVX_DECLARE_KERNEL(rvx__depth_to_space_inverse)

/* Every value is read and written once. */
static inline rvx_cost rvx__block_move_cost(rvx_shape in)
{
    return (rvx_cost){0, 8 * (double)rvx__shape_count(in)};
}

#endif
