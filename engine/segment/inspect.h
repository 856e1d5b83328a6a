/* What a volume or a folder holds, as text. Owns: the statistics of raw voxels and their wording.
 * Invariant: a volume is streamed; memory does not grow with it. */
#ifndef RVX_SEGMENT_INSPECT_H
#define RVX_SEGMENT_INSPECT_H

#include "engine/base/text.h"
#include "engine/volume/volume.h"

enum { RVX_DISTINCT_MAX = 256 };

/* Of scaled values. */
typedef struct rvx_voxel_statistics {
    int64_t voxels, zeros;
    double low, high, mean, deviation; /* population standard deviation */
    bool countable; /* integers only, at most RVX_DISTINCT_MAX different ones, listed below */
    int64_t distinct;
    float value[RVX_DISTINCT_MAX]; /* ascending */
    int64_t count[RVX_DISTINCT_MAX];
} rvx_voxel_statistics;

/* Streams the whole volume. Errors: of the reader (NaN and infinity by position). */
rvx_status rvx__voxel_statistics(rvx_voxel_statistics *statistics, rvx_volume_reader *reader,
                                 const char *path, rvx_error *error);

/* Appends the description of a volume file, of an nnU-Net dataset folder (one with dataset.json) or
 * of a folder of volumes. In folders voxels are read up to a fixed total, beyond it headers only,
 * which the text then says. A dataset that breaks its own rules is described and then refused: the
 * error names the first file. */
rvx_status rvx__inspect(rvx_text *out, const char *path, rvx_error *error);

/* Of a dataset folder. Internal to inspection. */
rvx_status rvx__inspect_dataset(rvx_text *out, const char *path, rvx_error *error);
/* "44 x 59 x 41" */
void rvx__inspect_size(rvx_text *out, const int64_t size[3]);
/* "0.5 x 0.5 x 2" */
void rvx__inspect_numbers(rvx_text *out, const double *values, int count, const char *between);

#endif
