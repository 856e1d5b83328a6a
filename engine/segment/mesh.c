/* Surfaces of label maps: see mesh.h. */
#include "engine/segment/mesh.h"
#include "engine/segment/mesh_cell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A vertex keeps off the voxel centres by this part of an edge: what is one voxel thin keeps at
 * least half its width, and no triangle shrinks to nothing. */
static const double closest = 0.25;

/* The lattice is the box and one voxel around it, which is outside. */
typedef struct walker {
    rvx_volume_reader *reader;
    const rvx_geometry *geometry;
    const uint8_t *member;
    const rvx_mesh_box *box;
    const rvx_mesh_sink *sink;
    rvx_mesh_cells cells;
    int64_t size[3], plane; /* of the lattice */
    int smoothing, window;  /* slices of the filter: 2 smoothing + 1 */
    double *weights;        /* of the filter along z */
    bool mirrored;          /* the grid is left-handed: triangles turn */
    uint8_t *labels;        /* a slice of the file */
    uint8_t *inside[2];     /* lattice slices: below, here */
    float *field[2];        /* the same, blurred */
    uint8_t *masks;         /* inside, of the slices in the window, by z % window */
    float *blurred;         /* these along x and y */
    float *row;
    int64_t *edges[5]; /* vertex of an edge from the lattice point on: x and y below, x and y here,
                          z between */
    double (*points)[3];                              /* of the vertices from `first_point` on */
    int64_t first_point, point_capacity, slice_first; /* slice_first: of this layer's vertices */
    rvx_mesh_figures figures;
} walker;

static void walker_free(walker *w)
{
    for (int i = 0; i < 2; i++) {
        free(w->inside[i]);
        free(w->field[i]);
    }
    for (int i = 0; i < 5; i++)
        free(w->edges[i]);
    free(w->labels);
    free(w->masks);
    free(w->blurred);
    free(w->row);
    free(w->points);
    free(w->weights);
}

static bool walker_make(walker *w)
{
    size_t plane = (size_t)w->plane, window = (size_t)w->window;
    bool made = true;
    for (int i = 0; i < 2; i++) {
        w->inside[i] = calloc(plane, 1);
        w->field[i] = calloc(plane, sizeof(float));
        made = made && w->inside[i] && w->field[i];
    }
    for (int i = 0; i < 5; i++) {
        w->edges[i] = malloc(plane * sizeof(int64_t));
        made = made && w->edges[i];
    }
    w->labels = malloc((size_t)(w->geometry->size[0] * w->geometry->size[1]));
    w->masks = calloc(plane * window, 1);
    w->blurred = calloc(plane * window, sizeof(float));
    w->row = malloc((size_t)(w->size[0] > w->size[1] ? w->size[0] : w->size[1]) * sizeof(float));
    w->weights = calloc(window, sizeof(double));
    if (!made || !w->labels || !w->masks || !w->blurred || !w->row || !w->weights)
        return false;
    /* Row 2s of Pascal's triangle over 4^s: s passes of (1 2 1) / 4. */
    w->weights[0] = ldexp(1, -2 * w->smoothing);
    for (int i = 1; i < w->window; i++)
        w->weights[i] = w->weights[i - 1] * (w->window - i) / i;
    return true;
}

/* ---- The field ---------------------------------------------------------------------------------
 */

static void blur_line(float *line, int64_t count, int64_t step, float *row)
{
    for (int64_t i = 0; i < count; i++)
        row[i] = line[i * step];
    for (int64_t i = 0; i < count; i++) {
        float before = i > 0 ? row[i - 1] : 0, after = i + 1 < count ? row[i + 1] : 0;
        line[i * step] = 0.25f * (before + 2 * row[i] + after);
    }
}

/* Lattice slice k into the window; outside the box it is empty. */
static rvx_status mask_load(walker *w, int64_t k, rvx_error *error)
{
    int64_t place = k % w->window, width = w->size[0];
    uint8_t *mask = w->masks + place * w->plane;
    float *blurred = w->blurred + place * w->plane;
    memset(mask, 0, (size_t)w->plane);
    if (k > 0 && k < w->size[2] - 1) {
        rvx_status status =
            rvx__volume_reader_slab_labels(w->reader, w->labels, w->box->low[2] + k - 1, 1, error);
        if (status != RVX_OK)
            return status;
        for (int64_t y = 1; y < w->size[1] - 1; y++) {
            const uint8_t *row =
                w->labels + (w->box->low[1] + y - 1) * w->geometry->size[0] + w->box->low[0] - 1;
            for (int64_t x = 1; x < width - 1; x++)
                mask[y * width + x] = w->member[row[x]];
        }
    }
    for (int64_t i = 0; i < w->plane; i++)
        blurred[i] = mask[i];
    for (int pass = 0; pass < w->smoothing; pass++) {
        for (int64_t y = 0; y < w->size[1]; y++)
            blur_line(blurred + y * width, width, 1, w->row);
        for (int64_t x = 0; x < width; x++)
            blur_line(blurred + x, w->size[1], width, w->row);
    }
    return RVX_OK;
}

/* Makes slice k the one at hand. Slices up to k + smoothing are in the window. */
static rvx_status slice_make(walker *w, int64_t k, rvx_error *error)
{
    int64_t last = k + w->smoothing;
    for (int64_t i = k ? last : 0; i <= last; i++) {
        rvx_status status = mask_load(w, i, error);
        if (status != RVX_OK)
            return status;
    }
    uint8_t *inside = w->inside[0];
    float *field = w->field[0];
    w->inside[0] = w->inside[1];
    w->field[0] = w->field[1];
    w->inside[1] = memcpy(inside, w->masks + k % w->window * w->plane, (size_t)w->plane);
    w->field[1] = memset(field, 0, (size_t)w->plane * sizeof *field);
    for (int i = 0; i < w->window; i++) {
        int64_t z = k + i - w->smoothing;
        if (z < 0)
            continue;
        const float *blurred = w->blurred + z % w->window * w->plane;
        float weight = (float)w->weights[i];
        for (int64_t p = 0; p < w->plane; p++)
            field[p] += weight * blurred[p];
    }
    return RVX_OK;
}

/* ---- Vertices ----------------------------------------------------------------------------------
 */

/* Between the lattice point `at` and the next along the axis. */
static rvx_status vertex_add(walker *w, int64_t *edge, const int64_t at[3], int axis, double from,
                             double to, rvx_error *error)
{
    int64_t held = w->figures.vertices - w->first_point;
    double t = fabs(from - to) > 1e-6 ? (from - 0.5) / (from - to) : 0.5;
    t = fmin(fmax(t, closest), 1 - closest);
    if (held == w->point_capacity) {
        int64_t wanted = held ? 2 * held : 1024;
        double(*grown)[3] = realloc(w->points, (size_t)wanted * sizeof *grown);
        if (!grown)
            return rvx__fail(error, RVX_ERROR_MEMORY,
                             "mesh: no memory for the vertices of a slice");
        w->points = grown;
        w->point_capacity = wanted;
    }
    double *point = w->points[held], voxel[3];
    const rvx_geometry *g = w->geometry;
    for (int a = 0; a < 3; a++)
        voxel[a] = ((double)(w->box->low[a] + at[a] - 1) + (a == axis ? t : 0)) * g->spacing[a];
    for (int a = 0; a < 3; a++)
        point[a] = g->origin[a] + g->direction[a][0] * voxel[0] + g->direction[a][1] * voxel[1] +
                   g->direction[a][2] * voxel[2];
    *edge = w->figures.vertices++;
    return w->sink->vertex(w->sink->context, point, error);
}

/* Inside means above 1/2 and outside below; where the blur says otherwise the nearest place on the
 * right side is taken. */
static double bounded(float field, uint8_t inside)
{
    return inside ? fmax((double)field, 0.5) : fmin((double)field, 0.5);
}

/* The vertices on the edges of slice k and on those between it and the one below. */
static rvx_status vertices_make(walker *w, int64_t k, rvx_error *error)
{
    const uint8_t *here = w->inside[1], *below = w->inside[0];
    const float *f = w->field[1], *f_below = w->field[0];
    for (int64_t y = 0; y < w->size[1]; y++)
        for (int64_t x = 0; x < w->size[0]; x++) {
            int64_t i = y * w->size[0] + x, at[3] = {x, y, k}, under[3] = {x, y, k - 1};
            double value = bounded(f[i], here[i]);
            rvx_status status = RVX_OK;
            if (x + 1 < w->size[0] && here[i] != here[i + 1])
                status = vertex_add(w, &w->edges[2][i], at, 0, value,
                                    bounded(f[i + 1], here[i + 1]), error);
            int64_t j = i + w->size[0];
            if (status == RVX_OK && y + 1 < w->size[1] && here[i] != here[j])
                status =
                    vertex_add(w, &w->edges[3][i], at, 1, value, bounded(f[j], here[j]), error);
            if (status == RVX_OK && k > 0 && here[i] != below[i])
                status = vertex_add(w, &w->edges[4][i], under, 2, bounded(f_below[i], below[i]),
                                    value, error);
            if (status != RVX_OK)
                return status;
        }
    return RVX_OK;
}

/* ---- Triangles ---------------------------------------------------------------------------------
 */

static void cross(double out[3], const double a[3], const double b[3])
{
    for (int i = 0; i < 3; i++)
        out[i] = a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3];
}

static rvx_status triangle_add(walker *w, const int64_t index[3], rvx_error *error)
{
    const double *point[3], *origin = w->geometry->origin;
    double u[3], v[3], n[3], six_volumes = 0;
    int64_t turned[3];
    for (int i = 0; i < 3; i++) {
        turned[i] = index[w->mirrored ? 2 - i : i];
        point[i] = w->points[turned[i] - w->first_point];
    }
    for (int a = 0; a < 3; a++) {
        u[a] = point[1][a] - point[0][a];
        v[a] = point[2][a] - point[0][a];
    }
    cross(n, u, v);
    for (int a = 0; a < 3; a++)
        six_volumes += (point[0][a] - origin[a]) * n[a];
    w->figures.area_mm2 += 0.5 * sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
    w->figures.volume_mm3 += six_volumes / 6;
    w->figures.triangles++;
    return w->sink->triangle(w->sink->context, turned, point, error);
}

/* The vertex on an edge of the cell whose lowest corner is lattice point i of the slice below. */
static int64_t cell_vertex(const walker *w, int64_t i, int edge)
{
    int axis = edge / 4, a = edge & 1, b = edge >> 1 & 1;
    if (axis == 2)
        return w->edges[4][i + a + b * w->size[0]];
    return w->edges[2 * b + axis][i + (axis == 0 ? a * w->size[0] : a)];
}

static rvx_status cells_walk(walker *w, rvx_error *error)
{
    int64_t width = w->size[0];
    for (int64_t y = 0; y + 1 < w->size[1]; y++)
        for (int64_t x = 0; x + 1 < width; x++) {
            int64_t i = y * width + x;
            int pattern = 0;
            for (int corner = 0; corner < 8; corner++)
                pattern |= w->inside[corner >> 2][i + (corner & 1) + (corner >> 1 & 1) * width]
                           << corner;
            for (int t = 0; t < w->cells.count[pattern]; t++) {
                int64_t index[3];
                for (int v = 0; v < 3; v++)
                    index[v] = cell_vertex(w, i, w->cells.edges[pattern][t][v]);
                rvx_status status = triangle_add(w, index, error);
                if (status != RVX_OK)
                    return status;
            }
        }
    return RVX_OK;
}

/* Slice by slice; of the vertices only those of this slice and the layer below it are kept. */
static rvx_status layer_walk(walker *w, int64_t k, rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t begins = w->figures.vertices, kept = begins - w->slice_first;
    if (kept > 0)
        memmove(w->points, w->points + (w->slice_first - w->first_point),
                (size_t)kept * sizeof *w->points);
    w->first_point = w->slice_first;
    w->slice_first = begins;
    for (int i = 0; i < 2; i++) {
        int64_t *below = w->edges[i];
        w->edges[i] = w->edges[2 + i];
        w->edges[2 + i] = below;
    }
    RVX_TRY(slice_make(w, k, error));
    RVX_TRY(vertices_make(w, k, error));
    if (k > 0)
        RVX_TRY(cells_walk(w, error));
cleanup:
    return status;
}

static double determinant(const double m[3][3])
{
    double n[3];
    cross(n, m[1], m[2]);
    return m[0][0] * n[0] + m[0][1] * n[1] + m[0][2] * n[2];
}

rvx_status rvx__mesh_walk(rvx_mesh_figures *figures, rvx_volume_reader *reader,
                          const uint8_t member[256], const rvx_mesh_box *box, int smoothing,
                          const rvx_mesh_sink *sink, rvx_error *error)
{
    rvx_status status = RVX_OK;
    *figures = (rvx_mesh_figures){0};
    if (box->low[0] > box->high[0])
        return RVX_OK;
    if (smoothing < 0 || smoothing > RVX_MESH_SMOOTHING_MAX)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "mesh: smoothing expected 0 to %d, found %d",
                         RVX_MESH_SMOOTHING_MAX, smoothing);
    walker *w = calloc(1, sizeof *w);
    if (!w)
        return rvx__fail(error, RVX_ERROR_MEMORY, "mesh: out of memory");
    w->reader = reader;
    w->geometry = &rvx__volume_reader_info(reader)->geometry;
    w->member = member;
    w->box = box;
    w->sink = sink;
    w->smoothing = smoothing;
    w->window = 2 * smoothing + 1;
    w->mirrored = determinant(w->geometry->direction) < 0;
    for (int a = 0; a < 3; a++)
        w->size[a] = box->high[a] - box->low[a] + 3;
    w->plane = w->size[0] * w->size[1];
    rvx__mesh_cells_make(&w->cells);
    if (!walker_make(w))
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "mesh: no memory for %d slices of %lld x %lld",
                          w->window, (long long)w->size[0], (long long)w->size[1]));
    for (int64_t k = 0; k < w->size[2]; k++)
        RVX_TRY(layer_walk(w, k, error));
    *figures = w->figures;
cleanup:
    walker_free(w);
    free(w);
    return status;
}
