/* From the network's grid to the file's: see regrid.h. */
#include "engine/segment/regrid.h"
#include "engine/run/validate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One axis: file voxel i lies between network voxels low and low + 1, or outside the box. */
typedef struct between {
    int64_t low, high;
    float part;
    bool outside;
} between;

struct rvx_regrid {
    rvx_grid_map map;
    int classes, threads;
    between *axis[3];     /* x, y, z: per file voxel */
    float *below;         /* the network slice before the one at hand, [y][x][classes] */
    float *probabilities; /* one file slice; NULL */
    uint8_t *labels;      /* one file slice */
    int64_t next;         /* file slice to be written next */
    rvx_label_sink sink;
    void *sink_context;
};

int64_t rvx__regrid_bytes(const rvx_grid_map *map, int classes, bool probabilities)
{
    return map->network_size[0] * map->network_size[1] * classes * 4 +
           map->file_size[0] * map->file_size[1] * (probabilities ? 1 + 4 * classes : 1);
}

/* One axis of the way back. */
static bool axis_fill(rvx_regrid *r, int a)
{
    const rvx_grid_map *map = &r->map;
    r->axis[a] = malloc((size_t)map->file_size[a] * sizeof *r->axis[a]);
    for (int64_t i = 0; r->axis[a] && i < map->file_size[a]; i++) {
        double last = (double)(map->network_size[a] - 1);
        double at = fmin(fmax((double)i * map->scale[a] + map->offset[a], 0), last);
        double low = floor(at);
        if (a == map->separate_axis_back) /* the nearest alone */
            low = at = floor(at + 0.5);
        r->axis[a][i] =
            (between){(int64_t)low, (int64_t)fmin(low + 1, last), (float)(at - low),
                      i < map->box_first[a] || i >= map->box_first[a] + map->box_size[a]};
    }
    return r->axis[a] != NULL;
}

rvx_status rvx__regrid_create(rvx_regrid **regrid, const rvx_regrid_options *o, rvx_error *error)
{
    const rvx_grid_map *map = &o->map;
    const int64_t slice = map->file_size[0] * map->file_size[1];
    rvx_regrid *r = *regrid = calloc(1, sizeof *r);
    bool made = r != NULL;
    if (made) {
        r->map = o->map;
        r->classes = o->classes;
        r->threads = o->threads;
        r->sink = o->sink;
        r->sink_context = o->sink_context;
        r->labels = malloc((size_t)slice);
        r->below = malloc((size_t)(map->network_size[0] * map->network_size[1] * o->classes) *
                          sizeof *r->below);
        if (o->probabilities)
            r->probabilities = malloc((size_t)(slice * o->classes) * sizeof *r->probabilities);
        made = r->labels && r->below && (!o->probabilities || r->probabilities);
    }
    for (int a = 0; a < 3; a++)
        made = made && axis_fill(r, a);
    if (made)
        return RVX_OK;
    rvx__regrid_free(r);
    *regrid = NULL;
    return rvx__fail(error, RVX_ERROR_MEMORY, "prediction: out of memory");
}

void rvx__regrid_free(rvx_regrid *r)
{
    if (!r)
        return;
    for (int a = 0; a < 3; a++)
        free(r->axis[a]);
    free(r->below);
    free(r->probabilities);
    free(r->labels);
    free(r);
}

/* logits of file voxel (x, y): bilinear within two network slices, linear between them. */
static void interpolate(float *out, const rvx_regrid *r, const float *low, const float *high,
                        float part, between y, between x)
{
    int64_t k = r->classes, w = r->map.network_size[0];
    const int64_t at[4] = {(y.low * w + x.low) * k, (y.low * w + x.high) * k,
                           (y.high * w + x.low) * k, (y.high * w + x.high) * k};
    const float weight[4] = {(1 - y.part) * (1 - x.part), (1 - y.part) * x.part,
                             y.part * (1 - x.part), y.part * x.part};
    for (int64_t c = 0; c < k; c++) {
        float a = 0, b = 0;
        for (int i = 0; i < 4; i++) {
            a += weight[i] * low[at[i] + c];
            b += weight[i] * high[at[i] + c];
        }
        out[c] = (1 - part) * a + part * b;
    }
}

static void softmax(float *out, const float *logits, int classes)
{
    float largest = logits[rvx__argmax(logits, classes)], sum = 0;
    for (int k = 0; k < classes; k++)
        sum += out[k] = expf(logits[k] - largest);
    for (int k = 0; k < classes; k++)
        out[k] /= sum;
}

/* Background, surely. */
static void fill_outside(rvx_regrid *r, int64_t voxel)
{
    r->labels[voxel] = 0;
    for (int k = 0; r->probabilities && k < r->classes; k++)
        r->probabilities[voxel * r->classes + k] = k == 0;
}

static void fill_slice(rvx_regrid *r, const float *low, const float *high, between z)
{
    int64_t width = r->map.file_size[0], height = r->map.file_size[1];
    int k = r->classes;
#pragma omp parallel for schedule(static) num_threads(r->threads)
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            float logits[RVX_CLASSES_MAX];
            if (z.outside || r->axis[1][y].outside || r->axis[0][x].outside) {
                fill_outside(r, y * width + x);
                continue;
            }
            interpolate(logits, r, low, high, z.part, r->axis[1][y], r->axis[0][x]);
            r->labels[y * width + x] = (uint8_t)rvx__argmax(logits, k);
            if (r->probabilities)
                softmax(r->probabilities + (y * width + x) * k, logits, k);
        }
}

/* Network slices arrive in order; each file slice is made as soon as both its neighbours are there.
 */
rvx_status rvx__regrid_take(void *context, const float *logits, int64_t z_first, int64_t z_count,
                            rvx_error *error)
{
    rvx_regrid *r = context;
    int64_t slice = r->map.network_size[1] * r->map.network_size[0] * r->classes;
    for (int64_t i = 0; i < z_count; i++) {
        const float *here = logits + i * slice;
        int64_t z = z_first + i;
        for (; r->next < r->map.file_size[2] && r->axis[2][r->next].high <= z; r->next++) {
            between at = r->axis[2][r->next];
            fill_slice(r, at.low == z ? here : r->below, at.high == z ? here : r->below, at);
            rvx_status status =
                r->sink(r->sink_context, r->labels, r->probabilities, r->next, 1, error);
            if (status != RVX_OK)
                return status;
        }
        memcpy(r->below, here, (size_t)slice * sizeof *r->below);
    }
    return RVX_OK;
}
