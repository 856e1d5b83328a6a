/* Rules over a label map: see postprocess.h. */
#include "engine/segment/postprocess.h"
#include "engine/segment/components.h"

#include <stdlib.h>
#include <string.h>

enum { LABELS = 256 };

typedef struct work {
    rvx_spool *spool;
    const int64_t *size;
    double voxel_mm3;
    const rvx_postprocess *rules;
    rvx_postprocess_result result;
    uint8_t *slice;
    uint8_t *becomes;  /* of each component: the label it gets; KEPT where it stays as it is */
    bool *changes;     /* of each component */
    bool changed;      /* the slice at hand */
    int64_t bytes_max; /* beside the slice; 0: no limit */
} work;

bool rvx__postprocess_idle(const rvx_postprocess *rules)
{
    bool idle = !rules->largest_foreground;
    for (int label = 0; label < LABELS; label++)
        idle = idle && !rules->largest[label] && !(rules->smallest_mm3[label] > 0) &&
               !(rules->hole_mm3[label] > 0);
    return idle;
}

/* Sets changes[] and becomes[] of every component. */
typedef void (*decision)(work *w, const rvx_component *list, int64_t count);

static void visit_run(void *context, int64_t component, int64_t offset, int64_t count)
{
    work *w = context;
    if (!w->changes[component])
        return;
    memset(w->slice + offset, w->becomes[component], (size_t)count);
    *(w->becomes[component] ? &w->result.filled_voxels : &w->result.removed_voxels) += count;
    w->changed = true;
}

static rvx_status slice_read(work *w, int64_t z, rvx_error *error)
{
    int64_t plane = w->size[0] * w->size[1];
    return rvx__spool_read(w->spool, z * plane, w->slice, plane, error);
}

/* One rule: find the components, decide, walk again. */
static rvx_status stage(work *w, const rvx_components_params *given, decision decide,
                        rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_components_params params = *given;
    rvx_components *components = NULL;
    const rvx_component *list = NULL;
    int64_t count = 0, plane = w->size[0] * w->size[1];
    bool any = false;
    params.bytes_max = w->bytes_max;
    RVX_TRY(rvx__components_create(&components, w->size, &params, error));
    for (int64_t z = 0; z < w->size[2]; z++) {
        RVX_TRY(slice_read(w, z, error));
        RVX_TRY(rvx__components_slice(components, w->slice, error));
    }
    RVX_TRY(rvx__components_finish(&list, &count, components, error));
    if (w->bytes_max > 0 && rvx__components_bytes(components) + 2 * (count + 1) > w->bytes_max)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY,
                          "post-processing: %lld objects do not fit into %.1f MiB",
                          (long long)count, (double)w->bytes_max / 0x1p20));
    w->changes = calloc((size_t)count + 1, sizeof *w->changes);
    w->becomes = calloc((size_t)count + 1, 1);
    if (!w->changes || !w->becomes)
        RVX_TRY(rvx__fail(error, RVX_ERROR_MEMORY, "post-processing: no memory for components"));
    decide(w, list, count);
    for (int64_t i = 0; i < count; i++)
        any |= w->changes[i];
    for (int64_t z = 0; z < w->size[2] && any; z++) {
        w->changed = false;
        RVX_TRY(slice_read(w, z, error));
        RVX_TRY(rvx__components_again(components, w->slice, visit_run, w, error));
        if (w->changed)
            RVX_TRY(rvx__spool_write(w->spool, z * plane, w->slice, plane, error));
    }
cleanup:
    free(w->changes);
    free(w->becomes);
    w->changes = NULL;
    w->becomes = NULL;
    rvx__components_free(components);
    return status;
}

/* ---- Decisions: of equals the first is the largest ---------------------------------------------
 */

static void decide_foreground(work *w, const rvx_component *list, int64_t count)
{
    int64_t largest = 0;
    for (int64_t i = 1; i < count; i++)
        largest = list[i].voxels > list[largest].voxels ? i : largest;
    for (int64_t i = 0; i < count; i++)
        w->changes[i] = i != largest;
}

static void decide_objects(work *w, const rvx_component *list, int64_t count)
{
    int64_t largest[LABELS];
    for (int label = 0; label < LABELS; label++)
        largest[label] = -1;
    for (int64_t i = 0; i < count; i++) {
        int64_t *best = &largest[list[i].label];
        if (*best < 0 || list[i].voxels > list[*best].voxels)
            *best = i;
    }
    for (int64_t i = 0; i < count; i++) {
        uint8_t label = list[i].label;
        w->changes[i] = (w->rules->largest[label] && largest[label] != i) ||
                        (double)list[i].voxels * w->voxel_mm3 < w->rules->smallest_mm3[label];
    }
}

static void decide_holes(work *w, const rvx_component *list, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const rvx_component *c = &list[i];
        bool closed = c->around > 0 && c->around < LABELS;
        for (int a = 0; a < 3; a++)
            closed = closed && c->low[a] > 0 && c->high[a] < w->size[a] - 1;
        w->changes[i] = closed && (double)c->voxels * w->voxel_mm3 <= w->rules->hole_mm3[c->around];
        w->becomes[i] = w->changes[i] ? (uint8_t)c->around : 0;
    }
}

int64_t rvx__postprocess_bytes(const int64_t size[3], const rvx_postprocess *rules)
{
    return rvx__postprocess_idle(rules) ? 0 : size[0] * size[1] * (size[2] + 32) + (1 << 20);
}

rvx_status rvx__postprocess_run(rvx_spool *spool, const int64_t size[3], const double spacing[3],
                                const rvx_postprocess *rules, int64_t bytes_max,
                                rvx_postprocess_result *result, rvx_error *error)
{
    rvx_status status = RVX_OK;
    uint8_t foreground[LABELS], background[LABELS] = {[0] = 1};
    bool objects = false, holes = false;
    const int64_t plane = size[0] * size[1];
    if (bytes_max > 0 && bytes_max <= plane)
        return rvx__fail(error, RVX_ERROR_MEMORY,
                         "post-processing: a slice takes %lld bytes, it may take %lld in all",
                         (long long)plane, (long long)bytes_max);
    work w = {.spool = spool,
              .size = size,
              .voxel_mm3 = spacing[0] * spacing[1] * spacing[2],
              .rules = rules,
              .bytes_max = bytes_max > 0 ? bytes_max - plane : 0,
              .slice = malloc((size_t)plane)};
    if (!w.slice)
        return rvx__fail(error, RVX_ERROR_MEMORY, "post-processing: no memory for a slice");
    for (int label = 0; label < LABELS; label++) {
        foreground[label] = label > 0;
        objects = objects || rules->largest[label] || rules->smallest_mm3[label] > 0;
        holes = holes || rules->hole_mm3[label] > 0;
    }
    if (rules->largest_foreground) {
        const rvx_components_params together = {.connectivity = 26, .object = foreground};
        RVX_TRY(stage(&w, &together, decide_foreground, error));
    }
    if (objects) {
        const rvx_components_params apart = {.connectivity = 26};
        RVX_TRY(stage(&w, &apart, decide_objects, error));
    }
    if (holes) {
        const rvx_components_params empty = {
            .connectivity = 6, .object = background, .around = true};
        RVX_TRY(stage(&w, &empty, decide_holes, error));
    }
    if (result)
        *result = w.result;
cleanup:
    free(w.slice);
    return status;
}
