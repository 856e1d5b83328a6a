/* Exact Euclidean distance transform: see distance.h. Three passes, x then y then z; lines along y
 * and z are gathered TILE at a time so that memory is read in whole cache lines. */
#include "engine/segment/distance.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 16 };

/* Working memory of one thread. */
typedef struct line_scratch {
    float *tile;    /* [length][TILE] */
    double *cut;    /* length + 1 borders between parabolas */
    double *height; /* value of parabola k at its vertex */
    int64_t *vertex;
} line_scratch;

/* Squared distance along one row from its sites (value 0), ignoring other rows:
 * d(x) = (spacing * min |x - site|)^2. */
static void row_sweep(float *row, int64_t length, double spacing)
{
    int64_t last = -1;
    for (int64_t x = 0; x < length; x++) {
        if (row[x] == 0.0f) {
            last = x;
        } else if (last >= 0) {
            double d = spacing * (double)(x - last);
            row[x] = (float)(d * d);
        }
    }
    last = -1;
    for (int64_t x = length - 1; x >= 0; x--) {
        if (row[x] == 0.0f) {
            last = x;
        } else if (last >= 0) {
            double d = spacing * (double)(last - x);
            row[x] = fminf(row[x], (float)(d * d));
        }
    }
}

/* line[x] <- min over q of line[q] + weight * (x - q)^2, by the lower envelope of the parabolas.
 * Elements stand TILE apart. Parabola k rules between cut[k] and cut[k + 1]; two of them meet at
 *   ((f(q) + w q^2) - (f(v) + w v^2)) / (2 w (q - v)). */
static void line_envelope(float *line, int64_t length, double weight, const line_scratch *s)
{
    int64_t top = -1;
    for (int64_t q = 0; q < length; q++) {
        double f = line[q * TILE];
        if (isinf(f))
            continue;
        double meet = -INFINITY;
        while (top >= 0) {
            int64_t v = s->vertex[top];
            meet = (f - s->height[top]) / (2.0 * weight * (double)(q - v)) + 0.5 * (double)(q + v);
            if (meet > s->cut[top])
                break;
            top--;
            meet = -INFINITY;
        }
        top++;
        s->vertex[top] = q;
        s->height[top] = f;
        s->cut[top] = meet;
    }
    if (top < 0)
        return;
    s->cut[top + 1] = INFINITY;
    int64_t k = 0;
    for (int64_t x = 0; x < length; x++) {
        while (s->cut[k + 1] < (double)x)
            k++;
        double d = (double)(x - s->vertex[k]);
        line[x * TILE] = (float)(s->height[k] + weight * d * d);
    }
}

/* All lines of one axis through `outer` planes: line (o, x) starts at field[o * outer_stride + x]
 * and steps by `stride`. */
static void axis_pass(float *field, int64_t width, int64_t outer, int64_t outer_stride,
                      int64_t length, int64_t stride, double spacing, int threads,
                      line_scratch *scratch)
{
    int64_t tiles = (width + TILE - 1) / TILE;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4)
    for (int64_t piece = 0; piece < outer * tiles; piece++) {
        const line_scratch *s = &scratch[omp_get_thread_num()];
        int64_t x = piece % tiles * TILE;
        int64_t count = width - x < TILE ? width - x : TILE;
        float *base = field + piece / tiles * outer_stride + x;
        for (int64_t i = 0; i < length; i++)
            memcpy(s->tile + i * TILE, base + i * stride, (size_t)count * sizeof(float));
        for (int64_t j = 0; j < count; j++)
            line_envelope(s->tile + j, length, spacing * spacing, s);
        for (int64_t i = 0; i < length; i++)
            memcpy(base + i * stride, s->tile + i * TILE, (size_t)count * sizeof(float));
    }
}

rvx_status rvx__distance_squared(float *field, const int64_t size[3], const double spacing[3],
                                 int threads, rvx_error *error)
{
    for (int axis = 0; axis < 3; axis++) {
        if (!(spacing[axis] > 0.0) || !isfinite(spacing[axis]) || size[axis] < 1)
            return rvx__fail(error, RVX_ERROR_ARGUMENT,
                             "distance transform: axis %d has %lld voxels of %g mm; expected at "
                             "least one voxel and a positive spacing",
                             axis, (long long)size[axis], spacing[axis]);
    }
    threads = threads < 1 ? 1 : threads;
    int64_t longest = size[1] > size[2] ? size[1] : size[2];
    size_t tile_bytes = (size_t)longest * TILE * sizeof(float);
    size_t line_bytes = (size_t)(longest + 1) * 8;
    size_t thread_bytes = tile_bytes + 3 * line_bytes;
    rvx_status status = RVX_OK;
    line_scratch *scratch = calloc((size_t)threads, sizeof *scratch);
    char *block = malloc(thread_bytes * (size_t)threads);
    if (!scratch || !block) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "distance transform: %zu bytes refused",
                           thread_bytes * (size_t)threads);
        goto cleanup;
    }
    for (int t = 0; t < threads; t++) {
        char *own = block + (size_t)t * thread_bytes;
        scratch[t] = (line_scratch){.cut = (double *)own,
                                    .height = (double *)(own + line_bytes),
                                    .vertex = (int64_t *)(own + 2 * line_bytes),
                                    .tile = (float *)(own + 3 * line_bytes)};
    }
    int64_t plane = size[0] * size[1];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < size[1] * size[2]; row++)
        row_sweep(field + row * size[0], size[0], spacing[0]);
    axis_pass(field, size[0], size[2], plane, size[1], size[0], spacing[1], threads, scratch);
    axis_pass(field, size[0], size[1], size[0], size[2], plane, spacing[2], threads, scratch);
cleanup:
    free(block);
    free(scratch);
    return status;
}
