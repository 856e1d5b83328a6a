/* Segmentation of cases with a trained network. Owns: the way from a model file to label maps:
 * network, tiles, resampling of the logits back to the input's grid, files. Invariant: the result
 * lies on exactly the input's grid; neither image nor logits of the whole volume ever exist; a file
 * appears whole or not at all. */
#ifndef RVX_PREDICTOR_H
#define RVX_PREDICTOR_H

#include "engine/run/infer.h"
#include "engine/run/recipe.h"
#include "engine/run/safetensors.h"
#include "engine/volume/case_reader.h"

typedef struct rvx_predictor rvx_predictor;

typedef struct rvx_predictor_options {
    double tile_step; /* 0: the recipe's */
    bool mirror;      /* along the recipe's mirror axes */
    bool whole;       /* one tile, as large as the case */
    int64_t budget_bytes;
    int threads;
    rvx_isa isa;
    bool tf32;                /* on a GPU, see engine/plan/plan.h */
    const rvx_device *device; /* NULL: the CPU; its memory is what a budget is about */
} rvx_predictor_options;

/* Keeps `file` (closed with the predictor, also when this fails); recipe and model must outlive it.
 */
rvx_status rvx__predictor_create(rvx_predictor **predictor, rvx_safetensors *file,
                                 const rvx_recipe *recipe, const rvx_model *model,
                                 const rvx_model_config *config,
                                 const rvx_predictor_options *options, rvx_error *error);
void rvx__predictor_free(rvx_predictor *predictor);
/* Gives the network's memory back until the next run. */
void rvx__predictor_release(rvx_predictor *predictor);

/* Bytes that a case on such grids takes, reading included: the network's arena; for cases of more
 * than one tile patch depth x height x width x (channels + classes) floats; a few slices. Plans,
 * allocates nothing lasting. */
rvx_status rvx__predictor_bytes(int64_t *bytes, rvx_predictor *predictor, const rvx_grid_map *map,
                                rvx_error *error);

/* Slices z_first.. of the result on the file's grid: labels [z][y][x], and, where asked for,
 * softmax probabilities [z][y][x][classes] (else NULL). */
typedef rvx_status (*rvx_label_sink)(void *context, const uint8_t *labels,
                                     const float *probabilities, int64_t z_first, int64_t z_count,
                                     rvx_error *error);

/* Reads the case once, slice by slice. One that fits one tile and keeps its grid, without mirroring
 * and probabilities, is segmented without logits. */
rvx_status rvx__predictor_run(rvx_predictor *predictor, rvx_case_reader *one, bool probabilities,
                              rvx_label_sink sink, void *sink_context, rvx_poll poll,
                              void *poll_context, rvx_error *error);

/* Values that did not fit the 16 bits of a stream, over all runs so far. */
int64_t rvx__predictor_overflow(const rvx_predictor *predictor);

/* Where the result of a case goes: FOLDER/NAME + ending, or with a label its probabilities. What a
 * file name cannot or a label in it should not have becomes '_'. */
rvx_status rvx__predictor_path(char out[RVX_PATH_BYTES], const rvx_recipe *recipe, const char *name,
                               const char *folder, const char *label, rvx_error *error);

/* Runs (see rvx__predictor_run) and writes FOLDER/NAME + ending, and with `probabilities`
 * FOLDER/NAME_prob_<label> + ending (uint8, 255 = 1) for every class but the background. */
rvx_status rvx__predictor_write(rvx_predictor *predictor, const rvx_recipe *recipe,
                                rvx_case_reader *one, const char *folder, bool probabilities,
                                rvx_poll poll, void *poll_context, rvx_error *error);

#endif
