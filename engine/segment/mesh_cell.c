/* Triangles of a cell: see mesh_cell.h. The table is derived, not listed: on each face every run of
 * inside corners is cut off by one segment (so corners that face each other across a face stay
 * apart); the segments of the six faces chain up to closed polygons; each becomes a fan around the
 * corner whose diagonals all run through the cell. For every pattern there is one. */
#include "engine/segment/mesh_cell.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum { EDGES = 12, FACES = 6, NONE = 255 };

typedef struct cell_frame {
    int corner[FACES][4];  /* around each face, counter-clockwise from outside */
    unsigned faces[EDGES]; /* bits: the two faces of an edge */
} cell_frame;

static int edge_between(int a, int b)
{
    int low = a & b, axis = (a ^ b) >> 1;
    static const int others[3][2] = {{1, 2}, {0, 2}, {0, 1}};
    return axis * 4 + (low >> others[axis][0] & 1) + 2 * (low >> others[axis][1] & 1);
}

static void frame_make(cell_frame *frame)
{
    static const int around[4][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}};
    memset(frame, 0, sizeof *frame);
    for (int face = 0; face < FACES; face++) {
        int axis = face / 2, side = face % 2, u = (axis + 1) % 3, v = (axis + 2) % 3;
        for (int i = 0; i < 4; i++) {
            const int *at = around[side ? i : 3 - i];
            frame->corner[face][i] = side << axis | at[0] << u | at[1] << v;
        }
        for (int i = 0; i < 4; i++)
            frame->faces[edge_between(frame->corner[face][i], frame->corner[face][(i + 1) % 4])] |=
                1u << face;
    }
}

/* next[edge]: where the segment that starts at a crossed edge ends. */
static void segments_make(uint8_t next[EDGES], const cell_frame *frame, int pattern)
{
    memset(next, NONE, EDGES);
    for (int face = 0; face < FACES; face++) {
        const int *corner = frame->corner[face];
        for (int i = 0; i < 4; i++) {
            int before = corner[(i + 3) % 4], last = i;
            if (!(pattern >> corner[i] & 1) || pattern >> before & 1)
                continue;
            while (pattern >> corner[(last + 1) % 4] & 1)
                last++;
            int end = edge_between(corner[last % 4], corner[(last + 1) % 4]);
            next[edge_between(before, corner[i])] = (uint8_t)end;
        }
    }
}

static bool fan_fits(const cell_frame *frame, const uint8_t *polygon, int count, int centre)
{
    for (int k = 2; k < count - 1; k++)
        if (frame->faces[polygon[centre]] & frame->faces[polygon[(centre + k) % count]])
            return false;
    return true;
}

static void polygon_add(rvx_mesh_cells *cells, int pattern, const cell_frame *frame,
                        const uint8_t *polygon, int count)
{
    int centre = 0;
    while (centre < count && !fan_fits(frame, polygon, count, centre))
        centre++;
    assert(centre < count);
    for (int k = 1; k + 1 < count; k++) {
        uint8_t *triangle = cells->edges[pattern][cells->count[pattern]++];
        triangle[0] = polygon[centre];
        triangle[1] = polygon[(centre + k) % count];
        triangle[2] = polygon[(centre + k + 1) % count];
    }
}

void rvx__mesh_cells_make(rvx_mesh_cells *cells)
{
    cell_frame frame;
    frame_make(&frame);
    memset(cells, 0, sizeof *cells);
    for (int pattern = 0; pattern < 256; pattern++) {
        uint8_t next[EDGES], polygon[EDGES];
        segments_make(next, &frame, pattern);
        for (int edge = 0; edge < EDGES; edge++) {
            int count = 0;
            for (uint8_t at = (uint8_t)edge; next[at] != NONE;) {
                uint8_t to = next[at];
                polygon[count++] = at;
                next[at] = NONE;
                at = to;
            }
            if (count)
                polygon_add(cells, pattern, &frame, polygon, count);
        }
    }
}
