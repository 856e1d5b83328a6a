/* The loader: a thread that draws the samples of the next step while the network works on this one.
 * Owns: two batches and the thread. Invariant: batches come in step order and hold what
 * rvx__sample_draw gives for that step, whatever the timing. */
#ifndef RVX_LOADER_H
#define RVX_LOADER_H

#include "engine/run/sampler.h"

typedef struct rvx_loader rvx_loader;

typedef struct rvx_batch {
    float *image;    /* [n][d][h][w][channels] */
    uint8_t *labels; /* [n][d][h][w] */
} rvx_batch;

/* The cases, the recipe and what they point to must outlive the loader. patch: d, h, w. */
rvx_status rvx__loader_create(rvx_loader **loader, const rvx_recipe *recipe, const int64_t patch[3],
                              const rvx_case *cases, int64_t case_count, int64_t first_step,
                              rvx_error *error);
/* The batch of the next step; valid until the next call. Waits until it is ready. */
const rvx_batch *rvx__loader_next(rvx_loader *loader);
double rvx__loader_wait_seconds(const rvx_loader *loader); /* spent waiting so far */
void rvx__loader_free(rvx_loader *loader);                 /* NULL is legal */

#endif
