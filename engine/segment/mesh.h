/* Surfaces of label maps. Owns: the walk over the slices. Invariant: the surface of any map is
 * closed, manifold and oriented, its normals point outwards; it depends on the voxels alone; memory
 * is a few slices of the object's box.
 *
 * Marching cubes (Lorensen and Cline, SIGGRAPH 1987) on the voxel centres, with triangles that
 * always fit together (mesh_cell.h). Which centres lie inside is what the map says, always: no thin
 * vessel is lost and no hole appears. Where between two centres the surface runs is half-way, or,
 * with smoothing, where the map blurred by a binomial filter passes 1/2. */
#ifndef RVX_SEGMENT_MESH_H
#define RVX_SEGMENT_MESH_H

#include "engine/segment/classes.h"
#include "engine/volume/volume.h"

enum { RVX_MESH_SMOOTHING_MAX = 16 };

typedef struct rvx_mesh_box {
    int64_t low[3], high[3]; /* voxels, both ends inside; low[0] > high[0]: none */
} rvx_mesh_box;

/* Takes a surface. Vertices are numbered from 0 in the order they come, and come before the
 * triangles that use them. Points are LPS mm. */
typedef struct rvx_mesh_sink {
    void *context;
    rvx_status (*vertex)(void *context, const double point[3], rvx_error *error);
    rvx_status (*triangle)(void *context, const int64_t index[3], const double *const point[3],
                           rvx_error *error);
} rvx_mesh_sink;

typedef struct rvx_mesh_figures {
    int64_t vertices, triangles;
    double area_mm2, volume_mm3;
} rvx_mesh_figures;

/* The box of each class. boxes: list->count entries. */
rvx_status rvx__mesh_boxes(rvx_mesh_box *boxes, rvx_volume_reader *reader,
                           const rvx_class_list *list, rvx_error *error);

/* The surface of the voxels whose label is a member. smoothing: passes of the filter (1 2 1) / 4
 * along each axis. */
rvx_status rvx__mesh_walk(rvx_mesh_figures *figures, rvx_volume_reader *reader,
                          const uint8_t member[256], const rvx_mesh_box *box, int smoothing,
                          const rvx_mesh_sink *sink, rvx_error *error);

/* The same into a file: binary STL or OBJ, by the ending of `path`. `name` goes into its header. */
rvx_status rvx__mesh_write(rvx_mesh_figures *figures, const char *path, const char *name,
                           rvx_volume_reader *reader, const uint8_t member[256],
                           const rvx_mesh_box *box, int smoothing, rvx_error *error);

#endif
