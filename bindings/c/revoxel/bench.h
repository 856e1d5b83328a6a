/* Part of revoxel.h: measuring. */
#ifndef REVOXEL_BENCH_H
#define REVOXEL_BENCH_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rvx_bench_memory_options {
    size_t struct_bytes;
    const char *network;   /* default "revnet3d-full" */
    int64_t size[3];       /* x, y, z voxels; 0: 128 each */
    const int64_t *depths; /* couplings (unet3d: convolutions) per level, ascending; NULL: 1, 2, 4,
                              8, 16 */
    int depth_count;
    const char *out; /* folder for memory.csv and memory.svg; NULL: no files */
    int threads;
    rvx_progress_callback progress; /* phase "plan" */
    void *context;
} rvx_bench_memory_options;

/* Memory of one training step against the depth of the network, under the policies store,
 * checkpoint and reversible: the bytes that such a step would allocate, by planning it. Nothing of
 * that size is allocated. `table` receives a table for the screen. */
RVX_API rvx_status rvx_bench_memory(char **table, const rvx_bench_memory_options *options,
                                    rvx_error *error);

typedef struct rvx_bench_context_options {
    size_t struct_bytes;
    const char *out; /* folder for the runs, context.csv, context-time.svg, context-memory.svg */
    const char *network;  /* default "revnet3d-full" */
    const int64_t *sizes; /* edges of cubic patches, 0: whole volumes; NULL: 32, 48, 64, whole */
    int size_count;
    const int64_t *widths; /* NULL: 8, 16, 32 */
    int width_count;
    int64_t voxels;    /* that every run sees; 0: 256 million */
    int seeds;         /* runs per size, with seeds 0, 1, ...; 0: 1 */
    int64_t cases;     /* of the phantom, without a dataset; 0: 10 */
    int64_t volume[3]; /* x, y, z voxels of such a case; 0: 80, 80, 64 */
    int threads;
    rvx_progress_callback progress;
    void *context;
} rvx_bench_context_options;

/* Trains one network on samples of several sizes at equal voxels seen, and compares Dice on the
 * cases held out, time and memory. `dataset` NULL: a phantom is made in OUT/dataset. A row's memory
 * is the most that was resident while it trained and validated. `table` receives a table. */
RVX_API rvx_status rvx_bench_context(char **table, const char *dataset,
                                     const rvx_bench_context_options *options, rvx_error *error);

#ifdef __cplusplus
}
#endif

#endif
