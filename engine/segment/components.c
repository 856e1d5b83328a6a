/* Connected components of label maps: see components.h. */
#include "engine/segment/components.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    int64_t first, count; /* within its row */
    int64_t set;          /* provisional number */
    uint8_t object;
} run;

typedef struct slice_runs {
    run *runs;
    int64_t *row_start; /* of every row, and the end behind the last */
    int64_t count, capacity;
    uint8_t *labels; /* kept with params.around */
} slice_runs;

struct rvx_components {
    int64_t size[2], depth; /* depth: slices met so far in this walk */
    int64_t reach;          /* how far past its ends a run touches: 0 or 1 */
    bool around, again;
    uint8_t object[256];
    slice_runs below, here;
    int64_t *parent;      /* by provisional number; a root is its own, others are larger */
    rvx_component *found; /* by provisional number; after finish by number */
    int64_t *number;      /* after finish: of each provisional number */
    int64_t set_count, set_capacity, found_capacity, count;
    int64_t bytes, bytes_max; /* of all that is allocated; bytes_max 0: no limit */
};

/* ---- Memory ------------------------------------------------------------------------------------
 */

/* NULL also where the limit refuses. Both blocks are there while one is copied: both count. */
static void *resize(rvx_components *c, void *old, int64_t old_bytes, int64_t bytes)
{
    if (c->bytes_max > 0 && bytes > c->bytes_max - c->bytes)
        return NULL;
    void *made = realloc(old, (size_t)bytes);
    if (made)
        c->bytes += bytes - old_bytes;
    return made;
}

/* `count` elements become more: twice as many, or a quarter more where a limit is near. */
static void *grow(rvx_components *c, void *old, int64_t *count, int64_t first, size_t element)
{
    const int64_t each = (int64_t)element;
    int64_t wanted = *count ? 2 * *count : first;
    void *made = resize(c, old, *count * each, wanted * each);
    if (!made && *count >= 4) {
        wanted = *count + *count / 4;
        made = resize(c, old, *count * each, wanted * each);
    }
    if (made)
        *count = wanted;
    return made;
}

static rvx_status no_room(const rvx_components *c, const char *what, rvx_error *error)
{
    if (c->bytes_max == 0)
        return rvx__fail(error, RVX_ERROR_MEMORY, "components: no memory for %s", what);
    return rvx__fail(error, RVX_ERROR_MEMORY,
                     "components: %s do not fit into %.1f MiB: the label map is in too many pieces",
                     what, (double)c->bytes_max / 0x1p20);
}

/* ---- Sets -------------------------------------------------------------------------------------
 */

static int64_t root_find(int64_t *parent, int64_t set)
{
    while (parent[set] != set) {
        parent[set] = parent[parent[set]];
        set = parent[set];
    }
    return set;
}

static void sets_join(rvx_components *c, int64_t a, int64_t b)
{
    if (c->again)
        return;
    a = root_find(c->parent, a);
    b = root_find(c->parent, b);
    c->parent[a < b ? b : a] = a < b ? a : b;
}

static bool set_reserve(rvx_components *c)
{
    if (c->set_count < c->set_capacity)
        return true;
    if (c->found_capacity == c->set_capacity) {
        rvx_component *found = grow(c, c->found, &c->found_capacity, 256, sizeof *found);
        if (!found)
            return false;
        c->found = found;
    }
    int64_t *parent = resize(c, c->parent, c->set_capacity * (int64_t)sizeof *parent,
                             c->found_capacity * (int64_t)sizeof *parent);
    if (!parent)
        return false;
    c->parent = parent;
    c->set_capacity = c->found_capacity;
    return true;
}

static void component_merge(rvx_component *to, const rvx_component *from)
{
    to->voxels += from->voxels;
    for (int axis = 0; axis < 3; axis++) {
        to->low[axis] = from->low[axis] < to->low[axis] ? from->low[axis] : to->low[axis];
        to->high[axis] = from->high[axis] > to->high[axis] ? from->high[axis] : to->high[axis];
    }
    if (to->around == RVX_AROUND_NOTHING)
        to->around = from->around;
    else if (from->around != RVX_AROUND_NOTHING && from->around != to->around)
        to->around = RVX_AROUND_SEVERAL;
}

/* ---- Runs of a slice --------------------------------------------------------------------------
 */

static bool run_add(rvx_components *c, int64_t first, int64_t count, uint8_t object)
{
    slice_runs *s = &c->here;
    if (s->count == s->capacity) {
        run *grown = grow(c, s->runs, &s->capacity, 1024, sizeof *grown);
        if (!grown)
            return false;
        s->runs = grown;
    }
    s->runs[s->count++] = (run){.first = first, .count = count, .set = -1, .object = object};
    return true;
}

static bool runs_find(rvx_components *c, const uint8_t *labels)
{
    slice_runs *s = &c->here;
    s->count = 0;
    for (int64_t y = 0; y < c->size[1]; y++) {
        const uint8_t *row = labels + y * c->size[0];
        s->row_start[y] = s->count;
        for (int64_t x = 0; x < c->size[0];) {
            int64_t first = x;
            uint8_t object = c->object[row[x]];
            while (x < c->size[0] && c->object[row[x]] == object)
                x++;
            if (object && !run_add(c, first, x - first, object))
                return false;
        }
    }
    s->row_start[c->size[1]] = s->count;
    return true;
}

/* Gives the runs of a row the sets of the runs they touch in another row: the first that a run
 * meets is its own, further ones are joined with it. Both rows are in order of x. */
static void row_touch(rvx_components *c, int64_t y, const slice_runs *other, int64_t other_y)
{
    int64_t b = other->row_start[other_y], b_end = other->row_start[other_y + 1];
    for (int64_t a = c->here.row_start[y]; a < c->here.row_start[y + 1]; a++) {
        run *p = &c->here.runs[a];
        while (b < b_end && other->runs[b].first + other->runs[b].count + c->reach <= p->first)
            b++;
        for (int64_t i = b; i < b_end && other->runs[i].first < p->first + p->count + c->reach;
             i++) {
            const run *q = &other->runs[i];
            if (q->object != p->object)
                continue;
            if (p->set < 0)
                p->set = q->set;
            else
                sets_join(c, p->set, q->set);
        }
    }
}

/* A run that touches nothing before it begins a set. In the second walk the same runs do. */
static rvx_status runs_count(rvx_components *c, const uint8_t *labels, int64_t y, rvx_error *error)
{
    for (int64_t a = c->here.row_start[y]; a < c->here.row_start[y + 1]; a++) {
        run *p = &c->here.runs[a];
        rvx_component here = {.label = labels[y * c->size[0] + p->first],
                              .voxels = p->count,
                              .first = (c->depth * c->size[1] + y) * c->size[0] + p->first,
                              .low = {p->first, y, c->depth},
                              .high = {p->first + p->count - 1, y, c->depth},
                              .around = RVX_AROUND_NOTHING};
        bool fresh = p->set < 0;
        if (fresh) {
            if (!c->again && !set_reserve(c))
                return no_room(c, "the objects", error);
            p->set = c->set_count++;
        }
        if (c->again)
            continue;
        if (fresh) {
            c->parent[p->set] = p->set;
            c->found[p->set] = here;
        } else {
            component_merge(&c->found[p->set], &here);
        }
    }
    return RVX_OK;
}

/* ---- What touches a component ------------------------------------------------------------------
 */

static void touch(rvx_component *found, const uint8_t *object, uint8_t own, uint8_t label)
{
    if (object[label] == own || found->around == label)
        return;
    found->around = found->around == RVX_AROUND_NOTHING ? label : RVX_AROUND_SEVERAL;
}

/* The labels of one row over the runs of a neighbour row. */
static void row_around(rvx_components *c, const slice_runs *s, int64_t y, const uint8_t *row)
{
    for (int64_t a = s->row_start[y]; a < s->row_start[y + 1]; a++) {
        const run *p = &s->runs[a];
        rvx_component *found = &c->found[p->set];
        for (int64_t x = p->first; x < p->first + p->count; x++)
            touch(found, c->object, p->object, row[x]);
    }
}

static void slice_around(rvx_components *c, const uint8_t *labels)
{
    int64_t w = c->size[0];
    for (int64_t y = 0; y < c->size[1]; y++) {
        const uint8_t *row = labels + y * w;
        for (int64_t a = c->here.row_start[y]; a < c->here.row_start[y + 1]; a++) {
            const run *p = &c->here.runs[a];
            if (p->first > 0)
                touch(&c->found[p->set], c->object, p->object, row[p->first - 1]);
            if (p->first + p->count < w)
                touch(&c->found[p->set], c->object, p->object, row[p->first + p->count]);
        }
        if (y > 0)
            row_around(c, &c->here, y, row - w);
        if (y + 1 < c->size[1])
            row_around(c, &c->here, y, row + w);
        if (c->depth > 0) {
            row_around(c, &c->here, y, c->below.labels + y * w);
            row_around(c, &c->below, y, row);
        }
    }
    memcpy(c->here.labels, labels, (size_t)(w * c->size[1]));
}

/* ---- Walks -------------------------------------------------------------------------------------
 */

rvx_status rvx__components_create(rvx_components **components, const int64_t size[2],
                                  const rvx_components_params *params, rvx_error *error)
{
    *components = NULL;
    if (params->connectivity != 6 && params->connectivity != 26)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "components: connectivity %d; expected 6 or 26",
                         params->connectivity);
    if (size[0] < 1 || size[1] < 1)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "components: slices of %lld x %lld voxels",
                         (long long)size[0], (long long)size[1]);
    rvx_components *c = calloc(1, sizeof *c);
    bool complete = c != NULL;
    if (c) {
        c->size[0] = size[0];
        c->size[1] = size[1];
        c->reach = params->connectivity == 26;
        c->around = params->around;
        c->bytes_max = params->bytes_max;
        c->bytes = (int64_t)sizeof *c;
        for (int label = 0; label < 256; label++)
            c->object[label] = params->object ? params->object[label] : (uint8_t)label;
        slice_runs *const slices[2] = {&c->below, &c->here};
        for (int i = 0; i < 2; i++) {
            int64_t rows_bytes = (size[1] + 1) * (int64_t)sizeof *slices[i]->row_start;
            slices[i]->row_start = resize(c, NULL, 0, rows_bytes);
            if (slices[i]->row_start)
                memset(slices[i]->row_start, 0, (size_t)rows_bytes);
            slices[i]->labels = params->around ? resize(c, NULL, 0, size[0] * size[1]) : NULL;
            complete = complete && slices[i]->row_start && (!params->around || slices[i]->labels);
        }
    }
    if (!complete) {
        rvx__components_free(c);
        return rvx__fail(error, RVX_ERROR_MEMORY, "components: no memory for two slices");
    }
    *components = c;
    return RVX_OK;
}

void rvx__components_free(rvx_components *c)
{
    if (!c)
        return;
    slice_runs *const slices[2] = {&c->below, &c->here};
    for (int i = 0; i < 2; i++) {
        free(slices[i]->runs);
        free(slices[i]->row_start);
        free(slices[i]->labels);
    }
    free(c->parent);
    free(c->found);
    free(c->number);
    free(c);
}

int64_t rvx__components_bytes(const rvx_components *c) { return c->bytes; }

static rvx_status walk_slice(rvx_components *c, const uint8_t *labels, rvx_error *error)
{
    slice_runs before = c->below;
    c->below = c->here;
    c->here = before;
    if (!runs_find(c, labels))
        return no_room(c, "the runs of a slice", error);
    for (int64_t y = 0; y < c->size[1]; y++) {
        for (int64_t dy = -c->reach; dy <= c->reach && c->depth > 0; dy++)
            if (y + dy >= 0 && y + dy < c->size[1])
                row_touch(c, y, &c->below, y + dy);
        if (y > 0)
            row_touch(c, y, &c->here, y - 1);
        rvx_status status = runs_count(c, labels, y, error);
        if (status != RVX_OK)
            return status;
    }
    if (c->around && !c->again)
        slice_around(c, labels);
    c->depth++;
    return RVX_OK;
}

rvx_status rvx__components_slice(rvx_components *c, const uint8_t *labels, rvx_error *error)
{
    return walk_slice(c, labels, error);
}

/* Roots come before what belongs to them, and a root's first run is its component's. */
rvx_status rvx__components_finish(const rvx_component **list, int64_t *count, rvx_components *c,
                                  rvx_error *error)
{
    c->number = resize(c, NULL, 0, (c->set_count + 1) * (int64_t)sizeof *c->number);
    if (!c->number)
        return no_room(c, "the objects", error);
    for (int64_t set = 0; set < c->set_count; set++) {
        int64_t root = root_find(c->parent, set);
        if (root == set) {
            c->number[set] = c->count;
            c->found[c->count++] = c->found[set];
        } else {
            c->number[set] = c->number[root];
            component_merge(&c->found[c->number[root]], &c->found[set]);
        }
    }
    free(c->parent);
    c->parent = NULL;
    c->bytes -= c->set_capacity * (int64_t)sizeof *c->parent;
    c->again = true;
    c->depth = c->set_count = 0;
    *list = c->found;
    *count = c->count;
    return RVX_OK;
}

rvx_status rvx__components_again(rvx_components *c, const uint8_t *labels, rvx_run_visit visit,
                                 void *context, rvx_error *error)
{
    rvx_status status = walk_slice(c, labels, error);
    if (status != RVX_OK)
        return status;
    for (int64_t y = 0; y < c->size[1]; y++)
        for (int64_t a = c->here.row_start[y]; a < c->here.row_start[y + 1]; a++) {
            const run *p = &c->here.runs[a];
            visit(context, c->number[p->set], y * c->size[0] + p->first, p->count);
        }
    return RVX_OK;
}
