/* Class lists. Owns: which label values make which class, read from an nnU-Net dataset.json or
 * found in the maps themselves. Invariant: background (label 0 alone) and the ignore label are
 * never classes; classes stand in ascending order of their first label. */
#ifndef RVX_SEGMENT_CLASSES_H
#define RVX_SEGMENT_CLASSES_H

#include "engine/base/json.h"
#include "engine/segment/metrics.h"

#include <stdbool.h>

typedef struct rvx_class_list {
    rvx_label_class *classes;
    int64_t count;
    int32_t ignore_label;  /* -1: none */
    uint8_t declared[256]; /* label values that may occur, 0 and the ignore label included */
    char source[256];      /* for messages: "dataset.json", or "" where any label may occur */
} rvx_class_list;

/* "labels": {"background": 0, "liver": 1, "whole": [1, 2], "ignore": 3}; the older order
 * {"0": "background", "1": "liver"} is understood too. Errors: FORMAT with file and field, IO. */
rvx_status rvx__class_list_load(rvx_class_list *list, const char *path, rvx_error *error);
/* From a tree; `file` names the source in messages. */
rvx_status rvx__class_list_from_json(rvx_class_list *list, const json_t *tree, const char *file,
                                     rvx_error *error);
/* Every label but 0 that `present` (256 flags) marks, named "label N". */
rvx_status rvx__class_list_found(rvx_class_list *list, const uint8_t *present, rvx_error *error);
/* A copy of a caller's classes; every label may occur. */
rvx_status rvx__class_list_copy(rvx_class_list *list, const rvx_label_class *classes, int64_t count,
                                int32_t ignore_label, rvx_error *error);
void rvx__class_list_free(rvx_class_list *list); /* of a zeroed struct is legal */

/* Refuses a map with labels that are not declared: names the file, the label and how often.
 * ignore_allowed: the reference may hold the ignore label, a prediction may not. */
rvx_status rvx__class_list_check(const rvx_class_list *list, const uint8_t *labels, int64_t voxels,
                                 bool ignore_allowed, const char *path, rvx_error *error);

#endif
