/* Connected components of label maps: see components.h. */
#include "engine/segment/components.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS = 256 };

void rvx__components_free(rvx_components *components)
{
    free(components->components);
    free(components->runs);
    *components = (rvx_components){0};
}

/* While runs are joined, run.component holds the index of another run of the same set, never a
 * later one; a root holds its own. */
static int64_t root_find(rvx_run *runs, int64_t run)
{
    while (runs[run].component != run) {
        runs[run].component = runs[runs[run].component].component;
        run = runs[run].component;
    }
    return run;
}

static void sets_join(rvx_run *runs, int64_t a, int64_t b)
{
    a = root_find(runs, a);
    b = root_find(runs, b);
    if (a < b)
        runs[b].component = a;
    else
        runs[a].component = b;
}

static bool run_add(rvx_components *c, int64_t *capacity, int64_t first, int64_t count)
{
    if (c->run_count == *capacity) {
        int64_t wanted = *capacity ? 2 * *capacity : 1024;
        rvx_run *grown = realloc(c->runs, (size_t)wanted * sizeof *grown);
        if (!grown)
            return false;
        c->runs = grown;
        *capacity = wanted;
    }
    c->runs[c->run_count] = (rvx_run){.first = first, .count = count, .component = c->run_count};
    c->run_count++;
    return true;
}

/* Splits all rows into runs; row_start[row] is the first run of a row, with one entry more at the
 * end. */
static bool runs_find(rvx_components *c, int64_t *row_start, const uint8_t *labels,
                      const int64_t size[3])
{
    int64_t capacity = 0;
    for (int64_t row = 0; row < size[1] * size[2]; row++) {
        const uint8_t *voxel = labels + row * size[0];
        row_start[row] = c->run_count;
        for (int64_t x = 0; x < size[0];) {
            int64_t first = x;
            uint8_t label = voxel[x];
            while (x < size[0] && voxel[x] == label)
                x++;
            if (label && !run_add(c, &capacity, row * size[0] + first, x - first))
                return false;
        }
    }
    row_start[size[1] * size[2]] = c->run_count;
    return true;
}

/* Two rows that may touch. reach: how far past its ends a run touches, 0 or 1. */
typedef struct row_pair {
    rvx_components *c;
    const uint8_t *labels;
    int64_t a_end, b_end;     /* runs of either row */
    int64_t a_voxel, b_voxel; /* first voxels of the rows */
    int64_t reach;
} row_pair;

/* Joins run a of one row and run b of the other if both are there, touch and have one label. */
static void runs_join(const row_pair *rows, int64_t a, int64_t b)
{
    if (a >= rows->a_end || b >= rows->b_end)
        return;
    const rvx_run *p = &rows->c->runs[a], *q = &rows->c->runs[b];
    int64_t p_first = p->first - rows->a_voxel, q_first = q->first - rows->b_voxel;
    if (p_first < q_first + q->count + rows->reach && q_first < p_first + p->count + rows->reach &&
        rows->labels[p->first] == rows->labels[q->first])
        sets_join(rows->c->runs, a, b);
}

/* Both lists are in order of x: one walk, past the run that ends first. Where both end together,
 * either may still touch the other's next run by a corner. */
static void rows_join(rvx_components *c, const int64_t *row_start, const uint8_t *labels,
                      int64_t width, int64_t row, int64_t other, int64_t reach)
{
    int64_t a = row_start[row], b = row_start[other];
    row_pair rows = {
        c, labels, row_start[row + 1], row_start[other + 1], row * width, other * width, reach};
    while (a < rows.a_end && b < rows.b_end) {
        int64_t p_end = c->runs[a].first - rows.a_voxel + c->runs[a].count;
        int64_t q_end = c->runs[b].first - rows.b_voxel + c->runs[b].count;
        runs_join(&rows, a, b);
        if (p_end == q_end && reach) {
            runs_join(&rows, a, b + 1);
            runs_join(&rows, a + 1, b);
        }
        a += p_end <= q_end;
        b += q_end <= p_end;
    }
}

/* Roots become numbers in order of their first run, which is their first voxel. */
static bool sets_number(rvx_components *c, const uint8_t *labels, const int64_t size[3])
{
    int64_t count = 0;
    for (int64_t r = 0; r < c->run_count; r++)
        count += c->runs[r].component == r;
    c->components = calloc((size_t)count + 1, sizeof *c->components);
    int64_t *number = malloc(((size_t)c->run_count + 1) * sizeof *number);
    if (!c->components || !number) {
        free(number);
        return false;
    }
    for (int64_t r = 0; r < c->run_count; r++) {
        rvx_run *run = &c->runs[r];
        int64_t root = root_find(c->runs, r), row = run->first / size[0];
        int64_t low[3] = {run->first % size[0], row % size[1], row / size[1]};
        int64_t high[3] = {low[0] + run->count - 1, low[1], low[2]};
        if (root == r) {
            number[r] = c->count++;
            rvx_component *fresh = &c->components[number[r]];
            *fresh = (rvx_component){.label = labels[run->first], .first = run->first};
            memcpy(fresh->low, low, sizeof low);
            memcpy(fresh->high, high, sizeof high);
        }
        number[r] = number[root];
        rvx_component *component = &c->components[number[r]];
        component->voxels += run->count;
        for (int axis = 0; axis < 3; axis++) {
            if (low[axis] < component->low[axis])
                component->low[axis] = low[axis];
            if (high[axis] > component->high[axis])
                component->high[axis] = high[axis];
        }
    }
    for (int64_t r = 0; r < c->run_count; r++)
        c->runs[r].component = number[r];
    free(number);
    return true;
}

rvx_status rvx__components_find(rvx_components *out, const uint8_t *labels, const int64_t size[3],
                                int connectivity, rvx_error *error)
{
    *out = (rvx_components){0};
    if (connectivity != 6 && connectivity != 26)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "components: connectivity %d; expected 6 or 26",
                         connectivity);
    if (size[0] < 1 || size[1] < 1 || size[2] < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "components: %lld x %lld x %lld voxels",
                         (long long)size[0], (long long)size[1], (long long)size[2]);
    rvx_status status = RVX_OK;
    int64_t rows = size[1] * size[2], reach = connectivity == 26;
    int64_t *row_start = malloc(((size_t)rows + 1) * sizeof *row_start);
    if (!row_start || !runs_find(out, row_start, labels, size)) {
        status = rvx__fail(error, RVX_ERROR_MEMORY, "components: no memory for the runs");
        goto cleanup;
    }
    for (int64_t z = 0; z < size[2]; z++) {
        for (int64_t y = 0; y < size[1]; y++) {
            int64_t row = z * size[1] + y;
            if (y > 0)
                rows_join(out, row_start, labels, size[0], row, row - 1, reach);
            if (z == 0)
                continue;
            rows_join(out, row_start, labels, size[0], row, row - size[1], reach);
            if (reach && y > 0)
                rows_join(out, row_start, labels, size[0], row, row - size[1] - 1, reach);
            if (reach && y + 1 < size[1])
                rows_join(out, row_start, labels, size[0], row, row - size[1] + 1, reach);
        }
    }
    if (!sets_number(out, labels, size))
        status = rvx__fail(error, RVX_ERROR_MEMORY, "components: no memory for the list");
cleanup:
    free(row_start);
    return status;
}

rvx_status rvx__components_keep_largest(uint8_t *labels, const int64_t size[3], int connectivity,
                                        const uint8_t *keep_all, int64_t *removed_voxels,
                                        rvx_error *error)
{
    rvx_components c;
    int64_t largest[LABELS], removed = 0;
    rvx_status status = rvx__components_find(&c, labels, size, connectivity, error);
    if (status != RVX_OK)
        goto cleanup;
    for (int label = 0; label < LABELS; label++)
        largest[label] = -1;
    for (int64_t i = 0; i < c.count; i++) {
        int64_t *best = &largest[c.components[i].label];
        if (*best < 0 || c.components[i].voxels > c.components[*best].voxels)
            *best = i;
    }
    for (int64_t r = 0; r < c.run_count; r++) {
        uint8_t label = c.components[c.runs[r].component].label;
        if (c.runs[r].component == largest[label] || (keep_all && keep_all[label]))
            continue;
        memset(labels + c.runs[r].first, 0, (size_t)c.runs[r].count);
        removed += c.runs[r].count;
    }
    if (removed_voxels)
        *removed_voxels = removed;
cleanup:
    rvx__components_free(&c);
    return status;
}
