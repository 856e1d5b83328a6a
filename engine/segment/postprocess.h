/* What happens to label maps behind the network. Owns: the rules, their JSON beside a model, and
 * the choice of those that validation speaks for. Invariant: a map is walked slice by slice; memory
 * is that of the components, not of the voxels.
 *
 * In this order: all foreground keeps its largest component; classes keep theirs; objects below a
 * volume become background; holes up to a volume are filled. An object is a 26-connected component
 * of one class (or of all foreground). A hole is a 6-connected component of background that reaches
 * no face of the volume and touches a single class, which fills it. */
#ifndef RVX_SEGMENT_POSTPROCESS_H
#define RVX_SEGMENT_POSTPROCESS_H

#include "engine/base/spool.h"
#include "engine/segment/classes.h"
#include "engine/volume/repair.h"

#define RVX_POSTPROCESS_FILE "postprocessing.json"

typedef struct rvx_postprocess {
    bool largest_foreground;
    bool largest[256];        /* by label */
    double smallest_mm3[256]; /* objects of the label with less go; 0: all stay */
    double hole_mm3[256];     /* holes in the label of at most this are filled; 0: none */
} rvx_postprocess;

typedef struct rvx_postprocess_result {
    int64_t removed_voxels, filled_voxels;
} rvx_postprocess_result;

bool rvx__postprocess_idle(const rvx_postprocess *rules); /* changes nothing, ever */

/* Most that a run may take where memory is promised beforehand: 1 byte a voxel, 32 a voxel of a
 * slice, and 1 MiB: objects enough unless the map is noise. 0 for rules that are idle. */
int64_t rvx__postprocess_bytes(const int64_t size[3], const rvx_postprocess *rules);

/* Changes the label map in the spool: size[0] * size[1] * size[2] bytes from its start.
 * bytes_max: memory it may take, 0: no limit; what needs more is refused (MEMORY), when earlier
 * rules may have changed the map. `result` may be NULL. */
rvx_status rvx__postprocess_run(rvx_spool *spool, const int64_t size[3], const double spacing[3],
                                const rvx_postprocess *rules, int64_t bytes_max,
                                rvx_postprocess_result *result, rvx_error *error);

/* ---- As a file --------------------------------------------------------------------------------
 */

/* {"format_version": 1, "keep_largest": {"foreground": bool, "classes": [names]},
 *  "smallest_object_mm3": {name: mm^3}, "fill_holes_mm3": {name: mm^3}, "chosen_by": {...}}.
 * names: of the labels, by value; what the file says of others is refused. */
rvx_status rvx__postprocess_load(rvx_postprocess *rules, const char *path, const char *const *names,
                                 int64_t name_count, rvx_error *error);

/* ---- The choice -------------------------------------------------------------------------------
 * As nnU-Net's: first all foreground as one, taken where the mean Dice over classes grows and no
 * class loses; then each class of its own, judged on what the first step left, taken where its Dice
 * grows. Dice: mean over the cases where it is defined. */
typedef struct rvx_postprocess_choice {
    rvx_postprocess rules;
    const rvx_class_list *list;
    int64_t case_count;
    double *dice; /* [4][list->count]: as predicted; foreground; classes; foreground, then classes:
                     sums until chosen, then means */
    int64_t *defined; /* the same */
} rvx_postprocess_choice;

rvx_status rvx__postprocess_choice_create(rvx_postprocess_choice *choice,
                                          const rvx_class_list *list, rvx_error *error);
/* One validation case. Both maps lie on one grid. Holds them and a copy in memory.
 * `repairs`: of the reference; see repair.h. */
rvx_status rvx__postprocess_choice_add(rvx_postprocess_choice *choice, const char *prediction_path,
                                       const char *reference_path, rvx_repairs *repairs,
                                       rvx_error *error);
/* Sets choice->rules and writes them with what they gained, class by class. */
rvx_status rvx__postprocess_choice_write(rvx_postprocess_choice *choice, const char *path,
                                         rvx_error *error);
void rvx__postprocess_choice_free(rvx_postprocess_choice *choice); /* zeroed is legal */

#endif
