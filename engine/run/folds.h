/* How many folds a cross-validation has. */
#ifndef RVX_FOLDS_H
#define RVX_FOLDS_H

#include "engine/run/recipe.h"

/* Entries of `splits_path` (nnU-Net's splits_final.json; NULL: none) where that file exists, else
 * recipe->fold.count. Refuses a recipe that lists its cases: that is one split, not several. */
rvx_status rvx__recipe_fold_count(int64_t *count, const rvx_recipe *recipe, const char *splits_path,
                                  rvx_error *error);

#endif
