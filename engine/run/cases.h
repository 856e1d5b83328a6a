/* Cases of a run: the recipe's words for the volume layer. Owns: the translation and the loading of
 * lists. */
#ifndef RVX_CASES_H
#define RVX_CASES_H

#include "engine/run/recipe.h"
#include "engine/volume/dataset.h"
#include "engine/volume/preprocess.h"

/* `channels` is written and pointed to by `out`. */
void rvx__case_recipe_make(rvx_case_recipe *out, rvx_channel_recipe channels[RVX_CHANNELS_MAX],
                           const rvx_recipe *recipe);

/* Network patch as d, h, w: the recipe's, or for whole volumes the largest case rounded up to what
 * the strides divide. */
void rvx__patch_find(int64_t patch[3], const rvx_recipe *recipe, const rvx_case *cases,
                     int64_t case_count);
/* size rounded up, per axis d, h, w, to a multiple of the product of the recipe's strides. */
void rvx__patch_round(int64_t patch[3], const rvx_recipe *recipe, const int64_t size[3]);

/* Called before each case; nonzero stops with RVX_CANCELLED. */
typedef int (*rvx_case_poll)(void *context, const char *identifier, int64_t done, int64_t total);

/* Loads the named training cases of the dataset; cases: names->count entries, freed one by one with
 * rvx__case_free (zeroed ones are legal), also after a failure. `cache`: a folder for preprocessed
 * cases (engine/volume/cache.h), which then are mapped and not held; NULL: in memory. The voxels
 * are the same. */
rvx_status rvx__cases_load(rvx_case *cases, const rvx_dataset *dataset, const rvx_names *names,
                           const rvx_recipe *recipe, const char *cache, rvx_case_poll poll,
                           void *context, rvx_error *error);

/* What the cases hold in memory: images and labels; mapped ones nothing. */
int64_t rvx__cases_bytes(const rvx_case *cases, int64_t count);

#endif
