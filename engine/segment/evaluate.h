/* Evaluation of a folder of predictions. Owns: pairing of files, class means and their form on disk
 * and on screen. Invariant: every reference case is either evaluated or named in an error; nothing
 * is left out silently. */
#ifndef RVX_SEGMENT_EVALUATE_H
#define RVX_SEGMENT_EVALUATE_H

#include "engine/base/json.h"
#include "engine/segment/classes.h"

typedef struct rvx_evaluation_case {
    char *name; /* file name without its ending */
    char *prediction_path, *reference_path;
    double spacing[3];          /* mm along x, y, z */
    rvx_class_metrics *metrics; /* one per class */
    int64_t fold;               /* of a cross-validation, from 1; 0: none */
} rvx_evaluation_case;

typedef struct rvx_evaluation {
    rvx_class_list list;
    double tolerance_mm;
    rvx_evaluation_case *cases; /* in order of name */
    int64_t case_count;
    char **unmatched; /* prediction files that have no reference: reported, not evaluated */
    int64_t unmatched_count;
    struct rvx_repairs *repairs; /* set before cases are added: see repair.h; NULL: refuse */
    int64_t resamples;           /* of the bootstrap; 0: RVX_RESAMPLES_DEFAULT (spread.h) */
    uint64_t seed;               /* of the bootstrap */
} rvx_evaluation;

typedef struct rvx_evaluate_params {
    const char *dataset_json; /* NULL: dataset.json beside or in the reference folder, if there */
    const rvx_label_class *classes; /* NULL: from dataset.json, else every label that occurs */
    int64_t class_count;
    bool allow_missing;  /* evaluate the cases that have a prediction, at least one */
    double tolerance_mm; /* 0: RVX_TOLERANCE_DEFAULT_MM */
    int threads;
    struct rvx_repairs *repairs; /* see repair.h; NULL: what is wrong with a file is refused */
    /* Called after each case; false stops with RVX_CANCELLED. May be NULL. */
    bool (*progress)(void *context, const rvx_evaluation *evaluation, int64_t done, int64_t count);
    void *context;
} rvx_evaluate_params;

/* Compares PREDICTIONS/CASE.nii.gz with REFERENCES/CASE.nii.gz (or of another format) for every
 * reference. Refused, with the file named: a missing prediction, grids that differ by more than
 * RVX_GRID_TOLERANCE (as in training), labels that dataset.json does not declare. Holds one case in
 * memory. The result is freed with rvx__evaluation_free, also after an error. */
rvx_status rvx__evaluate(rvx_evaluation *evaluation, const char *predictions,
                         const char *references, const rvx_evaluate_params *params,
                         rvx_error *error);
/* One pair of label maps, added as a case; `name` may be NULL (from the reference's file). The
 * class list must be set. */
rvx_status rvx__evaluation_add(rvx_evaluation *evaluation, const char *name,
                               const char *prediction_path, const char *reference_path, int threads,
                               rvx_error *error);
/* Moves the cases of `from`, of the same classes, behind those of `to`, which may be zeroed, and
 * marks them with the fold. */
rvx_status rvx__evaluation_take(rvx_evaluation *to, rvx_evaluation *from, int64_t fold,
                                rvx_error *error);
/* Compares the validation cases of every fold of a cross-validation, FOLDER/fold_K/validation, with
 * the references. Refuses a reference that no fold has segmented, and one that two have. */
rvx_status rvx__evaluate_folds(rvx_evaluation *evaluation, const char *folder, int64_t folds,
                               const char *references, const rvx_evaluate_params *params,
                               rvx_error *error);
/* A view of the cases of one fold, which stand together; case_count 0: there is no such fold. Not
 * to be freed. */
rvx_evaluation rvx__evaluation_fold(const rvx_evaluation *evaluation, int64_t fold);
/* One row a case and class. */
rvx_status rvx__evaluation_csv(const rvx_evaluation *evaluation, const char *path,
                               rvx_error *error);
void rvx__evaluation_free(rvx_evaluation *evaluation); /* of a zeroed struct is legal */

/* Mean of a field over the cases where it is defined; NaN where it is nowhere. `defined` may be
 * NULL. */
double rvx__evaluation_class_mean(const rvx_evaluation *evaluation, int64_t class_index, int field,
                                  int64_t *defined);
/* Mean over the classes of one case, and over all classes of their class means. */
double rvx__evaluation_case_mean(const rvx_evaluation *evaluation, int64_t case_index, int field);
double rvx__evaluation_mean(const rvx_evaluation *evaluation, int field);

/* Case indices, lowest mean Dice first, undefined last, ties by name. order: case_count entries. */
void rvx__evaluation_order(int64_t *order, const rvx_evaluation *evaluation);

/* cases[].{case, prediction, reference, spacing_mm, classes[].{label, name, dice, ...}, mean},
 * classes[].{label, name, mean, defined_cases}, mean.{dice, ...}; undefined values are null;
 * repairs: a sentence each, where there were any. */
rvx_status rvx__evaluation_write(const rvx_evaluation *evaluation, const char *path,
                                 rvx_error *error);
/* Reads it back: FORMAT errors name file and field. Freed with rvx__evaluation_free. */
rvx_status rvx__evaluation_load(rvx_evaluation *evaluation, const char *path, rvx_error *error);
/* From a tree; `file` names the source in messages. */
rvx_status rvx__evaluation_from_json(rvx_evaluation *evaluation, const json_t *tree,
                                     const char *file, rvx_error *error);
/* The tree that rvx__evaluation_write saves; json_decref frees it. NULL where memory is short. */
json_t *rvx__evaluation_to_json(const rvx_evaluation *evaluation);
/* For a screen: one table by class, one by case, worst first. */
void rvx__evaluation_table(rvx_text *text, const rvx_evaluation *evaluation);

#endif
