/* The loader: the samples of the next steps. Owns: the thread that draws them while the network
 * works on this one, and two batches; where steps run on a device, a thread for every core and four
 * batches, so that a dear sample does not hold up the cheap ones; or, where samples are whole
 * volumes too large to hold once more, nothing: they are drawn between the steps, in memory that
 * the step does not use then (unless steps run on a device).
 * Invariant: batches come in step order and hold what rvx__sample_draw gives for that step,
 * whatever the timing and wherever they are drawn. */
#ifndef RVX_LOADER_H
#define RVX_LOADER_H

#include "engine/run/sampler.h"

typedef struct rvx_loader rvx_loader;

/* The recipe, the cases and what they point to must outlive the loader. */
typedef struct rvx_loader_options {
    const rvx_recipe *recipe;
    int64_t patch[3]; /* d, h, w */
    const rvx_case *cases;
    int64_t case_count, first_step;
    rvx_dtype dtype; /* of images: RVX_F32 or RVX_BF16 */
    void *idle;      /* memory that nobody uses while rvx__loader_next runs; NULL is legal */
    int64_t idle_bytes;
    int threads;    /* for what is drawn between the steps */
    bool elsewhere; /* steps leave processor and memory alone: always draws ahead, on all threads */
} rvx_loader_options;

rvx_status rvx__loader_create(rvx_loader **loader, const rvx_loader_options *options,
                              rvx_error *error);
/* The batch of the next step: image [n][d][h][w][channels], labels [n][d][h][w]. Waits until it is
 * ready. */
void rvx__loader_next(rvx_loader *loader, void *image, uint8_t *labels);
/* Targets of a coarser grid: nearest voxel with half-pixel centres, as nnU-Net samples them. */
void rvx__labels_shrink(rvx_tensor out, const rvx_tensor *fine);
/* What a loader will hold that draws ahead of time; 0 where it draws between the steps. */
int64_t rvx__loader_bytes_ahead(const rvx_recipe *recipe, const int64_t patch[3], rvx_dtype dtype);
/* What the loader itself holds. */
int64_t rvx__loader_bytes(const rvx_loader *loader);
double rvx__loader_wait_seconds(const rvx_loader *loader); /* spent waiting so far */
void rvx__loader_free(rvx_loader *loader);                 /* NULL is legal */

#endif
