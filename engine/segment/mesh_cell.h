/* How a surface crosses a cell of eight voxel centres. Owns: the triangles of the 256 patterns of
 * inside and outside. Invariant: the surfaces of neighbouring cells meet along the same segments of
 * their common face, in opposite directions, and no triangle's side lies in a face but those
 * segments: together the cells make closed, oriented 2-manifolds for any pattern of voxels.
 *
 * Corner i has x = bit 0, y = bit 1, z = bit 2. Edge axis * 4 + a + 2 b runs along the axis; a and
 * b are the corner bits of the other axes in ascending order. */
#ifndef RVX_SEGMENT_MESH_CELL_H
#define RVX_SEGMENT_MESH_CELL_H

#include <stdint.h>

enum { RVX_CELL_TRIANGLES_MAX = 5 };

typedef struct rvx_mesh_cells {
    uint8_t count[256];
    uint8_t edges[256][RVX_CELL_TRIANGLES_MAX][3]; /* seen from outside: counter-clockwise */
} rvx_mesh_cells;

void rvx__mesh_cells_make(rvx_mesh_cells *cells);

#endif
