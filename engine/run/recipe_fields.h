/* The table behind recipe.c: one row per JSON field of the plan. Owns: paths, kinds and limits.
 * Invariant: rows of one JSON object stand together, and a row whose reading needs another field
 * (strides need the number of widths) stands after it. */
#ifndef RVX_RECIPE_FIELDS_H
#define RVX_RECIPE_FIELDS_H

#include "engine/run/recipe.h"

#include <stddef.h>

typedef enum rvx_field_kind {
    RVX_FIELD_INTEGER,         /* int64_t */
    RVX_FIELD_INTEGER_OR_NULL, /* int64_t, -1 for null */
    RVX_FIELD_NUMBER,          /* double */
    RVX_FIELD_RANGE,           /* double[2], low <= high */
    RVX_FIELD_TRIPLE,          /* double[3] */
    RVX_FIELD_BOOLEAN,         /* bool */
    RVX_FIELD_CHOICE,          /* int, an index into names */
    RVX_FIELD_STRING,          /* char[RVX_NAME_BYTES] */
    RVX_FIELD_SPECIAL          /* by its own two functions */
} rvx_field_kind;

typedef struct rvx_field {
    const char *path; /* "optimizer.learning_rate" */
    rvx_field_kind kind;
    bool required;
    size_t offset; /* in rvx_recipe */
    double min, max;
    const char *const *names;
    rvx_status (*read)(rvx_recipe *recipe, const rvx_json *json, rvx_error *error);
    json_t *(*write)(const rvx_recipe *recipe);
} rvx_field;

extern const rvx_field rvx__recipe_fields[]; /* ends with a NULL path */

rvx_status rvx__json_triple(double out[3], const rvx_json *json, double min, double max,
                            rvx_error *error);
/* Appends and passes the array on; NULL where memory is short or a string is not UTF-8. Both
 * arguments are taken over. */
json_t *rvx__json_append(json_t *array, json_t *value);

rvx_status rvx__recipe_read_normalisation(rvx_recipe *recipe, const rvx_json *json,
                                          rvx_error *error);
json_t *rvx__recipe_write_normalisation(const rvx_recipe *recipe);

/* fold.train and fold.validation */
rvx_status rvx__recipe_read_train(rvx_recipe *recipe, const rvx_json *json, rvx_error *error);
json_t *rvx__recipe_write_train(const rvx_recipe *recipe);
rvx_status rvx__recipe_read_validation(rvx_recipe *recipe, const rvx_json *json, rvx_error *error);
json_t *rvx__recipe_write_validation(const rvx_recipe *recipe);

#endif
