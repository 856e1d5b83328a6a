/* Where a case is not 0: see nonzero.h. */
#include "engine/volume/nonzero.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    int64_t first, end; /* of the zeros within their row */
    int64_t set;
} run;

typedef struct slice_runs {
    run *list;
    int64_t *row_start; /* of every row, and the end behind the last */
    int64_t count, capacity;
} slice_runs;

typedef struct set {
    int64_t parent; /* a root is its own; others are larger than theirs */
    int64_t voxels; /* of a root, once a slice is done: of all that belong to it */
    int64_t number; /* in the next slice */
} set;

enum { OUTSIDE = 0 }; /* the set of all that reaches the edge of the volume */

struct rvx_nonzero {
    int64_t size[3], z;
    int64_t low[3], high[3];
    uint8_t *slab; /* 1 where some channel is not 0 */
    bool outside;
    slice_runs below, here;
    set *sets; /* of the slice below, then those of this one */
    int64_t set_count, set_capacity;
};

/* In a slice. */
static int64_t runs_most(const int64_t size[3]) { return (size[0] + 1) / 2 * size[1]; }

int64_t rvx__nonzero_bytes(const int64_t size[3], int64_t slab_slices, bool outside)
{
    const int64_t slice = size[0] * size[1], runs = (size[0] + 1) / 2 * size[1];
    return slice * slab_slices + (outside ? 2 * (runs * (int64_t)sizeof(run) + (size[1] + 1) * 8 +
                                                 (runs + 1) * (int64_t)sizeof(set))
                                          : 0);
}

rvx_status rvx__nonzero_create(rvx_nonzero **nonzero, const int64_t size[3], int64_t slab_slices,
                               bool outside, rvx_error *error)
{
    rvx_nonzero *n = *nonzero = calloc(1, sizeof *n);
    bool complete = n != NULL;
    for (int axis = 0; n && axis < 3; axis++) {
        n->size[axis] = size[axis];
        n->low[axis] = INT64_MAX;
        n->high[axis] = -1;
    }
    if (n) {
        n->outside = outside;
        n->set_count = 1; /* OUTSIDE, which is there before it has voxels */
        n->slab = calloc((size_t)(size[0] * size[1] * slab_slices), 1);
        complete = n->slab != NULL;
    }
    if (complete && outside) {
        n->here.row_start = calloc((size_t)size[1] + 1, sizeof *n->here.row_start);
        n->below.row_start = calloc((size_t)size[1] + 1, sizeof *n->below.row_start);
        n->sets = calloc(1, sizeof *n->sets);
        n->set_capacity = 1;
        complete = n->here.row_start && n->below.row_start && n->sets;
    }
    if (complete)
        return RVX_OK;
    rvx__nonzero_free(n);
    *nonzero = NULL;
    return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for the mask of a slab");
}

void rvx__nonzero_free(rvx_nonzero *n)
{
    if (!n)
        return;
    free(n->slab);
    free(n->here.list);
    free(n->here.row_start);
    free(n->below.list);
    free(n->below.row_start);
    free(n->sets);
    free(n);
}

void rvx__nonzero_channel(rvx_nonzero *n, const float *slab, int64_t slices)
{
    uint8_t *mask = n->slab;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n->size[0] * n->size[1] * slices; i++)
        mask[i] |= slab[i] != 0;
}

/* ---- The box ----------------------------------------------------------------------------------
 */

static void box_widen(rvx_nonzero *n, const uint8_t *slice, int64_t z)
{
    const int64_t width = n->size[0];
    for (int64_t y = 0; y < n->size[1]; y++, slice += width) {
        const uint8_t *found = memchr(slice, 1, (size_t)width);
        if (!found)
            continue;
        int64_t last = width - 1;
        while (!slice[last])
            last--;
        const int64_t row[3][2] = {{found - slice, last}, {y, y}, {z, z}};
        for (int axis = 0; axis < 3; axis++) {
            n->low[axis] = row[axis][0] < n->low[axis] ? row[axis][0] : n->low[axis];
            n->high[axis] = row[axis][1] > n->high[axis] ? row[axis][1] : n->high[axis];
        }
    }
}

void rvx__nonzero_box(const rvx_nonzero *n, int64_t first[3], int64_t size[3])
{
    for (int axis = 0; axis < 3; axis++) {
        const bool none = n->high[axis] < 0;
        first[axis] = none ? 0 : n->low[axis];
        size[axis] = none ? n->size[axis] : n->high[axis] - n->low[axis] + 1;
    }
}

/* ---- The outside ------------------------------------------------------------------------------
 */

static int64_t root_find(set *sets, int64_t s)
{
    while (sets[s].parent != s) {
        sets[s].parent = sets[sets[s].parent].parent;
        s = sets[s].parent;
    }
    return s;
}

static void sets_join(set *sets, int64_t a, int64_t b)
{
    a = root_find(sets, a);
    b = root_find(sets, b);
    sets[a > b ? a : b].parent = a > b ? b : a;
}

/* To at least `needed`, which is never more than `most`. */
static bool grow(void **list, int64_t *capacity, int64_t needed, int64_t most, size_t bytes)
{
    if (needed <= *capacity)
        return true;
    int64_t larger = needed < 2 * *capacity ? 2 * *capacity : needed;
    larger = larger < most ? larger : most;
    void *grown = realloc(*list, (size_t)larger * bytes);
    if (!grown)
        return false;
    *list = grown;
    *capacity = larger;
    return true;
}

/* Runs of zeros of one row. */
static bool row_runs(slice_runs *s, const uint8_t *row, int64_t width, int64_t most)
{
    for (int64_t x = 0; x < width;) {
        const uint8_t *zero = memchr(row + x, 0, (size_t)(width - x));
        if (!zero)
            break;
        const int64_t first = zero - row;
        const uint8_t *one = memchr(zero, 1, (size_t)(width - first));
        x = one ? one - row : width;
        if (!grow((void **)&s->list, &s->capacity, s->count + 1, most, sizeof *s->list))
            return false;
        s->list[s->count++] = (run){first, x, -1};
    }
    return true;
}

/* The runs of a row take the sets of those that they touch in another row, both in order of x. */
static void row_touch(rvx_nonzero *n, int64_t y, const slice_runs *other, int64_t other_y)
{
    int64_t b = other->row_start[other_y];
    const int64_t b_end = other->row_start[other_y + 1];
    for (int64_t a = n->here.row_start[y]; a < n->here.count; a++) {
        run *p = &n->here.list[a];
        while (b < b_end && other->list[b].end <= p->first)
            b++;
        for (int64_t i = b; i < b_end && other->list[i].first < p->end; i++) {
            if (p->set < 0)
                p->set = other->list[i].set;
            else
                sets_join(n->sets, p->set, other->list[i].set);
        }
    }
}

/* Counts the runs of a row, and joins those at the edge of the volume with the outside. */
static void row_count(rvx_nonzero *n, int64_t y)
{
    const bool edge = n->z == 0 || n->z == n->size[2] - 1 || y == 0 || y == n->size[1] - 1;
    for (int64_t a = n->here.row_start[y]; a < n->here.count; a++) {
        run *p = &n->here.list[a];
        if (p->set < 0) {
            p->set = n->set_count++;
            n->sets[p->set] = (set){.parent = p->set};
        }
        n->sets[p->set].voxels += p->end - p->first;
        if (edge || p->first == 0 || p->end == n->size[0])
            sets_join(n->sets, p->set, OUTSIDE);
    }
}

/* Leaves the outside and the sets that reach this slice, numbered anew in their order. */
static void sets_settle(rvx_nonzero *n)
{
    set *sets = n->sets;
    int64_t kept = 1;
    for (int64_t s = n->set_count - 1; s > 0; s--) {
        sets[s].number = 0;
        if (sets[s].parent != s)
            sets[sets[s].parent].voxels += sets[s].voxels;
    }
    for (int64_t a = 0; a < n->here.count; a++) {
        run *p = &n->here.list[a];
        p->set = root_find(sets, p->set);
        sets[p->set].number = 1;
    }
    sets[OUTSIDE].number = OUTSIDE;
    for (int64_t s = 1; s < n->set_count; s++) {
        if (!sets[s].number)
            continue;
        sets[s].number = kept;
        sets[kept].voxels = sets[s].voxels;
        sets[kept].parent = kept;
        kept++;
    }
    for (int64_t a = 0; a < n->here.count; a++)
        n->here.list[a].set = sets[n->here.list[a].set].number;
    n->set_count = kept;
}

static rvx_status outside_add(rvx_nonzero *n, const uint8_t *slice, rvx_error *error)
{
    const int64_t most = runs_most(n->size);
    const slice_runs before = n->below;
    n->below = n->here;
    n->here = before;
    n->here.count = 0;
    for (int64_t y = 0; y < n->size[1]; y++) {
        n->here.row_start[y] = n->here.count;
        if (!row_runs(&n->here, slice + y * n->size[0], n->size[0], most) ||
            !grow((void **)&n->sets, &n->set_capacity,
                  n->set_count + n->here.count - n->here.row_start[y], 2 * most + 1,
                  sizeof *n->sets))
            return rvx__fail(error, RVX_ERROR_MEMORY, "no memory for the background of a slice");
        if (n->z > 0)
            row_touch(n, y, &n->below, y);
        if (y > 0)
            row_touch(n, y, &n->here, y - 1);
        row_count(n, y);
    }
    n->here.row_start[n->size[1]] = n->here.count;
    sets_settle(n);
    return RVX_OK;
}

rvx_status rvx__nonzero_next(rvx_nonzero *n, int64_t slices, rvx_error *error)
{
    const int64_t slice = n->size[0] * n->size[1];
    for (int64_t k = 0; k < slices; k++, n->z++) {
        box_widen(n, n->slab + k * slice, n->z);
        rvx_status status = n->outside ? outside_add(n, n->slab + k * slice, error) : RVX_OK;
        if (status != RVX_OK)
            return status;
    }
    memset(n->slab, 0, (size_t)(slices * slice));
    return RVX_OK;
}

int64_t rvx__nonzero_outside(const rvx_nonzero *n) { return n->sets[OUTSIDE].voxels; }
