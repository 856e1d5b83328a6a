/* What the files of the facade share. Owns: the way from public structs to the engine's. Invariant:
 * every public function checks its arguments before it touches a file, and turns whatever the
 * engine says into a status, one sentence and strings made with malloc. */
#ifndef RVX_FACADE_H
#define RVX_FACADE_H

#include "kernels/status.h" /* first: the public header then leaves its own copy out */

#include "bindings/c/revoxel.h"
#include "engine/base/text.h"
#include "engine/run/device.h"
#include "engine/run/recipe.h"
#include "engine/volume/dataset.h"

/* ---- Options ----------------------------------------------------------------------------------
 * Copies a caller's option struct, which may come from an older or a newer header, into `local`:
 * fields that the caller's version lacks are zero. NULL means all defaults. Refused with
 * RVX_ERROR_ARGUMENT: a struct_bytes that no version had; and with RVX_ERROR_UNSUPPORTED: a newer
 * field that is set. */
rvx_status rvx__facade_options(void *local, size_t local_bytes, const void *given, const char *type,
                               rvx_error *error);
/* RVX_ERROR_ARGUMENT naming the argument when a required pointer is NULL or an empty string. */
rvx_status rvx__facade_required(const char *argument, const char *name, rvx_error *error);
/* Neither negative nor absurd; 0 stays 0. */
rvx_status rvx__facade_threads(int threads, rvx_error *error);
/* 0 becomes the number of processors. */
int rvx__facade_thread_count(int threads);

/* Hands the text over to the caller of a public function, or frees it where status is an error. */
rvx_status rvx__facade_text(char **out, rvx_text *text, rvx_status status, rvx_error *error);

/* ---- Progress ---------------------------------------------------------------------------------
 * Calls the callback with struct_bytes and memory_bytes filled in; a NULL callback answers 0. */
int rvx__facade_progress(rvx_progress_callback callback, void *context, rvx_progress progress);
/* Nothing known but the phase: loss and dice NaN, seconds_left negative. */
rvx_progress rvx__facade_phase(const char *phase, const char *item, int64_t done, int64_t total);
int64_t rvx__facade_memory_bytes(void); /* resident now; 0 where the system does not say */
double rvx__facade_seconds(void);       /* of a clock that only goes forward */

/* ---- Plans ------------------------------------------------------------------------------------
 * The recipe for a data set as `revoxel plan` makes it: fingerprint, defaults, then what `settings`
 * overrides, checked. `settings` has gone through rvx__facade_options; `repairs`: NULL to refuse
 * what is wrong with a file. Freed with rvx__recipe_free. */
rvx_status rvx__facade_plan(rvx_recipe *out, const char *dataset, const rvx_plan_settings *settings,
                            struct rvx_repairs *repairs, rvx_error *error);
/* Refuses a setting that contradicts the recipe read from `source`: a plan file or a run that goes
 * on is not overridden. What settings leave at zero is not compared. */
rvx_status rvx__facade_plan_agrees(const rvx_recipe *recipe, const char *source,
                                   const rvx_plan_settings *settings, rvx_error *error);
/* RVX_OK where the network is one of models.def; else an error that lists them. */
rvx_status rvx__facade_network(const rvx_model **model, const char *name, rvx_error *error);
/* The same for a network that is to be trained: refuses those that classify whole images. */
rvx_status rvx__facade_segmenter(const rvx_model **model, const char *name, rvx_error *error);
/* The network that a recipe describes: axes x, y, z become d, h, w. The recipe has been checked and
 * its network is known. */
void rvx__facade_model_config(rvx_model_config *config, const rvx_recipe *recipe);

/* A model's published configuration with what the options change, checked. */
rvx_status rvx__facade_configure(rvx_model_config *config, const rvx_model *model,
                                 const rvx_models_options *options, rvx_error *error);
/* Refuses sizes (x, y, z) that the network does not divide without a rest, or that leave one voxel
 * at the bottom. */
rvx_status rvx__facade_size_check(const int64_t size[3], const rvx_model_config *config,
                                  rvx_error *error);

/* What a caller may say of memory beside a plan; NULL and 0: nothing. */
typedef struct rvx_memory_words {
    const char *policy, *storage, *streams;
    int grid_log2;
    int64_t budget_bytes;
} rvx_memory_words;
/* Refuses words that are not known. */
rvx_status rvx__facade_memory_check(const rvx_memory_words *words, rvx_error *error);
/* Writes checked words into recipe->memory. */
void rvx__facade_memory_apply(rvx_recipe *recipe, const rvx_memory_words *words);
/* The field of a plan that says otherwise than checked words, or NULL. */
const char *rvx__facade_memory_contradiction(const rvx_recipe *recipe,
                                             const rvx_memory_words *words);

/* Segments and judges the validation cases of a finished run (judge.c); does nothing where there
 * are none. overflow: that of the training, for the progress. device: NULL for the CPU. */
rvx_status rvx__facade_judge(const rvx_dataset *dataset, const char *run,
                             const rvx_train_options *options, const rvx_device *device,
                             int64_t overflow, rvx_error *error);

/* The choices of a device that is open; NULL for the CPU, where own kernels alone may be asked for.
 * Closed with rvx__choices_close. */
struct rvx_choices;
rvx_status rvx__facade_choices(struct rvx_choices **choices, rvx_device *device,
                               const rvx_implementation_options *given, rvx_error *error);
/* Refuses tf32 on the CPU, which has no such products. */
rvx_status rvx__facade_tf32(int tf32, const rvx_device *device, rvx_error *error);
/* Of convolutions, in a plan. */
rvx_status rvx__facade_workspace(int64_t *bytes, const rvx_implementation_options *given,
                                 rvx_error *error);

#endif
